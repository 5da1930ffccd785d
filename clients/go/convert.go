package job

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	jobv1 "layeron.dev/job/gen/layeron/job/v1"
	"layeron.dev/job/internal/jsontext"
)

// words are an enum's words by number: "" for unspecified, "unknown_9" for a number of a newer server.
type words map[int32]string

func wordsOf(names map[int32]string, prefix string) words {
	all := words{}
	for number, name := range names {
		all[number] = strings.ToLower(strings.TrimPrefix(name, prefix))
	}
	all[0] = ""
	return all
}

var (
	runStatuses       = wordsOf(jobv1.RunStatus_name, "RUN_STATUS_")
	attemptStatuses   = wordsOf(jobv1.AttemptStatus_name, "ATTEMPT_STATUS_")
	runOrigins        = wordsOf(jobv1.RunOrigin_name, "RUN_ORIGIN_")
	heldReasons       = wordsOf(jobv1.HeldReason_name, "HELD_REASON_")
	transitionReasons = wordsOf(jobv1.TransitionReason_name, "TRANSITION_REASON_")
	windows           = wordsOf(jobv1.IdempotencyWindow_name, "IDEMPOTENCY_WINDOW_")
	priorities        = wordsOf(jobv1.Priority_name, "PRIORITY_")
)

func (w words) word(number int32) string {
	if word, known := w[number]; known {
		return word
	}
	return fmt.Sprintf("unknown_%d", number)
}

// number returns the number of a word, or a *FieldError that names the field and the words there are.
func (w words) number(field, word string) (int32, error) {
	for number, known := range w {
		if known == word && word != "" {
			return number, nil
		}
	}
	choices := slices.DeleteFunc(slices.Sorted(maps.Values(w)), func(known string) bool { return known == "" })
	return 0, &FieldError{field, fmt.Sprintf("must be one of %s, not %q", strings.Join(choices, ", "), word)}
}

// jsonText returns a payload as UTF-8 JSON. The server checks the rest of the rules.
func jsonText(payload any) ([]byte, error) {
	text, err := jsontext.Encode(payload)
	if err != nil {
		return nil, &FieldError{"payload", "is not JSON: " + err.Error()}
	}
	return text, nil
}

// moment returns a point in time for a field. The zero time is refused: it would be a mistake taken for long ago.
func moment(field string, at time.Time) (*timestamppb.Timestamp, error) {
	stamp := timestamppb.New(at)
	if at.IsZero() || stamp.CheckValid() != nil {
		return nil, &FieldError{field, fmt.Sprintf("must be a time of the years 1 to 9999 that is not zero, not %v", at)}
	}
	return stamp, nil
}

// notUTF8 returns the path of a text that protobuf cannot send, or "".
func notUTF8(message protoreflect.Message) string {
	found := ""
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		name := string(field.Name())
		switch {
		case field.IsMap():
			value.Map().Range(func(key protoreflect.MapKey, member protoreflect.Value) bool {
				if !utf8.ValidString(key.String()) || !utf8.ValidString(member.String()) {
					found = name
				}
				return found == ""
			})
		case field.IsList():
			for i := range value.List().Len() {
				if inner, bad := notUTF8Value(field, value.List().Get(i)); bad {
					found = fmt.Sprintf("%s[%d]%s", name, i, inner)
					break
				}
			}
		default:
			if inner, bad := notUTF8Value(field, value); bad {
				found = name + inner
			}
		}
		return found == ""
	})
	return found
}

func notUTF8Value(field protoreflect.FieldDescriptor, value protoreflect.Value) (string, bool) {
	switch field.Kind() {
	case protoreflect.StringKind:
		return "", !utf8.ValidString(value.String())
	case protoreflect.MessageKind:
		inner := notUTF8(value.Message())
		return "." + inner, inner != ""
	}
	return "", false
}

// checkTexts returns a *FieldError for a text that protobuf cannot send.
func checkTexts(message proto.Message) error {
	if field := notUTF8(message.ProtoReflect()); field != "" {
		return &FieldError{field, "is not UTF-8"}
	}
	return nil
}

