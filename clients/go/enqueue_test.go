package job_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"layeron.dev/job"
)

func TestARunIsMadeAsItWasAskedFor(t *testing.T) {
	client, namespace := newClient(t, "work")
	due := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	policy := job.RetryPolicy{
		Attempts: 7, Backoff: job.Delays{time.Second, 2 * time.Second}, Jitter: new(0.0), MaxElapsed: time.Hour, NonRetryable: []string{"Bad"},
	}
	made := enqueue(t, client, "work", map[string]any{"html": "<&>", "n": 9007199254740991},
		job.WithRunAt(due), job.WithStartBy(due.Add(time.Hour)), job.WithIdempotencyKey("key"),
		job.WithIdempotencyWindow(job.WindowWhileActive), job.WithRetry(policy), job.WithAttemptTimeout(90*time.Second),
		job.WithLabels(map[string]string{"customer": "7"}), job.WithPriority(job.PriorityHigh), job.WithName("a name"),
		job.WithPayloadEncoding("sealed"))
	if !made.Created || made.Status != job.StatusScheduled {
		t.Errorf("created %v as %q", made.Created, made.Status)
	}
	run := details(t, client, made.ID).Run
	if got, want := run.Payload.String(), `{"html":"<&>","n":9007199254740991}`; got != want {
		t.Errorf("payload %s, not %s", got, want)
	}
	if !run.DueAt.Equal(due) || !run.StartBy.Equal(due.Add(time.Hour)) || run.Timeout != 90*time.Second {
		t.Errorf("due %v, start by %v, timeout %v", run.DueAt, run.StartBy, run.Timeout)
	}
	if run.Namespace != namespace || run.IdempotencyKey != "key" || run.IdempotencyWindow != job.WindowWhileActive ||
		run.Priority != job.PriorityHigh || run.Name != "a name" || run.PayloadEncoding != "sealed" || run.Labels["customer"] != "7" {
		t.Errorf("not as asked: %#v", run)
	}
	if got, want := fmt.Sprintf("%+v", run.Retry.Backoff), fmt.Sprintf("%+v", policy.Backoff); got != want || run.Retry.Attempts != 7 ||
		*run.Retry.Jitter != 0 || run.Retry.MaxElapsed != time.Hour || !slices.Equal(run.Retry.NonRetryable, []string{"Bad"}) {
		t.Errorf("retry policy %+v with %s", run.Retry, got)
	}
}

func TestTheSameKeyAndRequestAnswersTheFirstRunAndAnotherIsRefused(t *testing.T) {
	client, _ := newClient(t, "work")
	first := enqueue(t, client, "work", 1, job.WithIdempotencyKey("key"))
	second := enqueue(t, client, "work", 1, job.WithIdempotencyKey("key"))
	if second.Created || second.ID != first.ID {
		t.Errorf("%s was made again as %s, created %v", first.ID, second.ID, second.Created)
	}
	_, err := client.Enqueue(t.Context(), "work", 2, job.WithIdempotencyKey("key"))
	if told, is := errors.AsType[*job.Error](err); !is || !errors.Is(err, job.ErrIdempotencyKeyReused) || told.RunID() != first.ID {
		t.Errorf("%v, of kind %T", err, err)
	}
}

func TestARunIDOfTheCallerMakesARepeatSafe(t *testing.T) {
	client, _ := newClient(t, "work")
	id := job.NewRunID()
	if made := enqueue(t, client, "work", 1, job.WithRunID(id)); made.ID != id || !made.Created {
		t.Errorf("%s, created %v", made.ID, made.Created)
	}
	if made := enqueue(t, client, "work", 1, job.WithRunID(id)); made.ID != id || made.Created {
		t.Errorf("%s, created %v", made.ID, made.Created)
	}
	if _, err := client.Enqueue(t.Context(), "work", 2, job.WithRunID(id)); !errors.Is(err, job.ErrRunIDReused) {
		t.Error(err)
	}
}

func TestAnErrorSaysItsKindReasonAndFields(t *testing.T) {
	client, _ := newClient(t, "work")
	_, err := client.Enqueue(t.Context(), "nobody", nil)
	told, is := errors.AsType[*job.Error](err)
	if !is || !errors.Is(err, job.ErrTaskNotRegistered) || told.Reason != "TASK_NOT_REGISTERED" || told.Code != codes.FailedPrecondition ||
		told.Metadata["task"] != "nobody" || status.Code(err) != codes.FailedPrecondition {
		t.Errorf("%#v", err)
	}
	labels := map[string]string{"a": strings.Repeat("x", 300)}
	_, err = client.Enqueue(t.Context(), "work", math.MaxInt64, job.WithLabels(labels), job.WithDelay(-time.Second))
	told, is = errors.AsType[*job.Error](err)
	if !is || !errors.Is(err, job.ErrInvalidRequest) {
		t.Fatalf("%#v", err)
	}
	fields := map[string]bool{}
	for _, violation := range told.Violations {
		fields[strings.SplitN(violation.Field, "[", 2)[0]] = true
	}
	for _, field := range []string{"payload_json", "delay"} {
		if !fields[field] {
			t.Errorf("%s is not among %+v", field, told.Violations)
		}
	}
}

