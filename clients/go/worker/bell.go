package worker

import "context"

// bell wakes the one goroutine that empties some lanes. What is added while it is awake costs no channel operation.
type bell struct {
	rung bool // guarded by the worker's lock
	wake chan struct{}
}

func newBell() bell { return bell{wake: make(chan struct{}, 1)} }

// ring is called with the worker's lock held, after something was added.
func (b *bell) ring() {
	if b.rung {
		return
	}
	b.rung = true
	select {
	case b.wake <- struct{}{}:
	default: // it was answered before it was waited for: the wake that is there will do
	}
}

// wait returns once the bell was rung; false if the context has ended before. Call answered before emptying the lanes.
func (b *bell) wait(ctx context.Context) bool {
	select {
	case <-b.wake:
		return true
	case <-ctx.Done():
		return false
	}
}

// answered is called with the worker's lock held.
func (b *bell) answered() { b.rung = false }
