package dev.layeron.job;

/** How an attempt stands or ended. */
public enum AttemptStatus {
    /** Open: a worker holds it. */
    RUNNING,
    /** The handler returned. */
    SUCCEEDED,
    /** The handler raised an error, or its result broke the rules of JSON. */
    FAILED,
    /** It ran longer than its timeout. */
    TIMED_OUT,
    /** Ended by a cancel. */
    CANCELED,
    /** Its worker was not heard of for a lease. */
    LOST,
    /** Its worker shut down or handed it back. Does not count against the retry policy. */
    INTERRUPTED,
    /** A status of a newer server. */
    UNKNOWN
}
