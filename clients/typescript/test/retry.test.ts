import assert from "node:assert/strict";
import { test } from "node:test";

import { create } from "@bufbuild/protobuf";

import { RetryPolicySchema } from "../src/gen/layeron/job/v1/task_pb.js";
import type { RetryOptions } from "../src/index.js";
import { RefusedError } from "../src/index.js";
import { retryMessage, retryPolicy } from "../src/retry.js";

function read(retry: RetryOptions) {
  return retryPolicy(create(RetryPolicySchema, retryMessage("retry", retry)));
}

const defaults = { attempts: 3, jitter: 0.1, maxElapsedSeconds: null, nonRetryable: [] };

test("a policy that says nothing is the server's default, written out", () => {
  const backoff = { type: "exponential", initialDelaySeconds: 5, maxDelaySeconds: 300, multiplier: 2 } as const;
  assert.deepEqual(read({}), { ...defaults, backoff });
});

test("a back-off may be a word with its times beside it, or an object of its own", () => {
  const forms: [RetryOptions, RetryOptions["backoff"]][] = [
    [
      { backoff: "fixed", initialDelaySeconds: 2 },
      { type: "fixed", delaySeconds: 2 },
    ],
    [{ backoff: { type: "custom", delaysSeconds: [0.5, 30] } }, { type: "custom", delaysSeconds: [0.5, 30] }],
    [
      { backoff: "exponential", initialDelaySeconds: 0.1, maxDelaySeconds: 1, multiplier: 3 },
      { type: "exponential", initialDelaySeconds: 0.1, maxDelaySeconds: 1, multiplier: 3 },
    ],
    [
      { backoff: "exponential", initialDelaySeconds: 600 },
      { type: "exponential", initialDelaySeconds: 600, maxDelaySeconds: 600, multiplier: 2 },
    ],
  ];
  for (const [retry, backoff] of forms) {
    assert.deepEqual(read(retry).backoff, backoff);
  }
});

test("a policy that was read can be given again", () => {
  const policy = read({
    attempts: 7,
    backoff: { type: "custom", delaysSeconds: [1, 2.000001] },
    jitter: 0,
    maxElapsedSeconds: 90,
    nonRetryable: ["Timeout", TypeError],
  });
  assert.deepEqual(policy.nonRetryable, ["Timeout", "TypeError"]);
  assert.deepEqual(read(policy), policy);
});

const refused: [RetryOptions, string][] = [
  [{ attempts: 0 }, "retry.attempts"],
  [{ attempts: 1.5 }, "retry.attempts"],
  [{ attempts: 1001 }, "retry.attempts"],
  [{ attempts: NaN }, "retry.attempts"],
  [{ jitter: 1.1 }, "retry.jitter"],
  [{ initialDelaySeconds: -1 }, "retry.initialDelaySeconds"],
  [{ initialDelaySeconds: 10, maxDelaySeconds: 9 }, "retry.maxDelaySeconds"],
  [{ multiplier: 0.5 }, "retry.multiplier"],
  [{ backoff: "fixed", initialDelaySeconds: 31 * 86_400 }, "retry.initialDelaySeconds"],
  [{ backoff: { type: "fixed", delaySeconds: NaN } }, "retry.backoff.delaySeconds"],
  [{ backoff: { type: "custom", delaysSeconds: [] } }, "retry.backoff.delaysSeconds.length"],
  [{ backoff: { type: "custom", delaysSeconds: [1, -1] } }, "retry.backoff.delaysSeconds[1]"],
  [{ backoff: "linear" } as unknown as RetryOptions, "retry.backoff"],
  [{ backoff: { type: "linear" } } as unknown as RetryOptions, "retry.backoff"],
  [{ maxElapsedSeconds: -1 }, "retry.maxElapsedSeconds"],
  [{ nonRetryable: Array<string>(33).fill("Bad") }, "retry.nonRetryable.length"],
  [{ nonRetryable: [""] }, "the length of an error name in retry.nonRetryable"],
];

for (const [retry, field] of refused) {
  test(`${JSON.stringify(retry)} is refused with ${field}`, () => {
    assert.throws(
      () => retryMessage("retry", retry),
      (error) => error instanceof RefusedError && error.field === field,
    );
  });
}
