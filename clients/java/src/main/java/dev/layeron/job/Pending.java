package dev.layeron.job;

import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.BiConsumer;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/** An answer that takes one call after the other. Canceling it, or ending it in any way, cancels the call under way. */
final class Pending<T> {
    private final CompletableFuture<T> result = new CompletableFuture<>();
    private volatile @Nullable CompletableFuture<?> call;

    Pending() {
        whenOver(result, (value, error) -> {
            CompletableFuture<?> underWay = call;
            if (underWay != null) {
                underWay.cancel(false);
            }
        });
    }

    /** What the caller holds. */
    CompletableFuture<T> result() {
        return result;
    }

    void complete(T value) {
        result.complete(value);
    }

    void fail(Throwable error) {
        result.completeExceptionally(error);
    }

    /** Goes on with the answer or the error of a call. What either throws is the result. */
    <A> void follow(CompletableFuture<A> next, Consumer<A> answered, Consumer<JobException> refused) {
        call = next;
        if (result.isDone()) {
            next.cancel(false);
        }
        whenOver(
                next,
                (answer, error) -> attempt(() -> {
                    if (error == null) {
                        answered.accept(answer);
                    } else if (error instanceof JobException told) {
                        refused.accept(told);
                    } else {
                        fail(error);
                    }
                }));
    }

    /** Goes on after a wait. */
    void after(Duration wait, Runnable step) {
        CompletableFuture.delayedExecutor(wait.toNanos(), TimeUnit.NANOSECONDS).execute(() -> attempt(step));
    }

    /** Does something once an answer is there, in whatever way it came. */
    @SuppressWarnings("FutureReturnValueIgnored") // it would say the same again
    static <A> void whenOver(
            CompletableFuture<A> answer, BiConsumer<? super @Nullable A, ? super @Nullable Throwable> then) {
        answer.whenComplete(then);
    }

    /** Does a step unless the result is there already. What it throws is the result. */
    void attempt(Runnable step) {
        if (result.isDone()) {
            return;
        }
        try {
            step.run();
        } catch (RuntimeException error) {
            fail(error);
        }
    }
}
