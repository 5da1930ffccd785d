package dev.layeron.job;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.layeron.job.JobException.RunNotFound;
import dev.layeron.job.JobException.Unavailable;
import dev.layeron.job.v1.ListRunsRequest;
import dev.layeron.job.v1.ListRunsResponse;
import dev.layeron.job.v1.WaitRunResponse;
import dev.layeron.job.v1.WatchRunsRequest;
import dev.layeron.job.v1.WatchRunsResponse;
import io.grpc.Status;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Waiting for runs, watching and listing them, also when servers come and go. */
class WaitingTest {
    private static final Peer.Step AWAY = Peer.refuse(Status.Code.UNAVAILABLE, "DATABASE_UNAVAILABLE");

    private static final Peer.Step AWAY_FOR_LONG =
            Peer.refuse(Status.Code.UNAVAILABLE, "DATABASE_UNAVAILABLE", Peer.retryAfter(Duration.ofHours(1)));

    private Peer peer;
    private JobClient client;

    @BeforeEach
    void start() throws IOException {
        peer = new Peer();
        client = JobClient.builder()
                .address(peer.address())
                .timeout(Duration.ofSeconds(10))
                .build();
    }

    @AfterEach
    void stop() {
        client.close();
        peer.close();
    }

    private static Peer.Step standing(dev.layeron.job.v1.RunStatus status) {
        return Peer.say(WaitRunResponse.newBuilder()
                .setRun(dev.layeron.job.v1.Run.newBuilder().setRunId("run_1").setStatus(status))
                .build());
    }

    private static WatchRunsResponse change(int seq) {
        return WatchRunsResponse.newBuilder()
                .addChanges(dev.layeron.job.v1.RunChange.newBuilder()
                        .setRunId("run_1")
                        .setTransition(
                                dev.layeron.job.v1.Transition.newBuilder().setSeq(seq)))
                .setResumeToken("after " + seq)
                .build();
    }

    /** Sends these and then loses the connection. */
    private static Peer.Step broken(WatchRunsResponse... answers) {
        return (request, to) -> {
            List.of(answers).forEach(to::onNext);
            to.onError(Status.UNAVAILABLE.asRuntimeException());
        };
    }

    private static List<Integer> seqs(Watch watch) {
        List<Integer> seqs = new ArrayList<>();
        watch.forEach(change -> seqs.add(change.transition().seq()));
        return seqs;
    }

    private List<String> tokens() {
        return peer.requests.stream()
                .map(one -> ((WatchRunsRequest) one).getResumeToken())
                .toList();
    }

    @Test
    void waitingAsksAgainUntilTheRunIsTerminalAndBearsOutages() {
        peer.script.addAll(List.of(
                standing(dev.layeron.job.v1.RunStatus.RUN_STATUS_RUNNING),
                AWAY,
                AWAY,
                standing(dev.layeron.job.v1.RunStatus.RUN_STATUS_DEAD_LETTERED)));
        assertEquals(
                RunStatus.DEAD_LETTERED, client.runs().await("run_1").join().status());
    }

    @Test
    void waitingEndsWithTheRunAsItIsWhenItsTimeHasPassed() {
        peer.script.add(standing(dev.layeron.job.v1.RunStatus.RUN_STATUS_RUNNING));
        WaitTimeoutException error =
                Expect.failure(WaitTimeoutException.class, client.runs().await("run_1", Duration.ofSeconds(-1)));
        assertEquals(
                List.of("run_1 is still RUNNING", RunStatus.RUNNING),
                List.of(error.getMessage(), error.run().status()));
    }

    @Test
    void waitingWithoutAnyServerEndsOnceTheClientsTimeoutLeavesNoTry() {
        peer.script.addAll(List.of(AWAY, AWAY_FOR_LONG));
        Expect.failure(Unavailable.class, client.runs().await("run_1"));
    }

    @Test
    void cancelingAWaitCancelsItsCall() throws InterruptedException {
        peer.script.addAll(List.of(standing(dev.layeron.job.v1.RunStatus.RUN_STATUS_RUNNING), peer.hang()));
        CompletableFuture<Run> waiting = client.runs().await("run_1");
        peer.requests.take();
        peer.requests.take();
        waiting.cancel(true);
        assertTrue(peer.hungUp.await(10, TimeUnit.SECONDS));
    }

    @Test
    void aWatchGoesOnAfterWhatItHasSeenWhenItsConnectionIsLost() {
        peer.script.addAll(List.of(
                broken(change(0), change(1)),
                AWAY,
                Peer.refuse(Status.Code.RESOURCE_EXHAUSTED, "OVERLOADED", Peer.retryAfter(Duration.ofMillis(10))),
                Peer.say(change(2))));
        try (Watch watch = client.runs().watch("run_1", "given")) {
            assertEquals(List.of(0, 1, 2), seqs(watch));
        }
        assertEquals(List.of("given", "after 1", "after 1", "after 1"), tokens());
    }

