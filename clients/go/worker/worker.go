package worker

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	jobv1 "layeron.dev/job/gen/layeron/job/v1"
	"layeron.dev/job/internal/servers"
)

const (
	protocolVersion  = 1
	modulePath       = "layeron.dev/job"
	shutdownMessage  = "the worker shut down before the handler began"
	defaultNamespace = "default"
	defaultQueue     = "default"
)

// Worker runs the handlers that are registered with Handle. Make it with New, and run it once.
type Worker struct {
	namespace string
	buildID   string
	queues    []string // nil: those of the tasks
	grace     time.Duration
	logger    *slog.Logger
	servers   *addresses
	base      context.Context // of handlers; it does not end

	resultBytesMax atomic.Int64
	ready          chan struct{}
	stopped        chan struct{} // closed by Stop
	hurried        chan struct{} // closed when handlers are not to be waited for

	// mu guards all that follows, and what the parts say of themselves. Nothing waits while it is held, but for a rare line of the log.
	mu         sync.Mutex
	problems   []error
	tasks      map[string]*task
	taskNames  []string // in the order of their registration
	stopping   bool
	isReady    bool
	slots      *slots
	session    *session
	deliveries *deliveries
}

// New returns a worker for the servers at an address: "host:port", or several joined with commas, of which one is
// connected to at a time, and the others when it is away. Empty means $LAYERON_JOB_ADDRESS, or localhost:7233. Run
// returns the error of a wrong option.
func New(address string, options ...Option) *Worker {
	set := settings{
		concurrency: defaultConcurrency, prefetch: -1, namespace: defaultNamespace, grace: defaultGrace, logger: slog.Default(),
	}
	w := &Worker{
		tasks: map[string]*task{}, ready: make(chan struct{}), stopped: make(chan struct{}), hurried: make(chan struct{}),
	}
	for _, option := range options {
		if err := option(&set); err != nil {
			w.wrong(err)
		}
	}
	all, err := servers.Addresses(address)
	if err != nil {
		w.wrong(fmt.Errorf("address %w", err))
	}
	if set.prefetch < 0 {
		set.prefetch = min(set.concurrency, defaultPrefetchMax)
	}
	w.namespace, w.buildID, w.queues, w.grace, w.logger = set.namespace, set.buildID, set.queues, set.grace, set.logger
	w.servers = &addresses{all: all, dial: servers.DialOptions(set.transport)}
	w.base = context.Background()
	w.slots = &slots{
		worker: w, concurrency: set.concurrency, prefetch: set.prefetch, beginWithin: 2 * time.Second, running: map[*execution]struct{}{},
	}
	w.session = newSession(w)
	w.deliveries = newDeliveries(w, set.concurrency+set.prefetch)
	return w
}

// Stop takes no more runs and lets Run end once the handlers have, at the latest after the grace.
func (w *Worker) Stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopping {
		w.stopping = true
		close(w.stopped)
	}
}

// Ready is closed once a server has welcomed the worker.
func (w *Worker) Ready() <-chan struct{} { return w.ready }

// wrong keeps a problem for Run.
func (w *Worker) wrong(problem error) { w.problems = append(w.problems, problem) }

// connected: a server has welcomed us, so pull. Called with the lock held.
func (w *Worker) connected(welcome *jobv1.Welcome) {
	w.slots.beginWithin = time.Duration(welcome.GetBeginWithinMs()) * time.Millisecond
	w.resultBytesMax.Store(welcome.GetResultBytesMax())
	w.deliveries.resume(welcome)
	if !w.isReady {
		w.isReady = true
		close(w.ready)
	}
}

// granted: an attempt is ours, so begin it as soon as there is a slot. Called with the lock held.
func (w *Worker) granted(x *execution) {
	if w.stopping {
		x.neverBegan(newOutcome(interrupted, "Shutdown", shutdownMessage, ""))
	} else {
		w.slots.admit(x)
	}
}

// ended: a handler has returned. Called without the lock.
func (w *Worker) ended(x *execution, out outcome) {
	w.mu.Lock()
	x.end(out)
	abandoned := x.abandoned
	w.mu.Unlock()
	if out.kind == failed && !abandoned {
		w.logger.Info("an attempt failed", slog.String("run_id", x.attempt.RunID), slog.Int("attempt", x.attempt.Number),
			slog.String("task", x.attempt.Task), slog.String("error_type", out.failure.GetErrorType()))
	}
}

// noted: a handler has something to tell. Called without the lock.
func (w *Worker) noted(x *execution) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if x.outcome == nil {
		w.session.lanes.note(x)
	}
}

// delivered: JetStream rang for a run. Called with the lock held.
func (w *Worker) delivered(runID, reply string) {
	if w.stopping {
		w.deliveries.nak(reply)
	} else {
		w.session.start(runID, reply)
	}
}

// credits is how many more runs may be asked for. Called with the lock held.
func (w *Worker) credits() int { return w.slots.credits() - len(w.session.unanswered) }

// hello says who we are. Called with the lock held.
func (w *Worker) hello() *jobv1.Hello {
	host, _ := os.Hostname()
	return &jobv1.Hello{
		Namespace:       w.namespace,
		BuildId:         w.buildID,
		SdkName:         "layeron-job-worker-go",
		SdkVersion:      sdkVersion(),
		ProtocolVersion: protocolVersion,
		Host:            host,
		Pid:             int32(os.Getpid()),
		Tasks:           w.taskNames,
		Queues:          w.takenQueues(),
		Slots:           int32(w.slots.concurrency),
	}
}

// homeQueue is the queue of tasks that name none.
func (w *Worker) homeQueue() string {
	if len(w.queues) > 0 {
		return w.queues[0]
	}
	return defaultQueue
}

func (w *Worker) takesFrom(queue string) bool {
	return len(w.queues) == 0 || slices.Contains(w.queues, queue)
}

func (w *Worker) takenQueues() []string {
	if len(w.queues) > 0 {
		return w.queues
	}
	var queues []string
	for _, name := range w.taskNames {
		if queue := w.tasks[name].definition.GetQueue(); !slices.Contains(queues, queue) {
			queues = append(queues, queue)
		}
	}
	return queues
}

// sdkVersion is the version of this module in the program.
func sdkVersion() string {
	if info, read := debug.ReadBuildInfo(); read {
		for _, module := range append(info.Deps, &info.Main) {
			if module.Path == modulePath {
				return module.Version
			}
		}
	}
	return "(devel)"
}
