package worker_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"layeron.dev/job"
	"layeron.dev/job/internal/testserver"
	"layeron.dev/job/worker"
)

func TestMain(m *testing.M) { testserver.Main(m) }

// world is a namespace of the test's own, with a client of it.
type world struct {
	t         *testing.T
	namespace string
	client    *job.Client
}

func newWorld(t *testing.T) *world {
	t.Helper()
	namespace := testserver.Namespace()
	client, err := job.NewClient(testserver.Address(), job.WithNamespace(namespace), job.WithTimeout(30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return &world{t, namespace, client}
}

// worker returns one that is not running yet.
func (w *world) worker(options ...worker.Option) *worker.Worker {
	return w.workerAt(testserver.Address(), options...)
}

func (w *world) workerAt(address string, options ...worker.Option) *worker.Worker {
	logger := slog.New(slog.NewTextHandler(w.t.Output(), nil))
	return worker.New(address, append([]worker.Option{worker.WithNamespace(w.namespace), worker.WithLogger(logger)}, options...)...)
}

// run runs a worker until the test ends or the answer is called, which waits for its end.
func (w *world) run(it *worker.Worker) (stop func()) {
	w.t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- it.Run(context.Background()) }()
	stop = sync.OnceFunc(func() {
		it.Stop()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(stop)
	select {
	case <-it.Ready():
	case <-time.After(20 * time.Second):
		w.t.Fatal("the worker is not ready")
	}
	return stop
}

func (w *world) enqueue(task string, payload any, options ...job.EnqueueOption) string {
	w.t.Helper()
	run, err := w.client.Enqueue(w.t.Context(), task, payload, options...)
	if err != nil {
		w.t.Fatal(err)
	}
	return run.ID
}

// ended waits for the end of a run.
func (w *world) ended(runID string) job.RunDetails {
	w.t.Helper()
	if _, err := w.client.Runs.Wait(testserver.Context(w.t, 40*time.Second), runID); err != nil {
		w.t.Fatal(err)
	}
	return w.details(runID)
}

func (w *world) details(runID string) job.RunDetails {
	w.t.Helper()
	found, err := w.client.Runs.Get(w.t.Context(), runID)
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

// outcomes are the statuses of a run's attempts, with their error types.
func outcomes(run job.RunDetails) string {
	var told []string
	for _, attempt := range run.Attempts {
		told = append(told, strings.TrimSpace(string(attempt.Status)+" "+attempt.ErrorType))
	}
	return strings.Join(told, ", ")
}

func reasons(run job.RunDetails) []string {
	var codes []string
	for _, transition := range run.Transitions {
		codes = append(codes, transition.ReasonCode)
	}
	return codes
}

func lastReason(run job.RunDetails) string {
	return slices.Concat([]string{""}, reasons(run))[len(run.Transitions)]
}
