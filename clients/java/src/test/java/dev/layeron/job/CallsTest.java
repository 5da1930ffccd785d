package dev.layeron.job;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.layeron.job.JobException.DeadlineExceeded;
import dev.layeron.job.JobException.Internal;
import dev.layeron.job.JobException.Overloaded;
import dev.layeron.job.JobException.RunNotFound;
import dev.layeron.job.JobException.Unavailable;
import dev.layeron.job.v1.EnqueueRequest;
import dev.layeron.job.v1.EnqueueResponse;
import dev.layeron.job.v1.GetRunResponse;
import dev.layeron.job.v1.ReplayRunRequest;
import dev.layeron.job.v1.ReplayRunResponse;
import io.grpc.Metadata;
import io.grpc.Status;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** What is tried again, for how long, where, and what comes of everything else. */
class CallsTest {
    private static final Peer.Step AWAY = Peer.refuse(Status.Code.UNAVAILABLE, "DATABASE_UNAVAILABLE");
    private static final Peer.Step AWAY_FOR_LONG =
            Peer.refuse(Status.Code.UNAVAILABLE, "DATABASE_UNAVAILABLE", Peer.retryAfter(Duration.ofHours(1)));
    private static final GetRunResponse HERE = GetRunResponse.newBuilder()
            .setRun(dev.layeron.job.v1.Run.newBuilder().setName("here"))
            .build();

    private Peer peer;

    @BeforeEach
    void startPeer() throws IOException {
        peer = new Peer();
    }

    @AfterEach
    void stopPeer() {
        peer.close();
    }

    private JobClient client() {
        return JobClient.builder()
                .address(peer.address())
                .timeout(Duration.ofSeconds(5))
                .build();
    }

    @Test
    void whatIsUnavailableIsTriedAgainAndAnswered() {
        peer.script.addAll(List.of(AWAY, Peer.refuse(Status.UNAVAILABLE), Peer.say(HERE)));
        try (JobClient client = client()) {
            assertEquals("here", client.runs().get("run_1").join().run().name());
        }
        assertEquals(3, peer.requests.size());
    }

    @Test
    void whatIsUnavailableFailsOnceNoFurtherTryFitsIntoTheTime() {
        peer.script.addAll(List.of(AWAY, AWAY_FOR_LONG));
        try (JobClient client = client()) {
            Unavailable error = Expect.failure(Unavailable.class, client.runs().get("run_1"));
            assertEquals("DATABASE_UNAVAILABLE", error.reason());
        }
        assertEquals(2, peer.requests.size());
    }

    @Test
    void nothingElseIsTriedAgain() {
        peer.script.addAll(List.of(
                Peer.refuse(Status.Code.RESOURCE_EXHAUSTED, "OVERLOADED", Peer.retryAfter(Duration.ofSeconds(1))),
                Peer.refuse(Status.Code.NOT_FOUND, "RUN_NOT_FOUND"),
                Peer.refuse(Status.Code.INTERNAL, "INTERNAL"),
                Peer.refuse(Status.DEADLINE_EXCEEDED),
                Peer.refuse(Status.ABORTED)));
        try (JobClient client = client()) {
            Overloaded busy = Expect.failure(Overloaded.class, client.runs().get("run_1"));
            assertEquals(Duration.ofSeconds(1), busy.retryAfter());
            Expect.failure(RunNotFound.class, client.runs().get("run_1"));
            Expect.failure(Internal.class, client.runs().get("run_1"));
            Expect.failure(DeadlineExceeded.class, client.runs().get("run_1"));
            Expect.failure(JobException.class, client.runs().get("run_1"));
        }
        assertEquals(5, peer.requests.size());
    }

    @Test
    void aRepeatedEnqueueAsksForTheSameRunAndKnowsThatItMadeIt() {
        peer.script.add(AWAY);
        peer.script.add((request, to) -> Peer.say(EnqueueResponse.newBuilder()
                        .setRun(dev.layeron.job.v1.Run.newBuilder().setRunId(((EnqueueRequest) request).getRunId()))
                        .build())
                .answer(request, to));
        try (JobClient client = client()) {
            Enqueued enqueued = client.enqueue("work", null).join();
            assertTrue(enqueued.created());
            assertEquals(
                    List.of(enqueued.runId(), enqueued.runId()),
                    peer.requests.stream()
                            .map(one -> ((EnqueueRequest) one).getRunId())
                            .toList());
        }
    }

    @Test
    void whetherARunOfTheCallersOwnIdIsNewIsTheServersWord() {
        String runId = RunIds.newRunId();
        var old = EnqueueResponse.newBuilder()
                .setRun(dev.layeron.job.v1.Run.newBuilder().setRunId(runId));
        peer.script.add(Peer.say(old.build()));
        try (JobClient client = client()) {
            EnqueueOptions options = EnqueueOptions.builder().runId(runId).build();
            assertFalse(client.enqueue("work", null, options).join().created());
        }
    }

