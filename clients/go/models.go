package job

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"time"
)

// RunStatus is where a run stands: one of the Status… words, "" if it is not said, or "unknown_" and a number if this
// client does not know what a newer server means.
type RunStatus string

// Where a run stands. Succeeded, dead-lettered and canceled are terminal: such a run never changes again.
const (
	StatusQueued       RunStatus = "queued"
	StatusScheduled    RunStatus = "scheduled"
	StatusRunning      RunStatus = "running"
	StatusRetrying     RunStatus = "retrying"
	StatusSucceeded    RunStatus = "succeeded"
	StatusDeadLettered RunStatus = "dead_lettered"
	StatusCanceled     RunStatus = "canceled"
)

// Terminal says whether a run of this status never changes again.
func (s RunStatus) Terminal() bool {
	return s == StatusSucceeded || s == StatusDeadLettered || s == StatusCanceled
}

// AttemptStatus is how an attempt stands or ended.
type AttemptStatus string

// How an attempt stands or ended. Interrupted: its worker shut down or handed it back, which costs no try.
const (
	AttemptRunning     AttemptStatus = "running"
	AttemptSucceeded   AttemptStatus = "succeeded"
	AttemptFailed      AttemptStatus = "failed"
	AttemptTimedOut    AttemptStatus = "timed_out"
	AttemptCanceled    AttemptStatus = "canceled"
	AttemptLost        AttemptStatus = "lost"
	AttemptInterrupted AttemptStatus = "interrupted"
)

// Priority says which of a queue's waiting runs workers take first. Low is never starved.
type Priority string

// The priorities. Normal is the default.
const (
	PriorityHigh   Priority = "high"
	PriorityNormal Priority = "normal"
	PriorityLow    Priority = "low"
)

// IdempotencyWindow is how long an idempotency key stays taken.
type IdempotencyWindow string

// How long a key stays taken: for a time (24 hours, or WithIdempotencyTTL), until the run is terminal, or for good.
const (
	WindowTTL         IdempotencyWindow = "ttl"
	WindowWhileActive IdempotencyWindow = "while_active"
	WindowForever     IdempotencyWindow = "forever"
)

// JSON is a payload, result or progress as UTF-8 JSON text, exactly as it was given. Empty if there is none.
type JSON json.RawMessage

// Decode unmarshals the value into v. Empty text is null.
func (j JSON) Decode(v any) error {
	if len(j) == 0 {
		return json.Unmarshal([]byte("null"), v)
	}
	return json.Unmarshal(j, v)
}

// String returns the text.
func (j JSON) String() string { return string(j) }

// MarshalJSON returns the text; null if it is empty.
func (j JSON) MarshalJSON() ([]byte, error) { return json.RawMessage(j).MarshalJSON() }

// UnmarshalJSON keeps the text.
func (j *JSON) UnmarshalJSON(text []byte) error { return (*json.RawMessage)(j).UnmarshalJSON(text) }

// Run is one requested execution of a task with a payload. A time that is not set is zero.
type Run struct {
	ID        string
	Namespace string
	Task      string
	Queue     string
	Priority  Priority
	// Name is for people.
	Name   string
	Status RunStatus
	// Attempt is the number of the last attempt, 0 before the first.
	Attempt int
	// CountedAttempts is how many attempts the retry policy has counted: failed, timed out, lost.
	CountedAttempts int
	// Payload and Result are empty in the basic view, too.
	Payload         JSON
	PayloadEncoding string
	Result          JSON
	Retry           RetryPolicy
	// Timeout is that of one attempt.
	Timeout           time.Duration
	Labels            map[string]string
	IdempotencyKey    string
	IdempotencyWindow IdempotencyWindow
	// CreatedAt is zero only where the run was pruned and no more than its id is known.
	CreatedAt time.Time
	// DueAt is when it may start next, while it waits.
	DueAt             time.Time
	StartBy           time.Time
	StartedAt         time.Time
	FinishedAt        time.Time
	CancelRequestedAt time.Time
	// HeldReason is why it does not start although it is due: "", "task_paused" or "no_handler".
	HeldReason string
	// Origin is what made it: "enqueue", "replay" (of the run OriginID), "schedule" or "parent".
	Origin   string
	OriginID string
	// ReplayedBy is the newest run that replays this one. Runs.Get only.
	ReplayedBy   string
	TraceContext map[string]string
}

// String returns id, task and status: what may be logged.
func (r Run) String() string { return fmt.Sprintf("%s %s %s", r.ID, r.Task, r.Status) }

// LogValue is what package slog logs of a run: neither payload nor result.
func (r Run) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", r.ID), slog.String("task", r.Task), slog.String("status", string(r.Status)))
}

// Attempt is one try at a run. A time that is not set is zero.
type Attempt struct {
	ID     string
	Number int
	Status AttemptStatus
	// GrantedAt is when a worker was given the attempt; BegunAt when its handler began.
	GrantedAt    time.Time
	BegunAt      time.Time
	EndedAt      time.Time
	ErrorType    string
	ErrorMessage string
	ErrorDetail  string
	// RetryAt is when the next attempt is due, if there is one.
	RetryAt     time.Time
	SessionID   string
	WorkerBuild string
	// Progress is what the handler told last; LogTail the last lines it logged.
	Progress JSON
	LogTail  string
}

// Transition is one recorded change of a run's status.
type Transition struct {
	// Seq counts 0, 1, 2 … within the run.
	Seq int
	// From is empty in the first one.
	From RunStatus
	To   RunStatus
	At   time.Time
	// ReasonCode is written as in the documents: "ATTEMPTS_EXHAUSTED".
	ReasonCode string
	// Note is a person's or the server's words; Actor is "caller", "server" or a worker session.
	Note  string
	Actor string
	// Attempt is the number of the attempt it belongs to; 0 if none.
	Attempt int
}

// RunDetails is a run with its attempts by number and its transitions by Seq.
type RunDetails struct {
	Run         Run
	Attempts    []Attempt
	Transitions []Transition
}

// RunChange is one transition of one run, as a watcher sees it.
type RunChange struct {
	RunID      string
	Task       string
	Transition Transition
	// ResumeToken goes on after this change. The server gives tokens for several changes at once, so some of those may
	// come again; before the first of them it is the token that the watch began with.
	ResumeToken string
}

// Enqueued is the run of an enqueue or replay.
type Enqueued struct {
	Run
	// Created is false if the same request had made the run before: its key was taken, or its run id was used.
	Created bool
	// Pruned: the run of a key that is taken for good is gone; only its id, namespace and task are known.
	Pruned bool
}

// BatchResult is the run of one item of a batch; Created and Pruned as in Enqueued. The status of a pruned run is "".
type BatchResult struct {
	RunID   string
	Status  RunStatus
	Created bool
	Pruned  bool
}

// Page is a page of runs, newest first. NextPageToken is empty after the last page.
type Page struct {
	Runs          []Run
	NextPageToken string
}

// TaskDefinition is a task to register; what is zero is the server's default: 3 attempts, 5 minutes, normal.
type TaskDefinition struct {
	Name string
	// Queue is "default" if it is empty.
	Queue    string
	Retry    *RetryPolicy
	Timeout  time.Duration
	Priority Priority
}

// Task is a registered task.
type Task struct {
	Namespace string
	Name      string
	Queue     string
	Retry     RetryPolicy
	Timeout   time.Duration
	Priority  Priority
	// Revision grows by one with each registration that changed the task.
	Revision int64
	// PausedAt is set while it is paused.
	PausedAt    time.Time
	PauseReason string
	CreatedAt   time.Time
	UpdatedAt   time.Time
}
