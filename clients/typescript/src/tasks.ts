/** Tasks: registering them from a deploy script, looking at them, pausing and resuming them. */

import type { Calls } from "./calls.js";
import * as convert from "./convert.js";
import { text, wholeInLimits } from "./fields.js";
import { TaskService } from "./gen/layeron/job/v1/task_service_pb.js";
import type { Task } from "./models.js";
import type { CallOptions, TaskDefinition } from "./options.js";

/** The tasks of a job's namespace: `jobs.tasks`. */
export class Tasks {
  readonly #calls: Calls;
  readonly #namespace: string;

  /** @internal */
  constructor(calls: Calls, namespace: string) {
    this.#calls = calls;
    this.#namespace = namespace;
  }

  /**
   * Make or change 1 to 500 tasks; answers them as they now are. Runs that exist keep what they have.
   *
   * Workers do this for their own tasks when they start.
   */
  async register(definitions: Iterable<TaskDefinition>, { signal }: CallOptions = {}): Promise<Task[]> {
    const request = { namespace: this.#namespace, tasks: [...definitions].map(convert.taskDefinition) };
    const answer = await this.#calls.unary(TaskService.method.registerTasks, request, signal);
    return answer.tasks.map(convert.task);
  }

  /** One task. Throws TaskNotFoundError. */
  async get(name: string, { signal }: CallOptions = {}): Promise<Task> {
    const request = { namespace: this.#namespace, name: text("name", name) };
    const answer = await this.#calls.unary(TaskService.method.getTask, request, signal);
    return convert.task(convert.required(answer.task));
  }

  /** All tasks by name, asked for page by page. pageSize is 1 to 500, 100 by default. */
  async *list(
    options: CallOptions & { readonly pageSize?: number | undefined } = {},
  ): AsyncGenerator<Task, void, undefined> {
    const { pageSize, signal } = options;
    const size =
      pageSize === undefined ? {} : { pageSize: wholeInLimits("pageSize", pageSize, -(2 ** 31), 2 ** 31 - 1) };
    let pageToken = "";
    do {
      const request = { namespace: this.#namespace, pageToken, ...size };
      const answer = await this.#calls.unary(TaskService.method.listTasks, request, signal);
      yield* answer.tasks.map(convert.task);
      pageToken = answer.nextPageToken;
    } while (pageToken !== "");
  }

  /** Let nothing more of the task start; what runs goes on. Throws TaskNotFoundError. */
  async pause(name: string, options: CallOptions & { readonly reason?: string | undefined } = {}): Promise<Task> {
    const { reason = "", signal } = options;
    const request = { namespace: this.#namespace, name: text("name", name), reason: text("reason", reason) };
    const answer = await this.#calls.unary(TaskService.method.pauseTask, request, signal);
    return convert.task(convert.required(answer.task));
  }

  /** Let the task start again. Throws TaskNotFoundError. */
  async resume(name: string, { signal }: CallOptions = {}): Promise<Task> {
    const request = { namespace: this.#namespace, name: text("name", name) };
    const answer = await this.#calls.unary(TaskService.method.resumeTask, request, signal);
    return convert.task(convert.required(answer.task));
  }
}
