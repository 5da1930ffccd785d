package dev.layeron.job;

/** Why a run that is due does not start. */
public enum HeldReason {
    /** Its task is paused. */
    TASK_PAUSED,
    /** No worker that took it so far has a handler for its task; it is tried again with a growing wait. */
    NO_HANDLER,
    /** A reason of a newer server. */
    UNKNOWN
}
