package dev.layeron.job;

import dev.layeron.job.v1.EnqueueBatchRequest;
import dev.layeron.job.v1.EnqueueBatchResponse;
import dev.layeron.job.v1.EnqueueRequest;
import dev.layeron.job.v1.JobServiceGrpc;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.TreeMap;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Many runs in few calls: chunks of items, some of them under way at once, each made as a whole or not at all.
 *
 * <p>One thread reads the items, sends the chunks and tells of progress; it waits only for the caller's iterator and
 * for calls to end.
 */
final class Batch {
    static final int BYTES_MAX = 3_500 * 1024; // the server takes 4 MiB
    private static final int FRAME_BYTES = 5; // what each item adds to its own size, at most
    private static final Pattern PLACE = Pattern.compile("\\bitems\\[(\\d+)]");

    private final Calls calls;
    private final String namespace;
    private final Json json;
    private final Map<String, String> trace;
    private final BatchOptions options;
    private final CompletableFuture<List<BatchResult>> answer = new CompletableFuture<>();
    /** The calls, by the place of their first item. */
    private final Map<Integer, CompletableFuture<?>> underWay = new ConcurrentHashMap<>();

    private final BlockingQueue<Ended> ended = new LinkedBlockingQueue<>();
    private final TreeMap<Integer, BatchResult> made = new TreeMap<>();

    /** What goes into one call. `chosenIds`: the run ids chosen here, empty for those of the caller. */
    record Chunk(int first, List<EnqueueRequest> requests, List<String> chosenIds) {
        Chunk(int first) {
            this(first, new ArrayList<>(), new ArrayList<>());
        }

        /** The server's answers. A run of an id that was chosen here was made by this call, if in an earlier try. */
        List<BatchResult> results(EnqueueBatchResponse answer) {
            List<BatchResult> results = new ArrayList<>(answer.getResultsCount());
            for (int at = 0; at < answer.getResultsCount(); at++) {
                var one = answer.getResults(at);
                boolean created = one.getCreated() || one.getRunId().equals(chosenIds.get(at));
                results.add(Answers.batchResult(one, created));
            }
            return results;
        }
    }

    /** A call that has ended, one way or the other. */
    private record Ended(
            Chunk chunk,
            @Nullable List<BatchResult> results,
            @Nullable Throwable error) {}

    Batch(Calls calls, String namespace, Json json, Map<String, String> trace, BatchOptions options) {
        this.calls = calls;
        this.namespace = namespace;
        this.json = json;
        this.trace = trace;
        this.options = options;
    }

    /** Begins; one result per item, in order. An error says what was made: see JobClient.enqueueBatch. */
    CompletableFuture<List<BatchResult>> begin(Iterator<Item> items, OptionalLong total, Runnable close) {
        Pending.whenOver(answer, (results, error) -> underWay.values().forEach(call -> call.cancel(false)));
        Thread thread = new Thread(() -> run(items, total, close), "layeron-job-batch");
        thread.setDaemon(true);
        thread.start();
        return answer;
    }

    private void run(Iterator<Item> items, OptionalLong total, Runnable close) {
        try {
            try {
                sendAll(new Chunks(items), total);
            } finally {
                close.run();
            }
            answer.complete(List.copyOf(made.values()));
        } catch (Throwable error) { // also an Error of the caller's iterator is the answer
            answer.completeExceptionally(told(error));
        }
    }

    private void sendAll(Chunks chunks, OptionalLong total) throws Throwable {
        while (chunks.hasNext()) {
            send(chunks.next());
            if (underWay.size() == options.concurrency()) {
                take(total);
            }
        }
        while (!underWay.isEmpty()) {
            take(total);
        }
    }

    private void send(Chunk chunk) {
        if (answer.isDone()) {
            throw new CancellationException("the batch was canceled");
        }
        EnqueueBatchRequest request = EnqueueBatchRequest.newBuilder()
                .setNamespace(namespace)
                .addAllItems(chunk.requests())
                .build();
        CompletableFuture<List<BatchResult>> call =
                calls.unaryOnceThereIsRoom(JobServiceGrpc.getEnqueueBatchMethod(), request, chunk::results);
        underWay.put(chunk.first(), call);
        Pending.whenOver(call, (results, error) -> ended.add(new Ended(chunk, results, error)));
        if (answer.isDone()) {
            call.cancel(false);
        }
    }

    /** Waits until one call has ended, and throws what it failed with. */
    private void take(OptionalLong total) throws Throwable {
        record(ended.take());
        BatchProgress progress = options.progress();
        if (progress != null) {
            progress.made(made.size(), total);
        }
    }

    private void record(Ended one) throws Throwable {
        underWay.remove(one.chunk().first());
        if (one.results() == null) {
            throw one.error() instanceof JobException error
                    ? Errors.inWords(error, inTheWhole(one.chunk().first()))
                    : one.error();
        }
        for (int at = 0; at < one.results().size(); at++) {
            made.put(one.chunk().first() + at, one.results().get(at));
        }
    }

    /** The error with what was made, once nothing is under way any more. */
    private Throwable told(Throwable error) {
        while (!underWay.isEmpty()) {
            try {
                record(ended.take());
            } catch (Throwable another) { // the first one is told
                error.addSuppressed(another);
            }
        }
        if (error instanceof JobException refused) {
            return Errors.having(refused, made);
        }
        error.addSuppressed(new IllegalStateException(made.size() + " runs of this batch were made"));
        return error;
    }

    /** Gives places in the whole batch, where the server knows those of one chunk. */
    private static UnaryOperator<String> inTheWhole(int first) {
        return text ->
                PLACE.matcher(text).replaceAll(found -> "items[" + (first + Integer.parseInt(found.group(1))) + "]");
    }

    /** The items in chunks, made when they are asked for. */
    private final class Chunks implements Iterator<Chunk> {
        private final Iterator<Item> items;
        private @Nullable EnqueueRequest held; // read, but for the next chunk
        private String heldId = "";
        private int place;

        Chunks(Iterator<Item> items) {
            this.items = items;
        }

        @Override
        public boolean hasNext() {
            return held != null || items.hasNext();
        }

        @Override
        public Chunk next() {
            Chunk chunk = new Chunk(held == null ? place : place - 1);
            int bytes = 0;
            while (chunk.requests().size() < options.batchSize() && hasNext()) {
                EnqueueRequest request = held == null ? read() : held;
                int more = request.getSerializedSize() + FRAME_BYTES;
                if (!chunk.requests().isEmpty() && bytes + more > BYTES_MAX) {
                    held = request;
                    return chunk;
                }
                held = null;
                bytes += more;
                chunk.requests().add(request);
                chunk.chosenIds().add(heldId);
            }
            return chunk;
        }

        private EnqueueRequest read() {
            Item item = items.next();
            try {
                String given = item.options().runId();
                heldId = given == null ? RunIds.newRunId() : "";
                EnqueueRequest request = Requests.enqueue(item, given == null ? heldId : given, json, trace);
                place++;
                return request;
            } catch (IllegalArgumentException problem) {
                throw new IllegalArgumentException("items[" + place + "]: " + problem.getMessage(), problem);
            }
        }
    }
}
