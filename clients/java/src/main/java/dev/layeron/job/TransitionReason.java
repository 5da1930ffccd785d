package dev.layeron.job;

/** Why a run changed its status. */
public enum TransitionReason {
    /** A caller made it. */
    ENQUEUED,
    /** A replay made it. */
    REPLAYED,
    /** A worker was granted an attempt. */
    STARTED,
    /** The attempt succeeded. */
    SUCCEEDED,
    /** The attempt failed and will be tried again. */
    ATTEMPT_FAILED,
    /** The attempt timed out and will be tried again. */
    ATTEMPT_TIMED_OUT,
    /** The attempt's worker was lost; it will be tried again. */
    ATTEMPT_LOST,
    /** The attempt's worker shut down or handed it back; it goes back to the queue. */
    ATTEMPT_INTERRUPTED,
    /** Dead-lettered: the policy's attempts are used up. */
    ATTEMPTS_EXHAUSTED,
    /** Dead-lettered: the error is not to be retried. */
    NON_RETRYABLE,
    /** Dead-lettered: the next retry would pass the policy's limit in time. */
    MAX_ELAPSED,
    /** Dead-lettered: the handler's result breaks the rules of JSON or the size limit. */
    RESULT_INVALID,
    /** Dead-lettered: not started in time. */
    START_DEADLINE_EXCEEDED,
    /** Canceled on request. */
    CANCEL_REQUESTED,
    /** Canceled on request; the worker had ignored it for the grace period and was fenced off. */
    CANCEL_IGNORED,
    /** A reason of a newer server. */
    UNKNOWN
}
