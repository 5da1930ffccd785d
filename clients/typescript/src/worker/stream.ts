/** One open `Work` call. Everything that may go wrong with it is StreamBroken. */

import type { MessageInitShape, MessageShape } from "@bufbuild/protobuf";

import type { AnyJobError } from "../errors.js";
import type { WorkRequestSchema, WorkResponseSchema } from "../gen/layeron/job/v1/worker_service_pb.js";
import { WorkerService } from "../gen/layeron/job/v1/worker_service_pb.js";
import type { Connection, Servers } from "../servers.js";
import { errorOf } from "../servers.js";
import { within } from "./backoff.js";
import type { HelloInit } from "./pending.js";
import type { Welcome } from "./incoming.js";

type WorkRequest = MessageInitShape<typeof WorkRequestSchema>;
type WorkResponse = MessageShape<typeof WorkResponseSchema>;

const WELCOME_MS = 10_000;
const REFUSALS: ReadonlySet<string> = new Set([
  "INVALID_ARGUMENT",
  "UNAUTHENTICATED",
  "PERMISSION_DENIED",
  "FAILED_PRECONDITION",
  "UNIMPLEMENTED",
]);

/** The stream is gone. `cause` is the error the server ended it with, if there is one. */
export class StreamBroken extends Error {
  override readonly name = "StreamBroken";

  constructor(
    message: string,
    override readonly cause?: AnyJobError,
  ) {
    super(message);
  }

  /** The server says that it is the worker that is wrong. */
  get isRefusal(): boolean {
    return REFUSALS.has(this.cause?.code ?? "");
  }
}

/** A stream on a connection of its own, so that a new one really dials anew. */
export class Stream {
  readonly address: string;
  /** Resolves once nothing more is read. */
  readonly ended: Promise<void>;
  readonly #connection: Connection;
  readonly #abort = new AbortController();
  readonly #queue: WorkRequest[] = [];
  readonly #answers: Promise<AsyncIterator<WorkResponse>>;
  #source: () => WorkRequest | undefined = () => undefined;
  #wake: (() => void) | undefined;
  #resolveEnded: () => void = () => undefined;
  #closed = false;

  constructor(servers: Servers, address: string) {
    this.address = address;
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
    this.#connection = servers.connect(address);
    const { transport } = this.#connection;
    const { signal } = this.#abort;
    const call = transport.stream(WorkerService.method.work, signal, undefined, servers.header, this.#requests());
    this.#answers = call.then((answer) => answer.message[Symbol.asyncIterator]());
    this.#answers.catch(() => undefined); // whoever reads is told
  }

  /** Send these first. */
  send(request: WorkRequest): void {
    this.#queue.push(request);
    this.wake();
  }

  /** From now on, send what this gives, whenever `wake` is called, until it gives undefined. */
  sendFrom(source: () => WorkRequest | undefined): void {
    this.#source = source;
    this.wake();
  }

  /** There may be something to send. */
  wake(): void {
    this.#wake?.();
    this.#wake = undefined;
  }

  /** The next message; undefined when the server ended the stream. */
  async read(): Promise<WorkResponse | undefined> {
    try {
      const next = await (await this.#answers).next();
      return next.done === true ? undefined : next.value;
    } catch (error) {
      const told = errorOf(error, this.address);
      throw new StreamBroken(told.message, told);
    }
  }

  /** End the stream; a read under way then ends too. */
  cancel(): void {
    this.#closed = true;
    this.#abort.abort();
    this.wake();
  }

  /** End the stream and the connection. */
  close(): void {
    this.cancel();
    this.#connection.close();
    this.#resolveEnded();
  }

  async *#requests(): AsyncGenerator<WorkRequest, void, undefined> {
    while (!this.#closed) {
      const request = this.#queue.shift() ?? this.#source();
      if (request === undefined) {
        await this.#woken();
        continue;
      }
      yield request;
      if (request.goodbye !== undefined) {
        return;
      }
    }
  }

  /** Wait for `wake`, and then for the end of this turn of the event loop: what it still adds goes along. */
  #woken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => setImmediate(resolve);
    });
  }
}

/** Say hello on a fresh stream. Throws StreamBroken without a welcome within 10 s. */
export async function greet(stream: Stream, hellos: readonly HelloInit[]): Promise<Welcome> {
  for (const hello of hellos) {
    stream.send({ hello });
  }
  const response = await within(stream.read(), WELCOME_MS);
  if (response?.welcome === undefined) {
    throw new StreamBroken("the server did not say welcome in time");
  }
  return response.welcome;
}
