package dev.layeron.job.conformance;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.layeron.job.Backoff;
import dev.layeron.job.Retry;
import dev.layeron.job.TransitionReason;
import java.lang.reflect.RecordComponent;
import java.time.Duration;
import java.time.Instant;
import java.util.Collection;
import java.util.Locale;

/** The client's records as the JSON of the cases: names in snake_case, words in lower case, durations as "…_ms". */
final class Plain {
    private static final ObjectMapper MAPPER = new ObjectMapper();
    private static final JsonNodeFactory NODES = JsonNodeFactory.instance;

    private Plain() {}

    static JsonNode of(Object value) {
        if (value == null) {
            return NODES.nullNode();
        }
        if (value instanceof JsonNode node) {
            return node;
        }
        if (value instanceof Retry retry) {
            return retry(retry);
        }
        if (value instanceof Record record) {
            return record(record);
        }
        if (value instanceof Collection<?> values) {
            ArrayNode array = NODES.arrayNode();
            values.forEach(one -> array.add(of(one)));
            return array;
        }
        if (value instanceof TransitionReason reason) {
            return NODES.textNode(reason.name());
        }
        if (value instanceof Enum<?> word) {
            return NODES.textNode(word.name().toLowerCase(Locale.ROOT));
        }
        if (value instanceof Instant time) {
            return NODES.textNode(time.toString());
        }
        if (value instanceof Duration length) {
            return NODES.numberNode(length.toMillis());
        }
        return MAPPER.valueToTree(value);
    }

    private static ObjectNode record(Record record) {
        ObjectNode object = NODES.objectNode();
        for (RecordComponent component : record.getClass().getRecordComponents()) {
            String name = component.getName().replaceAll("([A-Z])", "_$1").toLowerCase(Locale.ROOT);
            Object value = valueOf(component, record);
            if (component.getType() == Duration.class) {
                object.set(name + "_ms", of(value));
            } else if (value == null && component.getType().isEnum()) {
                object.put(name, "");
            } else {
                object.set(name, of(value));
            }
        }
        return object;
    }

    private static Object valueOf(RecordComponent component, Record record) {
        try {
            return component.getAccessor().invoke(record);
        } catch (ReflectiveOperationException problem) {
            throw new IllegalStateException(problem);
        }
    }

    private static ObjectNode retry(Retry retry) {
        ObjectNode object = NODES.objectNode().put("attempts", retry.attempts());
        object.set("backoff", backoff(retry.backoff()));
        object.put("jitter", retry.jitter());
        object.set("max_elapsed_ms", of(retry.maxElapsed()));
        object.set("non_retryable", of(retry.nonRetryable()));
        return object;
    }

    private static ObjectNode backoff(Backoff backoff) {
        ObjectNode object = NODES.objectNode();
        if (backoff instanceof Backoff.Fixed fixed) {
            object.put("type", "fixed").set("delay_ms", of(fixed.delay()));
        } else if (backoff instanceof Backoff.Custom custom) {
            object.put("type", "custom").set("delays_ms", of(custom.delays()));
        } else if (backoff instanceof Backoff.Exponential growing) {
            object.put("type", "exponential").set("initial_ms", of(growing.initial()));
            object.set("maximum_ms", of(growing.maximum()));
            object.put("multiplier", growing.multiplier());
        }
        return object;
    }
}
