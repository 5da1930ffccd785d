package worker

import "time"

// The prefetch follows how many handlers have ended within this time.
const pace = 250 * time.Millisecond

// slots says which attempts run now: so many of them at once; further grants wait here, and not for long. Its methods are
// called with the worker's lock held.
type slots struct {
	worker      *Worker
	concurrency int
	prefetch    int
	beginWithin time.Duration
	running     map[*execution]struct{}
	waiting     []*execution
	timer       *time.Timer

	paceFrom    time.Time
	endedBefore int
	endedNow    int
}

// admit begins an attempt now, or when a slot is free; after beginWithin without one it is handed back.
func (s *slots) admit(x *execution) {
	if len(s.running) < s.concurrency {
		s.begin(x)
		return
	}
	x.beginBy = time.Now().Add(s.beginWithin)
	s.waiting = append(s.waiting, x)
	s.handBackAfter(s.beginWithin)
}

func (s *slots) begin(x *execution) {
	s.running[x] = struct{}{}
	x.begin()
}

// release frees the slot of a handler that has returned.
func (s *slots) release(x *execution) {
	delete(s.running, x)
	s.rollPace()
	s.endedNow++
	for len(s.waiting) > 0 && len(s.running) < s.concurrency {
		// It may have been canceled or abandoned while it waited.
		if next := s.shift(); next.outcome == nil && !next.ended {
			s.begin(next)
		}
	}
	s.worker.deliveries.moreCredits()
}

// credits is how many more runs may be asked for: free slots, and a prefetch that is no more than what ends in a moment,
// because a grant that waits behind long handlers would only be handed back.
func (s *slots) credits() int {
	s.rollPace()
	return s.concurrency + min(s.prefetch, max(s.endedBefore, s.endedNow)) - len(s.running) - len(s.waiting)
}

// handBackWaiting reports every grant that has not begun as interrupted.
func (s *slots) handBackWaiting(errorType, message string) {
	for len(s.waiting) > 0 {
		s.handBack(s.shift(), errorType, message)
	}
}

func (s *slots) handBackAfter(wait time.Duration) {
	if s.timer == nil {
		s.timer = time.AfterFunc(wait, func() {
			s.worker.mu.Lock()
			defer s.worker.mu.Unlock()
			s.timer = nil
			s.handBackLate(time.Now())
		})
	}
}

func (s *slots) handBackLate(now time.Time) {
	for len(s.waiting) > 0 && !s.waiting[0].beginBy.After(now) {
		s.handBack(s.shift(), "NotBegun", "no slot became free in time")
	}
	if len(s.waiting) > 0 {
		s.handBackAfter(s.waiting[0].beginBy.Sub(now))
	}
	s.worker.deliveries.moreCredits()
}

func (s *slots) handBack(x *execution, errorType, message string) {
	if x.outcome == nil && !x.ended {
		x.neverBegan(newOutcome(interrupted, errorType, message, ""))
	}
}

func (s *slots) shift() *execution {
	first := s.waiting[0]
	s.waiting[0] = nil
	s.waiting = s.waiting[1:]
	return first
}

func (s *slots) rollPace() {
	now := time.Now()
	passed := now.Sub(s.paceFrom)
	if passed < pace {
		return
	}
	s.endedBefore = 0
	if passed < 2*pace {
		s.endedBefore = s.endedNow
	}
	s.endedNow, s.paceFrom = 0, now
}
