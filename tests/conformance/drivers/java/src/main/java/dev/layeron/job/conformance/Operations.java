package dev.layeron.job.conformance;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.layeron.job.BatchOptions;
import dev.layeron.job.Enqueued;
import dev.layeron.job.Item;
import dev.layeron.job.JobClient;
import dev.layeron.job.Run;
import dev.layeron.job.RunChange;
import dev.layeron.job.RunView;
import dev.layeron.job.Watch;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.StreamSupport;

/** The operations of a caller, each one of which is one call of the client. */
final class Operations {
    private static final JsonNodeFactory NODES = JsonNodeFactory.instance;

    private final JobClient client;

    Operations(JobClient client) {
        this.client = client;
    }

    JsonNode perform(JsonNode request) {
        return switch (request.path("op").asText()) {
            case "enqueue" -> enqueue(request);
            case "enqueue_batch" -> enqueueBatch(request);
            case "get" ->
                Plain.of(client.runs().get(Given.text(request, "run_id")).join());
            case "list" -> list(request);
            case "cancel" ->
                run(client.runs()
                        .cancel(Given.text(request, "run_id"), Given.text(request, "reason", ""))
                        .join());
            case "replay" ->
                enqueued(client.runs()
                        .replay(Given.text(request, "run_id"), Given.replayOptions(request))
                        .join());
            case "wait" -> run(await(request).join());
            case "watch" -> watch(request);
            case "tasks" -> under("tasks", client.tasks().list().toList());
            case "pause" ->
                under(
                        "task",
                        client.tasks()
                                .pause(Given.text(request, "task"), Given.text(request, "reason", ""))
                                .join());
            case "resume" ->
                under("task", client.tasks().resume(Given.text(request, "task")).join());
            default -> throw new IllegalStateException("unknown op in " + request.path("id"));
        };
    }

    private JsonNode enqueue(JsonNode request) {
        Item item = Given.item(request);
        return enqueued(
                client.enqueue(item.task(), item.payload(), item.options()).join());
    }

    private JsonNode enqueueBatch(JsonNode request) {
        BatchOptions.Builder options = BatchOptions.builder();
        if (request.hasNonNull("batch_size")) {
            options.batchSize(request.get("batch_size").intValue());
        }
        var items =
                StreamSupport.stream(request.path("items").spliterator(), false).map(Given::item);
        ArrayNode results = NODES.arrayNode();
        client.enqueueBatch(items, options.build())
                .join()
                .forEach(one -> results.addObject()
                        .put("run_id", one.runId())
                        .put("created", one.created())
                        .set("status", status(one.status())));
        return NODES.objectNode().set("results", results);
    }

    private JsonNode list(JsonNode request) {
        RunView view = request.path("view").asText().equals("full") ? RunView.FULL : RunView.BASIC;
        int pageSize = request.path("page_size").asInt(50);
        long limit = request.path("limit").asLong(Long.MAX_VALUE);
        return under(
                "runs",
                client.runs()
                        .list(Given.filter(request.path("filter")), view, pageSize)
                        .limit(limit)
                        .toList());
    }

    private CompletableFuture<Run> await(JsonNode request) {
        String runId = Given.text(request, "run_id");
        return request.hasNonNull("timeout_ms")
                ? client.runs().await(runId, Given.length(request, "timeout_ms"))
                : client.runs().await(runId);
    }

    /** Up to `count` changes, or to the end of the run or of the time. */
    private JsonNode watch(JsonNode request) {
        long count = request.path("count").asLong(Long.MAX_VALUE);
        ArrayNode changes = NODES.arrayNode();
        Watch watch = watched(request);
        if (request.hasNonNull("timeout_ms")) {
            CompletableFuture.delayedExecutor(request.get("timeout_ms").longValue(), TimeUnit.MILLISECONDS)
                    .execute(watch::close);
        }
        for (RunChange change : watch) {
            changes.add(Plain.of(change));
            if (changes.size() == count) {
                break;
            }
        }
        watch.close();
        return NODES.objectNode().set("changes", changes);
    }

    private Watch watched(JsonNode request) {
        String token = Given.text(request, "resume_token", "");
        return request.hasNonNull("run_id")
                ? client.runs().watch(Given.text(request, "run_id"), token)
                : client.runs().watch(Given.filter(request), token);
    }

    private static JsonNode enqueued(Enqueued enqueued) {
        return NODES.objectNode()
                .put("run_id", enqueued.runId())
                .put("created", enqueued.created())
                .set("status", status(enqueued.status()));
    }

    private static JsonNode status(Object status) {
        return status == null ? NODES.textNode("") : Plain.of(status);
    }

    private static JsonNode run(Run run) {
        return under("run", run);
    }

    private static ObjectNode under(String name, Object value) {
        ObjectNode object = NODES.objectNode();
        object.set(name, Plain.of(value));
        return object;
    }
}
