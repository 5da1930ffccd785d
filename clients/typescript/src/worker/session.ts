/**
 * The worker's session with the servers: one `Work` stream at a time, kept alive and resumed over any of them.
 *
 * Promises: a start keeps its start id until it is answered, over every reconnect; a finish is sent again until it is
 * answered; when no server has answered for most of the lease, every handler is told to stop before the server may give
 * its run away; what the server no longer counts as ours is stopped and not reported.
 */

import { WorkerError } from "../errors.js";
import type { Logger } from "../log.js";
import type { Servers } from "../servers.js";
import type { Attempt } from "./attempt.js";
import { Backoff, within } from "./backoff.js";
import { HandOver } from "./handover.js";
import type { SessionEvents, Welcome } from "./incoming.js";
import { Incoming } from "./incoming.js";
import { Lease } from "./lease.js";
import { Outgoing } from "./outgoing.js";
import type { Introduction } from "./pending.js";
import { Pending } from "./pending.js";
import { greet, Stream, StreamBroken } from "./stream.js";

const STABLE_MS = 5_000;
const TICK_MS_MAX = 500;
/** A delivery whose start has no answer goes back to JetStream once the server has been away for this long. */
const UNANSWERED_MS = 2_000;

/** One worker session. */
export class Session {
  readonly #servers: Servers;
  readonly #introduction: Introduction;
  readonly #events: SessionEvents;
  readonly #logger: Logger;
  readonly #pending = new Pending();
  readonly #lease = new Lease();
  readonly #out = new Outgoing(() => this.#stream?.wake());
  readonly #leaving = new AbortController();
  readonly #handOver: HandOver;
  readonly #incoming: Incoming;
  #sessionId = "";
  #lastStartId = 0;
  #stream: Stream | undefined;
  #connecting: Stream | undefined;
  #ticker: NodeJS.Timeout | undefined;
  #awaySince = Infinity;

