/**
 * Run ids: a TypeID ("run_" and 26 characters of Crockford's base 32) over a UUIDv7.
 *
 * Newer ids sort after older ones, also those that a process makes within one millisecond.
 */

import { randomFillSync } from "node:crypto";

const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";
const COUNTER_MAX = 0xfff;

const random = new Uint8Array(1024);
let used = random.length;
let lastMs = 0;
let counter = 0;

/** A fresh run id. Chosen before an enqueue and kept, it makes the repeat of a whole program safe. */
export function newRunId(): string {
  tick();
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, Math.floor(lastMs / 0x10000));
  view.setUint16(4, lastMs % 0x10000);
  view.setUint16(6, 0x7000 | counter);
  bytes.set(randomBytes(8), 8);
  bytes[8] = 0x80 | ((bytes[8] ?? 0) & 0x3f);
  return `run_${base32(bytes)}`;
}

/** The next place in time: a counter orders the ids of one millisecond, and of a clock that was set back. */
function tick(): void {
  const now = Date.now();
  if (now > lastMs) {
    lastMs = now;
    counter = 0;
  } else if (counter === COUNTER_MAX) {
    lastMs += 1;
    counter = 0;
  } else {
    counter += 1;
  }
}

function randomBytes(count: number): Uint8Array {
  if (used + count > random.length) {
    randomFillSync(random);
    used = 0;
  }
  used += count;
  return random.subarray(used - count, used);
}

/** 128 bits in 26 characters of 5 bits; the first one has only 3. */
function base32(bytes: Uint8Array): string {
  let text = "";
  let bits = 0;
  let count = 2; // as if two zero bits stood before the first byte
  for (const byte of bytes) {
    bits = ((bits << 8) | byte) & 0x1fff;
    count += 8;
    while (count >= 5) {
      count -= 5;
      text += ALPHABET.charAt((bits >> count) & 31);
    }
  }
  return text;
}
