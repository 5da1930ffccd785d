package worker

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/otel/propagation"

	jobv1 "layeron.dev/job/gen/layeron/job/v1"
)

// A handler that is told to stop at its timeout has this long to clean up before the timeout is reported without it.
const unwindTime = time.Second

var propagator = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})

// execution is one attempt from its grant to its final answer. It is reported exactly once, or never when it was
// abandoned. All but run is called with the worker's lock held.
type execution struct {
	worker  *Worker
	task    *task
	startID int64
	attempt *Attempt
	payload []byte

	outcome   *outcome  // how it ended, once reported
	beganAt   time.Time // zero before the handler begins
	beginBy   time.Time // while it waits for a slot
	endedAt   time.Time // when the outcome was known
	notedAt   time.Time
	begunSent bool
	ended     bool // the handler has returned, or never began and never will
	abandoned bool // it is no longer this worker's: whatever the handler does is not reported
	cancel    context.CancelCauseFunc
	unwind    *time.Timer
}

func (w *Worker) newExecution(startID int64, grant *jobv1.Grant) *execution {
	return &execution{
		worker:  w,
		task:    w.tasks[grant.GetTask()],
		startID: startID,
		attempt: newAttempt(grant, w.namespace, w.logger),
		payload: grant.GetPayloadJson(),
	}
}

// begin calls the handler. The timeout runs from here.
func (x *execution) begin() {
	x.beganAt = time.Now()
	base := x.worker.base
	if len(x.attempt.TraceContext) > 0 {
		base = propagator.Extract(base, propagation.MapCarrier(x.attempt.TraceContext))
	}
	ctx, cancel := context.WithCancelCause(context.WithValue(base, attemptKey{}, x.attempt))
	ctx, release := context.WithDeadlineCause(ctx, x.beganAt.Add(x.attempt.Timeout), ErrTimeout)
	x.cancel = func(cause error) {
		cancel(cause)
		release()
	}
	x.attempt.ctx = ctx
	x.attempt.changed = func() { x.worker.noted(x) }
	x.unwind = time.AfterFunc(x.attempt.Timeout+unwindTime, func() {
		x.worker.mu.Lock()
		defer x.worker.mu.Unlock()
		x.giveUp(ErrTimeout)
	})
	payload := x.payload
	x.payload = nil
	go x.run(ctx, payload)
}

// run calls the handler and ends the attempt, also if it panics or ends its goroutine.
func (x *execution) run(ctx context.Context, payload []byte) {
	out := newOutcome(failed, "Goexit", "the handler ended its goroutine", "")
	defer func() {
		if value := recover(); value != nil {
			stack := debug.Stack()
			if out = panicked(value, stack); ctx.Err() != nil {
				out = stopped(context.Cause(ctx), x.attempt.Timeout, fmt.Sprintf("panic: %v\n%s", value, stack))
			}
		}
		x.worker.ended(x, out)
	}()
	value, err := x.task.call(ctx, payload)
	out = x.outcomeOf(ctx, value, err)
}

// outcomeOf: a result is a success, also after a request to stop, since the work is done. After one an error is no
// failure.
func (x *execution) outcomeOf(ctx context.Context, value any, err error) outcome {
	switch {
	case err == nil:
		return returned(value, x.worker.resultBytesMax.Load())
	case ctx.Err() != nil:
		detail := detailOf(err)
		if cause := context.Cause(ctx); detail == "" && err != ctx.Err() && err != cause {
			detail = err.Error()
		}
		return stopped(context.Cause(ctx), x.attempt.Timeout, detail)
	}
	return raised(err)
}

// stop tells the handler to stop. Only the first cause counts.
func (x *execution) stop(cause error) {
	if x.cancel != nil && !x.ended {
		x.cancel(cause)
	}
}

// order is a cancel order. Ordering it again changes nothing.
func (x *execution) order() {
	if x.beganAt.IsZero() && x.outcome == nil {
		x.neverBegan(newOutcome(canceled, "Canceled", "canceled before the handler began", ""))
	} else {
		x.stop(ErrCanceled)
	}
}

// lapse: the lease may be lost. As for a shutdown, and a handler that has not begun is not called any more.
func (x *execution) lapse() {
	if x.beganAt.IsZero() && x.outcome == nil {
		x.neverBegan(newOutcome(interrupted, "LeaseLost", ErrLeaseLost.Error(), ""))
	} else {
		x.stop(ErrLeaseLost)
	}
}

// abandon: the attempt is no longer this worker's. Stop the handler, report nothing.
func (x *execution) abandon() {
	x.abandoned = true
	x.stop(ErrSuperseded)
	if x.beganAt.IsZero() {
		x.ended = true
	}
}

// neverBegan reports an attempt whose handler was not and will not be called.
func (x *execution) neverBegan(out outcome) {
	x.ended = true
	x.report(out)
}

// giveUp reports a handler that did not stop although it was told to.
func (x *execution) giveUp(cause error) {
	if x.outcome == nil {
		x.report(stopped(cause, x.attempt.Timeout, ""))
	}
}

func (x *execution) end(out outcome) {
	x.unwind.Stop()
	x.cancel(nil) // releases what the context holds
	x.ended = true
	if x.outcome == nil {
		x.report(out)
	}
	x.worker.slots.release(x)
}

func (x *execution) report(out outcome) {
	x.outcome, x.endedAt = &out, time.Now()
	x.payload = nil
	if !x.abandoned {
		x.worker.session.finish(x)
	}
}

// ranMs is how long the handler ran, in milliseconds; 0 if it never began, and only then.
func (x *execution) ranMs() int64 {
	if x.beganAt.IsZero() {
		return 0
	}
	return max(1, x.ran().Milliseconds())
}

// ran is how long the handler ran; 0 if it never began.
func (x *execution) ran() time.Duration {
	switch {
	case x.beganAt.IsZero():
		return 0
	case x.endedAt.IsZero():
		return time.Since(x.beganAt)
	}
	return x.endedAt.Sub(x.beganAt)
}
