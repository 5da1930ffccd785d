/**
 * A process of its own for tests: `child.js SCENARIO NAMESPACE`. It says what happens on stdout, one word and perhaps a
 * value a line.
 */

import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

import { job } from "../../src/index.js";

const [, , scenario = "", namespace = ""] = process.argv;
const jobs = job({ namespace });

const scenarios: Record<string, () => Promise<void>> = {
  async work() {
    jobs.task(
      "work",
      { retry: { attempts: 5, backoff: "fixed", initialDelaySeconds: 0 } },
      async (payload: number, ctx) => {
        say("begun", ctx.runId);
        await sleep(payload);
        return "done";
      },
    );
    await jobs.run();
    say("ended");
  },

  async call() {
    await jobs.tasks.register([{ name: "work" }]);
    await jobs.enqueue("work");
    say("loaded", loadedNats());
    jobs.task("work", {}, () => null);
    await jobs.start();
    say("loaded", loadedNats());
    await jobs.stop();
    // Nothing is closed: a process must not hang for that.
  },
};

function say(word: string, value: unknown = ""): void {
  process.stdout.write(`${word} ${String(value)}\n`);
}

/** How many modules of NATS this process has loaded. */
function loadedNats(): number {
  const { cache } = createRequire(import.meta.url);
  return Object.keys(cache).filter((path) => path.includes("@nats-io")).length;
}

await scenarios[scenario]?.();
