/** `call`: answers requests through the client. */

import { job } from "@layeron/job";
import type { Job, RunSummary, WatchOptions } from "@layeron/job";

import * as given from "./given.js";
import { read, say } from "./lines.js";
import * as plain from "./plain.js";

/** The fields of every op. */
interface Asked {
  readonly id: unknown;
  readonly op: string;
  readonly namespace?: string;
  readonly task?: string;
  readonly run_id?: string;
  readonly payload?: unknown;
  readonly options?: given.GivenOptions;
  readonly items?: readonly given.GivenItem[];
  readonly batch_size?: number;
  readonly filter?: given.GivenFilter;
  readonly page_size?: number;
  readonly limit?: number;
  readonly view?: "basic" | "full";
  readonly reason?: string;
  readonly timeout_ms?: number;
  readonly queue?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly resume_token?: string;
  readonly count?: number;
}

type Op = (jobs: Job, asked: Asked) => Promise<object>;

/** Answer each request in turn. */
export async function call(): Promise<void> {
  const clients = new Map<string, Job>();
  for await (const asked of read<Asked>()) {
    const { id, op, namespace = "default" } = asked;
    const jobs = clients.get(namespace) ?? job({ namespace });
    clients.set(namespace, jobs);
    const doing = OPS[op];
    if (doing === undefined) {
      throw new Error(`no op ${op}`);
    }
    say(
      await doing(jobs, asked).then(
        (ok) => ({ id, ok }),
        (error: unknown) => ({ id, error: plain.error(error) }),
      ),
    );
  }
  await Promise.all([...clients.values()].map((jobs) => jobs.close()));
}

const OPS: Readonly<Partial<Record<string, Op>>> = {
  enqueue: async (jobs, { task = "", payload, options }) =>
    plain.enqueued(await jobs.enqueue(task, payload, given.enqueueOptions(options))),

  enqueue_batch: async (jobs, { items = [], batch_size: batchSize }) => {
    const results = await jobs.enqueueBatch(items.map(given.batchItem), { batchSize });
    return { results: results.map(plain.enqueued) };
  },

  get: async (jobs, { run_id: runId = "" }) => {
    const { attempts, transitions, ...run } = await jobs.runs.get(runId);
    return {
      run: plain.model(run),
      attempts: attempts.map(plain.attempt),
      transitions: transitions.map(plain.transition),
    };
  },

  list: async (jobs, { filter, page_size: pageSize, limit, view }) => {
    const runs = [];
    for await (const run of listed(jobs, view, { ...given.runFilter(filter), pageSize })) {
      runs.push({ ...plain.NOT_IN_LISTS, ...plain.model(run) });
      if (runs.length === limit) break;
    }
    return { runs };
  },

  cancel: async (jobs, { run_id: runId = "", reason }) => ({
    run: plain.model(await jobs.runs.cancel(runId, { reason })),
  }),

  replay: async (jobs, { run_id: runId = "", reason, options }) =>
    plain.enqueued(await jobs.runs.replay(runId, { reason, ...given.replayOptions(options) })),

  wait: async (jobs, { run_id: runId = "", timeout_ms: timeoutMs }) => ({
    run: plain.model(await jobs.runs.wait(runId, { timeoutSeconds: given.seconds(timeoutMs) })),
  }),

  watch: async (jobs, asked) => {
    const changes: object[] = [];
    const signal = asked.timeout_ms === undefined ? undefined : AbortSignal.timeout(asked.timeout_ms);
    try {
      for await (const change of jobs.runs.watch({ ...watched(asked), resumeToken: asked.resume_token, signal })) {
        changes.push(plain.change(change));
        if (changes.length === asked.count) break;
      }
    } catch (error) {
      if (signal?.aborted !== true) throw error;
    }
    return { changes };
  },

  tasks: async (jobs) => {
    const tasks = [];
    for await (const task of jobs.tasks.list()) tasks.push(plain.model(task));
    return { tasks };
  },

  pause: async (jobs, { task = "", reason }) => ({ task: plain.model(await jobs.tasks.pause(task, { reason })) }),

  resume: async (jobs, { task = "" }) => ({ task: plain.model(await jobs.tasks.resume(task)) }),
};

/** Which runs to watch; without a run id, all that match. */
function watched({ run_id: runId, task, queue, labels }: Asked): WatchOptions {
  return runId === undefined ? { task, queue, labels } : { runId };
}

function listed(jobs: Job, view: Asked["view"], options: object): AsyncIterable<RunSummary> {
  return view === "full" ? jobs.runs.list({ ...options, view }) : jobs.runs.list(options);
}
