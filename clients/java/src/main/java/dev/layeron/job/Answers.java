package dev.layeron.job;

import com.google.protobuf.Timestamp;
import dev.layeron.job.v1.EnqueueBatchResult;
import dev.layeron.job.v1.GetRunResponse;
import dev.layeron.job.v1.RetryPolicy;
import dev.layeron.job.v1.WatchRunsResponse;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** From the contract's messages to plain values; {@link Requests} goes the other way. */
final class Answers {
    private Answers() {}

    static Run run(dev.layeron.job.v1.Run message) {
        return new Run(
                message.getRunId(),
                message.getNamespace(),
                message.getTask(),
                message.getQueue(),
                word(Priority.class, "PRIORITY_", message.getPriority()),
                message.getName(),
                word(RunStatus.class, "RUN_STATUS_", message.getStatus()),
                message.getAttempt(),
                message.getCountedAttempts(),
                Json.read(message.getPayloadJson()),
                message.getPayloadEncoding(),
                Json.read(message.getResultJson()),
                retry(message.getRetry()),
                duration(message.getTimeout()),
                message.getLabelsMap(),
                message.getIdempotencyKey(),
                word(IdempotencyWindow.class, "IDEMPOTENCY_WINDOW_", message.getIdempotencyWindow()),
                message.hasCreatedAt() ? time(message.getCreatedAt()) : null,
                message.hasDueAt() ? time(message.getDueAt()) : null,
                message.hasStartBy() ? time(message.getStartBy()) : null,
                message.hasStartedAt() ? time(message.getStartedAt()) : null,
                message.hasFinishedAt() ? time(message.getFinishedAt()) : null,
                message.hasCancelRequestedAt() ? time(message.getCancelRequestedAt()) : null,
                word(HeldReason.class, "HELD_REASON_", message.getHeldReason()),
                word(RunOrigin.class, "RUN_ORIGIN_", message.getOrigin()),
                message.getOriginId(),
                message.getReplayedBy(),
                message.getTraceContextMap());
    }

    static RunDetails runDetails(GetRunResponse message) {
        return new RunDetails(
                run(message.getRun()),
                message.getAttemptsList().stream().map(Answers::attempt).toList(),
                message.getTransitionsList().stream().map(Answers::transition).toList());
    }

    /** What a watch tells. `before` is the token of the response before: this one's is for all its changes together. */
    static List<RunChange> runChanges(WatchRunsResponse message, String before) {
        List<RunChange> changes = new ArrayList<>(message.getChangesCount());
        for (int at = 0; at < message.getChangesCount(); at++) {
            dev.layeron.job.v1.RunChange one = message.getChanges(at);
            boolean last = at == message.getChangesCount() - 1;
            changes.add(new RunChange(
                    one.getRunId(),
                    one.getTask(),
                    transition(one.getTransition()),
                    last ? message.getResumeToken() : before));
        }
        return changes;
    }

    static BatchResult batchResult(EnqueueBatchResult message, boolean created) {
        return new BatchResult(
                message.getRunId(),
                word(RunStatus.class, "RUN_STATUS_", message.getStatus()),
                created,
                message.getPruned());
    }

    static Task task(dev.layeron.job.v1.Task message) {
        return new Task(
                message.getNamespace(),
                message.getName(),
                message.getQueue(),
                retry(message.getRetry()),
                duration(message.getTimeout()),
                said(word(Priority.class, "PRIORITY_", message.getPriority()), Priority.UNKNOWN),
                message.getRevision(),
                message.hasPausedAt() ? time(message.getPausedAt()) : null,
                message.getPauseReason(),
                time(message.getCreatedAt()),
                time(message.getUpdatedAt()));
    }

    static Attempt attempt(dev.layeron.job.v1.Attempt message) {
        return new Attempt(
                message.getAttemptId(),
                message.getNumber(),
                said(word(AttemptStatus.class, "ATTEMPT_STATUS_", message.getStatus()), AttemptStatus.UNKNOWN),
                time(message.getGrantedAt()),
                message.hasBegunAt() ? time(message.getBegunAt()) : null,
                message.hasEndedAt() ? time(message.getEndedAt()) : null,
                message.getErrorType(),
                message.getErrorMessage(),
                message.getErrorDetail(),
                message.hasRetryAt() ? time(message.getRetryAt()) : null,
                message.getSessionId(),
                message.getWorkerBuild(),
                Json.read(message.getProgressJson()),
                message.getLogTail());
    }

    static Transition transition(dev.layeron.job.v1.Transition message) {
        return new Transition(
                message.getSeq(),
                word(RunStatus.class, "RUN_STATUS_", message.getFromStatus()),
                said(word(RunStatus.class, "RUN_STATUS_", message.getToStatus()), RunStatus.UNKNOWN),
                time(message.getAt()),
                said(
                        word(TransitionReason.class, "TRANSITION_REASON_", message.getReasonCode()),
                        TransitionReason.UNKNOWN),
                message.getNote(),
                message.getActor(),
                message.getAttempt());
    }

    static Retry retry(RetryPolicy message) {
        return new Retry(
                message.hasMaxAttempts() ? message.getMaxAttempts() : 3,
                backoff(message),
                message.hasJitter() ? message.getJitter() : 0.1,
                message.hasMaxElapsed() ? duration(message.getMaxElapsed()) : null,
                message.getNonRetryableTypesList());
    }

    static Duration duration(com.google.protobuf.Duration message) {
        return Duration.ofSeconds(message.getSeconds(), message.getNanos());
    }

    private static Backoff backoff(RetryPolicy message) {
        return switch (message.getBackoffCase()) {
            case FIXED -> new Backoff.Fixed(duration(message.getFixed().getDelay()));
            case CUSTOM ->
                new Backoff.Custom(message.getCustom().getDelaysList().stream()
                        .map(Answers::duration)
                        .toList());
            case EXPONENTIAL, BACKOFF_NOT_SET -> {
                var growing = message.getExponential();
                yield new Backoff.Exponential(
                        growing.hasInitial() ? duration(growing.getInitial()) : Duration.ofSeconds(5),
                        growing.hasMaximum() ? duration(growing.getMaximum()) : Duration.ofSeconds(300),
                        growing.hasMultiplier() ? growing.getMultiplier() : 2);
            }
        };
    }

    private static Instant time(Timestamp message) {
        return Instant.ofEpochSecond(message.getSeconds(), message.getNanos());
    }

    /** Our word for the contract's: null where that says nothing, UNKNOWN where a newer server says it. */
    private static <E extends Enum<E>> @Nullable E word(Class<E> kind, String prefix, Enum<?> message) {
        String name = message.name();
        if (name.equals(prefix + "UNSPECIFIED")) {
            return null;
        }
        return Enum.valueOf(kind, name.equals("UNRECOGNIZED") ? "UNKNOWN" : name.substring(prefix.length()));
    }

    private static <T> T said(@Nullable T word, T otherwise) {
        return word == null ? otherwise : word;
    }
}
