package job

import (
	"fmt"
	"maps"
	"math"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	jobv1 "layeron.dev/job/gen/layeron/job/v1"
)

// EnqueueOption is something about one run to be made.
type EnqueueOption interface {
	enqueue(*jobv1.EnqueueRequest) error
}

// ReplayOption is something about one replay.
type ReplayOption interface {
	replay(*jobv1.ReplayRunRequest) error
}

// StartOption says when a run may start. Give at most one.
type StartOption interface {
	EnqueueOption
	ReplayOption
}

type enqueueOption func(*jobv1.EnqueueRequest) error

func (o enqueueOption) enqueue(request *jobv1.EnqueueRequest) error { return o(request) }

type replayOption func(*jobv1.ReplayRunRequest) error

func (o replayOption) replay(request *jobv1.ReplayRunRequest) error { return o(request) }

type delay time.Duration

func (d delay) enqueue(request *jobv1.EnqueueRequest) error {
	request.Delay = durationpb.New(time.Duration(d))
	return nil
}

func (d delay) replay(request *jobv1.ReplayRunRequest) error {
	request.Delay = durationpb.New(time.Duration(d))
	return nil
}

type runAt time.Time

func (r runAt) enqueue(request *jobv1.EnqueueRequest) (err error) {
	request.RunAt, err = moment("run_at", time.Time(r))
	return err
}

func (r runAt) replay(request *jobv1.ReplayRunRequest) (err error) {
	request.RunAt, err = moment("run_at", time.Time(r))
	return err
}

// WithDelay starts the run no earlier than so long from now, at most 10 years.
func WithDelay(wait time.Duration) StartOption { return delay(wait) }

// WithRunAt starts the run no earlier than at this time, within 10 years; a past time means at once.
func WithRunAt(at time.Time) StartOption { return runAt(at) }

// WithStartBy dead-letters the run if it has not started by then.
func WithStartBy(at time.Time) EnqueueOption {
	return enqueueOption(func(request *jobv1.EnqueueRequest) (err error) {
		request.StartBy, err = moment("start_by", at)
		return err
	})
}

// WithRunID gives the run an id from [NewRunID], which makes the repeat of a whole program safe. By default Enqueue
// chooses one.
func WithRunID(id string) EnqueueOption {
	return enqueueOption(func(request *jobv1.EnqueueRequest) (err error) {
		request.RunId, err = given("run_id", id)
		return err
	})
}

// WithIdempotencyKey takes a key of 1 to 255 characters, in the scope of the task. While it is taken, the same request
// answers the first run, and another one is ErrIdempotencyKeyReused.
func WithIdempotencyKey(key string) EnqueueOption {
	return enqueueOption(func(request *jobv1.EnqueueRequest) (err error) {
		request.IdempotencyKey, err = given("idempotency_key", key)
		return err
	})
}

// WithIdempotencyWindow says how long the key stays taken. By default it is WindowTTL.
func WithIdempotencyWindow(window IdempotencyWindow) EnqueueOption {
	return enqueueOption(func(request *jobv1.EnqueueRequest) error {
		number, err := windows.number("idempotency_window", string(window))
		request.IdempotencyWindow = jobv1.IdempotencyWindow(number)
		return err
	})
}

// WithIdempotencyTTL keeps the key for so long, 1 s to 10 years, and not for 24 hours. It goes with WindowTTL.
func WithIdempotencyTTL(ttl time.Duration) EnqueueOption {
	return enqueueOption(func(request *jobv1.EnqueueRequest) error {
		request.IdempotencyTtl = durationpb.New(ttl)
		return nil
	})
}

// WithRetry replaces the task's retry policy, as a whole.
func WithRetry(policy RetryPolicy) EnqueueOption {
	return enqueueOption(func(request *jobv1.EnqueueRequest) (err error) {
		request.Retry, err = policy.Proto()
		return err
	})
}

// WithAttemptTimeout replaces the task's timeout, which is that of one attempt: 1 ms to 7 days.
func WithAttemptTimeout(timeout time.Duration) EnqueueOption {
	return enqueueOption(func(request *jobv1.EnqueueRequest) error {
		request.Timeout = durationpb.New(timeout)
		return nil
	})
}

// WithLabels tags the run with at most 16 labels, by which runs can be listed. Given twice, they are put together.
func WithLabels(labels map[string]string) EnqueueOption {
	return enqueueOption(func(request *jobv1.EnqueueRequest) error {
		if request.Labels == nil {
			request.Labels = make(map[string]string, len(labels))
		}
		maps.Copy(request.Labels, labels)
		return nil
	})
}

