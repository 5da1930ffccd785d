/**
 * What a call may throw: a JobError of a class for each reason the server gives, and OtherJobError for reasons unknown
 * to this client.
 *
 * Each has a `kind`: after `isJobError(error)` a `switch` on it tells them apart, and the compiler knows which are left.
 * What this client refuses to send at all is a RefusedError; what the caller's AbortSignal ended rejects with the
 * signal's reason.
 */

import type { BatchResult, Run } from "./models.js";

/** The gRPC status codes, as gRPC spells them. */
export type StatusCode =
  | "CANCELLED"
  | "UNKNOWN"
  | "INVALID_ARGUMENT"
  | "DEADLINE_EXCEEDED"
  | "NOT_FOUND"
  | "ALREADY_EXISTS"
  | "PERMISSION_DENIED"
  | "RESOURCE_EXHAUSTED"
  | "FAILED_PRECONDITION"
  | "ABORTED"
  | "OUT_OF_RANGE"
  | "UNIMPLEMENTED"
  | "INTERNAL"
  | "UNAVAILABLE"
  | "DATA_LOSS"
  | "UNAUTHENTICATED";

/** Why the server refused, for programs. */
export type Reason =
  | "INVALID_ARGUMENT"
  | "CANNOT_BE_STORED"
  | "PAGE_TOKEN_INVALID"
  | "TASK_NOT_REGISTERED"
  | "TASK_NOT_FOUND"
  | "RUN_NOT_FOUND"
  | "IDEMPOTENCY_KEY_REUSED"
  | "RUN_ID_REUSED"
  | "RUN_ALREADY_FINISHED"
  | "RUN_NOT_FINISHED"
  | "FILTER_TOO_BROAD"
  | "WATCH_TOKEN_EXPIRED"
  | "OVERLOADED"
  | "PERMISSION_DENIED"
  | "UNAUTHENTICATED"
  | "DATABASE_UNAVAILABLE"
  | "INTERNAL";

/** A field of the request, such as "labels.team" or "items[3].payload", and what is wrong with it. */
export interface Violation {
  readonly field: string;
  readonly description: string;
}

/** What an error is made of. */
export interface ErrorFields {
  readonly code: StatusCode;
  readonly reason?: Reason | (string & {}) | undefined;
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  readonly violations?: readonly Violation[] | undefined;
  readonly retryAfterSeconds?: number | undefined;
  readonly cause?: unknown;
}

/** An answer other than success. */
export abstract class JobError extends Error {
  /** Tells the errors apart in a `switch`. */
  abstract readonly kind: string;
  /** The gRPC status code. */
  readonly code: StatusCode;
  /** Stable, for programs, such as "TASK_NOT_REGISTERED"; "" if the server gave none. */
  readonly reason: Reason | (string & {});
  /** What the reason is about, such as `{ task: "send" }`. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Which fields are wrong, and how. */
  readonly violations: readonly Violation[];
  /** When the server asks to be called again; null if it does not. */
  readonly retryAfterSeconds: number | null;
  /** Of a batch that was not completed: the results so far, by the place of their items. */
  enqueued: ReadonlyMap<number, BatchResult> = new Map();

  constructor(message: string, fields: ErrorFields) {
    super(message, fields.cause === undefined ? undefined : { cause: fields.cause });
    this.name = new.target.name;
    this.code = fields.code;
    this.reason = fields.reason ?? "";
    this.metadata = fields.metadata ?? {};
    this.violations = fields.violations ?? [];
    this.retryAfterSeconds = fields.retryAfterSeconds ?? null;
  }
}

/** Fields of the request break a rule or a limit: see `violations`. */
export class InvalidRequestError extends JobError {
  override readonly kind: "InvalidRequest" | "PageTokenInvalid" = "InvalidRequest";
}

/** The page token is not of this list. */
export class PageTokenInvalidError extends InvalidRequestError {
  override readonly kind = "PageTokenInvalid";
}

/** A run was asked for of a task that nobody has registered. */
export class TaskNotRegisteredError extends JobError {
  override readonly kind = "TaskNotRegistered";
}

/** There is no task of this name. */
export class TaskNotFoundError extends JobError {
  override readonly kind = "TaskNotFound";
}

/** There is no run of this id in this namespace. */
export class RunNotFoundError extends JobError {
  override readonly kind = "RunNotFound";
}

/** The key belongs to a run that was asked for differently. */
export class IdempotencyKeyReusedError extends JobError {
  override readonly kind = "IdempotencyKeyReused";

  /** The run that the key belongs to. */
  get runId(): string {
    return this.metadata["run_id"] ?? "";
  }
}

/** The run id was used for another request. */
export class RunIdReusedError extends JobError {
  override readonly kind = "RunIdReused";
}

/** A terminal run cannot be canceled. */
export class RunAlreadyFinishedError extends JobError {
  override readonly kind = "RunAlreadyFinished";
}

/** Only a terminal run can be replayed. */
export class RunNotFinishedError extends JobError {
  override readonly kind = "RunNotFinished";
}

/** The list takes the server too long: narrow the filter. */
export class FilterTooBroadError extends JobError {
  override readonly kind = "FilterTooBroad";
}

