package dev.layeron.job;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.layeron.job.JobException.RunAlreadyFinished;
import dev.layeron.job.JobException.RunNotFinished;
import dev.layeron.job.JobException.RunNotFound;
import java.io.IOException;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;
import javax.net.ServerSocketFactory;
import org.junit.jupiter.api.Test;

/** Looking at the runs of a real server, waiting for them, watching, canceling and replaying them. */
class RunsTest extends LiveTest {
    private static final Duration HOUR = Duration.ofHours(1);

    private String succeeded(String result) {
        String runId = enqueued();
        try (HandWorker worker = new HandWorker(client.namespace())) {
            worker.succeed(runId, result);
        }
        return runId;
    }

    @Test
    void aRunThatSucceededIsToldWithItsResultAttemptsAndTransitions() {
        String runId = enqueued();
        CompletableFuture<Run> waiting = client.runs().await(runId, Duration.ofSeconds(20));
        try (HandWorker worker = new HandWorker(client.namespace())) {
            worker.fail(runId, false);
        }
        assertFalse(waiting.isDone());
        RunDetails details = client.runs().get(runId).join();
        Attempt failed = details.attempts().get(0);
        assertEquals(
                List.of(1, AttemptStatus.FAILED, "ValueError", "no", "by-hand"),
                List.of(
                        failed.number(),
                        failed.status(),
                        failed.errorType(),
                        failed.errorMessage(),
                        failed.workerBuild()));
        assertNotNull(failed.retryAt());
        assertEquals(
                List.of(TransitionReason.ENQUEUED, TransitionReason.STARTED, TransitionReason.ATTEMPT_FAILED),
                details.transitions().stream().map(Transition::reasonCode).toList());
        client.runs().cancel(runId, "enough").join();
        assertEquals(RunStatus.CANCELED, waiting.join().status());

        Run run = client.runs().await(succeeded("{\"sent\":[1,2]}")).join();
        assertEquals(RunStatus.SUCCEEDED, run.status());
        assertEquals("{\"sent\":[1,2]}", String.valueOf(run.result()));
    }

    @Test
    void aCanceledRunIsToldAndAFinishedOneCannotBeCanceled() {
        String runId = enqueued();
        Run canceled = client.runs().cancel(runId, "not needed").join();
        assertEquals(RunStatus.CANCELED, canceled.status());
        assertTrue(canceled.isTerminal());
        List<Transition> transitions = client.runs().get(runId).join().transitions();
        assertEquals("not needed", transitions.get(transitions.size() - 1).note());
        Expect.failure(RunAlreadyFinished.class, client.runs().cancel(succeeded("null"), ""));
    }

    @Test
    void aTerminalRunIsReplayedAsANewOneWithItsPayloadOrAnother() {
        String runId = client.enqueue("work", Map.of("n", 1)).join().runId();
        Expect.failure(RunNotFinished.class, client.runs().replay(runId, "too early"));
        client.runs().cancel(runId, "").join();
        Enqueued same = client.runs().replay(runId, "again").join();
        assertTrue(same.created());
        assertNotEquals(runId, same.runId());
        assertEquals(
                List.of(RunOrigin.REPLAY, runId),
                List.of(same.run().origin(), same.run().originId()));
        assertEquals("{\"n\":1}", String.valueOf(same.run().payload()));
        ReplayOptions options = ReplayOptions.builder()
                .payload(null)
                .delay(HOUR)
                .newRunId(RunIds.newRunId())
                .build();
        Enqueued other = client.runs().replay(runId, options).join();
        assertEquals(List.of(options.newRunId(), RunStatus.SCHEDULED), List.of(other.runId(), other.status()));
        assertEquals(
                "null",
                String.valueOf(client.runs().get(other.runId()).join().run().payload()));
        assertFalse(client.runs().replay(runId, options).join().created());
        assertEquals(other.runId(), client.runs().get(runId).join().run().replayedBy());
        RunFilter replays = RunFilter.builder().originId(runId).build();
        assertEquals(
                List.of(other.runId(), same.runId()),
                client.runs().list(replays).map(Run::runId).toList());
    }

