/** Runs that exist: looking at them, waiting for them, watching them, canceling and replaying them. */

import type { Calls, Patience } from "./calls.js";
import * as convert from "./convert.js";
import { OverloadedError, RefusedError, UnavailableError, WaitTimeoutError } from "./errors.js";
import { durationOf, given, inLimits, text, wholeInLimits } from "./fields.js";
import { JobService, JsonForm, RunView } from "./gen/layeron/job/v1/job_service_pb.js";
import { newRunId } from "./ids.js";
import type { Json } from "./json.js";
import { jsonBytes } from "./json.js";
import type { Enqueued, Page, Run, RunChange, RunDetails, RunSummary, TerminalRun } from "./models.js";
import { isTerminal } from "./models.js";
import type {
  CallOptions,
  CancelOptions,
  ListOptions,
  PageOptions,
  ReplayOptions,
  WaitOptions,
  WatchOptions,
} from "./options.js";

const POLL_MS = 30_000;
const VIEWS = { basic: RunView.BASIC, full: RunView.FULL };

/** The runs of a job's namespace: `jobs.runs`. The types of payload and result are the caller's to know. */
export class Runs {
  readonly #calls: Calls;
  readonly #namespace: string;

  /** @internal */
  constructor(calls: Calls, namespace: string) {
    this.#calls = calls;
    this.#namespace = namespace;
  }

