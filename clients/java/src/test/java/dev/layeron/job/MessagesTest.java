package dev.layeron.job;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.google.protobuf.Descriptors.Descriptor;
import com.google.protobuf.Descriptors.FieldDescriptor;
import dev.layeron.job.v1.EnqueueRequest;
import dev.layeron.job.v1.RunOrigin;
import dev.layeron.job.v1.WatchRunsResponse;
import java.lang.reflect.RecordComponent;
import java.time.Duration;
import java.time.Instant;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Between the contract's messages and plain values. */
class MessagesTest {
    private static final Json JSON = new Json(new ObjectMapper());
    private static final Instant TIME = Instant.parse("2026-11-25T10:00:00.123456789Z");

    @ParameterizedTest
    @MethodSource("models")
    void everyFieldOfTheContractHasOneHere(
            Descriptor message, Class<? extends Record> model, Map<String, String> renamed) {
        Set<String> expected = message.getFields().stream()
                .map(FieldDescriptor::getJsonName)
                .map(name -> renamed.getOrDefault(name, name))
                .filter(name -> !name.isEmpty())
                .collect(Collectors.toCollection(TreeSet::new));
        Set<String> found = Arrays.stream(model.getRecordComponents())
                .map(RecordComponent::getName)
                .collect(Collectors.toCollection(TreeSet::new));
        assertEquals(expected, found);
    }

    static Stream<Arguments> models() {
        Map<String, String> json = Map.of("payloadJson", "", "resultJson", "", "progressJson", "progress");
        return Stream.of(
                Arguments.of(dev.layeron.job.v1.Run.getDescriptor(), Run.class, json),
                Arguments.of(dev.layeron.job.v1.Attempt.getDescriptor(), Attempt.class, json),
                Arguments.of(dev.layeron.job.v1.Transition.getDescriptor(), Transition.class, json),
                Arguments.of(dev.layeron.job.v1.Task.getDescriptor(), Task.class, json),
                Arguments.of(dev.layeron.job.v1.TaskDefinition.getDescriptor(), TaskDefinition.class, json),
                Arguments.of(dev.layeron.job.v1.RunFilter.getDescriptor(), RunFilter.class, json),
                Arguments.of(
                        EnqueueRequest.getDescriptor(),
                        EnqueueOptions.class,
                        Map.of("namespace", "", "task", "", "payload", "", "payloadJson", "", "jsonForm", "")),
                Arguments.of(
                        dev.layeron.job.v1.ReplayRunRequest.getDescriptor(),
                        ReplayOptions.class,
                        Map.of("namespace", "", "runId", "", "payloadJson", "", "jsonForm", "")));
    }

    @ParameterizedTest
    @MethodSource("words")
    void everyWordOfTheContractHasOneHere(
            Class<? extends Enum<?>> contract, Class<? extends Enum<?>> ours, String prefix) {
        Set<String> expected = Arrays.stream(contract.getEnumConstants())
                .map(Enum::name)
                .filter(name -> !name.equals("UNRECOGNIZED") && !name.endsWith("_UNSPECIFIED"))
                .map(name -> name.substring(prefix.length()))
                .collect(Collectors.toCollection(TreeSet::new));
        expected.add("UNKNOWN");
        Set<String> found =
                Arrays.stream(ours.getEnumConstants()).map(Enum::name).collect(Collectors.toCollection(TreeSet::new));
        assertEquals(expected, found);
    }

    static Stream<Arguments> words() {
        return Stream.of(
                Arguments.of(dev.layeron.job.v1.RunStatus.class, RunStatus.class, "RUN_STATUS_"),
                Arguments.of(dev.layeron.job.v1.AttemptStatus.class, AttemptStatus.class, "ATTEMPT_STATUS_"),
                Arguments.of(dev.layeron.job.v1.Priority.class, Priority.class, "PRIORITY_"),
                Arguments.of(dev.layeron.job.v1.HeldReason.class, HeldReason.class, "HELD_REASON_"),
                Arguments.of(RunOrigin.class, dev.layeron.job.RunOrigin.class, "RUN_ORIGIN_"),
                Arguments.of(dev.layeron.job.v1.TransitionReason.class, TransitionReason.class, "TRANSITION_REASON_"),
                Arguments.of(
                        dev.layeron.job.v1.IdempotencyWindow.class, IdempotencyWindow.class, "IDEMPOTENCY_WINDOW_"));
    }

