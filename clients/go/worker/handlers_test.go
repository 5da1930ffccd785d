package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"layeron.dev/job"
	"layeron.dev/job/worker"
)

type order struct {
	ID    int      `json:"id"`
	Items []string `json:"items"`
}

type receipt struct {
	Order int    `json:"order"`
	Note  string `json:"note"`
}

// once fails a run for good when its first attempt fails.
var once = worker.Retry(job.RetryPolicy{Attempts: 1})

func TestAHandlerTakesItsTypeAndItsResultIsKept(t *testing.T) {
	w := newWorld(t)
	it := w.worker()
	worker.Handle(it, "order", func(_ context.Context, o order) (receipt, error) {
		return receipt{o.ID, strings.Join(o.Items, "<&>")}, nil
	})
	worker.Handle(it, "raw", func(_ context.Context, text json.RawMessage) (json.RawMessage, error) { return text, nil })
	worker.Handle(it, "nothing", func(_ context.Context, payload *order) (any, error) {
		if payload != nil {
			return nil, errors.New("there is a payload")
		}
		return nil, nil
	})
	w.run(it)
	if run := w.ended(w.enqueue("order", order{7, []string{"a", "b"}})).Run; run.Result.String() != `{"order":7,"note":"a<&>b"}` {
		t.Errorf("%v: %s", run, run.Result)
	}
	if run := w.ended(w.enqueue("raw", json.RawMessage(`{"n":1.50}`))).Run; run.Result.String() != `{"n":1.50}` {
		t.Errorf("%v: %s", run, run.Result)
	}
	if run := w.ended(w.enqueue("nothing", nil)).Run; run.Status != job.StatusSucceeded {
		t.Errorf("%v: %s", run, run.Result)
	}
}

func TestAPayloadThatTheHandlerDoesNotTakeFailsTheAttempt(t *testing.T) {
	w := newWorld(t)
	it := w.worker()
	worker.Handle(it, "order", func(context.Context, order) (any, error) { return nil, nil }, once)
	w.run(it)
	if run := w.ended(w.enqueue("order", "text")); outcomes(run) != "failed PayloadInvalid" || run.Run.Status != job.StatusDeadLettered {
		t.Error(outcomes(run), run.Run)
	}
}

func TestAResultThatBreaksTheRulesEndsTheRun(t *testing.T) {
	w := newWorld(t)
	it := w.worker()
	results := map[string]any{"integer": int64(1) << 60, "nan": math.NaN(), "nul": "\x00", "large": strings.Repeat("x", 300<<10), "func": func() {}}
	worker.Handle(it, "work", func(_ context.Context, which string) (any, error) { return results[which], nil })
	w.run(it)
	for which := range results {
		run := w.ended(w.enqueue("work", which))
		if outcomes(run) != "failed ResultInvalid" || run.Run.Status != job.StatusDeadLettered {
			t.Error(which, outcomes(run), run.Run)
		}
	}
}

type rateLimited struct{}

func (r *rateLimited) Error() string { return "slow down" }

func TestAFailedRunIsTriedAgainAsItsPolicySays(t *testing.T) {
	w := newWorld(t)
	it := w.worker()
	policy := job.RetryPolicy{Attempts: 3, Backoff: job.Delays{50 * time.Millisecond, 100 * time.Millisecond}, Jitter: new(0.0), NonRetryable: []string{"rateLimited"}}
	worker.Handle(it, "twice", func(ctx context.Context, _ any) (int, error) {
		if at := worker.FromContext(ctx); at.Number < 3 {
			return 0, fmt.Errorf("attempt %d", at.Number)
		}
		return worker.FromContext(ctx).CountedAttempts, nil
	}, worker.Retry(policy))
	worker.Handle(it, "always", func(context.Context, any) (any, error) { return nil, errors.New("no") }, worker.Retry(policy))
	worker.Handle(it, "never", func(context.Context, any) (any, error) {
		return nil, fmt.Errorf("calling: %w", &rateLimited{})
	}, worker.Retry(policy))
	w.run(it)
	if run := w.ended(w.enqueue("twice", nil)); outcomes(run) != "failed error, failed error, succeeded" || run.Run.Result.String() != "2" {
		t.Error(outcomes(run), run.Run.Result)
	}
	if run := w.ended(w.enqueue("always", nil)); lastReason(run) != "ATTEMPTS_EXHAUSTED" || run.Attempts[0].ErrorMessage != "no" {
		t.Error(outcomes(run), reasons(run))
	}
	if run := w.ended(w.enqueue("never", nil)); lastReason(run) != "NON_RETRYABLE" || outcomes(run) != "failed rateLimited" ||
		run.Attempts[0].ErrorMessage != "calling: slow down" {
		t.Error(outcomes(run), reasons(run))
	}
}

