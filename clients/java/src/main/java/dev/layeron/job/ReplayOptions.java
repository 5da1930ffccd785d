package dev.layeron.job;

import java.time.Duration;
import java.time.Instant;
import org.jspecify.annotations.Nullable;

/**
 * What a replay may say besides the run.
 *
 * @param reason why; kept in the new run's first transition
 * @param payload replaces the payload; null for the payload of the run that is replayed
 * @param delay start no earlier than this after now; set this or runAt or neither
 * @param runAt start no earlier than this time
 * @param newRunId the new run's id, from {@link RunIds#newRunId()}; null for one that is chosen by the client
 */
public record ReplayOptions(
        String reason,
        @Nullable Payload payload,
        @Nullable Duration delay,
        @Nullable Instant runAt,
        @Nullable String newRunId) {
    /** Checks what could not be sent as it is. */
    public ReplayOptions {
        Limits.text("reason", reason);
        Limits.storable("delay", delay);
        Limits.storable("runAt", runAt);
        Limits.optional("newRunId", newRunId);
    }

    /**
     * Begins with nothing set.
     *
     * @return a builder
     */
    public static Builder builder() {
        return new Builder();
    }

    /**
     * A payload that replaces another one.
     *
     * @param value what Jackson writes as JSON; null for JSON null
     */
    public record Payload(@Nullable Object value) {
        /** Not the payload, so that logging options does not log it. */
        @Override
        public String toString() {
            return "Payload[…]";
        }
    }

    /** Makes a {@link ReplayOptions}. */
    public static final class Builder {
        private String reason = "";
        private @Nullable Payload payload;
        private @Nullable Duration delay;
        private @Nullable Instant runAt;
        private @Nullable String newRunId;

        private Builder() {}

        /**
         * Says why. It is kept in the new run's first transition.
         *
         * @param reason at most 1,024 characters
         * @return this builder
         */
        public Builder reason(String reason) {
            this.reason = reason;
            return this;
        }

        /**
         * Replaces the payload.
         *
         * @param payload what Jackson writes as JSON; null for JSON null
         * @return this builder
         */
        public Builder payload(@Nullable Object payload) {
            this.payload = new Payload(payload);
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
         * Chooses the new run's id, which makes the repeat of a whole program safe.
         *
         * @param newRunId from {@link RunIds#newRunId()}
         * @return this builder
         */
        public Builder newRunId(String newRunId) {
            this.newRunId = newRunId;
            return this;
        }

        /**
         * Makes the options.
         *
         * @return what was set
         * @throws IllegalArgumentException with the name of what cannot be sent
         */
        public ReplayOptions build() {
            return new ReplayOptions(reason, payload, delay, runAt, newRunId);
        }
    }
}
