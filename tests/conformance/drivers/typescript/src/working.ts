/** `work`: a worker whose handlers do what their payloads say. */

import { setTimeout as sleep } from "node:timers/promises";

import { DoNotRetry, job, RetryAfter } from "@layeron/job";
import type { Context, TaskOptions } from "@layeron/job";

import type { GivenRetry } from "./given.js";
import { retryOptions, seconds } from "./given.js";
import { read, say } from "./lines.js";

/** The line that a worker reads. */
interface Order {
  readonly namespace?: string;
  readonly queues?: readonly string[] | null;
  readonly concurrency?: number;
  readonly grace_ms?: number;
  readonly build_id?: string;
  readonly tasks: readonly GivenTask[];
}

interface GivenTask {
  readonly name: string;
  readonly queue?: string | null;
  readonly retry?: GivenRetry | null;
  readonly timeout_ms?: number | null;
  readonly priority?: NonNullable<TaskOptions["priority"]> | null;
}

/** What a handler does in one attempt, in this order. */
interface Step {
  readonly log?: string;
  readonly progress?: unknown;
  readonly sleep_ms?: number;
  readonly ignore_cancel_ms?: number;
  readonly exit?: number;
  readonly retry_after_ms?: number;
  readonly do_not_retry?: string;
  readonly fail?: { readonly type: string; readonly message: string };
  readonly context?: unknown;
  readonly result?: unknown;
}

/** Work until SIGTERM. */
export async function work(): Promise<void> {
  const lines = read<Order>();
  const { value: order } = await lines.next();
  await lines.return();
  if (order === undefined) {
    throw new Error("no line to work from");
  }
  const jobs = job({
    namespace: order.namespace,
    buildId: order.build_id,
    queue: { name: order.queues?.[0], consumer: { concurrency: order.concurrency } },
  });
  for (const task of order.tasks) {
    jobs.task(task.name, defaultsOf(task), handle);
  }
  await jobs.start();
  say({ ready: true });
  await jobs.run({ graceSeconds: seconds(order.grace_ms) });
  await jobs.close();
}

function defaultsOf({ queue, retry, timeout_ms: timeoutMs, priority }: GivenTask): TaskOptions {
  return {
    queue: queue ?? undefined,
    retry: retry ? retryOptions(retry) : undefined,
    timeoutSeconds: seconds(timeoutMs),
    priority: priority ?? undefined,
  };
}

async function handle(payload: unknown, ctx: Context): Promise<unknown> {
  const event = { run_id: ctx.runId, attempt: ctx.attempt };
  say({ start: event });
  try {
    const steps = stepsOf(payload);
    const step = steps[Math.min(ctx.attempt, steps.length) - 1];
    return step && (await act(step, ctx));
  } finally {
    say({ end: event });
  }
}

function stepsOf(payload: unknown): readonly Step[] {
  const { do: steps } = (payload ?? {}) as { readonly do?: readonly Step[] };
  return steps ?? [];
}

async function act(step: Step, ctx: Context): Promise<unknown> {
  if (step.log !== undefined) ctx.log.info(step.log);
  if (step.progress !== undefined) ctx.progress(step.progress);
  if (step.sleep_ms !== undefined) await sleep(step.sleep_ms, undefined, { signal: ctx.signal });
  if (step.ignore_cancel_ms !== undefined) await sleep(step.ignore_cancel_ms);
  if (step.exit !== undefined) process.exit(step.exit);
  if (step.retry_after_ms !== undefined) throw new RetryAfter(step.retry_after_ms / 1000);
  if (step.do_not_retry !== undefined) throw new DoNotRetry(step.do_not_retry);
  if (step.fail !== undefined) throw Object.assign(new Error(step.fail.message), { name: step.fail.type });
  return step.context === undefined ? step.result : contextOf(ctx);
}

function contextOf(ctx: Context): object {
  return {
    run_id: ctx.runId,
    attempt: ctx.attempt,
    task: ctx.task,
    namespace: ctx.namespace,
    labels: ctx.labels,
    name: ctx.name,
    counted_attempts: ctx.countedAttempts,
    max_attempts: ctx.maxAttempts,
    payload_encoding: ctx.payloadEncoding,
    trace_context: ctx.traceContext,
    cancel_requested: ctx.cancelRequested,
  };
}
