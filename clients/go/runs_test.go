package job_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"layeron.dev/job"
	"layeron.dev/job/internal/testserver"
	"layeron.dev/job/worker"
)

func TestARunIsWaitedForAndReadWithItsHistory(t *testing.T) {
	client, namespace := newClient(t)
	echo(t, namespace, "echo")
	run := wait(t, client, enqueue(t, client, "echo", map[string]int{"n": 1}).ID)
	var result struct{ N int }
	if err := run.Result.Decode(&result); err != nil || run.Status != job.StatusSucceeded || result.N != 1 {
		t.Fatal(run, run.Result, err)
	}
	found := details(t, client, run.ID)
	if len(found.Attempts) != 1 || found.Attempts[0].Status != job.AttemptSucceeded || found.Attempts[0].ID != "att_"+run.ID[4:]+"_1" {
		t.Errorf("attempts %+v", found.Attempts)
	}
	var codes []string
	for _, transition := range found.Transitions {
		codes = append(codes, transition.ReasonCode)
	}
	if !slices.Equal(codes, []string{"ENQUEUED", "STARTED", "SUCCEEDED"}) || found.Transitions[0].From != "" {
		t.Errorf("transitions %+v", found.Transitions)
	}
}

func TestARunThatDoesNotExistIsNotFound(t *testing.T) {
	client, _ := newClient(t)
	id := job.NewRunID()
	_, got := client.Runs.Get(t.Context(), id)
	_, waited := client.Runs.Wait(t.Context(), id)
	_, canceled := client.Runs.Cancel(t.Context(), id, "")
	_, replayed := client.Runs.Replay(t.Context(), id)
	var watched error
	for _, err := range client.Runs.Watch(t.Context(), id) {
		watched = err
	}
	for _, err := range []error{got, waited, canceled, replayed, watched} {
		if !errors.Is(err, job.ErrRunNotFound) {
			t.Error(err)
		}
	}
}

func TestWaitingEndsAtTheDeadlineWithTheRunAsItIs(t *testing.T) {
	client, _ := newClient(t, "work")
	made := enqueue(t, client, "work", nil)
	began := time.Now()
	run, err := client.Runs.Wait(testserver.Context(t, 400*time.Millisecond), made.ID)
	took := time.Since(began)
	late, is := errors.AsType[*job.WaitTimeoutError](err)
	if !is || late.Run.ID != made.ID || run.Status != job.StatusQueued || !errors.Is(err, job.ErrWaitTimeout) ||
		!errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, %v", run, err)
	}
	if took < 300*time.Millisecond || took > 2*time.Second {
		t.Errorf("waited %v", took)
	}
}

