package dev.layeron.job;

import java.io.Serial;

/** {@link Runs#await(String, java.time.Duration)} had waited its time, and the run is not terminal. */
public final class WaitTimeoutException extends RuntimeException {
    @Serial
    private static final long serialVersionUID = 1;

    private final transient Run run;

    WaitTimeoutException(Run run) {
        super(run.runId() + " is still " + run.status());
        this.run = run;
    }

    /**
     * How the run stood then.
     *
     * @return the run
     */
    public Run run() {
        return run;
    }
}
