package dev.layeron.job;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.layeron.job.JobException.InvalidRequest;
import dev.layeron.job.JobException.Violation;
import dev.layeron.job.v1.EnqueueBatchRequest;
import dev.layeron.job.v1.EnqueueBatchResponse;
import dev.layeron.job.v1.EnqueueBatchResult;
import dev.layeron.job.v1.EnqueueRequest;
import io.grpc.Status;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Many runs in few calls. */
class BatchTest {
    /** Makes every run that it is asked for, and does not say that they are new. */
    private static final Peer.Step MAKE = (request, to) -> {
        var answer = EnqueueBatchResponse.newBuilder();
        ((EnqueueBatchRequest) request)
                .getItemsList()
                .forEach(item ->
                        answer.addResults(EnqueueBatchResult.newBuilder().setRunId(item.getRunId())));
        Peer.say(answer.build()).answer(request, to);
    };

    private static final Peer.Step BUSY =
            Peer.refuse(Status.Code.RESOURCE_EXHAUSTED, "OVERLOADED", Peer.retryAfter(Duration.ofMillis(10)));

    private Peer peer;
    private JobClient client;

    @BeforeEach
    void start() throws IOException {
        peer = new Peer();
        client = JobClient.builder()
                .address(peer.address())
                .timeout(Duration.ofSeconds(5))
                .build();
    }

    @AfterEach
    void stop() {
        client.close();
        peer.close();
    }

    private static List<Item> items(int count) {
        return IntStream.range(0, count).mapToObj(n -> new Item("work", n)).toList();
    }

    private static BatchOptions.Builder by(int batchSize) {
        return BatchOptions.builder().batchSize(batchSize);
    }

    private List<Integer> sizes() {
        return peer.requests.stream()
                .map(one -> ((EnqueueBatchRequest) one).getItemsCount())
                .toList();
    }

    @Test
    void itemsAreCutByNumberAndResultsKeepTheirOrder() {
        peer.script.addAll(List.of(MAKE, MAKE, MAKE));
        List<BatchResult> results = client.enqueueBatch(items(5), by(2).build()).join();
        assertEquals(Set.of(2, 1), Set.copyOf(sizes()));
        List<EnqueueRequest> sent = peer.requests.stream()
                .flatMap(one -> ((EnqueueBatchRequest) one).getItemsList().stream())
                .sorted(java.util.Comparator.comparing(
                        item -> item.getPayloadJson().toStringUtf8()))
                .toList();
        assertEquals(
                sent.stream().map(EnqueueRequest::getRunId).toList(),
                results.stream().map(BatchResult::runId).toList());
        assertTrue(results.stream().allMatch(BatchResult::created), "runs of ids chosen here were made here");
    }

    @Test
    void resultsComeInOrderWhenCallsEndOutOfOrder() throws Exception {
        CountDownLatch second = new CountDownLatch(1);
        peer.script.add((request, to) -> new Thread(() -> {
                    try {
                        assertTrue(second.await(10, TimeUnit.SECONDS));
                    } catch (InterruptedException interrupted) {
                        throw new AssertionError(interrupted);
                    }
                    MAKE.answer(request, to);
                })
                .start());
        peer.script.add(MAKE);
        List<String> ids = List.of(RunIds.newRunId(), RunIds.newRunId());
        List<Item> items = ids.stream()
                .map(id -> new Item(
                        "work", null, EnqueueOptions.builder().runId(id).build()))
                .toList();
        BatchOptions options =
                by(1).progress((done, total) -> second.countDown()).build();
        List<BatchResult> results = client.enqueueBatch(items, options).get(20, TimeUnit.SECONDS);
        assertEquals(ids, results.stream().map(BatchResult::runId).toList());
        assertTrue(results.stream().noneMatch(BatchResult::created), "of the caller's ids the server knows");
    }

    @Test
    void itemsAreCutBySizeAndOnlyOneThatIsAloneMayBeLarger() {
        String large = "x".repeat(1024 * 1024);
        List<Item> items = List.of(
                new Item("work", large),
                new Item("work", large),
                new Item("work", large),
                new Item("work", large),
                new Item("work", large.repeat(4)),
                new Item("work", 1));
        peer.script.addAll(List.of(Peer.refuse(Status.ABORTED)));
        BatchOptions options = BatchOptions.builder().concurrency(1).build();
        Expect.failure(JobException.class, client.enqueueBatch(items, options));
        assertEquals(List.of(3), sizes());
        peer.requests.clear();
        peer.script.addAll(List.of(MAKE, MAKE));
        assertEquals(4, client.enqueueBatch(items.subList(0, 4), options).join().size());
        assertEquals(List.of(3, 1), sizes());
    }

