package dev.layeron.job;

import dev.layeron.job.JobException.Overloaded;
import dev.layeron.job.JobException.Told;
import dev.layeron.job.JobException.Unavailable;
import dev.layeron.job.v1.JobServiceGrpc;
import dev.layeron.job.v1.WatchRunsRequest;
import dev.layeron.job.v1.WatchRunsResponse;
import io.grpc.Context;
import io.grpc.Context.CancellableContext;
import io.grpc.Status;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.Queue;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * Changes of runs as they happen.
 *
 * <pre>{@code
 * try (Watch changes = client.runs().watch(runId)) {
 *     for (RunChange change : changes) {
 *         System.out.println(change.transition().toStatus());
 *     }
 * }
 * }</pre>
 *
 * <p>A watch of one run ends when that is terminal, one of a filter when it is closed, which any thread may do. It is
 * read by one thread, once. A lost connection is made again and the watch goes on after what was read, unless no server
 * answers for the client's timeout: {@link JobException.Unavailable}.
 */
public final class Watch implements Iterable<RunChange>, AutoCloseable {
    private final Calls calls;
    private final CountDownLatch closed = new CountDownLatch(1);
    private final Queue<RunChange> changes = new ArrayDeque<>();
    private WatchRunsRequest request;
    private CancellableContext context = Context.current().withCancellation();
    private @Nullable Iterator<WatchRunsResponse> answers;
    private @Nullable Patience outage;
    private boolean begun;
    private boolean over;
    private boolean taken;

    /** Begins to watch; returns once the server has said that it does. */
    Watch(Calls calls, WatchRunsRequest request) {
        this.calls = calls;
        this.request = request;
        try {
            while (!begun && !over) {
                read();
            }
        } catch (RuntimeException error) {
            close();
            throw error;
        }
    }

    /**
     * The changes, in order of seq within each run. Each step waits for the next change.
     *
     * @return an iterator, whose methods throw {@link JobException} when the watch cannot go on
     * @throws IllegalStateException if it was asked for before
     */
    @Override
    public Iterator<RunChange> iterator() {
        if (taken) {
            throw new IllegalStateException("a watch can be read once");
        }
        taken = true;
        return new Iterator<>() {
            @Override
            public boolean hasNext() {
                while (changes.isEmpty() && !over && !isClosed()) {
                    read();
                }
                return !changes.isEmpty() && !isClosed();
            }

            @Override
            public RunChange next() {
                if (!hasNext()) {
                    throw new NoSuchElementException("the watch is over");
                }
                return changes.remove();
            }
        };
    }

    /** Ends the watch and its call. Who waits for the next change is told that there is none. */
    @Override
    public void close() {
        synchronized (closed) {
            closed.countDown();
            context.cancel(null);
        }
    }

    /** Waits for the next answer, in a new call if the one before was lost. */
    private void read() {
        try {
            if (answers == null) {
                answers = calls.stream(JobServiceGrpc.getWatchRunsMethod(), request, nextContext());
            }
            if (answers.hasNext()) {
                take(answers.next());
            } else if (request.getRunId().isEmpty()) {
                throw new Unavailable(Told.plain(Status.Code.UNAVAILABLE, "the server ended the watch"), null);
            } else {
                over = true;
            }
        } catch (JobException error) {
            answers = null;
            if (!isClosed()) {
                pause(error);
            }
        }
    }

    private void take(WatchRunsResponse answer) {
        begun = true;
        outage = null;
        changes.addAll(Answers.runChanges(answer, request.getResumeToken()));
        request = request.toBuilder().setResumeToken(answer.getResumeToken()).build();
    }

    /** Waits before the next call. Overloaded means that we read too slowly: we go on by the token too. */
    private void pause(JobException error) {
        if (Thread.currentThread().isInterrupted()) {
            throw new CancellationException("interrupted while watching");
        }
        if (!(error instanceof Unavailable || error instanceof Overloaded)) {
            throw error;
        }
        outage = outage == null ? calls.patience() : outage;
        Duration wait = outage.bear(error);
        try {
            if (closed.await(wait.toNanos(), TimeUnit.NANOSECONDS)) {
                over = true;
            }
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
            throw new CancellationException("interrupted while watching");
        }
    }

    private CancellableContext nextContext() {
        synchronized (closed) {
            context.cancel(null);
            context = Context.current().withCancellation();
            if (isClosed()) {
                context.cancel(null);
            }
            return context;
        }
    }

    private boolean isClosed() {
        return closed.getCount() == 0;
    }
}
