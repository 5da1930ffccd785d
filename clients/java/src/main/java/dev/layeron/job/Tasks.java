package dev.layeron.job;

import dev.layeron.job.v1.GetTaskRequest;
import dev.layeron.job.v1.ListTasksRequest;
import dev.layeron.job.v1.PauseTaskRequest;
import dev.layeron.job.v1.RegisterTasksRequest;
import dev.layeron.job.v1.ResumeTaskRequest;
import dev.layeron.job.v1.TaskServiceGrpc;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Stream;

/**
 * The tasks of the client's namespace: registering them from a deploy script, looking at them, pausing and resuming
 * them.
 *
 * <p>Futures fail with a {@link JobException}; canceling one cancels its call.
 */
public final class Tasks {
    private static final int PAGE_SIZE = 100;

    private final Calls calls;
    private final String namespace;

    Tasks(Calls calls, String namespace) {
        this.calls = calls;
        this.namespace = namespace;
    }

    /**
     * Makes or changes tasks. Runs that exist keep what they have. Workers do this for their own tasks when they start.
     *
     * @param definitions 1 to 500 tasks, each name once
     * @return the tasks as they now are, in this order; fails with {@link JobException.InvalidRequest}
     */
    public CompletableFuture<List<Task>> register(List<TaskDefinition> definitions) {
        RegisterTasksRequest request = RegisterTasksRequest.newBuilder()
                .setNamespace(namespace)
                .addAllTasks(definitions.stream().map(Requests::taskDefinition).toList())
                .build();
        return calls.unary(
                TaskServiceGrpc.getRegisterTasksMethod(),
                request,
                answer -> answer.getTasksList().stream().map(Answers::task).toList());
    }

    /**
     * One task.
     *
     * @param name the task's name
     * @return the task; fails with {@link JobException.TaskNotFound}
     */
    public CompletableFuture<Task> get(String name) {
        GetTaskRequest request = GetTaskRequest.newBuilder()
                .setNamespace(namespace)
                .setName(Limits.text("name", name))
                .build();
        return calls.unary(TaskServiceGrpc.getGetTaskMethod(), request, answer -> Answers.task(answer.getTask()));
    }

    /**
     * All tasks by name.
     *
     * @return the tasks; the stream asks for the next page when it needs one, and waits for it
     * @throws JobException while the stream is read
     */
    public Stream<Task> list() {
        return list(PAGE_SIZE);
    }

    /**
     * All tasks by name.
     *
     * @param pageSize how many are asked for at once, 1 to 500
     * @return the tasks; the stream asks for the next page when it needs one, and waits for it
     * @throws JobException while the stream is read
     */
    public Stream<Task> list(int pageSize) {
        return Pages.stream(token -> calls.unary(
                TaskServiceGrpc.getListTasksMethod(),
                ListTasksRequest.newBuilder()
                        .setNamespace(namespace)
                        .setPageSize(pageSize)
                        .setPageToken(token)
                        .build(),
                answer -> new Pages.Part<>(
                        answer.getTasksList().stream().map(Answers::task).toList(), answer.getNextPageToken())));
    }

    /**
     * Lets nothing more of a task start; what runs goes on. A paused task keeps its first reason.
     *
     * @param name the task's name
     * @param reason why, at most 1,024 characters; may be empty
     * @return the task; fails with {@link JobException.TaskNotFound}
     */
    public CompletableFuture<Task> pause(String name, String reason) {
        PauseTaskRequest request = PauseTaskRequest.newBuilder()
                .setNamespace(namespace)
                .setName(Limits.text("name", name))
                .setReason(Limits.text("reason", reason))
                .build();
        return calls.unary(TaskServiceGrpc.getPauseTaskMethod(), request, answer -> Answers.task(answer.getTask()));
    }

    /**
     * Lets a task start again.
     *
     * @param name the task's name
     * @return the task; fails with {@link JobException.TaskNotFound}
     */
    public CompletableFuture<Task> resume(String name) {
        ResumeTaskRequest request = ResumeTaskRequest.newBuilder()
                .setNamespace(namespace)
                .setName(Limits.text("name", name))
                .build();
        return calls.unary(TaskServiceGrpc.getResumeTaskMethod(), request, answer -> Answers.task(answer.getTask()));
    }
}
