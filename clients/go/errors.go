package job

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The kinds of errors, for [errors.Is]. An [*Error] of a reason that this client does not know has the kind of its gRPC
// code, or none.
var (
	// ErrInvalidRequest: fields of the request break a rule or a limit, see Error.Violations.
	ErrInvalidRequest = errors.New("invalid request")
	// ErrPageTokenInvalid: the page token is not of this list. It is an ErrInvalidRequest, too.
	ErrPageTokenInvalid = errors.New("page token invalid")
	// ErrTaskNotRegistered: a run was asked for of a task that nobody has registered.
	ErrTaskNotRegistered = errors.New("task not registered")
	// ErrTaskNotFound: there is no task of this name.
	ErrTaskNotFound = errors.New("task not found")
	// ErrRunNotFound: there is no run of this id in this namespace.
	ErrRunNotFound = errors.New("run not found")
	// ErrIdempotencyKeyReused: the key belongs to a run that was asked for differently, see Error.RunID.
	ErrIdempotencyKeyReused = errors.New("idempotency key reused")
	// ErrRunIDReused: the run id was used for another request.
	ErrRunIDReused = errors.New("run id reused")
	// ErrRunAlreadyFinished: a terminal run cannot be canceled.
	ErrRunAlreadyFinished = errors.New("run already finished")
	// ErrRunNotFinished: only a terminal run can be replayed.
	ErrRunNotFinished = errors.New("run not finished")
	// ErrFilterTooBroad: the list takes the server too long, narrow the filter.
	ErrFilterTooBroad = errors.New("filter too broad")
	// ErrWatchTokenExpired: the watch cannot go on from this token; begin without one and list what may be missing.
	ErrWatchTokenExpired = errors.New("watch token expired")
	// ErrOverloaded: too much waits at the server already, try again after Error.RetryAfter.
	ErrOverloaded = errors.New("overloaded")
	// ErrPermissionDenied: the caller may not do this.
	ErrPermissionDenied = errors.New("permission denied")
	// ErrUnauthenticated: the token is missing or not accepted.
	ErrUnauthenticated = errors.New("unauthenticated")
	// ErrUnavailable: no server could be reached, or it cannot reach its database. It may or may not have done what was
	// asked.
	ErrUnavailable = errors.New("unavailable")
	// ErrDeadlineExceeded: no answer in time. The server may or may not have done what was asked. It is a
	// context.DeadlineExceeded, too.
	ErrDeadlineExceeded = errors.New("deadline exceeded")
	// ErrInternal: a bug of the server, see Error.ErrorID.
	ErrInternal = errors.New("internal error")
	// ErrWaitTimeout: the run that was waited for is not terminal yet, see WaitTimeoutError.
	ErrWaitTimeout = errors.New("wait timeout")
	// ErrClosed: the client was closed.
	ErrClosed = errors.New("client closed")
)

var kindsByReason = map[string]error{
	"INVALID_ARGUMENT":       ErrInvalidRequest,
	"CANNOT_BE_STORED":       ErrInvalidRequest,
	"PAGE_TOKEN_INVALID":     ErrPageTokenInvalid,
	"TASK_NOT_REGISTERED":    ErrTaskNotRegistered,
	"TASK_NOT_FOUND":         ErrTaskNotFound,
	"RUN_NOT_FOUND":          ErrRunNotFound,
	"IDEMPOTENCY_KEY_REUSED": ErrIdempotencyKeyReused,
	"RUN_ID_REUSED":          ErrRunIDReused,
	"RUN_ALREADY_FINISHED":   ErrRunAlreadyFinished,
	"RUN_NOT_FINISHED":       ErrRunNotFinished,
	"FILTER_TOO_BROAD":       ErrFilterTooBroad,
	"WATCH_TOKEN_EXPIRED":    ErrWatchTokenExpired,
	"OVERLOADED":             ErrOverloaded,
	"PERMISSION_DENIED":      ErrPermissionDenied,
	"UNAUTHENTICATED":        ErrUnauthenticated,
	"DATABASE_UNAVAILABLE":   ErrUnavailable,
	"SERVER_SHUTTING_DOWN":   ErrUnavailable,
	"INTERNAL":               ErrInternal,
}

// For errors that gRPC or a proxy made, and for reasons that a newer server gives.
var kindsByCode = map[codes.Code]error{
	codes.InvalidArgument:  ErrInvalidRequest,
	codes.PermissionDenied: ErrPermissionDenied,
	codes.Unauthenticated:  ErrUnauthenticated,
	codes.Unavailable:      ErrUnavailable,
	codes.DeadlineExceeded: ErrDeadlineExceeded,
	codes.Internal:         ErrInternal,
}

