package dev.layeron.job;

/** What made a run. */
public enum RunOrigin {
    /** A caller. */
    ENQUEUE,
    /** A replay of the run {@link Run#originId()}. */
    REPLAY,
    /** The recurring schedule {@link Run#originId()}. */
    SCHEDULE,
    /** A handler of the run {@link Run#originId()}. */
    PARENT,
    /** An origin of a newer server. */
    UNKNOWN
}
