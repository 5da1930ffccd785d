package dev.layeron.job;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.layeron.job.JobException.IdempotencyKeyReused;
import dev.layeron.job.JobException.InvalidRequest;
import dev.layeron.job.JobException.PageTokenInvalid;
import dev.layeron.job.JobException.RunIdReused;
import dev.layeron.job.JobException.RunNotFound;
import dev.layeron.job.JobException.TaskNotFound;
import dev.layeron.job.JobException.TaskNotRegistered;
import dev.layeron.job.JobException.Violation;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** Asking for runs of a real server: what goes in comes out, and errors are what they say. */
class ClientTest extends LiveTest {
    private static final ObjectMapper MAPPER = new ObjectMapper();
    private static final Duration HOUR = Duration.ofHours(1);

    private record Letter(String to, List<Double> parts, long big) {}

    @Test
    void everythingThatIsAskedForIsKeptAndTold() throws JsonProcessingException {
        Instant now = Instant.now().truncatedTo(ChronoUnit.MICROS);
        Letter letter = new Letter("Ada ✉ 😀", List.of(1.0, 2.5), (1L << 53) - 1);
        Retry retry = Retry.builder()
                .attempts(7)
                .backoff(Backoff.exponential(Duration.ofSeconds(1), Duration.ofSeconds(60), 3))
                .jitter(0.5)
                .maxElapsed(HOUR)
                .nonRetryable("ValueError")
                .build();
        EnqueueOptions options = EnqueueOptions.builder()
                .runId(RunIds.newRunId())
                .runAt(now.plus(HOUR))
                .startBy(now.plus(HOUR).plus(HOUR))
                .idempotencyKey("key")
                .idempotencyWindow(IdempotencyWindow.WHILE_ACTIVE)
                .retry(retry)
                .timeout(Duration.ofMillis(1500))
                .labels(Map.of("a", "b", "c", "ü"))
                .priority(Priority.HIGH)
                .name("Letter to Ada")
                .payloadEncoding("plain")
                .traceContext(Map.of("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
                .build();
        Enqueued enqueued = client.enqueue("work", letter, options).join();
        assertTrue(enqueued.created());
        assertEquals(List.of(options.runId(), RunStatus.SCHEDULED), List.of(enqueued.runId(), enqueued.status()));
        Run run = client.runs().get(enqueued.runId()).join().run();
        assertEquals(enqueued.run(), run);
        assertEquals(letter, MAPPER.treeToValue(run.payload(), Letter.class));
        assertNull(run.result());
        assertEquals(
                List.of("work", "default", client.namespace(), "Letter to Ada", "plain", "key", ""),
                List.of(
                        run.task(),
                        run.queue(),
                        run.namespace(),
                        run.name(),
                        run.payloadEncoding(),
                        run.idempotencyKey(),
                        run.originId()));
        assertEquals(
                List.of(Priority.HIGH, IdempotencyWindow.WHILE_ACTIVE, RunOrigin.ENQUEUE),
                List.of(run.priority(), run.idempotencyWindow(), run.origin()));
        assertEquals(List.of(retry, options.timeout()), List.of(run.retry(), run.timeout()));
        assertEquals(List.of(options.runAt(), options.startBy()), List.of(run.dueAt(), run.startBy()));
        assertEquals(List.of(options.labels(), options.traceContext()), List.of(run.labels(), run.traceContext()));
    }

    @Test
    void theSameKeyAnswersTheFirstRunAndAnotherRequestIsRefusedWithItsId() {
        EnqueueOptions options = EnqueueOptions.builder().idempotencyKey("once").build();
        Enqueued first = client.enqueue("work", 1, options).join();
        Enqueued again = client.enqueue("work", 1, options).join();
        assertEquals(List.of(first.runId(), true), List.of(again.runId(), first.created()));
        assertFalse(again.created());
        IdempotencyKeyReused error = Expect.failure(IdempotencyKeyReused.class, client.enqueue("work", 2, options));
        assertEquals(first.runId(), error.runId());
    }

    @Test
    void whatIsWrongIsToldByClassAndField() {
        TaskNotRegistered unknown = Expect.failure(TaskNotRegistered.class, client.enqueue("nobody", null));
        assertEquals(Map.of("namespace", client.namespace(), "task", "nobody"), unknown.metadata());
        Expect.failure(RunNotFound.class, client.runs().get(RunIds.newRunId()));
        Expect.failure(TaskNotFound.class, client.tasks().get("nobody"));
        assertEquals(
                List.of("task", "labels"),
                fields(client.enqueue(
                        "no good",
                        null,
                        EnqueueOptions.builder().labels(Map.of("", "x")).build())));
        assertEquals(List.of("payload_json"), fields(client.enqueue("work", Long.MAX_VALUE)));
        assertEquals(List.of("payload_json"), fields(client.enqueue("work", "\0")));
        Expect.failure(PageTokenInvalid.class, client.runs().page(RunFilter.all(), RunView.BASIC, 10, "not a token"));
        EnqueueOptions taken = EnqueueOptions.builder().runId(enqueued()).build();
        Expect.failure(RunIdReused.class, client.enqueue("work", "other", taken));
    }

    private static List<String> fields(CompletableFuture<?> answer) {
        return Expect.failure(InvalidRequest.class, answer).violations().stream()
                .map(Violation::field)
                .toList();
    }

    @Test
    void aLargeBatchIsMadeInOrderAndARepeatOfItMakesNothing() {
        List<Item> items = IntStream.range(0, 1200)
                .mapToObj(n -> new Item(
                        "work",
                        n,
                        EnqueueOptions.builder().runId(RunIds.newRunId()).build()))
                .toList();
        List<BatchResult> results = client.enqueueBatch(items).join();
        assertEquals(
                items.stream().map(item -> item.options().runId()).toList(),
                results.stream().map(BatchResult::runId).toList());
        assertTrue(results.stream().allMatch(one -> one.created() && one.status() == RunStatus.QUEUED));
        assertTrue(client.enqueueBatch(items).join().stream().noneMatch(BatchResult::created));
        assertEquals(
                1200, client.runs().list(RunFilter.all(), RunView.BASIC, 500).count());
    }

    @Test
    void aBadItemOfABatchIsNamedByItsPlaceAndWhatWasMadeBeforeIsTold() {
        List<Item> items = List.of(new Item("work", 0), new Item("work", 1), new Item("no good", 2));
        InvalidRequest error = Expect.failure(
                InvalidRequest.class,
                client.enqueueBatch(
                        items,
                        BatchOptions.builder().batchSize(2).concurrency(1).build()));
        assertEquals("items[2].task", error.violations().get(0).field());
        assertEquals(Set.of(0, 1), error.enqueued().keySet());
    }

    @Test
    void tasksAreRegisteredListedPausedAndResumed() {
        TaskDefinition definition = TaskDefinition.builder("mail")
                .queue("slow")
                .retry(Retry.builder()
                        .backoff(Backoff.custom(Duration.ofSeconds(10), Duration.ofSeconds(30)))
                        .build())
                .timeout(Duration.ofSeconds(9))
                .priority(Priority.LOW)
                .build();
        Task task = client.tasks().register(List.of(definition)).join().get(0);
        assertEquals(task, client.tasks().get("mail").join());
        assertEquals(
                List.of("mail", "slow", definition.retry(), definition.timeout(), Priority.LOW, 1L),
                List.of(task.name(), task.queue(), task.retry(), task.timeout(), task.priority(), task.revision()));
        assertEquals(
                List.of("mail", "work"), client.tasks().list(1).map(Task::name).toList());
        Task paused = client.tasks().pause("mail", "provider is down").join();
        assertNotNull(paused.pausedAt());
        assertEquals("provider is down", paused.pauseReason());
        assertNull(client.tasks().resume("mail").join().pausedAt());
    }

    @Test
    void jsonComesBackAsItWentIn() throws JsonProcessingException {
        for (String text : List.of(
                "null",
                "{}",
                "[]",
                "\"\"",
                "0",
                "-0.0",
                "1e-7",
                "0.1",
                "true",
                "{\"\":{\"a\":[[],\" ✉😀\\u2028\"]}}")) {
            JsonNode payload = MAPPER.readTree(text);
            Run run = client.enqueue("work", payload).join().run();
            assertEquals(payload, run.payload(), text);
        }
    }
}
