package dev.layeron.job;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;

/** What tests expect of futures. */
final class Expect {
    private Expect() {}

    /** What a future failed with, which must be of exactly this class. */
    static <E extends Throwable> E failure(Class<E> kind, CompletableFuture<?> answer) {
        Throwable cause = anyFailure(answer);
        if (cause.getClass() != kind) {
            throw new AssertionError("expected " + kind, cause);
        }
        return kind.cast(cause);
    }

    /** What a future failed with. */
    static Throwable anyFailure(CompletableFuture<?> answer) {
        return assertThrows(ExecutionException.class, () -> answer.get(30, TimeUnit.SECONDS))
                .getCause();
    }

    /** The message of what is refused before it is sent. */
    static void refused(String message, Runnable doing) {
        assertEquals(
                message,
                assertThrows(IllegalArgumentException.class, doing::run).getMessage());
    }
}
