/** The worker: pulls deliveries, asks to start them, runs their handlers, reports how they ended. */

import { hostname } from "node:os";

import {
  RefusedError,
  UnavailableError,
  DeadlineExceededError,
  JobError,
  OverloadedError,
  WorkerError,
} from "../errors.js";
import * as convert from "../convert.js";
import type { Calls } from "../calls.js";
import { TaskService } from "../gen/layeron/job/v1/task_service_pb.js";
import type { Handler } from "../handler.js";
import type { Logger } from "../log.js";
import type { TaskDefinition } from "../options.js";
import { VERSION } from "../version.js";
import { Attempt } from "./attempt.js";
import type { AttemptListener } from "./attempt.js";
import { Backoff, pause } from "./backoff.js";
import { Deliveries } from "./deliveries.js";
import type { Grant, SessionEvents, Welcome } from "./incoming.js";
import { Session } from "./session.js";
import { Slots } from "./slots.js";

const QUEUES_MAX = 32;
const UNWIND_MS = 2_000;
const REPORT_MS = 5_000;
const REPORT_AWAY_MS = 2_000;
const GOODBYE_MS = 3_000;
const LOOK_MS = 20;
const SHUTDOWN = ["Shutdown", "the worker shut down before the handler began"] as const;

/** A task and its handler. */
export interface TaskHandler {
  readonly definition: TaskDefinition & { readonly queue: string };
  readonly handler: Handler<unknown, unknown>;
}

/** What a worker is made from; every limit has been checked. */
export interface WorkerOptions {
  readonly namespace: string;
  readonly handlers: ReadonlyMap<string, TaskHandler>;
  readonly concurrency: number;
  readonly prefetch: number;
  readonly buildId: string;
  readonly logger: Logger;
}

/** Runs the handlers of a job's tasks, from `start` to `stop`. */
export class Worker implements SessionEvents, AttemptListener {
  /** Resolves when it has stopped; rejects when it could not go on. */
  readonly stopped: Promise<void>;
  readonly #calls: Calls;
  readonly #options: WorkerOptions;
  readonly #slots: Slots;
  readonly #session: Session;
  readonly #deliveries: Deliveries;
  readonly #stopping = new AbortController();
  readonly #hurry = new AbortController();
  #graceMs = 0;
  #resultBytesMax = 0;
  #becomeReady: () => void = () => undefined;
  readonly #ready: Promise<void>;

