/** What a task's handler is given, and what it may throw to steer its run. */

import { RefusedError } from "./errors.js";
import type { Logger } from "./log.js";

/**
 * One attempt of a run, as its handler sees it.
 *
 * A handler may run more than once for one run (a worker may die after the effect and before the report), so key
 * outside effects by `runId`: it is the same in every attempt of the run, and no other run has it.
 */
export interface Context {
  readonly runId: string;
  /** The attempt's number, 1 for the first. */
  readonly attempt: number;
  /** How many attempts the retry policy has counted before this one. */
  readonly countedAttempts: number;
  /** How many attempts it allows. */
  readonly maxAttempts: number;
  readonly task: string;
  readonly namespace: string;
  /** A name for people; may be empty. */
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** W3C trace context of the enqueue. OpenTelemetry's active context is made from it already. */
  readonly traceContext: Readonly<Record<string, string>>;
  /** What the caller said about the payload's envelope; empty for plain JSON. */
  readonly payloadEncoding: string;
  /** How long this attempt may take. */
  readonly timeoutSeconds: number;
  /** When the run was enqueued. */
  readonly createdAt: Date;
  /** When the attempt times out, by this machine's clock; `remainingSeconds()` does not depend on it. */
  readonly deadline: Date;
  /**
   * Aborted once the handler should stop: cancel, timeout, shutdown, or the run is no longer this worker's. Give it to
   * `fetch` and everything else that takes a signal; nobody can stop a handler that does not listen.
   */
  readonly signal: AbortSignal;
  /** Whether the handler should stop. */
  readonly cancelRequested: boolean;
  /** Its lines from `info` on are also kept with the attempt, the last 32 KiB. */
  readonly log: Logger;
  /** The seconds until the attempt times out; never negative. */
  remainingSeconds(): number;
  /**
   * Tell how far the attempt is: any JSON value of at most 4 KiB. Only the newest one is sent, once a second.
   *
   * Throws RefusedError for a value that is larger or no JSON.
   */
  progress(value: unknown): void;
}

/**
 * Does what a task is about. What it returns, or its promise, is the run's result, as JSON; nothing means null. What it
 * throws fails the attempt, and the task's retry policy decides about the next one.
 */
export type Handler<Payload, Result> = (payload: Payload, ctx: Context) => Promise<Result> | Result;

const DELAY_SECONDS_MAX = 30 * 86_400;

/** The attempt failed; try again after this delay instead of the policy's. The attempt counts as any other. */
export class RetryAfter extends Error {
  override readonly name: string = "RetryAfter";
  readonly delaySeconds: number;

  /** @param delaySeconds 0 to 30 days; anything else throws RefusedError */
  constructor(delaySeconds: number, message?: string, options?: ErrorOptions) {
    super(message ?? `to be tried again after ${String(delaySeconds)} s`, options);
    if (!(delaySeconds >= 0 && delaySeconds <= DELAY_SECONDS_MAX)) {
      throw new RefusedError("delaySeconds", `must be 0 to 30 days, not ${String(delaySeconds)} s`);
    }
    this.delaySeconds = delaySeconds;
  }
}

/** The attempt failed and no further one would help: the run is dead-lettered at once. */
export class DoNotRetry extends Error {
  override readonly name: string = "DoNotRetry";
}
