package dev.layeron.job;

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.time.Instant;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * One requested execution of a task with a payload. Texts that are not set are empty.
 *
 * @param runId "run_" and 26 characters; newer runs sort after older ones
 * @param namespace the namespace it lives in
 * @param task the task it runs
 * @param queue the queue it waits in
 * @param priority its priority; null where the run was pruned
 * @param name a name for people
 * @param status where it stands; null where the run was pruned
 * @param attempt the number of the last attempt, 0 before the first
 * @param countedAttempts attempts that the retry policy counts: failed, timed out, lost
 * @param payload the payload; null in the basic view
 * @param payloadEncoding what the caller said about the payload's envelope; empty for plain JSON
 * @param result what the handler returned; null unless succeeded, and in the basic view
 * @param retry its retry policy
 * @param timeout how long one attempt may take
 * @param labels what the caller tagged it with
 * @param idempotencyKey the key it was enqueued with
 * @param idempotencyWindow how long the key stays taken; null without a key
 * @param createdAt when it was enqueued; null only where the run was pruned and no more than its id is known
 * @param dueAt when it may start next; null unless it waits
 * @param startBy if it has not started by then, it is dead-lettered; null for no such limit
 * @param startedAt when its first attempt was granted; null before
 * @param finishedAt when it became terminal; null before
 * @param cancelRequestedAt when a cancel was first asked for; null if none was
 * @param heldReason why it does not start although it is due; null if it is not held
 * @param origin what made it; null where the run was pruned
 * @param originId what exactly made it: for a replay the run that was replayed; empty for an enqueue
 * @param replayedBy the newest run that replays this one; {@link Runs#get} only
 * @param traceContext W3C trace context of the caller; empty in the basic view
 */
public record Run(
        String runId,
        String namespace,
        String task,
        String queue,
        @Nullable Priority priority,
        String name,
        @Nullable RunStatus status,
        int attempt,
        int countedAttempts,
        @Nullable JsonNode payload,
        String payloadEncoding,
        @Nullable JsonNode result,
        Retry retry,
        Duration timeout,
        Map<String, String> labels,
        String idempotencyKey,
        @Nullable IdempotencyWindow idempotencyWindow,
        @Nullable Instant createdAt,
        @Nullable Instant dueAt,
        @Nullable Instant startBy,
        @Nullable Instant startedAt,
        @Nullable Instant finishedAt,
        @Nullable Instant cancelRequestedAt,
        @Nullable HeldReason heldReason,
        @Nullable RunOrigin origin,
        String originId,
        String replayedBy,
        Map<String, String> traceContext) {
    /**
     * Whether it never changes again.
     *
     * @return true if it succeeded, was dead-lettered or canceled
     */
    public boolean isTerminal() {
        return status != null && status.isTerminal();
    }

    /** Which run it is and where it stands: neither payload nor result, so that logging a run does not log them. */
    @Override
    public String toString() {
        return "Run[runId=%s, task=%s, status=%s, attempt=%d]".formatted(runId, task, status, attempt);
    }
}