const errorDomain = "layeron.job"

// Error is an answer other than success.
type Error struct {
	// Code is the gRPC status code.
	Code codes.Code
	// Reason is stable and for programs, such as "TASK_NOT_REGISTERED"; empty if the server gave none.
	Reason string
	// Message is for people.
	Message string
	// Metadata says what the reason is about, such as {"task": "send-mail"}.
	Metadata map[string]string
	// Violations are the fields that break a rule or a limit.
	Violations []Violation
	// RetryAfter is when the server asks to be called again; 0 if it does not.
	RetryAfter time.Duration

	kind  error
	cause error
}

// Violation is one field of a request that breaks a rule or a limit.
type Violation struct {
	// Field is the field's path, such as "labels" or "items[3].delay".
	Field string
	// Description says what is wrong with it.
	Description string
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Is says whether target is the kind of the error: one of the Err… variables.
func (e *Error) Is(target error) bool {
	switch {
	case target == nil || e.kind == nil:
		return false
	case e.kind == ErrPageTokenInvalid && target == ErrInvalidRequest:
		return true
	case e.kind == ErrDeadlineExceeded && target == context.DeadlineExceeded:
		return true
	}
	return e.kind == target
}

// Unwrap returns the error of the caller's context, if that is why there is no answer.
func (e *Error) Unwrap() error { return e.cause }

// GRPCStatus returns the code and message as a gRPC status.
func (e *Error) GRPCStatus() *status.Status { return status.New(e.Code, e.Message) }

// RunID returns the run that an idempotency key belongs to; empty with errors that name none.
func (e *Error) RunID() string { return e.Metadata["run_id"] }

// ErrorID returns what to search for in the server's log after an ErrInternal; empty if no server of ours answered.
func (e *Error) ErrorID() string { return e.Metadata["error_id"] }

// FieldError is an argument that the client refused without asking a server.
type FieldError struct {
	// Field is the name of the argument, as the contract has it.
	Field string
	// Problem says what is wrong with it. It never shows a payload.
	Problem string
}

// Error returns the field and what is wrong with it.
func (e *FieldError) Error() string { return e.Field + " " + e.Problem }

// WaitTimeoutError says that the context of Runs.Wait has ended, or soon will, and the run is not terminal.
type WaitTimeoutError struct {
	// Run is how it stood then.
	Run Run
}

// Error returns the run and its status.
func (e *WaitTimeoutError) Error() string {
	return fmt.Sprintf("%s is still %s", e.Run.ID, e.Run.Status)
}

// Is says that it is an ErrWaitTimeout and a context.DeadlineExceeded.
func (e *WaitTimeoutError) Is(target error) bool {
	return target == ErrWaitTimeout || target == context.DeadlineExceeded
}

// BatchError says that a batch was not completed.
type BatchError struct {
	// Enqueued has the results so far, by the place of their items.
	Enqueued map[int]BatchResult
	// Err is why: an *Error, whose violations name items by their place in the whole, or a *FieldError.
	Err error
}

// Error returns why, and how many runs were made.
func (e *BatchError) Error() string {
	return fmt.Sprintf("%v (%d items were enqueued)", e.Err, len(e.Enqueued))
}

// Unwrap returns why.
func (e *BatchError) Unwrap() error { return e.Err }

// errorFrom makes ours of gRPC's, from its google.rpc.Status if it has one.
func errorFrom(ctx context.Context, err error, address string) *Error {
	answer := status.Convert(err)
	told := &Error{Code: answer.Code(), Message: answer.Message(), kind: kindsByCode[answer.Code()], cause: ctx.Err()}
	ours := false
	for _, detail := range answer.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if ours = detail.GetDomain() == errorDomain; ours {
				told.Reason, told.Metadata = detail.GetReason(), detail.GetMetadata()
			}
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				told.Violations = append(told.Violations, Violation{violation.GetField(), violation.GetDescription()})
			}
		case *errdetails.RetryInfo:
			told.RetryAfter = detail.GetRetryDelay().AsDuration()
		}
	}
	if kind, known := kindsByReason[told.Reason]; ours && known {
		told.kind = kind
	} else if !ours && (told.kind == ErrUnavailable || told.kind == ErrDeadlineExceeded) {
		told.Message = "no answer from " + address + ": " + told.Message
	}
	return told
}
