package dev.layeron.job;

import org.jspecify.annotations.Nullable;

/**
 * One run to be made by {@link JobClient#enqueueBatch(Iterable, BatchOptions)}.
 *
 * @param task the task to run
 * @param payload what Jackson writes as JSON; null for JSON null
 * @param options everything else
 */
public record Item(String task, @Nullable Object payload, EnqueueOptions options) {
    /**
     * An item with nothing but a payload.
     *
     * @param task the task to run
     * @param payload what Jackson writes as JSON; null for JSON null
     */
    public Item(String task, @Nullable Object payload) {
        this(task, payload, EnqueueOptions.NONE);
    }

    /** Its task and options: not the payload, so that logging an item does not log it. */
    @Override
    public String toString() {
        return "Item[task=%s, options=%s]".formatted(task, options);
    }
}
