/** Between the contract's messages and plain values: the only place of this client that knows both. */

import type { MessageInitShape } from "@bufbuild/protobuf";

import { dateOf, dateOrNull, durationOf, given, secondsOf, text, texts, timestampOf, Words } from "./fields.js";
import type {
  EnqueueRequestSchema,
  EnqueueResponse,
  GetRunResponse,
  RunFilterSchema,
  WatchRunsResponse,
} from "./gen/layeron/job/v1/job_service_pb.js";
import type {
  Attempt as AttemptMessage,
  IdempotencyWindow as IdempotencyWindowEnum,
  Run as RunMessage,
  RunStatus as RunStatusEnum,
  Transition as TransitionMessage,
} from "./gen/layeron/job/v1/run_pb.js";
import type {
  Priority as PriorityEnum,
  TaskDefinitionSchema,
  Task as TaskMessage,
} from "./gen/layeron/job/v1/task_pb.js";
import { jsonBytes, parseJson } from "./json.js";
import type {
  Attempt,
  AttemptStatus,
  Enqueued,
  IdempotencyWindow,
  Priority,
  Run,
  RunChange,
  RunDetails,
  RunStatus,
  RunSummary,
  Task,
  Transition,
  TransitionReason,
} from "./models.js";
import type { RunFilter, RunOptions, TaskDefinition } from "./options.js";
import { retryMessage, retryPolicy } from "./retry.js";
import { activeTraceContext } from "./trace.js";

const PRIORITIES = new Words<Priority, PriorityEnum>(["high", "normal", "low"]);
const WINDOWS = new Words<IdempotencyWindow, IdempotencyWindowEnum>(["ttl", "while_active", "forever"]);
const ORIGINS = new Words<NonNullable<RunSummary["origin"]>, number>(["enqueue", "replay", "schedule", "parent"]);
const HELD_REASONS = new Words<NonNullable<RunSummary["heldReason"]>, number>(["task_paused", "no_handler"]);
export const STATUSES = new Words<RunStatus, RunStatusEnum>([
  "queued",
  "scheduled",
  "running",
  "retrying",
  "succeeded",
  "dead_lettered",
  "canceled",
]);
const ATTEMPT_STATUSES = new Words<AttemptStatus, number>([
  "running",
  "succeeded",
  "failed",
  "timed_out",
  "canceled",
  "lost",
  "interrupted",
]);
const TRANSITION_REASONS = new Words<TransitionReason, number>([
  "ENQUEUED",
  "REPLAYED",
  "STARTED",
  "SUCCEEDED",
  "ATTEMPT_FAILED",
  "ATTEMPT_TIMED_OUT",
  "ATTEMPT_LOST",
  "ATTEMPT_INTERRUPTED",
  "ATTEMPTS_EXHAUSTED",
  "NON_RETRYABLE",
  "MAX_ELAPSED",
  "RESULT_INVALID",
  "START_DEADLINE_EXCEEDED",
  "CANCEL_REQUESTED",
  "CANCEL_IGNORED",
]);

type EnqueueInit = MessageInitShape<typeof EnqueueRequestSchema>;
type FilterInit = MessageInitShape<typeof RunFilterSchema>;
type Init<Message> = { -readonly [Field in keyof Message]: Message[Field] };

/** A run to be made. Throws RefusedError with the field that cannot be sent. */
export function enqueueRequest(task: string, payload: unknown, runId: string, options: RunOptions): EnqueueInit {
  const init: Init<EnqueueInit> = {
    task: text("task", task),
    runId,
    traceContext:
      options.traceContext === undefined ? activeTraceContext() : texts("traceContext", options.traceContext),
  };
  if (payload !== undefined && payload !== null) init.payloadJson = jsonBytes(payload, "payload");
  if (options.payloadEncoding !== undefined) init.payloadEncoding = text("payloadEncoding", options.payloadEncoding);
  if (options.startBy !== undefined) init.startBy = timestampOf("startBy", options.startBy);
  const key = given("idempotencyKey", options.idempotencyKey);
  if (key !== undefined) init.idempotencyKey = key;
  init.idempotencyWindow = WINDOWS.number("idempotencyWindow", options.idempotencyWindow);
  if (options.idempotencyTtlSeconds !== undefined) {
    init.idempotencyTtl = durationOf("idempotencyTtlSeconds", options.idempotencyTtlSeconds);
  }
  if (options.retry !== undefined) init.retry = retryMessage("retry", options.retry);
  if (options.timeoutSeconds !== undefined) init.timeout = durationOf("timeoutSeconds", options.timeoutSeconds);
  if (options.labels !== undefined) init.labels = texts("labels", options.labels);
  init.priority = PRIORITIES.number("priority", options.priority);
  if (options.name !== undefined) init.name = text("name", options.name);
  return Object.assign(init, dueTime(options));
}

/** When a run is due: at most one of the two is for the server to accept. */
export function dueTime(options: Pick<RunOptions, "delaySeconds" | "runAt">): Pick<EnqueueInit, "delay" | "runAt"> {
  return {
    ...(options.delaySeconds !== undefined && { delay: durationOf("delaySeconds", options.delaySeconds) }),
    ...(options.runAt !== undefined && { runAt: timestampOf("runAt", options.runAt) }),
  };
}

