import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";
import { test } from "node:test";

import { callerJob } from "./support/jobs.js";
import { eventually } from "./support/waiting.js";

/** A process, and what it said so far. */
function start(t: TestContext, scenario: string, namespace: string): { process: ChildProcess; said: string[] } {
  const path = join(import.meta.dirname, "support/child.js");
  const child = spawn(process.execPath, [path, scenario, namespace], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  const said: string[] = [];
  createInterface(child.stdout).on("line", (line) => said.push(line.trim()));
  return { process: child, said };
}

test("SIGTERM lets the handlers that run come to their end, and then the process", async (t) => {
  const jobs = await callerJob(t);
  const { runId } = await jobs.enqueue("work", 500);
  const worker = start(t, "work", jobs.namespace);
  await eventually(() => worker.said.includes(`begun ${runId}`));
  worker.process.kill("SIGTERM");
  const [code] = (await once(worker.process, "exit")) as [number];
  assert.equal(code, 0);
  assert.equal(worker.said.at(-1), "ended");
  assert.equal((await jobs.runs.get(runId)).status, "succeeded");
});

test("a second signal does not wait for handlers, whose runs are handed back", async (t) => {
  const jobs = await callerJob(t);
  const { runId } = await jobs.enqueue("work", 60_000);
  const worker = start(t, "work", jobs.namespace);
  await eventually(() => worker.said.includes(`begun ${runId}`));
  const exited = once(worker.process, "exit");
  worker.process.kill("SIGTERM");
  setTimeout(() => worker.process.kill("SIGTERM"), 200);
  await eventually(async () => (await jobs.runs.get(runId)).status === "queued");
  assert.deepEqual(await exited, [75, null], "its handler cannot be stopped by force, and does not keep the process");
  assert.equal(worker.said.at(-1), "ended");
  assert.equal((await jobs.runs.get(runId)).attempts[0]?.status, "interrupted");
});

test("the runs of a worker that was killed are given to others", async (t) => {
  const jobs = await callerJob(t);
  const { runId } = await jobs.enqueue("work", 300);
  const killed = start(t, "work", jobs.namespace);
  await eventually(() => killed.said.includes(`begun ${runId}`));
  killed.process.kill("SIGKILL");
  const other = start(t, "work", jobs.namespace);
  assert.equal((await jobs.runs.wait(runId, { timeoutSeconds: 60 })).status, "succeeded");
  assert.ok(other.said.includes(`begun ${runId}`));
  const { attempts } = await jobs.runs.get(runId);
  assert.deepEqual(
    attempts.map(({ status }) => status),
    ["lost", "succeeded"],
  );
});

test("a process that only calls does not load NATS, and does not hang when it is done", async (t) => {
  const jobs = await callerJob(t);
  const caller = start(t, "call", jobs.namespace);
  const [code] = (await once(caller.process, "exit")) as [number];
  assert.equal(code, 0);
  const [before, after] = caller.said.map((line) => Number(line.replace("loaded ", "")));
  assert.equal(before, 0);
  assert.ok((after ?? 0) > 0);
});
