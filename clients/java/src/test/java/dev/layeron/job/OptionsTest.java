package dev.layeron.job;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import java.time.Duration;
import java.time.Instant;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** What is refused before it is sent, and what is never shown. */
class OptionsTest {
    private static final Duration SECOND = Duration.ofSeconds(1);
    private static final Duration AGES = Duration.ofSeconds(Long.MAX_VALUE);

    @Test
    void aPolicyOutOfItsLimitsIsNamed() {
        Expect.refused(
                "attempts must be 1 to 1000, not 0",
                () -> Retry.builder().attempts(0).build());
        Expect.refused(
                "jitter must be 0 to 1, not 1.5",
                () -> Retry.builder().jitter(1.5).build());
        Expect.refused(
                "maxElapsed must be PT0S to PT87600H, not PT-1S",
                () -> Retry.builder().maxElapsed(SECOND.negated()).build());
        Expect.refused(
                "the number of nonRetryable types must be 0 to 32, not 33",
                () -> Retry.builder()
                        .nonRetryable(Collections.nCopies(33, "E").toArray(String[]::new))
                        .build());
        Expect.refused(
                "the length of a nonRetryable type must be 1 to 255, not 256",
                () -> Retry.builder().nonRetryable("E".repeat(256)).build());
    }

    @Test
    void aBackoffOutOfItsLimitsIsNamed() {
        Expect.refused("delay must be PT0S to PT720H, not PT721H", () -> Backoff.fixed(Duration.ofHours(721)));
        Expect.refused(
                "maximum must be PT2S to PT720H, not PT1S",
                () -> Backoff.exponential(Duration.ofSeconds(2), SECOND, 2));
        Expect.refused("multiplier must be 1 to 100, not 0.5", () -> Backoff.exponential(SECOND, SECOND, 0.5));
        Expect.refused("the number of delays must be 1 to 100, not 0", Backoff::custom);
        Expect.refused("delays must be PT0S to PT720H, not PT-1S", () -> Backoff.custom(SECOND, SECOND.negated()));
    }

    @Test
    void whatTheContractCannotHoldIsNamed() {
        Expect.refused(
                "delay must be within 10,000 years, not " + AGES,
                () -> EnqueueOptions.builder().delay(AGES).build());
        Expect.refused(
                "runAt must be within the years 1 to 9999, not " + Instant.MAX,
                () -> EnqueueOptions.builder().runAt(Instant.MAX).build());
        Expect.refused(
                "startBy must be within the years 1 to 9999, not " + Instant.MIN,
                () -> EnqueueOptions.builder().startBy(Instant.MIN).build());
        Expect.refused(
                "name has a lone surrogate, which UTF-8 cannot hold",
                () -> EnqueueOptions.builder().name("\ud83d").build());
        Expect.refused(
                "labels has a lone surrogate, which UTF-8 cannot hold",
                () -> EnqueueOptions.builder().labels(Map.of("a", "\ude00")).build());
        Expect.refused(
                "priority must not be UNKNOWN",
                () -> EnqueueOptions.builder().priority(Priority.UNKNOWN).build());
        Expect.refused(
                "statuses must not be UNKNOWN",
                () -> RunFilter.builder().statuses(RunStatus.UNKNOWN).build());
    }

    @Test
    void labelsWithoutAValueAreNamed() {
        Map<String, String> labels = new HashMap<>();
        labels.put("a", null);
        Expect.refused(
                "labels must not have nulls",
                () -> EnqueueOptions.builder().labels(labels).build());
    }

    @Test
    void anEmptyTextIsNotTakenForNone() {
        Expect.refused(
                "runId must not be empty",
                () -> EnqueueOptions.builder().runId("").build());
        Expect.refused(
                "idempotencyKey must not be empty",
                () -> EnqueueOptions.builder().idempotencyKey("").build());
        Expect.refused(
                "newRunId must not be empty",
                () -> ReplayOptions.builder().newRunId("").build());
        Expect.refused("task must not be empty", () -> RunFilter.ofTask(""));
        Expect.refused(
                "originId must not be empty",
                () -> RunFilter.builder().originId("").build());
    }

    @Test
    void aBatchOutOfItsLimitsIsRefused() {
        Expect.refused(
                "batchSize must be 1 to 1000, not 1001",
                () -> BatchOptions.builder().batchSize(1001).build());
        Expect.refused(
                "concurrency must be 1 to 2147483647, not 0",
                () -> BatchOptions.builder().concurrency(0).build());
    }

    @Test
    void aClientThatCannotWorkIsRefused() {
        JobClient.Builder builder = JobClient.builder();
        Expect.refused("address must name at least one server, such as 'localhost:7233'", () -> builder.address(" , "));
        Expect.refused("timeout must be PT0.001S to PT8760H, not PT0S", () -> builder.timeout(Duration.ZERO));
        for (String token : List.of("", "two words", "tökén", "line\nbreak")) {
            Expect.refused("token must be printable ASCII without spaces, and not empty", () -> builder.token(token));
        }
    }

    @Test
    void addressesAreWhatTheCallerSaysElseTheEnvironmentElseTheDefault() {
        try (JobClient client =
                JobClient.builder().address("a:1, b:2", "a:1", "c:3").build()) {
            assertEquals("JobClient[a:1,b:2,c:3, namespace=default]", client.toString());
        }
        String otherwise = System.getenv().getOrDefault("LAYERON_JOB_ADDRESS", "localhost:7233");
        try (JobClient client = JobClient.builder().namespace("app").build()) {
            assertEquals("JobClient[" + otherwise + ", namespace=app]", client.toString());
        }
    }

    @Test
    void payloadsAndTokensAreNotShown() {
        try (JobClient client = JobClient.builder().token("secret").build()) {
            List<Object> shown = List.of(
                    client,
                    new Item("work", "secret"),
                    ReplayOptions.builder().payload("secret").build(),
                    Answers.run(dev.layeron.job.v1.Run.newBuilder()
                            .setPayloadJson(com.google.protobuf.ByteString.copyFromUtf8("\"secret\""))
                            .setResultJson(com.google.protobuf.ByteString.copyFromUtf8("\"secret\""))
                            .build()),
                    Answers.attempt(dev.layeron.job.v1.Attempt.newBuilder()
                            .setProgressJson(com.google.protobuf.ByteString.copyFromUtf8("\"secret\""))
                            .setLogTail("secret")
                            .build()));
            shown.forEach(one -> assertFalse(one.toString().contains("secret"), one.toString()));
        }
    }
}
