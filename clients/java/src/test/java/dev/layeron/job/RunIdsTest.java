package dev.layeron.job;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.math.BigInteger;
import java.util.List;
import java.util.UUID;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** Run ids that are chosen here. */
class RunIdsTest {
    private static final String ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";

    @Test
    void aRunIdIsAUuidOfVersion7AndOfNow() {
        String id = RunIds.newRunId();
        assertTrue(id.matches("run_[0-7][" + ALPHABET + "]{25}"), id);
        UUID uuid = uuid(id);
        assertEquals(7, uuid.version());
        assertEquals(2, uuid.variant());
        long made = uuid.getMostSignificantBits() >>> 16;
        assertTrue(Math.abs(System.currentTimeMillis() - made) < 10_000, id);
    }

    @Test
    void idsOfOneProcessAreInOrderAndNeverTheSame() {
        List<String> ids = Stream.generate(RunIds::newRunId).limit(20_000).toList();
        assertEquals(ids, ids.stream().sorted().distinct().toList());
    }

    private static UUID uuid(String id) {
        BigInteger value = id.substring("run_".length())
                .chars()
                .mapToObj(digit -> BigInteger.valueOf(ALPHABET.indexOf(digit)))
                .reduce(BigInteger.ZERO, (sum, digit) -> sum.shiftLeft(5).or(digit));
        return new UUID(value.shiftRight(64).longValue(), value.longValue());
    }
}
