import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";

import { DoNotRetry, RefusedError, RetryAfter, RunAlreadyFinishedError } from "../src/index.js";
import type { Context } from "../src/index.js";
import { atEnd } from "./support/cleaning.js";
import { callerJob, testJob } from "./support/jobs.js";
import { ownNamespace, Proxy } from "./support/servers.js";
import { collect, eventually, Gate } from "./support/waiting.js";

const SOON = { backoff: { type: "custom", delaysSeconds: [0.05] }, jitter: 0 } as const;

test("delaySeconds and runAt start a run no earlier than that", async (t) => {
  const jobs = testJob(t);
  const began = new Map<string, number>();
  jobs.task("work", {}, (_payload, ctx) => void began.set(ctx.runId, Date.now()));
  await jobs.start();
  const before = Date.now();
  const delayed = await jobs.enqueue("work", null, { delaySeconds: 0.7 });
  const timed = await jobs.enqueue("work", null, { runAt: new Date(before + 900) });
  await jobs.runs.wait(delayed.runId, { timeoutSeconds: 30 });
  await jobs.runs.wait(timed.runId, { timeoutSeconds: 30 });
  assert.ok((began.get(delayed.runId) ?? 0) - before >= 690);
  assert.ok((began.get(timed.runId) ?? 0) - before >= 890);
});