func TestWaitingEndsWhenItIsCanceled(t *testing.T) {
	client, _ := newClient(t, "work")
	made := enqueue(t, client, "work", nil)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	if _, err := client.Runs.Wait(ctx, made.ID); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestListsGoThroughAllPagesNewestFirstAndMayBeLeft(t *testing.T) {
	client, _ := newClient(t, "work", "other")
	var made []string
	for range 7 {
		made = append(made, enqueue(t, client, "work", "payload", job.WithLabels(map[string]string{"a": "b"})).ID)
	}
	enqueue(t, client, "other", nil)
	slices.Reverse(made)
	filter := job.Filter{
		Task: "work", Statuses: []job.RunStatus{job.StatusQueued, job.StatusRunning}, Labels: map[string]string{"a": "b"},
		Queue: "default", CreatedFrom: time.Now().Add(-time.Hour), CreatedBefore: time.Now().Add(time.Hour),
	}
	var listed []string
	for run, err := range client.Runs.List(t.Context(), filter, job.WithPageSize(3), job.WithView(job.FullView)) {
		if err != nil {
			t.Fatal(err)
		}
		if run.Payload.String() != `"payload"` {
			t.Errorf("payload %s", run.Payload)
		}
		listed = append(listed, run.ID)
	}
	if !slices.Equal(listed, made) {
		t.Errorf("listed %v, not %v", listed, made)
	}
	for run, err := range client.Runs.List(t.Context(), filter, job.WithPageSize(1)) {
		if err != nil || run.ID != made[0] || len(run.Payload) != 0 {
			t.Error(run, run.Payload, err)
		}
		break
	}
	page, err := client.Runs.ListPage(t.Context(), filter, job.WithPageSize(5))
	if err != nil || len(page.Runs) != 5 || page.NextPageToken == "" {
		t.Errorf("%d runs, %v", len(page.Runs), err)
	}
	_, err = client.Runs.ListPage(t.Context(), job.Filter{}, job.WithPageToken(page.NextPageToken))
	if !errors.Is(err, job.ErrPageTokenInvalid) || !errors.Is(err, job.ErrInvalidRequest) {
		t.Error(err)
	}
}

func TestAWatchOfARunTellsItAllAndGoesOnFromAToken(t *testing.T) {
	client, namespace := newClient(t)
	echo(t, namespace, "echo")
	made := enqueue(t, client, "echo", nil)
	var changes []job.RunChange
	for change, err := range client.Runs.Watch(testserver.Context(t, 20*time.Second), made.ID) {
		if err != nil {
			t.Fatal(err)
		}
		changes = append(changes, change)
	}
	if len(changes) != 3 || changes[2].Transition.To != job.StatusSucceeded || changes[0].Task != "echo" || changes[0].RunID != made.ID {
		t.Fatalf("%+v", changes)
	}
	for change, err := range client.Runs.Watch(t.Context(), made.ID, job.WithResumeToken(changes[2].ResumeToken)) {
		t.Errorf("told again: %+v, %v", change, err)
	}
}

func TestAWatchOfAFilterTellsOfAllThatMatchAndEndsWithItsContext(t *testing.T) {
	client, namespace := newClient(t, "work", "other")
	ctx, cancel := context.WithCancel(testserver.Context(t, 20*time.Second))
	defer cancel()
	// Another client makes runs until the watch has seen one: it tells of what happens from now on.
	maker := connect(t, testserver.Address(), job.WithNamespace(namespace))
	making, enough := context.WithCancel(ctx)
	defer enough()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for making.Err() == nil {
			_, _ = maker.Enqueue(making, "other", nil) // its end may meet one under way
			_, _ = maker.Enqueue(making, "work", nil)
		}
	}()
	var last error
	for change, err := range client.Runs.WatchMatching(ctx, job.Filter{Task: "work"}) {
		if err != nil {
			last = err
			continue
		}
		if change.Task != "work" || change.Transition.To != job.StatusQueued {
			t.Errorf("%+v", change)
		}
		enough()
		cancel()
	}
	<-done
	if !errors.Is(last, context.Canceled) {
		t.Errorf("ended with %v", last)
	}
}

func TestAWatchGoesOnAfterALostConnection(t *testing.T) {
	client, namespace := newClient(t)
	proxy := testserver.NewProxy(t, testserver.Address())
	watcher := connect(t, proxy.Address, job.WithNamespace(namespace))
	proceed := make(chan struct{})
	w := worker.New(testserver.Address(), worker.WithNamespace(namespace))
	worker.Handle(w, "work", func(ctx context.Context, _ any) (any, error) {
		select {
		case <-proceed:
		case <-ctx.Done():
		}
		return nil, ctx.Err()
	})
	startWorker(t, w)
	made := enqueue(t, client, "work", nil)
	var seqs []int
	for change, err := range watcher.Runs.Watch(testserver.Context(t, 20*time.Second), made.ID) {
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, change.Transition.Seq)
		if change.Transition.To == job.StatusRunning {
			proxy.Cut()
			close(proceed)
		}
	}
	if seqs = slices.Compact(slices.Sorted(slices.Values(seqs))); !slices.Equal(seqs, []int{0, 1, 2}) {
		t.Errorf("saw %v", seqs)
	}
}

