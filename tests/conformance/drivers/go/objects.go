package main

import (
	"errors"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"

	"layeron.dev/job"
)

func runObject(run job.Run) object {
	return object{
		"run_id": run.ID, "namespace": run.Namespace, "task": run.Task, "queue": run.Queue, "priority": run.Priority, "name": run.Name,
		"status": run.Status, "attempt": run.Attempt, "counted_attempts": run.CountedAttempts, "payload": run.Payload,
		"payload_encoding": run.PayloadEncoding, "result": run.Result, "retry": retryObject(run.Retry), "timeout_ms": run.Timeout.Milliseconds(),
		"labels": textMap(run.Labels), "idempotency_key": run.IdempotencyKey, "idempotency_window": run.IdempotencyWindow,
		"created_at": moment(run.CreatedAt), "due_at": moment(run.DueAt), "start_by": moment(run.StartBy), "started_at": moment(run.StartedAt),
		"finished_at": moment(run.FinishedAt), "cancel_requested_at": moment(run.CancelRequestedAt), "held_reason": run.HeldReason,
		"origin": run.Origin, "origin_id": run.OriginID, "replayed_by": run.ReplayedBy, "trace_context": textMap(run.TraceContext),
	}
}

func attemptObject(attempt job.Attempt) object {
	return object{
		"attempt_id": attempt.ID, "number": attempt.Number, "status": attempt.Status, "granted_at": moment(attempt.GrantedAt),
		"begun_at": moment(attempt.BegunAt), "ended_at": moment(attempt.EndedAt), "error_type": attempt.ErrorType,
		"error_message": attempt.ErrorMessage, "error_detail": attempt.ErrorDetail, "retry_at": moment(attempt.RetryAt),
		"session_id": attempt.SessionID, "worker_build": attempt.WorkerBuild, "progress": attempt.Progress, "log_tail": attempt.LogTail,
	}
}

func transitionObject(transition job.Transition) object {
	return object{
		"seq": transition.Seq, "from_status": transition.From, "to_status": transition.To, "at": moment(transition.At),
		"reason_code": transition.ReasonCode, "note": transition.Note, "actor": transition.Actor, "attempt": transition.Attempt,
	}
}

func changeObject(change job.RunChange) object {
	return object{
		"run_id": change.RunID, "task": change.Task, "transition": transitionObject(change.Transition), "resume_token": change.ResumeToken,
	}
}

func taskObject(task job.Task) object {
	return object{
		"namespace": task.Namespace, "name": task.Name, "queue": task.Queue, "retry": retryObject(task.Retry),
		"timeout_ms": task.Timeout.Milliseconds(), "priority": task.Priority, "revision": task.Revision, "paused_at": moment(task.PausedAt),
		"pause_reason": task.PauseReason, "created_at": moment(task.CreatedAt), "updated_at": moment(task.UpdatedAt),
	}
}

// moment is null if it is not set.
func moment(at time.Time) any {
	if at.IsZero() {
		return nil
	}
	return at.UTC().Format(time.RFC3339Nano)
}

func textMap(texts map[string]string) map[string]string {
	if texts == nil {
		return map[string]string{}
	}
	return texts
}

// Their names in the Python client. The more special ones come first.
var kinds = []struct {
	kind error
	name string
}{
	{job.ErrPageTokenInvalid, "PageTokenInvalid"}, {job.ErrInvalidRequest, "InvalidRequest"}, {job.ErrTaskNotRegistered, "TaskNotRegistered"},
	{job.ErrTaskNotFound, "TaskNotFound"}, {job.ErrRunNotFound, "RunNotFound"}, {job.ErrIdempotencyKeyReused, "IdempotencyKeyReused"},
	{job.ErrRunIDReused, "RunIdReused"}, {job.ErrRunAlreadyFinished, "RunAlreadyFinished"}, {job.ErrRunNotFinished, "RunNotFinished"},
	{job.ErrFilterTooBroad, "FilterTooBroad"}, {job.ErrWatchTokenExpired, "WatchTokenExpired"}, {job.ErrOverloaded, "Overloaded"},
	{job.ErrPermissionDenied, "PermissionDenied"}, {job.ErrUnauthenticated, "Unauthenticated"}, {job.ErrUnavailable, "Unavailable"},
	{job.ErrWaitTimeout, "WaitTimeout"}, {job.ErrDeadlineExceeded, "DeadlineExceeded"}, {job.ErrInternal, "InternalError"},
}

func errorObject(err error) object {
	told := object{
		"type": "Refused", "code": "", "reason": "", "message": err.Error(), "violations": []object{}, "metadata": object{}, "retry_after_ms": nil,
	}
	if answer, is := errors.AsType[*job.Error](err); is {
		told["type"], told["code"], told["reason"], told["message"] = "JobError", code.Code(answer.Code).String(), answer.Reason, answer.Message
		told["metadata"] = textMap(answer.Metadata)
		told["violations"] = each(answer.Violations, func(v job.Violation) object {
			return object{"field": v.Field, "description": v.Description}
		})
		if answer.RetryAfter > 0 {
			told["retry_after_ms"] = answer.RetryAfter.Milliseconds()
		}
	}
	for _, one := range kinds {
		if errors.Is(err, one.kind) {
			told["type"] = one.name
			break
		}
	}
	return told
}
