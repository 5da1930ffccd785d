package job

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	jobv1 "layeron.dev/job/gen/layeron/job/v1"
)

const (
	pollFor = 30 * time.Second
	// A poll ends a little before the context does, so that the answer still arrives.
	pollMarginMax = 250 * time.Millisecond
	pollAgain     = 20 * time.Millisecond
)

// Runs are the runs of a client's namespace: Client.Runs.
type Runs struct {
	calls *calls
}

// Get returns a run with its attempts and transitions, or ErrRunNotFound.
func (r *Runs) Get(ctx context.Context, runID string) (RunDetails, error) {
	request := &jobv1.GetRunRequest{Namespace: r.calls.namespace, RunId: runID, JsonForm: jobv1.JsonForm_JSON_FORM_BYTES}
	answer, err := callJobs(ctx, r.calls, jobv1.JobServiceClient.GetRun, request)
	if err != nil {
		return RunDetails{}, err
	}
	return RunDetails{
		Run:         runFrom(answer.GetRun()),
		Attempts:    each(answer.GetAttempts(), attemptFrom),
		Transitions: each(answer.GetTransitions(), transitionFrom),
	}, nil
}

// List returns the runs that match, newest first, asked for page by page. Payloads and results come with the FullView
// only. It ends with the first error.
func (r *Runs) List(ctx context.Context, filter Filter, options ...ListOption) iter.Seq2[Run, error] {
	return func(yield func(Run, error) bool) {
		options := options
		for {
			page, err := r.ListPage(ctx, filter, options...)
			if err != nil {
				yield(Run{}, err)
				return
			}
			for _, run := range page.Runs {
				if !yield(run, nil) {
					return
				}
			}
			if page.NextPageToken == "" {
				return
			}
			options = append(options[:len(options):len(options)], WithPageToken(page.NextPageToken))
		}
	}
}

// ListPage returns one page of what List returns.
func (r *Runs) ListPage(ctx context.Context, filter Filter, options ...ListOption) (Page, error) {
	wanted, err := filter.proto()
	if err != nil {
		return Page{}, err
	}
	request := &jobv1.ListRunsRequest{Namespace: r.calls.namespace, Filter: wanted, JsonForm: jobv1.JsonForm_JSON_FORM_BYTES}
	for _, option := range options {
		if err := option(request); err != nil {
			return Page{}, err
		}
	}
	answer, err := callJobs(ctx, r.calls, jobv1.JobServiceClient.ListRuns, request)
	if err != nil {
		return Page{}, err
	}
	return Page{each(answer.GetRuns(), runFrom), answer.GetNextPageToken()}, nil
}

// Wait returns the run once it is terminal, whatever its end: look at its status.
//
// At the context's deadline the error is a [*WaitTimeoutError], with the run as it then is. Without one it waits for
// good. Outages up to the client's timeout are waited out.
func (r *Runs) Wait(ctx context.Context, runID string) (Run, error) {
	request := &jobv1.WaitRunRequest{Namespace: r.calls.namespace, RunId: runID, JsonForm: jobv1.JsonForm_JSON_FORM_BYTES}
	var seen *Run
	var outage *patience
	for {
		poll, last := pollOf(ctx)
		request.Timeout = durationpb.New(poll)
		answer, err := r.poll(ctx, request, poll)
		if err != nil {
			if seen != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return *seen, &WaitTimeoutError{*seen}
			}
			if !errors.Is(err, ErrUnavailable) {
				return Run{}, err
			}
			if outage == nil {
				outage = &patience{time.Now().Add(r.calls.timeout), firstWait}
			}
			if err := outage.bear(ctx, err); err != nil {
				return Run{}, err
			}
			continue
		}
		outage = nil
		seen = new(runFrom(answer.GetRun()))
		if seen.Status.Terminal() {
			return *seen, nil
		}
		if last {
			return *seen, &WaitTimeoutError{*seen}
		}
	}
}

// pollOf returns how long the server may take to answer, and whether the context will have ended then.
func pollOf(ctx context.Context) (poll time.Duration, last bool) {
	deadline, set := ctx.Deadline()
	if !set {
		return pollFor, false
	}
	left := max(0, time.Until(deadline))
	return min(left-min(left/10, pollMarginMax), pollFor), left <= pollAgain
}

func (r *Runs) poll(ctx context.Context, request *jobv1.WaitRunRequest, poll time.Duration) (*jobv1.WaitRunResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, poll+r.calls.timeout)
	defer cancel()
	return once(ctx, r.calls, onJobs(jobv1.JobServiceClient.WaitRun), request)
}

// WatchOption is something about a watch.
type WatchOption func(*jobv1.WatchRunsRequest)

// WithResumeToken goes on after a change that was seen before. A token of WatchMatching is good for 24 hours, then the
// watch is ErrWatchTokenExpired.
func WithResumeToken(token string) WatchOption {
	return func(request *jobv1.WatchRunsRequest) { request.ResumeToken = token }
}

