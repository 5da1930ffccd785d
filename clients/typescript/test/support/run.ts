/**
 * Runs the tests: all of them, or the files named. Against the server at $LAYERON_JOB_ADDRESS, or one of its own from the
 * repository's .venv, with short leases.
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { ADDRESS_VARIABLE, DATABASE_VARIABLE, NATS_VARIABLE, SERVER_COMMAND } from "./servers.js";

const BUILT = join(import.meta.dirname, "..");
const SETTINGS = { LAYERON_JOB_LEASE_MS: "4000", LAYERON_JOB_HEARTBEAT_INTERVAL_MS: "500" };
const READY = /ready at (\S+)[^]*PostgreSQL\s+(\S+)\s+NATS (\S+)/;

process.exitCode = process.env[ADDRESS_VARIABLE] === undefined ? await withServer() : await runTests({});

async function runTests(environment: Record<string, string>): Promise<number> {
  const all = (await readdir(BUILT)).filter((name) => name.endsWith(".test.js"));
  const named = process.argv.slice(2).map((name) => name.replace(/^.*\/|(\.test)?\.[tj]s$/g, ""));
  const chosen = all.filter((name) => named.length === 0 || named.includes(name.replace(".test.js", "")));
  if (chosen.length === 0) {
    throw new Error(`no tests named ${named.join(", ")}`);
  }
  const files = chosen.map((name) => join(BUILT, name));
  const child = spawn(
    process.execPath,
    ["--enable-source-maps", "--test", "--test-reporter=spec", "--test-timeout=120000", ...files],
    {
      stdio: "inherit",
      env: { ...process.env, ...environment },
    },
  );
  const [code] = (await once(child, "exit")) as [number | null];
  return code ?? 1;
}

async function withServer(): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), "layeron-job-"));
  await chmod(folder, 0o711); // as root the databases run as another user
  const data = join(folder, "data");
  const server = spawn(SERVER_COMMAND, ["dev", "--data", data, "--port", "0"], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, ...SETTINGS },
  });
  try {
    let said = "";
    for await (const line of createInterface(server.stdout)) {
      said += `${line}\n`;
      const [, address, postgres, nats] = READY.exec(said) ?? [];
      if (address !== undefined && postgres !== undefined && nats !== undefined) {
        const password = await readFile(join(data, "postgres-password"), "utf8");
        return await runTests({
          ...SETTINGS,
          [ADDRESS_VARIABLE]: address,
          [DATABASE_VARIABLE]: `postgresql://layeron:${password}@${postgres}/postgres`,
          [NATS_VARIABLE]: nats,
        });
      }
    }
    throw new Error(`the server did not start: ${said}`);
  } finally {
    if (server.exitCode === null) {
      server.kill("SIGTERM");
      await once(server, "exit");
    }
    await rm(folder, { recursive: true, force: true });
  }
}
