import assert from "node:assert/strict";
import { test } from "node:test";

import { Code, ConnectError } from "@connectrpc/connect";

import { DeadlineExceededError, OtherJobError, UnavailableError } from "../src/index.js";
import { errorOf } from "../src/servers.js";
import { callerJob } from "./support/jobs.js";
import { freePort, Proxy, sharedAddress } from "./support/servers.js";
import { collect, eventually } from "./support/waiting.js";

test("a server that is away is tried again until the call's own deadline", async (t) => {
  const proxy = await Proxy.start(t);
  const jobs = await callerJob(t, { address: proxy.address });
  proxy.cut();
  setTimeout(() => {
    proxy.mend();
  }, 500);
  assert.equal((await jobs.enqueue("work", 1)).created, true);
});

test("nobody at the address is Unavailable, after the whole of the time for it", async (t) => {
  const address = `127.0.0.1:${await freePort()}`;
  const jobs = await callerJob(t, { address, callTimeoutSeconds: 0.5 }).catch((error: unknown) => error);
  assert.ok(jobs instanceof UnavailableError, String(jobs));
  assert.match(jobs.message, new RegExp(`no answer from ${address}: .*ECONNREFUSED`));
});

test("a call that a server canceled by itself is Unavailable", () => {
  const told = errorOf(new ConnectError("", Code.Canceled, { "grpc-status": "1" }), "localhost:7233");
  assert.ok(told instanceof UnavailableError);
  assert.equal(told.code, "UNAVAILABLE");
});

test("of several addresses the first that answers is used", async (t) => {
  const address = [`127.0.0.1:${await freePort()}`, sharedAddress()];
  const jobs = await callerJob(t, { address });
  assert.equal((await jobs.enqueue("work")).created, true);
});

test("an enqueue whose answer was lost makes one run, and says that it made it", async (t) => {
  const proxy = await Proxy.start(t);
  const jobs = await callerJob(t, { address: proxy.address });
  proxy.onAnswer = () => {
    // The request has reached the server, which answers: the answer is kept back and the connection breaks.
    proxy.onAnswer = () => true;
    proxy.drop();
    return false;
  };
  const made = await jobs.enqueue("work", 1);
  assert.equal(made.created, true);
  assert.ok(proxy.connections > 1);
  assert.deepEqual(
    (await collect(jobs.runs.list())).map(({ runId }) => runId),
    [made.runId],
  );
});

test("a server that accepts and says nothing is DeadlineExceeded", async (t) => {
  const proxy = await Proxy.start(t);
  const jobs = await callerJob(t, { address: proxy.address, callTimeoutSeconds: 1 });
  proxy.stall();
  await assert.rejects(jobs.enqueue("work", 1), DeadlineExceededError);
});

test("a watch goes on over a lost connection with what has not been told", async (t) => {
  const proxy = await Proxy.start(t);
  const jobs = await callerJob(t, { address: proxy.address });
  const { runId } = await jobs.enqueue("work", 1, { delaySeconds: 60 });
  const statuses: string[] = [];
  const watching = (async () => {
    for await (const { transition } of jobs.runs.watch({ runId })) statuses.push(transition.toStatus);
  })();
  await eventually(() => statuses.length === 1);
  proxy.drop();
  await jobs.runs.cancel(runId);
  await watching;
  assert.deepEqual(statuses, ["scheduled", "canceled"]);
});

test("a wait goes on over a lost connection", async (t) => {
  const proxy = await Proxy.start(t);
  const jobs = await callerJob(t, { address: proxy.address });
  const { runId } = await jobs.enqueue("work");
  const waiting = jobs.runs.wait(runId);
  setTimeout(() => {
    proxy.drop();
    void jobs.runs.cancel(runId);
  }, 200);
  assert.equal((await waiting).status, "canceled");
});

test("an aborted signal ends every kind of call with its reason", async (t) => {
  const proxy = await Proxy.start(t);
  const jobs = await callerJob(t, { address: proxy.address });
  const { runId } = await jobs.enqueue("work");
  proxy.stall();
  const calls: ((signal: AbortSignal) => Promise<unknown>)[] = [
    (signal) => jobs.enqueue("work", 1, { signal }),
    (signal) => jobs.runs.get(runId, { signal }),
    (signal) => jobs.runs.wait(runId, { signal }),
    (signal) => collect(jobs.runs.list({ signal })),
    (signal) => collect(jobs.runs.watch({ runId, signal })),
    (signal) => jobs.tasks.register([{ name: "x" }], { signal }),
  ];
  for (const call of calls) {
    await assert.rejects(call(AbortSignal.abort(new Error("before"))), /^Error: before$/);
    const controller = new AbortController();
    setTimeout(() => {
      controller.abort(new Error("during"));
    }, 50);
    await assert.rejects(call(controller.signal), /^Error: during$/);
  }
});

test("the wait between two tries ends with the signal too", async (t) => {
  const proxy = await Proxy.start(t);
  const jobs = await callerJob(t, { address: proxy.address, callTimeoutSeconds: 60 });
  proxy.cut();
  await assert.rejects(jobs.enqueue("work", 1, { signal: AbortSignal.timeout(200) }), { name: "TimeoutError" });
});

test("closing ends the calls under way, and there are none afterwards", async (t) => {
  const jobs = await callerJob(t);
  const { runId } = await jobs.enqueue("work");
  const waiting = assert.rejects(jobs.runs.wait(runId), OtherJobError);
  await jobs.runs.get(runId);
  await jobs.close();
  await waiting;
  await assert.rejects(jobs.runs.get(runId), /the client is closed/);
});