func TestAHandlerSaysWhenToTryAgainOrNeverTo(t *testing.T) {
	w := newWorld(t)
	it := w.worker()
	slow := worker.Retry(job.RetryPolicy{Attempts: 5, Backoff: job.Fixed(time.Hour)})
	worker.Handle(it, "later", func(ctx context.Context, _ any) (any, error) {
		if worker.FromContext(ctx).Number == 1 {
			return nil, worker.RetryAfter(&rateLimited{}, 300*time.Millisecond)
		}
		return nil, nil
	}, slow)
	worker.Handle(it, "never", func(context.Context, any) (any, error) {
		return nil, fmt.Errorf("given up: %w", worker.DoNotRetry(&rateLimited{}))
	}, slow)
	w.run(it)
	run := w.ended(w.enqueue("later", nil))
	if outcomes(run) != "failed rateLimited, succeeded" {
		t.Fatal(outcomes(run))
	}
	if waited := run.Attempts[0].RetryAt.Sub(run.Attempts[0].EndedAt); waited < 250*time.Millisecond || waited > time.Second {
		t.Errorf("waited %v", waited)
	}
	if run := w.ended(w.enqueue("never", nil)); lastReason(run) != "NON_RETRYABLE" || outcomes(run) != "failed rateLimited" {
		t.Error(outcomes(run), reasons(run))
	}
}

func TestAPanicFailsItsAttemptOnly(t *testing.T) {
	w := newWorld(t)
	it := w.worker()
	worker.Handle(it, "panic", func(context.Context, any) (any, error) { panic("oh no") }, once)
	worker.Handle(it, "exit", func(context.Context, any) (any, error) { runtime.Goexit(); return nil, nil }, once)
	worker.Handle(it, "work", func(context.Context, any) (any, error) { return nil, nil })
	w.run(it)
	run := w.ended(w.enqueue("panic", nil))
	if outcomes(run) != "failed Panic" || run.Attempts[0].ErrorMessage != "oh no" || !strings.Contains(run.Attempts[0].ErrorDetail, "handlers_test.go") {
		t.Errorf("%s: %+v", outcomes(run), run.Attempts)
	}
	if run := w.ended(w.enqueue("exit", nil)); outcomes(run) != "failed Goexit" {
		t.Error(outcomes(run))
	}
	if run := w.ended(w.enqueue("work", nil)); run.Run.Status != job.StatusSucceeded {
		t.Error(run.Run)
	}
}

func TestATimeoutEndsTheHandlersContext(t *testing.T) {
	w := newWorld(t)
	it := w.worker()
	causes := make(chan error, 1)
	worker.Handle(it, "slow", func(ctx context.Context, _ any) (any, error) {
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return nil, ctx.Err()
	}, once, worker.Timeout(100*time.Millisecond))
	deaf := make(chan struct{})
	worker.Handle(it, "deaf", func(context.Context, any) (any, error) { <-deaf; return "too late", nil }, once, worker.Timeout(100*time.Millisecond))
	w.run(it)
	if run := w.ended(w.enqueue("slow", nil)); outcomes(run) != "timed_out Timeout" || run.Run.Status != job.StatusDeadLettered {
		t.Error(outcomes(run), run.Run)
	}
	if cause := <-causes; cause != worker.ErrTimeout {
		t.Error(cause)
	}
	run := w.ended(w.enqueue("deaf", nil))
	if took := run.Attempts[0].EndedAt.Sub(run.Attempts[0].GrantedAt); outcomes(run) != "timed_out Timeout" || took > 3*time.Second {
		t.Error(outcomes(run), took)
	}
	close(deaf)
}

