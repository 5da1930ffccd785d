import assert from "node:assert/strict";
import { test } from "node:test";

import { create } from "@bufbuild/protobuf";
import { TimestampSchema } from "@bufbuild/protobuf/wkt";

import { dateOf, durationOf, timestampOf, Words } from "../src/fields.js";

test("a time that is given as text keeps more than a Date can hold", () => {
  const { seconds, nanos } = timestampOf("runAt", "2026-06-01T11:00:00.123456789+02:00");
  assert.deepEqual([seconds, nanos], [BigInt(Date.UTC(2026, 5, 1, 9) / 1000), 123_456_789]);
});

test("a Date is never later than the time it stands for", () => {
  const times: [bigint, number, number][] = [
    [1n, 999_999_999, 1999],
    [1n, 1, 1000],
    [-1n, 999_999, -1000],
  ];
  for (const [seconds, nanos, expected] of times) {
    assert.equal(dateOf(create(TimestampSchema, { seconds, nanos })).getTime(), expected);
  }
});

test("a length of time is sent to the microsecond, also where its parts round to a whole second", () => {
  for (const [given, seconds, nanos] of [
    [1.5, 1n, 500_000_000],
    [0.1 + 0.2, 0n, 300_000_000],
    [0.999_999_9, 1n, 0],
    [-0.5, 0n, -500_000_000],
  ] as const) {
    assert.deepEqual(durationOf("delaySeconds", given), { seconds, nanos });
  }
});

test("a word that a newer server has is unknown and its number, and not refused", () => {
  const words = new Words(["a", "b"]);
  assert.deepEqual(
    [0, 1, 2, 3].map((number) => words.word(number)),
    [null, "a", "b", "unknown_3"],
  );
});
