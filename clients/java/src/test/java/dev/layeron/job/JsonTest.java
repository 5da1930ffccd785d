package dev.layeron.job;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.DoubleNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.google.protobuf.ByteString;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Payloads as JSON text. */
class JsonTest {
    private final Json json = new Json(new ObjectMapper());

    private record Mail(String to, List<Integer> parts) {}

    @Test
    void aPayloadIsCompactUtf8Json() {
        assertEquals("{\"to\":\"Ada ✉ 😀\",\"parts\":[1,2]}", text(new Mail("Ada ✉ 😀", List.of(1, 2))));
        assertEquals("{\"a\":[1,2.5,null,true]}", text(Map.of("a", java.util.Arrays.asList(1, 2.5, null, true))));
        assertEquals("9007199254740991", text((1L << 53) - 1));
        JsonNode node = JsonNodeFactory.instance.objectNode().put("n", 1);
        assertEquals("{\"n\":1}", text(node));
        assertEquals("null", text(null));
    }

    @ParameterizedTest
    @MethodSource("infinities")
    void numbersThatAreNotFiniteAreRefusedByName(Object payload) {
        Expect.refused("payload is not JSON: numbers must be finite", () -> json.bytes(payload));
    }

    static List<Object> infinities() {
        return List.of(
                Double.NaN,
                Map.of("n", Float.POSITIVE_INFINITY),
                new double[] {1, Double.NEGATIVE_INFINITY},
                new float[] {Float.NaN},
                DoubleNode.valueOf(Double.NaN));
    }

    @ParameterizedTest
    @ValueSource(strings = {"\ud83d", "\ude00", "a\ud83dz", "\ude00\ud83d"})
    void aLoneSurrogateIsRefusedByName(String secret) {
        for (Object payload :
                List.of(secret, Map.of(secret, 1), JsonNodeFactory.instance.textNode(secret), secret.toCharArray())) {
            Expect.refused(
                    "payload is not JSON: it has a lone surrogate, which UTF-8 cannot hold", () -> json.bytes(payload));
        }
    }

    @Test
    void whatIsNoJsonIsRefusedByNameAndNotShown() {
        Map<String, Object> payload = new HashMap<>(Map.of("secret-key", "secret-value"));
        payload.put("self", new Object());
        IllegalArgumentException refused = assertThrows(IllegalArgumentException.class, () -> json.bytes(payload));
        assertTrue(refused.getMessage().startsWith("payload is not JSON: No serializer found"), refused.getMessage());
        assertFalse(refused.toString().contains("secret"), refused.toString());
        assertNull(refused.getCause());
    }

    @Test
    void whatIsNestedWithoutEndIsRefusedByName() {
        Map<String, Object> payload = new HashMap<>();
        payload.put("self", payload);
        String problem = assertThrows(IllegalArgumentException.class, () -> json.bytes(payload))
                .getMessage();
        assertTrue(problem.startsWith("payload is not JSON: "), problem);
    }

    @Test
    void jsonIsReadAsItIs() {
        String text = "{\"a\":[1,2.5,null,true,\"✉ 😀\"],\"n\":1." + "0".repeat(5000) + "}";
        JsonNode read = Json.read(ByteString.copyFromUtf8(text));
        assertEquals("✉ 😀", read.path("a").path(4).textValue());
        assertEquals(1.0, read.path("n").doubleValue());
        assertNull(Json.read(ByteString.EMPTY));
        assertTrue(Json.read(ByteString.copyFromUtf8("null")).isNull());
    }

    private String text(@org.jspecify.annotations.Nullable Object payload) {
        return json.bytes(payload).toStringUtf8();
    }
}
