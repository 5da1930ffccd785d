/** The servers: their addresses, and gRPC connections to them. */

import { connect as connectPlain, isIP } from "node:net";
import type { Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { SecureContextOptions } from "node:tls";

import type { Transport } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";

import { readDetails } from "./error-details.js";
import type { AnyJobError, StatusCode } from "./errors.js";
import { jobError, RefusedError } from "./errors.js";

/** Certificates for TLS. Empty: the system's authorities, and no certificate of our own. */
export type TlsOptions = Pick<SecureContextOptions, "ca" | "cert" | "key">;

/** How to reach the servers. */
export interface ServerOptions {
  readonly address?: string | readonly string[] | undefined;
  readonly tls?: TlsOptions | boolean | undefined;
  readonly token?: string | undefined;
}

const ADDRESS_VARIABLE = "LAYERON_JOB_ADDRESS";
const DEFAULT_ADDRESS = "localhost:7233";
const DOMAIN = "layeron.job";
const MESSAGE_BYTES_MAX = 16 * 1024 * 1024;
const KEEPALIVE = {
  // A connection that was cut without a word is noticed while a call is under way, and one that was not used for a while
  // is tried before its next use. Pings between calls are not for us: connect-node goes on with them after `abort`, and
  // then throws where nobody can catch it.
  pingIntervalMs: 20_000,
  pingTimeoutMs: 10_000,
  pingIdleConnection: false,
};
const STATUS_CODES: Readonly<Record<Code, StatusCode>> = {
  [Code.Canceled]: "CANCELLED",
  [Code.Unknown]: "UNKNOWN",
  [Code.InvalidArgument]: "INVALID_ARGUMENT",
  [Code.DeadlineExceeded]: "DEADLINE_EXCEEDED",
  [Code.NotFound]: "NOT_FOUND",
  [Code.AlreadyExists]: "ALREADY_EXISTS",
  [Code.PermissionDenied]: "PERMISSION_DENIED",
  [Code.ResourceExhausted]: "RESOURCE_EXHAUSTED",
  [Code.FailedPrecondition]: "FAILED_PRECONDITION",
  [Code.Aborted]: "ABORTED",
  [Code.OutOfRange]: "OUT_OF_RANGE",
  [Code.Unimplemented]: "UNIMPLEMENTED",
  [Code.Internal]: "INTERNAL",
  [Code.Unavailable]: "UNAVAILABLE",
  [Code.DataLoss]: "DATA_LOSS",
  [Code.Unauthenticated]: "UNAUTHENTICATED",
};
// What the transport says when a connection breaks under a call, in one word: the server cannot be reached.
const BROKEN: ReadonlySet<Code> = new Set([Code.Aborted, Code.Canceled, Code.Internal, Code.Unknown]);

/** A connection to one address, made when it is first used and again when it was lost. */
export interface Connection {
  readonly address: string;
  readonly transport: Transport;
  /** End it, and with it every call under way. */
  close(): void;
}

/** The addresses, of which one is in use until it is unavailable. */
export class Servers {
  readonly addresses: readonly string[];
  /** Sent with every call. */
  readonly header: Headers;
  readonly #tls: TlsOptions | undefined;
  #at = 0;

  constructor(options: ServerOptions) {
    this.addresses = addressesOf(options.address);
    this.header = headerOf(options.token);
    this.#tls = typeof options.tls === "object" ? options.tls : options.tls === true ? {} : undefined;
  }

  /** The address in use. */
  get current(): string {
    return this.addresses[this.#at] ?? DEFAULT_ADDRESS;
  }

  /** The addresses that are not in use. */
  get others(): readonly string[] {
    return this.addresses.filter((address) => address !== this.current);
  }

  /** Turn from this address to the next one; of many calls that fail together only the first one does. */
  leave(address: string): void {
    if (address === this.current) {
      this.#at = (this.#at + 1) % this.addresses.length;
    }
  }

  /** Turn to this address. */
  turnTo(address: string): void {
    this.#at = Math.max(0, this.addresses.indexOf(address));
  }

  /** A connection of its own to an address. */
  connect(address: string): Connection {
    const baseUrl = `${this.#tls === undefined ? "http" : "https"}://${address}`;
    const sockets: Socket[] = [];
    const sessionManager = new Http2SessionManager(baseUrl, KEEPALIVE, {
      createConnection: (authority) => {
        const socket = dial(authority, this.#tls);
        sockets[0] = socket;
        return socket;
      },
    });
    const transport = createGrpcTransport({
      baseUrl,
      sessionManager,
      acceptCompression: [],
      readMaxBytes: MESSAGE_BYTES_MAX,
      writeMaxBytes: MESSAGE_BYTES_MAX,
    });
    return {
      address,
      transport,
      close: () => {
        // Before `abort`, which alone would tell the server of an error, and that would be in its log.
        sockets[0]?.destroy();
        sessionManager.abort();
      },
    };
  }
}

/** The error of ours for one of a call's, from its google.rpc.Status if the server sent one. */
export function errorOf(error: unknown, address: string): AnyJobError {
  const told = ConnectError.from(error);
  const { reason, domain, metadata, violations, retryAfterSeconds } = readDetails(incoming(told));
  const ours = domain === DOMAIN;
  // CANCELLED that the caller did not ask for is a server that stops: it has ended the call, and not for what was asked.
  const isGone = told.code === Code.Canceled || isBroken(told);
  const code = STATUS_CODES[isGone ? Code.Unavailable : told.code];
  const unanswered = !ours && (code === "UNAVAILABLE" || code === "DEADLINE_EXCEEDED");
  return jobError(unanswered ? `no answer from ${address}: ${told.rawMessage}` : told.rawMessage || code, {
    code,
    reason: ours ? reason : "",
    metadata,
    violations,
    retryAfterSeconds,
    ...(told.cause !== undefined && { cause: told.cause }),
  });
}

/** Whether it is no answer, but a connection that broke. */
function isBroken(error: ConnectError): boolean {
  return !error.metadata.has("grpc-status") && BROKEN.has(error.code);
}

function incoming(error: ConnectError): { type: string; value: Uint8Array }[] {
  return error.details.filter((detail) => "type" in detail);
}

function dial({ hostname, port }: URL, tls: TlsOptions | undefined): Socket {
  const host = hostname.replace(/^\[|\]$/g, "");
  return tls === undefined
    ? connectPlain(Number(port), host)
    : connectTls({ ...tls, host, port: Number(port), ALPNProtocols: ["h2"], servername: isIP(host) === 0 ? host : "" });
}

function addressesOf(given: string | readonly string[] | undefined): readonly string[] {
  const fromEnvironment = process.env[ADDRESS_VARIABLE] ?? "";
  const named = given ?? (fromEnvironment === "" ? DEFAULT_ADDRESS : fromEnvironment);
  const parts = (typeof named === "string" ? named.split(",") : named).map((part) => part.trim());
  const addresses = [...new Set(parts.filter((part) => part !== ""))];
  if (addresses.length === 0) {
    throw new RefusedError("address", "must name at least one server, such as localhost:7233");
  }
  for (const address of addresses) {
    if (!/^[^/@?#\s]+:\d{1,5}$/.test(address) || !URL.canParse(`http://${address}`)) {
      throw new RefusedError("address", `must be host:port, such as localhost:7233, not ${JSON.stringify(address)}`);
    }
  }
  return addresses;
}

function headerOf(token: string | undefined): Headers {
  if (token === undefined) {
    return new Headers();
  }
  if (!/^[!-~]+$/.test(token)) {
    throw new RefusedError("token", "must be printable ASCII without spaces, and not empty");
  }
  return new Headers({ authorization: `Bearer ${token}` });
}
