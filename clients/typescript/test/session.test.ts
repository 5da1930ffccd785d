import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";

import { WorkerError } from "../src/index.js";
import type { Job } from "../src/index.js";
import { Servers } from "../src/servers.js";
import type { Attempt } from "../src/worker/attempt.js";
import { Session } from "../src/worker/session.js";
import { callerJob, silent, testJob } from "./support/jobs.js";
import { cannotStartServers, MuteServer, OwnServer, ownNamespace, Proxy, sharedAddress } from "./support/servers.js";
import { eventually, Gate } from "./support/waiting.js";

/** A job whose handlers wait for a gate, each by itself. */
function gatedJob(jobs: Job) {
  const begun: string[] = [];
  const told: string[] = [];
  const gate = new Gate();
  jobs.task("work", {}, async (_payload, ctx) => {
    begun.push(ctx.runId);
    ctx.signal.addEventListener("abort", () => told.push(ctx.runId));
    await Promise.race([gate.opened, sleep(60_000, undefined, { signal: ctx.signal, ref: false })]);
    return ctx.attempt;
  });
  return { begun, told, gate };
}

test("a handler goes on while the stream breaks, and its end is recorded once", async (t) => {
  const proxy = await Proxy.start(t);
  const jobs = testJob(t, { address: proxy.address });
  const { begun, told, gate } = gatedJob(jobs);
  await jobs.start();
  const { runId } = await jobs.enqueue("work");
  await eventually(() => begun.length === 1);
  for (let round = 0; round < 3; round++) {
    proxy.drop();
    await sleep(300);
  }
  gate.open();
  const run = await jobs.runs.wait(runId, { timeoutSeconds: 30 });
  assert.ok(run.status === "succeeded" && run.result === 1);
  assert.deepEqual([begun.length, told.length], [1, 0]);
  assert.equal((await jobs.runs.get(runId)).attempts.length, 1);
});

test("what ended while no server was reachable is reported afterwards", async (t) => {
  const proxy = await Proxy.start(t);
  const jobs = testJob(t, { address: proxy.address });
  const { begun, gate } = gatedJob(jobs);
  await jobs.start();
  const { runId } = await jobs.enqueue("work");
  await eventually(() => begun.length === 1);
  proxy.cut();
  gate.open();
  await sleep(1_000);
  proxy.mend();
  const run = await jobs.runs.wait(runId, { timeoutSeconds: 30 });
  assert.ok(run.status === "succeeded" && run.result === 1);
});

test("no run is lost or done twice while the stream breaks again and again", async (t) => {
  const proxy = await Proxy.start(t);
  const calling = await callerJob(t);
  const jobs = testJob(t, { address: proxy.address, namespace: calling.namespace });
  const done = new Map<string, number>();
  jobs.task("work", { retry: { attempts: 1 } }, async (_payload, ctx) => {
    done.set(ctx.runId, (done.get(ctx.runId) ?? 0) + 1);
    await sleep(5);
  });
  await jobs.start();
  const breaking = setInterval(() => {
    proxy.drop();
  }, 150);
  t.after(() => {
    clearInterval(breaking);
  });
  const made = await calling.enqueueBatch(Array.from({ length: 300 }, () => ({ task: "work" })));
  await sleep(2_000);
  clearInterval(breaking);
  const runs = await Promise.all(made.map(({ runId }) => calling.runs.wait(runId, { timeoutSeconds: 60 })));
  assert.ok(runs.every(({ status }) => status === "succeeded"));
  assert.deepEqual(
    [...done.values()].filter((times) => times !== 1),
    [],
  );
});

for (const silence of ["cut", "stall"] as const) {
  test(`handlers are told to stop before the lease of a worker without answers ends (${silence})`, async (t) => {
    const proxy = await Proxy.start(t);
    const calling = await callerJob(t);
    const jobs = testJob(t, { address: proxy.address, namespace: calling.namespace });
    const { begun, told, gate } = gatedJob(jobs);
    await jobs.start();
    const { runId } = await calling.enqueue("work");
    await eventually(() => begun.length === 1);
    const silentAt = performance.now();
    proxy[silence]();
    await eventually(() => told.length === 1);
    const toldAfter = performance.now() - silentAt;
    const { attempts } = await calling.runs.get(runId);
    assert.equal(attempts[0]?.status, "running", "the server has not given it away yet");
    assert.ok(toldAfter < 15_000);
    gate.open();
    proxy.drop();
    proxy.mend();
    const run = await calling.runs.wait(runId, { timeoutSeconds: 60 });
    assert.ok(run.status === "succeeded" && run.result === 2);
  });
}