    @Test
    void aRunOfATakenKeyIsNotANewOne() {
        peer.script.add(Peer.say(EnqueueResponse.newBuilder()
                .setRun(dev.layeron.job.v1.Run.newBuilder().setRunId(RunIds.newRunId()))
                .build()));
        try (JobClient client = client()) {
            assertFalse(client.enqueue("work", null).join().created());
        }
    }

    @Test
    void aRepeatedReplayAsksForTheSameRunAndKnowsThatItMadeIt() {
        peer.script.addAll(List.of(AWAY, Peer.say(ReplayRunResponse.getDefaultInstance())));
        try (JobClient client = client()) {
            assertTrue(client.runs().replay("run_1", "again").join().created());
        }
        List<String> asked = peer.requests.stream()
                .map(one -> ((ReplayRunRequest) one).getNewRunId())
                .toList();
        assertEquals(List.of(asked.get(0), asked.get(0)), asked);
    }

    @Test
    void aSilentServerIsGivenUpAtTheDeadline() throws InterruptedException {
        peer.script.add(peer.hang());
        try (JobClient client = JobClient.builder()
                .address(peer.address())
                .timeout(Duration.ofSeconds(1))
                .build()) {
            DeadlineExceeded error =
                    Expect.failure(DeadlineExceeded.class, client.runs().get("run_1"));
            assertTrue(error.getMessage().startsWith("no answer from " + peer.address()), error.getMessage());
        }
        assertTrue(peer.hungUp.await(10, TimeUnit.SECONDS));
    }

    @Test
    void theNextAddressIsUsedOnceTheFirstDoesNotAnswer() throws IOException {
        peer.script.addAll(List.of(Peer.say(HERE), Peer.say(HERE)));
        String nobody;
        try (ServerSocket free = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            nobody = "127.0.0.1:" + free.getLocalPort();
        }
        try (JobClient client = JobClient.builder()
                .address(nobody, peer.address())
                .timeout(Duration.ofSeconds(5))
                .build()) {
            assertEquals("here", client.runs().get("run_1").join().run().name());
            assertEquals("here", client.runs().get("run_1").join().run().name());
        }
    }

    @Test
    void anAddressWhereNobodyIsIsNamed() throws IOException {
        String nobody;
        try (ServerSocket free = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            nobody = "127.0.0.1:" + free.getLocalPort();
        }
        try (JobClient client = JobClient.builder()
                .address(nobody)
                .timeout(Duration.ofMillis(500))
                .build()) {
            // The last try may be cut short by the deadline.
            Throwable error = Expect.anyFailure(client.runs().get("run_1"));
            assertTrue(error.getMessage().startsWith("no answer from " + nobody), error.toString());
        }
    }

    @Test
    void aServerThatComesBackIsFoundWithinTheTimeout() throws IOException {
        int port = Integer.parseInt(peer.address().substring("127.0.0.1:".length()));
        try (JobClient client = client()) {
            peer.script.add(Peer.say(HERE));
            client.runs().get("run_1").join();
            peer.close();
            CompletableFuture<RunDetails> asked = client.runs().get("run_1");
            peer = new Peer(port);
            peer.script.add(Peer.say(HERE));
            assertEquals("here", asked.join().run().name());
        }
    }

    @Test
    void cancelingAnAnswerCancelsItsCall() throws InterruptedException {
        peer.script.add(peer.hang());
        try (JobClient client = client()) {
            CompletableFuture<RunDetails> asked = client.runs().get("run_1");
            peer.requests.take();
            assertTrue(asked.cancel(true));
            assertTrue(peer.hungUp.await(10, TimeUnit.SECONDS));
        }
    }

    @Test
    void anAnswerThatIsNotWaitedForAnyLongerCancelsItsCall() throws InterruptedException {
        peer.script.add(peer.hang());
        try (JobClient client = client()) {
            CompletableFuture<RunDetails> asked = client.runs().get("run_1").orTimeout(1, TimeUnit.SECONDS);
            Expect.failure(java.util.concurrent.TimeoutException.class, asked);
            assertTrue(peer.hungUp.await(10, TimeUnit.SECONDS));
        }
    }

    @Test
    void closingEndsCallsUnderWayAndRefusesFurtherOnes() throws InterruptedException {
        peer.script.add(peer.hang());
        JobClient client = client();
        CompletableFuture<RunDetails> asked = client.runs().get("run_1");
        peer.requests.take();
        client.close();
        JobException error = Expect.failure(JobException.class, asked);
        assertEquals(
                List.of(Status.Code.CANCELLED, "the client was closed during the call"),
                List.of(error.code(), error.getMessage()));
        assertEquals(
                "the client is closed",
                assertThrows(IllegalStateException.class, () -> client.runs().get("run_1"))
                        .getMessage());
    }

    @Test
    void theTokenIsSentWithEveryCall() {
        peer.script.addAll(List.of(Peer.say(HERE), Peer.say(HERE)));
        try (JobClient client =
                JobClient.builder().address(peer.address()).token("s3cret").build()) {
            client.runs().get("run_1").join();
            client.runs().get("run_1").join();
        }
        Metadata.Key<String> key = Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
        assertEquals(
                List.of("Bearer s3cret", "Bearer s3cret"),
                peer.headers.stream().map(one -> one.get(key)).toList());
    }
}
