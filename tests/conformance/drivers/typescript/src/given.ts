/** What a case gives, as the client takes it. An absent option stays absent; an explicit zero or empty text is given. */

import type {
  Backoff,
  BatchItem,
  EnqueueOptions,
  ReplayOptions,
  RetryOptions,
  RunFilter,
  RunOptions,
} from "@layeron/job";

/** A back-off, as cases write it. */
interface GivenBackoff {
  readonly type: "fixed" | "exponential" | "custom";
  readonly delay_ms?: number;
  readonly initial_ms?: number;
  readonly maximum_ms?: number;
  readonly multiplier?: number;
  readonly delays_ms?: readonly number[];
}

/** A retry policy, as cases write it. */
export interface GivenRetry {
  readonly attempts?: number;
  readonly backoff?: GivenBackoff;
  readonly jitter?: number;
  readonly max_elapsed_ms?: number | null;
  readonly non_retryable?: readonly string[];
}

/** The options of an enqueue or replay, as cases write them. */
export interface GivenOptions {
  readonly run_id?: string;
  readonly delay_ms?: number;
  readonly run_at?: string;
  readonly start_by?: string;
  readonly idempotency_key?: string;
  readonly idempotency_window?: NonNullable<RunOptions["idempotencyWindow"]>;
  readonly idempotency_ttl_ms?: number;
  readonly retry?: GivenRetry;
  readonly timeout_ms?: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly priority?: NonNullable<RunOptions["priority"]>;
  readonly name?: string;
  readonly payload_encoding?: string;
  readonly trace_context?: Readonly<Record<string, string>>;
  readonly new_run_id?: string;
  readonly payload?: unknown;
}

/** One item of a batch, as cases write it. */
export interface GivenItem {
  readonly task: string;
  readonly payload?: unknown;
  readonly options?: GivenOptions;
}

/** Which runs, as cases write it. */
export interface GivenFilter {
  readonly task?: string;
  readonly status?: RunFilter["status"];
  readonly labels?: Readonly<Record<string, string>>;
  readonly idempotency_key?: string;
  readonly queue?: string;
  readonly created_from?: string;
  readonly created_before?: string;
  readonly origin_id?: string;
}

export function seconds(milliseconds: number | null | undefined): number | undefined {
  return milliseconds == null ? undefined : milliseconds / 1000;
}

export function enqueueOptions(given: GivenOptions = {}): EnqueueOptions {
  return {
    runId: given.run_id,
    delaySeconds: seconds(given.delay_ms),
    runAt: given.run_at,
    startBy: given.start_by,
    idempotencyKey: given.idempotency_key,
    idempotencyWindow: given.idempotency_window,
    idempotencyTtlSeconds: seconds(given.idempotency_ttl_ms),
    retry: given.retry && retryOptions(given.retry),
    timeoutSeconds: seconds(given.timeout_ms),
    labels: given.labels,
    priority: given.priority,
    name: given.name,
    payloadEncoding: given.payload_encoding,
    traceContext: given.trace_context,
  };
}

export function replayOptions(given: GivenOptions = {}): ReplayOptions {
  return {
    payload: given.payload,
    delaySeconds: seconds(given.delay_ms),
    runAt: given.run_at,
    newRunId: given.new_run_id,
  };
}

export function batchItem({ task, payload, options }: GivenItem): BatchItem {
  return { task, payload, ...enqueueOptions(options) };
}

export function runFilter(given: GivenFilter = {}): RunFilter {
  return {
    task: given.task,
    status: given.status,
    labels: given.labels,
    idempotencyKey: given.idempotency_key,
    queue: given.queue,
    createdFrom: given.created_from,
    createdBefore: given.created_before,
    originId: given.origin_id,
  };
}

export function retryOptions(given: GivenRetry): RetryOptions {
  const { attempts, backoff, jitter, max_elapsed_ms, non_retryable: nonRetryable } = given;
  const common = { attempts, jitter, maxElapsedSeconds: seconds(max_elapsed_ms), nonRetryable };
  if (backoff === undefined) {
    return common;
  }
  if (backoff.type !== "exponential") {
    return { ...common, backoff: namedBackoff(backoff) };
  }
  return {
    ...common,
    backoff: "exponential",
    initialDelaySeconds: seconds(backoff.initial_ms),
    maxDelaySeconds: seconds(backoff.maximum_ms),
    multiplier: backoff.multiplier,
  };
}

function namedBackoff({ type, delay_ms, delays_ms = [] }: GivenBackoff): Backoff {
  return type === "fixed"
    ? { type, delaySeconds: (delay_ms ?? 0) / 1000 }
    : { type: "custom", delaysSeconds: delays_ms.map((ms) => ms / 1000) };
}
