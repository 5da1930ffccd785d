package dev.layeron.job;

import java.text.DecimalFormat;
import java.text.DecimalFormatSymbols;
import java.time.Duration;
import java.time.Instant;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** Checks of what callers give. Each throws IllegalArgumentException with the field's name and its limits. */
final class Limits {
    private static final Duration DELAY_MAX = Duration.ofDays(30);
    /** What a duration of the contract can hold at most, 10,000 years. */
    private static final long DURATION_SECONDS_MAX = 315_576_000_000L;

    private static final Instant TIME_MIN = Instant.parse("0001-01-01T00:00:00Z");
    private static final Instant TIME_MAX = Instant.parse("9999-12-31T23:59:59.999999999Z");

    private Limits() {}

    static void number(String field, double value, double least, double most) {
        if (!(least <= value && value <= most)) {
            throw refused(field, "must be " + plain(least) + " to " + plain(most) + ", not " + plain(value));
        }
    }

    static void delay(String field, Duration value, Duration least) {
        duration(field, value, least, DELAY_MAX);
    }

    static void duration(String field, Duration value, Duration least, Duration most) {
        if (value.compareTo(least) < 0 || value.compareTo(most) > 0) {
            throw refused(field, "must be " + least + " to " + most + ", not " + value);
        }
    }

    /** Whether the contract's durations can hold it; what it may be there is the server's to say. */
    static void storable(String field, @Nullable Duration value) {
        if (value != null && Math.abs(value.toSeconds()) >= DURATION_SECONDS_MAX) {
            throw refused(field, "must be within 10,000 years, not " + value);
        }
    }

    /** Whether the contract's timestamps can hold it. */
    static void storable(String field, @Nullable Instant value) {
        if (value != null && (value.isBefore(TIME_MIN) || value.isAfter(TIME_MAX))) {
            throw refused(field, "must be within the years 1 to 9999, not " + value);
        }
    }

    /** A word of a newer server can be read but not sent. */
    static void known(String field, @Nullable Enum<?> value) {
        if (value != null && value.name().equals("UNKNOWN")) {
            throw refused(field, "must not be UNKNOWN");
        }
    }

    /** A text that is sent as it is. Without this check protobuf would send "?" for what UTF-8 cannot hold. */
    static String text(String field, String value) {
        if (hasLoneSurrogate(value)) {
            throw refused(field, "has a lone surrogate, which UTF-8 cannot hold");
        }
        return value;
    }

    static boolean hasLoneSurrogate(String text) {
        for (int at = 0; at < text.length(); at++) {
            char here = text.charAt(at);
            boolean pair = Character.isHighSurrogate(here)
                    && at + 1 < text.length()
                    && Character.isLowSurrogate(text.charAt(at + 1));
            if (pair) {
                at++;
            } else if (Character.isSurrogate(here)) {
                return true;
            }
        }
        return false;
    }

    /** Texts that are sent as they are: a copy of them. */
    static Map<String, String> texts(String field, Map<String, String> values) {
        values.forEach((key, value) -> {
            if (key == null || value == null) {
                throw refused(field, "must not have nulls");
            }
            text(field, key);
            text(field, value);
        });
        return Map.copyOf(values);
    }

    /** A text that is not empty, where an empty one would be taken for none. */
    static void optional(String field, @Nullable String value) {
        if (value != null && value.isEmpty()) {
            throw refused(field, "must not be empty");
        }
        text(field, value == null ? "" : value);
    }

    static IllegalArgumentException refused(String field, String problem) {
        return new IllegalArgumentException(field + " " + problem);
    }

    private static String plain(double value) {
        return new DecimalFormat("0.######", DecimalFormatSymbols.getInstance(Locale.ROOT)).format(value);
    }
}
