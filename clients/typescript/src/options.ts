/** What a caller may say about jobs, calls, runs and tasks. */

import type { Moment } from "./fields.js";
import type { Logger } from "./log.js";
import type { IdempotencyWindow, Priority, RunStatus } from "./models.js";
import type { RetryOptions } from "./retry.js";
import type { TlsOptions } from "./servers.js";

/** How a worker takes runs from its queues. */
export interface ConsumerOptions {
  /** How many handlers run at once, 1 to 100,000; 10 by default. */
  readonly concurrency?: number | undefined;
  /**
   * The prefetch: how many granted runs may wait here for a free slot, so that the next one begins without asking. 0 to
   * 1,000, by default as many as `concurrency`. A grant that waits longer than about two seconds is handed back.
   */
  readonly batchSize?: number | undefined;
  /**
   * How long a run may stay with a worker before another attempt may have it: the timeout of tasks that bring none.
   * 5 minutes by default. Unlike a queue's visibility timeout it needs no margin for a worker that dies, whose runs are
   * given to others as soon as its lease ends, within seconds.
   */
  readonly visibilityTimeoutSeconds?: number | undefined;
}

/** The queue of a job's tasks. */
export interface QueueOptions {
  /** [a-z0-9-]{1,63}; by default the job's name. */
  readonly name?: string | undefined;
  readonly consumer?: ConsumerOptions | undefined;
}

/** What `job` takes. */
export interface JobOptions {
  /** Names the queue that its tasks' runs wait in, [a-z0-9-]{1,63}; "default" by default. Callers need none. */
  readonly name?: string | undefined;
  /** The namespace of its tasks and runs, [a-z0-9-]{1,63}; "default" by default. */
  readonly namespace?: string | undefined;
  /**
   * host:port, or several (a list, or joined with commas) of which the first that answers is used. By default
   * $LAYERON_JOB_ADDRESS, else localhost:7233.
   */
  readonly address?: string | readonly string[] | undefined;
  /** TLS, with the system's authorities (true) or with certificates. By default the connection is not encrypted. */
  readonly tls?: TlsOptions | boolean | undefined;
  /** Sent with every call as `authorization: Bearer …`. */
  readonly token?: string | undefined;
  /** The time of each call, repeats included: what is UNAVAILABLE is tried again until then. 10 s by default. */
  readonly callTimeoutSeconds?: number | undefined;
  /** The retry policy of tasks that bring none. */
  readonly retry?: RetryOptions | undefined;
  readonly queue?: QueueOptions | undefined;
  /** The build of your application, shown with every attempt, at most 255 characters. */
  readonly buildId?: string | undefined;
  /** Where the worker and its handlers log; by default warnings and errors go to stderr. */
  readonly logger?: Logger | undefined;
}

/** What `stop` and `run` take. */
export interface StopOptions {
  /** How long running handlers may go on; 30 s by default. */
  readonly graceSeconds?: number | undefined;
}

/** Every call takes a signal: when it is aborted, the call rejects with its reason. */
export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** One run to be made. */
export interface RunOptions {
  /** From `newRunId()`, to make the repeat of a whole program safe; by default a new one. */
  readonly runId?: string | undefined;
  /** Start no earlier than so long from now, 0 to 10 years. Set this or `runAt` or neither. */
  readonly delaySeconds?: number | undefined;
  /** Start no earlier than this time, within 10 years; a past time means at once. */
  readonly runAt?: Moment | undefined;
  /** If it has not started by then, it is dead-lettered. */
  readonly startBy?: Moment | undefined;
  /** While the key is taken, the same request answers the first run: see `created` in the answer. */
  readonly idempotencyKey?: string | undefined;
  /** How long the key stays taken: "ttl" by default. */
  readonly idempotencyWindow?: IdempotencyWindow | undefined;
  /** With the window "ttl": 1 s to 10 years, 24 hours by default. */
  readonly idempotencyTtlSeconds?: number | undefined;
  /** Replaces the task's policy, as a whole. */
  readonly retry?: RetryOptions | undefined;
  /** Replaces the task's timeout of an attempt, 1 ms to 7 days. It is not that of this call. */
  readonly timeoutSeconds?: number | undefined;
  /** At most 16; runs can be listed by them. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** Replaces the task's priority. */
  readonly priority?: Priority | undefined;
  /** A name for people. */
  readonly name?: string | undefined;
  /** Set if the payload is an envelope that nobody but the handler understands, at most 63 characters. */
  readonly payloadEncoding?: string | undefined;
  /** W3C trace context; by default that of OpenTelemetry's active context. */
  readonly traceContext?: Readonly<Record<string, string>> | undefined;
}

