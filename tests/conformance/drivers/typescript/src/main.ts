/** Does what conformance cases say, through the TypeScript client (`call`) or worker (`work`). See the README two folders up. */

import { call } from "./calling.js";
import { work } from "./working.js";

const doing: Partial<Record<string, () => Promise<void>>> = { call, work };
const what = doing[process.argv[2] ?? ""];
if (what === undefined || process.argv.length !== 3) {
  process.stderr.write("usage: main.js call|work\n");
  process.exit(2);
}
await what();