func TestACancelIsToldWithinASecondAndASuccessWins(t *testing.T) {
	w := newWorld(t)
	it := w.worker()
	begun := make(chan struct{}, 2)
	causes := make(chan error, 2)
	worker.Handle(it, "work", func(ctx context.Context, finish bool) (any, error) {
		begun <- struct{}{}
		<-ctx.Done()
		causes <- context.Cause(ctx)
		if finish && worker.FromContext(ctx).CancelRequested() {
			return "done", nil
		}
		return nil, errors.New("half way")
	})
	w.run(it)
	for finish, status := range map[bool]job.RunStatus{false: job.StatusCanceled, true: job.StatusSucceeded} {
		id := w.enqueue("work", finish)
		<-begun
		at := time.Now()
		if _, err := w.client.Runs.Cancel(t.Context(), id, "stop"); err != nil {
			t.Fatal(err)
		}
		if cause := <-causes; cause != worker.ErrCanceled || time.Since(at) > 1500*time.Millisecond {
			t.Errorf("%v after %v", cause, time.Since(at))
		}
		run := w.ended(id)
		if run.Run.Status != status {
			t.Error(run.Run, outcomes(run))
		}
		if !finish && (outcomes(run) != "canceled Canceled" || run.Attempts[0].ErrorDetail != "half way") {
			t.Errorf("%s: %+v", outcomes(run), run.Attempts)
		}
	}
}

func TestAHandlerKnowsItsAttempt(t *testing.T) {
	w := newWorld(t)
	it := w.worker(worker.WithBuildID("b1"))
	seen := make(chan *worker.Attempt, 1)
	traces := make(chan string, 1)
	worker.Handle(it, "work", func(ctx context.Context, _ any) (any, error) {
		traces <- trace.SpanContextFromContext(ctx).TraceID().String()
		deadline, _ := ctx.Deadline()
		seen <- worker.FromContext(ctx)
		return time.Until(deadline).Seconds() > 30, nil
	}, worker.Timeout(time.Minute))
	w.run(it)
	id := w.enqueue("work", nil, job.WithName("a name"), job.WithLabels(map[string]string{"a": "b"}), job.WithPayloadEncoding("sealed"),
		job.WithTraceContext(map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}))
	at := <-seen
	if at.RunID != id || at.Number != 1 || at.CountedAttempts != 0 || at.MaxAttempts != 3 || at.Task != "work" || at.Namespace != w.namespace ||
		at.Name != "a name" || at.Labels["a"] != "b" || at.PayloadEncoding != "sealed" || at.Timeout != time.Minute || at.CreatedAt.IsZero() {
		t.Errorf("%+v", at)
	}
	if id := <-traces; id != "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("trace %s", id)
	}
	run := w.ended(id)
	if run.Run.Result.String() != "true" || run.Attempts[0].WorkerBuild != "b1" {
		t.Errorf("%s, %+v", run.Run.Result, run.Attempts)
	}
}

func TestProgressAndLogLinesAreSeenWhileTheHandlerRunsAndKept(t *testing.T) {
	w := newWorld(t)
	it := w.worker()
	seen := make(chan struct{})
	worker.Handle(it, "work", func(ctx context.Context, _ any) (any, error) {
		at := worker.FromContext(ctx)
		for i := range 100 {
			if err := at.Progress(map[string]int{"done": i}); err != nil {
				return nil, err
			}
		}
		at.Logger().Debug("not kept")
		at.Logger().Info("half way", slog.Int("n", 50))
		<-seen
		at.Logger().With("a", "b").WithGroup("g").Error("last words", "c", "d e")
		return nil, errors.Join(at.Progress(strings.Repeat("x", 5000)), at.Progress(func() {}))
	}, once)
	w.run(it)
	id := w.enqueue("work", nil)
	for {
		attempts := w.details(id).Attempts
		if len(attempts) == 1 && attempts[0].Progress.String() == `{"done":99}` && strings.Contains(attempts[0].LogTail, "INFO half way n=50") {
			break
		}
		if t.Context().Err() != nil {
			t.Fatal("nothing was seen")
		}
		time.Sleep(20 * time.Millisecond)
	}
	close(seen)
	attempt := w.ended(id).Attempts[0]
	lines := strings.Split(attempt.LogTail, "\n")
	if len(lines) != 2 || !strings.HasSuffix(lines[1], `ERROR last words a=b g.c="d e"`) {
		t.Errorf("log %q", attempt.LogTail)
	}
	if !strings.Contains(attempt.ErrorMessage, "at most 4096 bytes") || !strings.Contains(attempt.ErrorMessage, "not JSON") {
		t.Errorf("error %q", attempt.ErrorMessage)
	}
}

func TestAHandlerCanBeCalledWithoutAWorker(t *testing.T) {
	at := worker.FromContext(t.Context())
	if err := at.Progress(1); err != nil || at.CancelRequested() || at.RunID != "" {
		t.Error(at, err)
	}
	at.Logger().Debug("fine")
}
