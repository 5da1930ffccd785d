/**
 * What the client gives, as plain objects.
 *
 * Times are Dates and null where they are unset; words of the contract are written as in its documents
 * ("dead_lettered"), and null where they are unset; texts are "" there. A word that this client does not know, because
 * the server is newer, is "unknown_" and its number.
 */

import type { UnknownWord } from "./fields.js";
import type { Json } from "./json.js";
import type { RetryPolicy } from "./retry.js";

/** Which of a queue's waiting runs workers take first. High goes first; low is never starved. */
export type Priority = "high" | "normal" | "low";

/** How long an idempotency key stays taken: for a time, until the run is terminal, or for good. */
export type IdempotencyWindow = "ttl" | "while_active" | "forever";

/** A run that waits to be started: due, not due yet, or due again after an attempt that failed. */
export type WaitingStatus = "queued" | "scheduled" | "retrying";

/** A run that never changes again. */
export type TerminalStatus = "succeeded" | "dead_lettered" | "canceled";

/** Where a run stands. */
export type RunStatus = WaitingStatus | "running" | TerminalStatus;

/** How an attempt stands or ended. */
export type AttemptStatus =
  | "running"
  | "succeeded"
  | "failed"
  | "timed_out"
  | "canceled"
  /** Its worker was not heard of for a lease. */
  | "lost"
  /** Its worker shut down or handed it back; does not count against the policy. */
  | "interrupted";

/** Why a run changed its status. */
export type TransitionReason =
  | "ENQUEUED"
  | "REPLAYED"
  | "STARTED"
  | "SUCCEEDED"
  | "ATTEMPT_FAILED"
  | "ATTEMPT_TIMED_OUT"
  | "ATTEMPT_LOST"
  | "ATTEMPT_INTERRUPTED"
  | "ATTEMPTS_EXHAUSTED"
  | "NON_RETRYABLE"
  | "MAX_ELAPSED"
  | "RESULT_INVALID"
  | "START_DEADLINE_EXCEEDED"
  | "CANCEL_REQUESTED"
  | "CANCEL_IGNORED";

interface RunFields {
  readonly runId: string;
  readonly namespace: string;
  readonly task: string;
  readonly queue: string;
  readonly priority: Priority | UnknownWord;
  /** A name for people. */
  readonly name: string;
  /** The number of the last attempt, 0 before the first. */
  readonly attempt: number;
  /** Attempts that the retry policy counts: failed, timed out, lost. */
  readonly countedAttempts: number;
  readonly payloadEncoding: string;
  readonly retry: RetryPolicy;
  /** How long one attempt may take. */
  readonly timeoutSeconds: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly idempotencyKey: string;
  readonly idempotencyWindow: IdempotencyWindow | UnknownWord | null;
  readonly createdAt: Date;
  readonly startBy: Date | null;
  /** When its first attempt was granted. */
  readonly startedAt: Date | null;
  readonly cancelRequestedAt: Date | null;
  /** Why it does not start although it is due. */
  readonly heldReason: "task_paused" | "no_handler" | UnknownWord | null;
  /** What made it; `originId` says which: the run that was replayed. */
  readonly origin: "enqueue" | "replay" | "schedule" | "parent" | UnknownWord | null;
  readonly originId: string;
  /** The newest run that replays this one; `runs.get` only. */
  readonly replayedBy: string;
}

interface Waiting {
  readonly status: WaitingStatus;
  /** When it may start next. */
  readonly dueAt: Date;
  readonly finishedAt: null;
}

interface Running {
  readonly status: "running";
  readonly dueAt: null;
  readonly finishedAt: null;
}

interface Succeeded {
  readonly status: "succeeded";
  readonly dueAt: null;
  readonly finishedAt: Date;
}

interface GivenUp {
  readonly status: "dead_lettered" | "canceled";
  readonly dueAt: null;
  readonly finishedAt: Date;
}

interface OfNewerServer {
  readonly status: UnknownWord;
  readonly dueAt: Date | null;
  readonly finishedAt: Date | null;
}

interface Full<Payload> {
  readonly payload: Payload;
  /** W3C trace context of the caller. */
  readonly traceContext: Readonly<Record<string, string>>;
}

interface Result<Value> {
  readonly result: Value;
}

