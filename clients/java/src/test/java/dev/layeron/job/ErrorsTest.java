package dev.layeron.job;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;

import dev.layeron.job.JobException.Violation;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.ObjectInputStream;
import java.io.ObjectOutputStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What a call fails with. */
class ErrorsTest {
    @ParameterizedTest
    @CsvSource({
        "INVALID_ARGUMENT, InvalidRequest",
        "CANNOT_BE_STORED, InvalidRequest",
        "PAGE_TOKEN_INVALID, PageTokenInvalid",
        "TASK_NOT_REGISTERED, TaskNotRegistered",
        "TASK_NOT_FOUND, TaskNotFound",
        "RUN_NOT_FOUND, RunNotFound",
        "IDEMPOTENCY_KEY_REUSED, IdempotencyKeyReused",
        "RUN_ID_REUSED, RunIdReused",
        "RUN_ALREADY_FINISHED, RunAlreadyFinished",
        "RUN_NOT_FINISHED, RunNotFinished",
        "FILTER_TOO_BROAD, FilterTooBroad",
        "WATCH_TOKEN_EXPIRED, WatchTokenExpired",
        "OVERLOADED, Overloaded",
        "PERMISSION_DENIED, PermissionDenied",
        "UNAUTHENTICATED, Unauthenticated",
        "DATABASE_UNAVAILABLE, Unavailable",
        "SERVER_SHUTTING_DOWN, Unavailable",
        "INTERNAL, Internal"
    })
    void everyReasonOfTheServerHasAClass(String reason, String kind) {
        JobException error = Errors.of(Peer.refusal(Status.Code.UNKNOWN, reason), "here");
        assertEquals(kind, error.getClass().getSimpleName());
        assertEquals(reason, error.reason());
    }

    @Test
    void whatTheServerSaysArrives() {
        StatusRuntimeException said = Peer.refusal(
                Status.Code.INVALID_ARGUMENT,
                "INVALID_ARGUMENT",
                Peer.violation("retry.max_attempts", "must be 1 to 1000"),
                Peer.retryAfter(Duration.ofMillis(250)));
        JobException error = Errors.of(said, "here");
        assertEquals("refused with INVALID_ARGUMENT", error.getMessage());
        assertEquals(Status.Code.INVALID_ARGUMENT, error.code());
        assertEquals(Map.of("about", "this"), error.metadata());
        assertEquals(List.of(new Violation("retry.max_attempts", "must be 1 to 1000")), error.violations());
        assertEquals(Duration.ofMillis(250), error.retryAfter());
        assertEquals(Map.of(), error.enqueued());
        assertNull(error.getCause());
    }

    @ParameterizedTest
    @CsvSource({
        "INVALID_ARGUMENT, InvalidRequest",
        "PERMISSION_DENIED, PermissionDenied",
        "UNAUTHENTICATED, Unauthenticated",
        "UNAVAILABLE, Unavailable",
        "DEADLINE_EXCEEDED, DeadlineExceeded",
        "INTERNAL, Internal",
        "ABORTED, JobException"
    })
    void aReasonOfANewerServerIsToldByItsCode(Status.Code code, String kind) {
        JobException error = Errors.of(Peer.refusal(code, "NEWER"), "here");
        assertEquals(List.of(kind, "NEWER"), List.of(error.getClass().getSimpleName(), error.reason()));
    }

    @Test
    void anErrorOfSomebodyElseIsToldByItsCodeAloneAndNamesTheAddress() {
        IOException cause = new IOException("connection refused");
        Status status = Status.UNAVAILABLE.withDescription("io exception").withCause(cause);
        JobException error = Errors.of(status.asRuntimeException(), "host:1");
        assertEquals("no answer from host:1: io exception: connection refused", error.getMessage());
        assertSame(cause, error.getCause());
        assertEquals("", error.reason());
        assertNull(error.retryAfter());
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "no protobuf", "\n\u0003"})
    void detailsThatCannotBeReadDoNotHideTheError(String raw) {
        Metadata trailers = new Metadata();
        trailers.put(
                Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER),
                raw.getBytes(StandardCharsets.UTF_8));
        JobException error = Errors.of(Status.NOT_FOUND.withDescription("gone").asRuntimeException(trailers), "here");
        assertEquals(List.of(Status.Code.NOT_FOUND, "gone"), List.of(error.code(), error.getMessage()));
    }

    @Test
    void anErrorSurvivesTheWayToAnotherProcess() throws IOException, ClassNotFoundException {
        JobException error = Errors.having(
                Errors.of(Peer.refusal(Status.Code.INTERNAL, "INTERNAL", Peer.violation("task", "is bad")), "here"),
                Map.of(3, new BatchResult("run_1", RunStatus.QUEUED, true, false)));
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        new ObjectOutputStream(out).writeObject(error);
        JobException copy =
                (JobException) new ObjectInputStream(new ByteArrayInputStream(out.toByteArray())).readObject();
        assertEquals(error.getClass(), copy.getClass());
        assertEquals(error.told(), copy.told());
    }
}
