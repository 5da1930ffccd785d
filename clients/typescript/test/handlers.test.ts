import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";

import { DoNotRetry, RefusedError, RetryAfter } from "../src/index.js";
import type { Context } from "../src/index.js";
import { runTask } from "../src/testing.js";
import type { TaskOutcome } from "../src/testing.js";
import { Gate } from "./support/waiting.js";

class Bad extends TypeError {}
class NamedByItself extends Error {
  override readonly name = "Quota";
}

function failure(outcome: TaskOutcome): Exclude<TaskOutcome, { kind: "succeeded" }> {
  assert.notEqual(outcome.kind, "succeeded");
  return outcome as Exclude<TaskOutcome, { kind: "succeeded" }>;
}

async function outcomeOfThrowing(error: unknown) {
  return failure(
    await runTask(() => {
      throw error;
    }, null),
  );
}

test("what a handler returns is the result, after its way through JSON", async () => {
  const outcome = await runTask((payload: { n: number }) => ({ twice: payload.n * 2, at: new Date(0) }), { n: 21 });
  assert.equal(outcome.kind, "succeeded");
  assert.deepEqual(outcome.result, { twice: 42, at: "1970-01-01T00:00:00.000Z" });
});

test("a handler that returns nothing succeeds with null", async () => {
  const outcome = await runTask(async () => {
    await sleep(1);
  }, null);
  assert.ok(outcome.kind === "succeeded" && outcome.result === null);
});

test("a context says what the grant says", async () => {
  let seen: Context | undefined;
  await runTask(
    (_payload, ctx) => {
      seen = ctx;
      assert.ok(ctx.remainingSeconds() > 6 && ctx.remainingSeconds() <= 7);
      assert.ok(Math.abs(ctx.deadline.getTime() - Date.now() - 7000) < 1000);
    },
    null,
    { attempt: 3, name: "July", labels: { team: "a" }, payloadEncoding: "enc", timeoutSeconds: 7, task: "mail" },
  );
  assert.ok(seen !== undefined);
  const { attempt, countedAttempts, maxAttempts, name, labels, payloadEncoding, task, timeoutSeconds } = seen;
  assert.deepEqual(
    { attempt, countedAttempts, maxAttempts, name, labels, payloadEncoding, task, timeoutSeconds },
    {
      attempt: 3,
      countedAttempts: 2,
      maxAttempts: 3,
      name: "July",
      labels: { team: "a" },
      payloadEncoding: "enc",
      task: "mail",
      timeoutSeconds: 7,
    },
  );
  assert.ok(seen.createdAt instanceof Date);
});

test("an error fails the attempt under its own name, its class's, or the class itself", async () => {
  const named = Object.assign(new Error("x"), { name: "FromElsewhere" });
  const aborted = new DOMException("x", "AbortError");
  const errors: [unknown, string][] = [
    [new TypeError("x"), "TypeError"],
    [new Bad("x"), "Bad"],
    [new NamedByItself("x"), "Quota"],
    [named, "FromElsewhere"],
    [aborted, "AbortError"],
    [new (class extends Error {})("x"), ""],
    ["a text", "string"],
    [undefined, "undefined"],
    [null, "null"],
  ];
  for (const [error, errorType] of errors) {
    const outcome = await outcomeOfThrowing(error);
    assert.equal(outcome.kind, "failed");
    assert.equal(outcome.errorType, errorType);
  }
});

test("an error's detail has its stack and its causes", async () => {
  const outcome = await outcomeOfThrowing(new Error("outer", { cause: new RangeError("inner") }));
  assert.equal(outcome.errorMessage, "outer");
  assert.match(outcome.errorDetail, /^Error: outer\n +at .*handlers\.test[^]*caused by: RangeError: inner\n +at /);
});

test("messages and details are cut to their limits in whole characters, without NUL and lone surrogates", async () => {
  const outcome = await outcomeOfThrowing(new Error(`\0\ud800${"ä☃𝄞".repeat(10_000)}`));
  assert.ok(Buffer.byteLength(outcome.errorMessage) <= 8 * 1024 && outcome.errorMessage.length > 2_000);
  assert.match(outcome.errorMessage, /^\ufffdä☃𝄞/);
  assert.ok(outcome.errorMessage.isWellFormed() && !outcome.errorMessage.includes("\0"));
  assert.ok(Buffer.byteLength(outcome.errorDetail) <= 32 * 1024);
});

test("RetryAfter asks for a retry after its delay, and DoNotRetry for none", async () => {
  const later = await outcomeOfThrowing(new RetryAfter(1.5, "busy"));
  assert.deepEqual(
    [later.errorType, later.errorMessage, later.retryAfterSeconds, later.doNotRetry],
    ["RetryAfter", "busy", 1.5, false],
  );
  const never = await outcomeOfThrowing(new DoNotRetry("gone"));
  assert.deepEqual(
    [never.errorType, never.errorMessage, never.retryAfterSeconds, never.doNotRetry],
    ["DoNotRetry", "gone", null, true],
  );
});

