package dev.layeron.job;

import java.time.Duration;
import java.util.function.DoubleSupplier;
import java.util.function.LongSupplier;

/** The time that one thing may take, all its tries together. */
final class Patience {
    private static final Duration WAIT = Duration.ofMillis(50);
    private static final Duration WAIT_MAX = Duration.ofSeconds(1);

    private final long limitNanos;
    private final LongSupplier nanoClock;
    private final DoubleSupplier chance;
    private final long began;
    private Duration ceiling = WAIT;

    Patience(Duration limit, LongSupplier nanoClock, DoubleSupplier chance) {
        this.limitNanos = nanos(limit);
        this.nanoClock = nanoClock;
        this.chance = chance;
        this.began = nanoClock.getAsLong();
    }

    /** The time that is left, negative after it. */
    Duration left() {
        return Duration.ofNanos(limitNanos - (nanoClock.getAsLong() - began));
    }

    /** How long to wait before the next try, at least as long as the error says. Throws it if there is no time left. */
    Duration bear(JobException error) {
        Duration wait = Duration.ofNanos((long) (chance.getAsDouble() * ceiling.toNanos()));
        Duration asked = error.retryAfter();
        if (asked != null) {
            wait = wait.plus(asked);
        }
        Duration doubled = ceiling.multipliedBy(2);
        ceiling = doubled.compareTo(WAIT_MAX) < 0 ? doubled : WAIT_MAX;
        if (wait.compareTo(left()) >= 0) {
            throw error;
        }
        return wait;
    }

    /** The nanoseconds of what may be longer than a long can count. */
    private static long nanos(Duration limit) {
        return limit.toSeconds() >= Long.MAX_VALUE / 1_000_000_000 ? Long.MAX_VALUE : limit.toNanos();
    }
}
