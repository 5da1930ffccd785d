package dev.layeron.job;

/** Which of a queue's waiting runs workers take first. */
public enum Priority {
    /** Before all others. */
    HIGH,
    /** The default. */
    NORMAL,
    /** After the others, but never starved. */
    LOW,
    /** A priority of a newer server; it cannot be asked for. */
    UNKNOWN
}
