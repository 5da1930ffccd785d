package dev.layeron.job;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.grpc.Status;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;

/** How long the client waits between tries, and when it gives up. */
class PatienceTest {
    private final JobException away = Errors.of(Status.UNAVAILABLE.asRuntimeException(), "nowhere");

    private final AtomicLong now = new AtomicLong(-5);

    @Test
    void waitsDoubleUpToASecondUntilNoTryFitsIntoTheTime() {
        Patience patience = new Patience(Duration.ofSeconds(5), now::get, () -> 1.0);
        List<Long> waits = new ArrayList<>();
        JobException thrown = assertThrows(JobException.class, () -> {
            while (true) {
                Duration wait = patience.bear(away);
                waits.add(wait.toMillis());
                now.addAndGet(wait.toNanos());
            }
        });
        assertSame(away, thrown);
        assertEquals(List.of(50L, 100L, 200L, 400L, 800L, 1000L, 1000L, 1000L), waits);
        assertEquals(Duration.ofMillis(450), patience.left());
    }

    @Test
    void chanceShortensAWaitDownToNothing() {
        Patience patience = new Patience(Duration.ofSeconds(5), now::get, () -> 0.0);
        assertEquals(Duration.ZERO, patience.bear(away));
        assertEquals(Duration.ZERO, patience.bear(away));
    }

    @Test
    void aWaitIsAtLeastAsLongAsTheServerAsksFor() {
        JobException busy = Errors.of(
                Peer.refusal(Status.Code.RESOURCE_EXHAUSTED, "OVERLOADED", Peer.retryAfter(Duration.ofSeconds(2))),
                "here");
        Patience patience = new Patience(Duration.ofSeconds(5), now::get, () -> 0.5);
        assertEquals(Duration.ofMillis(2025), patience.bear(busy));
    }

    @Test
    void aLimitLongerThanAClockCanCountIsNoLimit() {
        Patience patience = new Patience(Duration.ofSeconds(Long.MAX_VALUE), now::get, () -> 1.0);
        now.addAndGet(Duration.ofDays(1000).toNanos());
        assertEquals(Duration.ofMillis(50), patience.bear(away));
    }
}
