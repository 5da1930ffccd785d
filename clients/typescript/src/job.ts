/** The way in: one object that asks for runs, looks after them, and runs the handlers of its tasks. */

import { enqueueBatch, type Items } from "./batches.js";
import { Calls } from "./calls.js";
import type { AnyTasks, Catalog, PayloadArguments, PayloadOf, ResultOf, TaskName } from "./catalog.js";
import * as convert from "./convert.js";
import { RefusedError } from "./errors.js";
import { given, inLimits, wholeInLimits } from "./fields.js";
import { JobService, JsonForm } from "./gen/layeron/job/v1/job_service_pb.js";
import type { Handler } from "./handler.js";
import { newRunId } from "./ids.js";
import type { Logger } from "./log.js";
import { consoleLogger } from "./log.js";
import type { BatchResult, Enqueued } from "./models.js";
import type {
  BatchItem,
  BatchOptions,
  CallOptions,
  ConsumerOptions,
  EnqueueOptions,
  JobOptions,
  StopOptions,
  TaskOptions,
} from "./options.js";
import { Runs } from "./runs.js";
import { Servers } from "./servers.js";
import { Tasks } from "./tasks.js";
import type { TaskHandler, Worker } from "./worker/worker.js";

/** A task that was defined here: `enqueue` by its own types. */
export interface TaskHandle<Payload, Result> {
  readonly name: string;
  enqueue(...args: PayloadArguments<Payload, EnqueueOptions>): Promise<Enqueued<Payload, Result>>;
}

const TASK_NAME = /^[A-Za-z0-9_-]{1,64}$/;
const LOWER_NAME = /^[a-z0-9-]{1,63}$/;
const TASKS_MAX = 500;
const CONCURRENCY_MAX = 100_000;
const PREFETCH_MAX = 1_000;
const TIMEOUT_SECONDS_MAX = 7 * 86_400;
const GRACE_SECONDS = 30;
const GRACE_SECONDS_MAX = 1e6;
// "Try again later" of sysexits.h: the runs were handed back.
const EXIT_CODE_LEFT_BEHIND = 75;
const LEFT_BEHIND_MS = 5_000;

/**
 * A job: a client of Layeron Job for one namespace, and a worker for the tasks that are defined on it.
 *
 * ```ts
 * const jobs = job({ name: "background", namespace: "app" });
 * jobs.task("send-mail", { retry: { attempts: 5 } }, async (payload: { to: string }, ctx) => { … });
 * await jobs.run();                                             // in a worker
 * await jobs.enqueue("send-mail", { to: "ada@example.com" });   // anywhere
 * ```
 *
 * With a catalog of its tasks, `job<Tasks>(…)`, names, payloads and results are checked by the compiler. A process that
 * only calls never loads the worker, nor NATS. Throws RefusedError for an option out of its limits.
 */
export function job<Tasks extends Catalog<Tasks> = AnyTasks>(options: JobOptions = {}): Job<Tasks> {
  return new Job<Tasks>(options);
}

/** See `job`. */
export class Job<JobTasks extends Catalog<JobTasks> = AnyTasks> implements AsyncDisposable {
  readonly namespace: string;
  /** The runs of the namespace. */
  readonly runs: Runs;
  /** The tasks of the namespace. */
  readonly tasks: Tasks;
  readonly #options: JobOptions;
  readonly #queue: string;
  readonly #calls: Calls;
  readonly #handlers = new Map<string, TaskHandler>();
  #worker: Worker | undefined;
  #starting = false;