    @Test
    void noMoreIsReadThanIsSentAndNoMoreCallsAreUnderWayThanAskedFor() throws Exception {
        AtomicInteger read = new AtomicInteger();
        Stream<Item> items = Stream.generate(() -> new Item("work", read.incrementAndGet()));
        CountDownLatch arrived = new CountDownLatch(2);
        Peer.Step hang = (request, to) -> {
            peer.hang().answer(request, to);
            arrived.countDown();
        };
        peer.script.addAll(List.of(hang, hang, hang));
        CompletableFuture<List<BatchResult>> batch =
                client.enqueueBatch(items, by(10).concurrency(2).build());
        assertTrue(arrived.await(10, TimeUnit.SECONDS));
        assertEquals(2, peer.requests.size());
        assertEquals(20, read.get());
        batch.cancel(true);
        assertTrue(peer.hungUp.await(10, TimeUnit.SECONDS), "canceling a batch cancels its calls");
    }

    @Test
    void progressTellsHowManyAreDoneAndOfHowMany() {
        peer.script.addAll(List.of(MAKE, MAKE, MAKE, MAKE));
        List<String> told = new ArrayList<>();
        BatchProgress progress = (done, total) -> told.add(done + " of " + total);
        client.enqueueBatch(items(3), by(2).progress(progress).build()).join();
        assertEquals("3 of OptionalLong[3]", told.get(1));
        client.enqueueBatch(items(3).stream(), by(2).progress(progress).build()).join();
        assertEquals("3 of OptionalLong.empty", told.get(3));
    }

    @Test
    void anOverloadedServerIsWaitedForButNotLongerThanTheTimeout() {
        peer.script.addAll(List.of(BUSY, BUSY, MAKE));
        assertEquals(1, client.enqueueBatch(items(1)).join().size());
        peer.script.add(
                Peer.refuse(Status.Code.RESOURCE_EXHAUSTED, "OVERLOADED", Peer.retryAfter(Duration.ofHours(1))));
        Expect.failure(JobException.Overloaded.class, client.enqueueBatch(items(1)));
    }

    @Test
    void aBadItemIsNamedByItsPlaceInTheWholeBatchAndWhatWasMadeIsTold() {
        peer.script.addAll(List.of(
                MAKE,
                Peer.refuse(
                        Status.Code.INVALID_ARGUMENT,
                        "INVALID_ARGUMENT",
                        Peer.violation("items[1].task", "must not be empty, unlike items[0].task"))));
        InvalidRequest error = Expect.failure(
                InvalidRequest.class,
                client.enqueueBatch(items(4), by(2).concurrency(1).build()));
        assertEquals(
                List.of(new Violation("items[3].task", "must not be empty, unlike items[2].task")), error.violations());
        assertEquals(Set.of(0, 1), error.enqueued().keySet());
    }

    @Test
    void anItemThatCannotBeSentIsNamedByItsPlaceAndTheBatchSaysHowManyWereMade() {
        peer.script.add(MAKE);
        AtomicBoolean closed = new AtomicBoolean();
        Stream<Item> items = Stream.concat(items(2).stream(), Stream.of(new Item("work", Double.NaN)))
                .onClose(() -> closed.set(true));
        IllegalArgumentException error = Expect.failure(
                IllegalArgumentException.class,
                client.enqueueBatch(items, by(2).concurrency(1).build()));
        assertEquals("items[2]: payload is not JSON: numbers must be finite", error.getMessage());
        assertEquals("2 runs of this batch were made", error.getSuppressed()[0].getMessage());
        assertTrue(closed.get());
    }

    @Test
    void whatTheCallersIteratorThrowsEndsTheBatch() {
        Stream<Item> items = Stream.generate(() -> {
            throw new IllegalStateException("no more lines");
        });
        IllegalStateException error =
                Expect.failure(IllegalStateException.class, client.enqueueBatch(items, BatchOptions.DEFAULT));
        assertEquals("no more lines", error.getMessage());
    }

    @Test
    void nothingIsAskedForByAnEmptyBatch() {
        assertEquals(List.of(), client.enqueueBatch(List.of()).join());
        assertEquals(0, peer.requests.size());
    }
}