/** The watch cannot go on from this token: begin without one, and list what may have been missed. */
export class WatchTokenExpiredError extends JobError {
  override readonly kind = "WatchTokenExpired";
}

/** Too much waits at the server already: try again after `retryAfterSeconds`. */
export class OverloadedError extends JobError {
  override readonly kind = "Overloaded";
}

/** The caller may not do this. */
export class PermissionDeniedError extends JobError {
  override readonly kind = "PermissionDenied";
}

/** The token is missing or not accepted. */
export class UnauthenticatedError extends JobError {
  override readonly kind = "Unauthenticated";
}

/** No server could be reached, or it cannot reach its database. It may or may not have done what was asked. */
export class UnavailableError extends JobError {
  override readonly kind = "Unavailable";
}

/** No answer in time. The server may or may not have done what was asked. */
export class DeadlineExceededError extends JobError {
  override readonly kind = "DeadlineExceeded";
}

/** A bug of the server. */
export class InternalError extends JobError {
  override readonly kind = "InternalError";

  /** What to search for in the server's log; "" if it is not the server that answered. */
  get errorId(): string {
    return this.metadata["error_id"] ?? "";
  }
}

/** Any other answer: `code`, and perhaps `reason`, say more. */
export class OtherJobError extends JobError {
  override readonly kind = "Other";
}

/** Every JobError there is, for a `switch` on `kind`. */
export type AnyJobError =
  | InvalidRequestError
  | PageTokenInvalidError
  | TaskNotRegisteredError
  | TaskNotFoundError
  | RunNotFoundError
  | IdempotencyKeyReusedError
  | RunIdReusedError
  | RunAlreadyFinishedError
  | RunNotFinishedError
  | FilterTooBroadError
  | WatchTokenExpiredError
  | OverloadedError
  | PermissionDeniedError
  | UnauthenticatedError
  | UnavailableError
  | DeadlineExceededError
  | InternalError
  | OtherJobError;

/** Whether a caught value is the error of a call. */
export function isJobError(error: unknown): error is AnyJobError {
  return error instanceof JobError;
}

/** What `runs.wait` throws when it had waited its time and the run is not terminal. */
export class WaitTimeoutError extends Error {
  readonly kind = "WaitTimeout";
  override readonly name = "WaitTimeoutError";

  /** @param run how it stood then */
  constructor(
    message: string,
    readonly run: Run,
  ) {
    super(message);
  }
}

/** Something that cannot be sent at all, found before any server was asked. The message begins with the field. */
export class RefusedError extends Error {
  readonly kind = "Refused";
  override readonly name = "RefusedError";
  readonly #problem: string;

  /** @param field the option or argument, such as "payload" or "retry.attempts" */
  constructor(
    readonly field: string,
    problem: string,
  ) {
    super(`${field} ${problem}`);
    this.#problem = problem;
  }

  /** The same of a field that is part of something, such as "items[3].". @internal */
  within(place: string): RefusedError {
    return new RefusedError(`${place}${this.field}`, this.#problem);
  }
}

/** The worker cannot go on: the server refused its tasks or its connection. */
export class WorkerError extends Error {
  readonly kind = "WorkerError";
  override readonly name = "WorkerError";
}

type JobErrorClass = new (message: string, fields: ErrorFields) => AnyJobError;

const REASONS: Readonly<Record<Reason, JobErrorClass>> = {
  INVALID_ARGUMENT: InvalidRequestError,
  CANNOT_BE_STORED: InvalidRequestError,
  PAGE_TOKEN_INVALID: PageTokenInvalidError,
  TASK_NOT_REGISTERED: TaskNotRegisteredError,
  TASK_NOT_FOUND: TaskNotFoundError,
  RUN_NOT_FOUND: RunNotFoundError,
  IDEMPOTENCY_KEY_REUSED: IdempotencyKeyReusedError,
  RUN_ID_REUSED: RunIdReusedError,
  RUN_ALREADY_FINISHED: RunAlreadyFinishedError,
  RUN_NOT_FINISHED: RunNotFinishedError,
  FILTER_TOO_BROAD: FilterTooBroadError,
  WATCH_TOKEN_EXPIRED: WatchTokenExpiredError,
  OVERLOADED: OverloadedError,
  PERMISSION_DENIED: PermissionDeniedError,
  UNAUTHENTICATED: UnauthenticatedError,
  DATABASE_UNAVAILABLE: UnavailableError,
  INTERNAL: InternalError,
};

// For errors that gRPC or a proxy made, and for reasons that a newer server gives.
const CODES: Readonly<Partial<Record<StatusCode, JobErrorClass>>> = {
  INVALID_ARGUMENT: InvalidRequestError,
  PERMISSION_DENIED: PermissionDeniedError,
  UNAUTHENTICATED: UnauthenticatedError,
  UNAVAILABLE: UnavailableError,
  DEADLINE_EXCEEDED: DeadlineExceededError,
  INTERNAL: InternalError,
};

/** The error of a reason or, where that is unknown, of a code. */
export function jobError(message: string, fields: ErrorFields): AnyJobError {
  const known = Object.hasOwn(REASONS, fields.reason ?? "") ? REASONS[fields.reason as Reason] : undefined;
  const kind = known ?? CODES[fields.code] ?? OtherJobError;
  return new kind(message, fields);
}