func runFrom(run *jobv1.Run) Run {
	return Run{
		ID:                run.GetRunId(),
		Namespace:         run.GetNamespace(),
		Task:              run.GetTask(),
		Queue:             run.GetQueue(),
		Priority:          Priority(priorities.word(int32(run.GetPriority()))),
		Name:              run.GetName(),
		Status:            RunStatus(runStatuses.word(int32(run.GetStatus()))),
		Attempt:           int(run.GetAttempt()),
		CountedAttempts:   int(run.GetCountedAttempts()),
		Payload:           run.GetPayloadJson(),
		PayloadEncoding:   run.GetPayloadEncoding(),
		Result:            run.GetResultJson(),
		Retry:             retryFrom(run.GetRetry()),
		Timeout:           run.GetTimeout().AsDuration(),
		Labels:            run.GetLabels(),
		IdempotencyKey:    run.GetIdempotencyKey(),
		IdempotencyWindow: IdempotencyWindow(windows.word(int32(run.GetIdempotencyWindow()))),
		CreatedAt:         timeFrom(run.GetCreatedAt()),
		DueAt:             timeFrom(run.GetDueAt()),
		StartBy:           timeFrom(run.GetStartBy()),
		StartedAt:         timeFrom(run.GetStartedAt()),
		FinishedAt:        timeFrom(run.GetFinishedAt()),
		CancelRequestedAt: timeFrom(run.GetCancelRequestedAt()),
		HeldReason:        heldReasons.word(int32(run.GetHeldReason())),
		Origin:            runOrigins.word(int32(run.GetOrigin())),
		OriginID:          run.GetOriginId(),
		ReplayedBy:        run.GetReplayedBy(),
		TraceContext:      run.GetTraceContext(),
	}
}

func attemptFrom(attempt *jobv1.Attempt) Attempt {
	return Attempt{
		ID:           attempt.GetAttemptId(),
		Number:       int(attempt.GetNumber()),
		Status:       AttemptStatus(attemptStatuses.word(int32(attempt.GetStatus()))),
		GrantedAt:    timeFrom(attempt.GetGrantedAt()),
		BegunAt:      timeFrom(attempt.GetBegunAt()),
		EndedAt:      timeFrom(attempt.GetEndedAt()),
		ErrorType:    attempt.GetErrorType(),
		ErrorMessage: attempt.GetErrorMessage(),
		ErrorDetail:  attempt.GetErrorDetail(),
		RetryAt:      timeFrom(attempt.GetRetryAt()),
		SessionID:    attempt.GetSessionId(),
		WorkerBuild:  attempt.GetWorkerBuild(),
		Progress:     attempt.GetProgressJson(),
		LogTail:      attempt.GetLogTail(),
	}
}

func transitionFrom(transition *jobv1.Transition) Transition {
	return Transition{
		Seq:        int(transition.GetSeq()),
		From:       RunStatus(runStatuses.word(int32(transition.GetFromStatus()))),
		To:         RunStatus(runStatuses.word(int32(transition.GetToStatus()))),
		At:         timeFrom(transition.GetAt()),
		ReasonCode: strings.ToUpper(transitionReasons.word(int32(transition.GetReasonCode()))),
		Note:       transition.GetNote(),
		Actor:      transition.GetActor(),
		Attempt:    int(transition.GetAttempt()),
	}
}

func taskFrom(task *jobv1.Task) Task {
	return Task{
		Namespace:   task.GetNamespace(),
		Name:        task.GetName(),
		Queue:       task.GetQueue(),
		Retry:       retryFrom(task.GetRetry()),
		Timeout:     task.GetTimeout().AsDuration(),
		Priority:    Priority(priorities.word(int32(task.GetPriority()))),
		Revision:    task.GetRevision(),
		PausedAt:    timeFrom(task.GetPausedAt()),
		PauseReason: task.GetPauseReason(),
		CreatedAt:   timeFrom(task.GetCreatedAt()),
		UpdatedAt:   timeFrom(task.GetUpdatedAt()),
	}
}

func timeFrom(stamp *timestamppb.Timestamp) time.Time {
	if stamp == nil {
		return time.Time{}
	}
	return stamp.AsTime()
}

func each[From, To any](from []From, convert func(From) To) []To {
	converted := make([]To, len(from))
	for i, one := range from {
		converted[i] = convert(one)
	}
	return converted
}
