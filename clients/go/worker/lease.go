package worker

import (
	"context"
	"log/slog"
	"time"
)

const (
	// The lease ends for us before it ends for the server, so that the run's next owner does not meet our handler.
	leaseShare = 0.8
	// A delivery whose start has no answer goes back to JetStream once the server has been away for this long.
	unansweredFor = 2 * time.Second
)

// keepLease sends heartbeats, and stops every handler when the lease may be lost. Called without the lock.
func (s *session) keepLease(ctx context.Context) {
	for sleep(ctx, s.lookEvery()) {
		s.worker.mu.Lock()
		s.look(time.Now())
		s.worker.mu.Unlock()
	}
}

func (s *session) lookEvery() time.Duration {
	s.worker.mu.Lock()
	defer s.worker.mu.Unlock()
	return min(500*time.Millisecond, s.heartbeatEvery/4)
}

func (s *session) look(now time.Time) {
	if !s.leaseUntil.IsZero() && now.After(s.leaseUntil) {
		s.lapse()
	} else if s.stream != nil && now.Sub(s.lanes.heartbeatAt) >= s.heartbeatEvery {
		s.heartbeat(now)
	}
	if s.stream == nil && !s.awaySince.IsZero() && now.Sub(s.awaySince) > unansweredFor {
		s.handBackUnanswered()
	}
}

// keepUntil lets the lease run from a moment; it never gets shorter.
func (s *session) keepUntil(from time.Time) {
	if until := from.Add(time.Duration(float64(s.lease) * leaseShare)); until.After(s.leaseUntil) {
		s.leaseUntil = until
	}
}

func (s *session) heartbeat(now time.Time) {
	var begun []*execution
	for _, x := range s.attempts {
		if !x.beganAt.IsZero() && x.outcome == nil && !x.begunSent {
			begun = append(begun, x)
		}
	}
	s.lanes.heartbeat(now, begun)
}

// lapse: no answer for most of the lease. The server may give our runs away, so none of our handlers may go on. The
// attempts stay ours until a server says otherwise: what has ended, and what was stopped, is still reported.
func (s *session) lapse() {
	s.worker.logger.Warn("no server has answered for most of the lease; handlers are stopped", slog.Int("handlers", len(s.worker.slots.running)))
	s.leaseUntil = time.Time{}
	if stream := s.stream; stream != nil {
		s.loseStream()
		stream.cancel()
	}
	for _, x := range s.attempts {
		x.lapse()
	}
}

// forget: nothing of the session is ours any more.
func (s *session) forget() {
	for _, x := range s.attempts {
		x.abandon()
	}
	clear(s.attempts)
	s.handBackUnanswered()
	clear(s.unanswered)
	s.lanes.restart(nil, nil)
}

func (s *session) handBackUnanswered() {
	for _, delivery := range s.unanswered {
		if !delivery.handedBack {
			delivery.handedBack = true
			s.worker.deliveries.nak(delivery.reply)
		}
	}
}
