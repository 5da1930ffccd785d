package dev.layeron.job;

import java.time.Instant;
import org.jspecify.annotations.Nullable;

/**
 * One recorded change of a run's status. In order of seq they replay to the present status.
 *
 * @param seq 0, 1, 2 … within the run
 * @param fromStatus the status before; null in the first one
 * @param toStatus the status after
 * @param at when, by the database's clock
 * @param reasonCode why
 * @param note a person's or the server's words: the reason of a cancel or replay, the error of a failure
 * @param actor who: "caller", "server", or a worker session
 * @param attempt the attempt it belongs to; 0 if none
 */
public record Transition(
        int seq,
        @Nullable RunStatus fromStatus,
        RunStatus toStatus,
        Instant at,
        TransitionReason reasonCode,
        String note,
        String actor,
        int attempt) {}
