package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

const (
	unwindLimit  = 2 * time.Second
	reportLimit  = 5 * time.Second
	goodbyeLimit = 3 * time.Second
	lookEvery    = 10 * time.Millisecond
)

// Main runs the worker until SIGTERM or SIGINT. A second signal ends it without waiting for handlers.
func (w *Worker) Main() error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	ended := make(chan struct{})
	defer func() {
		signal.Stop(signals)
		close(ended)
	}()
	go func() {
		for _, act := range []func(){w.Stop, w.hurryUp} {
			select {
			case <-signals:
				act()
			case <-ended:
				return
			}
		}
	}()
	return w.Run(context.Background())
}

// Run registers the tasks and works until its context is done or Stop is called. Then it takes no more runs, waits for
// handlers up to the grace, and reports the rest as interrupted, which costs their runs no try.
//
// Handlers have the values of the context, not its end. A server that is away is waited for. The error says that an
// option is wrong, or that a server refused the tasks or this worker.
func (w *Worker) Run(ctx context.Context) error {
	if err := w.misconfigured(); err != nil {
		return err
	}
	w.base = context.WithoutCancel(ctx)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-w.stopped:
			stop()
		case <-ctx.Done():
		}
	}()
	if err := w.register(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	return w.work(ctx)
}

func (w *Worker) hurryUp() {
	w.logger.Warn("told to stop again: handlers are not waited for")
	close(w.hurried)
}

func (w *Worker) misconfigured() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.tasks) == 0 && len(w.problems) == 0 {
		w.wrong(errors.New("the worker has no tasks: register a handler with worker.Handle"))
	}
	if count := len(w.takenQueues()); count > queuesMax {
		w.wrong(fmt.Errorf("a worker takes from at most %d queues; its tasks are of %d", queuesMax, count))
	}
	return errors.Join(w.problems...)
}

func (w *Worker) work(ctx context.Context) error {
	loops, end := context.WithCancel(w.base)
	var under sync.WaitGroup
	for _, loop := range []func(context.Context){
		w.session.write, w.session.keepLease, w.deliveries.run, w.deliveries.send, w.deliveries.watch,
	} {
		under.Go(func() { loop(loops) })
	}
	refused := make(chan error, 1)
	under.Go(func() { refused <- w.session.run(loops) })
	var err error
	select {
	case err = <-refused:
	case <-ctx.Done():
		w.drain()
	}
	end()
	under.Wait()
	w.deliveries.close()
	return err
}

// drain hands back what has not begun, waits for what runs, reports the rest as interrupted, and says goodbye.
func (w *Worker) drain() {
	w.Stop()
	w.mu.Lock()
	w.logger.Info("stopping", slog.Int("handlers", len(w.slots.running)))
	w.slots.handBackWaiting("Shutdown", shutdownMessage)
	w.mu.Unlock()
	w.deliveries.stop()
	idle := func() bool { return len(w.slots.running) == 0 }
	w.until(idle, w.grace)
	w.forRunning(func(x *execution) { x.stop(ErrShutdown) })
	w.until(idle, unwindLimit)
	w.forRunning(func(x *execution) { x.giveUp(context.Cause(x.attempt.ctx)) })
	w.until(func() bool { return len(w.session.attempts) == 0 && len(w.session.unanswered) == 0 }, reportLimit)
	w.session.leave(goodbyeLimit)
}

func (w *Worker) forRunning(act func(*execution)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for x := range w.slots.running {
		act(x)
	}
}

// until waits until it is over, at most so long, and not at all when told to hurry.
func (w *Worker) until(over func() bool, limit time.Duration) {
	deadline := time.After(limit)
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		w.mu.Lock()
		done := over()
		w.mu.Unlock()
		if done {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline:
			return
		case <-w.hurried:
			return
		}
	}
}
