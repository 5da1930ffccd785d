package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"time"

	"layeron.dev/job"
	"layeron.dev/job/worker"
)

// order is the line that a worker reads.
type order struct {
	Namespace   string   `json:"namespace"`
	Queues      []string `json:"queues"`
	Concurrency int      `json:"concurrency"`
	GraceMS     int64    `json:"grace_ms"`
	BuildID     string   `json:"build_id"`
	Tasks       []struct {
		Name      string `json:"name"`
		Queue     string `json:"queue"`
		Retry     *retry `json:"retry"`
		TimeoutMS *int64 `json:"timeout_ms"`
		Priority  string `json:"priority"`
	} `json:"tasks"`
}

// work runs a worker until SIGTERM.
func work(lines *bufio.Scanner) error {
	given := order{Namespace: "default", Concurrency: 10, GraceMS: 30_000}
	if !lines.Scan() {
		return errors.Join(errors.New("no line to work from"), lines.Err())
	}
	if err := json.Unmarshal(lines.Bytes(), &given); err != nil {
		return err
	}
	options := []worker.Option{
		worker.WithNamespace(given.Namespace), worker.WithConcurrency(given.Concurrency), worker.WithBuildID(given.BuildID),
		worker.WithGrace(time.Duration(given.GraceMS) * time.Millisecond), worker.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, nil))),
	}
	if len(given.Queues) > 0 {
		options = append(options, worker.WithQueues(given.Queues...))
	}
	w := worker.New("", options...)
	for _, task := range given.Tasks {
		var defaults []worker.TaskOption
		if task.Queue != "" {
			defaults = append(defaults, worker.Queue(task.Queue))
		}
		if task.Priority != "" {
			defaults = append(defaults, worker.Priority(job.Priority(task.Priority)))
		}
		defaults = optional(defaults, length(task.TimeoutMS), worker.Timeout)
		if task.Retry != nil {
			policy, err := task.Retry.policy()
			if err != nil {
				return err
			}
			defaults = append(defaults, worker.Retry(policy))
		}
		worker.Handle(w, task.Name, handle, defaults...)
	}
	go func() {
		<-w.Ready()
		say(object{"ready": true})
	}()
	return w.Main()
}

// step is what a handler does in one attempt, in this order.
type step struct {
	Log            *string         `json:"log"`
	Progress       json.RawMessage `json:"progress"`
	SleepMS        *int64          `json:"sleep_ms"`
	IgnoreCancelMS *int64          `json:"ignore_cancel_ms"`
	Exit           *int            `json:"exit"`
	RetryAfterMS   *int64          `json:"retry_after_ms"`
	DoNotRetry     *string         `json:"do_not_retry"`
	Fail           *struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	} `json:"fail"`
	Context json.RawMessage `json:"context"`
	Result  json.RawMessage `json:"result"`
}

func handle(ctx context.Context, payload json.RawMessage) (any, error) {
	attempt := worker.FromContext(ctx)
	event := object{"run_id": attempt.RunID, "attempt": attempt.Number}
	say(object{"start": event})
	defer say(object{"end": event})
	var script struct {
		Do []step `json:"do"`
	}
	if len(payload) == 0 || payload[0] != '{' {
		return nil, nil
	}
	if err := json.Unmarshal(payload, &script); err != nil || len(script.Do) == 0 {
		return nil, err
	}
	return script.Do[min(attempt.Number, len(script.Do))-1].do(ctx, attempt)
}

func (s step) do(ctx context.Context, attempt *worker.Attempt) (any, error) {
	if s.Log != nil {
		attempt.Logger().Info(*s.Log)
	}
	if len(s.Progress) > 0 {
		if err := attempt.Progress(s.Progress); err != nil {
			return nil, err
		}
	}
	if s.SleepMS != nil {
		select {
		case <-time.After(*length(s.SleepMS)):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if s.IgnoreCancelMS != nil {
		time.Sleep(*length(s.IgnoreCancelMS))
	}
	switch {
	case s.Exit != nil:
		os.Exit(*s.Exit)
	case s.RetryAfterMS != nil:
		return nil, worker.RetryAfter(nil, *length(s.RetryAfterMS))
	case s.DoNotRetry != nil:
		return nil, worker.DoNotRetry(worker.WithType(errors.New(*s.DoNotRetry), "DoNotRetry"))
	case s.Fail != nil:
		return nil, worker.WithType(errors.New(s.Fail.Message), s.Fail.Type)
	case len(s.Context) > 0:
		return contextObject(attempt), nil
	case len(s.Result) > 0:
		return s.Result, nil
	}
	return nil, nil
}

func contextObject(attempt *worker.Attempt) object {
	return object{
		"run_id": attempt.RunID, "attempt": attempt.Number, "task": attempt.Task, "namespace": attempt.Namespace,
		"labels": textMap(attempt.Labels), "name": attempt.Name, "counted_attempts": attempt.CountedAttempts, "max_attempts": attempt.MaxAttempts,
		"payload_encoding": attempt.PayloadEncoding, "trace_context": textMap(attempt.TraceContext), "cancel_requested": attempt.CancelRequested(),
	}
}
