package dev.layeron.job;

import dev.layeron.job.v1.Failure;
import dev.layeron.job.v1.Finish;
import dev.layeron.job.v1.FinishVerdict;
import dev.layeron.job.v1.Grant;
import dev.layeron.job.v1.Hello;
import dev.layeron.job.v1.Start;
import dev.layeron.job.v1.WorkRequest;
import dev.layeron.job.v1.WorkResponse;
import dev.layeron.job.v1.WorkerServiceGrpc;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.stub.StreamObserver;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;

/** A worker by hand, for the task "work": the Work stream with nothing behind it, so that a test says what it does. */
final class HandWorker implements AutoCloseable {
    private final ManagedChannel channel = Grpc.newChannelBuilder(
                    LiveServer.address(), InsecureChannelCredentials.create())
            .build();
    private final BlockingQueue<WorkResponse> heard = new LinkedBlockingQueue<>();
    private final StreamObserver<WorkRequest> say;
    private long starts;

    HandWorker(String namespace) {
        say = WorkerServiceGrpc.newStub(channel).work(new StreamObserver<>() {
            @Override
            public void onNext(WorkResponse response) {
                heard.add(response);
            }

            @Override
            public void onError(Throwable error) {}

            @Override
            public void onCompleted() {}
        });
        say.onNext(WorkRequest.newBuilder()
                .setHello(Hello.newBuilder()
                        .setNamespace(namespace)
                        .addTasks("work")
                        .addQueues("default")
                        .setSlots(10)
                        .setProtocolVersion(1)
                        .setBuildId("by-hand")
                        .setLast(true))
                .build());
        WorkResponse welcome = until(WorkResponse::hasWelcome);
        if (welcome.getWelcome().getSessionId().isEmpty()) {
            throw new AssertionError("no session");
        }
    }

    /** Takes a run and finishes it well, with this JSON as its result. */
    void succeed(String runId, String result) {
        Grant grant = grant(runId);
        finish(Finish.newBuilder().setResultJson(com.google.protobuf.ByteString.copyFromUtf8(result)), grant);
    }

    /** Takes a run and lets its attempt fail. */
    void fail(String runId, boolean forGood) {
        Grant grant = grant(runId);
        Failure failure = Failure.newBuilder()
                .setErrorType("ValueError")
                .setErrorMessage("no")
                .setDoNotRetry(forGood)
                .build();
        finish(Finish.newBuilder().setFailure(failure), grant);
    }

    /** Takes a run, which must be granted. */
    Grant grant(String runId) {
        starts++;
        say.onNext(WorkRequest.newBuilder()
                .addStarts(Start.newBuilder().setStartId(starts).setRunId(runId))
                .build());
        WorkResponse response = until(one -> one.getStartAnswersCount() > 0);
        if (!response.getStartAnswers(0).hasGrant()) {
            throw new AssertionError(response);
        }
        return response.getStartAnswers(0).getGrant();
    }

    private void finish(Finish.Builder outcome, Grant grant) {
        say.onNext(WorkRequest.newBuilder()
                .addFinishes(
                        outcome.setStartId(starts).setRunId(grant.getRunId()).setAttempt(grant.getAttempt()))
                .build());
        FinishVerdict verdict = until(one -> one.getFinishAnswersCount() > 0)
                .getFinishAnswers(0)
                .getVerdict();
        if (verdict != FinishVerdict.FINISH_VERDICT_RECORDED) {
            throw new AssertionError(verdict);
        }
    }

    private WorkResponse until(Predicate<WorkResponse> wanted) {
        while (true) {
            try {
                WorkResponse response = heard.poll(10, TimeUnit.SECONDS);
                if (response == null) {
                    throw new AssertionError("the server did not answer");
                }
                if (wanted.test(response)) {
                    return response;
                }
            } catch (InterruptedException interrupted) {
                throw new AssertionError(interrupted);
            }
        }
    }

    @Override
    public void close() {
        channel.shutdownNow();
    }
}
