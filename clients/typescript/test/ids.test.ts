import assert from "node:assert/strict";
import { test } from "node:test";

import { newRunId } from "../src/index.js";

const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";

/** The 128 bits of a run id. */
function bitsOf(runId: string): bigint {
  return Array.from(runId.slice("run_".length)).reduce(
    (bits, digit) => (bits << 5n) | BigInt(ALPHABET.indexOf(digit)),
    0n,
  );
}

test("a run id is run_ and 26 characters over a UUIDv7 of now", () => {
  const before = Date.now();
  const runId = newRunId();
  assert.match(runId, /^run_[0-7][0-9a-hjkmnp-tv-z]{25}$/);
  const bits = bitsOf(runId);
  const unixMs = Number(bits >> 80n);
  assert.ok(unixMs >= before && unixMs <= Date.now() + 1);
  assert.equal((bits >> 76n) & 0xfn, 7n, "version");
  assert.equal((bits >> 62n) & 0b11n, 0b10n, "variant");
});

test("run ids are in order and all different, also of one millisecond", () => {
  const ids = Array.from({ length: 20_000 }, newRunId);
  assert.equal(new Set(ids).size, ids.length);
  assert.deepEqual([...ids].sort(), ids);
});

test("a clock that is set back does not disturb the order", (t) => {
  const first = newRunId();
  const now = Date.now();
  t.mock.method(Date, "now", () => now - 60_000);
  const second = newRunId();
  assert.ok(second > first);
});
