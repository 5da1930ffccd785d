/**
 * Client and worker of Layeron Job, a durable background-job service.
 *
 * @packageDocumentation
 */

export type { Items } from "./batches.js";
export type { AnyTasks, Catalog, PayloadArguments, PayloadOf, ResultOf, TaskName } from "./catalog.js";
export {
  DeadlineExceededError,
  FilterTooBroadError,
  IdempotencyKeyReusedError,
  InternalError,
  InvalidRequestError,
  isJobError,
  JobError,
  OtherJobError,
  OverloadedError,
  PageTokenInvalidError,
  PermissionDeniedError,
  RefusedError,
  RunAlreadyFinishedError,
  RunIdReusedError,
  RunNotFinishedError,
  RunNotFoundError,
  TaskNotFoundError,
  TaskNotRegisteredError,
  UnauthenticatedError,
  UnavailableError,
  WaitTimeoutError,
  WatchTokenExpiredError,
  WorkerError,
} from "./errors.js";
export type { AnyJobError, Reason, StatusCode, Violation } from "./errors.js";
export type { Moment, UnknownWord } from "./fields.js";
export { DoNotRetry, RetryAfter } from "./handler.js";
export type { Context, Handler } from "./handler.js";
export { newRunId } from "./ids.js";
export { job } from "./job.js";
export type { Job, TaskHandle } from "./job.js";
export type { Json } from "./json.js";
export type { LogFields, Logger } from "./log.js";
export { isTerminal } from "./models.js";
export type {
  Attempt,
  AttemptStatus,
  BatchResult,
  Enqueued,
  IdempotencyWindow,
  Page,
  Priority,
  Run,
  RunChange,
  RunDetails,
  RunStatus,
  RunSummary,
  Task,
  TerminalRun,
  TerminalStatus,
  Transition,
  TransitionReason,
  WaitingStatus,
} from "./models.js";
export type {
  BatchItem,
  BatchOptions,
  CallOptions,
  CancelOptions,
  ConsumerOptions,
  EnqueueOptions,
  JobOptions,
  ListOptions,
  PageOptions,
  QueueOptions,
  ReplayOptions,
  RunFilter,
  RunOptions,
  StopOptions,
  TaskDefinition,
  TaskOptions,
  WaitOptions,
  WatchOptions,
} from "./options.js";
export type { Backoff, CustomBackoff, ExponentialBackoff, FixedBackoff, RetryOptions, RetryPolicy } from "./retry.js";
export type { Runs } from "./runs.js";
export type { TlsOptions } from "./servers.js";
export type { Tasks } from "./tasks.js";
export { VERSION } from "./version.js";