test("the handler's context is that of its run", async (t) => {
  const jobs = testJob(t);
  let seen: Context | undefined;
  jobs.task("work", { retry: { attempts: 4 }, timeoutSeconds: 20 }, (_payload, ctx) => {
    seen = ctx;
  });
  await jobs.start();
  const traceContext = { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" };
  const options = { labels: { team: "a" }, name: "July", payloadEncoding: "enc", traceContext };
  const { runId, run } = await jobs.enqueue("work", "sealed", options);
  await jobs.runs.wait(runId, { timeoutSeconds: 30 });
  assert.ok(seen !== undefined);
  const { task, namespace, attempt, countedAttempts, maxAttempts, timeoutSeconds, ...rest } = seen;
  assert.deepEqual(
    [seen.runId, task, namespace, attempt, countedAttempts, maxAttempts, timeoutSeconds],
    [runId, "work", jobs.namespace, 1, 0, 4, 20],
  );
  assert.deepEqual(
    { labels: rest.labels, name: rest.name, payloadEncoding: rest.payloadEncoding, traceContext: rest.traceContext },
    options,
  );
  assert.deepEqual(seen.createdAt, run?.createdAt);
});

test("DoNotRetry and an error that is not to be retried dead-letter the run at once", async (t) => {
  const jobs = testJob(t);
  class Gone extends Error {}
  jobs.task("never", { retry: SOON }, () => {
    throw new DoNotRetry("no such account");
  });
  jobs.task("listed", { retry: { ...SOON, nonRetryable: [Gone] } }, () => {
    throw new Gone("410");
  });
  await jobs.start();
  for (const task of ["never", "listed"]) {
    const { runId } = await jobs.enqueue(task);
    assert.equal((await jobs.runs.wait(runId, { timeoutSeconds: 30 })).status, "dead_lettered");
    const { attempts, transitions } = await jobs.runs.get(runId);
    assert.equal(attempts.length, 1);
    assert.equal(transitions.at(-1)?.reasonCode, "NON_RETRYABLE");
  }
});

test("RetryAfter decides about the wait, and the attempts of the policy still count", async (t) => {
  const jobs = testJob(t);
  const at: number[] = [];
  jobs.task("work", { retry: { attempts: 2, backoff: "fixed", initialDelaySeconds: 3600 } }, () => {
    at.push(performance.now());
    throw new RetryAfter(0.3, "429");
  });
  await jobs.start();
  const { runId } = await jobs.enqueue("work");
  assert.equal((await jobs.runs.wait(runId, { timeoutSeconds: 30 })).status, "dead_lettered");
  assert.equal(at.length, 2);
  assert.ok((at[1] ?? 0) - (at[0] ?? 0) >= 290);
  assert.equal((await jobs.runs.get(runId)).transitions.at(-1)?.reasonCode, "ATTEMPTS_EXHAUSTED");
});

test("a handler that runs too long is told so, and its attempt has timed out", async (t) => {
  const jobs = testJob(t);
  jobs.task("work", { retry: { ...SOON, attempts: 1 }, timeoutSeconds: 0.2 }, (_payload, ctx) =>
    sleep(60_000, undefined, { signal: ctx.signal }),
  );
  await jobs.start();
  const { runId } = await jobs.enqueue("work");
  assert.equal((await jobs.runs.wait(runId, { timeoutSeconds: 30 })).status, "dead_lettered");
  const [attempt] = (await jobs.runs.get(runId)).attempts;
  assert.deepEqual([attempt?.status, attempt?.errorType], ["timed_out", "Timeout"]);
});

test("visibilityTimeoutSeconds is the timeout of tasks that bring none", async (t) => {
  const jobs = testJob(t, { queue: { consumer: { visibilityTimeoutSeconds: 42 } }, retry: { attempts: 9 } });
  const nothing = () => undefined;
  jobs.task("plain", {}, nothing);
  jobs.task("own", { timeoutSeconds: 7, retry: { attempts: 2 }, queue: "other", priority: "high" }, nothing);
  await jobs.start();
  const plain = await jobs.tasks.get("plain");
  assert.deepEqual(
    [plain.timeoutSeconds, plain.retry.attempts, plain.queue, plain.priority],
    [42, 9, "default", "normal"],
  );
  const own = await jobs.tasks.get("own");
  assert.deepEqual([own.timeoutSeconds, own.retry.attempts, own.queue, own.priority], [7, 2, "other", "high"]);
});

test("a running handler hears of a cancel within a second, and the run is canceled", async (t) => {
  const jobs = testJob(t);
  const begun = new Gate();
  let heardAt = 0;
  jobs.task("work", {}, async (_payload, ctx) => {
    begun.open();
    await sleep(60_000, undefined, { signal: ctx.signal }).catch(() => undefined);
    heardAt = performance.now();
    ctx.signal.throwIfAborted();
  });
  await jobs.start();
  const { runId } = await jobs.enqueue("work");
  await begun.opened;
  const askedAt = performance.now();
  const asked = await jobs.runs.cancel(runId, { reason: "a mistake" });
  assert.ok(asked.status === "running" && asked.cancelRequestedAt !== null);
  assert.equal((await jobs.runs.wait(runId, { timeoutSeconds: 30 })).status, "canceled");
  assert.ok(heardAt - askedAt < 1_500, `heard after ${heardAt - askedAt} ms`);
  assert.equal((await jobs.runs.get(runId)).attempts[0]?.status, "canceled");
});

test("a finished run cannot be canceled, and is replayed as a new one", async (t) => {
  const jobs = testJob(t);
  jobs.task("work", {}, (payload: { n: number }) => payload.n);
  await jobs.start();
  const { runId } = await jobs.enqueue("work", { n: 1 });
  await jobs.runs.wait(runId, { timeoutSeconds: 30 });
  await assert.rejects(jobs.runs.cancel(runId), RunAlreadyFinishedError);
  const replayed = await jobs.runs.replay(runId, { payload: { n: 2 } });
  const run = await jobs.runs.wait(replayed.runId, { timeoutSeconds: 30 });
  assert.ok(run.status === "succeeded" && run.result === 2);
});

test("a result that is no JSON ends the run, with the reason", async (t) => {
  const jobs = testJob(t);
  jobs.task("work", { retry: SOON }, () => ({ count: 10n }));
  await jobs.start();
  const { runId } = await jobs.enqueue("work");
  assert.equal((await jobs.runs.wait(runId, { timeoutSeconds: 30 })).status, "dead_lettered");
  const [attempt] = (await jobs.runs.get(runId)).attempts;
  assert.equal(attempt?.errorMessage, "the handler's result has a BigInt, to be sent as a string, at '/count'");
});

test("progress and log lines of a running handler can be read", async (t) => {
  const jobs = testJob(t);
  const gate = new Gate();
  atEnd(t, gate.open);
  jobs.task("work", {}, async (_payload, ctx) => {
    ctx.progress({ done: 3 });
    ctx.log.info("three of ten");
    await gate.opened;
    ctx.progress({ done: 10 });
  });
  await jobs.start();
  const { runId } = await jobs.enqueue("work");
  await eventually(async () => {
    const [attempt] = (await jobs.runs.get(runId)).attempts;
    return (attempt?.logTail ?? "").endsWith("INFO three of ten") && attempt?.progress !== null;
  });
  const [running] = (await jobs.runs.get(runId)).attempts;
  assert.deepEqual([running?.status, running?.progress], ["running", { done: 3 }]);
  gate.open();
  await jobs.runs.wait(runId, { timeoutSeconds: 30 });
});

test("no more handlers run at once than concurrency says, and all runs get their turn", async (t) => {
  const jobs = testJob(t, { queue: { consumer: { concurrency: 3 } } });
  let now = 0;
  let most = 0;
  jobs.task("work", {}, async () => {
    most = Math.max(most, ++now);
    await sleep(5);
    now -= 1;
  });
  await jobs.start();
  const made = await jobs.enqueueBatch(Array.from({ length: 60 }, () => ({ task: "work" })));
  await Promise.all(made.map(({ runId }) => jobs.runs.wait(runId, { timeoutSeconds: 60 })));
  assert.equal(most, 3);
});

test("runs of a high priority come first, and none is starved", async (t) => {
  const jobs = testJob(t, { queue: { consumer: { concurrency: 1, batchSize: 0 } } });
  const order: string[] = [];
  jobs.task("work", {}, (payload: string) => void order.push(payload));
  await jobs.tasks.register([{ name: "work", queue: "default" }]);
  const priorities = ["low", "normal", "high"] as const;
  const items = priorities.flatMap((priority) =>
    Array.from({ length: 20 }, () => ({ task: "work", payload: priority, priority })),
  );
  const made = await jobs.enqueueBatch(items);
  await jobs.start();
  await Promise.all(made.map(({ runId }) => jobs.runs.wait(runId, { timeoutSeconds: 60 })));
  const place = (priority: string) => order.reduce((sum, one, at) => sum + (one === priority ? at : 0), 0) / 20;
  assert.ok(place("high") < place("normal") && place("normal") < place("low"), order.join(" "));
});

test("a worker takes from every queue of its tasks", async (t) => {
  const jobs = testJob(t);
  jobs.task("a", { queue: "left" }, () => "a");
  jobs.task("b", { queue: "right" }, () => "b");
  await jobs.start();
  for (const task of ["a", "b"]) {
    const { runId } = await jobs.enqueue(task);
    const run = await jobs.runs.wait(runId, { timeoutSeconds: 30 });
    assert.ok(run.status === "succeeded" && run.result === task);
  }
});

test("the handle of a task enqueues it by its own types", async (t) => {
  const jobs = testJob(t);
  const square = jobs.task("square", {}, (payload: { n: number }) => ({ n: payload.n ** 2 }));
  await jobs.start();
  const { runId } = await square.enqueue({ n: 12 }, { labels: { of: "test" } });
  const run = await jobs.runs.wait<{ n: number }, { n: number }>(runId, { timeoutSeconds: 30 });
  assert.ok(run.status === "succeeded" && run.result.n === 144);
});

test("stop waits for handlers that run, and they are recorded", async (t) => {
  const jobs = testJob(t);
  const begun = new Gate();
  jobs.task("work", {}, async () => {
    begun.open();
    await sleep(300);
    return "done";
  });
  await jobs.start();
  const { runId } = await jobs.enqueue("work");
  await begun.opened;
  await jobs.stop();
  const run = await jobs.runs.get(runId);
  assert.ok(run.status === "succeeded" && run.result === "done");
});

test("what is still running after the grace is told to stop, and handed to another worker", async (t) => {
  const namespace = ownNamespace();
  const leaving = testJob(t, { namespace });
  const begun = new Gate();
  leaving.task("work", { retry: { attempts: 1 } }, async (_payload, ctx) => {
    begun.open();
    await sleep(60_000, undefined, { signal: ctx.signal });
  });
  await leaving.start();
  const { runId } = await leaving.enqueue("work");
  await begun.opened;
  await leaving.stop({ graceSeconds: 0.1 });
  const [attempt] = (await leaving.runs.get(runId)).attempts;
  assert.deepEqual([attempt?.status, attempt?.errorType], ["interrupted", "Shutdown"]);
  const staying = testJob(t, { namespace });
  staying.task("work", { retry: { attempts: 1 } }, (_payload, ctx) => ctx.attempt);
  await staying.start();
  const run = await staying.runs.wait(runId, { timeoutSeconds: 30 });
  assert.ok(run.status === "succeeded" && run.result === 2);
  assert.equal(run.countedAttempts, 0);
});

test("a handler that ignores everything is reported as interrupted, and stop comes to an end", async (t) => {
  const jobs = testJob(t);
  const begun = new Gate();
  const gate = new Gate();
  atEnd(t, gate.open);
  jobs.task("work", {}, async () => {
    begun.open();
    await gate.opened;
  });
  await jobs.start();
  const { runId } = await jobs.enqueue("work");
  await begun.opened;
  await jobs.stop({ graceSeconds: 0 });
  assert.equal((await jobs.runs.get(runId)).attempts[0]?.status, "interrupted");
});

test("a job can be started again after it was stopped", async (t) => {
  const jobs = testJob(t);
  jobs.task("work", {}, () => "done");
  for (let round = 0; round < 2; round++) {
    await jobs.start();
    const { runId } = await jobs.enqueue("work");
    assert.equal((await jobs.runs.wait(runId, { timeoutSeconds: 30 })).status, "succeeded");
    await jobs.stop();
  }
  await jobs.stop();
});

test("a job is one worker, with tasks that were defined before it", async (t) => {
  const jobs = testJob(t);
  await assert.rejects(jobs.start(), /^RefusedError: start needs a task/);
  jobs.task("work", {}, () => null);
  assert.throws(() => jobs.task("work", {}, () => null), /^RefusedError: task work has a handler already$/);
  assert.throws(() => jobs.task("a b", {}, () => null), /^RefusedError: task must match/);
  assert.throws(() => jobs.task("slow", { timeoutSeconds: 0 }, () => null), /^RefusedError: timeoutSeconds/);
  assert.throws(() => jobs.task("often", { retry: { attempts: 0 } }, () => null), /^RefusedError: retry.attempts/);
  await jobs.start();
  await assert.rejects(jobs.start(), /^RefusedError: start was called already/);
  assert.throws(() => jobs.task("late", {}, () => null), /^RefusedError: task late must be defined before/);
});

test("limits of a consumer are checked when the worker starts", async (t) => {
  for (const [consumer, field] of [
    [{ concurrency: 0 }, "queue.consumer.concurrency"],
    [{ concurrency: 1.5 }, "queue.consumer.concurrency"],
    [{ batchSize: 1001 }, "queue.consumer.batchSize"],
  ] as const) {
    const jobs = testJob(t, { queue: { consumer } });
    jobs.task("work", {}, () => null);
    await assert.rejects(jobs.start(), (error) => error instanceof RefusedError && error.field === field);
  }
});

test("a worker waits for a server that is away, or until its signal", async (t) => {
  const proxy = await Proxy.start(t);
  const jobs = testJob(t, { address: proxy.address });
  jobs.task("work", {}, () => "done");
  proxy.cut();
  await assert.rejects(jobs.start({ signal: AbortSignal.timeout(300) }), { name: "TimeoutError" });
  const starting = jobs.start();
  await sleep(200);
  proxy.mend();
  await starting;
  const { runId } = await jobs.enqueue("work");
  assert.equal((await jobs.runs.wait(runId, { timeoutSeconds: 30 })).status, "succeeded");
});

test("a paused task's runs wait, and run once it is resumed", async (t) => {
  const jobs = testJob(t);
  jobs.task("work", {}, () => "done");
  await jobs.start();
  await jobs.tasks.pause("work");
  const { runId } = await jobs.enqueue("work");
  await sleep(300);
  assert.equal((await jobs.runs.get(runId)).attempt, 0);
  await jobs.tasks.resume("work");
  assert.equal((await jobs.runs.wait(runId, { timeoutSeconds: 30 })).status, "succeeded");
});

test("the worker's build and session are kept with the attempt", async (t) => {
  const jobs = testJob(t, { buildId: "v1.2.3" });
  jobs.task("work", {}, () => null);
  await jobs.start();
  const { runId } = await jobs.enqueue("work");
  await jobs.runs.wait(runId, { timeoutSeconds: 30 });
  const [attempt] = (await jobs.runs.get(runId)).attempts;
  assert.equal(attempt?.workerBuild, "v1.2.3");
  assert.match(attempt.sessionId, /^ses_/);
});

test("what nobody has a handler for stays queued", async (t) => {
  const jobs = await callerJob(t);
  const { runId } = await jobs.enqueue("work");
  const other = testJob(t, { namespace: jobs.namespace });
  other.task("other", {}, () => null);
  await other.start();
  await sleep(500);
  assert.equal((await jobs.runs.get(runId)).status, "queued");
  assert.equal((await collect(jobs.runs.list({ status: "queued" }))).length, 1);
});
