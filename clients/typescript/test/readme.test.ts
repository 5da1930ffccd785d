import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { before, test } from "node:test";
import type { TestContext } from "node:test";

import { job } from "../src/index.js";
import { sharedAddress, PACKAGE } from "./support/servers.js";
import { eventually } from "./support/waiting.js";

const FOLDER = join(PACKAGE, "build/readme");
const PROGRAM = /^```ts\n\/\/ (\w+\.ts)\n([^]*?)^```\n(?:\s*^```\n([^]*?)^```)?/gm;
const OPTIONS = { compilerOptions: { module: "nodenext", target: "es2022", types: ["node"], strict: true } };

/** What programs say, by their names. */
const said = new Map<string, string>();

before(async () => {
  const readme = await readFile(join(PACKAGE, "README.md"), "utf8");
  await rm(FOLDER, { recursive: true, force: true });
  await mkdir(FOLDER, { recursive: true });
  await writeFile(join(FOLDER, "tsconfig.json"), JSON.stringify(OPTIONS));
  for (const [, name = "", source = "", output = ""] of readme.matchAll(PROGRAM)) {
    await writeFile(join(FOLDER, name), source);
    said.set(name.replace(".ts", ""), output);
  }
  // They import the package by its name, as it is published: what dist and its exports give.
  const compiler = spawn(process.execPath, [join(PACKAGE, "node_modules/typescript/bin/tsc"), "-p", FOLDER]);
  assert.equal(await text(compiler.stdout), "");
});

function start(t: TestContext, name: string): ChildProcess & { stdout: NodeJS.ReadableStream } {
  const child = spawn(process.execPath, [join(FOLDER, `${name}.js`)], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, LAYERON_JOB_ADDRESS: sharedAddress() },
  });
  t.after(() => child.kill("SIGKILL"));
  return child;
}

/** What a program says on stdout, once it has ended well. */
async function run(t: TestContext, name: string): Promise<string> {
  const child = start(t, name);
  const exited = once(child, "exit");
  const output = await text(child.stdout);
  assert.deepEqual(await exited, [0, null]);
  return output;
}

test("the first programs of the README do what it says", async (t) => {
  const jobs = job();
  t.after(() => jobs.close());
  const worker = start(t, "worker");
  await eventually(() =>
    jobs.tasks.get("welcome-mail").then(
      () => true,
      () => false,
    ),
  );
  assert.equal(await run(t, "caller"), said.get("caller"));
  const { runId } = await jobs.enqueue("welcome-mail", { to: "" });
  assert.equal((await jobs.runs.wait(runId, { timeoutSeconds: 30 })).status, "dead_lettered");
  assert.equal(await run(t, "failed"), "");
  assert.notEqual((await jobs.runs.get(runId)).replayedBy, "");
  worker.kill("SIGTERM");
  assert.deepEqual(await once(worker, "exit"), [0, null]);
});

for (const name of ["typed", "handler"]) {
  test(`the program ${name}.ts of the README says what it shows`, async (t) => {
    assert.notEqual(said.get(name), "");
    assert.equal(await run(t, name), said.get(name));
  });
}

test("every program of the README is one of these", () => {
  assert.deepEqual([...said.keys()], ["worker", "caller", "failed", "typed", "handler"]);
});
