package dev.layeron.job;

import org.jspecify.annotations.Nullable;

/**
 * The run of an enqueue or replay.
 *
 * @param run the run as it stood when the server answered
 * @param created false if the same request had made it before: its key was taken, or its run id was used
 * @param pruned true if the run of a key that is taken for good is gone, and only its id, namespace and task are known
 */
public record Enqueued(Run run, boolean created, boolean pruned) {
    /**
     * The run's id.
     *
     * @return the id
     */
    public String runId() {
        return run.runId();
    }

    /**
     * Where the run stood when the server answered.
     *
     * @return the status; null if the run was pruned
     */
    public @Nullable RunStatus status() {
        return run.status();
    }
}
