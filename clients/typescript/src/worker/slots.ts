/** Which attempts run now: `concurrency` of them at once; further grants wait here, and not for long. */

import type { Attempt } from "./attempt.js";

const PACE_MS = 250;

/** Begins attempts as slots become free and hands back what waited too long. */
export class Slots {
  readonly concurrency: number;
  readonly running = new Set<Attempt>();
  /** Grants that wait longer are handed back, in milliseconds. */
  beginWithinMs = 2000;

  readonly #prefetch: number;
  readonly #onFree: () => void;
  readonly #waiting = new Queue<Attempt>();
  #timer: NodeJS.Timeout | undefined;
  #paceFrom = -Infinity;
  #endedBefore = 0;
  #endedNow = 0;

  /** @param onFree called when a slot became free */
  constructor(concurrency: number, prefetch: number, onFree: () => void) {
    this.concurrency = concurrency;
    this.#prefetch = prefetch;
    this.#onFree = onFree;
  }

  /** Begin it now, or when a slot is free; after `beginWithinMs` without one it is handed back. */
  admit(attempt: Attempt): void {
    if (this.running.size < this.concurrency) {
      this.running.add(attempt);
      attempt.begin();
      return;
    }
    attempt.beginBy = performance.now() + this.beginWithinMs;
    this.#waiting.push(attempt);
    this.#timer ??= setTimeout(() => {
      this.#handBackLate();
    }, this.beginWithinMs);
  }

  /** A handler has returned. */
  release(attempt: Attempt): void {
    this.running.delete(attempt);
    this.#rollPace();
    this.#endedNow += 1;
    while (this.running.size < this.concurrency) {
      const following = this.#waiting.shift();
      if (following === undefined) {
        break;
      }
      // It may have been canceled or abandoned while it waited.
      if (following.outcome === undefined && !following.ended) {
        this.running.add(following);
        following.begin();
      }
    }
    this.#onFree();
  }

  /**
   * How many more runs may be asked for: free slots, and a prefetch that is no more than what ends in a moment.
   *
   * The prefetch follows the pace, because a grant that waits behind long handlers would only be handed back.
   */
  credits(): number {
    this.#rollPace();
    const prefetch = Math.min(this.#prefetch, Math.max(this.#endedBefore, this.#endedNow));
    return this.concurrency + prefetch - this.running.size - this.#waiting.length;
  }

  /** Report every grant that has not begun as interrupted. */
  handBackWaiting(errorType: string, message: string): void {
    for (let attempt = this.#waiting.shift(); attempt !== undefined; attempt = this.#waiting.shift()) {
      handBack(attempt, errorType, message);
    }
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #handBackLate(): void {
    this.#timer = undefined;
    const now = performance.now();
    let first = this.#waiting.first;
    while (first !== undefined && first.beginBy <= now) {
      handBack(first, "NotBegun", "no slot became free in time");
      this.#waiting.shift();
      first = this.#waiting.first;
    }
    if (first !== undefined) {
      this.#timer = setTimeout(() => {
        this.#handBackLate();
      }, first.beginBy - now);
    }
    this.#onFree();
  }

  #rollPace(): void {
    const now = performance.now();
    const passed = now - this.#paceFrom;
    if (passed >= PACE_MS) {
      this.#endedBefore = passed < 2 * PACE_MS ? this.#endedNow : 0;
      this.#endedNow = 0;
      this.#paceFrom = now;
    }
  }
}

/** A list that is added to at its end and taken from at its start, both in constant time. */
export class Queue<Item> {
  #items: (Item | undefined)[] = [];
  #start = 0;

  get length(): number {
    return this.#items.length - this.#start;
  }

  /** The next one to be taken. */
  get first(): Item | undefined {
    return this.#items[this.#start];
  }

  push(item: Item): void {
    this.#items.push(item);
  }

  shift(): Item | undefined {
    if (this.length === 0) {
      return undefined;
    }
    const item = this.#items[this.#start];
    this.#items[this.#start++] = undefined;
    if (this.#start > 1024 && this.#start * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#start);
      this.#start = 0;
    }
    return item;
  }
}

function handBack(attempt: Attempt, errorType: string, message: string): void {
  if (attempt.outcome === undefined && !attempt.ended) {
    attempt.neverBegan("interrupted", errorType, message);
  }
}
