package dev.layeron.job;

import java.time.Duration;
import java.time.Instant;
import org.jspecify.annotations.Nullable;

/**
 * A named handler with its defaults, as the server knows it.
 *
 * @param namespace the namespace it lives in
 * @param name its name
 * @param queue the queue its new runs wait in
 * @param retry the policy of runs that bring none
 * @param timeout how long one attempt may take when the run does not say
 * @param priority the priority of runs that bring none
 * @param revision grows by one with each registration that changed something; 1 at first
 * @param pausedAt when it was paused; null unless it is
 * @param pauseReason why it was paused
 * @param createdAt when it was first registered
 * @param updatedAt when it last changed
 */
public record Task(
        String namespace,
        String name,
        String queue,
        Retry retry,
        Duration timeout,
        Priority priority,
        long revision,
        @Nullable Instant pausedAt,
        String pauseReason,
        Instant createdAt,
        Instant updatedAt) {}
