/**
 * How the client calls its servers: connections, deadlines, repeats and errors, in one place.
 *
 * A call has one deadline for all its tries. What is UNAVAILABLE is tried again until then, at the next address if there
 * are several, after waits of 0 to 0.05 s, doubling to 0 to 1 s. This is safe for every RPC of the client: Enqueue,
 * EnqueueBatch and ReplayRun carry run ids that were chosen before the first try, and the others may be done twice.
 * Nothing else is tried again, and every error is a JobError, or the reason of the caller's signal.
 */

import { setTimeout as sleep } from "node:timers/promises";

import type {
  DescMessage,
  DescMethodServerStreaming,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";

import type { AnyJobError } from "./errors.js";
import { OtherJobError, OverloadedError, RefusedError, UnavailableError } from "./errors.js";
import type { Connection, Servers } from "./servers.js";
import { errorOf } from "./servers.js";

const WAIT_MS = 50;
const WAIT_MS_MAX = 1000;

/** The time that one thing may take, all its tries together. */
export class Patience {
  readonly #until: number;
  readonly #signal: AbortSignal | undefined;
  #ceiling = WAIT_MS;

  constructor(limitMs: number, signal: AbortSignal | undefined) {
    this.#until = performance.now() + limitMs;
    this.#signal = signal;
  }

  /** The milliseconds that are left. */
  leftMs(): number {
    return this.#until - performance.now();
  }

  /** Wait before the next try, at least as long as the error says; throw it if there is no time for one. */
  async bear(error: AnyJobError): Promise<void> {
    const waitMs = Math.random() * this.#ceiling + (error.retryAfterSeconds ?? 0) * 1000;
    this.#ceiling = Math.min(2 * this.#ceiling, WAIT_MS_MAX);
    if (waitMs >= this.leftMs()) {
      throw error;
    }
    await sleep(waitMs, undefined, { signal: this.#signal }).catch(() => {
      this.#signal?.throwIfAborted();
    });
  }
}

/** What one try may do. */
export interface TryOptions {
  readonly signal: AbortSignal | undefined;
  readonly timeoutMs?: number;
}

/** Calls to the servers. */
export class Calls {
  readonly servers: Servers;
  readonly timeoutMs: number;
  readonly #connections = new Map<string, Connection>();
  #closed = false;

  constructor(servers: Servers, timeoutSeconds: number) {
    if (!(timeoutSeconds > 0)) {
      throw new RefusedError("callTimeoutSeconds", `must be more than 0, not ${String(timeoutSeconds)}`);
    }
    this.servers = servers;
    this.timeoutMs = timeoutSeconds * 1000;
  }

  /** The answer to a request, within the client's timeout. waitForRoom: also try again when overloaded. */
  async unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    signal: AbortSignal | undefined,
    { waitForRoom = false } = {},
  ): Promise<MessageShape<O>> {
    const patience = this.patience(signal);
    for (;;) {
      try {
        return await this.once(method, request, { signal, timeoutMs: patience.leftMs() });
      } catch (error) {
        if (error instanceof UnavailableError || (waitForRoom && error instanceof OverloadedError)) {
          await patience.bear(error);
        } else {
          throw error;
        }
      }
    }
  }

  /** The answer to a single try. */
  async once<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    { signal, timeoutMs = this.timeoutMs }: TryOptions,
  ): Promise<MessageShape<O>> {
    signal?.throwIfAborted();
    const { address, transport } = this.#connection();
    try {
      // The transport takes 0 for no timeout at all, and gRPC takes whole milliseconds.
      const limit = Math.max(1, Math.ceil(timeoutMs));
      return (await transport.unary(method, signal, limit, this.servers.header, request)).message;
    } catch (error) {
      throw this.#told(error, address, signal);
    }
  }

  /** The messages of one stream, which has no deadline. */
  async *stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodServerStreaming<I, O>,
    request: MessageInitShape<I>,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<MessageShape<O>, void, undefined> {
    signal?.throwIfAborted();
    const { address, transport } = this.#connection();
    const left = new AbortController();
    const ends = signal === undefined ? left.signal : AbortSignal.any([signal, left.signal]);
    try {
      const answer = await transport.stream(method, ends, undefined, this.servers.header, only(request));
      yield* answer.message;
    } catch (error) {
      throw this.#told(error, address, signal);
    } finally {
      left.abort();
    }
  }

  /** The client's timeout, from now on. */
  patience(signal: AbortSignal | undefined): Patience {
    return new Patience(this.timeoutMs, signal);
  }

  /** End all calls and connections. */
  close(): void {
    this.#closed = true;
    for (const connection of this.#connections.values()) {
      connection.close();
    }
    this.#connections.clear();
  }

  #connection(): Connection {
    if (this.#closed) {
      throw new OtherJobError("the client is closed", { code: "CANCELLED" });
    }
    const address = this.servers.current;
    const connection = this.#connections.get(address) ?? this.servers.connect(address);
    this.#connections.set(address, connection);
    return connection;
  }

  /** What the caller is told: the reason of its own signal, or an error of ours. */
  #told(error: unknown, address: string, signal: AbortSignal | undefined): unknown {
    if (signal?.aborted === true) {
      return signal.reason;
    }
    if (this.#closed) {
      return new OtherJobError("the client was closed during the call", { code: "CANCELLED" });
    }
    const told = errorOf(error, address);
    if (told.kind === "Unavailable" || told.kind === "DeadlineExceeded") {
      this.servers.leave(address);
    }
    return told;
  }
}

async function* only<Value>(value: Value): AsyncGenerator<Value> {
  yield await Promise.resolve(value);
}
