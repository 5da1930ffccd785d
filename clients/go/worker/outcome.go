package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	jobv1 "layeron.dev/job/gen/layeron/job/v1"
	"layeron.dev/job/internal/jsontext"
)

// The limits of what a worker sends.
const (
	errorTypeCharactersMax = 255
	errorMessageBytesMax   = 8 << 10
	errorDetailBytesMax    = 32 << 10
	logTailBytesMax        = 32 << 10
	progressBytesMax       = 4 << 10
	messageBytesMax        = 1 << 20
)

type outcomeKind int

const (
	succeeded outcomeKind = iota
	failed
	timedOut
	canceled
	interrupted
)

// outcome is how an attempt ended, within the contract's limits. The result belongs to success (empty means null), the
// failure to everything else.
type outcome struct {
	kind    outcomeKind
	result  []byte
	failure *jobv1.Failure
}

// size is about how many bytes it takes on the wire.
func (o *outcome) size() int {
	texts := len(o.failure.GetErrorType()) + len(o.failure.GetErrorMessage()) + len(o.failure.GetErrorDetail())
	return len(o.result) + texts + 300
}

func newOutcome(kind outcomeKind, errorType, message, detail string) outcome {
	return outcome{kind: kind, failure: &jobv1.Failure{
		ErrorType:    firstCharacters(errorType, errorTypeCharactersMax),
		ErrorMessage: head(message, errorMessageBytesMax),
		ErrorDetail:  tail(detail, errorDetailBytesMax),
	}}
}

// returned is the outcome of a handler that returned a result: one that breaks the rules fails the attempt for good.
func returned(value any, bytesMax int64) outcome {
	if value == nil {
		return outcome{kind: succeeded}
	}
	result, err := jsontext.Encode(value)
	if err == nil {
		err = jsontext.Check(result)
	}
	message := ""
	switch {
	case err != nil:
		message = fmt.Sprintf("the handler's result is not JSON: %v", err)
	case int64(len(result)) > bytesMax:
		message = fmt.Sprintf("the handler's result has %d bytes; the limit is %d", len(result), bytesMax)
	default:
		return outcome{kind: succeeded, result: result}
	}
	invalid := newOutcome(failed, "ResultInvalid", message, "")
	invalid.failure.DoNotRetry = true
	return invalid
}

// raised is the outcome of a handler that returned an error.
func raised(err error) outcome {
	told := newOutcome(failed, typeOf(err), err.Error(), detailOf(err))
	if _, is := errors.AsType[*doNotRetry](err); is {
		told.failure.DoNotRetry = true
	}
	if later, is := errors.AsType[*retryAfter](err); is {
		told.failure.RetryAfterMs = new(later.wait.Milliseconds())
	}
	return told
}

// panicked is the outcome of a handler that panicked, with the stack below it.
func panicked(value any, stack []byte) outcome {
	return newOutcome(failed, "Panic", fmt.Sprint(value), string(stack))
}

// stopped is the outcome of a handler that was told to stop and returned no result.
func stopped(cause error, timeout time.Duration, detail string) outcome {
	switch cause {
	case ErrCanceled:
		return newOutcome(canceled, "Canceled", "canceled", detail)
	case ErrTimeout:
		return newOutcome(timedOut, "Timeout", fmt.Sprintf("ran longer than its timeout of %v", timeout), detail)
	case ErrLeaseLost:
		return newOutcome(interrupted, "LeaseLost", ErrLeaseLost.Error(), detail)
	}
	return newOutcome(interrupted, "Shutdown", ErrShutdown.Error(), detail)
}

// detailOf is what an error has to say beyond its message, such as a stack.
func detailOf(err error) string {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return ""
	}
	if detail := fmt.Sprintf("%+v", err); detail != err.Error() {
		return detail
	}
	return ""
}

// clean makes a text one that protobuf and the database take.
func clean(text string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", ""), "\ufffd")
}

// head is the start of a text that fits into so many bytes.
func head(text string, bytesMax int) string {
	text = clean(text)
	if len(text) <= bytesMax {
		return text
	}
	for bytesMax > 0 && !utf8.RuneStart(text[bytesMax]) {
		bytesMax--
	}
	return text[:bytesMax]
}

// tail is the end of a text that fits into so many bytes.
func tail(text string, bytesMax int) string {
	text = clean(text)
	if len(text) <= bytesMax {
		return text
	}
	from := len(text) - bytesMax
	for from < len(text) && !utf8.RuneStart(text[from]) {
		from++
	}
	return text[from:]
}

func firstCharacters(text string, most int) string {
	text = clean(text)
	if len(text) <= most {
		return text
	}
	for i := range text {
		if most--; most < 0 {
			return text[:i]
		}
	}
	return text
}