/** A run as lists give it: without payload, result and trace context. */
export type RunSummary = RunFields & (Waiting | Running | Succeeded | GivenUp | OfNewerServer);

/** One requested execution of a task with a payload. Only a run that `status` says has succeeded has a result. */
export type Run<Payload = Json, Value = Json> = RunFields &
  Full<Payload> &
  (
    | (Waiting & Result<null>)
    | (Running & Result<null>)
    | (Succeeded & Result<Value>)
    | (GivenUp & Result<null>)
    | (OfNewerServer & Result<Value | null>)
  );

/** A run that never changes again. */
export type TerminalRun<Payload = Json, Value = Json> = Extract<
  Run<Payload, Value>,
  { readonly status: TerminalStatus }
>;

/** A run with its attempts by number and its transitions by seq. */
export type RunDetails<Payload = Json, Value = Json> = Run<Payload, Value> & {
  readonly attempts: readonly Attempt[];
  readonly transitions: readonly Transition[];
};

/** One try at a run. */
export interface Attempt {
  readonly attemptId: string;
  /** 1, 2, 3 … never reused. */
  readonly number: number;
  readonly status: AttemptStatus | UnknownWord;
  readonly grantedAt: Date;
  readonly begunAt: Date | null;
  readonly endedAt: Date | null;
  readonly errorType: string;
  readonly errorMessage: string;
  readonly errorDetail: string;
  readonly retryAt: Date | null;
  readonly sessionId: string;
  readonly workerBuild: string;
  readonly progress: Json;
  readonly logTail: string;
}

/** One change of a run's status. */
export interface Transition {
  readonly seq: number;
  /** Null in the first one. */
  readonly fromStatus: RunStatus | UnknownWord | null;
  readonly toStatus: RunStatus | UnknownWord;
  readonly at: Date;
  readonly reasonCode: TransitionReason | UnknownWord;
  /** A person's or the server's words. */
  readonly note: string;
  readonly actor: string;
  /** The attempt it belongs to; 0 if none. */
  readonly attempt: number;
}

/**
 * One transition of one run, as a watcher sees it.
 *
 * `resumeToken` goes on after this change. The server gives tokens for several changes at once, so some of those may
 * come again; before the first of them it is the token that the watch began with.
 */
export interface RunChange {
  readonly runId: string;
  readonly task: string;
  readonly transition: Transition;
  readonly resumeToken: string;
}

/** A page of runs, newest first. `nextPageToken` is "" after the last page. */
export interface Page<AnyRun> {
  readonly runs: readonly AnyRun[];
  readonly nextPageToken: string;
}

/**
 * The run of an enqueue or replay.
 *
 * `created` is false if the same request had made it before: its key was taken, or its run id was used. `pruned`: the
 * run of a key that is taken for good is gone, and nothing but its id is known.
 */
export type Enqueued<Payload = Json, Value = Json> =
  | {
      readonly runId: string;
      readonly created: boolean;
      readonly pruned: false;
      /** Where the run stood when the server answered. */
      readonly status: RunStatus | UnknownWord;
      readonly run: Run<Payload, Value>;
    }
  | {
      readonly runId: string;
      readonly created: false;
      readonly pruned: true;
      readonly status: null;
      readonly run: null;
    };

/** The run of one item of a batch; `created` and `pruned` as in Enqueued. */
export interface BatchResult {
  readonly runId: string;
  /** Null if it was pruned. */
  readonly status: RunStatus | UnknownWord | null;
  readonly created: boolean;
  readonly pruned: boolean;
}

/** A registered task, as the server knows it. */
export interface Task {
  readonly namespace: string;
  readonly name: string;
  readonly queue: string;
  readonly retry: RetryPolicy;
  readonly timeoutSeconds: number;
  readonly priority: Priority | UnknownWord;
  /** Grows by one with each registration that changed something. */
  readonly revision: number;
  /** Set while it is paused. */
  readonly pausedAt: Date | null;
  readonly pauseReason: string;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

const TERMINAL: ReadonlySet<string> = new Set<TerminalStatus>(["succeeded", "dead_lettered", "canceled"]);

/** Whether a run never changes again. */
export function isTerminal<AnyRun extends RunSummary>(
  run: AnyRun,
): run is Extract<AnyRun, { readonly status: TerminalStatus }> {
  return TERMINAL.has(run.status);
}
