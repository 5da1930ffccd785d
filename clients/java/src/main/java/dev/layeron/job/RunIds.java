package dev.layeron.job;

import java.security.SecureRandom;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.concurrent.atomic.AtomicLong;

/** Run ids: "run_" and 26 characters of Crockford's base 32, a TypeID over a UUIDv7. */
public final class RunIds {
    private static final String ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";
    private static final int LENGTH = 26;
    private static final SecureRandom RANDOM = new SecureRandom();
    /** The time of the last id, in milliseconds × 4096. */
    private static final AtomicLong LAST = new AtomicLong();

    private RunIds() {}

    /**
     * A fresh run id. To choose it yourself makes the repeat of a whole program safe: the same request of the same id
     * is one run. It is valid for 24 hours.
     *
     * @return an id that sorts after all that this process has made before
     */
    public static String newRunId() {
        long time = LAST.updateAndGet(last -> Math.max(last + 1, now()));
        long high = ((time >>> 12) << 16) | 0x7000 | (time & 0xfff);
        long low = (0b10L << 62) | (RANDOM.nextLong() >>> 2);
        return "run_" + base32(high, low);
    }

    /** RFC 9562 lets the 12 bits after the milliseconds carry their fraction. */
    private static long now() {
        long micros = ChronoUnit.MICROS.between(Instant.EPOCH, Instant.now());
        return ((micros / 1000) << 12) | (micros % 1000 * 4096 / 1000);
    }

    private static String base32(long high, long low) {
        char[] digits = new char[LENGTH];
        for (int at = LENGTH - 1; at >= 0; at--) {
            digits[at] = ALPHABET.charAt((int) (low & 31));
            low = (low >>> 5) | (high << 59);
            high >>>= 5;
        }
        return new String(digits);
    }
}
