package dev.layeron.job;

import io.grpc.Status;
import java.io.Serial;
import java.io.Serializable;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * An answer other than success: a class for each reason the server gives, and this one itself for reasons that are
 * unknown to this client.
 */
public class JobException extends RuntimeException {
    @Serial
    private static final long serialVersionUID = 1;

    private final Told told;

    /**
     * A field of the request that breaks a rule or a limit.
     *
     * @param field the field as the contract names it, such as "retry.max_attempts" or "items[3].task"
     * @param description what is wrong with it
     */
    public record Violation(String field, String description) implements Serializable {}

    /** What is known of an error. */
    record Told(
            String message,
            Status.Code code,
            String reason,
            Map<String, String> metadata,
            List<Violation> violations,
            @Nullable Duration retryAfter,
            Map<Integer, BatchResult> enqueued)
            implements Serializable {

        static Told plain(Status.Code code, String message) {
            return new Told(message, code, "", Map.of(), List.of(), null, Map.of());
        }
    }

    /** Made by {@link Errors}. */
    JobException(Told told, @Nullable Throwable cause) {
        super(told.message(), cause);
        this.told = told;
    }

    final Told told() {
        return told;
    }

    /**
     * The gRPC status code.
     *
     * @return the code
     */
    public final Status.Code code() {
        return told.code();
    }

    /**
     * The server's reason: stable, for programs, such as "TASK_NOT_REGISTERED".
     *
     * @return the reason; empty if it was not the server that answered
     */
    public final String reason() {
        return told.reason();
    }

    /**
     * What the reason is about, such as {task=send}.
     *
     * @return by name
     */
    public final Map<String, String> metadata() {
        return told.metadata();
    }

    /**
     * The fields of the request that break a rule or a limit.
     *
     * @return each field with what is wrong with it
     */
    public final List<Violation> violations() {
        return told.violations();
    }

    /**
     * When the server asks to be called again.
     *
     * @return the time from now; null if it does not ask
     */
    public final @Nullable Duration retryAfter() {
        return told.retryAfter();
    }

    /**
     * Of a batch that was not completed: the results so far.
     *
     * @return by the place of their items
     */
    public final Map<Integer, BatchResult> enqueued() {
        return told.enqueued();
    }

    /** Fields of the request break a rule or a limit: see {@link #violations()}. */
    public static sealed class InvalidRequest extends JobException {
        @Serial
        private static final long serialVersionUID = 1;

        InvalidRequest(Told told, @Nullable Throwable cause) {
            super(told, cause);
        }
    }

    /** The page token is not of this list. */
    public static final class PageTokenInvalid extends InvalidRequest {
        @Serial
        private static final long serialVersionUID = 1;

        PageTokenInvalid(Told told, @Nullable Throwable cause) {
            super(told, cause);
        }
    }

    /** A run was asked for of a task that nobody has registered. */
    public static final class TaskNotRegistered extends JobException {
        @Serial
        private static final long serialVersionUID = 1;

        TaskNotRegistered(Told told, @Nullable Throwable cause) {
            super(told, cause);
        }
    }

    /** There is no task of this name. */
    public static final class TaskNotFound extends JobException {
        @Serial
        private static final long serialVersionUID = 1;

        TaskNotFound(Told told, @Nullable Throwable cause) {
            super(told, cause);
        }
    }

    /** There is no run of this id in this namespace. */
    public static final class RunNotFound extends JobException {
        @Serial
        private static final long serialVersionUID = 1;

        RunNotFound(Told told, @Nullable Throwable cause) {
            super(told, cause);
        }
    }

    /** The key belongs to a run that was asked for differently. */
    public static final class IdempotencyKeyReused extends JobException {
        @Serial
        private static final long serialVersionUID = 1;

        IdempotencyKeyReused(Told told, @Nullable Throwable cause) {
            super(told, cause);
        }

        /**
         * The run that the key belongs to.
         *
         * @return its id
         */
        public String runId() {
            return metadata().getOrDefault("run_id", "");
        }
    }

    /** The run id was used for another request. */
    public static final class RunIdReused extends JobException {
        @Serial
        private static final long serialVersionUID = 1;

        RunIdReused(Told told, @Nullable Throwable cause) {
            super(told, cause);
        }
    }

    /** A terminal run cannot be canceled. */
    public static final class RunAlreadyFinished extends JobException {
        @Serial
        private static final long serialVersionUID = 1;

        RunAlreadyFinished(Told told, @Nullable Throwable cause) {
            super(told, cause);
        }
    }

    /** Only a terminal run can be replayed. */
    public static final class RunNotFinished extends JobException {
        @Serial
        private static final long serialVersionUID = 1;

        RunNotFinished(Told told, @Nullable Throwable cause) {
            super(told, cause);
        }
    }

    /** The list takes the server too long: narrow the filter. */
    public static final class FilterTooBroad extends JobException {
        @Serial
        private static final long serialVersionUID = 1;

        FilterTooBroad(Told told, @Nullable Throwable cause) {
            super(told, cause);
        }
    }

    /** The watch cannot go on from this token: begin without one, and list what may have been missed. */
    public static final class WatchTokenExpired extends JobException {
        @Serial
        private static final long serialVersionUID = 1;

        WatchTokenExpired(Told told, @Nullable Throwable cause) {
            super(told, cause);
        }
    }

    /** Too much waits at the server already: try again after {@link #retryAfter()}. */
    public static final class Overloaded extends JobException {
        @Serial
        private static final long serialVersionUID = 1;

        Overloaded(Told told, @Nullable Throwable cause) {
            super(told, cause);
        }
    }

    /** The caller may not do this. */
    public static final class PermissionDenied extends JobException {
        @Serial
        private static final long serialVersionUID = 1;

        PermissionDenied(Told told, @Nullable Throwable cause) {
            super(told, cause);
        }
    }

    /** The token is missing or not accepted. */
    public static final class Unauthenticated extends JobException {
        @Serial
        private static final long serialVersionUID = 1;

        Unauthenticated(Told told, @Nullable Throwable cause) {
            super(told, cause);
        }
    }

    /** No server could be reached, or it cannot reach its database. It may or may not have done what was asked. */
    public static final class Unavailable extends JobException {
        @Serial
        private static final long serialVersionUID = 1;

        Unavailable(Told told, @Nullable Throwable cause) {
            super(told, cause);
        }
    }

    /** No answer in time. The server may or may not have done what was asked. */
    public static final class DeadlineExceeded extends JobException {
        @Serial
        private static final long serialVersionUID = 1;

        DeadlineExceeded(Told told, @Nullable Throwable cause) {
            super(told, cause);
        }
    }

    /** A bug of the server. */
    public static final class Internal extends JobException {
        @Serial
        private static final long serialVersionUID = 1;

        Internal(Told told, @Nullable Throwable cause) {
            super(told, cause);
        }

        /**
         * What to search for in the server's log.
         *
         * @return the error's id; empty if it is not the server that answered
         */
        public String errorId() {
            return metadata().getOrDefault("error_id", "");
        }
    }
}
