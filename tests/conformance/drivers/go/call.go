package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"layeron.dev/job"
)

// request has the fields of every op.
type request struct {
	ID        any             `json:"id"`
	Op        string          `json:"op"`
	Namespace string          `json:"namespace"`
	Task      string          `json:"task"`
	RunID     *string         `json:"run_id"`
	Payload   json.RawMessage `json:"payload"`
	Options   options         `json:"options"`
	Items     []struct {
		Task    string          `json:"task"`
		Payload json.RawMessage `json:"payload"`
		Options options         `json:"options"`
	} `json:"items"`
	BatchSize   int               `json:"batch_size"`
	Filter      filter            `json:"filter"`
	PageSize    *int              `json:"page_size"`
	Limit       int               `json:"limit"`
	View        string            `json:"view"`
	Reason      string            `json:"reason"`
	TimeoutMS   *int64            `json:"timeout_ms"`
	Queue       string            `json:"queue"`
	Labels      map[string]string `json:"labels"`
	ResumeToken string            `json:"resume_token"`
	Count       int               `json:"count"`
}

type filter struct {
	Task           string            `json:"task"`
	Status         json.RawMessage   `json:"status"` // a word or several
	Labels         map[string]string `json:"labels"`
	IdempotencyKey string            `json:"idempotency_key"`
	Queue          string            `json:"queue"`
	CreatedFrom    time.Time         `json:"created_from"`
	CreatedBefore  time.Time         `json:"created_before"`
	OriginID       string            `json:"origin_id"`
}

var ops = map[string]func(context.Context, *job.Client, request) (object, error){
	"enqueue": enqueue, "enqueue_batch": enqueueBatch, "get": get, "list": list, "cancel": cancel, "replay": replay, "wait": wait,
	"watch": watch, "tasks": tasks, "pause": pause, "resume": resume,
}

// call answers requests until there are no more.
func call(lines *bufio.Scanner) error {
	clients := map[string]*job.Client{}
	defer func() {
		for _, client := range clients {
			_ = client.Close() // the process ends
		}
	}()
	for lines.Scan() {
		var asked request
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			return err
		}
		if asked.Namespace == "" {
			asked.Namespace = "default"
		}
		client := clients[asked.Namespace]
		if client == nil {
			var err error
			if client, err = job.NewClient("", job.WithNamespace(asked.Namespace)); err != nil {
				return err
			}
			clients[asked.Namespace] = client
		}
		if ops[asked.Op] == nil {
			return fmt.Errorf("no op %q", asked.Op)
		}
		if answer, err := ops[asked.Op](context.Background(), client, asked); err != nil {
			say(object{"id": asked.ID, "error": errorObject(err)})
		} else {
			say(object{"id": asked.ID, "ok": answer})
		}
	}
	return lines.Err()
}

func enqueue(ctx context.Context, client *job.Client, asked request) (object, error) {
	options, err := asked.Options.enqueue()
	if err != nil {
		return nil, err
	}
	made, err := client.Enqueue(ctx, asked.Task, payloadOf(asked.Payload), options...)
	if err != nil {
		return nil, err
	}
	return object{"run_id": made.ID, "created": made.Created, "status": made.Status}, nil
}

func enqueueBatch(ctx context.Context, client *job.Client, asked request) (object, error) {
	var items []job.Item
	for place, one := range asked.Items {
		options, err := one.Options.enqueue()
		if err != nil {
			return nil, fmt.Errorf("items[%d]: %w", place, err)
		}
		items = append(items, job.Item{Task: one.Task, Payload: payloadOf(one.Payload), Options: options})
	}
	var options []job.BatchOption
	if asked.BatchSize != 0 {
		options = append(options, job.WithBatchSize(asked.BatchSize))
	}
	made, err := client.EnqueueBatch(ctx, slices.Values(items), options...)
	if err != nil {
		return nil, err
	}
	results := []object{}
	for _, one := range made {
		results = append(results, object{"run_id": one.RunID, "created": one.Created, "status": one.Status})
	}
	return object{"results": results}, nil
}

func get(ctx context.Context, client *job.Client, asked request) (object, error) {
	found, err := client.Runs.Get(ctx, runID(asked))
	if err != nil {
		return nil, err
	}
	return object{
		"run":         runObject(found.Run),
		"attempts":    each(found.Attempts, attemptObject),
		"transitions": each(found.Transitions, transitionObject),
	}, nil
}

