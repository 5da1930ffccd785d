package worker

import (
	"errors"
	"fmt"
	"reflect"
	"time"
)

// Why the context of a handler is done, as context.Cause says.
var (
	// ErrCanceled: the run is to be canceled. If the handler returns an error, the run is canceled; if it returns a
	// result, it has succeeded.
	ErrCanceled = errors.New("canceled")
	// ErrTimeout: the attempt has run for longer than it may.
	ErrTimeout = errors.New("ran longer than its timeout")
	// ErrShutdown: the worker shuts down, and its grace is over.
	ErrShutdown = errors.New("the worker shut down")
	// ErrLeaseLost: no server has answered for most of the lease, so the run may be given to another worker. If the
	// handler returns a result, it is still reported, and counts unless the run was given away.
	ErrLeaseLost = errors.New("no server answered for most of the lease")
	// ErrSuperseded: the run is no longer this worker's. Nothing that the handler returns is reported.
	ErrSuperseded = errors.New("the run is no longer this worker's")
)

// RefusedError says that the server refused this worker, and why.
type RefusedError struct {
	err error
}

// Error returns why.
func (e *RefusedError) Error() string { return "the server refused this worker: " + e.err.Error() }

// Unwrap returns the error of the call.
func (e *RefusedError) Unwrap() error { return e.err }

const retryAfterMax = 30 * 24 * time.Hour

// Typed is an error that names its own type, for RetryPolicy.NonRetryable and for people. The type of any other error is
// the name of its Go type, without package and pointer: "PathError". What only package errors or fmt has made is looked
// into, and "error" if there is nothing else inside.
type Typed interface {
	error
	// ErrorType returns the name, at most 255 characters.
	ErrorType() string
}

// WithType gives an error the name of a type.
func WithType(err error, name string) error { return &typed{err, name} }

type typed struct {
	error
	name string
}

func (t *typed) ErrorType() string { return t.name }
func (t *typed) Unwrap() error     { return t.error }

// RetryAfter lets the attempt fail with err, and the run be tried again after this wait, and not after the policy's. The
// attempt counts as any other. The wait is held to 0 to 30 days.
func RetryAfter(err error, wait time.Duration) error {
	wait = min(max(wait, 0), retryAfterMax)
	if err == nil {
		err = WithType(fmt.Errorf("to be tried again after %v", wait), "RetryAfter")
	}
	return &retryAfter{err, wait}
}

type retryAfter struct {
	error
	wait time.Duration
}

func (r *retryAfter) Unwrap() error { return r.error }

// DoNotRetry lets the attempt fail with err and the run be dead-lettered at once: no further attempt would help.
func DoNotRetry(err error) error {
	if err == nil {
		err = WithType(errors.New("not to be tried again"), "DoNotRetry")
	}
	return &doNotRetry{err}
}

type doNotRetry struct {
	error
}

func (d *doNotRetry) Unwrap() error { return d.error }

// typeOf returns the name under which retry policies know an error.
func typeOf(err error) string {
	if named, is := errors.AsType[Typed](err); is {
		return named.ErrorType()
	}
	for err != nil {
		kind := reflect.TypeOf(err)
		if kind.Kind() == reflect.Pointer {
			kind = kind.Elem()
		}
		if path := kind.PkgPath(); kind.Name() != "" && path != "errors" && path != "fmt" && path != ownPath {
			return kind.Name()
		}
		err = inside(err)
	}
	return "error"
}

var ownPath = reflect.TypeFor[typed]().PkgPath()

// inside returns what an error wraps; of several the first.
func inside(err error) error {
	switch wrapper := err.(type) {
	case interface{ Unwrap() error }:
		return wrapper.Unwrap()
	case interface{ Unwrap() []error }:
		if wrapped := wrapper.Unwrap(); len(wrapped) > 0 {
			return wrapped[0]
		}
	}
	return nil
}