    @Test
    void anItemIsSentWithEverythingItSays() {
        EnqueueOptions options = EnqueueOptions.builder()
                .delay(Duration.ofMillis(1500))
                .runAt(TIME)
                .startBy(TIME.plusSeconds(1))
                .idempotencyKey("key")
                .idempotencyWindow(IdempotencyWindow.WHILE_ACTIVE)
                .idempotencyTtl(Duration.ofSeconds(60))
                .retry(Retry.builder().attempts(7).build())
                .timeout(Duration.ofSeconds(9))
                .labels(Map.of("a", "b"))
                .priority(Priority.HIGH)
                .name("Letter")
                .payloadEncoding("sealed")
                .traceContext(Map.of("traceparent", "given"))
                .build();
        EnqueueRequest sent = Requests.enqueue(
                new Item("work", List.of(1), options), "run_1", JSON, Map.of("traceparent", "current"));
        assertEquals("""
                task: "work"
                payload_json: "[1]"
                payload_encoding: "sealed"
                run_id: "run_1"
                delay {
                  seconds: 1
                  nanos: 500000000
                }
                run_at {
                  seconds: 1795600800
                  nanos: 123456789
                }
                start_by {
                  seconds: 1795600801
                  nanos: 123456789
                }
                idempotency_key: "key"
                idempotency_window: IDEMPOTENCY_WINDOW_WHILE_ACTIVE
                idempotency_ttl {
                  seconds: 60
                }
                retry {
                  max_attempts: 7
                  exponential {
                    initial {
                      seconds: 5
                    }
                    maximum {
                      seconds: 300
                    }
                    multiplier: 2.0
                  }
                  jitter: 0.1
                }
                timeout {
                  seconds: 9
                }
                labels {
                  key: "a"
                  value: "b"
                }
                priority: PRIORITY_HIGH
                name: "Letter"
                trace_context {
                  key: "traceparent"
                  value: "given"
                }
                """, com.google.protobuf.TextFormat.printer().printToString(sent));
    }

    @Test
    void anItemOfOnlyATaskSendsNothingElse() {
        EnqueueRequest sent = Requests.enqueue(new Item("work", null), "run_1", JSON, Map.of());
        assertEquals(
                EnqueueRequest.newBuilder().setTask("work").setRunId("run_1").build(), sent);
    }

    @ParameterizedTest
    @MethodSource("policies")
    void aPolicyGoesOutAndComesBack(Retry policy) {
        assertEquals(policy, Answers.retry(Requests.retry(policy)));
    }

    static List<Retry> policies() {
        return List.of(
                Retry.builder().build(),
                Retry.builder().backoff(Backoff.fixed(Duration.ofMillis(1))).build(),
                Retry.builder()
                        .backoff(Backoff.custom(Duration.ZERO, Duration.ofDays(30)))
                        .maxElapsed(Duration.ofHours(1))
                        .build(),
                Retry.builder()
                        .attempts(1000)
                        .backoff(Backoff.exponential(Duration.ofSeconds(1), Duration.ofSeconds(2), 1.5))
                        .jitter(0)
                        .nonRetryable("Timeout", "ValueError")
                        .build());
    }

    @Test
    void aPolicyThatSaysNothingIsTheDefaultOne() {
        assertEquals(Retry.builder().build(), Answers.retry(dev.layeron.job.v1.RetryPolicy.getDefaultInstance()));
    }

    @Test
    void aNegativeLengthOfTimeHasBothPartsOfOneSign() {
        var half = Requests.duration(Duration.ofMillis(-1500));
        assertEquals(List.of(-1L, -500_000_000L), List.of(half.getSeconds(), (long) half.getNanos()));
        assertEquals(Duration.ofMillis(-1500), Answers.duration(half));
    }

    @Test
    void whatIsNotSetIsNullOrEmpty() {
        Run run = Answers.run(dev.layeron.job.v1.Run.getDefaultInstance());
        assertNull(run.status());
        assertNull(run.priority());
        assertNull(run.heldReason());
        assertNull(run.payload());
        assertNull(run.result());
        assertNull(run.createdAt());
        assertNull(run.finishedAt());
        assertEquals(List.of("", Map.of()), List.of(run.name(), run.labels()));
    }

    @Test
    void wordsOfANewerServerAreUnknown() {
        Run run = Answers.run(dev.layeron.job.v1.Run.newBuilder()
                .setStatusValue(99)
                .setHeldReasonValue(99)
                .build());
        assertEquals(RunStatus.UNKNOWN, run.status());
        assertEquals(HeldReason.UNKNOWN, run.heldReason());
        assertEquals(
                TransitionReason.UNKNOWN,
                Answers.transition(dev.layeron.job.v1.Transition.newBuilder()
                                .setReasonCodeValue(99)
                                .build())
                        .reasonCode());
    }

    @Test
    void aTokenOfAWatchNeverSkipsAChangeThatWasNotSeen() {
        var change = dev.layeron.job.v1.RunChange.newBuilder().setRunId("run_1");
        WatchRunsResponse answer = WatchRunsResponse.newBuilder()
                .addChanges(change)
                .addChanges(change)
                .addChanges(change)
                .setResumeToken("after")
                .build();
        assertEquals(
                List.of("before", "before", "after"),
                Answers.runChanges(answer, "before").stream()
                        .map(RunChange::resumeToken)
                        .toList());
        assertEquals(List.of(), Answers.runChanges(WatchRunsResponse.getDefaultInstance(), "before"));
    }
}
