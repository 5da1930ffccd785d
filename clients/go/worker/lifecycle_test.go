package worker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"layeron.dev/job"
	"layeron.dev/job/internal/testserver"
	"layeron.dev/job/worker"
)

// held is a handler that runs until it is let go, and says how it was stopped.
type held struct {
	begun chan string
	ended chan error
	free  chan struct{}
}

func newHeld() *held {
	return &held{make(chan string, 100), make(chan error, 100), make(chan struct{})}
}

func (h *held) handle(ctx context.Context, _ any) (any, error) {
	h.begun <- worker.FromContext(ctx).RunID
	select {
	case <-h.free:
		h.ended <- nil
		return "finished", nil
	case <-ctx.Done():
		h.ended <- context.Cause(ctx)
		return nil, ctx.Err()
	}
}

func TestNoMoreHandlersRunAtOnceThanAsked(t *testing.T) {
	w := newWorld(t)
	it := w.worker(worker.WithConcurrency(3))
	var running, most atomic.Int64
	worker.Handle(it, "work", func(context.Context, any) (any, error) {
		now := running.Add(1)
		defer running.Add(-1)
		for seen := most.Load(); now > seen && !most.CompareAndSwap(seen, now); seen = most.Load() {
		}
		time.Sleep(5 * time.Millisecond)
		return nil, nil
	})
	w.run(it)
	results, err := w.client.EnqueueBatch(t.Context(), slices.Values(slices.Repeat([]job.Item{{Task: "work"}}, 60)))
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range results {
		if run := w.ended(result.RunID); outcomes(run) != "succeeded" {
			t.Error(outcomes(run))
		}
	}
	if most.Load() != 3 {
		t.Errorf("%d handlers ran at once", most.Load())
	}
}

func TestAWorkerThatIsStoppedLetsHandlersFinishAndInterruptsTheRest(t *testing.T) {
	w := newWorld(t)
	quick, endless := newHeld(), newHeld()
	it := w.worker(worker.WithGrace(300 * time.Millisecond))
	worker.Handle(it, "quick", quick.handle)
	worker.Handle(it, "endless", endless.handle)
	stop := w.run(it)
	first, second := w.enqueue("quick", nil), w.enqueue("endless", nil)
	<-quick.begun
	<-endless.begun
	time.AfterFunc(50*time.Millisecond, func() { close(quick.free) })
	stop()
	if run := w.details(first); run.Run.Status != job.StatusSucceeded {
		t.Error(run.Run)
	}
	if cause := <-endless.ended; cause != worker.ErrShutdown {
		t.Error(cause)
	}
	run := w.details(second)
	if outcomes(run) != "interrupted Shutdown" || run.Run.CountedAttempts != 0 {
		t.Error(outcomes(run), run.Run)
	}
	close(endless.free)
	next := w.worker()
	worker.Handle(next, "endless", endless.handle)
	w.run(next)
	if run := w.ended(second); outcomes(run) != "interrupted Shutdown, succeeded" {
		t.Error(outcomes(run))
	}
}

func TestAHandlerThatIgnoresTheEndIsReportedWithoutIt(t *testing.T) {
	w := newWorld(t)
	it := w.worker(worker.WithGrace(0))
	begun, free := make(chan struct{}), make(chan struct{})
	worker.Handle(it, "deaf", func(context.Context, any) (any, error) { close(begun); <-free; return nil, nil })
	stop := w.run(it)
	id := w.enqueue("deaf", nil)
	<-begun
	stop()
	if run := w.details(id); outcomes(run) != "interrupted Shutdown" {
		t.Error(outcomes(run))
	}
	close(free)
}

