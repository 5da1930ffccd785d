/** JSON, one object per line, on stdin and stdout. */

import { createInterface } from "node:readline";

/** The objects of stdin, until it ends. */
export async function* read<Line>(): AsyncGenerator<Line, void, undefined> {
  try {
    for await (const line of createInterface(process.stdin)) {
      yield JSON.parse(line) as Line;
    }
  } finally {
    process.stdin.destroy(); // or it would keep the process alive
  }
}

/** Write one object. */
export function say(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
