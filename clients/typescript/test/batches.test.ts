import assert from "node:assert/strict";
import { test } from "node:test";

import { InvalidRequestError, newRunId, RefusedError, TaskNotRegisteredError } from "../src/index.js";
import type { BatchItem } from "../src/index.js";
import { callerJob } from "./support/jobs.js";
import { collect } from "./support/waiting.js";

function* items(count: number): Generator<BatchItem> {
  for (let n = 0; n < count; n++) yield { task: "work", payload: { n } };
}

test("a batch gives one result per item, in order, over all its calls", async (t) => {
  const jobs = await callerJob(t);
  const told: [number, number | undefined][] = [];
  const results = await jobs.enqueueBatch([...items(25)], {
    batchSize: 10,
    concurrency: 3,
    onProgress: (done, total) => told.push([done, total]),
  });
  assert.equal(results.length, 25);
  assert.ok(results.every(({ created, status }) => created && status === "queued"));
  assert.deepEqual(told.at(-1), [25, 25]);
  const runs = await collect(jobs.runs.list({ view: "full" }));
  const payloads = new Map(runs.map(({ runId, payload }) => [runId, payload]));
  assert.deepEqual(
    results.map(({ runId }) => payloads.get(runId)),
    [...items(25)].map(({ payload }) => payload),
  );
});

test("items may come from an async iterable, which is read as they are sent", async (t) => {
  const jobs = await callerJob(t);
  let read = 0;
  async function* source() {
    for (const item of items(40)) {
      read += 1;
      yield await Promise.resolve(item);
    }
  }
  const readAt: number[] = [];
  const options = { batchSize: 5, concurrency: 1, onProgress: () => readAt.push(read) };
  const results = await jobs.enqueueBatch(source(), options);
  assert.equal(results.length, 40);
  assert.ok((readAt[0] ?? 40) < 20);
});

test("large items are spread over calls that the server takes", async (t) => {
  const jobs = await callerJob(t);
  const text = "x".repeat(200_000);
  const results = await jobs.enqueueBatch(Array.from({ length: 40 }, () => ({ task: "work", payload: { text } })));
  assert.equal(results.filter(({ created }) => created).length, 40);
});

test("options of an item are those of enqueue", async (t) => {
  const jobs = await callerJob(t);
  const runId = newRunId();
  const [first, again] = await jobs.enqueueBatch([
    { task: "work", payload: 1, runId, labels: { a: "b" }, delaySeconds: 60, priority: "low" },
    { task: "work", payload: 1, runId, labels: { a: "b" }, delaySeconds: 60, priority: "low" },
  ]);
  assert.deepEqual([first?.runId, first?.status, first?.created], [runId, "scheduled", true]);
  assert.deepEqual([again?.runId, again?.created], [runId, false]);
  const run = await jobs.runs.get(runId);
  assert.deepEqual([run.labels, run.priority], [{ a: "b" }, "low"]);
});

test("an error names items by their place in the whole, and says what was made before", async (t) => {
  const jobs = await callerJob(t);
  const all: BatchItem[] = [...items(30)];
  all[23] = { task: "work", labels: { k: "v".repeat(300) } };
  await assert.rejects(jobs.enqueueBatch(all, { batchSize: 10, concurrency: 1 }), (error) => {
    assert.ok(error instanceof InvalidRequestError);
    assert.deepEqual(
      error.violations.map(({ field }) => field),
      ["items[23].labels"],
    );
    assert.deepEqual(
      [...error.enqueued.keys()],
      Array.from({ length: 20 }, (_, place) => place),
    );
    assert.ok([...error.enqueued.values()].every(({ created }) => created));
    return true;
  });
});

test("an item that cannot be sent is refused by its place", async (t) => {
  const jobs = await callerJob(t);
  const all = [{ task: "work" }, { task: "work", payload: { n: NaN } }];
  await assert.rejects(jobs.enqueueBatch(all), (error) => {
    assert.ok(error instanceof RefusedError);
    assert.equal(error.message, "items[1].payload has NaN at '/n'");
    return true;
  });
});

test("an error of a call is told although the source of items still waits", { timeout: 10_000 }, async (t) => {
  const jobs = await callerJob(t);
  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  async function* source(): AsyncGenerator<BatchItem> {
    yield { task: "nobody" };
    yield { task: "work" };
    await held;
    yield { task: "work" };
  }
  const batch = jobs.enqueueBatch(source(), { batchSize: 1, concurrency: 2 });
  setTimeout(release, 500);
  await assert.rejects(batch, TaskNotRegisteredError);
});

test("a batch size or concurrency out of its limits is refused", async (t) => {
  const jobs = await callerJob(t);
  await assert.rejects(
    jobs.enqueueBatch([], { batchSize: 1001 }),
    /^RefusedError: batchSize must be 1 to 1000, not 1001$/,
  );
  await assert.rejects(jobs.enqueueBatch([], { concurrency: 0 }), /^RefusedError: concurrency/);
  assert.deepEqual(await jobs.enqueueBatch([]), []);
});

test("an aborted batch rejects with the signal's reason", async (t) => {
  const jobs = await callerJob(t);
  const controller = new AbortController();
  const all = items(1_000_000);
  const options = {
    signal: controller.signal,
    batchSize: 10,
    onProgress: () => {
      controller.abort(new Error("stop"));
    },
  };
  await assert.rejects(jobs.enqueueBatch(all, options), /^Error: stop$/);
});