func TestAWaitingRunIsCanceledAtOnceAndReplayed(t *testing.T) {
	client, _ := newClient(t, "work")
	made := enqueue(t, client, "work", 1, job.WithDelay(time.Hour))
	if _, err := client.Runs.Replay(t.Context(), made.ID); !errors.Is(err, job.ErrRunNotFinished) {
		t.Error(err)
	}
	run, err := client.Runs.Cancel(t.Context(), made.ID, "no longer needed")
	if err != nil || run.Status != job.StatusCanceled {
		t.Fatal(run, err)
	}
	id := job.NewRunID()
	replay, err := client.Runs.Replay(t.Context(), made.ID, job.WithReason("needed after all"), job.WithPayload(nil), job.WithNewRunID(id),
		job.WithDelay(time.Hour))
	if err != nil || replay.ID != id || !replay.Created || replay.Status != job.StatusScheduled || replay.Origin != "replay" || replay.OriginID != made.ID {
		t.Fatalf("%+v, %v", replay, err)
	}
	found := details(t, client, id)
	if found.Run.Payload.String() != "null" || found.Transitions[0].Note != "needed after all" {
		t.Errorf("payload %s, transitions %+v", found.Run.Payload, found.Transitions)
	}
	if details(t, client, made.ID).Run.ReplayedBy != id {
		t.Error("the old run does not name the new one")
	}
}

func TestATerminalRunCannotBeCanceled(t *testing.T) {
	client, namespace := newClient(t)
	echo(t, namespace, "echo")
	run := wait(t, client, enqueue(t, client, "echo", nil).ID)
	if _, err := client.Runs.Cancel(t.Context(), run.ID, ""); !errors.Is(err, job.ErrRunAlreadyFinished) {
		t.Error(err)
	}
}

func TestTasksAreRegisteredReadPausedAndResumed(t *testing.T) {
	client, _ := newClient(t)
	policy := job.RetryPolicy{Attempts: 5, Backoff: job.Fixed(10 * time.Second)}
	tasks, err := client.Tasks.Register(t.Context(), job.TaskDefinition{Name: "b"},
		job.TaskDefinition{Name: "a", Queue: "fast", Retry: &policy, Timeout: time.Minute, Priority: job.PriorityLow})
	if err != nil || len(tasks) != 2 {
		t.Fatal(tasks, err)
	}
	if a := tasks[1]; a.Queue != "fast" || a.Retry.Attempts != 5 || a.Retry.Backoff != job.Fixed(10*time.Second) || a.Timeout != time.Minute ||
		a.Priority != job.PriorityLow || a.Revision != 1 || a.CreatedAt.IsZero() {
		t.Errorf("%+v", a)
	}
	if b := tasks[0]; b.Retry.Backoff != (job.Exponential{Initial: 5 * time.Second, Maximum: 300 * time.Second, Multiplier: 2}) ||
		b.Retry.Attempts != 3 || *b.Retry.Jitter != 0.1 || b.Timeout != 5*time.Minute {
		t.Errorf("%+v", b)
	}
	var names []string
	for task, err := range client.Tasks.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, task.Name)
	}
	if !slices.Equal(names, []string{"a", "b"}) {
		t.Error(names)
	}
	if task, err := client.Tasks.Pause(t.Context(), "a", "an outage"); err != nil || task.PausedAt.IsZero() || task.PauseReason != "an outage" {
		t.Error(task, err)
	}
	if task, err := client.Tasks.Resume(t.Context(), "a"); err != nil || !task.PausedAt.IsZero() {
		t.Error(task, err)
	}
	if _, err := client.Tasks.Get(t.Context(), "c"); !errors.Is(err, job.ErrTaskNotFound) {
		t.Error(err)
	}
}