  /** @internal */
  constructor(options: JobOptions) {
    const { name = "default", namespace = "default", queue = {}, callTimeoutSeconds = 10 } = options;
    this.namespace = named("namespace", namespace, LOWER_NAME);
    this.#queue = named("queue.name", queue.name ?? named("name", name, LOWER_NAME), LOWER_NAME);
    this.#options = options;
    this.#calls = new Calls(new Servers(options), callTimeoutSeconds);
    this.runs = new Runs(this.#calls, namespace);
    this.tasks = new Tasks(this.#calls, namespace);
  }

  /**
   * Ask for one run. Once this resolves, the run is durable.
   *
   * The payload is what JSON can carry, at most 256 KiB. Throws TaskNotRegisteredError, InvalidRequestError,
   * IdempotencyKeyReusedError, RunIdReusedError, OverloadedError, UnavailableError, DeadlineExceededError, and
   * RefusedError for what cannot be sent at all.
   */
  async enqueue<Name extends TaskName<JobTasks>>(
    task: Name,
    ...[payload, options]: PayloadArguments<PayloadOf<JobTasks, Name>, EnqueueOptions>
  ): Promise<Enqueued<PayloadOf<JobTasks, Name>, ResultOf<JobTasks, Name>>> {
    const enqueued = await this.#enqueue(task, payload, options);
    return enqueued as Enqueued<PayloadOf<JobTasks, Name>, ResultOf<JobTasks, Name>>;
  }

  /**
   * Ask for many runs; one result per item, in order. Items may come from any iterable, async too; they are read as they
   * are sent, so there may be more of them than fit into memory. Each call is made as a whole or not at all.
   *
   * An overloaded server is waited for, up to the client's timeout for each call. An error ends the batch once what is
   * under way has ended: `enqueued` of a JobError has the results by the place of their items, and violations name items
   * by their place in the whole. Give the items run ids or idempotency keys to repeat a batch safely.
   */
  enqueueBatch(
    items: Items<{ [Name in TaskName<JobTasks>]: BatchItem<Name, PayloadOf<JobTasks, Name>> }[TaskName<JobTasks>]>,
    options: BatchOptions = {},
  ): Promise<BatchResult[]> {
    return enqueueBatch(this.#calls, this.namespace, items, options);
  }

  /**
   * Define a task: its defaults, which the server is told when the worker starts, and its handler.
   *
   * Throws RefusedError for a bad value and for a name that is taken.
   */
  task<
    Name extends TaskName<JobTasks>,
    Payload extends PayloadOf<JobTasks, Name> = PayloadOf<JobTasks, Name>,
    Result extends ResultOf<JobTasks, Name> = ResultOf<JobTasks, Name>,
  >(name: Name, options: TaskOptions, handler: Handler<Payload, Result>): TaskHandle<Payload, Result> {
    named("task", name, TASK_NAME);
    if (this.#worker !== undefined || this.#starting) {
      throw new RefusedError("task", `${name} must be defined before the worker starts`);
    }
    if (this.#handlers.has(name) || this.#handlers.size === TASKS_MAX) {
      throw new RefusedError("task", this.#handlers.has(name) ? `${name} has a handler already` : "is one too many");
    }
    const { consumer = {} } = this.#options.queue ?? {};
    const definition = {
      name,
      queue: named("queue", options.queue ?? this.#queue, LOWER_NAME),
      retry: options.retry ?? this.#options.retry,
      timeoutSeconds: timeout("timeoutSeconds", options.timeoutSeconds) ?? visibilityTimeout(consumer),
      priority: options.priority,
      payloadSchemaId: given("payloadSchemaId", options.payloadSchemaId),
    };
    convert.taskDefinition(definition); // a bad policy is found here and not when the worker starts
    this.#handlers.set(name, { definition, handler: handler as Handler<unknown, unknown> });
    return {
      name,
      enqueue: async (...[payload, given]) => (await this.#enqueue(name, payload, given)) as Enqueued<Payload, Result>,
    };
  }

  /**
   * Register the tasks and work on their runs, until `stop`; resolves once a server has welcomed this worker. A server
   * that is away is waited for, until the signal is aborted.
   *
   * Throws WorkerError when the server refuses the tasks or this worker.
   */
  async start({ signal }: CallOptions = {}): Promise<void> {
    const worker = await this.#start();
    const abort = () => {
      worker.hurry();
    };
    signal?.addEventListener("abort", abort);
    if (signal?.aborted === true) abort();
    try {
      await worker.ready();
      signal?.throwIfAborted();
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /**
   * Take no more runs, wait for handlers that run, tell those that are still running after the grace to stop, and hand
   * their runs back. Does nothing if no worker runs.
   */
  async stop({ graceSeconds = GRACE_SECONDS }: StopOptions = {}): Promise<void> {
    this.#worker?.stop(inLimits("graceSeconds", graceSeconds, 0, GRACE_SECONDS_MAX) * 1000);
    await this.#worker?.stopped;
  }

  /**
   * Work until SIGTERM or SIGINT, and then as `stop` says; a second signal does not wait for handlers. Starts the worker
   * if `start` did not.
   *
   * For the end of a script: handlers that have not stopped by then are logged, and do not keep the process, which ends
   * five seconds later with exit code 75 unless it has ended by itself.
   */
  async run({ graceSeconds = GRACE_SECONDS }: StopOptions = {}): Promise<void> {
    const graceMs = inLimits("graceSeconds", graceSeconds, 0, GRACE_SECONDS_MAX) * 1000;
    let signaled = false;
    const worker = this.#worker ?? (await this.#start());
    const onSignal = () => {
      if (signaled) {
        worker.hurry();
      } else {
        worker.stop(graceMs);
      }
      signaled = true;
    };
    process.on("SIGTERM", onSignal).on("SIGINT", onSignal);
    try {
      await worker.stopped;
    } finally {
      process.off("SIGTERM", onSignal).off("SIGINT", onSignal);
    }
    if (worker.running > 0) {
      this.#logger.warn("handlers did not stop, and are left behind", { handlers: worker.running });
      setTimeout(() => process.exit(EXIT_CODE_LEFT_BEHIND), LEFT_BEHIND_MS).unref();
    }
  }

  get #logger(): Logger {
    return this.#options.logger ?? consoleLogger;
  }

  /** Stop the worker, if one runs, and end the connections, and with them every call under way. */
  async close(options: StopOptions = {}): Promise<void> {
    try {
      await this.stop(options);
    } finally {
      this.#calls.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #enqueue(task: string, payload: unknown, options: EnqueueOptions = {}): Promise<Enqueued> {
    const chosenId = options.runId === undefined ? newRunId() : undefined;
    const runId = chosenId ?? given("runId", options.runId) ?? "";
    const request = {
      ...convert.enqueueRequest(task, payload, runId, options),
      namespace: this.namespace,
      jsonForm: JsonForm.BYTES,
    };
    return convert.enqueued(await this.#calls.unary(JobService.method.enqueue, request, options.signal), chosenId);
  }

  async #start(): Promise<Worker> {
    if (this.#worker !== undefined || this.#starting) {
      throw new RefusedError("start", "was called already: a job is one worker");
    }
    if (this.#handlers.size === 0) {
      throw new RefusedError("start", "needs a task: define one with jobs.task(…)");
    }
    const { consumer = {} } = this.#options.queue ?? {};
    const concurrency = consumer.concurrency ?? 10;
    wholeInLimits("queue.consumer.concurrency", concurrency, 1, CONCURRENCY_MAX);
    const prefetch = consumer.batchSize ?? Math.min(concurrency, PREFETCH_MAX);
    wholeInLimits("queue.consumer.batchSize", prefetch, 0, PREFETCH_MAX);
    this.#starting = true;
    try {
      // Only now, so that those who only call need not load NATS.
      const { Worker } = await import("./worker/worker.js");
      const { namespace } = this;
      const worker = new Worker(this.#calls, {
        namespace,
        handlers: new Map(this.#handlers),
        concurrency,
        prefetch,
        buildId: this.#options.buildId ?? "",
        logger: this.#logger,
      });
      this.#worker = worker;
      const ended = () => {
        this.#worker = undefined;
      };
      worker.stopped.then(ended, ended);
      return worker;
    } finally {
      this.#starting = false;
    }
  }
}

function named(field: string, name: string, form: RegExp): string {
  if (!form.test(name)) {
    throw new RefusedError(field, `must match ${form.source.slice(1, -1)}, not ${JSON.stringify(name)}`);
  }
  return name;
}

function timeout(field: string, seconds: number | undefined): number | undefined {
  return seconds === undefined ? undefined : inLimits(field, seconds, 0.001, TIMEOUT_SECONDS_MAX);
}

function visibilityTimeout({ visibilityTimeoutSeconds }: ConsumerOptions): number | undefined {
  return timeout("queue.consumer.visibilityTimeoutSeconds", visibilityTimeoutSeconds);
}