func TestWhatCannotBeSentIsRefusedByFieldWithoutAsking(t *testing.T) {
	client := connect(t, "127.0.0.1:1") // where nobody answers
	for field, call := range map[string]func() error{
		"payload":         func() error { return enqueueError(client, math.NaN()) },
		"run_id":          func() error { return enqueueError(client, nil, job.WithRunID("")) },
		"idempotency_key": func() error { return enqueueError(client, nil, job.WithIdempotencyKey("")) },
		"priority":        func() error { return enqueueError(client, nil, job.WithPriority("urgent")) },
		"run_at":          func() error { return enqueueError(client, nil, job.WithRunAt(time.Time{})) },
		"retry.attempts":  func() error { return enqueueError(client, nil, job.WithRetry(job.RetryPolicy{Attempts: 1001})) },
		"retry.jitter":    func() error { return enqueueError(client, nil, job.WithRetry(job.RetryPolicy{Jitter: new(1.5)})) },
		"retry.backoff":   func() error { return enqueueError(client, nil, job.WithRetry(job.RetryPolicy{Backoff: job.Delays{}})) },
		"items[1].payload": func() error {
			_, err := client.EnqueueBatch(t.Context(), slices.Values([]job.Item{{Task: "work"}, {Task: "work", Payload: func() {}}}))
			return err
		},
		"batch_size": func() error {
			_, err := client.EnqueueBatch(t.Context(), slices.Values([]job.Item{}), job.WithBatchSize(1001))
			return err
		},
		"status": func() error {
			_, err := client.Runs.ListPage(t.Context(), job.Filter{Statuses: []job.RunStatus{"done"}})
			return err
		},
		"new_run_id": func() error {
			_, err := client.Runs.Replay(t.Context(), "run", job.WithNewRunID(""))
			return err
		},
	} {
		err := call()
		if refused, is := errors.AsType[*job.FieldError](err); !is || refused.Field != field || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func enqueueError(client *job.Client, payload any, options ...job.EnqueueOption) error {
	_, err := client.Enqueue(context.Background(), "work", payload, options...)
	return err
}

func TestTextThatIsNotUTF8IsRefusedByField(t *testing.T) {
	client, _ := newClient(t, "work")
	for field, err := range map[string]error{
		"name":   enqueueError(client, nil, job.WithName("\xff")),
		"labels": enqueueError(client, nil, job.WithLabels(map[string]string{"a": "\xff"})),
	} {
		if refused, is := errors.AsType[*job.FieldError](err); !is || refused.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	_, err := client.EnqueueBatch(t.Context(), slices.Values([]job.Item{{Task: "work"}, {Task: "\xff"}}), job.WithBatchSize(1))
	if refused, is := errors.AsType[*job.FieldError](err); !is || refused.Field != "items[1].task" {
		t.Error(err)
	}
}

func TestABatchAnswersEveryItemInOrder(t *testing.T) {
	client, _ := newClient(t, "work")
	ids := make([]string, 25)
	for i := range ids {
		ids[i] = job.NewRunID()
	}
	items := func(yield func(job.Item) bool) {
		for i, id := range ids {
			if !yield(job.Item{Task: "work", Payload: i, Options: []job.EnqueueOption{job.WithRunID(id)}}) {
				return
			}
		}
	}
	var told []int
	results, err := client.EnqueueBatch(t.Context(), items, job.WithBatchSize(4), job.WithBatchConcurrency(3),
		job.WithProgress(func(done int) { told = append(told, done) }))
	if err != nil {
		t.Fatal(err)
	}
	for i, result := range results {
		if result.RunID != ids[i] || !result.Created || result.Status != job.StatusQueued {
			t.Errorf("item %d: %+v", i, result)
		}
	}
	if len(results) != 25 || len(told) != 7 || told[6] != 25 || !slices.IsSorted(told) {
		t.Errorf("%d results, progress %v", len(results), told)
	}
	if payload := details(t, client, ids[24]).Run.Payload.String(); payload != "24" {
		t.Errorf("the last payload is %s", payload)
	}
}

func TestABatchIsCutByBytesToo(t *testing.T) {
	client, _ := newClient(t, "work")
	item := job.Item{Task: "work", Payload: strings.Repeat("x", 200<<10)}
	results, err := client.EnqueueBatch(t.Context(), slices.Values(slices.Repeat([]job.Item{item}, 45)))
	if err != nil || len(results) != 45 {
		t.Errorf("%d results of 9 MB, %v", len(results), err)
	}
}

func TestABatchThatFailsNamesTheItemInTheWholeAndSaysWhatWasMade(t *testing.T) {
	client, _ := newClient(t, "work")
	items := slices.Repeat([]job.Item{{Task: "work"}}, 10)
	items[7].Options = []job.EnqueueOption{job.WithDelay(-time.Second)}
	results, err := client.EnqueueBatch(t.Context(), slices.Values(items), job.WithBatchSize(3), job.WithBatchConcurrency(1))
	batch, is := errors.AsType[*job.BatchError](err)
	if !is || results != nil {
		t.Fatalf("%v, %v", results, err)
	}
	made := slices.Sorted(maps.Keys(batch.Enqueued))
	if !slices.Equal(made[:6], []int{0, 1, 2, 3, 4, 5}) || slices.Contains(made, 7) {
		t.Errorf("made %v", made)
	}
	told, _ := errors.AsType[*job.Error](err)
	if !errors.Is(err, job.ErrInvalidRequest) || len(told.Violations) != 1 || told.Violations[0].Field != "items[7].delay" {
		t.Errorf("%#v", told)
	}
}

func TestARunCarriesTheTraceOfItsCaller(t *testing.T) {
	client, _ := newClient(t, "work")
	ctx := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1, 2, 3}, SpanID: trace.SpanID{4, 5, 6}, TraceFlags: trace.FlagsSampled,
	}))
	made, err := client.Enqueue(ctx, "work", nil)
	if err != nil {
		t.Fatal(err)
	}
	run := details(t, client, made.ID).Run
	if got, want := run.TraceContext["traceparent"], "00-01020300000000000000000000000000-0405060000000000-01"; got != want {
		t.Errorf("traceparent %q, not %q", got, want)
	}
	own := map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
	if run := details(t, client, enqueue(t, client, "work", nil, job.WithTraceContext(own)).ID).Run; !maps.Equal(run.TraceContext, own) {
		t.Errorf("trace context %v, not %v", run.TraceContext, own)
	}
}