/** What `enqueue` takes besides task and payload. */
export interface EnqueueOptions extends RunOptions, CallOptions {}

/** One run of a batch. */
export interface BatchItem<Task extends string = string, Payload = unknown> extends RunOptions {
  readonly task: Task;
  readonly payload?: Payload;
}

/** What `enqueueBatch` takes besides its items. */
export interface BatchOptions extends CallOptions {
  /** How many items go into one call, 1 to 1,000; 500 by default. */
  readonly batchSize?: number | undefined;
  /** How many calls are under way at once; 2 by default. */
  readonly concurrency?: number | undefined;
  /** Called after each call with how many are done, and of how many if that is known. */
  readonly onProgress?: ((done: number, total: number | undefined) => void) | undefined;
}

/** Which runs. All that is set must match. */
export interface RunFilter {
  readonly task?: string | undefined;
  /** One status, or several of which one must match. */
  readonly status?: RunStatus | readonly RunStatus[] | undefined;
  /** All of them must match, at most 16. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly idempotencyKey?: string | undefined;
  readonly queue?: string | undefined;
  /** Created at or after. */
  readonly createdFrom?: Moment | undefined;
  readonly createdBefore?: Moment | undefined;
  /** The replays of this run. */
  readonly originId?: string | undefined;
}

/** What `runs.list` takes. Payloads and results come with the view "full" only. */
export interface ListOptions<View extends "basic" | "full" = "basic"> extends RunFilter, CallOptions {
  readonly view?: View | undefined;
  /** How many runs are asked for at once, 1 to 500; 50 by default. */
  readonly pageSize?: number | undefined;
}

/** What `runs.listPage` takes. */
export interface PageOptions<View extends "basic" | "full" = "basic"> extends ListOptions<View> {
  /** The `nextPageToken` of the page before, with the same filter. */
  readonly pageToken?: string | undefined;
}

/** What `runs.cancel` takes. */
export interface CancelOptions extends CallOptions {
  /** Why, at most 1,024 characters; kept in the transition. */
  readonly reason?: string | undefined;
}

/** What `runs.replay` takes. */
export interface ReplayOptions extends CallOptions {
  /** Why, at most 1,024 characters; kept in the new run's first transition. */
  readonly reason?: string | undefined;
  /** Replaces the payload; undefined keeps it. */
  readonly payload?: unknown;
  readonly delaySeconds?: number | undefined;
  readonly runAt?: Moment | undefined;
  /** The new run's id, from `newRunId()`; it makes a repeat of this call safe. */
  readonly newRunId?: string | undefined;
}

/** What `runs.wait` takes. */
export interface WaitOptions extends CallOptions {
  /** WaitTimeoutError after that time; by default it waits for as long as it takes. */
  readonly timeoutSeconds?: number | undefined;
}

/** What `runs.watch` takes: one run, or which runs; without either, all of the namespace. */
export type WatchOptions = CallOptions & {
  /** Of a change seen before: go on after it. */
  readonly resumeToken?: string | undefined;
} & (
    | { readonly runId: string; readonly task?: undefined; readonly queue?: undefined; readonly labels?: undefined }
    | {
        readonly runId?: undefined;
        readonly task?: string | undefined;
        readonly queue?: string | undefined;
        readonly labels?: Readonly<Record<string, string>> | undefined;
      }
  );

/** A task's defaults: what is not said is the job's, and else the server's (3 attempts, 5 minutes, normal priority). */
export interface TaskOptions {
  /** How often and when its runs are tried again. */
  readonly retry?: RetryOptions | undefined;
  /** How long one attempt may take, 1 ms to 7 days. */
  readonly timeoutSeconds?: number | undefined;
  /** The queue its runs wait in. */
  readonly queue?: string | undefined;
  readonly priority?: Priority | undefined;
  /** The id of the schema its payloads follow. Kept with the task here; servers do not take it yet. */
  readonly payloadSchemaId?: string | undefined;
}

/** A task to register. */
export interface TaskDefinition extends TaskOptions {
  readonly name: string;
}
