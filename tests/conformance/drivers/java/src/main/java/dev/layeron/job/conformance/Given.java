package dev.layeron.job.conformance;

import com.fasterxml.jackson.databind.JsonNode;
import dev.layeron.job.Backoff;
import dev.layeron.job.EnqueueOptions;
import dev.layeron.job.IdempotencyWindow;
import dev.layeron.job.Item;
import dev.layeron.job.Priority;
import dev.layeron.job.ReplayOptions;
import dev.layeron.job.Retry;
import dev.layeron.job.RunFilter;
import dev.layeron.job.RunStatus;
import java.time.Duration;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.time.format.DateTimeParseException;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Consumer;
import java.util.stream.StreamSupport;

/** What a case gives, as the client takes it. What cannot be is an IllegalArgumentException that names the field. */
final class Given {
    private Given() {}

    static Item item(JsonNode request) {
        return new Item(text(request, "task"), request.get("payload"), enqueueOptions(request.path("options")));
    }

    static EnqueueOptions enqueueOptions(JsonNode given) {
        EnqueueOptions.Builder options = EnqueueOptions.builder();
        put(given, "run_id", Given::text, options::runId);
        put(given, "delay_ms", Given::length, options::delay);
        put(given, "run_at", Given::time, options::runAt);
        put(given, "start_by", Given::time, options::startBy);
        put(given, "idempotency_key", Given::text, options::idempotencyKey);
        put(given, "idempotency_window", (g, n) -> word(IdempotencyWindow.class, g, n), options::idempotencyWindow);
        put(given, "idempotency_ttl_ms", Given::length, options::idempotencyTtl);
        put(given, "retry", (g, n) -> retry(g.get(n)), options::retry);
        put(given, "timeout_ms", Given::length, options::timeout);
        put(given, "labels", Given::texts, options::labels);
        put(given, "priority", (g, n) -> word(Priority.class, g, n), options::priority);
        put(given, "name", Given::text, options::name);
        put(given, "payload_encoding", Given::text, options::payloadEncoding);
        put(given, "trace_context", Given::texts, options::traceContext);
        return options.build();
    }

    static ReplayOptions replayOptions(JsonNode request) {
        JsonNode given = request.path("options");
        ReplayOptions.Builder options = ReplayOptions.builder();
        put(request, "reason", Given::text, options::reason);
        if (given.has("payload")) {
            options.payload(given.get("payload"));
        }
        put(given, "delay_ms", Given::length, options::delay);
        put(given, "run_at", Given::time, options::runAt);
        put(given, "new_run_id", Given::text, options::newRunId);
        return options.build();
    }

    static RunFilter filter(JsonNode given) {
        RunFilter.Builder filter = RunFilter.builder();
        put(given, "task", Given::text, filter::task);
        put(given, "status", (g, n) -> statuses(g.get(n)), filter::statuses);
        put(given, "labels", Given::texts, filter::labels);
        put(given, "idempotency_key", Given::text, filter::idempotencyKey);
        put(given, "queue", Given::text, filter::queue);
        put(given, "created_from", Given::time, filter::createdFrom);
        put(given, "created_before", Given::time, filter::createdBefore);
        put(given, "origin_id", Given::text, filter::originId);
        return filter.build();
    }

    static String text(JsonNode given, String name) {
        JsonNode value = given.path(name);
        if (!value.isTextual()) {
            throw new IllegalArgumentException(name + " must be a text");
        }
        return value.textValue();
    }

    static String text(JsonNode given, String name, String otherwise) {
        return given.hasNonNull(name) ? text(given, name) : otherwise;
    }

    static Duration length(JsonNode given, String name) {
        return Duration.ofNanos((long) (given.path(name).doubleValue() * 1_000_000));
    }

    private static Instant time(JsonNode given, String name) {
        try {
            return OffsetDateTime.parse(text(given, name)).toInstant();
        } catch (DateTimeParseException problem) {
            throw new IllegalArgumentException(name + " must be a time with its zone", problem);
        }
    }

    private static Map<String, String> texts(JsonNode given, String name) {
        Map<String, String> texts = new LinkedHashMap<>();
        for (Iterator<String> keys = given.path(name).fieldNames(); keys.hasNext(); ) {
            String key = keys.next();
            JsonNode value = given.path(name).path(key);
            if (!value.isTextual()) {
                throw new IllegalArgumentException(name + " must have texts");
            }
            texts.put(key, value.textValue());
        }
        return texts;
    }

    private static <E extends Enum<E>> E word(Class<E> kind, JsonNode given, String name) {
        return word(kind, name, text(given, name));
    }

    private static <E extends Enum<E>> E word(Class<E> kind, String name, String word) {
        Map<String, E> words = new LinkedHashMap<>();
        for (E one : kind.getEnumConstants()) {
            words.put(one.name().toLowerCase(Locale.ROOT), one);
        }
        words.remove("unknown");
        if (!words.containsKey(word)) {
            throw new IllegalArgumentException(name + " must be one of " + words.keySet() + ", not '" + word + "'");
        }
        return words.get(word);
    }

    private static RunStatus[] statuses(JsonNode given) {
        List<JsonNode> words = given.isArray() ? list(given) : List.of(given);
        return words.stream()
                .map(one -> word(RunStatus.class, "status", one.asText()))
                .toArray(RunStatus[]::new);
    }

    private static Retry retry(JsonNode given) {
        Retry.Builder retry = Retry.builder();
        put(given, "attempts", (g, n) -> g.get(n).intValue(), retry::attempts);
        put(given, "backoff", (g, n) -> backoff(g.get(n)), retry::backoff);
        put(given, "jitter", (g, n) -> g.get(n).doubleValue(), retry::jitter);
        put(given, "max_elapsed_ms", Given::length, retry::maxElapsed);
        put(
                given,
                "non_retryable",
                (g, n) -> list(g.get(n)).stream().map(JsonNode::asText).toArray(String[]::new),
                retry::nonRetryable);
        return retry.build();
    }

    private static Backoff backoff(JsonNode given) {
        return switch (text(given, "type")) {
            case "fixed" -> Backoff.fixed(length(given, "delay_ms"));
            case "custom" ->
                Backoff.custom(list(given.path("delays_ms")).stream()
                        .map(one -> Duration.ofNanos((long) (one.doubleValue() * 1_000_000)))
                        .toArray(Duration[]::new));
            case "exponential" ->
                Backoff.exponential(
                        given.has("initial_ms") ? length(given, "initial_ms") : Duration.ofSeconds(5),
                        given.has("maximum_ms") ? length(given, "maximum_ms") : Duration.ofSeconds(300),
                        given.path("multiplier").asDouble(2));
            default -> throw new IllegalArgumentException("backoff must be fixed, exponential or custom");
        };
    }

    private static List<JsonNode> list(JsonNode array) {
        return StreamSupport.stream(array.spliterator(), false).toList();
    }

    /** Reads one field of what was given. */
    private interface Reader<T> {
        T read(JsonNode given, String name);
    }

    private static <T> void put(JsonNode given, String name, Reader<T> read, Consumer<T> set) {
        if (given.hasNonNull(name)) {
            set.accept(read.read(given, name));
        }
    }
}