func TestTheEndOfItsContextStopsAWorker(t *testing.T) {
	w := newWorld(t)
	it := w.worker()
	worker.Handle(it, "work", func(context.Context, any) (any, error) { return nil, nil })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- it.Run(ctx) }()
	<-it.Ready()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestASignalStopsAWorkerAndASecondOneHurriesIt(t *testing.T) {
	w := newWorld(t)
	it := w.worker(worker.WithGrace(time.Hour))
	begun, free := make(chan struct{}), make(chan struct{})
	worker.Handle(it, "deaf", func(context.Context, any) (any, error) { close(begun); <-free; return nil, nil })
	ended := make(chan error, 1)
	go func() { ended <- it.Main() }()
	<-it.Ready()
	id := w.enqueue("deaf", nil)
	<-begun
	signal := func() {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	signal()
	select {
	case err := <-ended:
		t.Errorf("it did not wait for its handler: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	signal()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	close(free)
	if run := w.details(id); run.Attempts[0].Status != job.AttemptInterrupted {
		t.Error(outcomes(run))
	}
}

func TestAWorkerWithoutAServerIsStoppedToo(t *testing.T) {
	it := worker.New("127.0.0.1:1")
	worker.Handle(it, "work", func(context.Context, any) (any, error) { return nil, nil })
	time.AfterFunc(100*time.Millisecond, it.Stop)
	if err := it.Run(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWhatIsWrongWithAWorkerIsSaidBeforeItConnects(t *testing.T) {
	nothing := func(context.Context, any) (any, error) { return nil, nil }
	it := worker.New(" , ", worker.WithConcurrency(0), worker.WithPrefetch(-1), worker.WithQueues("A"), worker.WithNamespace("a b"),
		worker.WithGrace(-time.Second), worker.WithBuildID(strings.Repeat("b", 256)))
	worker.Handle(it, "a b", nothing)
	worker.Handle(it, "late", nothing, worker.Timeout(8*24*time.Hour))
	worker.Handle(it, "odd", nothing, worker.Queue("Q"))
	worker.Handle(it, "urgent", nothing, worker.Priority("urgent"))
	worker.Handle(it, "again", nothing, worker.Retry(job.RetryPolicy{Attempts: -1}))
	worker.Handle(it, "twice", nothing)
	worker.Handle(it, "twice", nothing)
	err := it.Run(t.Context())
	for _, part := range []string{"address", "concurrency", "prefetch", "queue", "namespace", "grace", "build id", `"a b"`, `"late": timeout`,
		`"odd": queue`, `"urgent": priority`, `"again": retry.attempts`, `"twice": it has a handler already`} {
		if !strings.Contains(fmt.Sprint(err), part) {
			t.Errorf("%s is not in: %v", part, err)
		}
	}
	if err := worker.New("").Run(t.Context()); err == nil || !strings.Contains(err.Error(), "no tasks") {
		t.Error(err)
	}
	elsewhere := worker.New("", worker.WithQueues("a"))
	worker.Handle(elsewhere, "work", nothing, worker.Queue("b"))
	if err := elsewhere.Run(t.Context()); err == nil || !strings.Contains(err.Error(), `"b"`) {
		t.Error(err)
	}
}

func TestAServerThatRefusesTheTasksEndsTheWorker(t *testing.T) {
	it := worker.New(testserver.Address())
	worker.Handle(it, "work", func(context.Context, any) (any, error) { return nil, nil }, worker.Retry(job.RetryPolicy{NonRetryable: []string{"\x00"}}))
	if err := it.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "refused to register the tasks work") {
		t.Error(err)
	}
}

func TestQueuesAndPrioritiesAreAllServed(t *testing.T) {
	w := newWorld(t)
	it := w.worker(worker.WithConcurrency(1))
	order := make(chan string, 10)
	handler := func(ctx context.Context, _ any) (any, error) { order <- worker.FromContext(ctx).Task; return nil, nil }
	worker.Handle(it, "a", handler)
	worker.Handle(it, "b", handler, worker.Queue("fast"), worker.Priority(job.PriorityHigh))
	worker.Handle(it, "c", handler, worker.Queue("slow"), worker.Priority(job.PriorityLow))
	w.run(it)
	for _, task := range []string{"a", "b", "c"} {
		if run := w.ended(w.enqueue(task, nil)); run.Run.Status != job.StatusSucceeded {
			t.Error(run.Run)
		}
	}
	if len(order) != 3 {
		t.Errorf("%d ran", len(order))
	}
}
