package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	jobv1 "layeron.dev/job/gen/layeron/job/v1"
)

type namedError struct{ error }

func (namedError) ErrorType() string { return "Named" }

func TestAnErrorIsKnownByItsOwnNameOrThatOfItsGoType(t *testing.T) {
	for want, err := range map[string]error{
		"error":      errors.New("x"),
		"PathError":  fmt.Errorf("a: %w", fmt.Errorf("b: %w", &fs.PathError{Err: errors.New("x")})),
		"Named":      fmt.Errorf("a: %w", &fs.PathError{Err: namedError{errors.New("x")}}),
		"Given":      RetryAfter(WithType(errors.New("x"), "Given"), time.Second),
		"Joined":     DoNotRetry(errors.Join(WithType(errors.New("y"), "Joined"), errors.New("x"))),
		"RetryAfter": RetryAfter(nil, time.Second),
		"DoNotRetry": DoNotRetry(nil),
	} {
		if got := typeOf(err); got != want {
			t.Errorf("%v: %s, not %s", err, got, want)
		}
	}
}

func TestARetryIsHeldToItsLimits(t *testing.T) {
	for wait, want := range map[time.Duration]int64{-time.Second: 0, 1500 * time.Millisecond: 1500, 31 * 24 * time.Hour: 30 * 24 * 3_600_000} {
		if got := raised(RetryAfter(errors.New("x"), wait)).failure.GetRetryAfterMs(); got != want {
			t.Errorf("%v: %d ms, not %d", wait, got, want)
		}
	}
	if raised(errors.New("x")).failure.RetryAfterMs != nil {
		t.Error("a plain error asks for a delay")
	}
}

func TestTextsAreCutAtWholeCharactersAndAlwaysClean(t *testing.T) {
	euros := strings.Repeat("€", 10)
	for _, one := range [][2]string{
		{head(euros, 7), "€€"}, {tail(euros, 7), "€€"}, {head("a\x00b\xff", 10), "ab\ufffd"}, {tail("abc", 3), "abc"},
		{firstCharacters(euros, 2), "€€"}, {firstCharacters("abc", 3), "abc"}, {head("€", 1), ""}, {tail("€", 1), ""},
	} {
		if one[0] != one[1] || !utf8.ValidString(one[0]) {
			t.Errorf("%q, not %q", one[0], one[1])
		}
	}
	long := newOutcome(failed, strings.Repeat("t", 300), strings.Repeat("m", 9000), "begin"+strings.Repeat("d", 33000)+"end").failure
	if len(long.ErrorType) != 255 || len(long.ErrorMessage) != 8<<10 || len(long.ErrorDetail) != 32<<10 || !strings.HasSuffix(long.ErrorDetail, "end") {
		t.Error(len(long.ErrorType), len(long.ErrorMessage), len(long.ErrorDetail))
	}
}

func TestALogKeepsItsLastLines(t *testing.T) {
	lines := &logTail{}
	for i := range 10_000 {
		lines.add(fmt.Sprintf("line %d", i))
	}
	text := lines.text()
	if len(text) > logTailBytesMax || !strings.HasSuffix(text, "line 9999") || len(lines.lines) > 10_000*logTailBytesMax/len(text) {
		t.Errorf("%d bytes, ends with %q", len(text), text[len(text)-20:])
	}
}

// idleWorker has a handler and no server.
func idleWorker(t *testing.T, options ...Option) *Worker {
	t.Helper()
	w := New("127.0.0.1:1", append(options, WithLogger(slog.New(slog.DiscardHandler)))...)
	Handle(w, "work", func(ctx context.Context, _ any) (any, error) { <-ctx.Done(); return nil, context.Cause(ctx) })
	if err := w.misconfigured(); err != nil {
		t.Fatal(err)
	}
	w.resultBytesMax.Store(1 << 20)
	return w
}

// grant gives the worker an attempt, as the session does.
func grant(w *Worker, startID int64) *execution {
	x := w.newExecution(startID, &jobv1.Grant{RunId: fmt.Sprintf("run_%d", startID), Attempt: 1, Task: "work", TimeoutMs: 60_000})
	w.session.attempts[startID] = x
	w.granted(x)
	return x
}

func TestAGrantThatFindsNoSlotInTimeIsHandedBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := idleWorker(t, WithConcurrency(1))
		w.mu.Lock()
		first, second := grant(w, 1), grant(w, 2)
		w.mu.Unlock()
		time.Sleep(2*time.Second - time.Millisecond)
		synctest.Wait()
		w.mu.Lock()
		if second.outcome != nil {
			t.Error("handed back too early")
		}
		w.mu.Unlock()
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		w.mu.Lock()
		if second.outcome == nil || second.outcome.kind != interrupted || second.ran() != 0 || first.outcome != nil {
			t.Errorf("%+v, %+v", first.outcome, second.outcome)
		}
		first.abandon()
		w.mu.Unlock()
	})
}