// Watch returns the changes of one run, from its first on, as they happen, until it is terminal. A lost connection is
// made again and the watch goes on after what was seen, unless no server answers for the client's timeout. It ends with
// the first error, and with that of the context.
func (r *Runs) Watch(ctx context.Context, runID string, options ...WatchOption) iter.Seq2[RunChange, error] {
	return func(yield func(RunChange, error) bool) {
		id, err := given("run_id", runID)
		if err != nil {
			yield(RunChange{}, err)
			return
		}
		r.watch(ctx, &jobv1.WatchRunsRequest{RunId: id}, options, yield)
	}
}

// WatchMatching returns the changes of all runs that match, from now on, as they happen. Only Task, Queue and Labels of
// the filter may be set. It goes on and ends as Watch does, except that it has no end of its own.
func (r *Runs) WatchMatching(ctx context.Context, filter Filter, options ...WatchOption) iter.Seq2[RunChange, error] {
	return func(yield func(RunChange, error) bool) {
		wanted, err := filter.proto()
		if err != nil {
			yield(RunChange{}, err)
			return
		}
		r.watch(ctx, &jobv1.WatchRunsRequest{Filter: wanted}, options, yield)
	}
}

func (r *Runs) watch(ctx context.Context, request *jobv1.WatchRunsRequest, options []WatchOption, yield func(RunChange, error) bool) {
	request.Namespace = r.calls.namespace
	for _, option := range options {
		option(request)
	}
	var outage *patience
	for {
		err := r.follow(ctx, request, func(answer *jobv1.WatchRunsResponse) bool {
			outage = nil
			return yieldChanges(answer, request.ResumeToken, yield)
		})
		if err == nil {
			return
		}
		// Overloaded: we read too slowly, and go on by the token, too.
		if errors.Is(err, ErrOverloaded) || errors.Is(err, ErrUnavailable) {
			if outage == nil {
				outage = &patience{time.Now().Add(r.calls.timeout), firstWait}
			}
			err = outage.bear(ctx, err)
		}
		if err != nil {
			yield(RunChange{}, err)
			return
		}
	}
}

// follow reads one stream. The request's token then is that of the last answer. No error: see said that it is enough,
// or the run is terminal.
func (r *Runs) follow(ctx context.Context, request *jobv1.WatchRunsRequest, see func(*jobv1.WatchRunsResponse) bool) error {
	server, err := r.calls.server()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := server.jobs.WatchRuns(r.calls.authorized(ctx), request)
	for err == nil {
		var answer *jobv1.WatchRunsResponse
		if answer, err = stream.Recv(); err == nil {
			if !see(answer) {
				return nil
			}
			request.ResumeToken = answer.GetResumeToken()
		}
	}
	if errors.Is(err, io.EOF) {
		if request.GetRunId() != "" {
			return nil
		}
		err = status.Error(codes.Unavailable, "the server ended the watch")
	}
	return r.calls.told(ctx, err, server, request)
}

// yieldChanges says whether to go on. A token is for all changes of its answer together: those before the last have the
// token of the answer before.
func yieldChanges(answer *jobv1.WatchRunsResponse, before string, yield func(RunChange, error) bool) bool {
	changes := answer.GetChanges()
	for i, change := range changes {
		token := before
		if i == len(changes)-1 {
			token = answer.GetResumeToken()
		}
		if !yield(RunChange{change.GetRunId(), change.GetTask(), transitionFrom(change.GetTransition()), token}, nil) {
			return false
		}
	}
	return true
}

// Cancel ends a waiting run at once, or asks a running one's worker to; it returns the run as it then is. A run that
// succeeds first stays a success. Canceling a canceled run returns it; others are ErrRunAlreadyFinished. The reason, at
// most 1,024 characters, is kept with the run.
func (r *Runs) Cancel(ctx context.Context, runID, reason string) (Run, error) {
	request := &jobv1.CancelRunRequest{
		Namespace: r.calls.namespace, RunId: runID, Reason: reason, JsonForm: jobv1.JsonForm_JSON_FORM_BYTES,
	}
	answer, err := callJobs(ctx, r.calls, jobv1.JobServiceClient.CancelRun, request)
	if err != nil {
		return Run{}, err
	}
	return runFrom(answer.GetRun()), nil
}

// Replay makes a new run like this terminal one, with its payload or another, at once or later. The errors are
// ErrRunNotFound, ErrRunNotFinished, ErrRunIDReused.
func (r *Runs) Replay(ctx context.Context, runID string, options ...ReplayOption) (Enqueued, error) {
	request := &jobv1.ReplayRunRequest{Namespace: r.calls.namespace, RunId: runID, JsonForm: jobv1.JsonForm_JSON_FORM_BYTES}
	for _, option := range options {
		if err := option.replay(request); err != nil {
			return Enqueued{}, err
		}
	}
	chosen := request.NewRunId == ""
	if chosen {
		request.NewRunId = NewRunID()
	}
	answer, err := callJobs(ctx, r.calls, jobv1.JobServiceClient.ReplayRun, request)
	if err != nil {
		return Enqueued{}, err
	}
	// Of an id that was chosen here only this call can have made a run, in a try whose answer was lost.
	return Enqueued{Run: runFrom(answer.GetRun()), Created: answer.GetCreated() || chosen}, nil
}
