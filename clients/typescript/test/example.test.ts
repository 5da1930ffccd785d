/** The example that this package is modelled on: its very words, with the waits of its retries in tenths of seconds. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { TaskNotRegisteredError } from "../src/index.js";
import { testJob } from "./support/jobs.js";
import { ownNamespace } from "./support/servers.js";
import { collect } from "./support/waiting.js";

test("a webhook is delivered with retries of its own delays, and its runs are got, listed, canceled and replayed", async (t) => {
  const namespace = ownNamespace();
  const jobs = testJob(t, {
    name: "background",
    namespace,
    queue: { consumer: { batchSize: 5, concurrency: 2, visibilityTimeoutSeconds: 60 } },
    retry: { attempts: 3, backoff: "exponential", initialDelaySeconds: 0.1, maxDelaySeconds: 1 },
  });
  const calls: { payload: unknown; attempt: number; at: number }[] = [];

  jobs.task(
    "deliver-webhook",
    {
      retry: { attempts: 8, backoff: { type: "custom", delaysSeconds: [0.1, 0.2, 0.3, 0.4, 0.5] }, jitter: 0 },
      timeoutSeconds: 10,
      payloadSchemaId: "webhook/1",
    },
    async (payload, ctx) => {
      calls.push({ payload, attempt: ctx.attempt, at: performance.now() });
      await Promise.resolve();
      if (ctx.attempt < 7) throw new Error("503");
      return { delivered: true };
    },
  );
  jobs.task("remind", { retry: { attempts: 2, backoff: "fixed", initialDelaySeconds: 0.1 } }, () => "reminded");
  await jobs.start();

  const hook = { url: "https://example.com/hook" };
  const { runId, created } = await jobs.enqueue("deliver-webhook", hook, {
    idempotencyKey: "hook-1",
    delaySeconds: 0.3,
  });
  const again = await jobs.enqueue("deliver-webhook", hook, { idempotencyKey: "hook-1" });
  assert.deepEqual([created, again.created, again.runId], [true, false, runId]);
  const later = await jobs.enqueue("remind", null, { runAt: new Date(Date.now() + 3_600_000) });

  const run = await jobs.runs.wait(runId, { timeoutSeconds: 30 });
  assert.ok(run.status === "succeeded");
  assert.deepEqual(
    [run.result, run.payload, run.queue, run.timeoutSeconds],
    [{ delivered: true }, hook, "background", 10],
  );
  assert.deepEqual(
    calls.map(({ attempt }) => attempt),
    [1, 2, 3, 4, 5, 6, 7],
  );
  // The waits as they were named; the last one repeats. None is ever shortened.
  const waits = calls.slice(1).map(({ at }, index) => at - (calls[index]?.at ?? 0));
  for (const [index, least] of [100, 200, 300, 400, 500, 500].entries()) {
    assert.ok((waits[index] ?? 0) >= least - 10, `wait ${index} of ${waits.join()}`);
  }

  const { attempts } = await jobs.runs.get(runId);
  assert.deepEqual(
    attempts.map(({ status, errorType, errorMessage }) => [status, errorType, errorMessage]),
    [...Array<string[]>(6).fill(["failed", "Error", "503"]), ["succeeded", "", ""]],
  );
  assert.equal((await jobs.runs.cancel(later.runId, { reason: "paid already" })).status, "canceled");
  const replayed = await jobs.runs.replay(later.runId);
  const reminded = await jobs.runs.wait(replayed.runId, { timeoutSeconds: 30 });
  assert.ok(reminded.status === "succeeded" && reminded.result === "reminded");
  assert.equal(reminded.timeoutSeconds, 60);
  const ids = (await collect(jobs.runs.list({ status: ["succeeded", "canceled"] }))).map((one) => one.runId);
  assert.deepEqual(ids, [replayed.runId, later.runId, runId]);

  const otherNamespace = testJob(t);
  await assert.rejects(otherNamespace.enqueue("deliver-webhook", hook), TaskNotRegisteredError);
});
