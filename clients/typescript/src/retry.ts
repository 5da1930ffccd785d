/** Retry policies: how often and when a run is tried again after an attempt failed, timed out or was lost. */

import type { MessageInitShape } from "@bufbuild/protobuf";

import { RefusedError } from "./errors.js";
import { durationOf, inLimits, secondsOf } from "./fields.js";
import type { RetryPolicy as RetryPolicyMessage, RetryPolicySchema } from "./gen/layeron/job/v1/task_pb.js";

/** Waits of initial, initial × multiplier, initial × multiplier² … up to the maximum. */
export interface ExponentialBackoff {
  readonly type: "exponential";
  readonly initialDelaySeconds: number;
  readonly maxDelaySeconds: number;
  readonly multiplier: number;
}

/** The same wait after every failure. */
export interface FixedBackoff {
  readonly type: "fixed";
  readonly delaySeconds: number;
}

/** Each wait by name: the first failure uses the first one, and the last one repeats. 1 to 100 of them. */
export interface CustomBackoff {
  readonly type: "custom";
  readonly delaysSeconds: readonly number[];
}

/** The wait between two attempts, each time 0 to 30 days. */
export type Backoff = ExponentialBackoff | FixedBackoff | CustomBackoff;

/** A policy as the server keeps it, with every default written out. It is a valid RetryOptions too. */
export interface RetryPolicy {
  readonly attempts: number;
  readonly backoff: Backoff;
  readonly jitter: number;
  readonly maxElapsedSeconds: number | null;
  readonly nonRetryable: readonly string[];
}

interface CommonOptions {
  /** Tries that may count, the first included, 1 to 1000; 3 by default. */
  readonly attempts?: number | undefined;
  /** Up to this share of a wait, 0 to 1, is added to it by chance; 0.1 by default. */
  readonly jitter?: number | undefined;
  /** No retry later than this after the first start, at most 10 years. By default there is no such limit. */
  readonly maxElapsedSeconds?: number | null | undefined;
  /**
   * Errors, by class or by name, that end the run at once. They match by exact name, not by inheritance. "Timeout" and
   * "Lost" name those two outcomes. At most 32.
   */
  readonly nonRetryable?: readonly (string | (abstract new (...args: never[]) => Error))[] | undefined;
}

interface ExponentialOptions {
  readonly backoff?: "exponential" | undefined;
  /** The wait after the first failure, 0 to 30 days; 5 s by default. */
  readonly initialDelaySeconds?: number | undefined;
  /** The longest wait, up to 30 days; 300 s by default. */
  readonly maxDelaySeconds?: number | undefined;
  /** The growth per failure, 1 to 100; 2 by default. */
  readonly multiplier?: number | undefined;
}

interface FixedOptions {
  readonly backoff: "fixed";
  /** The wait after every failure, 0 to 30 days; 5 s by default. */
  readonly initialDelaySeconds?: number | undefined;
}

interface NamedOptions {
  readonly backoff: Backoff;
}

/**
 * A retry policy: its back-off is "exponential" (the default) or "fixed" with the times beside it, or an object with its
 * own times, such as `{ type: "custom", delaysSeconds: [10, 30, 120] }`.
 */
export type RetryOptions = CommonOptions & (ExponentialOptions | FixedOptions | NamedOptions);

const DELAY_SECONDS_MAX = 30 * 86_400;
const MAX_ELAPSED_SECONDS_MAX = 3650 * 86_400;
const DEFAULTS = { initialDelaySeconds: 5, maxDelaySeconds: 300, multiplier: 2 } as const;

/** A policy as the server takes it. Throws RefusedError for a value out of its limits. */
export function retryMessage(field: string, retry: RetryOptions): MessageInitShape<typeof RetryPolicySchema> {
  const { attempts = 3, jitter = 0.1, maxElapsedSeconds, nonRetryable = [] } = retry;
  if (!Number.isInteger(attempts)) {
    throw new RefusedError(`${field}.attempts`, `must be a whole number, not ${String(attempts)}`);
  }
  inLimits(`${field}.nonRetryable.length`, nonRetryable.length, 0, 32);
  const message: MessageInitShape<typeof RetryPolicySchema> = {
    maxAttempts: inLimits(`${field}.attempts`, attempts, 1, 1000),
    backoff: backoffMessage(field, retry),
    jitter: inLimits(`${field}.jitter`, jitter, 0, 1),
    nonRetryableTypes: nonRetryable.map((type) => (typeof type === "string" ? type : type.name)),
  };
  for (const name of message.nonRetryableTypes ?? []) {
    inLimits(`the length of an error name in ${field}.nonRetryable`, name.length, 1, 255);
  }
  if (maxElapsedSeconds != null) {
    const what = `${field}.maxElapsedSeconds`;
    message.maxElapsed = durationOf(what, inLimits(what, maxElapsedSeconds, 0, MAX_ELAPSED_SECONDS_MAX));
  }
  return message;
}

