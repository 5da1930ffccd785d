/** Servers for tests: the shared one, further ones beside it, and the network between. */

import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo, Server, Socket } from "node:net";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import type { TestContext } from "node:test";

import { atEnd } from "./cleaning.js";
import { eventually } from "./waiting.js";

export const ADDRESS_VARIABLE = "LAYERON_JOB_ADDRESS";
export const DATABASE_VARIABLE = "LAYERON_JOB_DATABASE_URL";
export const NATS_VARIABLE = "LAYERON_JOB_NATS_URL";
export const PACKAGE = join(import.meta.dirname, "../../..");
export const REPOSITORY = join(PACKAGE, "../..");
export const SERVER_COMMAND = join(REPOSITORY, ".venv/bin/layeron-job");

/** Where the shared server is. */
export function sharedAddress(): string {
  const address = process.env[ADDRESS_VARIABLE];
  if (address === undefined) {
    throw new Error("run the tests with `npm test`, which starts a server");
  }
  return address;
}

/** A namespace of the test's own. */
export function ownNamespace(): string {
  return `t-${randomUUID()}`;
}

/** Why servers cannot be started beside the shared one; false if they can. */
export const cannotStartServers =
  process.env[DATABASE_VARIABLE] === undefined && "the server is not ours: its database is not known";

/** What a server beside another one is set to: no HTTP port of its own, and no log but of errors. */
const BESIDE = { LAYERON_JOB_HTTP_ADDRESS: "", LAYERON_JOB_LOG_LEVEL: "error" };

/** A further server process on the shared server's database and NATS. */
export class OwnServer {
  private constructor(
    readonly address: string,
    readonly process: ChildProcess,
  ) {}

  static async start(t: TestContext, settings: Record<string, string> = {}): Promise<OwnServer> {
    const address = `127.0.0.1:${await freePort()}`;
    const child = spawn(SERVER_COMMAND, ["serve"], {
      stdio: "inherit",
      env: { ...process.env, LAYERON_JOB_GRPC_ADDRESS: address, ...BESIDE, ...settings },
    });
    const server = new OwnServer(address, child);
    atEnd(t, () => server.stop());
    await eventually(() => answers(address), 30_000);
    return server;
  }

  /** Ask it to stop, and wait until it has. */
  async stop(): Promise<void> {
    if (this.process.exitCode === null && this.process.signalCode === null) {
      this.process.kill("SIGTERM");
      await once(this.process, "exit");
    }
  }
}

/** A network between a client and a server that can be cut. */
export class Proxy {
  readonly #server: Server;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  #isCut = false;
  /** How many connections were made through it. */
  connections = 0;
  /** Called with what clients send, before it is passed on. */
  onRequest: (bytes: Buffer) => void = () => undefined;
  /** Called with what the server sends: false keeps it back. */
  onAnswer: (bytes: Buffer) => boolean = () => true;

  private constructor(server: Server, target: string) {
    this.#server = server;
    const [host = "", port = ""] = target.split(":");
    server.on("connection", (client) => {
      if (this.#isCut) {
        client.destroy();
        return;
      }
      this.connections += 1;
      this.#join(client, connect(Number(port), host));
    });
  }

  static async start(t: TestContext, target = sharedAddress()): Promise<Proxy> {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const proxy = new Proxy(server, target);
    atEnd(t, () => {
      proxy.cut();
      server.close();
    });
    return proxy;
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Break every connection, and take no new one until `mend`. */
  cut(): void {
    this.#isCut = true;
    this.drop();
  }

  mend(): void {
    this.#isCut = false;
  }

  /** Break every connection; new ones may be made. */
  drop(): void {
    for (const pair of this.#pairs) {
      for (const socket of pair) socket.destroy();
    }
  }

  /** Pass nothing on, and say nothing of it. */
  stall(): void {
    for (const pair of this.#pairs) {
      for (const socket of pair) socket.pause();
    }
  }

  #join(client: Socket, server: Socket): void {
    const pair = [client, server] as const;
    this.#pairs.add(pair);
    client.on("data", (bytes) => {
      this.onRequest(bytes);
      server.write(bytes);
    });
    server.on("data", (bytes) => {
      if (this.onAnswer(bytes)) client.write(bytes);
    });
    for (const socket of pair) {
      socket.on("error", () => undefined);
      socket.on("close", () => {
        this.#pairs.delete(pair);
        client.destroy();
        server.destroy();
      });
    }
  }
}

/** Takes connections, and says nothing on them. */
export class MuteServer {
  readonly #sockets: Socket[] = [];

  private constructor(readonly address: string) {}

  static async start(t: TestContext): Promise<MuteServer> {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const mute = new MuteServer(`127.0.0.1:${(server.address() as AddressInfo).port}`);
    server.on("connection", (socket) => {
      mute.#sockets.push(socket.on("error", () => undefined));
    });
    atEnd(t, () => {
      for (const socket of mute.#sockets) socket.destroy();
      server.close();
    });
    return mute;
  }

  get connections(): number {
    return this.#sockets.length;
  }
}

/** A port that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function answers(address: string): Promise<boolean> {
  const [host = "", port = ""] = address.split(":");
  const socket = connect(Number(port), host);
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