test("a RetryAfter of an impossible delay is refused", () => {
  for (const delay of [-1, NaN, 31 * 86_400]) {
    assert.throws(() => new RetryAfter(delay), RefusedError);
  }
});

for (const [what, result, message] of [
  ["no JSON", { f: () => 1 }, "the handler's result has a function at '/f'"],
  ["U+0000 in it", ["a\0"], "the handler's result has U+0000 at '/0'"],
  ["more than 256 KiB", "x".repeat(256 * 1024), "the handler's result has 262146 bytes; the limit is 262144"],
] as const) {
  test(`a result with ${what} fails the attempt for good`, async () => {
    const outcome = failure(await runTask(() => result, null));
    assert.deepEqual(
      [outcome.kind, outcome.errorType, outcome.errorMessage, outcome.doNotRetry],
      ["failed", "ResultInvalid", message, true],
    );
  });
}

test("a handler is told of its timeout, and what it throws then is a timeout", async () => {
  const outcome = failure(
    await runTask((_payload, ctx) => sleep(60_000, undefined, { signal: ctx.signal }), null, { timeoutSeconds: 0.05 }),
  );
  assert.deepEqual(
    [outcome.kind, outcome.errorType, outcome.errorMessage],
    ["timed_out", "Timeout", "ran longer than its timeout of 0.05 s"],
  );
});

test("a handler that ignores its timeout is reported a second later", async () => {
  const gate = new Gate();
  const outcome = failure(await runTask(() => gate.opened, null, { timeoutSeconds: 0.05 }));
  gate.open();
  assert.equal(outcome.kind, "timed_out");
  assert.ok(outcome.ranMs >= 1_000 && outcome.ranMs < 5_000);
});

test("a success that wins the race with a cancel is a success", async () => {
  const outcome = await runTask(
    async (_payload, ctx) => {
      await sleep(100);
      assert.ok(ctx.cancelRequested && ctx.signal.aborted, "a signal that is asked for late is aborted too");
      return "done";
    },
    null,
    { cancelAfterSeconds: 0.01 },
  );
  assert.ok(outcome.kind === "succeeded" && outcome.result === "done");
});

test("what a handler throws because of a cancel is a cancel, with what it said", async () => {
  const plain = failure(
    await runTask(
      async (_payload, ctx) => {
        await sleep(50);
        ctx.signal.throwIfAborted();
      },
      null,
      { cancelAfterSeconds: 0.01 },
    ),
  );
  assert.deepEqual([plain.kind, plain.errorType, plain.errorDetail], ["canceled", "Canceled", ""]);
  const telling = failure(
    await runTask(
      async () => {
        await sleep(50);
        throw new Error("half done");
      },
      null,
      { cancelAfterSeconds: 0.01 },
    ),
  );
  assert.equal(telling.kind, "canceled");
  assert.match(telling.errorDetail, /half done/);
});

test("the newest progress is kept, and a value that is too large or no JSON is refused", async () => {
  const outcome = await runTask((_payload, ctx) => {
    ctx.progress({ done: 1 });
    ctx.progress({ done: 2 });
    assert.throws(() => {
      ctx.progress("x".repeat(4096));
    }, /^RefusedError: progress must be at most 4096 bytes of JSON, not 4098$/);
    assert.throws(() => {
      ctx.progress({ done: NaN });
    }, /^RefusedError: progress has NaN at '\/done'$/);
  }, null);
  assert.deepEqual(outcome.progress, { done: 2 });
});

test("log lines from info on are kept, the last 32 KiB of them, and nothing in them fails the handler", async () => {
  const circle: Record<string, unknown> = {};
  circle["self"] = circle;
  const passed: unknown[] = [];
  const note = (message: string, fields?: object) => passed.push([message, fields]);
  const outcome = await runTask(
    (_payload, ctx) => {
      for (let number = 0; number < 2_000; number++) ctx.log.info(`line ${number}`, { number });
      ctx.log.debug("not kept");
      ctx.log.warn("odd", circle);
      ctx.log.error("bad", { n: 1n });
    },
    null,
    { logger: { debug: note, info: note, warn: note, error: note }, task: "talk" },
  );
  assert.equal(outcome.kind, "succeeded");
  assert.equal(passed.length, 2_003);
  assert.ok(Buffer.byteLength(outcome.logLines.join("\n")) <= 32 * 1024);
  assert.match(outcome.logLines.at(-3) ?? "", /^\d{4}-.*Z INFO line 1999 \{"number":1999\}$/);
  assert.match(outcome.logLines.at(-2) ?? "", /WARNING odd \(fields that cannot be shown\)$/);
  assert.match(outcome.logLines.at(-1) ?? "", /ERROR bad \(fields that cannot be shown\)$/);
  assert.deepEqual(Object.keys((passed[0] as [string, object])[1]), ["runId", "attempt", "task", "number"]);
});
