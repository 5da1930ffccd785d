package dev.layeron.job;

import dev.layeron.job.JobException.Unavailable;
import dev.layeron.job.v1.CancelRunRequest;
import dev.layeron.job.v1.GetRunRequest;
import dev.layeron.job.v1.JobServiceGrpc;
import dev.layeron.job.v1.JsonForm;
import dev.layeron.job.v1.ListRunsRequest;
import dev.layeron.job.v1.ReplayRunRequest;
import dev.layeron.job.v1.WaitRunRequest;
import dev.layeron.job.v1.WatchRunsRequest;
import java.time.Duration;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The runs of the client's namespace: looking at them, waiting for them, watching them, canceling and replaying them.
 *
 * <p>Futures fail with a {@link JobException}; canceling one cancels its call.
 */
public final class Runs {
    private static final Duration POLL = Duration.ofSeconds(30);
    private static final Duration FOREVER = Duration.ofNanos(Long.MAX_VALUE);
    private static final int PAGE_SIZE = 50;

    private final Calls calls;
    private final String namespace;
    private final Json json;

    Runs(Calls calls, String namespace, Json json) {
        this.calls = calls;
        this.namespace = namespace;
        this.json = json;
    }

    /**
     * A run with its attempts and transitions.
     *
     * @param runId the run's id
     * @return the run; fails with {@link JobException.RunNotFound}
     */
    public CompletableFuture<RunDetails> get(String runId) {
        GetRunRequest request = GetRunRequest.newBuilder()
                .setNamespace(namespace)
                .setRunId(Limits.text("runId", runId))
                .setJsonForm(JsonForm.JSON_FORM_BYTES)
                .build();
        return calls.unary(JobServiceGrpc.getGetRunMethod(), request, Answers::runDetails);
    }

    /**
     * The runs that match, newest first, without payloads and results.
     *
     * @param filter which runs
     * @return the runs; the stream asks for the next page when it needs one, and waits for it
     * @throws JobException while the stream is read, such as {@link JobException.FilterTooBroad}
     */
    public Stream<Run> list(RunFilter filter) {
        return list(filter, RunView.BASIC, PAGE_SIZE);
    }

    /**
     * The runs that match, newest first.
     *
     * @param filter which runs
     * @param view how much of each; payloads and results come with {@link RunView#FULL} only
     * @param pageSize how many are asked for at once, 1 to 500
     * @return the runs; the stream asks for the next page when it needs one, and waits for it
     * @throws JobException while the stream is read, such as {@link JobException.FilterTooBroad}
     */
    public Stream<Run> list(RunFilter filter, RunView view, int pageSize) {
        return Pages.stream(token -> page(filter, view, pageSize, token)
                .thenApply(page -> new Pages.Part<>(page.runs(), page.nextPageToken())));
    }

    /**
     * One page of what {@link #list(RunFilter, RunView, int)} gives.
     *
     * @param filter which runs
     * @param view how much of each
     * @param pageSize at most how many, 1 to 500
     * @param pageToken the {@link Page#nextPageToken()} of the page before, of the same filter; empty for the first
     * @return the page; fails with {@link JobException.PageTokenInvalid} or {@link JobException.FilterTooBroad}
     */
    public CompletableFuture<Page> page(RunFilter filter, RunView view, int pageSize, String pageToken) {
        ListRunsRequest request = ListRunsRequest.newBuilder()
                .setNamespace(namespace)
                .setFilter(Requests.filter(filter))
                .setPageSize(pageSize)
                .setPageToken(Limits.text("pageToken", pageToken))
                .setView(
                        view == RunView.FULL
                                ? dev.layeron.job.v1.RunView.RUN_VIEW_FULL
                                : dev.layeron.job.v1.RunView.RUN_VIEW_BASIC)
                .setJsonForm(JsonForm.JSON_FORM_BYTES)
                .build();
        return calls.unary(
                JobServiceGrpc.getListRunsMethod(),
                request,
                answer ->
                        new Page(answer.getRunsList().stream().map(Answers::run).toList(), answer.getNextPageToken()));
    }

    /**
     * The run once it is terminal, whatever its end: look at its status. Outages up to the client's timeout are waited
     * out.
     *
     * @param runId the run's id
     * @return the run; fails with {@link JobException.RunNotFound}, and with {@link JobException.Unavailable} or {@link
     *     JobException.DeadlineExceeded} when no server answers for the client's timeout
     */
    public CompletableFuture<Run> await(String runId) {
        return await(runId, FOREVER);
    }

    /**
     * The run once it is terminal, or {@link WaitTimeoutException}.
     *
     * @param runId the run's id
     * @param timeout how long to wait for that; outages may take the client's timeout longer
     * @return as {@link #await(String)}
     */
    public CompletableFuture<Run> await(String runId, Duration timeout) {
        WaitRunRequest request = WaitRunRequest.newBuilder()
                .setNamespace(namespace)
                .setRunId(Limits.text("runId", runId))
                .setJsonForm(JsonForm.JSON_FORM_BYTES)
                .build();
        Patience patience = calls.patience(timeout);
        return calls.begin(pending -> poll(pending, request, patience, null));
    }

