package worker

import (
	"context"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	jobv1 "layeron.dev/job/gen/layeron/job/v1"
)

// scripted is a server program of a test: the real gRPC service, which says what the test tells it to say.
type scripted struct {
	jobv1.UnimplementedWorkerServiceServer
	address string
	streams chan *scriptedStream

	mu       sync.Mutex
	welcomes bool
	verdict  jobv1.HeartbeatVerdict
}

// scriptedStream is one Work stream: its Hello, and every message that came after it.
type scriptedStream struct {
	call  grpc.BidiStreamingServer[jobv1.WorkRequest, jobv1.WorkResponse]
	hello *jobv1.Hello
	said  chan *jobv1.WorkRequest
	over  chan struct{}
	left  chan struct{}

	mu sync.Mutex
}

func newScripted(t *testing.T, welcomes bool) *scripted {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{
		address:  listener.Addr().String(),
		streams:  make(chan *scriptedStream, 10),
		welcomes: welcomes,
		verdict:  jobv1.HeartbeatVerdict_HEARTBEAT_VERDICT_RECORDED,
	}
	server := grpc.NewServer()
	jobv1.RegisterWorkerServiceServer(server, s)
	go func() { _ = server.Serve(listener) }() // it ends with Stop
	t.Cleanup(server.Stop)
	return s
}

func (s *scripted) Work(call grpc.BidiStreamingServer[jobv1.WorkRequest, jobv1.WorkResponse]) error {
	request, err := call.Recv()
	if err != nil {
		return err
	}
	stream := &scriptedStream{
		call: call, hello: request.GetHello(), said: make(chan *jobv1.WorkRequest, 1000), over: make(chan struct{}), left: make(chan struct{}),
	}
	s.mu.Lock()
	welcomes := s.welcomes
	s.mu.Unlock()
	if welcomes {
		stream.welcome()
	}
	s.streams <- stream
	go s.hear(stream)
	select {
	case <-stream.over:
	case <-stream.left:
	}
	return nil
}

func (s *scripted) hear(stream *scriptedStream) {
	defer close(stream.left)
	for {
		request, err := stream.call.Recv()
		if err != nil {
			return
		}
		s.mu.Lock()
		verdict := s.verdict
		s.mu.Unlock()
		if beat := request.GetHeartbeat(); beat != nil {
			stream.say(&jobv1.WorkResponse{HeartbeatAnswer: &jobv1.HeartbeatAnswer{Number: beat.GetNumber(), Verdict: verdict}})
		}
		stream.said <- request
	}
}

func (s *scripted) answerHeartbeatsWith(verdict jobv1.HeartbeatVerdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verdict = verdict
}

func (s *scriptedStream) say(response *jobv1.WorkResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.call.Send(response) // a worker that has left hears nothing
}

// welcome has a lease of a second, which is over before a server that does not answer is given up.
func (s *scriptedStream) welcome() {
	s.say(&jobv1.WorkResponse{Welcome: &jobv1.Welcome{
		SessionId: "ses_1", Epoch: 1, Resumed: s.hello.GetSessionId() != "", LeaseMs: 1000, HeartbeatIntervalMs: 100,
		BeginWithinMs: 2000, ResultBytesMax: 1000,
	}})
}

// next is the next message with what is asked for.
func (s *scriptedStream) next(t *testing.T, has func(*jobv1.WorkRequest) bool) *jobv1.WorkRequest {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		select {
		case request := <-s.said:
			if has(request) {
				return request
			}
		case <-limit:
			t.Fatal("the worker did not say it")
		}
	}
}

// beats waits for so many heartbeats; false if there was a start meanwhile.
func (s *scriptedStream) beats(t *testing.T, count int) (quiet bool) {
	t.Helper()
	quiet = true
	for range count {
		s.next(t, func(request *jobv1.WorkRequest) bool {
			quiet = quiet && len(request.GetStarts()) == 0
			return request.GetHeartbeat() != nil
		})
	}
	return quiet
}

func (s *scripted) stream(t *testing.T) *scriptedStream {
	t.Helper()
	select {
	case stream := <-s.streams:
		return stream
	case <-time.After(10 * time.Second):
		t.Fatal("no worker has said hello")
		return nil
	}
}

func hasStart(request *jobv1.WorkRequest) bool  { return len(request.GetStarts()) > 0 }
func hasFinish(request *jobv1.WorkRequest) bool { return len(request.GetFinishes()) > 0 }

// moving is a worker that is connected to the first of two servers, of which the second does not answer.
type moving struct {
	*Worker
	first, second *scripted
	old           *scriptedStream
	free          chan struct{} // closed: the handler returns
	stopped       chan error    // why it was stopped
}

