package dev.layeron.job;

import com.fasterxml.jackson.databind.ObjectMapper;
import dev.layeron.job.v1.EnqueueRequest;
import dev.layeron.job.v1.JobServiceGrpc;
import dev.layeron.job.v1.JsonForm;
import io.grpc.ChannelCredentials;
import io.grpc.InsecureChannelCredentials;
import io.grpc.TlsChannelCredentials;
import io.opentelemetry.api.OpenTelemetry;
import io.opentelemetry.context.Context;
import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.OptionalLong;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * A client of Layeron Job, for one namespace.
 *
 * <pre>{@code
 * try (JobClient client = JobClient.builder().address("localhost:7233").build()) {
 *     Enqueued enqueued = client.enqueue("welcome-mail", Map.of("to", "ann@example.com")).join();
 *     Run ended = client.runs().await(enqueued.runId()).join();
 * }
 * }</pre>
 *
 * <p>It is safe for use by many threads and meant to live as long as the program. What cannot be sent at all is an
 * {@link IllegalArgumentException} that names the field, thrown at once; every error of a call is a {@link
 * JobException}. A call that finds the server unavailable is tried again until the client's timeout, which never makes
 * a run twice.
 */
public final class JobClient implements AutoCloseable {
    private final String namespace;
    private final Calls calls;
    private final Json json;
    private final Tracing tracing;
    private final Runs runs;
    private final Tasks tasks;

    private JobClient(Builder builder) {
        this.namespace = builder.namespace;
        this.calls = new Calls(builder.addresses, builder.credentials, builder.token, builder.timeout);
        this.json = new Json(builder.objectMapper);
        this.tracing = new Tracing(builder.openTelemetry);
        this.runs = new Runs(calls, namespace, json);
        this.tasks = new Tasks(calls, namespace);
    }

    /**
     * Begins with the defaults: the address from the environment variable {@code LAYERON_JOB_ADDRESS}, else
     * localhost:7233; the namespace "default"; no encryption; 10 seconds for each call.
     *
     * @return a builder
     */
    public static Builder builder() {
        return new Builder();
    }

    /**
     * The namespace that all calls are for.
     *
     * @return its name
     */
    public String namespace() {
        return namespace;
    }

    /**
     * The runs of the namespace.
     *
     * @return what can be done with them
     */
    public Runs runs() {
        return runs;
    }

    /**
     * The tasks of the namespace.
     *
     * @return what can be done with them
     */
    public Tasks tasks() {
        return tasks;
    }

    /**
     * Asks for one run.
     *
     * @param task the task to run
     * @param payload as in {@link #enqueue(String, Object, EnqueueOptions)}
     * @return as {@link #enqueue(String, Object, EnqueueOptions)}
     */
    public CompletableFuture<Enqueued> enqueue(String task, @Nullable Object payload) {
        return enqueue(task, payload, EnqueueOptions.NONE);
    }

    /**
     * Asks for one run. Once this is answered, the run is durable.
     *
     * @param task the task to run
     * @param payload what Jackson writes as JSON (a JsonNode, a Map, a record …), null for JSON null: at most 256 KiB,
     *     integers within ±(2^53−1), finite numbers, no U+0000, depth at most 20
     * @param options everything else
     * @return the run; fails with {@link JobException.TaskNotRegistered}, {@link JobException.InvalidRequest}, {@link
     *     JobException.IdempotencyKeyReused}, {@link JobException.RunIdReused}, {@link JobException.Overloaded}, {@link
     *     JobException.Unavailable} or {@link JobException.DeadlineExceeded}
     */
    public CompletableFuture<Enqueued> enqueue(String task, @Nullable Object payload, EnqueueOptions options) {
        String given = options.runId();
        String runId = given == null ? RunIds.newRunId() : given;
        EnqueueRequest request =
                Requests.enqueue(new Item(task, payload, options), runId, json, tracing.of(Context.current()))
                        .toBuilder()
                        .setNamespace(namespace)
                        .setJsonForm(JsonForm.JSON_FORM_BYTES)
                        .build();
        return calls.unary(JobServiceGrpc.getEnqueueMethod(), request, answer -> {
            // Of an id that was chosen here only this call can have made a run, if in a try whose answer was lost.
            boolean madeHere = given == null && answer.getRun().getRunId().equals(runId);
            return new Enqueued(Answers.run(answer.getRun()), answer.getCreated() || madeHere, answer.getPruned());
        });
    }

    /**
     * Asks for many runs, 500 in a call and two calls at once.
     *
     * @param items as in {@link #enqueueBatch(Iterable, BatchOptions)}
     * @return as {@link #enqueueBatch(Iterable, BatchOptions)}
     */
    public CompletableFuture<List<BatchResult>> enqueueBatch(Iterable<Item> items) {
        return enqueueBatch(items, BatchOptions.DEFAULT);
    }

