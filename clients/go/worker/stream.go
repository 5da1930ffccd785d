package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	jobv1 "layeron.dev/job/gen/layeron/job/v1"
)

const (
	registerTimeout = 10 * time.Second
	firstWait       = 100 * time.Millisecond
	longestWait     = 5 * time.Second
)

// backoff has growing waits with full jitter, 0.1 to 5 s.
type backoff struct {
	failures int
}

// wait waits for the next of them; false if the context has ended before.
func (b *backoff) wait(ctx context.Context) bool {
	ceiling := min(longestWait, firstWait<<b.failures)
	b.failures = min(b.failures+1, 16)
	return sleep(ctx, firstWait/2+rand.N(ceiling-firstWait/2))
}

// reset begins from the start again.
func (b *backoff) reset() { b.failures = 0 }

// sleep returns false if the context has ended before.
func sleep(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// addresses are those of the servers, taken in turn.
type addresses struct {
	all  []string
	dial []grpc.DialOption
	at   int
}

func (a *addresses) current() string { return a.all[a.at] }

func (a *addresses) advance() { a.at = (a.at + 1) % len(a.all) }

// use makes an address the current one.
func (a *addresses) use(address string) {
	for a.current() != address {
		a.advance()
	}
}

func (a *addresses) others() []string {
	var others []string
	for _, address := range a.all {
		if address != a.current() {
			others = append(others, address)
		}
	}
	return others
}

// stream is one open Work call on a connection of its own, so that a new one really dials anew.
type stream struct {
	address string
	conn    *grpc.ClientConn
	call    grpc.BidiStreamingClient[jobv1.WorkRequest, jobv1.WorkResponse]
	cancel  context.CancelFunc
	ended   chan struct{}
}

func (a *addresses) open(ctx context.Context, address string) (*stream, error) {
	conn, err := grpc.NewClient(address, a.dial...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	call, err := jobv1.NewWorkerServiceClient(conn).Work(ctx)
	if err != nil {
		cancel()
		return nil, errors.Join(err, conn.Close())
	}
	return &stream{address, conn, call, cancel, make(chan struct{})}, nil
}

// close ends the stream and its connection.
func (s *stream) close() {
	s.cancel()
	_ = s.conn.Close() // it is of no use any more, whatever it says
	close(s.ended)
}

// register tells a server of the tasks, once at process start. It waits for a server that is away; any other refusal is
// returned.
func (w *Worker) register(ctx context.Context) error {
	request := &jobv1.RegisterTasksRequest{Namespace: w.namespace}
	for _, name := range w.taskNames {
		request.Tasks = append(request.Tasks, w.tasks[name].definition)
	}
	var backoff backoff
	for {
		address := w.servers.current()
		err := w.registerAt(ctx, address, request)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		switch status.Code(err) {
		case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted:
		default:
			return fmt.Errorf("the server refused to register the tasks %s: %w", strings.Join(w.taskNames, ", "), err)
		}
		w.logger.Warn("no server to register tasks with", slog.String("address", address), slog.Any("error", err))
		w.servers.advance()
		if !backoff.wait(ctx) {
			return nil
		}
	}
}

func (w *Worker) registerAt(ctx context.Context, address string, request *jobv1.RegisterTasksRequest) error {
	conn, err := grpc.NewClient(address, w.servers.dial...)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	_, err = jobv1.NewTaskServiceClient(conn).RegisterTasks(ctx, request)
	return err
}
