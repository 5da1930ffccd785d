/**
 * Runs one attempt: calls the handler, holds it to its timeout, tells it to stop, and says how it ended.
 *
 * Every attempt is reported exactly once, or never when it was abandoned. What a handler returns or throws is data by the
 * next line. A handler cannot be stopped by force: one that does not listen to its signal keeps its slot until it
 * returns. Nothing here knows of a server.
 */

import type { MessageShape } from "@bufbuild/protobuf";

import type { GrantSchema } from "../gen/layeron/job/v1/worker_service_pb.js";
import type { Handler } from "../handler.js";
import { parseJson } from "../json.js";
import type { Logger } from "../log.js";
import type { AttemptSpan } from "../trace.js";
import { attemptSpan } from "../trace.js";
import { AttemptContext } from "./context.js";
import type { Outcome } from "./outcome.js";
import { detailOf, failed, returned, thrown } from "./outcome.js";

type Grant = MessageShape<typeof GrantSchema>;
type StopReason = "timeout" | "cancel" | "shutdown" | "lapse" | "abandoned";

/** A handler that is told to stop at its timeout has this long to clean up before the timeout is reported without it. */
const UNWIND_MS = 1000;
const EMPTY = new Uint8Array();
const SHUTDOWN = ["Shutdown", "the worker shut down"] as const;
const LAPSE = ["LeaseLost", "no server answered for most of the lease"] as const;

/** Who wants to know of an attempt. Must not throw. */
export interface AttemptListener {
  /** The outcome is known. The handler may still be running if it ignores its timeout. */
  attemptReported(attempt: Attempt): void;
  /** The handler has returned and its slot is free. Called once for every attempt that began. */
  attemptEnded(attempt: Attempt): void;
  /** There is progress or a log line to send. */
  attemptNoted(attempt: Attempt): void;
}

/** What attempts of one worker share. */
export interface AttemptOptions {
  readonly namespace: string;
  readonly resultBytesMax: number;
  readonly logger: Logger;
}

/** One attempt of a run, from its grant to its final answer. */
export class Attempt {
  readonly startId: number;
  readonly context: AttemptContext;
  /** How it ended, once reported. */
  outcome: Outcome | undefined;
  /** Monotonic time of the handler's begin, in milliseconds; 0 before. */
  began = 0;
  /** Until when it must begin, in the same time. */
  beginBy = Infinity;
  /** The server has been told that it has begun. */
  begunSent = false;
  /** The handler has returned, or never began and never will. */
  ended = false;
  /** It is no longer this worker's: whatever the handler does is not reported. */
  abandoned = false;
  /** When its last note was sent, and with which progress. */
  notedAt = -Infinity;
  notedProgress: Uint8Array = EMPTY;

  readonly #handler: Handler<unknown, unknown>;
  readonly #listener: AttemptListener;
  readonly #options: AttemptOptions;
  #payloadJson: Uint8Array;
  #finished = 0;
  #stopReason: StopReason | undefined;
  #timer: NodeJS.Timeout | undefined;
  #span: AttemptSpan | undefined;

  constructor(
    startId: number,
    grant: Grant,
    handler: Handler<unknown, unknown>,
    listener: AttemptListener,
    options: AttemptOptions,
  ) {
    this.startId = startId;
    this.context = new AttemptContext(grant, options.namespace, options.logger, () => {
      if (this.outcome === undefined) listener.attemptNoted(this);
    });
    this.#payloadJson = grant.payloadJson;
    this.#handler = handler;
    this.#listener = listener;
    this.#options = options;
  }