func TestRunIDsAreInOrderAndOfTheContractsForm(t *testing.T) {
	ids := make([]string, 1000)
	for i := range ids {
		ids[i] = job.NewRunID()
		time.Sleep(time.Microsecond)
	}
	if !slices.IsSorted(ids) || len(slices.Compact(ids)) != 1000 {
		t.Error("not in order, or not unique")
	}
	if form := regexp.MustCompile(`^run_[0-7][0-9a-hjkmnp-tv-z]{25}$`); !form.MatchString(ids[0]) {
		t.Error(ids[0])
	}
}

func TestARunIsPrintedAndLoggedWithoutItsPayload(t *testing.T) {
	run := job.Run{ID: "run_1", Task: "work", Status: job.StatusQueued, Payload: job.JSON(`"secret"`), Result: job.JSON(`"secret"`)}
	var log strings.Builder
	fmt.Fprintf(&log, "%v %+v %s ", run, job.Enqueued{Run: run}, run)
	fmt.Fprint(&log, run.LogValue())
	if strings.Contains(log.String(), "secret") || !strings.Contains(log.String(), "run_1 work queued") {
		t.Error(log.String())
	}
}

func TestJSONIsKeptAsTextAndDecodedWhenAskedFor(t *testing.T) {
	var run struct {
		Result job.JSON `json:"result"`
	}
	if err := json.Unmarshal([]byte(`{"result": {"n": 1.50}}`), &run); err != nil || run.Result.String() != `{"n": 1.50}` {
		t.Fatal(run.Result, err)
	}
	var value struct{ N float64 }
	if err := run.Result.Decode(&value); err != nil || value.N != 1.5 {
		t.Error(value, err)
	}
	text, err := json.Marshal(map[string]job.JSON{"a": run.Result, "b": nil})
	if err != nil || string(text) != `{"a":{"n":1.50},"b":null}` {
		t.Error(string(text), err)
	}
	pointer := &value
	if err := (job.JSON)(nil).Decode(&pointer); err != nil || pointer != nil {
		t.Error("no text is null", err)
	}
}