// WithPriority replaces the task's priority.
func WithPriority(priority Priority) EnqueueOption {
	return enqueueOption(func(request *jobv1.EnqueueRequest) error {
		number, err := priorities.number("priority", string(priority))
		request.Priority = jobv1.Priority(number)
		return err
	})
}

// WithName gives the run a name for people, at most 255 characters.
func WithName(name string) EnqueueOption {
	return enqueueOption(func(request *jobv1.EnqueueRequest) error {
		request.Name = name
		return nil
	})
}

// WithPayloadEncoding says that the payload is an envelope that nobody but the handler understands.
func WithPayloadEncoding(encoding string) EnqueueOption {
	return enqueueOption(func(request *jobv1.EnqueueRequest) error {
		request.PayloadEncoding = encoding
		return nil
	})
}

// WithTraceContext sets the W3C trace context (traceparent, tracestate, baggage). By default it is that of the context
// that Enqueue is called with.
func WithTraceContext(trace map[string]string) EnqueueOption {
	return enqueueOption(func(request *jobv1.EnqueueRequest) error {
		request.TraceContext = maps.Clone(trace)
		return nil
	})
}

// WithReason says why a run is replayed, at most 1,024 characters.
func WithReason(reason string) ReplayOption {
	return replayOption(func(request *jobv1.ReplayRunRequest) error {
		request.Reason = reason
		return nil
	})
}

// WithPayload replaces the payload of a replay; nil is null.
func WithPayload(payload any) ReplayOption {
	return replayOption(func(request *jobv1.ReplayRunRequest) (err error) {
		request.PayloadJson, err = jsonText(payload)
		return err
	})
}

// WithNewRunID gives the new run of a replay an id from [NewRunID].
func WithNewRunID(id string) ReplayOption {
	return replayOption(func(request *jobv1.ReplayRunRequest) (err error) {
		request.NewRunId, err = given("new_run_id", id)
		return err
	})
}

// Filter says which runs to list. All that is set must match.
type Filter struct {
	Task string
	// Statuses: one of them must match.
	Statuses []RunStatus
	// Labels: all of them must match, at most 16.
	Labels         map[string]string
	IdempotencyKey string
	Queue          string
	// CreatedFrom: created at or after; CreatedBefore: created before.
	CreatedFrom   time.Time
	CreatedBefore time.Time
	// OriginID selects the replays of this run.
	OriginID string
}

func (f Filter) proto() (*jobv1.RunFilter, error) {
	filter := &jobv1.RunFilter{
		Task: f.Task, Labels: f.Labels, IdempotencyKey: f.IdempotencyKey, Queue: f.Queue, OriginId: f.OriginID,
	}
	for _, status := range f.Statuses {
		number, err := runStatuses.number("status", string(status))
		if err != nil {
			return nil, err
		}
		filter.Statuses = append(filter.Statuses, jobv1.RunStatus(number))
	}
	if !f.CreatedFrom.IsZero() {
		filter.CreatedFrom = timestamppb.New(f.CreatedFrom)
	}
	if !f.CreatedBefore.IsZero() {
		filter.CreatedBefore = timestamppb.New(f.CreatedBefore)
	}
	return filter, nil
}

// View says how much of a run is read.
type View int

// Basic is without payload, result and trace context. By default lists are basic; everything else is full.
const (
	BasicView View = iota + 1
	FullView
)

// ListOption is something about a list.
type ListOption func(*jobv1.ListRunsRequest) error

// WithView says how much of each run is read.
func WithView(view View) ListOption {
	return func(request *jobv1.ListRunsRequest) error {
		if view != BasicView && view != FullView {
			return &FieldError{"view", fmt.Sprintf("must be BasicView or FullView, not %d", view)}
		}
		request.View = jobv1.RunView(view)
		return nil
	}
}

// WithPageSize says how many runs are asked for at once, 1 to 500. By default 50.
func WithPageSize(size int) ListOption {
	return func(request *jobv1.ListRunsRequest) (err error) {
		request.PageSize, err = pageSize(size)
		return err
	}
}

// WithPageToken begins with the page after this token, the NextPageToken of a page of the same filter.
func WithPageToken(token string) ListOption {
	return func(request *jobv1.ListRunsRequest) error {
		request.PageToken = token
		return nil
	}
}

// pageSize leaves the limits to the server, as far as it can be told.
func pageSize(size int) (*int32, error) {
	if size < math.MinInt32 || size > math.MaxInt32 {
		return nil, &FieldError{"page_size", fmt.Sprintf("must be 1 to 500, not %d", size)}
	}
	return new(int32(size)), nil
}

// given refuses an empty text, which would be taken for none.
func given(field, text string) (string, error) {
	if text == "" {
		return "", &FieldError{field, "must not be empty"}
	}
	return text, nil
}