/** Which runs to list or watch. An empty text is refused: it would match all runs. */
export function runFilter(filter: RunFilter): FilterInit {
  const { task, status = [], labels, idempotencyKey, queue, createdFrom, createdBefore, originId } = filter;
  const statuses: readonly RunStatus[] = typeof status === "string" ? [status] : status;
  return {
    task: given("task", task) ?? "",
    statuses: statuses.map((word) => STATUSES.number("status", word)),
    labels: labels === undefined ? {} : texts("labels", labels),
    idempotencyKey: given("idempotencyKey", idempotencyKey) ?? "",
    queue: given("queue", queue) ?? "",
    ...(createdFrom !== undefined && { createdFrom: timestampOf("createdFrom", createdFrom) }),
    ...(createdBefore !== undefined && { createdBefore: timestampOf("createdBefore", createdBefore) }),
    originId: given("originId", originId) ?? "",
  };
}

/** A task to register. */
export function taskDefinition(definition: TaskDefinition): MessageInitShape<typeof TaskDefinitionSchema> {
  const { name, queue = "", retry, timeoutSeconds, priority } = definition;
  return {
    name: text("name", name),
    queue: text("queue", queue),
    ...(retry !== undefined && { retry: retryMessage("retry", retry) }),
    ...(timeoutSeconds !== undefined && { timeout: durationOf("timeoutSeconds", timeoutSeconds) }),
    priority: PRIORITIES.number("priority", priority),
  };
}

/** The answer to an enqueue. A run of an id that was chosen here was made by this call, if in an earlier try. */
export function enqueued(answer: EnqueueResponse, chosenId: string | undefined): Enqueued {
  const runId = answer.run?.runId ?? "";
  if (answer.pruned || answer.run === undefined) {
    return { runId, created: false, pruned: true, status: null, run: null };
  }
  const made = run(answer.run);
  return { runId, created: answer.created || runId === chosenId, pruned: false, status: made.status, run: made };
}

/** A run as lists give it. The contract says which fields are set in which status. */
export function runSummary(message: RunMessage): RunSummary {
  return {
    runId: message.runId,
    namespace: message.namespace,
    task: message.task,
    queue: message.queue,
    priority: PRIORITIES.word(message.priority) ?? "normal",
    name: message.name,
    status: STATUSES.word(message.status),
    attempt: message.attempt,
    countedAttempts: message.countedAttempts,
    payloadEncoding: message.payloadEncoding,
    retry: retryPolicy(message.retry),
    timeoutSeconds: secondsOf(message.timeout),
    labels: message.labels,
    idempotencyKey: message.idempotencyKey,
    idempotencyWindow: WINDOWS.word(message.idempotencyWindow),
    createdAt: dateOrNull(message.createdAt),
    dueAt: dateOrNull(message.dueAt),
    startBy: dateOrNull(message.startBy),
    startedAt: dateOrNull(message.startedAt),
    finishedAt: dateOrNull(message.finishedAt),
    cancelRequestedAt: dateOrNull(message.cancelRequestedAt),
    heldReason: HELD_REASONS.word(message.heldReason),
    origin: ORIGINS.word(message.origin),
    originId: message.originId,
    replayedBy: message.replayedBy,
  } as RunSummary;
}

/** A run with payload and result. */
export function run(message: RunMessage): Run {
  return Object.assign(runSummary(message), {
    payload: parseJson(message.payloadJson),
    result: parseJson(message.resultJson),
    traceContext: message.traceContext,
  }) as Run;
}

/** A run with its history. */
export function runDetails(message: GetRunResponse): RunDetails {
  const { attempts, transitions } = message;
  return Object.assign(run(required(message.run)), {
    attempts: attempts.map(attempt),
    transitions: transitions.map(transition),
  });
}

/** What a watch tells. `before` is the token of the response before: this one's is for all its changes together. */
export function runChanges(message: WatchRunsResponse, before: string): RunChange[] {
  return message.changes.map((change, index) => ({
    runId: change.runId,
    task: change.task,
    transition: transition(required(change.transition)),
    resumeToken: index === message.changes.length - 1 ? message.resumeToken : before,
  }));
}

/** A registered task. */
export function task(message: TaskMessage): Task {
  return {
    namespace: message.namespace,
    name: message.name,
    queue: message.queue,
    retry: retryPolicy(message.retry),
    timeoutSeconds: secondsOf(message.timeout),
    priority: PRIORITIES.word(message.priority) ?? "normal",
    revision: Number(message.revision),
    pausedAt: dateOrNull(message.pausedAt),
    pauseReason: message.pauseReason,
    createdAt: dateOf(required(message.createdAt)),
    updatedAt: dateOf(required(message.updatedAt)),
  };
}

/** What the contract says is always set. */
export function required<Message>(message: Message | undefined): Message {
  if (message === undefined) {
    throw new TypeError("the server's answer lacks what the contract says is always there");
  }
  return message;
}

function attempt(message: AttemptMessage): Attempt {
  return {
    attemptId: message.attemptId,
    number: message.number,
    status: ATTEMPT_STATUSES.word(message.status) ?? "unknown_0",
    grantedAt: dateOf(required(message.grantedAt)),
    begunAt: dateOrNull(message.begunAt),
    endedAt: dateOrNull(message.endedAt),
    errorType: message.errorType,
    errorMessage: message.errorMessage,
    errorDetail: message.errorDetail,
    retryAt: dateOrNull(message.retryAt),
    sessionId: message.sessionId,
    workerBuild: message.workerBuild,
    progress: parseJson(message.progressJson),
    logTail: message.logTail,
  };
}

function transition(message: TransitionMessage): Transition {
  return {
    seq: message.seq,
    fromStatus: STATUSES.word(message.fromStatus),
    toStatus: STATUSES.word(message.toStatus) ?? "unknown_0",
    at: dateOf(required(message.at)),
    reasonCode: TRANSITION_REASONS.word(message.reasonCode) ?? "unknown_0",
    note: message.note,
    actor: message.actor,
    attempt: message.attempt,
  };
}
