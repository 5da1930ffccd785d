/**
 * Values as JSON text, so that nothing is lost on the way: what JSON cannot carry is refused with the name of the field
 * and the place in it, and never dropped, rounded or turned into null.
 */

import { RefusedError } from "./errors.js";

/** A JSON value, as `JSON.parse` gives it. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

/** Who sends it: what is merely against the contract's rules in a payload is the server's to say. */
export type JsonRules = "payload" | "result";

const DEPTH_MAX = 20;
// Deeper than this a payload is most likely a circle; the server refuses it from DEPTH_MAX on.
const CIRCLE_DEPTH = 1_000;
const FIRST_EXPONENT_FORM = 1e21;
const SHOWN_MAX = 200;
const encoder = new TextEncoder();

/**
 * A value as UTF-8 JSON.
 *
 * Throws RefusedError, which names the field and the place in it, for what JSON cannot carry: undefined, a function, a
 * symbol, a BigInt, NaN, an infinity, an integer beyond ±(2^53−1), a lone surrogate, a Map, a Promise and their like.
 * In a result also U+0000 and a depth over 20. The message shows keys, but no values.
 */
export function jsonBytes(value: unknown, field: string, rules: JsonRules = "payload"): Uint8Array {
  const problem = new Check(rules).problem(value, 0);
  if (problem !== undefined) {
    throw new RefusedError(field, problem);
  }
  return encoder.encode(JSON.stringify(value));
}

/** The value of UTF-8 JSON text; null if there is none. */
export function parseJson(text: Uint8Array): Json {
  const { buffer, byteOffset, byteLength } = text;
  return byteLength === 0 ? null : (JSON.parse(Buffer.from(buffer, byteOffset, byteLength).toString("utf8")) as Json);
}

/** One walk over a value. */
class Check {
  readonly #isResult: boolean;
  readonly #depthMax: number;
  readonly #path: string[] = [];

  constructor(rules: JsonRules) {
    this.#isResult = rules === "result";
    this.#depthMax = this.#isResult ? DEPTH_MAX : CIRCLE_DEPTH;
  }

  /** The first thing that is wrong, and where; undefined if nothing is. A scalar has depth 0, `[]` has depth 1. */
  problem(value: unknown, depth: number): string | undefined {
    switch (typeof value) {
      case "string":
        return this.#textProblem(value, "");
      case "number":
        return this.#numberProblem(value);
      case "boolean":
        return undefined;
      case "object":
        return value === null ? undefined : this.#objectProblem(value, depth);
      case "bigint":
        return this.#at("has a BigInt, to be sent as a string,");
      default:
        return this.#at(value === undefined ? "has undefined" : `has a ${typeof value}`);
    }
  }

  #objectProblem(value: object, depth: number): string | undefined {
    if (depth >= this.#depthMax) {
      return this.#at(`is nested deeper than ${this.#depthMax}`);
    }
    const written: unknown = isWrittenByItself(value) ? value.toJSON() : value;
    if (typeof written !== "object" || written === null) {
      return this.problem(written, depth);
    }
    if (Array.isArray(written)) {
      return this.#arrayProblem(written, depth);
    }
    const kind = Object.prototype.toString.call(written).slice("[object ".length, -1);
    return kind === "Object" ? this.#membersProblem(written, depth) : this.#at(`has a ${kind}`);
  }

  #arrayProblem(values: readonly unknown[], depth: number): string | undefined {
    // By index, because a hole is undefined too.
    for (let index = 0; index < values.length; index++) {
      this.#path.push(index.toString());
      const problem = this.problem(values[index], depth + 1);
      if (problem !== undefined) {
        return problem;
      }
      this.#path.pop();
    }
    return undefined;
  }

  #membersProblem(members: object, depth: number): string | undefined {
    for (const [key, member] of Object.entries(members)) {
      this.#path.push(key);
      const problem = this.#textProblem(key, "a key with ") ?? this.problem(member, depth + 1);
      if (problem !== undefined) {
        return problem;
      }
      this.#path.pop();
    }
    return undefined;
  }

  #textProblem(text: string, what: string): string | undefined {
    if (!text.isWellFormed()) {
      return this.#at(`has ${what}a lone surrogate`);
    }
    return this.#isResult && text.includes("\0") ? this.#at(`has ${what}U+0000`) : undefined;
  }

  #numberProblem(value: number): string | undefined {
    if (!Number.isFinite(value)) {
      return this.#at(`has ${value}`);
    }
    // A larger one is written with an exponent, which the contract takes for what it is: a rounded number.
    if (Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < FIRST_EXPONENT_FORM) {
      return this.#at("has an integer beyond ±(2^53-1), to be sent as a string,");
    }
    return undefined;
  }

  /** The problem with its place, a JSON pointer (RFC 6901) of at most 200 characters; nothing for the value itself. */
  #at(problem: string): string {
    if (this.#path.length === 0) {
      return problem;
    }
    const pointer = this.#path.map((key) => `/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
    const shown = pointer.length > SHOWN_MAX ? `${pointer.slice(0, SHOWN_MAX)}…` : pointer;
    return `${problem} at '${shown.toWellFormed()}'`;
  }
}

function isWrittenByItself(value: object): value is { toJSON(): unknown } {
  return "toJSON" in value && typeof value.toJSON === "function";
}
