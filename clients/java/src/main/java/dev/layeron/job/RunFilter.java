package dev.layeron.job;

import java.time.Instant;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Selects runs. Everything that is set must match; one with nothing set matches all runs of the namespace.
 *
 * @param task runs of this task
 * @param statuses runs in one of these statuses; empty for any
 * @param labels runs with all of these labels
 * @param idempotencyKey runs with this idempotency key
 * @param queue runs of this queue
 * @param createdFrom runs created at or after this time
 * @param createdBefore runs created before this time
 * @param originId replays of this run
 */
public record RunFilter(
        @Nullable String task,
        List<RunStatus> statuses,
        Map<String, String> labels,
        @Nullable String idempotencyKey,
        @Nullable String queue,
        @Nullable Instant createdFrom,
        @Nullable Instant createdBefore,
        @Nullable String originId) {
    /** Copies the collections and checks what could not be sent as it is. An empty text would match all runs. */
    public RunFilter {
        Limits.optional("task", task);
        Limits.optional("idempotencyKey", idempotencyKey);
        Limits.optional("queue", queue);
        Limits.optional("originId", originId);
        Limits.storable("createdFrom", createdFrom);
        Limits.storable("createdBefore", createdBefore);
        statuses = List.copyOf(statuses);
        statuses.forEach(status -> Limits.known("statuses", status));
        labels = Limits.texts("labels", labels);
    }

    /**
     * Begins with nothing set.
     *
     * @return a builder
     */
    public static Builder builder() {
        return new Builder();
    }

    /**
     * Matches all runs of the namespace.
     *
     * @return a filter with nothing set
     */
    public static RunFilter all() {
        return builder().build();
    }

    /**
     * Matches the runs of one task.
     *
     * @param task the task's name
     * @return the filter
     */
    public static RunFilter ofTask(String task) {
        return builder().task(task).build();
    }

    /** Makes a {@link RunFilter}. */
    public static final class Builder {
        private @Nullable String task;
        private List<RunStatus> statuses = List.of();
        private Map<String, String> labels = Map.of();
        private @Nullable String idempotencyKey;
        private @Nullable String queue;
        private @Nullable Instant createdFrom;
        private @Nullable Instant createdBefore;
        private @Nullable String originId;

        private Builder() {}

        /**
         * Selects the runs of a task.
         *
         * @param task the task's name
         * @return this builder
         */
        public Builder task(String task) {
            this.task = task;
            return this;
        }

        /**
         * Selects the runs in one of these statuses.
         *
         * @param statuses one or more
         * @return this builder
         */
        public Builder statuses(RunStatus... statuses) {
            this.statuses = List.of(statuses);
            return this;
        }

        /**
         * Selects the runs with all of these labels.
         *
         * @param labels at most 16
         * @return this builder
         */
        public Builder labels(Map<String, String> labels) {
            this.labels = labels;
            return this;
        }

        /**
         * Selects the runs with an idempotency key.
         *
         * @param idempotencyKey the key
         * @return this builder
         */
        public Builder idempotencyKey(String idempotencyKey) {
            this.idempotencyKey = idempotencyKey;
            return this;
        }

        /**
         * Selects the runs of a queue.
         *
         * @param queue the queue
         * @return this builder
         */
        public Builder queue(String queue) {
            this.queue = queue;
            return this;
        }

        /**
         * Selects the runs created at or after a time.
         *
         * @param createdFrom the time
         * @return this builder
         */
        public Builder createdFrom(Instant createdFrom) {
            this.createdFrom = createdFrom;
            return this;
        }

        /**
         * Selects the runs created before a time.
         *
         * @param createdBefore the time
         * @return this builder
         */
        public Builder createdBefore(Instant createdBefore) {
            this.createdBefore = createdBefore;
            return this;
        }

        /**
         * Selects the replays of a run.
         *
         * @param originId the run's id
         * @return this builder
         */
        public Builder originId(String originId) {
            this.originId = originId;
            return this;
        }

        /**
         * Makes the filter.
         *
         * @return what was set
         * @throws IllegalArgumentException with the name of what cannot be sent
         */
        public RunFilter build() {
            return new RunFilter(task, statuses, labels, idempotencyKey, queue, createdFrom, createdBefore, originId);
        }
    }
}
