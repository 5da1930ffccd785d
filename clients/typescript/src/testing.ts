/**
 * Runs a handler with no server, for the tests of your handlers.
 *
 * What runs it is what runs it in production: the same calling, timeout, cancel and limits, and payload and result go
 * through JSON text. A handler behaves here as it will behave there.
 */

import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";

import { GrantSchema } from "./gen/layeron/job/v1/worker_service_pb.js";
import type { Handler } from "./handler.js";
import { newRunId } from "./ids.js";
import type { Json } from "./json.js";
import { jsonBytes, parseJson } from "./json.js";
import type { Logger } from "./log.js";
import { consoleLogger } from "./log.js";
import { Attempt } from "./worker/attempt.js";

const RESULT_BYTES_MAX = 256 * 1024;

/** What the handler finds in its context, and when it is told to stop. */
export interface RunTaskOptions {
  readonly task?: string | undefined;
  /** The attempt's number; 1 by default. */
  readonly attempt?: number | undefined;
  readonly maxAttempts?: number | undefined;
  readonly runId?: string | undefined;
  readonly name?: string | undefined;
  readonly namespace?: string | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly traceContext?: Readonly<Record<string, string>> | undefined;
  readonly payloadEncoding?: string | undefined;
  /** How long it may take, from its begin; 5 minutes by default. */
  readonly timeoutSeconds?: number | undefined;
  /** Cancel it so long after its begin; never by default. */
  readonly cancelAfterSeconds?: number | undefined;
  readonly logger?: Logger | undefined;
}

interface Told {
  /** The newest value the handler gave to `ctx.progress`; null if it gave none. */
  readonly progress: Json;
  /** What it said through `ctx.log` from `info` on, each line with its time and level. */
  readonly logLines: readonly string[];
  /** How long it ran. */
  readonly ranMs: number;
}

/** How the attempt ended, as the server would be told. */
export type TaskOutcome =
  | (Told & { readonly kind: "succeeded"; readonly result: Json })
  | (Told & {
      readonly kind: "failed" | "timed_out" | "canceled";
      /** The error's name, as retry policies match it. */
      readonly errorType: string;
      readonly errorMessage: string;
      /** Its stack. */
      readonly errorDetail: string;
      /** The run would be dead-lettered, whatever the policy says. */
      readonly doNotRetry: boolean;
      /** The wait that the handler asked for; null: the policy decides. */
      readonly retryAfterSeconds: number | null;
    });

/**
 * Run one attempt of a handler and say how it ended.
 *
 * What a handler does is in the outcome and never thrown. Throws RefusedError for a payload that JSON cannot carry.
 * Resolves when the outcome is known: a handler that ignores its timeout is then still running.
 */
export async function runTask<Payload>(
  handler: Handler<Payload, unknown>,
  payload: Payload,
  options: RunTaskOptions = {},
): Promise<TaskOutcome> {
  const { attempt: number = 1, namespace = "default", logger = consoleLogger } = options;
  const grant = create(GrantSchema, {
    runId: options.runId ?? newRunId(),
    attempt: number,
    task: options.task ?? "task",
    payloadJson: jsonBytes(payload ?? null, "payload"),
    timeoutMs: BigInt(Math.round((options.timeoutSeconds ?? 300) * 1000)),
    labels: { ...options.labels },
    traceContext: { ...options.traceContext },
    payloadEncoding: options.payloadEncoding ?? "",
    name: options.name ?? "",
    countedAttempts: number - 1,
    maxAttempts: options.maxAttempts ?? 3,
    createdAt: timestampFromDate(new Date()),
  });
  let cancel: NodeJS.Timeout | undefined;
  const attempt = await new Promise<Attempt>((resolve) => {
    const listener = { attemptReported: resolve, attemptEnded: () => undefined, attemptNoted: () => undefined };
    const made = new Attempt(0, grant, handler as Handler<unknown, unknown>, listener, {
      namespace,
      logger,
      resultBytesMax: RESULT_BYTES_MAX,
    });
    made.begin();
    if (options.cancelAfterSeconds !== undefined) {
      cancel = setTimeout(() => {
        made.cancel();
      }, options.cancelAfterSeconds * 1000);
    }
  });
  clearTimeout(cancel);
  return outcomeOf(attempt);
}

function outcomeOf({ outcome, context, ranMs }: Attempt): TaskOutcome {
  const logTail = context.logTail();
  const told = {
    progress: parseJson(context.progressJson),
    logLines: logTail === "" ? [] : logTail.split("\n"),
    ranMs,
  };
  if (outcome === undefined || outcome.kind === "interrupted") {
    throw new TypeError("an attempt is reported with its outcome, and nothing interrupts it here");
  }
  if (outcome.kind === "succeeded") {
    return { ...told, kind: "succeeded", result: parseJson(outcome.resultJson) };
  }
  const { retryAfterMs, ...failure } = outcome.failure;
  const kind = outcome.kind === "timedOut" ? "timed_out" : outcome.kind;
  return { ...told, ...failure, kind, retryAfterSeconds: retryAfterMs === undefined ? null : retryAfterMs / 1000 };
}
