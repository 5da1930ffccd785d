package job_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"layeron.dev/job"
	"layeron.dev/job/internal/testserver"
)

func TestACallIsTriedAtTheNextAddressUntilOneAnswers(t *testing.T) {
	_, namespace := newClient(t, "work")
	client := connect(t, "127.0.0.1:1, "+testserver.Address(), job.WithNamespace(namespace))
	for range 3 {
		if made := enqueue(t, client, "work", nil); !made.Created {
			t.Error(made)
		}
	}
}

func TestWithoutAServerACallEndsWithTheDeadlineItHas(t *testing.T) {
	client := connect(t, "127.0.0.1:1", job.WithTimeout(300*time.Millisecond))
	for _, call := range []func() error{
		func() error { return enqueueError(client, nil) }, // the client's timeout
		func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			_, err := client.Runs.Get(ctx, "run")
			return err
		},
		func() error {
			_, err := client.Runs.Wait(t.Context(), "run")
			return err
		},
		func() error {
			for _, err := range client.Runs.Watch(t.Context(), "run") {
				return err
			}
			return nil
		},
	} {
		began := time.Now()
		err := call()
		if took := time.Since(began); took > 3*time.Second || !errors.Is(err, job.ErrUnavailable) || !strings.Contains(err.Error(), "127.0.0.1:1") {
			t.Errorf("after %v: %v", took, err)
		}
	}
}

func TestAServerThatComesBackIsWaitedFor(t *testing.T) {
	server := testserver.Start(t)
	_, namespace := newClient(t, "work")
	client := connect(t, server.Address, job.WithNamespace(namespace), job.WithTimeout(30*time.Second))
	enqueue(t, client, "work", nil)
	server.Kill()
	made := make(chan error, 1)
	go func() { made <- enqueueError(client, nil) }()
	server.Restart()
	if err := <-made; err != nil {
		t.Error(err)
	}
}

func TestAnEnqueueWhoseAnswerWasLostIsRepeatedSafely(t *testing.T) {
	direct, namespace := newClient(t, "work")
	proxy := testserver.NewProxy(t, testserver.Address())
	client := connect(t, proxy.Address, job.WithNamespace(namespace), job.WithTimeout(20*time.Second))
	enqueue(t, client, "work", "first") // the connection is there
	proxy.Mute(true)
	type answer struct {
		run job.Enqueued
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		run, err := client.Enqueue(context.Background(), "work", "second")
		answers <- answer{run, err}
	}()
	count := func() int {
		runs := 0
		for _, err := range direct.Runs.List(t.Context(), job.Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			runs++
		}
		return runs
	}
	testserver.Eventually(t, "the run is made", 10*time.Second, func() bool { return count() == 2 })
	proxy.Mute(false)
	proxy.Cut()
	got := <-answers
	if got.err != nil || !got.run.Created || count() != 2 {
		t.Errorf("%+v, %v, %d runs", got.run, got.err, count())
	}
	batch, err := client.EnqueueBatch(t.Context(), slices.Values([]job.Item{{Task: "work"}}))
	if err != nil || !batch[0].Created {
		t.Error(batch, err)
	}
}

func TestACanceledContextEndsACall(t *testing.T) {
	proxy := testserver.NewProxy(t, testserver.Address())
	proxy.Mute(true)
	client := connect(t, proxy.Address)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := client.Runs.Get(ctx, "run"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	late := testserver.Context(t, 50*time.Millisecond)
	if _, err := client.Runs.Get(late, "run"); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, job.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

func TestAClosedClientSaysSo(t *testing.T) {
	proxy := testserver.NewProxy(t, testserver.Address())
	proxy.Mute(true)
	client := connect(t, proxy.Address)
	time.AfterFunc(50*time.Millisecond, func() { _ = client.Close() })
	_, during := client.Runs.Get(t.Context(), "run")
	_, after := client.Runs.Get(t.Context(), "run")
	var watched error
	for _, watched = range client.Runs.Watch(t.Context(), "run") {
	}
	for _, err := range []error{during, after, watched} {
		if !errors.Is(err, job.ErrClosed) {
			t.Errorf("%v", err)
		}
	}
}

func TestAClientOfWrongSettingsIsNotMade(t *testing.T) {
	for name, err := range map[string]error{
		"address":   clientError(" , "),
		"timeout":   clientError("", job.WithTimeout(0)),
		"token":     clientError("", job.WithToken("a b")),
		"namespace": clientError("", job.WithNamespace("")),
	} {
		if refused, is := errors.AsType[*job.FieldError](err); !is || refused.Field != name {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func clientError(address string, options ...job.Option) error {
	_, err := job.NewClient(address, options...)
	return err
}
