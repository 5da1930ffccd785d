import assert from "node:assert/strict";
import { test } from "node:test";

import { RefusedError } from "../src/index.js";
import { jsonBytes, parseJson } from "../src/json.js";

class Money {
  constructor(readonly cents: number) {}
}

const refused: [string, unknown, string][] = [
  ["undefined", { a: undefined }, "payload has undefined at '/a'"],
  ["a hole in a list", [1, , 3], "payload has undefined at '/1'"], // eslint-disable-line no-sparse-arrays
  ["a function", { f: () => 1 }, "payload has a function at '/f'"],
  ["a symbol", [Symbol("s")], "payload has a symbol at '/0'"],
  ["a BigInt", { deep: [{ n: 1n }] }, "payload has a BigInt, to be sent as a string, at '/deep/0/n'"],
  ["NaN", NaN, "payload has NaN"],
  ["an infinity", [-Infinity], "payload has -Infinity at '/0'"],
  ["2^53", { n: 2 ** 53 }, "payload has an integer beyond ±(2^53-1), to be sent as a string, at '/n'"],
  ["-2^53", [-(2 ** 53)], "payload has an integer beyond ±(2^53-1), to be sent as a string, at '/0'"],
  ["a lone surrogate", "\ud800", "payload has a lone surrogate"],
  ["a lone surrogate in a key", { "\udfff": 1 }, "payload has a key with a lone surrogate at '/\ufffd'"],
  ["a Map", { m: new Map() }, "payload has a Map at '/m'"],
  ["a promise", [Promise.resolve(1)], "payload has a Promise at '/0'"],
  ["an error", new Error("no"), "payload has a Error"],
  ["a buffer of bytes", { b: new Uint8Array(2) }, "payload has a Uint8Array at '/b'"],
  ["a key with a slash", { "a/b": NaN }, "payload has NaN at '/a~1b'"],
  ["what toJSON gives", { toJSON: () => ({ n: NaN }) }, "payload has NaN at '/n'"],
];

for (const [what, value, message] of refused) {
  test(`${what} is refused with its place`, () => {
    assert.throws(
      () => jsonBytes(value, "payload"),
      (error) => error instanceof RefusedError && error.field === "payload" && error.message === message,
    );
  });
}

test("a circle is refused and not followed for ever", () => {
  const circle: Record<string, unknown> = {};
  circle["self"] = circle;
  assert.throws(() => jsonBytes(circle, "payload"), /nested deeper than 1000 at '\/self/);
});

test("what JSON can carry comes back as it was", () => {
  const value = {
    "": [],
    text: 'Zoë ☃ 𝄞 "quoted" \\ \n \u2028',
    numbers: [0, -0.5, 1e300, 5e-324, 2 ** 53 - 1, -(2 ** 53 - 1)],
    nested: [[[{ a: [null, true, false] }]]],
  };
  assert.deepEqual(parseJson(jsonBytes(value, "payload")), value);
});

test("a Date, a class and an object without prototype are sent as JSON.stringify writes them", () => {
  const bare = Object.assign(Object.create(null) as object, { a: 1 });
  const value = { at: new Date("2026-06-01T09:00:00Z"), price: new Money(250), bare };
  assert.deepEqual(parseJson(jsonBytes(value, "payload")), {
    at: "2026-06-01T09:00:00.000Z",
    price: { cents: 250 },
    bare: { a: 1 },
  });
});

test("U+0000 and a depth over 20 are for the server to refuse in a payload, and refused at once in a result", () => {
  let deep: unknown = 1;
  for (let depth = 0; depth < 21; depth++) deep = [deep];
  for (const value of ["\0", { "\0": 1 }, deep]) {
    jsonBytes(value, "payload");
    assert.throws(() => jsonBytes(value, "result", "result"), RefusedError);
  }
});

test("no JSON text is null", () => {
  assert.equal(parseJson(new Uint8Array()), null);
});
