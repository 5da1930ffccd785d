import assert from "node:assert/strict";
import { test } from "node:test";

import {
  IdempotencyKeyReusedError,
  InvalidRequestError,
  isJobError,
  isTerminal,
  job,
  newRunId,
  PageTokenInvalidError,
  RefusedError,
  RunIdReusedError,
  RunNotFinishedError,
  RunNotFoundError,
  TaskNotFoundError,
  TaskNotRegisteredError,
  WaitTimeoutError,
} from "../src/index.js";
import type { JobOptions } from "../src/index.js";
import { callerJob, testJob } from "./support/jobs.js";
import { sharedAddress } from "./support/servers.js";
import { collect } from "./support/waiting.js";

const NOBODY = "run_01jd0000000000000000000000";

test("an enqueued run is as it was asked for", async (t) => {
  const jobs = await callerJob(t);
  const runAt = new Date(Date.now() + 3_600_000);
  const { run, created, status, pruned } = await jobs.enqueue(
    "work",
    { to: "Zoë ☃", n: [1, 2.5, null] },
    {
      runAt,
      startBy: new Date(runAt.getTime() + 60_000),
      idempotencyKey: "k",
      idempotencyWindow: "while_active",
      retry: { attempts: 8, backoff: { type: "custom", delaysSeconds: [10, 30] } },
      timeoutSeconds: 2.5,
      labels: { team: "mail" },
      priority: "high",
      name: "July",
      payloadEncoding: "plain",
      traceContext: { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" },
    },
  );
  assert.ok(run !== null && created && !pruned);
  assert.equal(status, "scheduled");
  assert.ok(run.status === "scheduled" && !isTerminal(run));
  assert.deepEqual(run.payload, { to: "Zoë ☃", n: [1, 2.5, null] });
  assert.deepEqual(run.dueAt, runAt);
  assert.deepEqual(run.startBy, new Date(runAt.getTime() + 60_000));
  assert.deepEqual(
    [run.idempotencyKey, run.idempotencyWindow, run.priority, run.name, run.payloadEncoding, run.origin],
    ["k", "while_active", "high", "July", "plain", "enqueue"],
  );
  assert.deepEqual(run.labels, { team: "mail" });
  assert.deepEqual(run.retry.backoff, { type: "custom", delaysSeconds: [10, 30] });
  assert.equal(run.timeoutSeconds, 2.5);
  assert.equal(run.traceContext["traceparent"], "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  assert.deepEqual((await jobs.runs.get(run.runId)).payload, run.payload);
});

test("runAt is a Date or text with a zone, and delaySeconds is from now", async (t) => {
  const jobs = await callerJob(t);
  const year = new Date().getUTCFullYear() + 1;
  const at = await jobs.enqueue("work", null, { runAt: `${year}-06-01T09:00:00.000+02:00` });
  assert.equal(at.run?.dueAt?.toISOString(), `${year}-06-01T07:00:00.000Z`);
  for (const runAt of ["June 1, 2040 Z", "2040-06-01Z", "2040-13-01T00:00:00Z"]) {
    await assert.rejects(jobs.enqueue("work", null, { runAt }), /^RefusedError: runAt must be a Date, or/);
  }
  const before = Date.now();
  const later = await jobs.enqueue("work", null, { delaySeconds: 3600 });
  const dueIn = (later.run?.dueAt?.getTime() ?? 0) - before;
  assert.ok(dueIn > 3_590_000 && dueIn < 3_610_000);
});

test("a payload that is left out is null", async (t) => {
  const jobs = await callerJob(t);
  const { run } = await jobs.enqueue("work");
  assert.equal(run?.payload, null);
});

const refusedHere: [string, object, string][] = [
  ["a time without a zone", { runAt: "2040-06-01T09:00:00" }, "runAt"],
  ["an invalid Date", { runAt: new Date(NaN) }, "runAt"],
  ["a delay that is no number", { delaySeconds: NaN }, "delaySeconds"],
  ["an empty idempotency key", { idempotencyKey: "" }, "idempotencyKey"],
  ["an empty run id", { runId: "" }, "runId"],
  ["an unknown priority", { priority: "urgent" }, "priority"],
  ["an unknown window", { idempotencyWindow: "always" }, "idempotencyWindow"],
  ["a label that is no text", { labels: { n: 1 } }, "labels.n"],
  ["a label that UTF-8 cannot hold", { labels: { n: "\ud800" } }, "labels.n"],
  ["a bad policy", { retry: { attempts: 0 } }, "retry.attempts"],
];

for (const [what, options, field] of refusedHere) {
  test(`${what} is refused before anything is sent`, async (t) => {
    const jobs = testJob(t, { address: "127.0.0.1:1" });
    await assert.rejects(jobs.enqueue("work", 1, options), (error) => {
      return error instanceof RefusedError && error.field === field && error.message.startsWith(field);
    });
  });
}

const refusedOptions: [JobOptions, string][] = [
  [{ namespace: "Upper" }, "namespace"],
  [{ name: "a b" }, "name"],
  [{ queue: { name: "" } }, "queue.name"],
  [{ address: [] }, "address"],
  [{ address: "localhost" }, "address"],
  [{ address: "http://localhost:7233" }, "address"],
  [{ token: "two words" }, "token"],
  [{ callTimeoutSeconds: 0 }, "callTimeoutSeconds"],
];

for (const [options, field] of refusedOptions) {
  test(`a job with ${JSON.stringify(options)} is refused`, () => {
    assert.throws(
      () => job(options),
      (error) => error instanceof RefusedError && error.field === field,
    );
  });
}

test("fields that break a rule of the server are named in violations", async (t) => {
  const jobs = await callerJob(t);
  const bad = jobs.enqueue("work", "\0", { labels: { k: "v".repeat(256) }, timeoutSeconds: 8 * 86_400 });
  await assert.rejects(bad, (error) => {
    assert.ok(error instanceof InvalidRequestError);
    assert.equal(error.code, "INVALID_ARGUMENT");
    assert.deepEqual(error.violations.map(({ field }) => field).sort(), ["labels", "payload_json", "timeout"]);
    return true;
  });
});

test("errors are of the class and kind of their reason", async (t) => {
  const jobs = await callerJob(t);
  const { runId } = await jobs.enqueue("work", 1, { idempotencyKey: "k", delaySeconds: 60 });
  const otherRequest = () => jobs.enqueue("work", 2, { idempotencyKey: "k" });
  type ErrorClass = abstract new (...args: never[]) => Error;
  const failing: [() => Promise<unknown>, ErrorClass, string, string][] = [
    [() => jobs.enqueue("nobody", 1), TaskNotRegisteredError, "TaskNotRegistered", "TASK_NOT_REGISTERED"],
    [() => jobs.runs.get(NOBODY), RunNotFoundError, "RunNotFound", "RUN_NOT_FOUND"],
    [() => jobs.tasks.get("nobody"), TaskNotFoundError, "TaskNotFound", "TASK_NOT_FOUND"],
    [otherRequest, IdempotencyKeyReusedError, "IdempotencyKeyReused", "IDEMPOTENCY_KEY_REUSED"],
    [() => jobs.enqueue("work", 2, { runId }), RunIdReusedError, "RunIdReused", "RUN_ID_REUSED"],
    [() => jobs.runs.replay(runId), RunNotFinishedError, "RunNotFinished", "RUN_NOT_FINISHED"],
    [() => jobs.runs.listPage({ pageToken: "x" }), PageTokenInvalidError, "PageTokenInvalid", "PAGE_TOKEN_INVALID"],
  ];
  for (const [call, type, kind, reason] of failing) {
    await assert.rejects(call(), (error) => {
      assert.ok(error instanceof type && isJobError(error), String(error));
      assert.deepEqual([error.kind, error.reason, error.name], [kind, reason, type.name]);
      if (error.kind === "IdempotencyKeyReused") assert.equal(error.runId, runId);
      return true;
    });
  }
});

test("the same request under one key, or of one run id, makes one run", async (t) => {
  const jobs = await callerJob(t);
  const first = await jobs.enqueue("work", { a: 1, b: 2 }, { idempotencyKey: "k" });
  const again = await jobs.enqueue("work", { b: 2, a: 1 }, { idempotencyKey: "k" });
  assert.deepEqual([again.runId, again.created], [first.runId, false]);
  const runId = newRunId();
  assert.equal((await jobs.enqueue("work", 1, { runId })).created, true);
  assert.equal((await jobs.enqueue("work", 1, { runId })).created, false);
});

test("lists give the runs that match, newest first, over their pages", async (t) => {
  const jobs = await callerJob(t);
  const ids: string[] = [];
  for (let n = 0; n < 5; n++) {
    ids.push(
      (await jobs.enqueue("work", { n }, { labels: { odd: String(n % 2) }, delaySeconds: n === 4 ? 60 : 0 })).runId,
    );
  }
  const newest = [...ids].reverse();
  const all = await collect(jobs.runs.list({ pageSize: 2 }));
  assert.deepEqual(
    all.map(({ runId }) => runId),
    newest,
  );
  assert.ok(!("payload" in (all[0] ?? {})));
  const odd = await collect(jobs.runs.list({ labels: { odd: "1" }, view: "full" }));
  assert.deepEqual(
    odd.map(({ payload }) => payload),
    [{ n: 3 }, { n: 1 }],
  );
  const scheduled = await collect(jobs.runs.list({ status: ["scheduled", "running"] }));
  assert.deepEqual(
    scheduled.map(({ runId }) => runId),
    [ids[4]],
  );
  const page = await jobs.runs.listPage({ pageSize: 3, task: "work" });
  const rest = await jobs.runs.listPage({ pageSize: 3, task: "work", pageToken: page.nextPageToken });
  assert.deepEqual(
    [...page.runs, ...rest.runs].map(({ runId }) => runId),
    newest,
  );
  assert.equal(rest.nextPageToken, "");
});

test("runs are listed by when they were made", async (t) => {
  const jobs = await callerJob(t);
  for (let count = 1; count <= 20; count++) {
    const { run } = await jobs.enqueue("work");
    assert.ok(run !== null);
    const [found] = await collect(jobs.runs.list({ createdFrom: run.createdAt, pageSize: 1 }));
    assert.equal(found?.runId, run.runId, "a Date is never later than the time it stands for");
  }
  assert.deepEqual(await collect(jobs.runs.list({ createdBefore: "2026-01-01T00:00:00Z" })), []);
});

test("a canceled run is terminal, and can be replayed with another payload", async (t) => {
  const jobs = await callerJob(t);
  const { runId } = await jobs.enqueue("work", { n: 1 });
  const canceled = await jobs.runs.cancel(runId, { reason: "a mistake" });
  assert.ok(canceled.status === "canceled" && isTerminal(canceled));
  assert.equal((await jobs.runs.cancel(runId)).status, "canceled", "canceling it again answers it");
  const { transitions } = await jobs.runs.get(runId);
  assert.deepEqual(
    transitions.map(({ fromStatus, toStatus, reasonCode, note }) => [fromStatus, toStatus, reasonCode, note]),
    [
      [null, "queued", "ENQUEUED", ""],
      ["queued", "canceled", "CANCEL_REQUESTED", "a mistake"],
    ],
  );
  const replayed = await jobs.runs.replay(runId, { reason: "again", payload: { n: 2 }, delaySeconds: 60 });
  assert.ok(replayed.created);
  assert.deepEqual([replayed.run.origin, replayed.run.originId, replayed.run.payload], ["replay", runId, { n: 2 }]);
  assert.equal((await jobs.runs.get(runId)).replayedBy, replayed.runId);
  const same = await jobs.runs.replay(runId);
  assert.deepEqual(same.run?.payload, { n: 1 });
});

test("a replay of a chosen id can be repeated", async (t) => {
  const jobs = await callerJob(t);
  const { runId } = await jobs.enqueue("work");
  await jobs.runs.cancel(runId);
  const chosen = newRunId();
  assert.equal((await jobs.runs.replay(runId, { newRunId: chosen })).created, true);
  const again = await jobs.runs.replay(runId, { newRunId: chosen });
  assert.deepEqual([again.runId, again.created], [chosen, false]);
});

test("a wait ends with the run, or with its own time", async (t) => {
  const jobs = await callerJob(t);
  const { runId } = await jobs.enqueue("work");
  await assert.rejects(jobs.runs.wait(runId, { timeoutSeconds: 0.2 }), (error) => {
    assert.ok(error instanceof WaitTimeoutError);
    assert.equal(error.run.status, "queued");
    return true;
  });
  const waiting = jobs.runs.wait(runId, { timeoutSeconds: 30 });
  await jobs.runs.cancel(runId);
  assert.equal((await waiting).status, "canceled");
  await assert.rejects(jobs.runs.wait(NOBODY), RunNotFoundError);
});

test("a watch of a run tells all its changes and ends with it, and goes on after a token", async (t) => {
  const jobs = await callerJob(t);
  const { runId } = await jobs.enqueue("work");
  const watching = collect(jobs.runs.watch({ runId }));
  await jobs.runs.cancel(runId);
  const changes = await watching;
  assert.deepEqual(
    changes.map(({ transition }) => transition.toStatus),
    ["queued", "canceled"],
  );
  const token = changes[0]?.resumeToken ?? "";
  const rest = await collect(jobs.runs.watch({ runId, resumeToken: token }));
  assert.equal(rest.at(-1)?.transition.toStatus, "canceled");
});

test("a watch of a filter tells what matches from now on, until it is left", async (t) => {
  const jobs = await callerJob(t);
  const controller = new AbortController();
  const watch = jobs.runs.watch({ labels: { team: "a" }, signal: controller.signal });
  const first = watch.next();
  let runId = "";
  const poking = setInterval(() => {
    // A watch says nothing when it has begun, so that runs are made until it tells of one.
    void jobs.enqueue("work", 1, { labels: { team: "b" } });
    void jobs.enqueue("work", 1, { labels: { team: "a" } }).then((made) => (runId ||= made.runId));
  }, 100);
  const { value } = await first;
  clearInterval(poking);
  assert.ok(value !== undefined);
  assert.deepEqual((await jobs.runs.get(value.runId)).labels, { team: "a" });
  assert.notEqual(runId, "");
  controller.abort(new Error("enough"));
  await assert.rejects(async () => {
    for await (const change of watch) assert.equal(change.task, "work");
  }, /^Error: enough$/);
});

test("a watch that is left lets go of its stream", async (t) => {
  const jobs = await callerJob(t);
  const { runId } = await jobs.enqueue("work");
  for await (const change of jobs.runs.watch({ runId })) {
    assert.equal(change.runId, runId);
    break;
  }
});

test("tasks are registered, listed, paused and resumed", async (t) => {
  const jobs = testJob(t);
  const [made] = await jobs.tasks.register([
    { name: "b", queue: "mail", retry: { attempts: 2 }, timeoutSeconds: 30, priority: "low" },
    { name: "a" },
  ]);
  assert.ok(made !== undefined);
  const { name, queue, timeoutSeconds, priority, revision, pausedAt } = made;
  assert.deepEqual([name, queue, timeoutSeconds, priority, revision, pausedAt], ["b", "mail", 30, "low", 1, null]);
  assert.equal(made.retry.attempts, 2);
  const names = (await collect(jobs.tasks.list({ pageSize: 1 }))).map((task) => task.name);
  assert.deepEqual(names, ["a", "b"]);
  const paused = await jobs.tasks.pause("b", { reason: "provider away" });
  assert.ok(paused.pausedAt instanceof Date && paused.pauseReason === "provider away");
  assert.equal((await jobs.tasks.resume("b")).pausedAt, null);
  assert.equal((await jobs.tasks.get("a")).queue, "default");
});

test("no namespace sees another's runs", async (t) => {
  const ours = await callerJob(t);
  const theirs = await callerJob(t);
  const { runId } = await ours.enqueue("work");
  await assert.rejects(theirs.runs.get(runId), RunNotFoundError);
  assert.deepEqual(await collect(theirs.runs.list()), []);
});

test("the address is taken from the environment", async (t) => {
  assert.equal(process.env["LAYERON_JOB_ADDRESS"], sharedAddress());
  const jobs = job();
  t.after(() => jobs.close());
  await assert.rejects(jobs.runs.get(NOBODY), RunNotFoundError);
});
