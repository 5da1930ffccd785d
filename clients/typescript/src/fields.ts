/** The plain values of fields: times, words and texts, between people's form and the contract's. */

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Duration, DurationSchema, Timestamp, TimestampSchema } from "@bufbuild/protobuf/wkt";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";

import { RefusedError } from "./errors.js";

/** A point in time: a Date, or RFC 3339 text with a zone, such as "2026-06-01T09:00:00Z". */
export type Moment = Date | string;

/** A word of a newer server that this client does not know: "unknown_" and its number. */
export type UnknownWord = `unknown_${number}`;

const RFC_3339 = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.(\d+))?)?(?:[zZ]|[+-]\d\d:\d\d)$/;
// What the well-known types can hold; the server's own limits are narrower.
const DURATION_SECONDS_MAX = 315_576_000_000;
const YEAR_MAX = 9999;

/** A number within its limits, both included. */
export function inLimits(field: string, value: number, least: number, most: number): number {
  if (typeof value !== "number" || !(value >= least && value <= most)) {
    throw new RefusedError(field, `must be ${least} to ${most}, not ${String(value)}`);
  }
  return value;
}

/** A whole number within its limits, both included. */
export function wholeInLimits(field: string, value: number, least: number, most: number): number {
  if (!Number.isInteger(inLimits(field, value, least, most))) {
    throw new RefusedError(field, `must be a whole number, not ${value}`);
  }
  return value;
}

/** A length of time, to the microsecond. */
export function durationOf(field: string, seconds: number): MessageInitShape<typeof DurationSchema> {
  if (typeof seconds !== "number" || !(Math.abs(seconds) <= DURATION_SECONDS_MAX)) {
    throw new RefusedError(field, `must be a number of seconds, not ${String(seconds)}`);
  }
  const whole = Math.trunc(seconds);
  const micros = Math.round((seconds - whole) * 1e6);
  return Math.abs(micros) === 1e6
    ? { seconds: BigInt(whole + Math.sign(micros)), nanos: 0 }
    : { seconds: BigInt(whole), nanos: micros * 1000 };
}

/** A length of time in seconds; 0 if it is unset. */
export function secondsOf(duration: Duration | undefined): number {
  return duration === undefined ? 0 : Number(duration.seconds) + duration.nanos / 1e9;
}

/** A point in time; text to the nanosecond. Text without a zone could be any of several times, and is refused. */
export function timestampOf(field: string, moment: Moment): MessageInitShape<typeof TimestampSchema> {
  const parts = typeof moment === "string" ? RFC_3339.exec(moment) : null;
  const date = typeof moment === "string" && parts !== null ? new Date(moment) : moment;
  if (!(date instanceof Date) || Number.isNaN(date.getTime()) || Math.abs(date.getUTCFullYear()) > YEAR_MAX) {
    throw new RefusedError(field, "must be a Date, or a date and time with its zone such as 2026-06-01T09:00:00Z");
  }
  const timestamp = timestampFromDate(date);
  if (parts?.[1] !== undefined) {
    timestamp.nanos = Number(parts[1].slice(0, 9).padEnd(9, "0"));
  }
  return timestamp;
}

/** A point in time, to the millisecond before it: a list from when a run was made has that run. */
export function dateOf({ seconds, nanos }: Timestamp): Date {
  return new Date(Number(seconds) * 1000 + Math.floor(nanos / 1e6));
}

/** A point in time; null if it is unset. */
export function dateOrNull(timestamp: Timestamp | undefined): Date | null {
  return timestamp === undefined ? null : dateOf(timestamp);
}

/** A text; undefined if there is none. An empty one is refused where it would be taken for none. */
export function given(field: string, value: string | undefined): string | undefined {
  if (value === "") {
    throw new RefusedError(field, "must not be empty");
  }
  return value === undefined ? undefined : text(field, value);
}

/** A text that UTF-8 can hold. */
export function text(field: string, value: string): string {
  if (typeof value !== "string") {
    throw new RefusedError(field, `must be a string, not ${String(value)}`);
  }
  if (!value.isWellFormed()) {
    throw new RefusedError(field, "has a lone surrogate, which UTF-8 cannot hold");
  }
  return value;
}

/** Texts by key, such as labels. */
export function texts(field: string, values: Readonly<Record<string, string>>): Record<string, string> {
  const entries = Object.entries(values).map(([key, value]) => {
    const place = `${field}.${text(`a key of ${field}`, key)}`;
    return [key, text(place, value)] as const;
  });
  return Object.fromEntries(entries);
}

/** The words of one enum of the contract, both ways. */
export class Words<Word extends string, Enum extends number> {
  readonly #numbers: ReadonlyMap<string, number>;
  readonly #words: readonly (Word | undefined)[];

  /** @param words by number; unspecified, which is number 0, has none */
  constructor(words: readonly Word[]) {
    this.#words = [undefined, ...words];
    this.#numbers = new Map(words.map((word, index) => [word, index + 1]));
  }

  /** The word of a number; null for unspecified. */
  word(number: number): Word | UnknownWord | null {
    return number === 0 ? null : (this.#words[number] ?? `unknown_${number}`);
  }

  /** The number of a word; 0 if there is none. */
  number(field: string, word: Word | undefined): Enum {
    if (word === undefined) {
      return 0 as Enum;
    }
    const number = this.#numbers.get(word);
    if (number === undefined) {
      const known = [...this.#numbers.keys()].join(", ");
      throw new RefusedError(field, `must be one of ${known}, not ${JSON.stringify(word)}`);
    }
    return number as Enum;
  }
}
