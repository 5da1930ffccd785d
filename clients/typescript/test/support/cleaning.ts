/** What a test leaves behind is cleaned up at its end, the newest first: a worker says goodbye before its server goes. */

import type { TestContext } from "node:test";

const stacks = new WeakMap<TestContext, (() => unknown)[]>();

/** Do this at the end of the test, before what was asked for earlier. */
export function atEnd(t: TestContext, clean: () => unknown): void {
  const stack = stacks.get(t) ?? [];
  if (stack.length === 0) {
    stacks.set(t, stack);
    t.after(async () => {
      for (const one of stack.reverse()) await one();
    });
  }
  stack.push(clean);
}
