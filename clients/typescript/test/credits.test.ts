/** Credits: never more than there are, by weight while all are busy, and nobody is starved or paid back later. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Share, shareOut } from "../src/worker/credits.js";

const MANY = 1e6;

function busy(priority: string, backlog = MANY): Share {
  const share = new Share(priority);
  share.backlog = backlog;
  return share;
}

/** How much each share pulls, in the order given. */
function pulled(free: number, ...shares: Share[]): number[] {
  const pulls = new Map(shareOut(free, shares));
  return shares.map((share) => pulls.get(share) ?? 0);
}

function sum(counts: readonly number[]): number {
  return counts.reduce((total, count) => total + count, 0);
}

test("busy consumers get all that is free, by weight, and no more than they have", () => {
  assert.deepEqual(pulled(210, busy("high"), busy("normal"), busy("low")), [160, 40, 10]);
  assert.deepEqual(pulled(100, busy("high", 3), busy("normal"), busy("low", 1)), [3, 96, 1]);
  for (let free = 0; free < 40; free++) {
    const shares = [busy("high", 5), busy("normal", free), busy("low", 7), busy("low", 2)];
    const counts = pulled(free, ...shares);
    assert.equal(sum(counts), Math.min(free, 14 + free));
    assert.ok(shares.every((share, at) => (counts[at] ?? 0) <= share.backlog && share.owed > -1));
  }
});

test("one slot serves all three priorities by weight, and starves none", () => {
  const shares = [busy("low"), busy("normal"), busy("high")];
  const turns = Array.from({ length: 2_100 }, () => pulled(1, ...shares));
  const totals = shares.map((_, at) => sum(turns.map((counts) => counts[at] ?? 0)));
  assert.deepEqual(totals, [100, 400, 1_600]);
  assert.ok(turns.slice(0, 21).some(([low]) => low === 1));
});

test("what others had no use for is not held against a consumer later", () => {
  const [high, low] = [busy("high"), busy("low", 1)];
  for (let turn = 0; turn < 1_000; turn++) {
    low.backlog = 1;
    assert.deepEqual(pulled(100, high, low), [99, 1]);
  }
  low.backlog = MANY;
  assert.deepEqual(pulled(170, high, low), [160, 10]);
});

test("without credits nobody pulls", () => {
  assert.deepEqual(shareOut(0, [busy("high"), new Share("low")]), []);
  assert.deepEqual(shareOut(-3, [busy("high"), new Share("low")]), []);
});

test("every quiet consumer is listened to, also while others take all credits, and holds none of them", () => {
  assert.deepEqual(pulled(1, new Share("low"), new Share("high"), new Share("normal")), [1, 1, 1]);
  assert.deepEqual(pulled(10, busy("high"), new Share("low")), [10, 1]);
  assert.deepEqual(pulled(60, new Share("high"), new Share("low")), [1, 1]);
  const doorbell = new Share("high");
  doorbell.outstanding = 1;
  doorbell.listening = true;
  assert.equal(doorbell.reserved, 0);
  doorbell.listening = false;
  assert.equal(doorbell.reserved, 1);
});

test("a consumer with a pull under way gets no second one", () => {
  const high = busy("high");
  high.outstanding = 5;
  assert.deepEqual(pulled(10, high, busy("low")), [0, 10]);
});
