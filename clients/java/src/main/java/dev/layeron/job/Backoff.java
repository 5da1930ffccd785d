package dev.layeron.job;

import java.time.Duration;
import java.util.List;

/** How long a run waits after a failed attempt. Every wait is 0 to 30 days. */
public sealed interface Backoff {
    /**
     * The same wait after every failure.
     *
     * @param delay 0 to 30 days
     */
    record Fixed(Duration delay) implements Backoff {
        /** Checks the wait. */
        public Fixed {
            Limits.delay("delay", delay, Duration.ZERO);
        }
    }

    /**
     * Waits of initial, initial × multiplier, initial × multiplier² … up to maximum.
     *
     * @param initial the wait after the first failure, 0 to 30 days
     * @param maximum the longest wait, from initial to 30 days
     * @param multiplier the growth per failure, 1 to 100
     */
    record Exponential(Duration initial, Duration maximum, double multiplier) implements Backoff {
        /** Checks the waits. */
        public Exponential {
            Limits.delay("initial", initial, Duration.ZERO);
            Limits.delay("maximum", maximum, initial);
            Limits.number("multiplier", multiplier, 1, 100);
        }
    }

    /**
     * A wait of its own after each failure; the last one repeats.
     *
     * @param delays 1 to 100 waits
     */
    record Custom(List<Duration> delays) implements Backoff {
        /** Checks the waits. */
        public Custom {
            delays = List.copyOf(delays);
            Limits.number("the number of delays", delays.size(), 1, 100);
            delays.forEach(delay -> Limits.delay("delays", delay, Duration.ZERO));
        }
    }

    /**
     * The same wait after every failure.
     *
     * @param delay 0 to 30 days
     * @return the back-off
     */
    static Backoff fixed(Duration delay) {
        return new Fixed(delay);
    }

    /**
     * The default: 5 s, 10 s, 20 s … up to 300 s.
     *
     * @return the back-off
     */
    static Backoff exponential() {
        return new Exponential(Duration.ofSeconds(5), Duration.ofSeconds(300), 2);
    }

    /**
     * A wait that grows by a factor after every failure.
     *
     * @param initial the wait after the first failure, 0 to 30 days
     * @param maximum the longest wait, from initial to 30 days
     * @param multiplier the growth per failure, 1 to 100
     * @return the back-off
     */
    static Backoff exponential(Duration initial, Duration maximum, double multiplier) {
        return new Exponential(initial, maximum, multiplier);
    }

    /**
     * A wait of its own after each failure; the last one repeats.
     *
     * @param delays 1 to 100 waits
     * @return the back-off
     */
    static Backoff custom(Duration... delays) {
        return new Custom(List.of(delays));
    }
}