  constructor(servers: Servers, introduction: Introduction, events: SessionEvents, logger: Logger) {
    this.#servers = servers;
    this.#introduction = introduction;
    this.#events = events;
    this.#logger = logger;
    this.#handOver = new HandOver(servers, (address) => this.#connect(address), logger, this.#leaving.signal);
    this.#incoming = new Incoming({
      pending: this.#pending,
      outgoing: this.#out,
      lease: this.#lease,
      handOver: this.#handOver,
      servers,
      events,
      logger,
    });
  }

  /** A server has welcomed us on the stream in use. */
  get isConnected(): boolean {
    return this.#stream !== undefined;
  }

  /** Nothing waits for a server's answer and no handler runs. */
  get isSettled(): boolean {
    return this.#pending.attempts.size === 0 && this.#pending.starts === 0;
  }

  /** How many starts wait for an answer. */
  get unanswered(): number {
    return this.#pending.starts;
  }

  /** Ask for the right to run what a delivery named; without a server the delivery is handed back. */
  start(runId: string, reply: string): void {
    if (this.#stream === undefined) {
      this.#events.unanswered(reply);
      return;
    }
    this.#lastStartId += 1;
    this.#pending.add(this.#lastStartId, runId, reply);
    this.#out.start({ startId: this.#lastStartId, runId });
  }

  /** Report an attempt; repeated after a reconnect until it is answered. */
  finish(attempt: Attempt): void {
    if (this.#pending.attempts.get(attempt.startId) === attempt) {
      this.#out.finish(attempt);
    }
  }

  /** Send an attempt's newest progress and log lines soon, at most once a second. */
  note(attempt: Attempt): void {
    this.#out.note(attempt);
  }

  /** Stay connected until `leave`. Throws WorkerError when the very first server refuses this worker. */
  async run(): Promise<void> {
    const backoff = new Backoff();
    const { signal } = this.#leaving;
    this.#keepLease();
    try {
      while (!signal.aborted) {
        await this.#beConnected(backoff);
        await backoff.wait(signal);
      }
    } finally {
      this.#leaving.abort();
      clearTimeout(this.#ticker);
      this.#out.close();
    }
  }

  /** Say goodbye and close; the session then ends on the server. Waits at most so long. */
  async leave(limitMs: number): Promise<void> {
    this.#leaving.abort();
    this.#connecting?.close();
    const stream = this.#stream;
    if (stream === undefined) {
      return;
    }
    this.#out.goodbye();
    await within(stream.ended, limitMs);
    stream.cancel();
  }

  /** Connect to the server in turn, and stay so, over every hand-over, until a stream ends without another. */
  async #beConnected(backoff: Backoff): Promise<void> {
    const address = this.#servers.current;
    let stream: Stream | undefined;
    try {
      stream = await this.#connect(address);
    } catch (error) {
      this.#refused(error, address);
      return;
    }
    const connectedAt = performance.now();
    while (stream !== undefined) {
      await this.#read(stream);
      stream = await this.#handOver.following();
    }
    if (performance.now() - connectedAt > STABLE_MS) {
      backoff.reset();
    }
  }

  /** A server did not welcome us: turn to the next one, unless it is us who is wrong. */
  #refused(error: unknown, address: string): void {
    if (!(error instanceof StreamBroken)) {
      throw error;
    }
    if (this.#sessionId === "" && error.isRefusal) {
      throw new WorkerError(`the server refused this worker: ${error.message}`, { cause: error.cause });
    }
    this.#logger.warn("cannot connect", { address, error: error.message });
    this.#servers.leave(address);
  }

  /** Open a stream to a server, say hello and take its welcome. */
  async #connect(address: string): Promise<Stream> {
    const helloAt = performance.now();
    const stream = new Stream(this.#servers, address);
    // Until there is an answer no start leaves on a stream still in use: its server would grant what this Hello does not
    // name, and the new server would take that for given up.
    this.#connecting = stream;
    try {
      const welcome = await greet(stream, this.#pending.hellos(this.#introduction, this.#sessionId));
      if (this.#leaving.signal.aborted) {
        throw new StreamBroken("the worker leaves");
      }
      this.#adopt(stream, welcome, helloAt);
      return stream;
    } catch (error) {
      stream.close();
      throw error;
    } finally {
      this.#connecting = undefined;
      this.#stream?.wake();
    }
  }

  /** The stream is ours: drop what the server no longer counts as ours, send again what it has not answered. */
  #adopt(stream: Stream, welcome: Welcome, helloAt: number): void {
    const { sessionId: session, epoch, resumed, superseded } = welcome;
    if (!resumed) {
      if (this.#sessionId !== "") {
        this.#logger.warn("the session has ended; its attempts are canceled", { session: this.#sessionId });
        this.#handBackUnanswered();
        this.#pending.forget();
      }
      this.#lastStartId = 0;
    }
    for (const { runId, attempt } of superseded) {
      this.#pending.supersede(runId, attempt);
    }
    this.#sessionId = session;
    this.#lease.begin(welcome, helloAt);
    this.#keepLease();
    this.#awaySince = Infinity;
    this.#stream = stream;
    for (const attempt of this.#pending.attempts.values()) {
      attempt.begunSent = false;
    }
    this.#out.restart(this.#pending.unsentStarts(), this.#pending.unsentFinishes());
    this.#out.heartbeat(performance.now(), this.#pending.unsentBegins());
    stream.sendFrom(() => {
      const starts = this.#connecting === undefined;
      return stream === this.#stream ? this.#out.next({ starts }) : undefined;
    });
    this.#events.connected(welcome);
    this.#logger.info("connected", { address: stream.address, session, epoch: epoch.toString() });
  }

  /** Take what the server sends until the stream ends. */
  async #read(stream: Stream): Promise<void> {
    const { address } = stream;
    try {
      for (let response = await stream.read(); response !== undefined; response = await stream.read()) {
        // What comes on a stream we have left is said again on the one in use.
        if (stream === this.#stream) {
          this.#incoming.take(stream, response);
        }
      }
      this.#logger.info("the server ended the stream", { address });
    } catch (error) {
      if (!(error instanceof StreamBroken)) {
        throw error;
      }
      if (!this.#handOver.isDone && !this.#leaving.signal.aborted) {
        this.#logger.warn("lost the stream", { address, error: error.message });
      }
    } finally {
      if (this.#stream === stream) {
        this.#loseStream();
      }
      stream.close();
    }
  }

  #loseStream(): void {
    this.#stream = undefined;
    this.#awaySince = performance.now();
    this.#events.disconnected();
  }

  /** Send heartbeats, and stop every handler when the lease may be lost. */
  #keepLease(): void {
    clearTimeout(this.#ticker);
    const everyMs = Math.min(TICK_MS_MAX, this.#lease.heartbeatMs / 4);
    this.#ticker = setTimeout(() => {
      this.#look(performance.now());
      this.#keepLease();
    }, everyMs);
  }

  #look(now: number): void {
    if (this.#lease.isOver(now)) {
      this.#lapse();
    } else if (this.#stream !== undefined && this.#out.heartbeatDue(now, this.#lease.heartbeatMs)) {
      this.#out.heartbeat(now, this.#pending.unsentBegins());
    }
    if (this.#stream === undefined && now - this.#awaySince > UNANSWERED_MS) {
      this.#handBackUnanswered();
    }
  }

  /**
   * No answer for most of the lease: the server may give our runs away, so none of our handlers may go on. The attempts
   * stay ours until a server says otherwise: what has ended, and what was stopped, is still reported.
   */
  #lapse(): void {
    const attempts = [...this.#pending.attempts.values()];
    const handlers = attempts.filter(({ ended }) => !ended).length;
    this.#logger.warn("no server has answered for most of the lease; its handlers are stopped", { handlers });
    this.#lease.drop();
    const stream = this.#stream;
    if (stream !== undefined) {
      this.#loseStream();
      stream.cancel();
    }
    for (const attempt of attempts) {
      attempt.lapse();
    }
  }

  #handBackUnanswered(): void {
    for (const reply of this.#pending.handBack()) {
      this.#events.unanswered(reply);
    }
  }
}