    private void poll(Pending<Run> pending, WaitRunRequest request, Patience patience, @Nullable Patience outage) {
        Duration left = patience.left();
        Duration poll = left.isNegative() ? Duration.ZERO : left.compareTo(POLL) < 0 ? left : POLL;
        WaitRunRequest polled =
                request.toBuilder().setTimeout(Requests.duration(poll)).build();
        pending.follow(
                calls.once(JobServiceGrpc.getWaitRunMethod(), polled, poll.plus(calls.timeout())),
                answer -> {
                    Run run = Answers.run(answer.getRun());
                    if (run.isTerminal()) {
                        pending.complete(run);
                    } else if (patience.left().isNegative()) {
                        pending.fail(new WaitTimeoutException(run));
                    } else {
                        poll(pending, request, patience, null);
                    }
                },
                error -> {
                    if (!(error instanceof Unavailable) || left.isNegative()) {
                        throw error;
                    }
                    Patience waited = Objects.requireNonNullElseGet(outage, calls::patience);
                    pending.after(waited.bear(error), () -> poll(pending, request, patience, waited));
                });
    }

    /**
     * Changes of one run as they happen, from its first on until it is terminal.
     *
     * @param runId the run's id
     * @return the changes; close it
     * @throws JobException such as {@link JobException.RunNotFound}
     */
    public Watch watch(String runId) {
        return watch(runId, "");
    }

    /**
     * Changes of one run as they happen, until it is terminal.
     *
     * @param runId the run's id
     * @param resumeToken goes on after {@link RunChange#resumeToken()}; empty to begin with its first
     * @return the changes; close it
     * @throws JobException such as {@link JobException.RunNotFound}
     */
    public Watch watch(String runId, String resumeToken) {
        Limits.optional("runId", runId);
        return new Watch(calls, watchRequest(resumeToken).setRunId(runId).build());
    }

    /**
     * Changes of all runs that match, as they happen. What happens after this method has returned is told.
     *
     * @param filter which runs; only task, queue and labels may be set
     * @return the changes; close it
     * @throws JobException such as {@link JobException.InvalidRequest}
     */
    public Watch watch(RunFilter filter) {
        return watch(filter, "");
    }

    /**
     * Changes of all runs that match, as they happen.
     *
     * @param filter which runs; only task, queue and labels may be set
     * @param resumeToken goes on after {@link RunChange#resumeToken()}; empty for what happens from now on
     * @return the changes; close it
     * @throws JobException such as {@link JobException.WatchTokenExpired} for a token older than 24 hours
     */
    public Watch watch(RunFilter filter, String resumeToken) {
        return new Watch(
                calls,
                watchRequest(resumeToken).setFilter(Requests.filter(filter)).build());
    }

    private WatchRunsRequest.Builder watchRequest(String resumeToken) {
        return WatchRunsRequest.newBuilder()
                .setNamespace(namespace)
                .setResumeToken(Limits.text("resumeToken", resumeToken));
    }

    /**
     * Ends a waiting run at once, or asks a running one's worker to. A run that succeeds first stays a success;
     * canceling a canceled run answers it.
     *
     * @param runId the run's id
     * @param reason why, at most 1,024 characters; may be empty
     * @return the run as it then is; fails with {@link JobException.RunNotFound} or {@link
     *     JobException.RunAlreadyFinished}
     */
    public CompletableFuture<Run> cancel(String runId, String reason) {
        CancelRunRequest request = CancelRunRequest.newBuilder()
                .setNamespace(namespace)
                .setRunId(Limits.text("runId", runId))
                .setReason(Limits.text("reason", reason))
                .setJsonForm(JsonForm.JSON_FORM_BYTES)
                .build();
        return calls.unary(JobServiceGrpc.getCancelRunMethod(), request, answer -> Answers.run(answer.getRun()));
    }

    /**
     * Makes a new run like this terminal one.
     *
     * @param runId the terminal run's id
     * @param reason why, at most 1,024 characters; may be empty
     * @return as {@link #replay(String, ReplayOptions)}
     */
    public CompletableFuture<Enqueued> replay(String runId, String reason) {
        return replay(runId, ReplayOptions.builder().reason(reason).build());
    }

    /**
     * Makes a new run like this terminal one, with its payload or another, at once or later.
     *
     * @param runId the terminal run's id
     * @param options what is to be different
     * @return the new run; fails with {@link JobException.RunNotFound}, {@link JobException.RunNotFinished} or {@link
     *     JobException.RunIdReused}
     */
    public CompletableFuture<Enqueued> replay(String runId, ReplayOptions options) {
        ReplayRunRequest request = Requests.replay(namespace, runId, options, json);
        // Of an id that was chosen here only this call can have made a run, in a try whose answer was lost.
        boolean chosenHere = options.newRunId() == null;
        return calls.unary(
                JobServiceGrpc.getReplayRunMethod(),
                request,
                answer -> new Enqueued(Answers.run(answer.getRun()), answer.getCreated() || chosenHere, false));
    }
}
