package dev.layeron.job;

import java.time.Duration;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A retry policy: how often and when a run is tried again after an attempt failed, timed out or was lost.
 *
 * <pre>{@code
 * Retry.builder().attempts(5).backoff(Backoff.custom(Duration.ofSeconds(10), Duration.ofMinutes(1))).build()
 * }</pre>
 *
 * @param attempts tries that may count, the first included, 1 to 1000; 3 by default
 * @param backoff the waits between them; {@link Backoff#exponential()} by default
 * @param jitter up to this share of a wait, 0 to 1, is added to it by chance; 0.1 by default
 * @param maxElapsed no retry later than this after the first start, at most 10 years; null means no such limit
 * @param nonRetryable types of errors that end the run at once, by exact name; "Timeout" and "Lost" name those two
 *     outcomes; at most 32 of 255 characters
 */
public record Retry(
        int attempts,
        Backoff backoff,
        double jitter,
        @Nullable Duration maxElapsed,
        List<String> nonRetryable) {
    private static final Duration MAX_ELAPSED_MAX = Duration.ofDays(3650);

    /** Checks every limit. */
    public Retry {
        nonRetryable = List.copyOf(nonRetryable);
        Limits.number("attempts", attempts, 1, 1000);
        Limits.number("jitter", jitter, 0, 1);
        if (maxElapsed != null) {
            Limits.duration("maxElapsed", maxElapsed, Duration.ZERO, MAX_ELAPSED_MAX);
        }
        Limits.number("the number of nonRetryable types", nonRetryable.size(), 0, 32);
        for (String type : nonRetryable) {
            Limits.number("the length of a nonRetryable type", type.codePointCount(0, type.length()), 1, 255);
        }
    }

    /**
     * Begins with the defaults.
     *
     * @return a builder
     */
    public static Builder builder() {
        return new Builder();
    }

    /** Makes a {@link Retry}. */
    public static final class Builder {
        private int attempts = 3;
        private Backoff backoff = Backoff.exponential();
        private double jitter = 0.1;
        private @Nullable Duration maxElapsed;
        private List<String> nonRetryable = List.of();

        private Builder() {}

        /**
         * Sets how many tries may count.
         *
         * @param attempts the first included, 1 to 1000
         * @return this builder
         */
        public Builder attempts(int attempts) {
            this.attempts = attempts;
            return this;
        }

        /**
         * Sets the waits between tries.
         *
         * @param backoff one of {@link Backoff}
         * @return this builder
         */
        public Builder backoff(Backoff backoff) {
            this.backoff = backoff;
            return this;
        }

        /**
         * Sets how much chance may add to a wait.
         *
         * @param jitter a share of the wait, 0 to 1
         * @return this builder
         */
        public Builder jitter(double jitter) {
            this.jitter = jitter;
            return this;
        }

        /**
         * Sets the limit in time.
         *
         * @param maxElapsed counted from the first start, at most 10 years
         * @return this builder
         */
        public Builder maxElapsed(Duration maxElapsed) {
            this.maxElapsed = maxElapsed;
            return this;
        }

        /**
         * Sets which errors end the run at once.
         *
         * @param types exact names of types of errors
         * @return this builder
         */
        public Builder nonRetryable(String... types) {
            this.nonRetryable = List.of(types);
            return this;
        }

        /**
         * Makes the policy.
         *
         * @return the policy
         * @throws IllegalArgumentException with the name of what is out of its limits
         */
        public Retry build() {
            return new Retry(attempts, backoff, jitter, maxElapsed, nonRetryable);
        }
    }
}
