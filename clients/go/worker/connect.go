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
	hellos, forgotten := s.hellos()
	helloAt := time.Now()
	limit := time.AfterFunc(welcomeLimit, stream.cancel)
	welcome, err := greet(stream, hellos)
	if !limit.Stop() && err != nil {
		err = fmt.Errorf("no welcome within %v: %w", welcomeLimit, err)
	}
	if err == nil {
		err = s.adopt(stream, welcome, helloAt, forgotten)
	}
	if err != nil {
		stream.close()
		return nil, err
	}
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

// hellos is Hello in as many messages as it takes: who we are, and on resume all that has no final answer. From here on
// nothing is sent on a stream that is still in use. Called without the lock.
func (s *session) hellos() (hellos []*jobv1.Hello, forgotten int) {
	s.sending.Lock()
	defer s.sending.Unlock()
	s.worker.mu.Lock()
	defer s.worker.mu.Unlock()
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
			return hellos, s.forgotten
		}
		hello = &jobv1.Hello{}
	}
}

func cut[T any](items []T, size int) (first, rest []T) {
	size = min(size, len(items))
	return items[:size], items[size:]
}

// adopt makes the stream ours: drops what the server no longer counts as ours, sends again what it has not answered.
// Called without the lock.
func (s *session) adopt(stream *stream, welcome *jobv1.Welcome, helloAt time.Time, forgotten int) error {
	s.worker.mu.Lock()
	defer s.worker.mu.Unlock()
	if forgotten != s.forgotten {
		return errors.New("the lease ended meanwhile")
	}
	if !welcome.GetResumed() {
		if s.id != "" {
			s.worker.logger.Warn("the session has ended; its attempts are canceled", slog.String("session", s.id))
			s.forget()
		}
		s.lastStartID = 0
	}
	for _, gone := range welcome.GetSuperseded() {
		s.supersede(gone)
	}
	s.id, s.welcomed = welcome.GetSessionId(), true
	s.lease = time.Duration(welcome.GetLeaseMs()) * time.Millisecond
	s.heartbeatEvery = time.Duration(welcome.GetHeartbeatIntervalMs()) * time.Millisecond
	s.leaseUntil = time.Time{}
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
	return nil
}

// handOver moves to another server while the present stream is still read; it stays in use if none is found. Called with
// the lock held.
func (s *session) handOver(addresses []string) {
	if s.leaving || s.handover != nil {
		return
	}
	s.handover = make(chan struct{})
	s.handingOver = true
	go s.tryInTurn(slices.Clone(addresses), s.stream)
}

// tryInTurn is the goroutine of a hand-over.
func (s *session) tryInTurn(addresses []string, old *stream) {
	w := s.worker
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
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s.handingOver = false
	close(s.handover)
	if s.stream == old {
		s.handover = nil // it stays in use, and may be left later
	} else {
		old.cancel() // the reader goes on to the successor
	}
	s.lanes.bell.ring()
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
