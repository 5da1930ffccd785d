package main

import (
	"encoding/json"
	"fmt"
	"time"

	"layeron.dev/job"
)

// options of an enqueue or replay.
type options struct {
	RunID             *string           `json:"run_id"`
	DelayMS           *int64            `json:"delay_ms"`
	RunAt             *time.Time        `json:"run_at"`
	StartBy           *time.Time        `json:"start_by"`
	IdempotencyKey    *string           `json:"idempotency_key"`
	IdempotencyWindow *string           `json:"idempotency_window"`
	IdempotencyTTLMS  *int64            `json:"idempotency_ttl_ms"`
	Retry             *retry            `json:"retry"`
	TimeoutMS         *int64            `json:"timeout_ms"`
	Labels            map[string]string `json:"labels"`
	Priority          *string           `json:"priority"`
	Name              string            `json:"name"`
	PayloadEncoding   string            `json:"payload_encoding"`
	TraceContext      map[string]string `json:"trace_context"`
	NewRunID          *string           `json:"new_run_id"`
	Payload           json.RawMessage   `json:"payload"`
}

type retry struct {
	Attempts     int       `json:"attempts"`
	Backoff      *backoff  `json:"backoff"`
	Jitter       *float64  `json:"jitter"`
	MaxElapsedMS *int64    `json:"max_elapsed_ms"`
	NonRetryable *[]string `json:"non_retryable"`
}

type backoff struct {
	Type       string   `json:"type"`
	DelayMS    *int64   `json:"delay_ms,omitempty"`
	InitialMS  *int64   `json:"initial_ms,omitempty"`
	MaximumMS  *int64   `json:"maximum_ms,omitempty"`
	Multiplier *float64 `json:"multiplier,omitempty"`
	DelaysMS   []int64  `json:"delays_ms,omitempty"`
}

func (o options) enqueue() ([]job.EnqueueOption, error) {
	var given []job.EnqueueOption
	for _, start := range o.start() {
		given = append(given, start)
	}
	given = optional(given, o.RunID, job.WithRunID)
	given = optional(given, o.StartBy, job.WithStartBy)
	given = optional(given, o.IdempotencyKey, job.WithIdempotencyKey)
	given = optional(given, (*job.IdempotencyWindow)(o.IdempotencyWindow), job.WithIdempotencyWindow)
	given = optional(given, length(o.IdempotencyTTLMS), job.WithIdempotencyTTL)
	given = optional(given, length(o.TimeoutMS), job.WithAttemptTimeout)
	given = optional(given, (*job.Priority)(o.Priority), job.WithPriority)
	given = append(given, job.WithName(o.Name), job.WithPayloadEncoding(o.PayloadEncoding))
	if o.Labels != nil {
		given = append(given, job.WithLabels(o.Labels))
	}
	if o.TraceContext != nil {
		given = append(given, job.WithTraceContext(o.TraceContext))
	}
	if o.Retry != nil {
		policy, err := o.Retry.policy()
		if err != nil {
			return nil, err
		}
		given = append(given, job.WithRetry(policy))
	}
	return given, nil
}

func (o options) replay() ([]job.ReplayOption, error) {
	var given []job.ReplayOption
	for _, start := range o.start() {
		given = append(given, start)
	}
	if len(o.Payload) > 0 {
		given = append(given, job.WithPayload(o.Payload))
	}
	return optional(given, o.NewRunID, job.WithNewRunID), nil
}

func (o options) start() []job.StartOption {
	var given []job.StartOption
	given = optional(given, length(o.DelayMS), job.WithDelay)
	return optional(given, o.RunAt, job.WithRunAt)
}

// optional adds an option if its value is there.
func optional[Value, Option any](given []Option, value *Value, option func(Value) Option) []Option {
	if value == nil {
		return given
	}
	return append(given, option(*value))
}

func length(ms *int64) *time.Duration {
	if ms == nil {
		return nil
	}
	return new(time.Duration(*ms) * time.Millisecond)
}

func (r retry) policy() (job.RetryPolicy, error) {
	policy := job.RetryPolicy{Attempts: r.Attempts, Jitter: r.Jitter}
	if r.MaxElapsedMS != nil {
		policy.MaxElapsed = *length(r.MaxElapsedMS)
	}
	if r.NonRetryable != nil {
		policy.NonRetryable = *r.NonRetryable
	}
	if r.Backoff == nil {
		return policy, nil
	}
	switch r.Backoff.Type {
	case "fixed":
		policy.Backoff = job.Fixed(orZero(length(r.Backoff.DelayMS)))
	case "exponential":
		policy.Backoff = job.Exponential{
			Initial: orZero(length(r.Backoff.InitialMS)), Maximum: orZero(length(r.Backoff.MaximumMS)), Multiplier: orZero(r.Backoff.Multiplier),
		}
	case "custom":
		policy.Backoff = job.Delays(each(r.Backoff.DelaysMS, func(ms int64) time.Duration { return *length(&ms) }))
	default:
		return policy, fmt.Errorf("no backoff of type %q", r.Backoff.Type)
	}
	return policy, nil
}

func retryObject(policy job.RetryPolicy) retry {
	told := retry{Attempts: policy.Attempts, Jitter: policy.Jitter, NonRetryable: &policy.NonRetryable}
	if policy.NonRetryable == nil {
		told.NonRetryable = &[]string{}
	}
	if policy.MaxElapsed != 0 {
		told.MaxElapsedMS = new(policy.MaxElapsed.Milliseconds())
	}
	switch waits := policy.Backoff.(type) {
	case job.Fixed:
		told.Backoff = &backoff{Type: "fixed", DelayMS: new(time.Duration(waits).Milliseconds())}
	case job.Exponential:
		told.Backoff = &backoff{
			Type: "exponential", InitialMS: new(waits.Initial.Milliseconds()), MaximumMS: new(waits.Maximum.Milliseconds()), Multiplier: &waits.Multiplier,
		}
	case job.Delays:
		told.Backoff = &backoff{Type: "custom", DelaysMS: each(waits, time.Duration.Milliseconds)}
	}
	return told
}

func orZero[Value any](value *Value) Value {
	if value == nil {
		return *new(Value)
	}
	return *value
}

func each[From, To any](from []From, convert func(From) To) []To {
	converted := make([]To, len(from))
	for i, one := range from {
		converted[i] = convert(one)
	}
	return converted
}
