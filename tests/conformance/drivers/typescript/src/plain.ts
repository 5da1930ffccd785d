/** What the client answers, as cases write it: the fields of the Python client's models. */

import { isJobError, RefusedError, WaitTimeoutError } from "@layeron/job";
import type { Attempt, Backoff, BatchResult, Enqueued, RetryPolicy, RunChange, Transition } from "@layeron/job";

type Plain = Record<string, unknown>;

/** What cases find in a list without payloads, whose runs have no such fields here. */
export const NOT_IN_LISTS: Plain = { payload: null, result: null, trace_context: {} };

/** Fields that are null here where they are unset, and "" in cases. */
const WORDS: ReadonlySet<string> = new Set(["idempotency_window", "held_reason", "origin", "from_status", "status"]);
/** What the options of a policy are called in cases. */
const OTHER_NAMES: Readonly<Partial<Record<string, string>>> = {
  initialDelaySeconds: "initial",
  maxDelaySeconds: "maximum",
};

/** A run or a task: every field under its name in snake_case, times as text and lengths of time in milliseconds. */
export function model(value: object): Plain {
  return Object.fromEntries(Object.entries(value).map(([name, of]) => field(name, of)));
}

export function attempt(value: Attempt): Plain {
  return model(value);
}

export function transition(value: Transition): Plain {
  return model(value);
}

export function change({ transition: changed, ...rest }: RunChange): Plain {
  return { ...model(rest), transition: transition(changed) };
}

export function enqueued({ runId, created, status }: Enqueued | BatchResult): Plain {
  return { run_id: runId, created, status: status ?? "" };
}

/** An error, with what the client refused by itself under the names that cases know. */
export function error(told: unknown): Plain {
  const none = { code: "", reason: "", violations: [], metadata: {}, retry_after_ms: null };
  if (told instanceof RefusedError) {
    return { ...none, type: "Refused", message: `${nameOf(told.field)}: ${told.message}` };
  }
  if (told instanceof WaitTimeoutError) {
    return { ...none, type: "WaitTimeout", message: told.message };
  }
  if (!isJobError(told)) {
    throw told;
  }
  const { kind, code, reason, message, violations, metadata, retryAfterSeconds } = told;
  const type = kind === "Other" ? "JobError" : kind;
  return { type, code, reason, message, violations, metadata, retry_after_ms: ms(retryAfterSeconds) };
}

function field(name: string, value: unknown): [string, unknown] {
  const key = snake(name);
  if (name === "retry") {
    return [key, retry(value as RetryPolicy)];
  }
  if (name.endsWith("Seconds")) {
    return [`${nameOf(name)}_ms`, ms(value as number)];
  }
  return [key, value === null && WORDS.has(key) ? "" : value]; // a Date is written as text in UTC
}

function retry({ attempts, backoff, jitter, maxElapsedSeconds, nonRetryable }: RetryPolicy): Plain {
  return {
    attempts,
    backoff: backoffOf(backoff),
    jitter,
    max_elapsed_ms: ms(maxElapsedSeconds),
    non_retryable: nonRetryable,
  };
}

function backoffOf(backoff: Backoff): Plain {
  switch (backoff.type) {
    case "fixed":
      return { type: "fixed", delay_ms: ms(backoff.delaySeconds) };
    case "custom":
      return { type: "custom", delays_ms: backoff.delaysSeconds.map(ms) };
    case "exponential": {
      const { type, initialDelaySeconds, maxDelaySeconds, multiplier } = backoff;
      return { type, initial_ms: ms(initialDelaySeconds), maximum_ms: ms(maxDelaySeconds), multiplier };
    }
  }
}

/** Milliseconds, to the nanosecond. */
function ms(seconds: number | null): number | null {
  return seconds === null ? null : Math.round(seconds * 1e9) / 1e6;
}

/** The name in cases of one of our fields: "retry.backoff.delaysSeconds[1]" is "retry.backoff.delays[1]" there. */
function nameOf(ours: string): string {
  return ours.replaceAll(/\w+/g, (word) => OTHER_NAMES[word] ?? snake(word.replace(/Seconds$/, "")));
}

function snake(camel: string): string {
  return camel.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
