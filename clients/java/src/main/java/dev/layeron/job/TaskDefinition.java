package dev.layeron.job;

import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * A task to register. What is null is the server's default: 3 attempts, 5 minutes, normal.
 *
 * @param name its name in its namespace
 * @param queue the queue its runs wait in; "default" if nothing else is said
 * @param retry the policy of runs that bring none
 * @param timeout how long one attempt may take
 * @param priority the priority of runs that bring none
 */
public record TaskDefinition(
        String name,
        String queue,
        @Nullable Retry retry,
        @Nullable Duration timeout,
        @Nullable Priority priority) {
    /** Checks what could not be sent as it is. */
    public TaskDefinition {
        Limits.text("name", name);
        Limits.text("queue", queue);
        Limits.storable("timeout", timeout);
        Limits.known("priority", priority);
    }

    /**
     * Begins with the defaults.
     *
     * @param name the task's name, 1 to 64 letters, digits, dashes and underscores
     * @return a builder
     */
    public static Builder builder(String name) {
        return new Builder(name);
    }

    /**
     * A task with the defaults.
     *
     * @param name the task's name, 1 to 64 letters, digits, dashes and underscores
     * @return the definition
     */
    public static TaskDefinition of(String name) {
        return builder(name).build();
    }

    /** Makes a {@link TaskDefinition}. */
    public static final class Builder {
        private final String name;
        private String queue = "default";
        private @Nullable Retry retry;
        private @Nullable Duration timeout;
        private @Nullable Priority priority;

        private Builder(String name) {
            this.name = name;
        }

        /**
         * Sets the queue its runs wait in.
         *
         * @param queue 1 to 63 small letters, digits and dashes
         * @return this builder
         */
        public Builder queue(String queue) {
            this.queue = queue;
            return this;
        }

        /**
         * Sets the policy of runs that bring none.
         *
         * @param retry the policy
         * @return this builder
         */
        public Builder retry(Retry retry) {
            this.retry = retry;
            return this;
        }

        /**
         * Sets how long one attempt may take.
         *
         * @param timeout 1 ms to 7 days
         * @return this builder
         */
        public Builder timeout(Duration timeout) {
            this.timeout = timeout;
            return this;
        }

        /**
         * Sets the priority of runs that bring none.
         *
         * @param priority high, normal or low
         * @return this builder
         */
        public Builder priority(Priority priority) {
            this.priority = priority;
            return this;
        }

        /**
         * Makes the definition.
         *
         * @return what was set
         * @throws IllegalArgumentException with the name of what cannot be sent
         */
        public TaskDefinition build() {
            return new TaskDefinition(name, queue, retry, timeout, priority);
        }
    }
}
