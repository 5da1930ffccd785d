package dev.layeron.job;

/** Where a run stands. A terminal run never changes again. */
public enum RunStatus {
    /** Due: a worker with a free slot will take it. */
    QUEUED,
    /** Waits for its first due time. */
    SCHEDULED,
    /** One attempt is open. */
    RUNNING,
    /** An attempt failed, timed out or was lost; the next one waits for its due time. */
    RETRYING,
    /** Terminal: an attempt succeeded. */
    SUCCEEDED,
    /** Terminal: given up, kept for people. Only a replay, which is a new run, tries again. */
    DEAD_LETTERED,
    /** Terminal: canceled on request. */
    CANCELED,
    /** A status of a newer server. */
    UNKNOWN;

    /**
     * Whether a run of this status never changes again.
     *
     * @return true for {@link #SUCCEEDED}, {@link #DEAD_LETTERED} and {@link #CANCELED}
     */
    public boolean isTerminal() {
        return this == SUCCEEDED || this == DEAD_LETTERED || this == CANCELED;
    }
}
