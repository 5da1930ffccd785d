package job

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"strconv"
	"sync"

	"google.golang.org/protobuf/proto"

	jobv1 "layeron.dev/job/gen/layeron/job/v1"
)

const (
	batchSizeMax   = 1_000
	batchBytesMax  = 3_500 << 10 // the server takes 4 MiB
	itemFrameBytes = 5           // what each item adds to its own size, at most
)

var placeInBatch = regexp.MustCompile(`\bitems\[(\d+)\]`)

// Item is one run to be made by EnqueueBatch; the fields are the arguments of Enqueue.
type Item struct {
	Task    string
	Payload any
	Options []EnqueueOption
}

// BatchOption is something about one batch.
type BatchOption func(*batch) error

// WithBatchSize says how many items go into one call, 1 to 1,000. By default 500.
func WithBatchSize(size int) BatchOption {
	return func(b *batch) error {
		if size < 1 || size > batchSizeMax {
			return &FieldError{"batch_size", fmt.Sprintf("must be 1 to %d, not %d", batchSizeMax, size)}
		}
		b.size = size
		return nil
	}
}

// WithBatchConcurrency says how many calls are under way at once. By default 2.
func WithBatchConcurrency(calls int) BatchOption {
	return func(b *batch) error {
		if calls < 1 {
			return &FieldError{"concurrency", fmt.Sprintf("must be at least 1, not %d", calls)}
		}
		b.concurrency = calls
		return nil
	}
}

// WithProgress calls a function after each call to the server with how many items are done. It is called by one
// goroutine at a time.
func WithProgress(tell func(done int)) BatchOption {
	return func(b *batch) error {
		b.tell = tell
		return nil
	}
}

// EnqueueBatch asks for many runs, and returns one result per item, in order.
//
// Items are read as they are sent, so there may be more of them than fit into memory. A call to the server has at most
// the batch's size of items and stays below 4 MiB; it is made as a whole or not at all, within the client's timeout,
// and an overloaded server is waited for.
//
// An error ends the batch once what is under way has ended: a [*BatchError], with the results so far. Give the items
// run ids or idempotency keys to repeat a batch safely.
func (c *Client) EnqueueBatch(ctx context.Context, items iter.Seq[Item], options ...BatchOption) ([]BatchResult, error) {
	b := &batch{calls: c.calls, size: 500, concurrency: 2, tell: func(int) {}, made: map[int][]BatchResult{}}
	for _, option := range options {
		if err := option(b); err != nil {
			return nil, err
		}
	}
	if err := b.send(ctx, items); err != nil {
		return nil, &BatchError{b.byPlace(), err}
	}
	var results []BatchResult
	for first := 0; first < b.done; first = len(results) {
		results = append(results, b.made[first]...)
	}
	return results, nil
}

// chunk is what goes into one call.
type chunk struct {
	first   int
	request *jobv1.EnqueueBatchRequest
	chosen  []string // the run ids chosen here, "" for those of the caller
	bytes   int
}

// batch is the calls under way, and the results of those that were made.
type batch struct {
	calls       *calls
	size        int
	concurrency int
	tell        func(int)

	mu   sync.Mutex
	made map[int][]BatchResult // by the place of a chunk's first item
	done int
	err  error
}

func (b *batch) send(ctx context.Context, items iter.Seq[Item]) error {
	var underWay sync.WaitGroup
	room := make(chan struct{}, b.concurrency)
	for chunk, err := range b.chunks(ctx, items) {
		if err != nil {
			b.fail(err)
			break
		}
		room <- struct{}{}
		if b.failed() {
			break
		}
		underWay.Go(func() {
			defer func() { <-room }()
			b.make(ctx, chunk)
		})
	}
	underWay.Wait()
	return b.err
}

// chunks puts items together, when they are asked for. It ends with the *FieldError of an item that cannot be sent.
func (b *batch) chunks(ctx context.Context, items iter.Seq[Item]) iter.Seq2[*chunk, error] {
	return func(yield func(*chunk, error) bool) {
		next := b.newChunk(0)
		place := 0
		for item := range items {
			request, chosen, err := enqueueRequest(ctx, item)
			if err != nil {
				yield(nil, inItem(err, place))
				return
			}
			bytes := proto.Size(request) + itemFrameBytes
			if len(next.chosen) > 0 && (len(next.chosen) == b.size || next.bytes+bytes > batchBytesMax) {
				if !yield(next, nil) {
					return
				}
				next = b.newChunk(place)
			}
			next.request.Items = append(next.request.Items, request)
			next.chosen = append(next.chosen, chosen)
			next.bytes += bytes
			place++
		}
		if len(next.chosen) > 0 {
			yield(next, nil)
		}
	}
}

func (b *batch) newChunk(first int) *chunk {
	return &chunk{first: first, request: &jobv1.EnqueueBatchRequest{Namespace: b.calls.namespace}}
}

// make makes the runs of a chunk.
func (b *batch) make(ctx context.Context, c *chunk) {
	answer, err := unary(ctx, b.calls, onJobs(jobv1.JobServiceClient.EnqueueBatch), c.request, true)
	if err != nil {
		b.fail(inTheWhole(err, c.first))
		return
	}
	results := make([]BatchResult, len(answer.GetResults()))
	for i, one := range answer.GetResults() {
		// A run of an id that was chosen here was made by this call, if in an earlier try.
		created := one.GetCreated() || one.GetRunId() == c.chosen[i]
		results[i] = BatchResult{one.GetRunId(), RunStatus(runStatuses.word(int32(one.GetStatus()))), created, one.GetPruned()}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.made[c.first] = results
	b.done += len(results)
	b.tell(b.done)
}

func (b *batch) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
}

func (b *batch) failed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err != nil
}

func (b *batch) byPlace() map[int]BatchResult {
	results := make(map[int]BatchResult, b.done)
	for first, made := range b.made {
		for i, result := range made {
			results[first+i] = result
		}
	}
	return results
}

func inItem(err error, place int) error {
	if refused, is := errors.AsType[*FieldError](err); is {
		return &FieldError{fmt.Sprintf("items[%d].%s", place, refused.Field), refused.Problem}
	}
	return err
}

// inTheWhole names places in the whole batch, where the server knows those of one chunk.
func inTheWhole(err error, first int) error {
	shifted := func(text string) string {
		return placeInBatch.ReplaceAllStringFunc(text, func(found string) string {
			place, _ := strconv.Atoi(found[len("items[") : len(found)-1])
			return fmt.Sprintf("items[%d]", first+place)
		})
	}
	if told, is := errors.AsType[*Error](err); is {
		told.Message = shifted(told.Message)
		for i, violation := range told.Violations {
			told.Violations[i] = Violation{shifted(violation.Field), shifted(violation.Description)}
		}
	}
	if refused, is := errors.AsType[*FieldError](err); is {
		refused.Field = shifted(refused.Field)
	}
	return err
}
