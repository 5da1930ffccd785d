package dev.layeron.job;

import com.google.protobuf.Any;
import com.google.protobuf.Message;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import dev.layeron.job.v1.EnqueueBatchRequest;
import dev.layeron.job.v1.EnqueueBatchResponse;
import dev.layeron.job.v1.EnqueueRequest;
import dev.layeron.job.v1.EnqueueResponse;
import dev.layeron.job.v1.GetRunRequest;
import dev.layeron.job.v1.GetRunResponse;
import dev.layeron.job.v1.JobServiceGrpc;
import dev.layeron.job.v1.ListRunsRequest;
import dev.layeron.job.v1.ListRunsResponse;
import dev.layeron.job.v1.ReplayRunRequest;
import dev.layeron.job.v1.ReplayRunResponse;
import dev.layeron.job.v1.WaitRunRequest;
import dev.layeron.job.v1.WaitRunResponse;
import dev.layeron.job.v1.WatchRunsRequest;
import dev.layeron.job.v1.WatchRunsResponse;
import io.grpc.Context;
import io.grpc.Grpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;

/**
 * A server that answers by script: for faults that a real one does not show on demand. Each call takes the next step of
 * `script`.
 */
final class Peer extends JobServiceGrpc.JobServiceImplBase implements AutoCloseable {
    final BlockingQueue<Step> script = new LinkedBlockingQueue<>();
    final BlockingQueue<Message> requests = new LinkedBlockingQueue<>();
    final BlockingQueue<Metadata> headers = new LinkedBlockingQueue<>();
    final CountDownLatch hungUp = new CountDownLatch(1);
    private final Server server;

    /** What is done with one call. */
    @FunctionalInterface
    interface Step {
        void answer(Message request, StreamObserver<Message> to);
    }

    Peer() throws IOException {
        this(0);
    }

    /** On this port, or on a free one. */
    Peer(int port) throws IOException {
        server = Grpc.newServerBuilderForPort(port, InsecureServerCredentials.create())
                .addService(this)
                .intercept(new ServerInterceptor() {
                    @Override
                    public <Q, A> ServerCall.Listener<Q> interceptCall(
                            ServerCall<Q, A> call, Metadata metadata, ServerCallHandler<Q, A> next) {
                        headers.add(metadata);
                        return next.startCall(call, metadata);
                    }
                })
                .build()
                .start();
    }

    String address() {
        return "127.0.0.1:" + server.getPort();
    }

    /** Answers with messages. */
    static Step say(Message... answers) {
        return (request, to) -> {
            List.of(answers).forEach(to::onNext);
            to.onCompleted();
        };
    }

    /** Refuses as gRPC or a proxy does. */
    static Step refuse(Status status) {
        return (request, to) -> to.onError(status.asRuntimeException());
    }

    /** Refuses as the server does. */
    static Step refuse(Status.Code code, String reason, Message... details) {
        return (request, to) -> to.onError(refusal(code, reason, details));
    }

    /** What the server refuses with. */
    static io.grpc.StatusRuntimeException refusal(Status.Code code, String reason, Message... details) {
        var status = com.google.rpc.Status.newBuilder()
                .setCode(code.value())
                .setMessage("refused with " + reason)
                .addDetails(Any.pack(ErrorInfo.newBuilder()
                        .setDomain("layeron.job")
                        .setReason(reason)
                        .putMetadata("about", "this")
                        .build()));
        List.of(details).forEach(detail -> status.addDetails(Any.pack(detail)));
        return StatusProto.toStatusRuntimeException(status.build());
    }

    static RetryInfo retryAfter(Duration wait) {
        return RetryInfo.newBuilder().setRetryDelay(Requests.duration(wait)).build();
    }

    static BadRequest violation(String field, String description) {
        return BadRequest.newBuilder()
                .addFieldViolations(
                        BadRequest.FieldViolation.newBuilder().setField(field).setDescription(description))
                .build();
    }

    /** Never answers, and notices when the caller hangs up. */
    Step hang() {
        return (request, to) -> Context.current().addListener(context -> hungUp.countDown(), Runnable::run);
    }

    private <A> void next(Message request, StreamObserver<A> to) {
        requests.add(request);
        Step step = script.poll();
        if (step == null) {
            to.onError(Status.INTERNAL.withDescription("the script is over").asRuntimeException());
            return;
        }
        @SuppressWarnings("unchecked") // a step answers with what its RPC answers with
        StreamObserver<Message> any = (StreamObserver<Message>) to;
        step.answer(request, any);
    }

    @Override
    public void enqueue(EnqueueRequest request, StreamObserver<EnqueueResponse> to) {
        next(request, to);
    }

    @Override
    public void enqueueBatch(EnqueueBatchRequest request, StreamObserver<EnqueueBatchResponse> to) {
        next(request, to);
    }

    @Override
    public void getRun(GetRunRequest request, StreamObserver<GetRunResponse> to) {
        next(request, to);
    }

    @Override
    public void listRuns(ListRunsRequest request, StreamObserver<ListRunsResponse> to) {
        next(request, to);
    }

    @Override
    public void waitRun(WaitRunRequest request, StreamObserver<WaitRunResponse> to) {
        next(request, to);
    }

    @Override
    public void watchRuns(WatchRunsRequest request, StreamObserver<WatchRunsResponse> to) {
        next(request, to);
    }

    @Override
    public void replayRun(ReplayRunRequest request, StreamObserver<ReplayRunResponse> to) {
        next(request, to);
    }

    /** Returns once the port is free. */
    @Override
    public void close() {
        try {
            server.shutdownNow().awaitTermination();
        } catch (InterruptedException interrupted) {
            throw new AssertionError(interrupted);
        }
    }
}
