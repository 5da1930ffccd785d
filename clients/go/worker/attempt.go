package worker

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	jobv1 "layeron.dev/job/gen/layeron/job/v1"
	"layeron.dev/job/internal/jsontext"
)

// Attempt is one attempt of a run, as its handler sees it.
type Attempt struct {
	// RunID is the same in every attempt of the run, and no other run has it: key outside effects by it.
	RunID string
	// Number is the attempt's number, 1 for the first.
	Number int
	// CountedAttempts is how many attempts the retry policy has counted before this one, of MaxAttempts that it allows.
	CountedAttempts int
	MaxAttempts     int
	// Task and Namespace are what is run, and where.
	Task      string
	Namespace string
	// Name is for people. It may be empty.
	Name   string
	Labels map[string]string
	// TraceContext is the W3C trace context of the enqueue. The handler's context has it already, as a remote span.
	TraceContext map[string]string
	// PayloadEncoding is what the caller said about the payload's envelope; empty for plain JSON.
	PayloadEncoding string
	// Timeout is how long the attempt may take. The handler's context has the deadline.
	Timeout time.Duration
	// CreatedAt is when the run was enqueued.
	CreatedAt time.Time

	ctx      context.Context // the handler's, for CancelRequested
	base     *slog.Logger
	changed  func()
	noted    atomic.Bool // a note waits to be sent
	mu       sync.Mutex
	progress []byte
	lines    *logTail
	logger   *slog.Logger
}

func newAttempt(grant *jobv1.Grant, namespace string, logger *slog.Logger) *Attempt {
	attempt := &Attempt{
		RunID:           grant.GetRunId(),
		Number:          int(grant.GetAttempt()),
		CountedAttempts: int(grant.GetCountedAttempts()),
		MaxAttempts:     int(grant.GetMaxAttempts()),
		Task:            grant.GetTask(),
		Namespace:       namespace,
		Name:            grant.GetName(),
		Labels:          grant.GetLabels(),
		TraceContext:    grant.GetTraceContext(),
		PayloadEncoding: grant.GetPayloadEncoding(),
		Timeout:         time.Duration(grant.GetTimeoutMs()) * time.Millisecond,
		base:            logger,
	}
	if created := grant.GetCreatedAt(); created != nil {
		attempt.CreatedAt = created.AsTime()
	}
	return attempt
}

type attemptKey struct{}

// FromContext returns the attempt that a handler's context belongs to. With any other context it is an empty one, whose
// methods work all the same, so that handlers can be tested by calling them.
func FromContext(ctx context.Context) *Attempt {
	if attempt, is := ctx.Value(attemptKey{}).(*Attempt); is {
		return attempt
	}
	return &Attempt{ctx: ctx, base: slog.Default()}
}

// CancelRequested says that the handler should stop: cancel, timeout, shutdown, or the run is no longer this worker's.
// It is the same as the end of the handler's context.
func (a *Attempt) CancelRequested() bool { return a.ctx.Err() != nil }

// Progress tells how far the attempt is: any JSON value of at most 4 KiB. Only the newest one is sent, once a second. The
// error says that the value is larger or not JSON.
func (a *Attempt) Progress(value any) error {
	text, err := jsontext.Encode(value)
	if err == nil {
		err = jsontext.Check(text)
	}
	if err != nil {
		return fmt.Errorf("progress is not JSON: %w", err)
	}
	if len(text) > progressBytesMax {
		return fmt.Errorf("progress must be at most %d bytes of JSON, not %d", progressBytesMax, len(text))
	}
	a.mu.Lock()
	a.progress = text
	a.mu.Unlock()
	a.note()
	return nil
}

// Logger returns the worker's logger with the run and attempt in every line. Its lines from INFO on are also kept with
// the attempt: the last 32 KiB.
func (a *Attempt) Logger() *slog.Logger {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.logger == nil {
		a.lines = &logTail{}
		named := a.base.Handler().WithAttrs([]slog.Attr{
			slog.String("run_id", a.RunID), slog.Int("attempt", a.Number), slog.String("task", a.Task),
		})
		a.logger = slog.New(newTee(named, a.lines, a.note))
	}
	return a.logger
}

// note lets progress and log lines be sent.
func (a *Attempt) note() {
	if a.changed != nil && !a.noted.Swap(true) {
		a.changed()
	}
}

// takeProgress returns the newest progress, once.
func (a *Attempt) takeProgress() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	progress := a.progress
	a.progress = nil
	return progress
}

// logged returns the last lines of the log.
func (a *Attempt) logged() string {
	a.mu.Lock()
	lines := a.lines
	a.mu.Unlock()
	if lines == nil {
		return ""
	}
	return lines.text()
}
