package worker_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"layeron.dev/job"
	"layeron.dev/job/internal/testserver"
	"layeron.dev/job/worker"
)

func TestAHandlerOutlivesAKilledServer(t *testing.T) {
	w := newWorld(t)
	server := testserver.Start(t)
	h := newHeld()
	it := w.workerAt(server.Address)
	worker.Handle(it, "work", h.handle)
	w.run(it)
	id := w.enqueue("work", nil)
	<-h.begun
	server.Kill()
	close(h.free) // the outcome is known while nobody can be told
	if cause := <-h.ended; cause != nil {
		t.Fatal(cause)
	}
	server.Restart()
	if run := w.ended(id); outcomes(run) != "succeeded" {
		t.Error(outcomes(run))
	}
	if run := w.ended(w.enqueue("work", nil)); outcomes(run) != "succeeded" {
		t.Error(outcomes(run))
	}
}

func TestAWorkerTurnsToTheOtherServerAndKeepsItsSession(t *testing.T) {
	w := newWorld(t)
	first, second := testserver.Start(t), testserver.Start(t)
	h := newHeld()
	it := w.workerAt(first.Address + "," + second.Address)
	worker.Handle(it, "work", h.handle)
	w.run(it)
	id := w.enqueue("work", nil)
	<-h.begun
	first.Kill()
	close(h.free)
	if run := w.ended(id); outcomes(run) != "succeeded" {
		t.Error(outcomes(run))
	}
}

func TestADrainingServerIsLeftWithoutStoppingAnything(t *testing.T) {
	w := newWorld(t)
	first, second := testserver.Start(t), testserver.Start(t)
	h := newHeld()
	it := w.workerAt(first.Address + "," + second.Address)
	worker.Handle(it, "work", h.handle)
	w.run(it)
	ids := []string{w.enqueue("work", nil), w.enqueue("work", nil)}
	<-h.begun
	<-h.begun
	first.Stop()
	ids = append(ids, w.enqueue("work", nil))
	<-h.begun // through the second server
	close(h.free)
	for _, id := range ids {
		if run := w.ended(id); outcomes(run) != "succeeded" {
			t.Error(outcomes(run))
		}
	}
	actors := map[string]bool{}
	for _, id := range ids {
		actors[w.details(id).Attempts[0].SessionID] = true
	}
	if len(actors) != 1 {
		t.Errorf("sessions %v", actors)
	}
}

func TestAWorkerThatHearsNothingStopsItsHandlersBeforeItsLeaseEndsAndReportsWhatHasEnded(t *testing.T) {
	w := newWorld(t)
	server := testserver.Start(t, "LAYERON_JOB_LEASE_MS=3000", "LAYERON_JOB_HEARTBEAT_INTERVAL_MS=600")
	proxy := testserver.NewProxy(t, server.Address)
	stopped, finished := newHeld(), newHeld()
	it := w.workerAt(proxy.Address)
	worker.Handle(it, "stopped", stopped.handle)
	worker.Handle(it, "finished", finished.handle)
	w.run(it)
	first, second := w.enqueue("stopped", nil), w.enqueue("finished", nil)
	<-stopped.begun
	<-finished.begun
	at := time.Now()
	proxy.Mute(true)
	close(finished.free) // its report is not answered within the lease
	if cause, took := <-stopped.ended, time.Since(at); cause != worker.ErrLeaseLost || took > 3*time.Second {
		t.Errorf("%v after %v", cause, took)
	}
	proxy.Mute(false)
	proxy.Cut()
	<-stopped.begun // again
	close(stopped.free)
	if run := w.ended(first); outcomes(run) != "interrupted LeaseLost, succeeded" || run.Attempts[0].SessionID != run.Attempts[1].SessionID {
		t.Errorf("%s: %+v", outcomes(run), run.Attempts)
	}
	if run := w.ended(second); outcomes(run) != "succeeded" {
		t.Error(outcomes(run))
	}
}

func TestLostAnswersAndCutConnectionsNeitherLoseNorRepeatARun(t *testing.T) {
	w := newWorld(t)
	proxy := testserver.NewProxy(t, testserver.Address())
	it := w.workerAt(proxy.Address, worker.WithConcurrency(20))
	var runs atomic.Int64
	worker.Handle(it, "work", func(context.Context, any) (any, error) {
		runs.Add(1)
		time.Sleep(time.Millisecond)
		return nil, nil
	})
	w.run(it)
	const count = 1000
	results, err := w.client.EnqueueBatch(t.Context(), slices.Values(slices.Repeat([]job.Item{{Task: "work"}}, count)))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		seen := runs.Load()
		testserver.Eventually(t, "runs go on", 20*time.Second, func() bool { return runs.Load() >= min(seen+50, count) })
		proxy.Mute(true)
		time.Sleep(20 * time.Millisecond) // answers get lost meanwhile
		proxy.Cut()
		proxy.Mute(false)
	}
	for _, result := range results {
		run := w.ended(result.RunID)
		if run.Run.Status != job.StatusSucceeded || run.Run.CountedAttempts != 0 {
			t.Error(result.RunID, outcomes(run))
		}
	}
	if runs.Load() != count {
		t.Errorf("%d handlers ran for %d runs", runs.Load(), count)
	}
}

func TestALostConnectionToNATSIsMadeAgain(t *testing.T) {
	w := newWorld(t)
	nats := testserver.NewProxy(t, testserver.NATS(t))
	server := testserver.Start(t, "LAYERON_JOB_NATS_WORKER_URL=nats://"+nats.Address)
	it := w.workerAt(server.Address)
	var runs atomic.Int64
	worker.Handle(it, "work", func(context.Context, any) (any, error) { runs.Add(1); return nil, nil })
	w.run(it)
	const count = 400
	results, err := w.client.EnqueueBatch(t.Context(), slices.Values(slices.Repeat([]job.Item{{Task: "work"}}, count)))
	if err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "runs go on", 20*time.Second, func() bool { return runs.Load() > 20 })
	nats.Cut()
	for _, result := range results {
		if run := w.ended(result.RunID); outcomes(run) != "succeeded" {
			t.Error(outcomes(run))
		}
	}
}

func TestGrantsThatFindNoSlotAreHandedBackAndCostNoTry(t *testing.T) {
	w := newWorld(t)
	h := newHeld()
	it := w.worker(worker.WithConcurrency(1), worker.WithPrefetch(10))
	worker.Handle(it, "quick", func(context.Context, any) (any, error) { return nil, nil })
	worker.Handle(it, "long", h.handle)
	w.run(it)
	// The pace of quick ones lets some be fetched ahead; then a long one takes the slot.
	var items []job.Item
	for range 30 {
		items = append(items, slices.Repeat([]job.Item{{Task: "quick"}}, 20)...)
	}
	items = append(items, job.Item{Task: "long"})
	items = append(items, slices.Repeat([]job.Item{{Task: "quick"}}, 20)...)
	results, err := w.client.EnqueueBatch(t.Context(), slices.Values(items))
	if err != nil {
		t.Fatal(err)
	}
	<-h.begun
	behind := results[len(results)-20:]
	waits := func() bool {
		return slices.ContainsFunc(behind, func(r job.BatchResult) bool {
			return outcomes(w.details(r.RunID)) == "interrupted NotBegun"
		})
	}
	testserver.Eventually(t, "one is handed back", 10*time.Second, waits)
	close(h.free)
	for _, result := range behind {
		if run := w.ended(result.RunID); run.Run.Status != job.StatusSucceeded || run.Run.CountedAttempts != 0 {
			t.Error(outcomes(run))
		}
	}
}
