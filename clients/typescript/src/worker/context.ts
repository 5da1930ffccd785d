/**
 * The context of one attempt, and what is kept of it for people: progress and the last lines of its log.
 *
 * It costs little per attempt: the signal, the logger and the times are made when they are asked for.
 */

import type { MessageShape } from "@bufbuild/protobuf";

import { RefusedError } from "../errors.js";
import { dateOf } from "../fields.js";
import type { GrantSchema } from "../gen/layeron/job/v1/worker_service_pb.js";
import type { Context } from "../handler.js";
import { jsonBytes } from "../json.js";
import type { LogFields, Logger } from "../log.js";
import { lineOf } from "../log.js";
import { head, LOG_TAIL_BYTES_MAX, PROGRESS_BYTES_MAX, tail } from "./limits.js";

type Grant = MessageShape<typeof GrantSchema>;

const TEN_YEARS_SECONDS = 3650 * 86_400;
const EMPTY = new Uint8Array();

/** The context that a handler is given; the rest of the worker tells it when to stop, and reads what it was told. */
export class AttemptContext implements Context {
  readonly runId: string;
  readonly attempt: number;
  readonly countedAttempts: number;
  readonly maxAttempts: number;
  readonly task: string;
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly traceContext: Readonly<Record<string, string>>;
  readonly payloadEncoding: string;
  readonly timeoutSeconds: number;
  readonly #created: Grant["createdAt"];
  readonly #logger: Logger;
  readonly #changed: () => void;
  #expiresMs = Infinity;
  #stopReason: Error | undefined;
  #controller: AbortController | undefined;
  #progress: Uint8Array = EMPTY;
  #log: AttemptLog | undefined;

  /** @param changed called when there is progress or a line to send */
  constructor(grant: Grant, namespace: string, logger: Logger, changed: () => void) {
    this.runId = grant.runId;
    this.attempt = grant.attempt;
    this.countedAttempts = grant.countedAttempts;
    this.maxAttempts = grant.maxAttempts;
    this.task = grant.task;
    this.namespace = namespace;
    this.name = grant.name;
    this.labels = grant.labels;
    this.traceContext = grant.traceContext;
    this.payloadEncoding = grant.payloadEncoding;
    this.timeoutSeconds = Number(grant.timeoutMs) / 1000;
    this.#created = grant.createdAt;
    this.#logger = logger;
    this.#changed = changed;
  }

  get createdAt(): Date {
    return this.#created === undefined ? new Date() : dateOf(this.#created);
  }

  get deadline(): Date {
    return new Date(Date.now() + Math.min(this.remainingSeconds(), TEN_YEARS_SECONDS) * 1000);
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#stopReason !== undefined) {
        this.#controller.abort(this.#stopReason);
      }
    }
    return this.#controller.signal;
  }

  get cancelRequested(): boolean {
    return this.#stopReason !== undefined;
  }

  get log(): Logger {
    this.#log ??= new AttemptLog(this.#logger, this, this.#changed);
    return this.#log;
  }

  remainingSeconds(): number {
    return Math.max(0, (this.#expiresMs - performance.now()) / 1000);
  }

  progress(value: unknown): void {
    const encoded = jsonBytes(value ?? null, "progress", "result");
    if (encoded.length > PROGRESS_BYTES_MAX) {
      throw new RefusedError("progress", `must be at most ${PROGRESS_BYTES_MAX} bytes of JSON, not ${encoded.length}`);
    }
    this.#progress = encoded;
    this.#changed();
  }

  /** The newest progress as JSON text; empty if there is none. Each value is an object of its own. @internal */
  get progressJson(): Uint8Array {
    return this.#progress;
  }

  /** The last lines, at most 32 KiB. @internal */
  logTail(): string {
    return this.#log?.tail() ?? "";
  }

  /** The handler begins now. @internal */
  begin(nowMs: number): void {
    this.#expiresMs = nowMs + this.timeoutSeconds * 1000;
  }

  /** Tell the handler to stop. Only the first reason counts. @internal */
  stop(reason: Error): void {
    if (this.#stopReason === undefined) {
      this.#stopReason = reason;
      this.#controller?.abort(reason);
    }
  }
}

/** Passes lines on, with what they are about, and keeps the last ones. */
class AttemptLog implements Logger {
  readonly #logger: Logger;
  readonly #fields: LogFields;
  readonly #changed: () => void;
  readonly #lines: string[] = [];
  #characters = 0;

  constructor(logger: Logger, context: Context, changed: () => void) {
    this.#logger = logger;
    this.#fields = { runId: context.runId, attempt: context.attempt, task: context.task };
    this.#changed = changed;
  }

  debug(message: string, fields?: LogFields): void {
    this.#logger.debug(message, { ...this.#fields, ...fields });
  }

  info(message: string, fields?: LogFields): void {
    this.#keep(lineOf("INFO", message, fields));
    this.#logger.info(message, { ...this.#fields, ...fields });
  }

  warn(message: string, fields?: LogFields): void {
    this.#keep(lineOf("WARNING", message, fields));
    this.#logger.warn(message, { ...this.#fields, ...fields });
  }

  error(message: string, fields?: LogFields): void {
    this.#keep(lineOf("ERROR", message, fields));
    this.#logger.error(message, { ...this.#fields, ...fields });
  }

  tail(): string {
    return tail(this.#lines.join("\n"), LOG_TAIL_BYTES_MAX);
  }

  #keep(line: string): void {
    const kept = head(line, LOG_TAIL_BYTES_MAX);
    this.#lines.push(kept);
    this.#characters += kept.length + 1;
    while (this.#characters > 2 * LOG_TAIL_BYTES_MAX) {
      this.#characters -= (this.#lines.shift()?.length ?? 0) + 1;
    }
    this.#changed();
  }
}