  /** A run with its attempts and transitions. Throws RunNotFoundError. */
  async get<Payload = Json, Value = Json>(
    runId: string,
    { signal }: CallOptions = {},
  ): Promise<RunDetails<Payload, Value>> {
    const request = { namespace: this.#namespace, runId: text("runId", runId), jsonForm: JsonForm.BYTES };
    const answer = await this.#calls.unary(JobService.method.getRun, request, signal);
    return convert.runDetails(answer) as RunDetails<Payload, Value>;
  }

  /** The runs that match, newest first, asked for page by page. Throws FilterTooBroadError. */
  list(options?: ListOptions): AsyncGenerator<RunSummary, void, undefined>;
  list<Payload = Json, Value = Json>(
    options: ListOptions<"full">,
  ): AsyncGenerator<Run<Payload, Value>, void, undefined>;
  async *list(options: ListOptions<"basic" | "full"> = {}): AsyncGenerator<RunSummary, void, undefined> {
    let pageToken = "";
    do {
      const page = await this.#page({ ...options, pageToken });
      yield* page.runs;
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
  }

  /** One page of what `list` gives. Throws PageTokenInvalidError, FilterTooBroadError. */
  listPage(options?: PageOptions): Promise<Page<RunSummary>>;
  listPage<Payload = Json, Value = Json>(options: PageOptions<"full">): Promise<Page<Run<Payload, Value>>>;
  listPage(options: PageOptions<"basic" | "full"> = {}): Promise<Page<RunSummary>> {
    return this.#page(options);
  }

  /**
   * The run once it is terminal, whatever its end: look at its status.
   *
   * Throws WaitTimeoutError after `timeoutSeconds`. Outages up to the client's timeout are waited out. Throws
   * RunNotFoundError, and UnavailableError or DeadlineExceededError when no server answers; both may take the client's
   * timeout longer.
   */
  async wait<Payload = Json, Value = Json>(
    runId: string,
    { timeoutSeconds, signal }: WaitOptions = {},
  ): Promise<TerminalRun<Payload, Value>> {
    const limitMs =
      timeoutSeconds === undefined ? Infinity : inLimits("timeoutSeconds", timeoutSeconds, 0, 1e10) * 1000;
    const ends = performance.now() + limitMs;
    let outage: Patience | undefined;
    for (;;) {
      const leftMs = ends - performance.now();
      try {
        const run = await this.#poll<Payload, Value>(runId, Math.max(0, Math.min(leftMs, POLL_MS)), signal);
        outage = undefined;
        if (isTerminal(run)) {
          return run;
        }
        if (performance.now() >= ends) {
          throw new WaitTimeoutError(`${runId} is still ${run.status}`, run as Run);
        }
      } catch (error) {
        if (!(error instanceof UnavailableError) || leftMs <= 0) {
          throw error;
        }
        outage ??= this.#calls.patience(signal);
        await outage.bear(error);
      }
    }
  }

  /**
   * Changes as they happen: of one run from its first on until it is terminal, or of all that match from now on.
   *
   * A lost connection is made again and the watch goes on after what was given, unless no server answers for the
   * client's timeout: UnavailableError. Throws RunNotFoundError, and WatchTokenExpiredError for a token older than 24
   * hours. Leaving the loop ends the watch.
   */
  async *watch(options: WatchOptions = {}): AsyncGenerator<RunChange, void, undefined> {
    const { runId, resumeToken = "", signal, ...filter } = options;
    const byFilter = runId === undefined || Object.values(filter).some((wanted) => wanted !== undefined);
    const request = {
      namespace: this.#namespace,
      runId: given("runId", runId) ?? "",
      resumeToken,
      ...(byFilter && { filter: convert.runFilter(filter) }),
    };
    let outage: Patience | undefined;
    for (;;) {
      try {
        for await (const answer of this.#calls.stream(JobService.method.watchRuns, request, signal)) {
          outage = undefined;
          yield* convert.runChanges(answer, request.resumeToken);
          request.resumeToken = answer.resumeToken;
        }
        if (runId !== undefined) {
          return;
        }
        throw new UnavailableError("the server ended the watch", { code: "UNAVAILABLE" });
      } catch (error) {
        // Overloaded: we read too slowly, and go on by the token too.
        if (!(error instanceof UnavailableError || error instanceof OverloadedError)) {
          throw error;
        }
        outage ??= this.#calls.patience(signal);
        await outage.bear(error);
      }
    }
  }

  /**
   * End a waiting run at once, or ask a running one's worker to; the run as it then is.
   *
   * A run that succeeds first stays a success. Canceling a canceled run answers it. Throws RunNotFoundError,
   * RunAlreadyFinishedError.
   */
  async cancel<Payload = Json, Value = Json>(
    runId: string,
    { reason = "", signal }: CancelOptions = {},
  ): Promise<Run<Payload, Value>> {
    const request = {
      namespace: this.#namespace,
      runId: text("runId", runId),
      reason: text("reason", reason),
      jsonForm: JsonForm.BYTES,
    };
    const answer = await this.#calls.unary(JobService.method.cancelRun, request, signal);
    return convert.run(convert.required(answer.run)) as Run<Payload, Value>;
  }

  /**
   * Make a new run like this terminal one, with its payload or another, at once or later.
   *
   * Throws RunNotFoundError, RunNotFinishedError, RunIdReusedError.
   */
  async replay<Payload = Json, Value = Json>(
    runId: string,
    options: ReplayOptions = {},
  ): Promise<Enqueued<Payload, Value>> {
    const { reason = "", payload, signal } = options;
    const chosen = given("newRunId", options.newRunId);
    const request = {
      namespace: this.#namespace,
      runId: text("runId", runId),
      reason: text("reason", reason),
      newRunId: chosen ?? newRunId(),
      ...(payload !== undefined && { payloadJson: jsonBytes(payload, "payload") }),
      ...convert.dueTime(options),
      jsonForm: JsonForm.BYTES,
    };
    const answer = await this.#calls.unary(JobService.method.replayRun, request, signal);
    const run = convert.run(convert.required(answer.run)) as Run<Payload, Value>;
    // Of an id that was chosen here only this call can have made a run, in a try whose answer was lost.
    return {
      runId: run.runId,
      created: answer.created || chosen === undefined,
      pruned: false,
      status: run.status,
      run,
    };
  }

  async #page(options: PageOptions<"basic" | "full">): Promise<Page<RunSummary>> {
    const { view = "basic", pageSize, pageToken = "", signal, ...filter } = options;
    if (!Object.hasOwn(VIEWS, view)) {
      throw new RefusedError("view", `must be basic or full, not ${JSON.stringify(view)}`);
    }
    const request = {
      namespace: this.#namespace,
      filter: convert.runFilter(filter),
      ...(pageSize !== undefined && { pageSize: wholeInLimits("pageSize", pageSize, -(2 ** 31), 2 ** 31 - 1) }),
      pageToken: text("pageToken", pageToken),
      view: VIEWS[view],
      jsonForm: JsonForm.BYTES,
    };
    const answer = await this.#calls.unary(JobService.method.listRuns, request, signal);
    return {
      runs: answer.runs.map(view === "full" ? convert.run : convert.runSummary),
      nextPageToken: answer.nextPageToken,
    };
  }

  async #poll<Payload, Value>(
    runId: string,
    pollMs: number,
    signal: AbortSignal | undefined,
  ): Promise<Run<Payload, Value>> {
    const request = {
      namespace: this.#namespace,
      runId: text("runId", runId),
      timeout: durationOf("timeoutSeconds", pollMs / 1000),
      jsonForm: JsonForm.BYTES,
    };
    const timeoutMs = pollMs + this.#calls.timeoutMs;
    const answer = await this.#calls.once(JobService.method.waitRun, request, { signal, timeoutMs });
    return convert.run(convert.required(answer.run)) as Run<Payload, Value>;
  }
}
