package dev.layeron.job.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * JobService is for applications and operators: ask for runs, look at them, stop them, do them again.
 * A namespace left empty means "default".
 * Every error, of all three services, is a google.rpc.Status with one google.rpc.ErrorInfo (domain "layeron.job"), and
 * with BadRequest field violations, RetryInfo or ResourceInfo where they apply. It fits into 8 KiB of trailers: long
 * texts are cut, and of very many violations the first are named. The reasons of ErrorInfo, and their metadata:
 * - INVALID_ARGUMENT: INVALID_ARGUMENT (see the violations), PAGE_TOKEN_INVALID, CANNOT_BE_STORED (the database refuses
 *   what nothing else is wrong with; subject).
 * - NOT_FOUND: RUN_NOT_FOUND (namespace, run_id), TASK_NOT_FOUND (namespace, task).
 * - ALREADY_EXISTS: IDEMPOTENCY_KEY_REUSED (run_id: whose key it is), RUN_ID_REUSED.
 * - FAILED_PRECONDITION: TASK_NOT_REGISTERED (namespace, task), RUN_ALREADY_FINISHED and RUN_NOT_FINISHED (run_id,
 *   status), WATCH_TOKEN_EXPIRED, FILTER_TOO_BROAD (a list took too long).
 * - PERMISSION_DENIED: PERMISSION_DENIED (action, namespace).
 * - RESOURCE_EXHAUSTED: OVERLOADED with RetryInfo (subject: what there is too much of). Nothing was done.
 * - UNAVAILABLE: DATABASE_UNAVAILABLE, SERVER_SHUTTING_DOWN. It may have been done.
 * - INTERNAL: INTERNAL, a bug of the server (error_id: what to look for in its log).
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class JobServiceGrpc {

  private JobServiceGrpc() {}

  public static final java.lang.String SERVICE_NAME = "layeron.job.v1.JobService";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<dev.layeron.job.v1.EnqueueRequest,
      dev.layeron.job.v1.EnqueueResponse> getEnqueueMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Enqueue",
      requestType = dev.layeron.job.v1.EnqueueRequest.class,
      responseType = dev.layeron.job.v1.EnqueueResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.layeron.job.v1.EnqueueRequest,
      dev.layeron.job.v1.EnqueueResponse> getEnqueueMethod() {
    io.grpc.MethodDescriptor<dev.layeron.job.v1.EnqueueRequest, dev.layeron.job.v1.EnqueueResponse> getEnqueueMethod;
    if ((getEnqueueMethod = JobServiceGrpc.getEnqueueMethod) == null) {
      synchronized (JobServiceGrpc.class) {
        if ((getEnqueueMethod = JobServiceGrpc.getEnqueueMethod) == null) {
          JobServiceGrpc.getEnqueueMethod = getEnqueueMethod =
              io.grpc.MethodDescriptor.<dev.layeron.job.v1.EnqueueRequest, dev.layeron.job.v1.EnqueueResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Enqueue"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.layeron.job.v1.EnqueueRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.layeron.job.v1.EnqueueResponse.getDefaultInstance()))
              .setSchemaDescriptor(new JobServiceMethodDescriptorSupplier("Enqueue"))
              .build();
        }
      }
    }
    return getEnqueueMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.layeron.job.v1.EnqueueBatchRequest,
      dev.layeron.job.v1.EnqueueBatchResponse> getEnqueueBatchMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "EnqueueBatch",
      requestType = dev.layeron.job.v1.EnqueueBatchRequest.class,
      responseType = dev.layeron.job.v1.EnqueueBatchResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.layeron.job.v1.EnqueueBatchRequest,
      dev.layeron.job.v1.EnqueueBatchResponse> getEnqueueBatchMethod() {
    io.grpc.MethodDescriptor<dev.layeron.job.v1.EnqueueBatchRequest, dev.layeron.job.v1.EnqueueBatchResponse> getEnqueueBatchMethod;
    if ((getEnqueueBatchMethod = JobServiceGrpc.getEnqueueBatchMethod) == null) {
      synchronized (JobServiceGrpc.class) {
        if ((getEnqueueBatchMethod = JobServiceGrpc.getEnqueueBatchMethod) == null) {
          JobServiceGrpc.getEnqueueBatchMethod = getEnqueueBatchMethod =
              io.grpc.MethodDescriptor.<dev.layeron.job.v1.EnqueueBatchRequest, dev.layeron.job.v1.EnqueueBatchResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "EnqueueBatch"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.layeron.job.v1.EnqueueBatchRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.layeron.job.v1.EnqueueBatchResponse.getDefaultInstance()))
              .setSchemaDescriptor(new JobServiceMethodDescriptorSupplier("EnqueueBatch"))
              .build();
        }
      }
    }
    return getEnqueueBatchMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.layeron.job.v1.GetRunRequest,
      dev.layeron.job.v1.GetRunResponse> getGetRunMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "GetRun",
      requestType = dev.layeron.job.v1.GetRunRequest.class,
      responseType = dev.layeron.job.v1.GetRunResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.layeron.job.v1.GetRunRequest,
      dev.layeron.job.v1.GetRunResponse> getGetRunMethod() {
    io.grpc.MethodDescriptor<dev.layeron.job.v1.GetRunRequest, dev.layeron.job.v1.GetRunResponse> getGetRunMethod;
    if ((getGetRunMethod = JobServiceGrpc.getGetRunMethod) == null) {
      synchronized (JobServiceGrpc.class) {
        if ((getGetRunMethod = JobServiceGrpc.getGetRunMethod) == null) {
          JobServiceGrpc.getGetRunMethod = getGetRunMethod =
              io.grpc.MethodDescriptor.<dev.layeron.job.v1.GetRunRequest, dev.layeron.job.v1.GetRunResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "GetRun"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.layeron.job.v1.GetRunRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.layeron.job.v1.GetRunResponse.getDefaultInstance()))
              .setSchemaDescriptor(new JobServiceMethodDescriptorSupplier("GetRun"))
              .build();
        }
      }
    }
    return getGetRunMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.layeron.job.v1.ListRunsRequest,
      dev.layeron.job.v1.ListRunsResponse> getListRunsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListRuns",
      requestType = dev.layeron.job.v1.ListRunsRequest.class,
      responseType = dev.layeron.job.v1.ListRunsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.layeron.job.v1.ListRunsRequest,
      dev.layeron.job.v1.ListRunsResponse> getListRunsMethod() {
    io.grpc.MethodDescriptor<dev.layeron.job.v1.ListRunsRequest, dev.layeron.job.v1.ListRunsResponse> getListRunsMethod;
    if ((getListRunsMethod = JobServiceGrpc.getListRunsMethod) == null) {
      synchronized (JobServiceGrpc.class) {
        if ((getListRunsMethod = JobServiceGrpc.getListRunsMethod) == null) {
          JobServiceGrpc.getListRunsMethod = getListRunsMethod =
              io.grpc.MethodDescriptor.<dev.layeron.job.v1.ListRunsRequest, dev.layeron.job.v1.ListRunsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListRuns"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.layeron.job.v1.ListRunsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.layeron.job.v1.ListRunsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new JobServiceMethodDescriptorSupplier("ListRuns"))
              .build();
        }
      }
    }
    return getListRunsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.layeron.job.v1.WaitRunRequest,
      dev.layeron.job.v1.WaitRunResponse> getWaitRunMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "WaitRun",
      requestType = dev.layeron.job.v1.WaitRunRequest.class,
      responseType = dev.layeron.job.v1.WaitRunResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.layeron.job.v1.WaitRunRequest,
      dev.layeron.job.v1.WaitRunResponse> getWaitRunMethod() {
    io.grpc.MethodDescriptor<dev.layeron.job.v1.WaitRunRequest, dev.layeron.job.v1.WaitRunResponse> getWaitRunMethod;
    if ((getWaitRunMethod = JobServiceGrpc.getWaitRunMethod) == null) {
      synchronized (JobServiceGrpc.class) {
        if ((getWaitRunMethod = JobServiceGrpc.getWaitRunMethod) == null) {
          JobServiceGrpc.getWaitRunMethod = getWaitRunMethod =
              io.grpc.MethodDescriptor.<dev.layeron.job.v1.WaitRunRequest, dev.layeron.job.v1.WaitRunResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "WaitRun"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.layeron.job.v1.WaitRunRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.layeron.job.v1.WaitRunResponse.getDefaultInstance()))
              .setSchemaDescriptor(new JobServiceMethodDescriptorSupplier("WaitRun"))
              .build();
        }
      }
    }
    return getWaitRunMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.layeron.job.v1.WatchRunsRequest,
      dev.layeron.job.v1.WatchRunsResponse> getWatchRunsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "WatchRuns",
      requestType = dev.layeron.job.v1.WatchRunsRequest.class,
      responseType = dev.layeron.job.v1.WatchRunsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<dev.layeron.job.v1.WatchRunsRequest,
      dev.layeron.job.v1.WatchRunsResponse> getWatchRunsMethod() {
    io.grpc.MethodDescriptor<dev.layeron.job.v1.WatchRunsRequest, dev.layeron.job.v1.WatchRunsResponse> getWatchRunsMethod;
    if ((getWatchRunsMethod = JobServiceGrpc.getWatchRunsMethod) == null) {
      synchronized (JobServiceGrpc.class) {
        if ((getWatchRunsMethod = JobServiceGrpc.getWatchRunsMethod) == null) {
          JobServiceGrpc.getWatchRunsMethod = getWatchRunsMethod =
              io.grpc.MethodDescriptor.<dev.layeron.job.v1.WatchRunsRequest, dev.layeron.job.v1.WatchRunsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "WatchRuns"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.layeron.job.v1.WatchRunsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.layeron.job.v1.WatchRunsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new JobServiceMethodDescriptorSupplier("WatchRuns"))
              .build();
        }
      }
    }
    return getWatchRunsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.layeron.job.v1.CancelRunRequest,
      dev.layeron.job.v1.CancelRunResponse> getCancelRunMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "CancelRun",
      requestType = dev.layeron.job.v1.CancelRunRequest.class,
      responseType = dev.layeron.job.v1.CancelRunResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.layeron.job.v1.CancelRunRequest,
      dev.layeron.job.v1.CancelRunResponse> getCancelRunMethod() {
    io.grpc.MethodDescriptor<dev.layeron.job.v1.CancelRunRequest, dev.layeron.job.v1.CancelRunResponse> getCancelRunMethod;
    if ((getCancelRunMethod = JobServiceGrpc.getCancelRunMethod) == null) {
      synchronized (JobServiceGrpc.class) {
        if ((getCancelRunMethod = JobServiceGrpc.getCancelRunMethod) == null) {
          JobServiceGrpc.getCancelRunMethod = getCancelRunMethod =
              io.grpc.MethodDescriptor.<dev.layeron.job.v1.CancelRunRequest, dev.layeron.job.v1.CancelRunResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "CancelRun"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.layeron.job.v1.CancelRunRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.layeron.job.v1.CancelRunResponse.getDefaultInstance()))
              .setSchemaDescriptor(new JobServiceMethodDescriptorSupplier("CancelRun"))
              .build();
        }
      }
    }
    return getCancelRunMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.layeron.job.v1.ReplayRunRequest,
      dev.layeron.job.v1.ReplayRunResponse> getReplayRunMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ReplayRun",
      requestType = dev.layeron.job.v1.ReplayRunRequest.class,
      responseType = dev.layeron.job.v1.ReplayRunResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.layeron.job.v1.ReplayRunRequest,
      dev.layeron.job.v1.ReplayRunResponse> getReplayRunMethod() {
    io.grpc.MethodDescriptor<dev.layeron.job.v1.ReplayRunRequest, dev.layeron.job.v1.ReplayRunResponse> getReplayRunMethod;
    if ((getReplayRunMethod = JobServiceGrpc.getReplayRunMethod) == null) {
      synchronized (JobServiceGrpc.class) {
        if ((getReplayRunMethod = JobServiceGrpc.getReplayRunMethod) == null) {
          JobServiceGrpc.getReplayRunMethod = getReplayRunMethod =
              io.grpc.MethodDescriptor.<dev.layeron.job.v1.ReplayRunRequest, dev.layeron.job.v1.ReplayRunResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ReplayRun"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.layeron.job.v1.ReplayRunRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.layeron.job.v1.ReplayRunResponse.getDefaultInstance()))
              .setSchemaDescriptor(new JobServiceMethodDescriptorSupplier("ReplayRun"))
              .build();
        }
      }
    }
    return getReplayRunMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static JobServiceStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<JobServiceStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<JobServiceStub>() {
        @java.lang.Override
        public JobServiceStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new JobServiceStub(channel, callOptions);
        }
      };
    return JobServiceStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static JobServiceBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<JobServiceBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<JobServiceBlockingV2Stub>() {
        @java.lang.Override
        public JobServiceBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new JobServiceBlockingV2Stub(channel, callOptions);
        }
      };
    return JobServiceBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static JobServiceBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<JobServiceBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<JobServiceBlockingStub>() {
        @java.lang.Override
        public JobServiceBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new JobServiceBlockingStub(channel, callOptions);
        }
      };
    return JobServiceBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static JobServiceFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<JobServiceFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<JobServiceFutureStub>() {
        @java.lang.Override
        public JobServiceFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new JobServiceFutureStub(channel, callOptions);
        }
      };
    return JobServiceFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * JobService is for applications and operators: ask for runs, look at them, stop them, do them again.
   * A namespace left empty means "default".
   * Every error, of all three services, is a google.rpc.Status with one google.rpc.ErrorInfo (domain "layeron.job"), and
   * with BadRequest field violations, RetryInfo or ResourceInfo where they apply. It fits into 8 KiB of trailers: long
   * texts are cut, and of very many violations the first are named. The reasons of ErrorInfo, and their metadata:
   * - INVALID_ARGUMENT: INVALID_ARGUMENT (see the violations), PAGE_TOKEN_INVALID, CANNOT_BE_STORED (the database refuses
   *   what nothing else is wrong with; subject).
   * - NOT_FOUND: RUN_NOT_FOUND (namespace, run_id), TASK_NOT_FOUND (namespace, task).
   * - ALREADY_EXISTS: IDEMPOTENCY_KEY_REUSED (run_id: whose key it is), RUN_ID_REUSED.
   * - FAILED_PRECONDITION: TASK_NOT_REGISTERED (namespace, task), RUN_ALREADY_FINISHED and RUN_NOT_FINISHED (run_id,
   *   status), WATCH_TOKEN_EXPIRED, FILTER_TOO_BROAD (a list took too long).
   * - PERMISSION_DENIED: PERMISSION_DENIED (action, namespace).
   * - RESOURCE_EXHAUSTED: OVERLOADED with RetryInfo (subject: what there is too much of). Nothing was done.
   * - UNAVAILABLE: DATABASE_UNAVAILABLE, SERVER_SHUTTING_DOWN. It may have been done.
   * - INTERNAL: INTERNAL, a bug of the server (error_id: what to look for in its log).
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * Enqueue asks for one run. Once it is answered OK the run is durable.
     * Errors: INVALID_ARGUMENT; FAILED_PRECONDITION TASK_NOT_REGISTERED; ALREADY_EXISTS IDEMPOTENCY_KEY_REUSED or
     * RUN_ID_REUSED; RESOURCE_EXHAUSTED OVERLOADED with RetryInfo; UNAVAILABLE DATABASE_UNAVAILABLE.
     * </pre>
     */
    default void enqueue(dev.layeron.job.v1.EnqueueRequest request,
        io.grpc.stub.StreamObserver<dev.layeron.job.v1.EnqueueResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getEnqueueMethod(), responseObserver);
    }

    /**
     * <pre>
     * EnqueueBatch asks for up to 1,000 runs in 4 MiB, all or nothing. Errors are those of Enqueue; the item that is to
     * blame is in a field violation, as items[i].field or, if the database refuses it, items[i].
     * </pre>
     */
    default void enqueueBatch(dev.layeron.job.v1.EnqueueBatchRequest request,
        io.grpc.stub.StreamObserver<dev.layeron.job.v1.EnqueueBatchResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getEnqueueBatchMethod(), responseObserver);
    }

    /**
     * <pre>
     * GetRun answers one run with its attempts and transitions. Errors: NOT_FOUND RUN_NOT_FOUND.
     * </pre>
     */
    default void getRun(dev.layeron.job.v1.GetRunRequest request,
        io.grpc.stub.StreamObserver<dev.layeron.job.v1.GetRunResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGetRunMethod(), responseObserver);
    }

    /**
     * <pre>
     * ListRuns answers the runs that match a filter, newest first, page by page.
     * </pre>
     */
    default void listRuns(dev.layeron.job.v1.ListRunsRequest request,
        io.grpc.stub.StreamObserver<dev.layeron.job.v1.ListRunsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListRunsMethod(), responseObserver);
    }

    /**
     * <pre>
     * WaitRun answers once the run is terminal, or with the run as it is when the timeout has passed.
     * </pre>
     */
    default void waitRun(dev.layeron.job.v1.WaitRunRequest request,
        io.grpc.stub.StreamObserver<dev.layeron.job.v1.WaitRunResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getWaitRunMethod(), responseObserver);
    }

    /**
     * <pre>
     * WatchRuns streams the transitions of one run (until it is terminal) or of all runs that match a filter.
     * </pre>
     */
    default void watchRuns(dev.layeron.job.v1.WatchRunsRequest request,
        io.grpc.stub.StreamObserver<dev.layeron.job.v1.WatchRunsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getWatchRunsMethod(), responseObserver);
    }

    /**
     * <pre>
     * CancelRun ends a waiting run at once. A running one is told; if its handler succeeds first, it stays a success.
     * Canceling a canceled run answers it again. Errors: FAILED_PRECONDITION RUN_ALREADY_FINISHED.
     * </pre>
     */
    default void cancelRun(dev.layeron.job.v1.CancelRunRequest request,
        io.grpc.stub.StreamObserver<dev.layeron.job.v1.CancelRunResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getCancelRunMethod(), responseObserver);
    }

    /**
     * <pre>
     * ReplayRun makes a new run of the same task and payload, linked to a terminal one. It has the old one's queue,
     * priority, retry policy, timeout, labels, name and trace context, also if the task has others by now; it has neither
     * its idempotency key nor its start_by.
     * Errors: FAILED_PRECONDITION RUN_NOT_FINISHED.
     * </pre>
     */
    default void replayRun(dev.layeron.job.v1.ReplayRunRequest request,
        io.grpc.stub.StreamObserver<dev.layeron.job.v1.ReplayRunResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getReplayRunMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service JobService.
   * <pre>
   * JobService is for applications and operators: ask for runs, look at them, stop them, do them again.
   * A namespace left empty means "default".
   * Every error, of all three services, is a google.rpc.Status with one google.rpc.ErrorInfo (domain "layeron.job"), and
   * with BadRequest field violations, RetryInfo or ResourceInfo where they apply. It fits into 8 KiB of trailers: long
   * texts are cut, and of very many violations the first are named. The reasons of ErrorInfo, and their metadata:
   * - INVALID_ARGUMENT: INVALID_ARGUMENT (see the violations), PAGE_TOKEN_INVALID, CANNOT_BE_STORED (the database refuses
   *   what nothing else is wrong with; subject).
   * - NOT_FOUND: RUN_NOT_FOUND (namespace, run_id), TASK_NOT_FOUND (namespace, task).
   * - ALREADY_EXISTS: IDEMPOTENCY_KEY_REUSED (run_id: whose key it is), RUN_ID_REUSED.
   * - FAILED_PRECONDITION: TASK_NOT_REGISTERED (namespace, task), RUN_ALREADY_FINISHED and RUN_NOT_FINISHED (run_id,
   *   status), WATCH_TOKEN_EXPIRED, FILTER_TOO_BROAD (a list took too long).
   * - PERMISSION_DENIED: PERMISSION_DENIED (action, namespace).
   * - RESOURCE_EXHAUSTED: OVERLOADED with RetryInfo (subject: what there is too much of). Nothing was done.
   * - UNAVAILABLE: DATABASE_UNAVAILABLE, SERVER_SHUTTING_DOWN. It may have been done.
   * - INTERNAL: INTERNAL, a bug of the server (error_id: what to look for in its log).
   * </pre>
   */
  public static abstract class JobServiceImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return JobServiceGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service JobService.
   * <pre>
   * JobService is for applications and operators: ask for runs, look at them, stop them, do them again.
   * A namespace left empty means "default".
   * Every error, of all three services, is a google.rpc.Status with one google.rpc.ErrorInfo (domain "layeron.job"), and
   * with BadRequest field violations, RetryInfo or ResourceInfo where they apply. It fits into 8 KiB of trailers: long
   * texts are cut, and of very many violations the first are named. The reasons of ErrorInfo, and their metadata:
   * - INVALID_ARGUMENT: INVALID_ARGUMENT (see the violations), PAGE_TOKEN_INVALID, CANNOT_BE_STORED (the database refuses
   *   what nothing else is wrong with; subject).
   * - NOT_FOUND: RUN_NOT_FOUND (namespace, run_id), TASK_NOT_FOUND (namespace, task).
   * - ALREADY_EXISTS: IDEMPOTENCY_KEY_REUSED (run_id: whose key it is), RUN_ID_REUSED.
   * - FAILED_PRECONDITION: TASK_NOT_REGISTERED (namespace, task), RUN_ALREADY_FINISHED and RUN_NOT_FINISHED (run_id,
   *   status), WATCH_TOKEN_EXPIRED, FILTER_TOO_BROAD (a list took too long).
   * - PERMISSION_DENIED: PERMISSION_DENIED (action, namespace).
   * - RESOURCE_EXHAUSTED: OVERLOADED with RetryInfo (subject: what there is too much of). Nothing was done.
   * - UNAVAILABLE: DATABASE_UNAVAILABLE, SERVER_SHUTTING_DOWN. It may have been done.
   * - INTERNAL: INTERNAL, a bug of the server (error_id: what to look for in its log).
   * </pre>
   */
  public static final class JobServiceStub
      extends io.grpc.stub.AbstractAsyncStub<JobServiceStub> {
    private JobServiceStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected JobServiceStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new JobServiceStub(channel, callOptions);
    }

    /**
     * <pre>
     * Enqueue asks for one run. Once it is answered OK the run is durable.
     * Errors: INVALID_ARGUMENT; FAILED_PRECONDITION TASK_NOT_REGISTERED; ALREADY_EXISTS IDEMPOTENCY_KEY_REUSED or
     * RUN_ID_REUSED; RESOURCE_EXHAUSTED OVERLOADED with RetryInfo; UNAVAILABLE DATABASE_UNAVAILABLE.
     * </pre>
     */
    public void enqueue(dev.layeron.job.v1.EnqueueRequest request,
        io.grpc.stub.StreamObserver<dev.layeron.job.v1.EnqueueResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getEnqueueMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * EnqueueBatch asks for up to 1,000 runs in 4 MiB, all or nothing. Errors are those of Enqueue; the item that is to
     * blame is in a field violation, as items[i].field or, if the database refuses it, items[i].
     * </pre>
     */
    public void enqueueBatch(dev.layeron.job.v1.EnqueueBatchRequest request,
        io.grpc.stub.StreamObserver<dev.layeron.job.v1.EnqueueBatchResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getEnqueueBatchMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * GetRun answers one run with its attempts and transitions. Errors: NOT_FOUND RUN_NOT_FOUND.
     * </pre>
     */
    public void getRun(dev.layeron.job.v1.GetRunRequest request,
        io.grpc.stub.StreamObserver<dev.layeron.job.v1.GetRunResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getGetRunMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * ListRuns answers the runs that match a filter, newest first, page by page.
     * </pre>
     */
    public void listRuns(dev.layeron.job.v1.ListRunsRequest request,
        io.grpc.stub.StreamObserver<dev.layeron.job.v1.ListRunsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListRunsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * WaitRun answers once the run is terminal, or with the run as it is when the timeout has passed.
     * </pre>
     */
    public void waitRun(dev.layeron.job.v1.WaitRunRequest request,
        io.grpc.stub.StreamObserver<dev.layeron.job.v1.WaitRunResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getWaitRunMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * WatchRuns streams the transitions of one run (until it is terminal) or of all runs that match a filter.
     * </pre>
     */
    public void watchRuns(dev.layeron.job.v1.WatchRunsRequest request,
        io.grpc.stub.StreamObserver<dev.layeron.job.v1.WatchRunsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getWatchRunsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * CancelRun ends a waiting run at once. A running one is told; if its handler succeeds first, it stays a success.
     * Canceling a canceled run answers it again. Errors: FAILED_PRECONDITION RUN_ALREADY_FINISHED.
     * </pre>
     */
    public void cancelRun(dev.layeron.job.v1.CancelRunRequest request,
        io.grpc.stub.StreamObserver<dev.layeron.job.v1.CancelRunResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getCancelRunMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * ReplayRun makes a new run of the same task and payload, linked to a terminal one. It has the old one's queue,
     * priority, retry policy, timeout, labels, name and trace context, also if the task has others by now; it has neither
     * its idempotency key nor its start_by.
     * Errors: FAILED_PRECONDITION RUN_NOT_FINISHED.
     * </pre>
     */
    public void replayRun(dev.layeron.job.v1.ReplayRunRequest request,
        io.grpc.stub.StreamObserver<dev.layeron.job.v1.ReplayRunResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getReplayRunMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service JobService.
   * <pre>
   * JobService is for applications and operators: ask for runs, look at them, stop them, do them again.
   * A namespace left empty means "default".
   * Every error, of all three services, is a google.rpc.Status with one google.rpc.ErrorInfo (domain "layeron.job"), and
   * with BadRequest field violations, RetryInfo or ResourceInfo where they apply. It fits into 8 KiB of trailers: long
   * texts are cut, and of very many violations the first are named. The reasons of ErrorInfo, and their metadata:
   * - INVALID_ARGUMENT: INVALID_ARGUMENT (see the violations), PAGE_TOKEN_INVALID, CANNOT_BE_STORED (the database refuses
   *   what nothing else is wrong with; subject).
   * - NOT_FOUND: RUN_NOT_FOUND (namespace, run_id), TASK_NOT_FOUND (namespace, task).
   * - ALREADY_EXISTS: IDEMPOTENCY_KEY_REUSED (run_id: whose key it is), RUN_ID_REUSED.
   * - FAILED_PRECONDITION: TASK_NOT_REGISTERED (namespace, task), RUN_ALREADY_FINISHED and RUN_NOT_FINISHED (run_id,
   *   status), WATCH_TOKEN_EXPIRED, FILTER_TOO_BROAD (a list took too long).
   * - PERMISSION_DENIED: PERMISSION_DENIED (action, namespace).
   * - RESOURCE_EXHAUSTED: OVERLOADED with RetryInfo (subject: what there is too much of). Nothing was done.
   * - UNAVAILABLE: DATABASE_UNAVAILABLE, SERVER_SHUTTING_DOWN. It may have been done.
   * - INTERNAL: INTERNAL, a bug of the server (error_id: what to look for in its log).
   * </pre>
   */
  public static final class JobServiceBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<JobServiceBlockingV2Stub> {
    private JobServiceBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected JobServiceBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new JobServiceBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * Enqueue asks for one run. Once it is answered OK the run is durable.
     * Errors: INVALID_ARGUMENT; FAILED_PRECONDITION TASK_NOT_REGISTERED; ALREADY_EXISTS IDEMPOTENCY_KEY_REUSED or
     * RUN_ID_REUSED; RESOURCE_EXHAUSTED OVERLOADED with RetryInfo; UNAVAILABLE DATABASE_UNAVAILABLE.
     * </pre>
     */
    public dev.layeron.job.v1.EnqueueResponse enqueue(dev.layeron.job.v1.EnqueueRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getEnqueueMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * EnqueueBatch asks for up to 1,000 runs in 4 MiB, all or nothing. Errors are those of Enqueue; the item that is to
     * blame is in a field violation, as items[i].field or, if the database refuses it, items[i].
     * </pre>
     */
    public dev.layeron.job.v1.EnqueueBatchResponse enqueueBatch(dev.layeron.job.v1.EnqueueBatchRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getEnqueueBatchMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * GetRun answers one run with its attempts and transitions. Errors: NOT_FOUND RUN_NOT_FOUND.
     * </pre>
     */
    public dev.layeron.job.v1.GetRunResponse getRun(dev.layeron.job.v1.GetRunRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getGetRunMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * ListRuns answers the runs that match a filter, newest first, page by page.
     * </pre>
     */
    public dev.layeron.job.v1.ListRunsResponse listRuns(dev.layeron.job.v1.ListRunsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListRunsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * WaitRun answers once the run is terminal, or with the run as it is when the timeout has passed.
     * </pre>
     */
    public dev.layeron.job.v1.WaitRunResponse waitRun(dev.layeron.job.v1.WaitRunRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getWaitRunMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * WatchRuns streams the transitions of one run (until it is terminal) or of all runs that match a filter.
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, dev.layeron.job.v1.WatchRunsResponse>
        watchRuns(dev.layeron.job.v1.WatchRunsRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getWatchRunsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * CancelRun ends a waiting run at once. A running one is told; if its handler succeeds first, it stays a success.
     * Canceling a canceled run answers it again. Errors: FAILED_PRECONDITION RUN_ALREADY_FINISHED.
     * </pre>
     */
    public dev.layeron.job.v1.CancelRunResponse cancelRun(dev.layeron.job.v1.CancelRunRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getCancelRunMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * ReplayRun makes a new run of the same task and payload, linked to a terminal one. It has the old one's queue,
     * priority, retry policy, timeout, labels, name and trace context, also if the task has others by now; it has neither
     * its idempotency key nor its start_by.
     * Errors: FAILED_PRECONDITION RUN_NOT_FINISHED.
     * </pre>
     */
    public dev.layeron.job.v1.ReplayRunResponse replayRun(dev.layeron.job.v1.ReplayRunRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getReplayRunMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service JobService.
   * <pre>
   * JobService is for applications and operators: ask for runs, look at them, stop them, do them again.
   * A namespace left empty means "default".
   * Every error, of all three services, is a google.rpc.Status with one google.rpc.ErrorInfo (domain "layeron.job"), and
   * with BadRequest field violations, RetryInfo or ResourceInfo where they apply. It fits into 8 KiB of trailers: long
   * texts are cut, and of very many violations the first are named. The reasons of ErrorInfo, and their metadata:
   * - INVALID_ARGUMENT: INVALID_ARGUMENT (see the violations), PAGE_TOKEN_INVALID, CANNOT_BE_STORED (the database refuses
   *   what nothing else is wrong with; subject).
   * - NOT_FOUND: RUN_NOT_FOUND (namespace, run_id), TASK_NOT_FOUND (namespace, task).
   * - ALREADY_EXISTS: IDEMPOTENCY_KEY_REUSED (run_id: whose key it is), RUN_ID_REUSED.
   * - FAILED_PRECONDITION: TASK_NOT_REGISTERED (namespace, task), RUN_ALREADY_FINISHED and RUN_NOT_FINISHED (run_id,
   *   status), WATCH_TOKEN_EXPIRED, FILTER_TOO_BROAD (a list took too long).
   * - PERMISSION_DENIED: PERMISSION_DENIED (action, namespace).
   * - RESOURCE_EXHAUSTED: OVERLOADED with RetryInfo (subject: what there is too much of). Nothing was done.
   * - UNAVAILABLE: DATABASE_UNAVAILABLE, SERVER_SHUTTING_DOWN. It may have been done.
   * - INTERNAL: INTERNAL, a bug of the server (error_id: what to look for in its log).
   * </pre>
   */
  public static final class JobServiceBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<JobServiceBlockingStub> {
    private JobServiceBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected JobServiceBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new JobServiceBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * Enqueue asks for one run. Once it is answered OK the run is durable.
     * Errors: INVALID_ARGUMENT; FAILED_PRECONDITION TASK_NOT_REGISTERED; ALREADY_EXISTS IDEMPOTENCY_KEY_REUSED or
     * RUN_ID_REUSED; RESOURCE_EXHAUSTED OVERLOADED with RetryInfo; UNAVAILABLE DATABASE_UNAVAILABLE.
     * </pre>
     */
    public dev.layeron.job.v1.EnqueueResponse enqueue(dev.layeron.job.v1.EnqueueRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getEnqueueMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * EnqueueBatch asks for up to 1,000 runs in 4 MiB, all or nothing. Errors are those of Enqueue; the item that is to
     * blame is in a field violation, as items[i].field or, if the database refuses it, items[i].
     * </pre>
     */
    public dev.layeron.job.v1.EnqueueBatchResponse enqueueBatch(dev.layeron.job.v1.EnqueueBatchRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getEnqueueBatchMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * GetRun answers one run with its attempts and transitions. Errors: NOT_FOUND RUN_NOT_FOUND.
     * </pre>
     */
    public dev.layeron.job.v1.GetRunResponse getRun(dev.layeron.job.v1.GetRunRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getGetRunMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * ListRuns answers the runs that match a filter, newest first, page by page.
     * </pre>
     */
    public dev.layeron.job.v1.ListRunsResponse listRuns(dev.layeron.job.v1.ListRunsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListRunsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * WaitRun answers once the run is terminal, or with the run as it is when the timeout has passed.
     * </pre>
     */
    public dev.layeron.job.v1.WaitRunResponse waitRun(dev.layeron.job.v1.WaitRunRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getWaitRunMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * WatchRuns streams the transitions of one run (until it is terminal) or of all runs that match a filter.
     * </pre>
     */
    public java.util.Iterator<dev.layeron.job.v1.WatchRunsResponse> watchRuns(
        dev.layeron.job.v1.WatchRunsRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getWatchRunsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * CancelRun ends a waiting run at once. A running one is told; if its handler succeeds first, it stays a success.
     * Canceling a canceled run answers it again. Errors: FAILED_PRECONDITION RUN_ALREADY_FINISHED.
     * </pre>
     */
    public dev.layeron.job.v1.CancelRunResponse cancelRun(dev.layeron.job.v1.CancelRunRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getCancelRunMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * ReplayRun makes a new run of the same task and payload, linked to a terminal one. It has the old one's queue,
     * priority, retry policy, timeout, labels, name and trace context, also if the task has others by now; it has neither
     * its idempotency key nor its start_by.
     * Errors: FAILED_PRECONDITION RUN_NOT_FINISHED.
     * </pre>
     */
    public dev.layeron.job.v1.ReplayRunResponse replayRun(dev.layeron.job.v1.ReplayRunRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getReplayRunMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service JobService.
   * <pre>
   * JobService is for applications and operators: ask for runs, look at them, stop them, do them again.
   * A namespace left empty means "default".
   * Every error, of all three services, is a google.rpc.Status with one google.rpc.ErrorInfo (domain "layeron.job"), and
   * with BadRequest field violations, RetryInfo or ResourceInfo where they apply. It fits into 8 KiB of trailers: long
   * texts are cut, and of very many violations the first are named. The reasons of ErrorInfo, and their metadata:
   * - INVALID_ARGUMENT: INVALID_ARGUMENT (see the violations), PAGE_TOKEN_INVALID, CANNOT_BE_STORED (the database refuses
   *   what nothing else is wrong with; subject).
   * - NOT_FOUND: RUN_NOT_FOUND (namespace, run_id), TASK_NOT_FOUND (namespace, task).
   * - ALREADY_EXISTS: IDEMPOTENCY_KEY_REUSED (run_id: whose key it is), RUN_ID_REUSED.
   * - FAILED_PRECONDITION: TASK_NOT_REGISTERED (namespace, task), RUN_ALREADY_FINISHED and RUN_NOT_FINISHED (run_id,
   *   status), WATCH_TOKEN_EXPIRED, FILTER_TOO_BROAD (a list took too long).
   * - PERMISSION_DENIED: PERMISSION_DENIED (action, namespace).
   * - RESOURCE_EXHAUSTED: OVERLOADED with RetryInfo (subject: what there is too much of). Nothing was done.
   * - UNAVAILABLE: DATABASE_UNAVAILABLE, SERVER_SHUTTING_DOWN. It may have been done.
   * - INTERNAL: INTERNAL, a bug of the server (error_id: what to look for in its log).
   * </pre>
   */
  public static final class JobServiceFutureStub
      extends io.grpc.stub.AbstractFutureStub<JobServiceFutureStub> {
    private JobServiceFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected JobServiceFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new JobServiceFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * Enqueue asks for one run. Once it is answered OK the run is durable.
     * Errors: INVALID_ARGUMENT; FAILED_PRECONDITION TASK_NOT_REGISTERED; ALREADY_EXISTS IDEMPOTENCY_KEY_REUSED or
     * RUN_ID_REUSED; RESOURCE_EXHAUSTED OVERLOADED with RetryInfo; UNAVAILABLE DATABASE_UNAVAILABLE.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.layeron.job.v1.EnqueueResponse> enqueue(
        dev.layeron.job.v1.EnqueueRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getEnqueueMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * EnqueueBatch asks for up to 1,000 runs in 4 MiB, all or nothing. Errors are those of Enqueue; the item that is to
     * blame is in a field violation, as items[i].field or, if the database refuses it, items[i].
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.layeron.job.v1.EnqueueBatchResponse> enqueueBatch(
        dev.layeron.job.v1.EnqueueBatchRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getEnqueueBatchMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * GetRun answers one run with its attempts and transitions. Errors: NOT_FOUND RUN_NOT_FOUND.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.layeron.job.v1.GetRunResponse> getRun(
        dev.layeron.job.v1.GetRunRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getGetRunMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * ListRuns answers the runs that match a filter, newest first, page by page.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.layeron.job.v1.ListRunsResponse> listRuns(
        dev.layeron.job.v1.ListRunsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListRunsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * WaitRun answers once the run is terminal, or with the run as it is when the timeout has passed.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.layeron.job.v1.WaitRunResponse> waitRun(
        dev.layeron.job.v1.WaitRunRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getWaitRunMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * CancelRun ends a waiting run at once. A running one is told; if its handler succeeds first, it stays a success.
     * Canceling a canceled run answers it again. Errors: FAILED_PRECONDITION RUN_ALREADY_FINISHED.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.layeron.job.v1.CancelRunResponse> cancelRun(
        dev.layeron.job.v1.CancelRunRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getCancelRunMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * ReplayRun makes a new run of the same task and payload, linked to a terminal one. It has the old one's queue,
     * priority, retry policy, timeout, labels, name and trace context, also if the task has others by now; it has neither
     * its idempotency key nor its start_by.
     * Errors: FAILED_PRECONDITION RUN_NOT_FINISHED.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.layeron.job.v1.ReplayRunResponse> replayRun(
        dev.layeron.job.v1.ReplayRunRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getReplayRunMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_ENQUEUE = 0;
  private static final int METHODID_ENQUEUE_BATCH = 1;
  private static final int METHODID_GET_RUN = 2;
  private static final int METHODID_LIST_RUNS = 3;
  private static final int METHODID_WAIT_RUN = 4;
  private static final int METHODID_WATCH_RUNS = 5;
  private static final int METHODID_CANCEL_RUN = 6;
  private static final int METHODID_REPLAY_RUN = 7;

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
        case METHODID_ENQUEUE:
          serviceImpl.enqueue((dev.layeron.job.v1.EnqueueRequest) request,
              (io.grpc.stub.StreamObserver<dev.layeron.job.v1.EnqueueResponse>) responseObserver);
          break;
        case METHODID_ENQUEUE_BATCH:
          serviceImpl.enqueueBatch((dev.layeron.job.v1.EnqueueBatchRequest) request,
              (io.grpc.stub.StreamObserver<dev.layeron.job.v1.EnqueueBatchResponse>) responseObserver);
          break;
        case METHODID_GET_RUN:
          serviceImpl.getRun((dev.layeron.job.v1.GetRunRequest) request,
              (io.grpc.stub.StreamObserver<dev.layeron.job.v1.GetRunResponse>) responseObserver);
          break;
        case METHODID_LIST_RUNS:
          serviceImpl.listRuns((dev.layeron.job.v1.ListRunsRequest) request,
              (io.grpc.stub.StreamObserver<dev.layeron.job.v1.ListRunsResponse>) responseObserver);
          break;
        case METHODID_WAIT_RUN:
          serviceImpl.waitRun((dev.layeron.job.v1.WaitRunRequest) request,
              (io.grpc.stub.StreamObserver<dev.layeron.job.v1.WaitRunResponse>) responseObserver);
          break;
        case METHODID_WATCH_RUNS:
          serviceImpl.watchRuns((dev.layeron.job.v1.WatchRunsRequest) request,
              (io.grpc.stub.StreamObserver<dev.layeron.job.v1.WatchRunsResponse>) responseObserver);
          break;
        case METHODID_CANCEL_RUN:
          serviceImpl.cancelRun((dev.layeron.job.v1.CancelRunRequest) request,
              (io.grpc.stub.StreamObserver<dev.layeron.job.v1.CancelRunResponse>) responseObserver);
          break;
        case METHODID_REPLAY_RUN:
          serviceImpl.replayRun((dev.layeron.job.v1.ReplayRunRequest) request,
              (io.grpc.stub.StreamObserver<dev.layeron.job.v1.ReplayRunResponse>) responseObserver);
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
          getEnqueueMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.layeron.job.v1.EnqueueRequest,
              dev.layeron.job.v1.EnqueueResponse>(
                service, METHODID_ENQUEUE)))
        .addMethod(
          getEnqueueBatchMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.layeron.job.v1.EnqueueBatchRequest,
              dev.layeron.job.v1.EnqueueBatchResponse>(
                service, METHODID_ENQUEUE_BATCH)))
        .addMethod(
          getGetRunMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.layeron.job.v1.GetRunRequest,
              dev.layeron.job.v1.GetRunResponse>(
                service, METHODID_GET_RUN)))
        .addMethod(
          getListRunsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.layeron.job.v1.ListRunsRequest,
              dev.layeron.job.v1.ListRunsResponse>(
                service, METHODID_LIST_RUNS)))
        .addMethod(
          getWaitRunMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.layeron.job.v1.WaitRunRequest,
              dev.layeron.job.v1.WaitRunResponse>(
                service, METHODID_WAIT_RUN)))
        .addMethod(
          getWatchRunsMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              dev.layeron.job.v1.WatchRunsRequest,
              dev.layeron.job.v1.WatchRunsResponse>(
                service, METHODID_WATCH_RUNS)))
        .addMethod(
          getCancelRunMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.layeron.job.v1.CancelRunRequest,
              dev.layeron.job.v1.CancelRunResponse>(
                service, METHODID_CANCEL_RUN)))
        .addMethod(
          getReplayRunMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.layeron.job.v1.ReplayRunRequest,
              dev.layeron.job.v1.ReplayRunResponse>(
                service, METHODID_REPLAY_RUN)))
        .build();
  }

  private static abstract class JobServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    JobServiceBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return dev.layeron.job.v1.JobServiceOuterClass.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("JobService");
    }
  }

  private static final class JobServiceFileDescriptorSupplier
      extends JobServiceBaseDescriptorSupplier {
    JobServiceFileDescriptorSupplier() {}
  }

  private static final class JobServiceMethodDescriptorSupplier
      extends JobServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    JobServiceMethodDescriptorSupplier(java.lang.String methodName) {
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
      synchronized (JobServiceGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new JobServiceFileDescriptorSupplier())
              .addMethod(getEnqueueMethod())
              .addMethod(getEnqueueBatchMethod())
              .addMethod(getGetRunMethod())
              .addMethod(getListRunsMethod())
              .addMethod(getWaitRunMethod())
              .addMethod(getWatchRunsMethod())
              .addMethod(getCancelRunMethod())
              .addMethod(getReplayRunMethod())
              .build();
        }
      }
    }
    return result;
  }
}
