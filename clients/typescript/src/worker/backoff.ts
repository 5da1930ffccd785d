/** Waits of a worker. */

import { setTimeout as sleep } from "node:timers/promises";

const INITIAL_MS = 100;
const MAXIMUM_MS = 5_000;

/** Growing waits with full jitter, 0.1 to 5 s. */
export class Backoff {
  #failures = 0;

  /** Wait before the next try; sooner if the signal is aborted. */
  async wait(signal: AbortSignal): Promise<void> {
    const ceiling = Math.min(MAXIMUM_MS, INITIAL_MS * 2 ** this.#failures);
    this.#failures = Math.min(this.#failures + 1, 16);
    const least = INITIAL_MS / 2;
    await pause(least + Math.random() * (Math.max(INITIAL_MS, ceiling) - least), signal);
  }

  /** It went well: begin from the start again. */
  reset(): void {
    this.#failures = 0;
  }
}

/** Wait so long, or until the signal is aborted. */
export async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await sleep(milliseconds, undefined, { signal }).catch(() => undefined);
}

/** What a promise gives, or undefined after so long. */
export async function within<Value>(promise: Promise<Value>, milliseconds: number): Promise<Value | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, milliseconds, undefined);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
