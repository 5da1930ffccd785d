package worker

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	jobv1 "layeron.dev/job/gen/layeron/job/v1"
)

// A connection that lived so long was a good one.
const stableAfter = 5 * time.Second

// delivery is a pulled message whose start waits for an answer. It is acked at reply.
type delivery struct {
	runID      string
	reply      string
	handedBack bool
}

// session is the worker's session with the servers: one Work stream at a time, kept alive and resumed over any of them.
//
// A start keeps its id until it is answered, over every reconnect; a finish is sent again until it is answered; when no
// server has answered for most of the lease, every handler is stopped before the server may give its run away; what the
// server no longer counts as ours is stopped and not reported.
//
// All fields are guarded by the worker's lock. run, write and keepLease are its three goroutines; the other methods are
// called with the lock held, unless they say otherwise.
type session struct {
	worker *Worker
	lanes  *lanes

	ctx         context.Context      // that of run, for the connections of a hand-over
	id          string               // empty: a new one is to be begun
	welcomed    bool                 // a server has taken this worker once
	attempts    map[int64]*execution // without a final answer, by start id
	unanswered  map[int64]*delivery
	lastStartID int64
	leaving     bool

	stream    *stream // nil while no server has welcomed us
	successor *stream
	handover  chan struct{} // closed when the hand-over under way is done
	greeting  bool          // a Hello waits for its answer

	awaySince   time.Time
	awayAnswers int

	lease          time.Duration
	heartbeatEvery time.Duration
	leaseUntil     time.Time // zero: there is nothing to lose
}

func newSession(w *Worker) *session {
	return &session{
		worker:         w,
		lanes:          &lanes{worker: w, bell: newBell()},
		attempts:       map[int64]*execution{},
		unanswered:     map[int64]*delivery{},
		lease:          30 * time.Second,
		heartbeatEvery: 5 * time.Second,
	}
}

// start asks for the right to run what a delivery named; without a server the delivery is handed back.
func (s *session) start(runID, reply string) {
	if s.stream == nil {
		s.worker.deliveries.nak(reply)
		return
	}
	s.lastStartID++
	s.unanswered[s.lastStartID] = &delivery{runID: runID, reply: reply}
	s.lanes.start(s.lastStartID, runID)
}

// finish reports an attempt; it is repeated after a reconnect until it is answered.
func (s *session) finish(x *execution) {
	if s.attempts[x.startID] == x {
		s.lanes.finish(x)
	}
}

// run stays connected until leave or the end of the context. The error is that of the very first server that refused
// this worker. Called without the lock.
func (s *session) run(ctx context.Context) error {
	s.ctx = ctx
	var backoff backoff
	for ctx.Err() == nil && !s.isLeaving() {
		address := s.address()
		stream, err := s.connect(ctx, address)
		if err != nil {
			if s.refused(err) {
				return &RefusedError{err}
			}
			s.worker.logger.Warn("cannot connect", slog.String("address", address), slog.Any("error", err))
			s.turnAway()
			backoff.wait(ctx)
			continue
		}
		connectedAt := time.Now()
		for stream != nil {
			s.read(stream)
			stream = s.following()
		}
		if time.Since(connectedAt) > stableAfter {
			backoff.reset()
		}
		if !s.isLeaving() {
			backoff.wait(ctx)
		}
	}
	return nil
}

func (s *session) isLeaving() bool {
	s.worker.mu.Lock()
	defer s.worker.mu.Unlock()
	return s.leaving
}

func (s *session) address() string {
	s.worker.mu.Lock()
	defer s.worker.mu.Unlock()
	return s.worker.servers.current()
}

// turnAway takes the next address, after one that was of no use.
func (s *session) turnAway() {
	s.worker.mu.Lock()
	defer s.worker.mu.Unlock()
	s.worker.servers.advance()
}

// refused says that a server does not want this worker at all.
func (s *session) refused(err error) bool {
	s.worker.mu.Lock()
	defer s.worker.mu.Unlock()
	switch status.Code(err) {
	case codes.InvalidArgument, codes.Unauthenticated, codes.PermissionDenied, codes.FailedPrecondition, codes.Unimplemented:
		return !s.welcomed
	}
	return false
}

// write sends what waits, whenever something does. Called without the lock.
func (s *session) write(ctx context.Context) {
	mu := &s.worker.mu
	for s.lanes.bell.wait(ctx) {
		mu.Lock()
		gather := s.lanes.mayGather()
		mu.Unlock()
		if gather {
			time.Sleep(gatherTime)
		}
		s.flush()
	}
}

// flush sends all that waits, each message on the stream it was made for. Called without the lock.
func (s *session) flush() {
	for {
		stream, request := s.nextRequest()
		if request == nil {
			return
		}
		err := stream.call.Send(request)
		if err == nil && request.Goodbye != nil {
			err = stream.call.CloseSend()
		}
		if err != nil {
			// The reader sees it, too, and what was lost is sent again after the reconnect.
			s.worker.logger.Debug("the stream broke while writing", slog.String("address", stream.address), slog.Any("error", err))
			return
		}
	}
}

func (s *session) nextRequest() (*stream, *jobv1.WorkRequest) {
	s.worker.mu.Lock()
	defer s.worker.mu.Unlock()
	s.lanes.bell.answered()
	if s.stream == nil {
		return nil, nil
	}
	return s.stream, s.lanes.next(time.Now(), !s.greeting)
}

// leave says goodbye and closes; the session then ends on the server. It waits for no longer than the limit. Called
// without the lock.
func (s *session) leave(limit time.Duration) {
	s.worker.mu.Lock()
	s.leaving = true
	stream := s.stream
	s.lanes.sayGoodbye()
	s.worker.mu.Unlock()
	if stream == nil {
		return
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-stream.ended:
	case <-timer.C:
		s.worker.logger.Info("the server did not hear the goodbye", slog.String("address", stream.address))
		stream.cancel()
	}
}

// read takes what the server sends until the stream ends. Called without the lock.
func (s *session) read(stream *stream) {
	w := s.worker
	var err error
	for err == nil {
		var response *jobv1.WorkResponse
		if response, err = stream.call.Recv(); err == nil {
			w.mu.Lock()
			if s.stream == stream { // what comes on one we have left is said again on the one in use
				s.receive(stream, response)
			}
			w.mu.Unlock()
		}
	}
	w.mu.Lock()
	quiet := s.successor != nil || s.leaving
	if s.stream == stream {
		s.loseStream()
	}
	w.mu.Unlock()
	if !quiet {
		w.logger.Warn("lost the stream", slog.String("address", stream.address), slog.Any("error", err))
	}
	stream.close()
}

func (s *session) loseStream() {
	s.stream = nil
	s.awaySince = time.Now()
	s.worker.deliveries.pause()
}

// unansweredStarts are in the order of their ids.
func (s *session) unansweredStarts() []pendingStart {
	var starts []pendingStart
	for _, id := range slices.Sorted(maps.Keys(s.unanswered)) {
		starts = append(starts, pendingStart{id, s.unanswered[id].runID})
	}
	return starts
}
