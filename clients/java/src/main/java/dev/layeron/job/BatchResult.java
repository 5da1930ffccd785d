package dev.layeron.job;

import java.io.Serializable;
import org.jspecify.annotations.Nullable;

/**
 * The run of one item of a batch.
 *
 * @param runId the run's id
 * @param status where it stood when the server answered; null if it was pruned
 * @param created as in {@link Enqueued}
 * @param pruned as in {@link Enqueued}
 */
public record BatchResult(String runId, @Nullable RunStatus status, boolean created, boolean pruned)
        implements Serializable {}
