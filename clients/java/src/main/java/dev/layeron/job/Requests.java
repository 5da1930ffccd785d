package dev.layeron.job;

import com.google.protobuf.ByteString;
import com.google.protobuf.Timestamp;
import dev.layeron.job.v1.CustomBackoff;
import dev.layeron.job.v1.EnqueueRequest;
import dev.layeron.job.v1.ExponentialBackoff;
import dev.layeron.job.v1.FixedBackoff;
import dev.layeron.job.v1.JsonForm;
import dev.layeron.job.v1.ReplayRunRequest;
import dev.layeron.job.v1.RetryPolicy;
import java.time.Duration;
import java.time.Instant;
import java.util.Map;
import java.util.function.Consumer;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/** From plain values to the contract's messages; {@link Answers} goes the other way. */
final class Requests {
    private Requests() {}

    /** A run to be made. `trace` is its trace context if the options have none. */
    static EnqueueRequest enqueue(Item item, String runId, Json json, Map<String, String> trace) {
        EnqueueOptions options = item.options();
        EnqueueRequest.Builder request = EnqueueRequest.newBuilder()
                .setTask(Limits.text("task", item.task()))
                .setRunId(runId)
                .putAllLabels(options.labels())
                .setName(options.name())
                .setPayloadEncoding(options.payloadEncoding())
                .putAllTraceContext(options.traceContext() == null ? trace : options.traceContext());
        put(payload(item.payload(), json), request::setPayloadJson);
        put(options.delay(), Requests::duration, request::setDelay);
        put(options.runAt(), Requests::time, request::setRunAt);
        put(options.startBy(), Requests::time, request::setStartBy);
        put(options.idempotencyKey(), request::setIdempotencyKey);
        put(options.idempotencyWindow(), Requests::window, request::setIdempotencyWindow);
        put(options.idempotencyTtl(), Requests::duration, request::setIdempotencyTtl);
        put(options.retry(), Requests::retry, request::setRetry);
        put(options.timeout(), Requests::duration, request::setTimeout);
        put(options.priority(), Requests::priority, request::setPriority);
        return request.build();
    }

    static ReplayRunRequest replay(String namespace, String runId, ReplayOptions options, Json json) {
        ReplayRunRequest.Builder request = ReplayRunRequest.newBuilder()
                .setNamespace(namespace)
                .setRunId(Limits.text("runId", runId))
                .setReason(options.reason())
                .setNewRunId(options.newRunId() == null ? RunIds.newRunId() : options.newRunId())
                .setJsonForm(JsonForm.JSON_FORM_BYTES);
        ReplayOptions.Payload payload = options.payload();
        if (payload != null) {
            request.setPayloadJson(json.bytes(payload.value()));
        }
        put(options.delay(), Requests::duration, request::setDelay);
        put(options.runAt(), Requests::time, request::setRunAt);
        return request.build();
    }

    static dev.layeron.job.v1.RunFilter filter(RunFilter filter) {
        var message = dev.layeron.job.v1.RunFilter.newBuilder().putAllLabels(filter.labels());
        put(filter.task(), message::setTask);
        put(filter.idempotencyKey(), message::setIdempotencyKey);
        put(filter.queue(), message::setQueue);
        put(filter.originId(), message::setOriginId);
        put(filter.createdFrom(), Requests::time, message::setCreatedFrom);
        put(filter.createdBefore(), Requests::time, message::setCreatedBefore);
        filter.statuses().forEach(status -> message.addStatuses(status(status)));
        return message.build();
    }

    static dev.layeron.job.v1.TaskDefinition taskDefinition(TaskDefinition definition) {
        var message = dev.layeron.job.v1.TaskDefinition.newBuilder()
                .setName(definition.name())
                .setQueue(definition.queue());
        put(definition.retry(), Requests::retry, message::setRetry);
        put(definition.timeout(), Requests::duration, message::setTimeout);
        put(definition.priority(), Requests::priority, message::setPriority);
        return message.build();
    }

    static RetryPolicy retry(Retry retry) {
        RetryPolicy.Builder message = RetryPolicy.newBuilder()
                .setMaxAttempts(retry.attempts())
                .setJitter(retry.jitter())
                .addAllNonRetryableTypes(retry.nonRetryable());
        put(retry.maxElapsed(), Requests::duration, message::setMaxElapsed);
        if (retry.backoff() instanceof Backoff.Fixed fixed) {
            message.setFixed(FixedBackoff.newBuilder().setDelay(duration(fixed.delay())));
        } else if (retry.backoff() instanceof Backoff.Custom custom) {
            CustomBackoff.Builder delays = message.getCustomBuilder();
            custom.delays().forEach(delay -> delays.addDelays(duration(delay)));
        } else if (retry.backoff() instanceof Backoff.Exponential growing) {
            message.setExponential(ExponentialBackoff.newBuilder()
                    .setInitial(duration(growing.initial()))
                    .setMaximum(duration(growing.maximum()))
                    .setMultiplier(growing.multiplier()));
        }
        return message.build();
    }

    static com.google.protobuf.Duration duration(Duration value) {
        // The contract wants both parts of one sign, Java wants nanoseconds that are never negative.
        long seconds = value.getSeconds();
        int nanos = value.getNano();
        if (seconds < 0 && nanos > 0) {
            seconds += 1;
            nanos -= 1_000_000_000;
        }
        return com.google.protobuf.Duration.newBuilder()
                .setSeconds(seconds)
                .setNanos(nanos)
                .build();
    }

    private static @Nullable ByteString payload(@Nullable Object payload, Json json) {
        return payload == null ? null : json.bytes(payload);
    }

    private static Timestamp time(Instant value) {
        return Timestamp.newBuilder()
                .setSeconds(value.getEpochSecond())
                .setNanos(value.getNano())
                .build();
    }

    private static dev.layeron.job.v1.RunStatus status(RunStatus status) {
        return dev.layeron.job.v1.RunStatus.valueOf("RUN_STATUS_" + status.name());
    }

    private static dev.layeron.job.v1.Priority priority(Priority priority) {
        return dev.layeron.job.v1.Priority.valueOf("PRIORITY_" + priority.name());
    }

    private static dev.layeron.job.v1.IdempotencyWindow window(IdempotencyWindow window) {
        return dev.layeron.job.v1.IdempotencyWindow.valueOf("IDEMPOTENCY_WINDOW_" + window.name());
    }

    private static <T> void put(@Nullable T value, Consumer<T> set) {
        if (value != null) {
            set.accept(value);
        }
    }

    private static <T, M> void put(@Nullable T value, Function<T, M> message, Consumer<M> set) {
        if (value != null) {
            set.accept(message.apply(value));
        }
    }
}