func list(ctx context.Context, client *job.Client, asked request) (object, error) {
	wanted, err := asked.Filter.job()
	if err != nil {
		return nil, err
	}
	var options []job.ListOption
	if asked.PageSize != nil {
		options = append(options, job.WithPageSize(*asked.PageSize))
	}
	if asked.View == "full" {
		options = append(options, job.WithView(job.FullView))
	}
	runs := []object{}
	for run, err := range client.Runs.List(ctx, wanted, options...) {
		if err != nil {
			return nil, err
		}
		if runs = append(runs, runObject(run)); len(runs) == asked.Limit {
			break
		}
	}
	return object{"runs": runs}, nil
}

func (f filter) job() (job.Filter, error) {
	statuses, err := wordsOf(f.Status)
	return job.Filter{
		Task: f.Task, Statuses: statuses, Labels: f.Labels, IdempotencyKey: f.IdempotencyKey, Queue: f.Queue, CreatedFrom: f.CreatedFrom,
		CreatedBefore: f.CreatedBefore, OriginID: f.OriginID,
	}, err
}

// wordsOf reads one status, or several.
func wordsOf(text json.RawMessage) ([]job.RunStatus, error) {
	if len(text) == 0 {
		return nil, nil
	}
	if text[0] != '[' {
		text = slices.Concat([]byte("["), text, []byte("]"))
	}
	var words []job.RunStatus
	return words, json.Unmarshal(text, &words)
}

func cancel(ctx context.Context, client *job.Client, asked request) (object, error) {
	run, err := client.Runs.Cancel(ctx, runID(asked), asked.Reason)
	if err != nil {
		return nil, err
	}
	return object{"run": runObject(run)}, nil
}

func replay(ctx context.Context, client *job.Client, asked request) (object, error) {
	options, err := asked.Options.replay()
	if err != nil {
		return nil, err
	}
	made, err := client.Runs.Replay(ctx, runID(asked), append(options, job.WithReason(asked.Reason))...)
	if err != nil {
		return nil, err
	}
	return object{"run_id": made.ID, "created": made.Created, "status": made.Status}, nil
}

func wait(ctx context.Context, client *job.Client, asked request) (object, error) {
	ctx, end := within(ctx, asked.TimeoutMS)
	defer end()
	run, err := client.Runs.Wait(ctx, runID(asked))
	if err != nil {
		return nil, err
	}
	return object{"run": runObject(run)}, nil
}

// watch answers what was seen when the time is over.
func watch(ctx context.Context, client *job.Client, asked request) (object, error) {
	ctx, end := within(ctx, asked.TimeoutMS)
	defer end()
	var options []job.WatchOption
	if asked.ResumeToken != "" {
		options = append(options, job.WithResumeToken(asked.ResumeToken))
	}
	watched := client.Runs.WatchMatching(ctx, job.Filter{Task: asked.Task, Queue: asked.Queue, Labels: asked.Labels}, options...)
	if asked.RunID != nil {
		watched = client.Runs.Watch(ctx, *asked.RunID, options...)
	}
	changes := []object{}
	for change, err := range watched {
		if errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if err != nil {
			return nil, err
		}
		if changes = append(changes, changeObject(change)); len(changes) == asked.Count {
			break
		}
	}
	return object{"changes": changes}, nil
}

func tasks(ctx context.Context, client *job.Client, _ request) (object, error) {
	found := []object{}
	for task, err := range client.Tasks.List(ctx) {
		if err != nil {
			return nil, err
		}
		found = append(found, taskObject(task))
	}
	return object{"tasks": found}, nil
}

func pause(ctx context.Context, client *job.Client, asked request) (object, error) {
	task, err := client.Tasks.Pause(ctx, asked.Task, asked.Reason)
	if err != nil {
		return nil, err
	}
	return object{"task": taskObject(task)}, nil
}

func resume(ctx context.Context, client *job.Client, asked request) (object, error) {
	task, err := client.Tasks.Resume(ctx, asked.Task)
	if err != nil {
		return nil, err
	}
	return object{"task": taskObject(task)}, nil
}

func within(ctx context.Context, limitMS *int64) (context.Context, context.CancelFunc) {
	if limitMS == nil {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Duration(*limitMS)*time.Millisecond)
}

func runID(asked request) string {
	if asked.RunID == nil {
		return ""
	}
	return *asked.RunID
}

// payloadOf: null is no payload.
func payloadOf(text json.RawMessage) any {
	if len(text) == 0 || string(text) == "null" {
		return nil
	}
	return text
}