/** A policy as it is read. */
export function retryPolicy(message: RetryPolicyMessage | undefined): RetryPolicy {
  return {
    attempts: message?.maxAttempts ?? 3,
    backoff: backoffOf(message),
    jitter: message?.jitter ?? 0.1,
    maxElapsedSeconds: message?.maxElapsed === undefined ? null : secondsOf(message.maxElapsed),
    nonRetryable: message?.nonRetryableTypes ?? [],
  };
}

type BackoffMessage = MessageInitShape<typeof RetryPolicySchema>["backoff"] & object;

function backoffMessage(field: string, retry: RetryOptions): BackoffMessage {
  const backoff = backoffNamed(field, retry);
  const place = typeof retry.backoff === "object" ? `${field}.backoff` : field;
  const delay = (name: string, seconds: number, least = 0) =>
    durationOf(`${place}.${name}`, inLimits(`${place}.${name}`, seconds, least, DELAY_SECONDS_MAX));
  switch (backoff.type) {
    case "fixed": {
      const name = typeof retry.backoff === "object" ? "delaySeconds" : "initialDelaySeconds";
      return { case: "fixed", value: { delay: delay(name, backoff.delaySeconds) } };
    }
    case "exponential": {
      const { initialDelaySeconds, maxDelaySeconds, multiplier } = backoff;
      const initial = delay("initialDelaySeconds", initialDelaySeconds);
      const maximum = delay("maxDelaySeconds", maxDelaySeconds, initialDelaySeconds);
      inLimits(`${place}.multiplier`, multiplier, 1, 100);
      return { case: "exponential", value: { initial, maximum, multiplier } };
    }
    case "custom": {
      inLimits(`${place}.delaysSeconds.length`, backoff.delaysSeconds.length, 1, 100);
      const delays = backoff.delaysSeconds.map((seconds, at) => delay(`delaysSeconds[${at}]`, seconds));
      return { case: "custom", value: { delays } };
    }
  }
}

/** The back-off with its times, whichever way it was said. */
function backoffNamed(field: string, retry: RetryOptions): Backoff {
  const { backoff = "exponential" } = retry;
  if (typeof backoff === "object") {
    if (["exponential", "fixed", "custom"].includes(backoff.type)) {
      return backoff;
    }
  } else {
    // The times beside a word: the compiler has left only those that go with it, and undefined stands for the default.
    const { initialDelaySeconds = DEFAULTS.initialDelaySeconds } = retry as ExponentialOptions;
    if (backoff === "fixed") {
      return { type: "fixed", delaySeconds: initialDelaySeconds };
    }
    // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- callers without types may say anything
    if (backoff === "exponential") {
      const { maxDelaySeconds, multiplier = DEFAULTS.multiplier } = retry as ExponentialOptions;
      const longest = maxDelaySeconds ?? Math.max(DEFAULTS.maxDelaySeconds, initialDelaySeconds);
      return { type: "exponential", initialDelaySeconds, maxDelaySeconds: longest, multiplier };
    }
  }
  throw new RefusedError(
    `${field}.backoff`,
    'must be "exponential", "fixed", or an object of one of these types or "custom"',
  );
}

function backoffOf(message: RetryPolicyMessage | undefined): Backoff {
  switch (message?.backoff.case) {
    case "fixed":
      return { type: "fixed", delaySeconds: secondsOf(message.backoff.value.delay) };
    case "custom":
      return { type: "custom", delaysSeconds: message.backoff.value.delays.map(secondsOf) };
    case "exponential":
    case undefined: {
      const { initial, maximum, multiplier } = message?.backoff.value ?? {};
      return {
        type: "exponential",
        initialDelaySeconds: initial === undefined ? DEFAULTS.initialDelaySeconds : secondsOf(initial),
        maxDelaySeconds: maximum === undefined ? DEFAULTS.maxDelaySeconds : secondsOf(maximum),
        multiplier: multiplier ?? DEFAULTS.multiplier,
      };
    }
  }
}
