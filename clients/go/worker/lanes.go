package worker

import (
	"time"

	jobv1 "layeron.dev/job/gen/layeron/job/v1"
)

const (
	startBytes = 64
	noteEvery  = time.Second
	// Items are sent at once when the server owes no answer, and otherwise gathered, for no longer than this.
	gatherTime   = 2 * time.Millisecond
	gatherEnough = 200
)

type pendingStart struct {
	id    int64
	runID string
}

// lanes are what waits to be sent to the server, a slice for each kind, made into messages of at most 1 MiB. Nothing here
// outlives a reconnect: restart says what is to be sent again. Its methods are called with the worker's lock held.
type lanes struct {
	worker *Worker
	bell   bell

	starts   []pendingStart
	finishes []*execution
	begun    []*execution
	notes    []*execution
	goodbye  bool

	notesDue  bool
	noteTimer *time.Timer

	unanswered int // starts and finishes that were sent on this stream and have no answer

	heartbeatNumber int64
	heartbeatWaits  bool
	heartbeatAt     time.Time
	heartbeats      []sentHeartbeat
}

type sentHeartbeat struct {
	number int64
	at     time.Time
}

func (l *lanes) start(id int64, runID string) {
	l.starts = append(l.starts, pendingStart{id, runID})
	l.bell.ring()
}

func (l *lanes) finish(x *execution) {
	l.finishes = append(l.finishes, x)
	l.bell.ring()
}

// heartbeat adds a heartbeat, and with it the attempts that have begun and still run.
func (l *lanes) heartbeat(now time.Time, begun []*execution) {
	l.begun = append(l.begun, begun...)
	l.heartbeatNumber++
	l.heartbeatAt = now
	l.heartbeatWaits = true
	l.bell.ring()
}

// heartbeatSentAt returns when the answered heartbeat was sent. It and the older ones are then forgotten.
func (l *lanes) heartbeatSentAt(number int64) (at time.Time, found bool) {
	kept := l.heartbeats[:0]
	for _, sent := range l.heartbeats {
		if sent.number == number {
			at, found = sent.at, true
		}
		if sent.number > number {
			kept = append(kept, sent)
		}
	}
	l.heartbeats = kept
	return at, found
}

// note adds an attempt's progress and log lines; they wait until its last note is a second old.
func (l *lanes) note(x *execution) {
	l.notes = append(l.notes, x)
	l.lookAtNotesAfter(max(0, noteEvery-time.Since(x.notedAt)))
}

func (l *lanes) lookAtNotesAfter(wait time.Duration) {
	if l.noteTimer == nil {
		l.noteTimer = time.AfterFunc(wait, func() {
			l.worker.mu.Lock()
			defer l.worker.mu.Unlock()
			l.noteTimer = nil
			l.notesDue = true
			l.bell.ring()
		})
	}
}

func (l *lanes) sayGoodbye() {
	l.goodbye = true
	l.bell.ring()
}

// restart is for a new stream or session: send exactly this.
func (l *lanes) restart(starts []pendingStart, finishes []*execution) {
	l.starts, l.finishes, l.begun = starts, finishes, nil
	l.heartbeats, l.heartbeatWaits = nil, false
	l.unanswered = 0
	l.bell.ring()
}

// answered says that the server has answered so many starts and finishes.
func (l *lanes) answered(count int) { l.unanswered = max(0, l.unanswered-count) }

// mayGather says that nobody waits for what is here: the server is busy with what it has.
func (l *lanes) mayGather() bool {
	waiting := len(l.starts) + len(l.finishes)
	return l.unanswered > 0 && waiting > 0 && waiting < gatherEnough && !l.heartbeatWaits
}

