package dev.layeron.job;

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Instant;
import org.jspecify.annotations.Nullable;

/**
 * One try at a run. Texts that are not set are empty.
 *
 * @param attemptId "att_", the run id's suffix, "_" and the number
 * @param number 1, 2, 3 … never reused
 * @param status how it stands or ended
 * @param grantedAt when a worker was granted it
 * @param begunAt when its handler began; null if it never did, or that was not reported yet
 * @param endedAt when it ended; null while it runs
 * @param errorType the error's type
 * @param errorMessage the error's message
 * @param errorDetail more about the error, such as a stack trace
 * @param retryAt when the next attempt is due; null if there is none
 * @param sessionId the worker session that ran it
 * @param workerBuild the build of that worker, as it said
 * @param progress the handler's last progress note; null if there is none
 * @param logTail the last lines the handler logged
 */
public record Attempt(
        String attemptId,
        int number,
        AttemptStatus status,
        @Nullable Instant grantedAt,
        @Nullable Instant begunAt,
        @Nullable Instant endedAt,
        String errorType,
        String errorMessage,
        String errorDetail,
        @Nullable Instant retryAt,
        String sessionId,
        String workerBuild,
        @Nullable JsonNode progress,
        String logTail) {
    /** Which attempt it is and how it ended: no details, progress or log lines. */
    @Override
    public String toString() {
        return "Attempt[attemptId=%s, status=%s, errorType=%s]".formatted(attemptId, status, errorType);
    }
}
