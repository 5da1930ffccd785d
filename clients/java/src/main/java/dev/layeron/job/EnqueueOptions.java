package dev.layeron.job;

import java.time.Duration;
import java.time.Instant;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * What an enqueue may say besides task and payload. What is null or empty is left to the task or the server.
 *
 * <pre>{@code
 * EnqueueOptions.builder().delay(Duration.ofHours(1)).idempotencyKey("welcome:ann").build()
 * }</pre>
 *
 * @param runId the run's id, from {@link RunIds#newRunId()}; null for one that is chosen by the client
 * @param delay start no earlier than this after now; set this or runAt or neither
 * @param runAt start no earlier than this time
 * @param startBy if it has not started by then, it is dead-lettered
 * @param idempotencyKey while it is taken, the same request answers the first run, and another one is refused
 * @param idempotencyWindow how long the key stays taken; null for {@link IdempotencyWindow#TTL}
 * @param idempotencyTtl how long the window TTL is; null for 24 hours
 * @param retry replaces the task's policy, as a whole
 * @param timeout replaces the task's timeout of one attempt
 * @param labels runs can be listed by them
 * @param priority replaces the task's priority
 * @param name a name for people
 * @param payloadEncoding set if the payload is an envelope that nobody but the handler understands
 * @param traceContext W3C trace context; null for OpenTelemetry's current one
 */
public record EnqueueOptions(
        @Nullable String runId,
        @Nullable Duration delay,
        @Nullable Instant runAt,
        @Nullable Instant startBy,
        @Nullable String idempotencyKey,
        @Nullable IdempotencyWindow idempotencyWindow,
        @Nullable Duration idempotencyTtl,
        @Nullable Retry retry,
        @Nullable Duration timeout,
        Map<String, String> labels,
        @Nullable Priority priority,
        String name,
        String payloadEncoding,
        @Nullable Map<String, String> traceContext) {
    static final EnqueueOptions NONE = builder().build();

    /** Copies the maps and checks what could not be sent as it is. */
    public EnqueueOptions {
        Limits.optional("runId", runId);
        Limits.optional("idempotencyKey", idempotencyKey);
        Limits.text("name", name);
        Limits.text("payloadEncoding", payloadEncoding);
        Limits.storable("delay", delay);
        Limits.storable("runAt", runAt);
        Limits.storable("startBy", startBy);
        Limits.storable("idempotencyTtl", idempotencyTtl);
        Limits.storable("timeout", timeout);
        Limits.known("priority", priority);
        Limits.known("idempotencyWindow", idempotencyWindow);
        labels = Limits.texts("labels", labels);
        traceContext = traceContext == null ? null : Limits.texts("traceContext", traceContext);
    }

    /**
     * Begins with nothing set.
     *
     * @return a builder
     */
    public static Builder builder() {
        return new Builder();
    }

    /** Makes an {@link EnqueueOptions}. */
    public static final class Builder {
        private @Nullable String runId;
        private @Nullable Duration delay;
        private @Nullable Instant runAt;
        private @Nullable Instant startBy;
        private @Nullable String idempotencyKey;
        private @Nullable IdempotencyWindow idempotencyWindow;
        private @Nullable Duration idempotencyTtl;
        private @Nullable Retry retry;
        private @Nullable Duration timeout;
        private Map<String, String> labels = Map.of();
        private @Nullable Priority priority;
        private String name = "";
        private String payloadEncoding = "";
        private @Nullable Map<String, String> traceContext;

        private Builder() {}

        /**
         * Chooses the run's id, which makes the repeat of a whole program safe.
         *
         * @param runId from {@link RunIds#newRunId()}
         * @return this builder
         */
        public Builder runId(String runId) {
            this.runId = runId;
            return this;
        }

        /**
         * Starts it no earlier than this after now.
         *
         * @param delay 0 to 10 years
         * @return this builder
         */
        public Builder delay(Duration delay) {
            this.delay = delay;
            return this;
        }

        /**
         * Starts it no earlier than this time.
         *
         * @param runAt within 10 years of now; a past time means at once
         * @return this builder
         */
        public Builder runAt(Instant runAt) {
            this.runAt = runAt;
            return this;
        }

        /**
         * Dead-letters it if it has not started by then.
         *
         * @param startBy after the time it is due
         * @return this builder
         */
        public Builder startBy(Instant startBy) {
            this.startBy = startBy;
            return this;
        }

        /**
         * Answers the first run of this key for as long as the key is taken.
         *
         * @param idempotencyKey 1 to 255 characters, in the scope of the task
         * @return this builder
         */
        public Builder idempotencyKey(String idempotencyKey) {
            this.idempotencyKey = idempotencyKey;
            return this;
        }

        /**
         * Sets how long the key stays taken.
         *
         * @param idempotencyWindow {@link IdempotencyWindow#TTL} by default
         * @return this builder
         */
        public Builder idempotencyWindow(IdempotencyWindow idempotencyWindow) {
            this.idempotencyWindow = idempotencyWindow;
            return this;
        }

        /**
         * Sets how long the window {@link IdempotencyWindow#TTL} is.
         *
         * @param idempotencyTtl 1 s to 10 years; 24 hours by default
         * @return this builder
         */
        public Builder idempotencyTtl(Duration idempotencyTtl) {
            this.idempotencyTtl = idempotencyTtl;
            return this;
        }

        /**
         * Replaces the task's retry policy, as a whole.
         *
         * @param retry the policy
         * @return this builder
         */
        public Builder retry(Retry retry) {
            this.retry = retry;
            return this;
        }

        /**
         * Replaces the task's timeout of one attempt.
         *
         * @param timeout 1 ms to 7 days
         * @return this builder
         */
        public Builder timeout(Duration timeout) {
            this.timeout = timeout;
            return this;
        }

        /**
         * Tags the run; runs can be listed by labels.
         *
         * @param labels at most 16; keys of 63 and values of 255 characters
         * @return this builder
         */
        public Builder labels(Map<String, String> labels) {
            this.labels = labels;
            return this;
        }

        /**
         * Replaces the task's priority.
         *
         * @param priority high, normal or low
         * @return this builder
         */
        public Builder priority(Priority priority) {
            this.priority = priority;
            return this;
        }

        /**
         * Names the run for people.
         *
         * @param name at most 255 characters
         * @return this builder
         */
        public Builder name(String name) {
            this.name = name;
            return this;
        }

        /**
         * Says that the payload is an envelope that nobody but the handler understands.
         *
         * @param payloadEncoding at most 63 characters
         * @return this builder
         */
        public Builder payloadEncoding(String payloadEncoding) {
            this.payloadEncoding = payloadEncoding;
            return this;
        }

        /**
         * Sets the W3C trace context instead of OpenTelemetry's current one.
         *
         * @param traceContext traceparent, tracestate, baggage; empty for none
         * @return this builder
         */
        public Builder traceContext(Map<String, String> traceContext) {
            this.traceContext = traceContext;
            return this;
        }

        /**
         * Makes the options.
         *
         * @return what was set
         * @throws IllegalArgumentException with the name of what cannot be sent
         */
        public EnqueueOptions build() {
            return new EnqueueOptions(
                    runId,
                    delay,
                    runAt,
                    startBy,
                    idempotencyKey,
                    idempotencyWindow,
                    idempotencyTtl,
                    retry,
                    timeout,
                    labels,
                    priority,
                    name,
                    payloadEncoding,
                    traceContext);
        }
    }
}
