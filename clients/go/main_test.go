package job_test

import (
	"context"
	"testing"
	"time"

	"layeron.dev/job"
	"layeron.dev/job/internal/testserver"
	"layeron.dev/job/worker"
)

func TestMain(m *testing.M) { testserver.Main(m) }

// newClient is a client of a namespace of the test's own, with the tasks registered.
func newClient(t *testing.T, tasks ...string) (*job.Client, string) {
	t.Helper()
	namespace := testserver.Namespace()
	client := connect(t, testserver.Address(), job.WithNamespace(namespace))
	for _, task := range tasks {
		if _, err := client.Tasks.Register(t.Context(), job.TaskDefinition{Name: task}); err != nil {
			t.Fatal(err)
		}
	}
	return client, namespace
}

func connect(t *testing.T, address string, options ...job.Option) *job.Client {
	t.Helper()
	client, err := job.NewClient(address, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

// startWorker runs a worker until the test ends.
func startWorker(t *testing.T, w *worker.Worker) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- w.Run(context.Background()) }()
	t.Cleanup(func() {
		w.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-w.Ready():
	case <-time.After(20 * time.Second):
		t.Fatal("the worker is not ready")
	}
}

// echo runs a worker whose handler returns its payload.
func echo(t *testing.T, namespace, task string) {
	t.Helper()
	w := worker.New(testserver.Address(), worker.WithNamespace(namespace), worker.WithConcurrency(4))
	worker.Handle(w, task, func(_ context.Context, payload any) (any, error) { return payload, nil })
	startWorker(t, w)
}

func enqueue(t *testing.T, client *job.Client, task string, payload any, options ...job.EnqueueOption) job.Enqueued {
	t.Helper()
	run, err := client.Enqueue(t.Context(), task, payload, options...)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func wait(t *testing.T, client *job.Client, runID string) job.Run {
	t.Helper()
	ctx := testserver.Context(t, 20*time.Second)
	run, err := client.Runs.Wait(ctx, runID)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func details(t *testing.T, client *job.Client, runID string) job.RunDetails {
	t.Helper()
	found, err := client.Runs.Get(t.Context(), runID)
	if err != nil {
		t.Fatal(err)
	}
	return found
}