    @Test
    void runsAreListedByEverythingAFilterHas() {
        Instant before = Instant.now().minus(HOUR);
        var unused = client.tasks()
                .register(List.of(
                        TaskDefinition.of("work"),
                        TaskDefinition.builder("other").queue("slow").build()))
                .join();
        EnqueueOptions options = EnqueueOptions.builder()
                .labels(Map.of("a", "1"))
                .idempotencyKey("k")
                .delay(HOUR)
                .build();
        String found = client.enqueue("other", "payload", options).join().runId();
        enqueued();
        RunFilter.Builder all = RunFilter.builder()
                .task("other")
                .queue("slow")
                .statuses(RunStatus.SCHEDULED, RunStatus.RUNNING)
                .labels(Map.of("a", "1"))
                .idempotencyKey("k")
                .createdFrom(before)
                .createdBefore(Instant.now().plus(HOUR));
        List<Run> runs = client.runs().list(all.build(), RunView.FULL, 10).toList();
        assertEquals(List.of(found), runs.stream().map(Run::runId).toList());
        assertEquals("\"payload\"", String.valueOf(runs.get(0).payload()));
        assertNull(client.runs().list(all.build()).findFirst().orElseThrow().payload());
        assertEquals(
                0,
                client.runs()
                        .list(all.createdFrom(Instant.now().plus(HOUR)).build())
                        .count());
    }

    @Test
    void aPageLeadsToTheNextOneOfTheSameList() {
        List<String> newestFirst = new ArrayList<>();
        for (int count = 0; count < 3; count++) {
            newestFirst.add(0, enqueued());
        }
        Page first = client.runs().page(RunFilter.all(), RunView.BASIC, 2, "").join();
        Page last = client.runs()
                .page(RunFilter.all(), RunView.BASIC, 2, first.nextPageToken())
                .join();
        List<Run> both = new ArrayList<>(first.runs());
        both.addAll(last.runs());
        assertEquals(newestFirst, both.stream().map(Run::runId).toList());
        assertEquals("", last.nextPageToken());
    }

    @Test
    void waitingEndsInTimeWithTheRunAsItIs() {
        String runId = enqueued();
        WaitTimeoutException error =
                Expect.failure(WaitTimeoutException.class, client.runs().await(runId, Duration.ofMillis(100)));
        assertEquals(
                List.of(runId, RunStatus.QUEUED),
                List.of(error.run().runId(), error.run().status()));
    }

    @Test
    void aWatchOfARunTellsEveryChangeOnceAndEndsWithIt() {
        String runId = enqueued();
        try (Watch watch = client.runs().watch(runId)) {
            client.runs().cancel(runId, "").join();
            List<RunChange> changes = new ArrayList<>();
            watch.forEach(changes::add);
            assertEquals(
                    List.of(RunStatus.QUEUED, RunStatus.CANCELED),
                    changes.stream()
                            .map(change -> change.transition().toStatus())
                            .toList());
            assertNull(changes.get(0).transition().fromStatus());
            try (Watch rest = client.runs().watch(runId, changes.get(0).resumeToken())) {
                assertEquals(
                        RunStatus.CANCELED, rest.iterator().next().transition().toStatus());
            }
        }
    }

    @Test
    void aWatchOfAFilterTellsWhatHappensAfterItHasBegunAlsoWhenItsConnectionIsCut() throws IOException {
        try (Relay relay = new Relay(ServerSocketFactory.getDefault());
                JobClient cut = JobClient.builder()
                        .address("127.0.0.1:" + relay.port())
                        .namespace(client.namespace())
                        .build();
                Watch watch = cut.runs()
                        .watch(RunFilter.builder().labels(Map.of("seen", "1")).build())) {
            EnqueueOptions seen =
                    EnqueueOptions.builder().labels(Map.of("seen", "1")).build();
            List<String> runIds = new ArrayList<>();
            var changes = watch.iterator();
            for (int round = 0; round < 3; round++) {
                enqueued();
                runIds.add(client.enqueue("work", null, seen).join().runId());
                RunChange change = changes.next();
                assertEquals(List.of(runIds.get(round), "work"), List.of(change.runId(), change.task()));
                relay.cut();
            }
        }
    }

    @Test
    void aWaitForARunGoesOnWhenItsConnectionIsCut() throws IOException {
        String runId = enqueued();
        try (Relay relay = new Relay(ServerSocketFactory.getDefault());
                JobClient cut = JobClient.builder()
                        .address("127.0.0.1:" + relay.port())
                        .namespace(client.namespace())
                        .build()) {
            CompletableFuture<Run> waiting = cut.runs().await(runId);
            Expect.failure(WaitTimeoutException.class, cut.runs().await(runId, Duration.ofMillis(100)));
            relay.cut();
            client.runs().cancel(runId, "").join();
            assertEquals(RunStatus.CANCELED, waiting.join().status());
        }
    }

    @Test
    void aClientSeesItsOwnNamespaceOnly() {
        String runId = enqueued();
        try (JobClient other = LiveServer.client()) {
            Expect.failure(RunNotFound.class, other.runs().get(runId));
            assertThrows(RunNotFound.class, () -> other.runs().watch(runId));
            assertEquals(Set.of(), other.runs().list(RunFilter.all()).collect(Collectors.toSet()));
        }
    }
}