func newMoving(t *testing.T) *moving {
	t.Helper()
	m := &moving{first: newScripted(t, true), second: newScripted(t, false), free: make(chan struct{}), stopped: make(chan error, 1)}
	m.Worker = New(m.first.address+","+m.second.address, WithLogger(slog.New(slog.NewTextHandler(t.Output(), nil))))
	Handle(m.Worker, "work", func(ctx context.Context, _ any) (any, error) {
		select {
		case <-m.free:
			return nil, nil
		case <-ctx.Done():
			m.stopped <- context.Cause(ctx)
			return nil, io.EOF
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	var loops sync.WaitGroup
	loops.Go(func() { _ = m.session.run(ctx) }) // neither server refuses
	loops.Go(func() { m.session.write(ctx) })
	loops.Go(func() { m.session.keepLease(ctx) })
	t.Cleanup(func() {
		cancel()
		loops.Wait()
	})
	m.old = m.first.stream(t)
	<-m.Ready()
	return m
}

// ring lets a delivery arrive.
func (m *moving) ring(runID string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.session.start(runID, "reply")
}

// run lets the handler of a run begin.
func (m *moving) run(t *testing.T, runID string) {
	t.Helper()
	m.ring(runID)
	start := m.old.next(t, hasStart).Starts[0]
	m.old.say(&jobv1.WorkResponse{StartAnswers: []*jobv1.StartAnswer{{
		StartId: start.GetStartId(),
		Answer:  &jobv1.StartAnswer_Grant{Grant: &jobv1.Grant{RunId: runID, Attempt: 1, Task: "work", TimeoutMs: 60_000}},
	}}})
	m.old.next(t, func(request *jobv1.WorkRequest) bool { return len(request.GetBegun()) > 0 })
}

func (m *moving) drain(t *testing.T) *scriptedStream {
	t.Helper()
	m.old.say(&jobv1.WorkResponse{Drain: &jobv1.Drain{}})
	return m.second.stream(t)
}

func TestHeartbeatsAndReportsGoOnToTheOldServerWhileTheNewOneDoesNotAnswer(t *testing.T) {
	m := newMoving(t)
	m.run(t, job26)
	m.drain(t)
	m.old.beats(t, 20)
	select {
	case cause := <-m.stopped:
		t.Error("the handler was stopped:", cause)
	default:
	}
	close(m.free)
	m.old.next(t, hasFinish)
}

func TestNoStartIsSentToTheOldServerWhileTheNewOneHasAHello(t *testing.T) {
	m := newMoving(t)
	renewed := m.drain(t)
	m.ring(job26)
	if !m.old.beats(t, 5) {
		t.Error("the old server would grant what the Hello does not name")
	}
	renewed.welcome()
	if start := renewed.next(t, hasStart).Starts[0]; start.GetRunId() != job26 || start.GetStartId() != 1 {
		t.Error(start)
	}
}

func TestTheOldServerIsWorkedWithAgainWhenTheNewOneDoesNotAnswer(t *testing.T) {
	m := newMoving(t)
	m.first.answerHeartbeatsWith(jobv1.HeartbeatVerdict_HEARTBEAT_VERDICT_DATABASE_AWAY)
	renewed := m.second.stream(t)
	m.ring(job26)
	close(renewed.over)
	m.old.next(t, hasStart)
}

func TestWhatTheOldServerSaysOfTheSessionDoesNotBreakTheNewStream(t *testing.T) {
	m := newMoving(t)
	renewed := m.drain(t)
	// For the new server has raised the epoch.
	m.first.answerHeartbeatsWith(jobv1.HeartbeatVerdict_HEARTBEAT_VERDICT_SESSION_ENDED)
	m.old.beats(t, 1)
	renewed.welcome()
	renewed.beats(t, 5)
	if len(m.first.streams)+len(m.second.streams) != 0 {
		t.Error("it has connected once more")
	}
}

func TestALeaseThatIsLostStopsWhatRunsAndNamesAllOfItInTheNextHello(t *testing.T) {
	m := newMoving(t)
	m.run(t, job26)
	m.old.mu.Lock() // nothing is answered
	if cause := <-m.stopped; cause != ErrLeaseLost {
		t.Error(cause)
	}
	m.old.mu.Unlock()
	again := m.first.stream(t)
	named := func(a *jobv1.OpenAttempt) bool { return a.GetRunId() == job26 && a.GetAttempt() == 1 }
	if again.hello.GetSessionId() != "ses_1" || !slices.ContainsFunc(again.hello.Attempts, named) {
		t.Error(again.hello)
	}
	finish := again.next(t, hasFinish).Finishes[0]
	if finish.GetInterrupted().GetErrorType() != "LeaseLost" || finish.GetRanMs() == 0 {
		t.Error(finish)
	}
}
