package dev.layeron.job;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import dev.layeron.job.JobException.Told;
import dev.layeron.job.JobException.Violation;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.util.List;
import java.util.Map;
import java.util.function.BiFunction;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;

/** Makes the {@link JobException}s: of what gRPC tells, and of one another. */
final class Errors {
    private static final String DOMAIN = "layeron.job";

    private static final Map<String, BiFunction<Told, @Nullable Throwable, JobException>> REASONS = Map.ofEntries(
            Map.entry("INVALID_ARGUMENT", JobException.InvalidRequest::new),
            Map.entry("CANNOT_BE_STORED", JobException.InvalidRequest::new),
            Map.entry("PAGE_TOKEN_INVALID", JobException.PageTokenInvalid::new),
            Map.entry("TASK_NOT_REGISTERED", JobException.TaskNotRegistered::new),
            Map.entry("TASK_NOT_FOUND", JobException.TaskNotFound::new),
            Map.entry("RUN_NOT_FOUND", JobException.RunNotFound::new),
            Map.entry("IDEMPOTENCY_KEY_REUSED", JobException.IdempotencyKeyReused::new),
            Map.entry("RUN_ID_REUSED", JobException.RunIdReused::new),
            Map.entry("RUN_ALREADY_FINISHED", JobException.RunAlreadyFinished::new),
            Map.entry("RUN_NOT_FINISHED", JobException.RunNotFinished::new),
            Map.entry("FILTER_TOO_BROAD", JobException.FilterTooBroad::new),
            Map.entry("WATCH_TOKEN_EXPIRED", JobException.WatchTokenExpired::new),
            Map.entry("OVERLOADED", JobException.Overloaded::new),
            Map.entry("PERMISSION_DENIED", JobException.PermissionDenied::new),
            Map.entry("UNAUTHENTICATED", JobException.Unauthenticated::new),
            Map.entry("DATABASE_UNAVAILABLE", JobException.Unavailable::new),
            Map.entry("SERVER_SHUTTING_DOWN", JobException.Unavailable::new),
            Map.entry("INTERNAL", JobException.Internal::new));

    /** For errors that gRPC or a proxy made, and for reasons that a newer server gives. */
    private static final Map<Status.Code, BiFunction<Told, @Nullable Throwable, JobException>> CODES = Map.of(
            Status.Code.INVALID_ARGUMENT, JobException.InvalidRequest::new,
            Status.Code.PERMISSION_DENIED, JobException.PermissionDenied::new,
            Status.Code.UNAUTHENTICATED, JobException.Unauthenticated::new,
            Status.Code.UNAVAILABLE, JobException.Unavailable::new,
            Status.Code.DEADLINE_EXCEEDED, JobException.DeadlineExceeded::new,
            Status.Code.INTERNAL, JobException.Internal::new);

    private Errors() {}

    /** The error of ours for one of gRPC's, from its google.rpc.Status if it has one. */
    static JobException of(StatusRuntimeException error, String address) {
        ErrorInfo info = ErrorInfo.getDefaultInstance();
        BadRequest bad = BadRequest.getDefaultInstance();
        RetryInfo retry = RetryInfo.getDefaultInstance();
        for (Any detail : details(error)) {
            info = unpacked(detail, info);
            bad = unpacked(detail, bad);
            retry = unpacked(detail, retry);
        }
        Status.Code code = error.getStatus().getCode();
        String description = error.getStatus().getDescription();
        String message = description == null || description.isEmpty() ? code.name() : description;
        Throwable cause = error.getStatus().getCause();
        boolean ours = info.getDomain().equals(DOMAIN);
        if (!ours && (code == Status.Code.UNAVAILABLE || code == Status.Code.DEADLINE_EXCEEDED)) {
            message = "no answer from " + address + ": " + message + (cause == null ? "" : ": " + cause.getMessage());
        }
        return of(
                new Told(
                        message,
                        code,
                        ours ? info.getReason() : "",
                        Map.copyOf(info.getMetadataMap()),
                        bad.getFieldViolationsList().stream()
                                .map(one -> new Violation(one.getField(), one.getDescription()))
                                .toList(),
                        retry.hasRetryDelay() ? Answers.duration(retry.getRetryDelay()) : null,
                        Map.of()),
                cause);
    }

    private static JobException of(Told told, @Nullable Throwable cause) {
        var kind = REASONS.get(told.reason());
        if (kind == null) {
            kind = CODES.getOrDefault(told.code(), JobException::new);
        }
        return kind.apply(told, cause);
    }

    /** The same error in other words. */
    static JobException inWords(JobException error, UnaryOperator<String> words) {
        Told told = error.told();
        List<Violation> violations = told.violations().stream()
                .map(one -> new Violation(words.apply(one.field()), words.apply(one.description())))
                .toList();
        return of(
                new Told(
                        words.apply(told.message()),
                        told.code(),
                        told.reason(),
                        told.metadata(),
                        violations,
                        told.retryAfter(),
                        told.enqueued()),
                error.getCause());
    }

    /** The same error of a batch that made these runs. */
    static JobException having(JobException error, Map<Integer, BatchResult> enqueued) {
        Told told = error.told();
        return of(
                new Told(
                        told.message(),
                        told.code(),
                        told.reason(),
                        told.metadata(),
                        told.violations(),
                        told.retryAfter(),
                        Map.copyOf(enqueued)),
                error.getCause());
    }

    private static List<Any> details(StatusRuntimeException error) {
        try {
            com.google.rpc.Status status = StatusProto.fromThrowable(error);
            return status == null ? List.of() : status.getDetailsList();
        } catch (IllegalArgumentException notReadable) {
            return List.of();
        }
    }

    @SuppressWarnings("unchecked") // the class of a message is that of its default
    private static <M extends Message> M unpacked(Any detail, M otherwise) {
        Class<M> kind = (Class<M>) otherwise.getClass();
        try {
            return detail.is(kind) ? detail.unpack(kind) : otherwise;
        } catch (InvalidProtocolBufferException notReadable) {
            return otherwise;
        }
    }
}