func TestAHandlerThatIgnoresItsTimeoutIsReportedASecondLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New("127.0.0.1:1", WithLogger(slog.New(slog.DiscardHandler)))
		free := make(chan struct{})
		Handle(w, "work", func(context.Context, any) (any, error) { <-free; return nil, nil })
		w.mu.Lock()
		x := grant(w, 1)
		w.mu.Unlock()
		time.Sleep(61*time.Second - time.Millisecond)
		w.mu.Lock()
		if x.outcome != nil {
			t.Error("reported too early")
		}
		w.mu.Unlock()
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		w.mu.Lock()
		if x.outcome == nil || x.outcome.kind != timedOut || len(w.slots.running) != 1 {
			t.Errorf("%+v, %d run", x.outcome, len(w.slots.running))
		}
		w.mu.Unlock()
		close(free)
		synctest.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.slots.running) != 0 || x.outcome.kind != timedOut {
			t.Error("the slot is not free, or the outcome has changed")
		}
	})
}

func TestAnAbandonedAttemptIsNeverReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := idleWorker(t)
		w.mu.Lock()
		x := grant(w, 1)
		x.abandon()
		w.mu.Unlock()
		synctest.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.slots.running) != 0 || w.session.lanes.next(time.Now(), true) != nil {
			t.Error("it runs on, or it is reported")
		}
	})
}

func TestMessagesHaveAtMostAMegabyte(t *testing.T) {
	w := idleWorker(t)
	w.mu.Lock()
	defer w.mu.Unlock()
	lanes := w.session.lanes
	for id := range int64(30_000) {
		lanes.start(id, job26)
	}
	for id := range int64(40) {
		x := w.newExecution(id, &jobv1.Grant{RunId: job26, Attempt: 1, Task: "work"})
		x.outcome = &outcome{kind: succeeded, result: make([]byte, 200<<10)}
		lanes.finish(x)
	}
	starts, finishes := 0, 0
	for {
		request := lanes.next(time.Now(), true)
		if request == nil {
			break
		}
		size := 0
		for _, finish := range request.Finishes {
			size += len(finish.GetResultJson())
		}
		if size+64*len(request.Starts) > messageBytesMax+startBytes {
			t.Fatalf("a message of %d starts and %d finishes", len(request.Starts), len(request.Finishes))
		}
		starts, finishes = starts+len(request.Starts), finishes+len(request.Finishes)
	}
	if starts != 30_000 || finishes != 40 || lanes.unanswered != 30_040 {
		t.Error(starts, finishes, lanes.unanswered)
	}
}

const job26 = "run_01m89d57mxe778byat78fzd8r7"

func TestANoteIsSentOnceASecondWithTheNewestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := idleWorker(t)
		w.mu.Lock()
		x := grant(w, 1)
		w.mu.Unlock()
		next := func() *jobv1.WorkRequest {
			synctest.Wait()
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.session.lanes.next(time.Now(), true)
		}
		tell := func(value int) {
			if err := x.attempt.Progress(value); err != nil {
				t.Error(err)
			}
		}
		tell(1)
		tell(2)
		if request := next(); len(request.GetNotes()) != 1 || string(request.Notes[0].ProgressJson) != "2" {
			t.Fatalf("%v", request)
		}
		tell(3)
		tell(4)
		if request := next(); request != nil {
			t.Errorf("too soon: %v", request)
		}
		time.Sleep(time.Second)
		if request := next(); len(request.GetNotes()) != 1 || string(request.Notes[0].ProgressJson) != "4" {
			t.Errorf("%v", request)
		}
		w.mu.Lock()
		x.abandon()
		w.mu.Unlock()
	})
}

func TestABellThatIsAnsweredBeforeItIsWaitedForBlocksNobody(t *testing.T) {
	b := newBell()
	for range 3 {
		b.ring()
		b.answered()
	}
	b.ring()
	if !b.wait(t.Context()) {
		t.Error("not woken")
	}
}

func TestHelloIsCutIntoMessages(t *testing.T) {
	w := idleWorker(t)
	w.mu.Lock()
	for id := range int64(4_500) {
		w.session.attempts[id] = w.newExecution(id, &jobv1.Grant{RunId: job26, Attempt: int32(id), Task: "work"})
	}
	for id := range int64(10) {
		w.session.unanswered[id] = &delivery{runID: job26}
	}
	w.mu.Unlock()
	hellos := w.session.hellos()
	attempts := 0
	for i, hello := range hellos {
		attempts += len(hello.Attempts)
		if hello.Last != (i == len(hellos)-1) || (hello.SdkName != "") != (i == 0) {
			t.Errorf("message %d: last %v, %q", i, hello.Last, hello.SdkName)
		}
	}
	if len(hellos) != 3 || attempts != 4_500 || !slices.IsSorted(hellos[0].UnansweredStarts) || len(hellos[0].UnansweredStarts) != 10 {
		t.Error(len(hellos), attempts, hellos[0].UnansweredStarts)
	}
}