test("what ended while a worker heard nothing is reported after its lease, and not run again", async (t) => {
  const proxy = await Proxy.start(t);
  const calling = await callerJob(t);
  const lines: string[] = [];
  const warn = (message: string) => lines.push(message);
  const logger = { ...silent, warn };
  const jobs = testJob(t, { address: proxy.address, namespace: calling.namespace, logger });
  const { begun, gate } = gatedJob(jobs);
  await jobs.start();
  const { runId } = await calling.enqueue("work");
  await eventually(() => begun.length === 1);
  proxy.stall(); // new connections are not held up: the worker makes one when its lease is over
  gate.open();
  const run = await calling.runs.wait(runId, { timeoutSeconds: 60 });
  assert.ok(run.status === "succeeded" && run.result === 1);
  assert.equal(begun.length, 1);
  assert.ok(lines.includes("no server has answered for most of the lease; its handlers are stopped"), lines.join("\n"));
});

test(
  "the lease of a worker goes on while it looks for another server, and so do its handlers",
  { skip: cannotStartServers },
  async (t) => {
    const draining = await OwnServer.start(t, { LAYERON_JOB_DRAIN_SECONDS: "6" });
    const mute = await MuteServer.start(t);
    const calling = await callerJob(t);
    const jobs = testJob(t, { address: [draining.address, mute.address], namespace: calling.namespace });
    const { begun, told, gate } = gatedJob(jobs);
    await jobs.start();
    const { runId } = await calling.enqueue("work");
    await eventually(() => begun.length === 1);
    void draining.stop();
    await eventually(() => mute.connections > 0);
    await sleep(4_500); // the lease is 4 s
    assert.deepEqual(told, []);
    gate.open();
    const run = await calling.runs.wait(runId, { timeoutSeconds: 30 });
    assert.ok(run.status === "succeeded" && run.result === 1);
  },
);

test(
  "a worker moves to another server when its own shuts down, and its handlers go on",
  { skip: cannotStartServers },
  async (t) => {
    const first = await OwnServer.start(t);
    const second = await OwnServer.start(t);
    const calling = await callerJob(t);
    const jobs = testJob(t, { address: [first.address, second.address], namespace: calling.namespace });
    const { begun, told, gate } = gatedJob(jobs);
    await jobs.start();
    const { runId } = await calling.enqueue("work");
    await eventually(() => begun.length === 1);
    await first.stop();
    const { runId: next } = await calling.enqueue("work");
    await eventually(() => begun.length === 2);
    gate.open();
    for (const id of [runId, next]) {
      const run = await calling.runs.wait(id, { timeoutSeconds: 30 });
      assert.ok(run.status === "succeeded" && run.result === 1);
    }
    assert.deepEqual(told, []);
  },
);

test("a worker pulls again after its connection to NATS was lost", { skip: cannotStartServers }, async (t) => {
  const nats = new URL(process.env["LAYERON_JOB_NATS_URL"] ?? "");
  const proxy = await Proxy.start(t, nats.host);
  const server = await OwnServer.start(t, { LAYERON_JOB_NATS_WORKER_URL: `nats://${proxy.address}` });
  const jobs = testJob(t, { address: server.address });
  const { begun, gate } = gatedJob(jobs);
  gate.open();
  await jobs.start();
  for (let round = 1; round <= 3; round++) {
    const { runId } = await jobs.enqueue("work");
    assert.equal((await jobs.runs.wait(runId, { timeoutSeconds: 30 })).status, "succeeded");
    assert.equal(begun.length, round);
    proxy.cut();
    await sleep(100);
    proxy.mend();
  }
  assert.ok(proxy.connections > 1);
});

test("a worker that the server refuses ends with the server's words", async () => {
  const hello = { namespace: ownNamespace(), protocolVersion: 99, tasks: ["work"], queues: ["default"], slots: 1 };
  const events = {
    connected: unexpected,
    disconnected: unexpected,
    granted: unexpected as () => Attempt,
    settled: unexpected,
    unanswered: unexpected,
  };
  const session = new Session(new Servers({ address: sharedAddress() }), hello, events, silent);
  await assert.rejects(session.run(), (error) => {
    assert.ok(error instanceof WorkerError);
    assert.match(error.message, /the server refused this worker: .*protocol_version/);
    return true;
  });
});

function unexpected(): never {
  throw new Error("a refused worker has no session");
}