    @Test
    void aWatchOfAFilterThatTheServerEndsIsBegunAgainUntilItIsClosed() throws InterruptedException {
        peer.script.addAll(List.of(Peer.say(change(0)), (request, to) -> {
            to.onNext(change(1));
            peer.hang().answer(request, to);
        }));
        List<Integer> seen = new ArrayList<>();
        Watch watch = client.runs().watch(RunFilter.all());
        for (RunChange change : watch) {
            seen.add(change.transition().seq());
            if (seen.size() == 2) {
                watch.close();
            }
        }
        assertEquals(List.of(0, 1), seen);
        assertTrue(peer.hungUp.await(10, TimeUnit.SECONDS), "closing a watch ends its call");
    }

    @Test
    void closingAWatchTellsWhoWaitsThatThereIsNoMore() throws Exception {
        peer.script.add((request, to) -> {
            to.onNext(change(0));
            peer.hang().answer(request, to);
        });
        Watch watch = client.runs().watch("run_1");
        CompletableFuture<List<Integer>> reading = CompletableFuture.supplyAsync(() -> seqs(watch));
        watch.close();
        assertTrue(reading.get(10, TimeUnit.SECONDS).size() <= 1);
    }

    @Test
    void closingTheClientEndsAWatchWithAnError() throws Exception {
        peer.script.add((request, to) -> {
            to.onNext(WatchRunsResponse.getDefaultInstance());
            peer.hang().answer(request, to);
        });
        Watch watch = client.runs().watch("run_1");
        CompletableFuture<List<Integer>> reading = CompletableFuture.supplyAsync(() -> seqs(watch));
        client.close();
        JobException error = Expect.failure(JobException.class, reading);
        assertEquals("the client was closed during the call", error.getMessage());
    }

    @Test
    void anInterruptEndsAWatch() throws Exception {
        peer.script.add((request, to) -> {
            to.onNext(WatchRunsResponse.getDefaultInstance());
            peer.hang().answer(request, to);
        });
        Watch watch = client.runs().watch("run_1");
        AtomicReference<Throwable> ended = new AtomicReference<>();
        Thread reader = new Thread(() -> watch.forEach(change -> {}));
        reader.setUncaughtExceptionHandler((thread, error) -> ended.set(error));
        reader.start();
        reader.interrupt();
        reader.join(10_000);
        assertEquals("interrupted while watching", ended.get().getMessage());
    }

    @Test
    void aWatchGivesUpOnceTheClientsTimeoutLeavesNoTry() {
        peer.script.add(broken(change(0)));
        peer.script.addAll(List.of(AWAY, AWAY_FOR_LONG));
        try (Watch watch = client.runs().watch("run_1")) {
            Iterator<RunChange> changes = watch.iterator();
            assertEquals(0, changes.next().transition().seq());
            assertThrows(Unavailable.class, changes::hasNext);
        }
    }

    @Test
    void aWatchThatCannotBeginSaysSoAtOnce() {
        peer.script.add(Peer.refuse(Status.Code.NOT_FOUND, "RUN_NOT_FOUND"));
        assertThrows(RunNotFound.class, () -> client.runs().watch("run_1"));
        Expect.refused("runId must not be empty", () -> client.runs().watch(""));
    }

    @Test
    void aWatchIsReadOnce() {
        peer.script.add(Peer.say(change(0)));
        try (Watch watch = client.runs().watch("run_1")) {
            assertEquals(List.of(0), seqs(watch));
            assertThrows(IllegalStateException.class, watch::iterator);
        }
    }

    @Test
    void pagesAreAskedForWhenTheirFirstEntryIs() {
        for (String token : List.of("a", "b", "")) {
            peer.script.add(Peer.say(ListRunsResponse.newBuilder()
                    .addRuns(dev.layeron.job.v1.Run.newBuilder().setRunId("run_" + token))
                    .setNextPageToken(token)
                    .build()));
        }
        Iterator<Run> runs = client.runs().list(RunFilter.all()).iterator();
        assertEquals(0, peer.requests.size());
        assertEquals("run_a", runs.next().runId());
        assertEquals(1, peer.requests.size());
        assertEquals("run_b", runs.next().runId());
        assertEquals("run_", runs.next().runId());
        assertFalse(runs.hasNext());
        assertEquals(
                List.of("", "a", "b"),
                peer.requests.stream()
                        .map(one -> ((ListRunsRequest) one).getPageToken())
                        .toList());
    }

    @Test
    void aListThrowsWhatItsCallFailedWith() {
        peer.script.add(Peer.refuse(Status.Code.DEADLINE_EXCEEDED, "FILTER_TOO_BROAD"));
        assertThrows(
                JobException.FilterTooBroad.class,
                () -> client.runs().list(RunFilter.all()).toList());
    }
}
