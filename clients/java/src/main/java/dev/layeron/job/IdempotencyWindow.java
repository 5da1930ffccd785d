package dev.layeron.job;

/** How long an idempotency key stays taken. */
public enum IdempotencyWindow {
    /** For a time from the enqueue: see {@link EnqueueOptions#idempotencyTtl()}. The default. */
    TTL,
    /** Until the run is terminal. */
    WHILE_ACTIVE,
    /** For good, also after the run is pruned. */
    FOREVER,
    /** A window of a newer server; it cannot be asked for. */
    UNKNOWN
}
