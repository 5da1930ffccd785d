package dev.layeron.job;

/** How much of each run a list gives. */
public enum RunView {
    /** Without payload, result and trace context. */
    BASIC,
    /** Everything. */
    FULL
}