    /**
     * Asks for many runs.
     *
     * @param items as in {@link #enqueueBatch(Iterable, BatchOptions)}; closed at the end
     * @param options how they are sent
     * @return as {@link #enqueueBatch(Iterable, BatchOptions)}
     */
    public CompletableFuture<List<BatchResult>> enqueueBatch(Stream<Item> items, BatchOptions options) {
        return batch(options).begin(items.iterator(), OptionalLong.empty(), items::close);
    }

    /**
     * Asks for many runs. A call also stays below 4 MiB, and is made as a whole or not at all.
     *
     * <p>An overloaded server is waited for, up to the client's timeout for each call. An error ends the batch once
     * what is under way has ended: {@link JobException#enqueued()} has the results by the place of their items, and
     * violations name items by their place in the whole. Give the items run ids or idempotency keys to repeat a batch
     * safely.
     *
     * @param items read by a thread of the batch as they are sent, so there may be more of them than fit into memory
     * @param options how they are sent
     * @return one result per item, in order; canceling it ends the batch
     */
    public CompletableFuture<List<BatchResult>> enqueueBatch(Iterable<Item> items, BatchOptions options) {
        OptionalLong total =
                items instanceof Collection<?> known ? OptionalLong.of(known.size()) : OptionalLong.empty();
        return batch(options).begin(items.iterator(), total, () -> {});
    }

    private Batch batch(BatchOptions options) {
        return new Batch(calls, namespace, json, tracing.of(Context.current()), options);
    }

    /** Ends the connections, and with them every call under way. */
    @Override
    public void close() {
        calls.close();
    }

    /** Where it calls, and for whom. */
    @Override
    public String toString() {
        return "JobClient[" + String.join(",", calls.addresses()) + ", namespace=" + namespace + "]";
    }

    /** Makes a {@link JobClient}. */
    public static final class Builder {
        private static final Duration TIMEOUT_MIN = Duration.ofMillis(1);
        private static final Duration TIMEOUT_MAX = Duration.ofDays(365);

        private List<String> addresses = Addresses.unnamed();
        private String namespace = "default";
        private ChannelCredentials credentials = InsecureChannelCredentials.create();
        private @Nullable String token;
        private Duration timeout = Duration.ofSeconds(10);
        private ObjectMapper objectMapper = new ObjectMapper();
        private @Nullable OpenTelemetry openTelemetry;

        private Builder() {}

        /**
         * Sets where the servers are.
         *
         * @param addresses host:port, one or several (also joined with commas); one is in use until it does not answer
         * @return this builder
         */
        public Builder address(String... addresses) {
            this.addresses = Addresses.named(addresses);
            return this;
        }

        /**
         * Sets the namespace.
         *
         * @param namespace 1 to 63 small letters, digits and dashes; "default" by default
         * @return this builder
         */
        public Builder namespace(String namespace) {
            this.namespace = Limits.text("namespace", namespace);
            return this;
        }

        /**
         * Encrypts the connections and trusts the certificates that Java trusts.
         *
         * @return this builder
         */
        public Builder tls() {
            return credentials(TlsChannelCredentials.create());
        }

        /**
         * Sets how the connections are secured.
         *
         * @param credentials such as those of {@link TlsChannelCredentials#newBuilder()} with a root certificate
         * @return this builder
         */
        public Builder credentials(ChannelCredentials credentials) {
            this.credentials = credentials;
            return this;
        }

        /**
         * Sets what is sent with every call as {@code authorization: Bearer …}.
         *
         * @param token printable ASCII without spaces
         * @return this builder
         */
        public Builder token(String token) {
            if (token.isEmpty() || !token.chars().allMatch(one -> one > ' ' && one < 0x7f)) {
                throw Limits.refused("token", "must be printable ASCII without spaces, and not empty");
            }
            this.token = token;
            return this;
        }

        /**
         * Sets how long each call may take, repeats included: what is unavailable is tried again until then.
         *
         * @param timeout 1 ms to 365 days; 10 seconds by default
         * @return this builder
         */
        public Builder timeout(Duration timeout) {
            Limits.duration("timeout", timeout, TIMEOUT_MIN, TIMEOUT_MAX);
            this.timeout = timeout;
            return this;
        }

        /**
         * Sets what writes payloads.
         *
         * @param objectMapper with the modules that the payloads need
         * @return this builder
         */
        public Builder objectMapper(ObjectMapper objectMapper) {
            this.objectMapper = objectMapper;
            return this;
        }

        /**
         * Sets whose propagators write the trace context of runs.
         *
         * @param openTelemetry instead of the global one
         * @return this builder
         */
        public Builder openTelemetry(OpenTelemetry openTelemetry) {
            this.openTelemetry = openTelemetry;
            return this;
        }

        /**
         * Makes the client. It connects with its first call.
         *
         * @return the client; close it
         */
        public JobClient build() {
            return new JobClient(this);
        }
    }
}
