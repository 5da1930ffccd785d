package job

import (
	"context"
	"iter"

	"google.golang.org/protobuf/types/known/durationpb"

	jobv1 "layeron.dev/job/gen/layeron/job/v1"
)

// Tasks are the tasks of a client's namespace: Client.Tasks.
type Tasks struct {
	calls *calls
}

// Register makes or changes 1 to 500 tasks and returns them as they now are. Runs that exist keep what they have.
// Workers do this for their own tasks when they start.
func (t *Tasks) Register(ctx context.Context, definitions ...TaskDefinition) ([]Task, error) {
	request := &jobv1.RegisterTasksRequest{Namespace: t.calls.namespace}
	for _, definition := range definitions {
		task, err := definition.Proto()
		if err != nil {
			return nil, err
		}
		request.Tasks = append(request.Tasks, task)
	}
	answer, err := callTasks(ctx, t.calls, jobv1.TaskServiceClient.RegisterTasks, request)
	if err != nil {
		return nil, err
	}
	return each(answer.GetTasks(), taskFrom), nil
}

// Proto returns the definition as the contract has it, or a *FieldError for a value out of its limits.
func (d TaskDefinition) Proto() (*jobv1.TaskDefinition, error) {
	task := &jobv1.TaskDefinition{Name: d.Name, Queue: d.Queue}
	if d.Retry != nil {
		policy, err := d.Retry.Proto()
		if err != nil {
			return nil, err
		}
		task.Retry = policy
	}
	if d.Timeout != 0 {
		task.Timeout = durationpb.New(d.Timeout)
	}
	if d.Priority != "" {
		number, err := priorities.number("priority", string(d.Priority))
		if err != nil {
			return nil, err
		}
		task.Priority = jobv1.Priority(number)
	}
	return task, nil
}

// Get returns one task, or ErrTaskNotFound.
func (t *Tasks) Get(ctx context.Context, name string) (Task, error) {
	request := &jobv1.GetTaskRequest{Namespace: t.calls.namespace, Name: name}
	answer, err := callTasks(ctx, t.calls, jobv1.TaskServiceClient.GetTask, request)
	if err != nil {
		return Task{}, err
	}
	return taskFrom(answer.GetTask()), nil
}

// List returns all tasks by name, asked for page by page. It ends with the first error.
func (t *Tasks) List(ctx context.Context) iter.Seq2[Task, error] {
	return func(yield func(Task, error) bool) {
		request := &jobv1.ListTasksRequest{Namespace: t.calls.namespace}
		for {
			answer, err := callTasks(ctx, t.calls, jobv1.TaskServiceClient.ListTasks, request)
			if err != nil {
				yield(Task{}, err)
				return
			}
			for _, task := range answer.GetTasks() {
				if !yield(taskFrom(task), nil) {
					return
				}
			}
			if request.PageToken = answer.GetNextPageToken(); request.PageToken == "" {
				return
			}
		}
	}
}

// Pause lets nothing more of the task start; what runs goes on. The reason has at most 1,024 characters. The error is
// ErrTaskNotFound if there is no such task.
func (t *Tasks) Pause(ctx context.Context, name, reason string) (Task, error) {
	request := &jobv1.PauseTaskRequest{Namespace: t.calls.namespace, Name: name, Reason: reason}
	answer, err := callTasks(ctx, t.calls, jobv1.TaskServiceClient.PauseTask, request)
	if err != nil {
		return Task{}, err
	}
	return taskFrom(answer.GetTask()), nil
}

// Resume lets the task start again. The error is ErrTaskNotFound if there is no such task.
func (t *Tasks) Resume(ctx context.Context, name string) (Task, error) {
	request := &jobv1.ResumeTaskRequest{Namespace: t.calls.namespace, Name: name}
	answer, err := callTasks(ctx, t.calls, jobv1.TaskServiceClient.ResumeTask, request)
	if err != nil {
		return Task{}, err
	}
	return taskFrom(answer.GetTask()), nil
}
