package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	jobv1 "layeron.dev/job/gen/layeron/job/v1"
)

const (
	helloItemsMax = 2000
	welcomeLimit  = 10 * time.Second
)

// connect opens a stream to a server, says hello and takes its welcome. Called without the lock.
func (s *session) connect(ctx context.Context, address string) (*stream, error) {
	stream, err := s.worker.servers.open(ctx, address)
	if err != nil {
		return nil, err
	}
	defer s.greeted()
	hellos := s.hellos()
	helloAt := time.Now()
	limit := time.AfterFunc(welcomeLimit, stream.cancel)
	welcome, err := greet(stream, hellos)
	if !limit.Stop() && err != nil {
		err = fmt.Errorf("no welcome within %v: %w", welcomeLimit, err)
	}
	if err != nil {
		stream.close()
		return nil, err
	}
	s.adopt(stream, welcome, helloAt)
	return stream, nil
}

var errNoWelcome = errors.New("the server did not say welcome")

func greet(stream *stream, hellos []*jobv1.Hello) (*jobv1.Welcome, error) {
	for _, hello := range hellos {
		if err := stream.call.Send(&jobv1.WorkRequest{Hello: hello}); err != nil {
			break // what ended the stream is what Recv returns
		}
	}
	response, err := stream.call.Recv()
	if err != nil {
		return nil, err
	}
	if response.GetWelcome() == nil {
		return nil, errNoWelcome
	}
	return response.GetWelcome(), nil
}

// hellos is Hello in as many messages as it takes: who we are, and on resume all that has no final answer. From here
// until greeted no start is sent on a stream that is still in use: its server would grant what this Hello does not name,
// and the new server would take that for given up. Called without the lock.
func (s *session) hellos() (hellos []*jobv1.Hello) {
	s.worker.mu.Lock()
	defer s.worker.mu.Unlock()
	s.greeting = true
	var attempts []*jobv1.OpenAttempt
	for _, x := range s.attempts {
		attempts = append(attempts, &jobv1.OpenAttempt{RunId: x.attempt.RunID, Attempt: int32(x.attempt.Number)})
	}
	var starts []int64
	for _, start := range s.unansweredStarts() {
		starts = append(starts, start.id)
	}
	hello := s.worker.hello()
	hello.SessionId = s.id
	for {
		hello.Attempts, attempts = cut(attempts, helloItemsMax)
		hello.UnansweredStarts, starts = cut(starts, helloItemsMax)
		hello.Last = len(attempts) == 0 && len(starts) == 0
		hellos = append(hellos, hello)
		if hello.Last {
			return hellos
		}
		hello = &jobv1.Hello{}
	}
}

// greeted: there is an answer, or none is waited for any more. Called without the lock.
func (s *session) greeted() {
	s.worker.mu.Lock()
	defer s.worker.mu.Unlock()
	s.greeting = false
	s.lanes.bell.ring()
}

func cut[T any](items []T, size int) (first, rest []T) {
	size = min(size, len(items))
	return items[:size], items[size:]
}

// adopt makes the stream ours: drops what the server no longer counts as ours, sends again what it has not answered.
// Called without the lock.
func (s *session) adopt(stream *stream, welcome *jobv1.Welcome, helloAt time.Time) {
	s.worker.mu.Lock()
	defer s.worker.mu.Unlock()
	if !welcome.GetResumed() {
		if s.id != "" {
			s.worker.logger.Warn("the session has ended; its attempts are canceled", slog.String("session", s.id))
			s.forget()
		}
		s.lastStartID, s.leaseUntil = 0, time.Time{}
	}
	for _, gone := range welcome.GetSuperseded() {
		s.supersede(gone)
	}
	s.id, s.welcomed = welcome.GetSessionId(), true
	s.lease = time.Duration(welcome.GetLeaseMs()) * time.Millisecond
	s.heartbeatEvery = time.Duration(welcome.GetHeartbeatIntervalMs()) * time.Millisecond
	// While a new server was slow to answer, heartbeats to the old one may have kept the lease beyond the hello's.
	s.keepUntil(helloAt)
	s.awaySince, s.awayAnswers = time.Time{}, 0
	s.stream = stream
	var finishes []*execution
	for _, x := range s.attempts {
		x.begunSent = false
		if x.outcome != nil {
			finishes = append(finishes, x)
		}
	}
	s.lanes.restart(s.unansweredStarts(), finishes)
	s.heartbeat(time.Now())
	s.worker.connected(welcome)
	s.worker.logger.Info("connected", slog.String("address", stream.address), slog.String("session", s.id), slog.Int64("epoch", welcome.GetEpoch()))
}

// handOver moves to another server while the present stream stays in use, for good if none is found. Called with the
// lock held.
func (s *session) handOver(addresses []string) {
	if s.leaving || s.handover != nil {
		return
	}
	s.handover = make(chan struct{})
	go s.tryInTurn(slices.Clone(addresses), s.stream)
}

// tryInTurn is the goroutine of a hand-over.
func (s *session) tryInTurn(addresses []string, old *stream) {
	w := s.worker
	var pause backoff
	for _, address := range addresses {
		successor, err := s.connect(s.ctx, address)
		if err == nil {
			w.mu.Lock()
			s.successor = successor
			w.servers.use(address)
			w.mu.Unlock()
			break
		}
		w.logger.Info("cannot move to another server", slog.String("address", address), slog.Any("error", err))
		pause.wait(s.ctx) // what was held back during the try has its turn on the old stream
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	close(s.handover)
	if s.stream == old {
		s.handover = nil // it stays in use, and may be left later
	} else {
		old.cancel() // the reader goes on to the successor
	}
}

// following returns the stream that a hand-over made ready, if there is one. Called without the lock.
func (s *session) following() *stream {
	s.worker.mu.Lock()
	handover := s.handover
	s.worker.mu.Unlock()
	if handover != nil {
		<-handover
	}
	s.worker.mu.Lock()
	defer s.worker.mu.Unlock()
	successor := s.successor
	s.successor, s.handover = nil, nil
	return successor
}