  constructor(calls: Calls, options: WorkerOptions) {
    const { concurrency, prefetch, logger } = options;
    this.#calls = calls;
    this.#options = options;
    this.#slots = new Slots(concurrency, prefetch, () => {
      this.#deliveries.moreCredits();
    });
    this.#session = new Session(calls.servers, helloOf(options), this, logger);
    this.#deliveries = new Deliveries(
      (runId, reply) => {
        this.#onDelivery(runId, reply);
      },
      () => this.#slots.credits() - this.#session.unanswered,
      concurrency + prefetch,
      logger,
    );
    this.#ready = new Promise((resolve) => {
      this.#becomeReady = resolve;
    });
    this.stopped = this.#run();
  }

  /** How many handlers have not returned. */
  get running(): number {
    return this.#slots.running.size;
  }

  /** Wait until it is connected. Rejects when the server refuses the tasks or this worker. */
  async ready(): Promise<void> {
    await Promise.race([this.#ready, this.stopped]);
  }

  /** Take no more runs and stop once those that run are done, at the latest after the grace. */
  stop(graceMs: number): void {
    this.#graceMs = graceMs;
    this.#stopping.abort();
  }

  /** Do not wait for handlers any more. */
  hurry(): void {
    this.#hurry.abort();
    this.stop(0);
  }

  // What the session tells us.

  connected(welcome: Welcome): void {
    this.#slots.beginWithinMs = Number(welcome.beginWithinMs);
    this.#resultBytesMax = Number(welcome.resultBytesMax);
    this.#deliveries.resume(welcome);
    this.#becomeReady();
  }

  disconnected(): void {
    this.#deliveries.pause();
  }

  granted(startId: number, grant: Grant): Attempt {
    const { namespace, logger, handlers } = this.#options;
    const task = handlers.get(grant.task);
    const handler = task?.handler ?? noHandler;
    const attempt = new Attempt(startId, grant, handler, this, {
      namespace,
      logger,
      resultBytesMax: this.#resultBytesMax,
    });
    if (this.#stopping.signal.aborted) {
      attempt.neverBegan("interrupted", ...SHUTDOWN);
    } else {
      this.#slots.admit(attempt);
    }
    return attempt;
  }

  settled(reply: string): void {
    this.#deliveries.ack(reply);
    this.#deliveries.moreCredits();
  }

  unanswered(reply: string): void {
    this.#deliveries.nak(reply);
  }

  // What the attempts tell us.

  attemptReported(attempt: Attempt): void {
    this.#session.finish(attempt);
  }

  attemptEnded(attempt: Attempt): void {
    this.#slots.release(attempt);
  }

  attemptNoted(attempt: Attempt): void {
    this.#session.note(attempt);
  }

  #onDelivery(runId: string, reply: string): void {
    if (this.#stopping.signal.aborted) {
      this.#deliveries.nak(reply);
    } else {
      this.#session.start(runId, reply);
    }
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    if (!(await this.#register(signal))) {
      return;
    }
    const connected = this.#session.run();
    const stopped = aborted(signal);
    try {
      await Promise.race([connected, stopped]); // the first one ends only with an error
      await this.#drain();
      await connected;
    } finally {
      await this.#deliveries.close();
    }
  }

  /** Tell the server of the tasks, once. Waits for a server that is away; false if we were stopped before. */
  async #register(signal: AbortSignal): Promise<boolean> {
    const { namespace, handlers, logger } = this.#options;
    const tasks = [...handlers.values()].map(({ definition }) => convert.taskDefinition(definition));
    const backoff = new Backoff();
    for (;;) {
      try {
        await this.#calls.once(TaskService.method.registerTasks, { namespace, tasks }, { signal });
        return true;
      } catch (error) {
        if (signal.aborted) {
          return false;
        }
        if (
          error instanceof UnavailableError ||
          error instanceof DeadlineExceededError ||
          error instanceof OverloadedError
        ) {
          logger.warn("no server to register tasks with", { error: error.message });
          await backoff.wait(signal);
        } else if (error instanceof JobError) {
          const names = [...handlers.keys()].join(", ");
          throw new WorkerError(`the server refused to register the tasks ${names}: ${error.message}`, {
            cause: error,
          });
        } else {
          throw error;
        }
      }
    }
  }

  /** Hand back what has not begun, wait for what runs, report the rest as interrupted, say goodbye. */
  async #drain(): Promise<void> {
    const { running } = this.#slots;
    this.#options.logger.info("stopping", { running: running.size });
    this.#slots.handBackWaiting(...SHUTDOWN);
    await this.#deliveries.stop();
    await this.#until(() => running.size === 0, this.#graceMs);
    for (const attempt of running) {
      attempt.shutDown();
    }
    await this.#until(() => running.size === 0, UNWIND_MS);
    for (const attempt of running) {
      attempt.giveUp();
    }
    const reportMs = this.#session.isConnected ? REPORT_MS : REPORT_AWAY_MS;
    await this.#until(() => this.#session.isSettled, reportMs);
    await this.#session.leave(GOODBYE_MS);
  }

  /** Wait until it is over, at most so long, and not at all when told to hurry. */
  async #until(over: () => boolean, limitMs: number): Promise<void> {
    const { signal } = this.#hurry;
    const deadline = performance.now() + limitMs;
    while (!over() && !signal.aborted && performance.now() < deadline) {
      await pause(LOOK_MS, signal);
    }
  }
}

function helloOf({ namespace, handlers, concurrency, buildId }: WorkerOptions) {
  const queues = [...new Set([...handlers.values()].map(({ definition }) => definition.queue))];
  if (queues.length > QUEUES_MAX) {
    throw new RefusedError("the number of queues", `must be 1 to ${QUEUES_MAX}, not ${queues.length}`);
  }
  return {
    namespace,
    buildId,
    sdkName: "layeron-job-worker-typescript",
    sdkVersion: VERSION,
    protocolVersion: 1,
    host: hostname(),
    pid: process.pid,
    tasks: [...handlers.keys()],
    queues,
    slots: concurrency,
  };
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
    }
    signal.addEventListener("abort", () => {
      resolve();
    });
  });
}

/** The server grants only what Hello named. */
function noHandler(): never {
  throw new Error("this worker has no handler for the task");
}
