/** Waiting with a bound. */

import { setTimeout as sleep } from "node:timers/promises";

/** Wait until it is true; throws after so long. */
export async function eventually(isTrue: () => boolean | Promise<boolean>, limitMs = 20_000): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!(await isTrue())) {
    if (performance.now() > deadline) {
      throw new Error(`not true within ${limitMs} ms: ${isTrue.toString()}`);
    }
    await sleep(10);
  }
}

/** Something that one part of a test waits for and another part lets happen. */
export class Gate {
  readonly opened: Promise<void>;
  open: () => void = () => undefined;

  constructor() {
    this.opened = new Promise((resolve) => {
      this.open = resolve;
    });
  }
}

/** All that a stream gives. */
export async function collect<Value>(values: AsyncIterable<Value>): Promise<Value[]> {
  const all: Value[] = [];
  for await (const value of values) all.push(value);
  return all;
}