  /** How long the handler ran, in milliseconds; 0 if it never began, and only then. */
  get ranMs(): number {
    return this.began === 0 ? 0 : Math.max(1, Math.round((this.#finished || performance.now()) - this.began));
  }

  /** Call the handler. The timeout runs from here. */
  begin(): void {
    const { context } = this;
    this.began = performance.now();
    context.begin(this.began);
    this.#timer = setTimeout(() => {
      this.#timeOut();
    }, context.timeoutSeconds * 1000);
    const { runId, attempt } = context;
    this.#span = attemptSpan(context.task, context.traceContext, { "job.run_id": runId, "job.attempt": attempt });
    void this.#span.within(() => this.#run());
  }

  /** A cancel order: the handler is told to stop. Ordering it again changes nothing. */
  cancel(): void {
    if (this.began === 0 && this.outcome === undefined) {
      this.neverBegan("canceled", "Canceled", "canceled before the handler began");
    } else {
      this.#stop("cancel");
    }
  }

  /** The worker stops: the handler is told to stop, and unless it returns, the attempt ends as interrupted. */
  shutDown(): void {
    this.#stop("shutdown");
  }

  /** The lease may be lost: as for a shutdown, and a handler that has not begun is not called any more. */
  lapse(): void {
    if (this.began === 0 && this.outcome === undefined) {
      this.neverBegan("interrupted", ...LAPSE);
    } else {
      this.#stop("lapse");
    }
  }

  /** The attempt is no longer this worker's: stop the handler, report nothing. */
  abandon(): void {
    this.abandoned = true;
    this.#stop("abandoned");
    if (this.began === 0) {
      this.ended = true;
    }
  }

  /** Report the end of an attempt whose handler was not and will not be called. */
  neverBegan(kind: "canceled" | "interrupted", errorType: string, message: string): void {
    this.ended = true;
    this.#report(failed(kind, errorType, message));
  }

  /** Report a handler that did not stop although it was told to. */
  giveUp(): void {
    if (this.outcome === undefined) {
      this.#report(this.#stopped(undefined));
    }
  }

  async #run(): Promise<void> {
    let outcome: Outcome;
    let failure: Error | undefined;
    try {
      const payload = parseJson(this.#payloadJson);
      this.#payloadJson = EMPTY;
      // Success counts also after a request to stop: the work is done.
      outcome = returned(await this.#handler(payload, this.context), this.#options.resultBytesMax);
    } catch (error) {
      failure = error instanceof Error ? error : new Error("the handler threw what is no error");
      outcome = this.#stopReason === undefined ? thrown(error) : this.#stopped(error);
    }
    this.#end(outcome, failure);
  }

  #stop(reason: StopReason): void {
    if (this.ended || this.began === 0) {
      return;
    }
    if (this.#stopReason === undefined || reason === "abandoned") {
      this.#stopReason = reason;
    }
    this.context.stop(stopError(reason, this.context.timeoutSeconds));
  }

  #timeOut(): void {
    this.#stop("timeout");
    this.#timer = setTimeout(() => {
      this.giveUp();
    }, UNWIND_MS);
  }

  /** The outcome of a handler that was told to stop and did not return a value. */
  #stopped(error: unknown): Outcome {
    const { signal } = this.context;
    // What a handler throws because it was told to stop says nothing more.
    const errorDetail = error === undefined || error === signal.reason ? "" : detailOf(error);
    switch (this.#stopReason) {
      case "cancel":
        return failed("canceled", "Canceled", "canceled", { errorDetail });
      case "timeout": {
        const message = `ran longer than its timeout of ${this.context.timeoutSeconds} s`;
        return failed("timedOut", "Timeout", message, { errorDetail });
      }
      case "lapse":
        return failed("interrupted", ...LAPSE, { errorDetail });
      default:
        return failed("interrupted", ...SHUTDOWN, { errorDetail });
    }
  }

  #end(outcome: Outcome, failure: Error | undefined): void {
    clearTimeout(this.#timer);
    this.ended = true;
    if (this.outcome === undefined) {
      this.#report(outcome);
    }
    this.#span?.end(failure);
    this.#listener.attemptEnded(this);
  }

  #report(outcome: Outcome): void {
    this.outcome = outcome;
    this.#finished = performance.now();
    if (this.abandoned) {
      return;
    }
    if (outcome.kind === "failed") {
      const { runId, attempt, task } = this.context;
      this.#options.logger.info("an attempt failed", { runId, attempt, task, errorType: outcome.failure.errorType });
    }
    this.#listener.attemptReported(this);
  }
}

/** What the handler's signal is aborted with. */
function stopError(reason: StopReason, timeoutSeconds: number): Error {
  const name = reason === "timeout" ? "TimeoutError" : "AbortError";
  const messages: Record<StopReason, string> = {
    timeout: `the attempt ran longer than its timeout of ${timeoutSeconds} s`,
    cancel: "the run was canceled",
    shutdown: "the worker shuts down",
    lapse: "no server answered for most of the lease",
    abandoned: "the attempt is no longer this worker's",
  };
  return new DOMException(messages[reason], name);
}