// next takes what waits as a message, with or without the starts; nil if nothing does.
func (l *lanes) next(now time.Time, withStarts bool) *jobv1.WorkRequest {
	room := messageBytesMax
	request := &jobv1.WorkRequest{}
	if l.heartbeatWaits {
		l.heartbeatWaits = false
		request.Heartbeat = &jobv1.Heartbeat{Number: l.heartbeatNumber}
		l.heartbeats = append(l.heartbeats, sentHeartbeat{l.heartbeatNumber, now})
	}
	if withStarts {
		room = l.takeStarts(request, room)
	}
	room = l.takeBegun(request, room)
	room = l.takeFinishes(request, room)
	if l.notesDue {
		room = l.takeNotes(request, room, now)
	}
	l.unanswered += len(request.Starts) + len(request.Finishes)
	switch {
	case room < messageBytesMax || request.Heartbeat != nil:
		return request
	case l.goodbye:
		l.goodbye = false
		return &jobv1.WorkRequest{Goodbye: &jobv1.Goodbye{}}
	}
	return nil
}

func (l *lanes) takeStarts(request *jobv1.WorkRequest, room int) int {
	count := min(len(l.starts), (room+startBytes-1)/startBytes)
	request.Starts = make([]*jobv1.Start, count)
	messages := make([]jobv1.Start, count)
	for i, start := range l.starts[:count] {
		messages[i].StartId, messages[i].RunId = start.id, start.runID
		request.Starts[i] = &messages[i]
	}
	l.starts = append(l.starts[:0], l.starts[count:]...)
	return room - count*startBytes
}

func (l *lanes) takeBegun(request *jobv1.WorkRequest, room int) int {
	taken := 0
	for ; taken < len(l.begun) && room > 0; taken++ {
		if x := l.begun[taken]; x.outcome == nil {
			x.begunSent = true
			request.Begun = append(request.Begun, &jobv1.Begun{
				RunId: x.attempt.RunID, Attempt: int32(x.attempt.Number), RunningMs: x.ranMs(),
			})
			room -= startBytes
		}
	}
	l.begun = l.begun[taken:]
	return room
}

func (l *lanes) takeFinishes(request *jobv1.WorkRequest, room int) int {
	taken := 0
	for ; taken < len(l.finishes) && room > 0; taken++ {
		x := l.finishes[taken]
		if x.abandoned {
			continue
		}
		logTail := x.attempt.logged()
		size := x.outcome.size() + len(logTail)
		if size > room && room < messageBytesMax {
			break
		}
		request.Finishes = append(request.Finishes, finishOf(x, logTail))
		room -= size
	}
	clear(l.finishes[:taken])
	l.finishes = l.finishes[taken:]
	return room
}

func (l *lanes) takeNotes(request *jobv1.WorkRequest, room int, now time.Time) int {
	var later []*execution
	for _, x := range l.notes {
		if room <= 0 || x.outcome == nil && now.Sub(x.notedAt) < noteEvery {
			later = append(later, x)
			continue
		}
		x.attempt.noted.Store(false) // before it is read: what comes later makes the next note
		if x.outcome != nil || x.abandoned {
			continue
		}
		x.notedAt = now
		note := &jobv1.AttemptNote{
			RunId: x.attempt.RunID, Attempt: int32(x.attempt.Number), ProgressJson: x.attempt.takeProgress(), LogTail: x.attempt.logged(),
		}
		request.Notes = append(request.Notes, note)
		room -= len(note.ProgressJson) + len(note.LogTail) + startBytes
	}
	l.notes = later
	l.notesDue = room <= 0
	if len(later) > 0 {
		l.lookAtNotesAfter(noteEvery / 4)
	}
	return room
}

func finishOf(x *execution, logTail string) *jobv1.Finish {
	finish := &jobv1.Finish{
		StartId: x.startID, RunId: x.attempt.RunID, Attempt: int32(x.attempt.Number), RanMs: x.ranMs(), LogTail: logTail,
	}
	failure := x.outcome.failure
	switch x.outcome.kind {
	case succeeded:
		finish.Outcome = &jobv1.Finish_ResultJson{ResultJson: x.outcome.result}
	case failed:
		finish.Outcome = &jobv1.Finish_Failure{Failure: failure}
	case timedOut:
		finish.Outcome = &jobv1.Finish_TimedOut{TimedOut: failure}
	case canceled:
		finish.Outcome = &jobv1.Finish_Canceled{Canceled: failure}
	case interrupted:
		finish.Outcome = &jobv1.Finish_Interrupted{Interrupted: failure}
	}
	return finish
}
