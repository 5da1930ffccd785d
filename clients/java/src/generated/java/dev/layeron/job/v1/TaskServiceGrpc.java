package dev.layeron.job.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * TaskService keeps the tasks that can be enqueued. A namespace left empty means "default".
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class TaskServiceGrpc {

  private TaskServiceGrpc() {}

  public static final java.lang.String SERVICE_NAME = "layeron.job.v1.TaskService";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<dev.layeron.job.v1.RegisterTasksRequest,
      dev.layeron.job.v1.RegisterTasksResponse> getRegisterTasksMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "RegisterTasks",
      requestType = dev.layeron.job.v1.RegisterTasksRequest.class,
      responseType = dev.layeron.job.v1.RegisterTasksResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.layeron.job.v1.RegisterTasksRequest,
      dev.layeron.job.v1.RegisterTasksResponse> getRegisterTasksMethod() {
    io.grpc.MethodDescriptor<dev.layeron.job.v1.RegisterTasksRequest, dev.layeron.job.v1.RegisterTasksResponse> getRegisterTasksMethod;
    if ((getRegisterTasksMethod = TaskServiceGrpc.getRegisterTasksMethod) == null) {
      synchronized (TaskServiceGrpc.class) {
        if ((getRegisterTasksMethod = TaskServiceGrpc.getRegisterTasksMethod) == null) {
          TaskServiceGrpc.getRegisterTasksMethod = getRegisterTasksMethod =
              io.grpc.MethodDescriptor.<dev.layeron.job.v1.RegisterTasksRequest, dev.layeron.job.v1.RegisterTasksResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "RegisterTasks"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.layeron.job.v1.RegisterTasksRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.layeron.job.v1.RegisterTasksResponse.getDefaultInstance()))
              .setSchemaDescriptor(new TaskServiceMethodDescriptorSupplier("RegisterTasks"))
              .build();
        }
      }
    }
    return getRegisterTasksMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.layeron.job.v1.GetTaskRequest,
      dev.layeron.job.v1.GetTaskResponse> getGetTaskMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "GetTask",
      requestType = dev.layeron.job.v1.GetTaskRequest.class,
      responseType = dev.layeron.job.v1.GetTaskResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.layeron.job.v1.GetTaskRequest,
      dev.layeron.job.v1.GetTaskResponse> getGetTaskMethod() {
    io.grpc.MethodDescriptor<dev.layeron.job.v1.GetTaskRequest, dev.layeron.job.v1.GetTaskResponse> getGetTaskMethod;
    if ((getGetTaskMethod = TaskServiceGrpc.getGetTaskMethod) == null) {
      synchronized (TaskServiceGrpc.class) {
        if ((getGetTaskMethod = TaskServiceGrpc.getGetTaskMethod) == null) {
          TaskServiceGrpc.getGetTaskMethod = getGetTaskMethod =
              io.grpc.MethodDescriptor.<dev.layeron.job.v1.GetTaskRequest, dev.layeron.job.v1.GetTaskResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "GetTask"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.layeron.job.v1.GetTaskRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.layeron.job.v1.GetTaskResponse.getDefaultInstance()))
              .setSchemaDescriptor(new TaskServiceMethodDescriptorSupplier("GetTask"))
              .build();
        }
      }
    }
    return getGetTaskMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.layeron.job.v1.ListTasksRequest,
      dev.layeron.job.v1.ListTasksResponse> getListTasksMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListTasks",
      requestType = dev.layeron.job.v1.ListTasksRequest.class,
      responseType = dev.layeron.job.v1.ListTasksResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.layeron.job.v1.ListTasksRequest,
      dev.layeron.job.v1.ListTasksResponse> getListTasksMethod() {
    io.grpc.MethodDescriptor<dev.layeron.job.v1.ListTasksRequest, dev.layeron.job.v1.ListTasksResponse> getListTasksMethod;
    if ((getListTasksMethod = TaskServiceGrpc.getListTasksMethod) == null) {
      synchronized (TaskServiceGrpc.class) {
        if ((getListTasksMethod = TaskServiceGrpc.getListTasksMethod) == null) {
          TaskServiceGrpc.getListTasksMethod = getListTasksMethod =
              io.grpc.MethodDescriptor.<dev.layeron.job.v1.ListTasksRequest, dev.layeron.job.v1.ListTasksResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListTasks"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.layeron.job.v1.ListTasksRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.layeron.job.v1.ListTasksResponse.getDefaultInstance()))
              .setSchemaDescriptor(new TaskServiceMethodDescriptorSupplier("ListTasks"))
              .build();
        }
      }
    }
    return getListTasksMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.layeron.job.v1.PauseTaskRequest,
      dev.layeron.job.v1.PauseTaskResponse> getPauseTaskMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "PauseTask",
      requestType = dev.layeron.job.v1.PauseTaskRequest.class,
      responseType = dev.layeron.job.v1.PauseTaskResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.layeron.job.v1.PauseTaskRequest,
      dev.layeron.job.v1.PauseTaskResponse> getPauseTaskMethod() {
    io.grpc.MethodDescriptor<dev.layeron.job.v1.PauseTaskRequest, dev.layeron.job.v1.PauseTaskResponse> getPauseTaskMethod;
    if ((getPauseTaskMethod = TaskServiceGrpc.getPauseTaskMethod) == null) {
      synchronized (TaskServiceGrpc.class) {
        if ((getPauseTaskMethod = TaskServiceGrpc.getPauseTaskMethod) == null) {
          TaskServiceGrpc.getPauseTaskMethod = getPauseTaskMethod =
              io.grpc.MethodDescriptor.<dev.layeron.job.v1.PauseTaskRequest, dev.layeron.job.v1.PauseTaskResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "PauseTask"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.layeron.job.v1.PauseTaskRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.layeron.job.v1.PauseTaskResponse.getDefaultInstance()))
              .setSchemaDescriptor(new TaskServiceMethodDescriptorSupplier("PauseTask"))
              .build();
        }
      }
    }
    return getPauseTaskMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.layeron.job.v1.ResumeTaskRequest,
      dev.layeron.job.v1.ResumeTaskResponse> getResumeTaskMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ResumeTask",
      requestType = dev.layeron.job.v1.ResumeTaskRequest.class,
      responseType = dev.layeron.job.v1.ResumeTaskResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.layeron.job.v1.ResumeTaskRequest,
      dev.layeron.job.v1.ResumeTaskResponse> getResumeTaskMethod() {
    io.grpc.MethodDescriptor<dev.layeron.job.v1.ResumeTaskRequest, dev.layeron.job.v1.ResumeTaskResponse> getResumeTaskMethod;
    if ((getResumeTaskMethod = TaskServiceGrpc.getResumeTaskMethod) == null) {
      synchronized (TaskServiceGrpc.class) {
        if ((getResumeTaskMethod = TaskServiceGrpc.getResumeTaskMethod) == null) {
          TaskServiceGrpc.getResumeTaskMethod = getResumeTaskMethod =
              io.grpc.MethodDescriptor.<dev.layeron.job.v1.ResumeTaskRequest, dev.layeron.job.v1.ResumeTaskResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ResumeTask"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.layeron.job.v1.ResumeTaskRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.layeron.job.v1.ResumeTaskResponse.getDefaultInstance()))
              .setSchemaDescriptor(new TaskServiceMethodDescriptorSupplier("ResumeTask"))
              .build();
        }
      }
    }
    return getResumeTaskMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static TaskServiceStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<TaskServiceStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<TaskServiceStub>() {
        @java.lang.Override
        public TaskServiceStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new TaskServiceStub(channel, callOptions);
        }
      };
    return TaskServiceStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static TaskServiceBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<TaskServiceBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<TaskServiceBlockingV2Stub>() {
        @java.lang.Override
        public TaskServiceBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new TaskServiceBlockingV2Stub(channel, callOptions);
        }
      };
    return TaskServiceBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static TaskServiceBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<TaskServiceBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<TaskServiceBlockingStub>() {
        @java.lang.Override
        public TaskServiceBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new TaskServiceBlockingStub(channel, callOptions);
        }
      };
    return TaskServiceBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static TaskServiceFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<TaskServiceFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<TaskServiceFutureStub>() {
        @java.lang.Override
        public TaskServiceFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new TaskServiceFutureStub(channel, callOptions);
        }
      };
    return TaskServiceFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * TaskService keeps the tasks that can be enqueued. A namespace left empty means "default".
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * RegisterTasks makes or changes tasks. Called when a worker process starts or by a deploy script, not on reconnect.
     * The last writer wins. Runs that exist keep what they were enqueued with.
     * </pre>
     */
    default void registerTasks(dev.layeron.job.v1.RegisterTasksRequest request,
        io.grpc.stub.StreamObserver<dev.layeron.job.v1.RegisterTasksResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getRegisterTasksMethod(), responseObserver);
    }

    /**
     * <pre>
     * GetTask answers one task. Errors: NOT_FOUND TASK_NOT_FOUND.
     * </pre>
     */
    default void getTask(dev.layeron.job.v1.GetTaskRequest request,
        io.grpc.stub.StreamObserver<dev.layeron.job.v1.GetTaskResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGetTaskMethod(), responseObserver);
    }

    /**
     * <pre>
     * ListTasks answers the tasks of a namespace by name, page by page.
     * </pre>
     */
    default void listTasks(dev.layeron.job.v1.ListTasksRequest request,
        io.grpc.stub.StreamObserver<dev.layeron.job.v1.ListTasksResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListTasksMethod(), responseObserver);
    }

    /**
     * <pre>
     * PauseTask stops further starts of a task; what runs goes on. Pausing a paused task keeps the first reason.
     * </pre>
     */
    default void pauseTask(dev.layeron.job.v1.PauseTaskRequest request,
        io.grpc.stub.StreamObserver<dev.layeron.job.v1.PauseTaskResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getPauseTaskMethod(), responseObserver);
    }

    /**
     * <pre>
     * ResumeTask lets a task's runs start again. Resuming a task that is not paused answers it as it is.
     * </pre>
     */
    default void resumeTask(dev.layeron.job.v1.ResumeTaskRequest request,
        io.grpc.stub.StreamObserver<dev.layeron.job.v1.ResumeTaskResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getResumeTaskMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service TaskService.
   * <pre>
   * TaskService keeps the tasks that can be enqueued. A namespace left empty means "default".
   * </pre>
   */
  public static abstract class TaskServiceImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return TaskServiceGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service TaskService.
   * <pre>
   * TaskService keeps the tasks that can be enqueued. A namespace left empty means "default".
   * </pre>
   */
  public static final class TaskServiceStub
      extends io.grpc.stub.AbstractAsyncStub<TaskServiceStub> {
    private TaskServiceStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected TaskServiceStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new TaskServiceStub(channel, callOptions);
    }

    /**
     * <pre>
     * RegisterTasks makes or changes tasks. Called when a worker process starts or by a deploy script, not on reconnect.
     * The last writer wins. Runs that exist keep what they were enqueued with.
     * </pre>
     */
    public void registerTasks(dev.layeron.job.v1.RegisterTasksRequest request,
        io.grpc.stub.StreamObserver<dev.layeron.job.v1.RegisterTasksResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getRegisterTasksMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * GetTask answers one task. Errors: NOT_FOUND TASK_NOT_FOUND.
     * </pre>
     */
    public void getTask(dev.layeron.job.v1.GetTaskRequest request,
        io.grpc.stub.StreamObserver<dev.layeron.job.v1.GetTaskResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getGetTaskMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * ListTasks answers the tasks of a namespace by name, page by page.
     * </pre>
     */
    public void listTasks(dev.layeron.job.v1.ListTasksRequest request,
        io.grpc.stub.StreamObserver<dev.layeron.job.v1.ListTasksResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListTasksMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * PauseTask stops further starts of a task; what runs goes on. Pausing a paused task keeps the first reason.
     * </pre>
     */
    public void pauseTask(dev.layeron.job.v1.PauseTaskRequest request,
        io.grpc.stub.StreamObserver<dev.layeron.job.v1.PauseTaskResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getPauseTaskMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * ResumeTask lets a task's runs start again. Resuming a task that is not paused answers it as it is.
     * </pre>
     */
    public void resumeTask(dev.layeron.job.v1.ResumeTaskRequest request,
        io.grpc.stub.StreamObserver<dev.layeron.job.v1.ResumeTaskResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getResumeTaskMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service TaskService.
   * <pre>
   * TaskService keeps the tasks that can be enqueued. A namespace left empty means "default".
   * </pre>
   */
  public static final class TaskServiceBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<TaskServiceBlockingV2Stub> {
    private TaskServiceBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected TaskServiceBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new TaskServiceBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * RegisterTasks makes or changes tasks. Called when a worker process starts or by a deploy script, not on reconnect.
     * The last writer wins. Runs that exist keep what they were enqueued with.
     * </pre>
     */
    public dev.layeron.job.v1.RegisterTasksResponse registerTasks(dev.layeron.job.v1.RegisterTasksRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getRegisterTasksMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * GetTask answers one task. Errors: NOT_FOUND TASK_NOT_FOUND.
     * </pre>
     */
    public dev.layeron.job.v1.GetTaskResponse getTask(dev.layeron.job.v1.GetTaskRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getGetTaskMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * ListTasks answers the tasks of a namespace by name, page by page.
     * </pre>
     */
    public dev.layeron.job.v1.ListTasksResponse listTasks(dev.layeron.job.v1.ListTasksRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListTasksMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * PauseTask stops further starts of a task; what runs goes on. Pausing a paused task keeps the first reason.
     * </pre>
     */
    public dev.layeron.job.v1.PauseTaskResponse pauseTask(dev.layeron.job.v1.PauseTaskRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getPauseTaskMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * ResumeTask lets a task's runs start again. Resuming a task that is not paused answers it as it is.
     * </pre>
     */
    public dev.layeron.job.v1.ResumeTaskResponse resumeTask(dev.layeron.job.v1.ResumeTaskRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getResumeTaskMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service TaskService.
   * <pre>
   * TaskService keeps the tasks that can be enqueued. A namespace left empty means "default".
   * </pre>
   */
  public static final class TaskServiceBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<TaskServiceBlockingStub> {
    private TaskServiceBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected TaskServiceBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new TaskServiceBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * RegisterTasks makes or changes tasks. Called when a worker process starts or by a deploy script, not on reconnect.
     * The last writer wins. Runs that exist keep what they were enqueued with.
     * </pre>
     */
    public dev.layeron.job.v1.RegisterTasksResponse registerTasks(dev.layeron.job.v1.RegisterTasksRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getRegisterTasksMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * GetTask answers one task. Errors: NOT_FOUND TASK_NOT_FOUND.
     * </pre>
     */
    public dev.layeron.job.v1.GetTaskResponse getTask(dev.layeron.job.v1.GetTaskRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getGetTaskMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * ListTasks answers the tasks of a namespace by name, page by page.
     * </pre>
     */
    public dev.layeron.job.v1.ListTasksResponse listTasks(dev.layeron.job.v1.ListTasksRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListTasksMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * PauseTask stops further starts of a task; what runs goes on. Pausing a paused task keeps the first reason.
     * </pre>
     */
    public dev.layeron.job.v1.PauseTaskResponse pauseTask(dev.layeron.job.v1.PauseTaskRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getPauseTaskMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * ResumeTask lets a task's runs start again. Resuming a task that is not paused answers it as it is.
     * </pre>
     */
    public dev.layeron.job.v1.ResumeTaskResponse resumeTask(dev.layeron.job.v1.ResumeTaskRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getResumeTaskMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service TaskService.
   * <pre>
   * TaskService keeps the tasks that can be enqueued. A namespace left empty means "default".
   * </pre>
   */
  public static final class TaskServiceFutureStub
      extends io.grpc.stub.AbstractFutureStub<TaskServiceFutureStub> {
    private TaskServiceFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected TaskServiceFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new TaskServiceFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * RegisterTasks makes or changes tasks. Called when a worker process starts or by a deploy script, not on reconnect.
     * The last writer wins. Runs that exist keep what they were enqueued with.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.layeron.job.v1.RegisterTasksResponse> registerTasks(
        dev.layeron.job.v1.RegisterTasksRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getRegisterTasksMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * GetTask answers one task. Errors: NOT_FOUND TASK_NOT_FOUND.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.layeron.job.v1.GetTaskResponse> getTask(
        dev.layeron.job.v1.GetTaskRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getGetTaskMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * ListTasks answers the tasks of a namespace by name, page by page.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.layeron.job.v1.ListTasksResponse> listTasks(
        dev.layeron.job.v1.ListTasksRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListTasksMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * PauseTask stops further starts of a task; what runs goes on. Pausing a paused task keeps the first reason.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.layeron.job.v1.PauseTaskResponse> pauseTask(
        dev.layeron.job.v1.PauseTaskRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getPauseTaskMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * ResumeTask lets a task's runs start again. Resuming a task that is not paused answers it as it is.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.layeron.job.v1.ResumeTaskResponse> resumeTask(
        dev.layeron.job.v1.ResumeTaskRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getResumeTaskMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_REGISTER_TASKS = 0;
  private static final int METHODID_GET_TASK = 1;
  private static final int METHODID_LIST_TASKS = 2;
  private static final int METHODID_PAUSE_TASK = 3;
  private static final int METHODID_RESUME_TASK = 4;

  private static final class MethodHandlers<Req, Resp> implements
      io.grpc.stub.ServerCalls.UnaryMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ServerStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ClientStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.BidiStreamingMethod<Req, Resp> {
    private final AsyncService serviceImpl;
    private final int methodId;

    MethodHandlers(AsyncService serviceImpl, int methodId) {
      this.serviceImpl = serviceImpl;
      this.methodId = methodId;
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public void invoke(Req request, io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        case METHODID_REGISTER_TASKS:
          serviceImpl.registerTasks((dev.layeron.job.v1.RegisterTasksRequest) request,
              (io.grpc.stub.StreamObserver<dev.layeron.job.v1.RegisterTasksResponse>) responseObserver);
          break;
        case METHODID_GET_TASK:
          serviceImpl.getTask((dev.layeron.job.v1.GetTaskRequest) request,
              (io.grpc.stub.StreamObserver<dev.layeron.job.v1.GetTaskResponse>) responseObserver);
          break;
        case METHODID_LIST_TASKS:
          serviceImpl.listTasks((dev.layeron.job.v1.ListTasksRequest) request,
              (io.grpc.stub.StreamObserver<dev.layeron.job.v1.ListTasksResponse>) responseObserver);
          break;
        case METHODID_PAUSE_TASK:
          serviceImpl.pauseTask((dev.layeron.job.v1.PauseTaskRequest) request,
              (io.grpc.stub.StreamObserver<dev.layeron.job.v1.PauseTaskResponse>) responseObserver);
          break;
        case METHODID_RESUME_TASK:
          serviceImpl.resumeTask((dev.layeron.job.v1.ResumeTaskRequest) request,
              (io.grpc.stub.StreamObserver<dev.layeron.job.v1.ResumeTaskResponse>) responseObserver);
          break;
        default:
          throw new AssertionError();
      }
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public io.grpc.stub.StreamObserver<Req> invoke(
        io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        default:
          throw new AssertionError();
      }
    }
  }

  public static final io.grpc.ServerServiceDefinition bindService(AsyncService service) {
    return io.grpc.ServerServiceDefinition.builder(getServiceDescriptor())
        .addMethod(
          getRegisterTasksMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.layeron.job.v1.RegisterTasksRequest,
              dev.layeron.job.v1.RegisterTasksResponse>(
                service, METHODID_REGISTER_TASKS)))
        .addMethod(
          getGetTaskMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.layeron.job.v1.GetTaskRequest,
              dev.layeron.job.v1.GetTaskResponse>(
                service, METHODID_GET_TASK)))
        .addMethod(
          getListTasksMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.layeron.job.v1.ListTasksRequest,
              dev.layeron.job.v1.ListTasksResponse>(
                service, METHODID_LIST_TASKS)))
        .addMethod(
          getPauseTaskMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.layeron.job.v1.PauseTaskRequest,
              dev.layeron.job.v1.PauseTaskResponse>(
                service, METHODID_PAUSE_TASK)))
        .addMethod(
          getResumeTaskMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.layeron.job.v1.ResumeTaskRequest,
              dev.layeron.job.v1.ResumeTaskResponse>(
                service, METHODID_RESUME_TASK)))
        .build();
  }

  private static abstract class TaskServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    TaskServiceBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return dev.layeron.job.v1.TaskServiceOuterClass.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("TaskService");
    }
  }

  private static final class TaskServiceFileDescriptorSupplier
      extends TaskServiceBaseDescriptorSupplier {
    TaskServiceFileDescriptorSupplier() {}
  }

  private static final class TaskServiceMethodDescriptorSupplier
      extends TaskServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    TaskServiceMethodDescriptorSupplier(java.lang.String methodName) {
      this.methodName = methodName;
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.MethodDescriptor getMethodDescriptor() {
      return getServiceDescriptor().findMethodByName(methodName);
    }
  }

  private static volatile io.grpc.ServiceDescriptor serviceDescriptor;

  public static io.grpc.ServiceDescriptor getServiceDescriptor() {
    io.grpc.ServiceDescriptor result = serviceDescriptor;
    if (result == null) {
      synchronized (TaskServiceGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new TaskServiceFileDescriptorSupplier())
              .addMethod(getRegisterTasksMethod())
              .addMethod(getGetTaskMethod())
              .addMethod(getListTasksMethod())
              .addMethod(getPauseTaskMethod())
              .addMethod(getResumeTaskMethod())
              .build();
        }
      }
    }
    return result;
  }
}
