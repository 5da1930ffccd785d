package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	"layeron.dev/job"
	jobv1 "layeron.dev/job/gen/layeron/job/v1"
)

const (
	tasksMax   = 500
	timeoutMin = time.Millisecond
	timeoutMax = 7 * 24 * time.Hour
)

var (
	taskName  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	lowerName = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)
)

// task is a handler with the defaults that the server is told.
type task struct {
	definition *jobv1.TaskDefinition
	call       func(ctx context.Context, payload []byte) (any, error)
}

// TaskOption is a default of a task, for runs that bring none of their own.
type TaskOption func(*job.TaskDefinition)

// Retry sets the task's retry policy. By default 3 attempts, exponential from 5 s.
func Retry(policy job.RetryPolicy) TaskOption {
	return func(task *job.TaskDefinition) { task.Retry = &policy }
}

// Timeout sets how long an attempt may take, 1 ms to 7 days. By default 5 minutes.
func Timeout(limit time.Duration) TaskOption {
	return func(task *job.TaskDefinition) { task.Timeout = limit }
}

// Queue sets the task's queue. By default it is the worker's first, or "default".
func Queue(name string) TaskOption {
	return func(task *job.TaskDefinition) { task.Queue = name }
}

// Priority sets the task's priority. By default it is normal.
func Priority(priority job.Priority) TaskOption {
	return func(task *job.TaskDefinition) { task.Priority = priority }
}

// Handle registers the handler of a task. It is called before Run, which returns the error of a wrong name or option.
//
// The payload is unmarshaled by encoding/json into a new P; json.RawMessage takes it as it is, any as maps and slices.
// One that P does not take fails the attempt with the type "PayloadInvalid". The result is marshaled by the same rules as
// a payload; a handler that has none returns any(nil).
func Handle[P, R any](w *Worker, name string, handler func(ctx context.Context, payload P) (R, error), options ...TaskOption) {
	call := func(ctx context.Context, text []byte) (any, error) {
		var payload P
		if len(text) > 0 {
			if err := json.Unmarshal(text, &payload); err != nil {
				return nil, WithType(fmt.Errorf("the payload is not what the handler takes: %w", err), "PayloadInvalid")
			}
		}
		return handler(ctx, payload)
	}
	w.handle(name, call, options)
}

func (w *Worker) handle(name string, call func(context.Context, []byte) (any, error), options []TaskOption) {
	task := &task{call: call}
	set := job.TaskDefinition{Name: name, Queue: w.homeQueue()}
	for _, option := range options {
		option(&set)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.check(set); err != nil {
		w.wrong(fmt.Errorf("task %q: %w", name, err))
		return
	}
	definition, err := set.Proto()
	if err != nil {
		w.wrong(fmt.Errorf("task %q: %w", name, err))
		return
	}
	task.definition = definition
	w.tasks[name] = task
	w.taskNames = append(w.taskNames, name)
}

func (w *Worker) check(set job.TaskDefinition) error {
	switch {
	case !taskName.MatchString(set.Name):
		return fmt.Errorf("its name must match %v", taskName)
	case !lowerName.MatchString(set.Queue):
		return fmt.Errorf("queue must match %v, not %q", lowerName, set.Queue)
	case w.tasks[set.Name] != nil:
		return fmt.Errorf("it has a handler already")
	case len(w.tasks) == tasksMax:
		return fmt.Errorf("a worker has at most %d tasks", tasksMax)
	case !w.takesFrom(set.Queue):
		return fmt.Errorf("it is of queue %q, which this worker does not take from", set.Queue)
	case set.Timeout != 0 && (set.Timeout < timeoutMin || set.Timeout > timeoutMax):
		return fmt.Errorf("timeout must be 1 ms to 7 days, not %v", set.Timeout)
	}
	return nil
}
