/**
 * Takes deliveries from JetStream: pulls what the credits allow, acks what was answered.
 *
 * Losing an ack or a pull is harmless: the delivery comes again and its start is answered again.
 */

import type { Msg, NatsConnection } from "@nats-io/transport-node";
import { connect, createInbox } from "@nats-io/transport-node";

import type { Logger } from "../log.js";
import { within } from "./backoff.js";
import { Consumer } from "./consumer.js";
import { shareOut } from "./credits.js";
import type { Welcome } from "./incoming.js";

const RETRY_MS = 1_000;
/** Small pulls wait this long for more credits, or for a quarter of all of them. */
const GATHER_MS = 4;
const NAK_MS = { least: 1_000, most: 5_000 };
const TICK_MS = 500;
const DRAIN_MS = 2_000;
const HEARTBEAT_STATUS = 100;
const ACK = Buffer.from("+ACK");
const PULL_IS_OVER: readonly number[] = [404, 408];

/** The worker's NATS connection. */
export class Deliveries {
  readonly #onDelivery: (runId: string, reply: string) => void;
  readonly #freeCredits: () => number;
  readonly #enough: number;
  readonly #logger: Logger;
  #welcome: Welcome | undefined;
  #connection: NatsConnection | undefined;
  #isConnected = false;
  #consumers: Consumer[] = [];
  #wanted = false;
  #stopped = false;
  #changing: Promise<void> = Promise.resolve();
  #gathering: NodeJS.Timeout | undefined;
  #pullDue = false;
  #ticker: NodeJS.Timeout | undefined;

  /**
   * @param onDelivery called for each message with the run's id and where to ack it
   * @param freeCredits how many more runs may be asked for
   * @param capacity how many there are when nothing runs
   */
  constructor(
    onDelivery: (runId: string, reply: string) => void,
    freeCredits: () => number,
    capacity: number,
    logger: Logger,
  ) {
    this.#onDelivery = onDelivery;
    this.#freeCredits = freeCredits;
    this.#enough = Math.max(1, Math.floor(capacity / 4));
    this.#logger = logger;
  }

  /** A server is connected: pull, from what its welcome names. */
  resume(welcome: Welcome): void {
    const before = this.#welcome;
    this.#welcome = welcome;
    this.#wanted = !this.#stopped;
    this.#ticker ??= setInterval(() => {
      this.#tick();
    }, TICK_MS);
    if (before === undefined || placeOf(before) !== placeOf(welcome)) {
      this.#connectTo(welcome);
    }
    this.moreCredits();
  }

  /** No server is connected: pull nothing until `resume`. What still arrives goes to `onDelivery`. */
  pause(): void {
    this.#wanted = false;
  }

  /** This delivery is dealt with. */
  ack(reply: string): void {
    this.#publish(reply, ACK);
  }

  /** This delivery had no answer: let it come again, here or elsewhere; at once if we are leaving. */
  nak(reply: string): void {
    const delayMs = NAK_MS.least + Math.random() * (NAK_MS.most - NAK_MS.least);
    this.#publish(reply, this.#stopped ? "-NAK" : `-NAK {"delay": ${Math.round(delayMs * 1e6)}}`);
  }

  /** Credits may have become free: pull when it is worth it. */
  moreCredits(): void {
    if (!this.#wanted || this.#pullDue) {
      return;
    }
    if (this.#free() >= this.#enough) {
      clearTimeout(this.#gathering);
      this.#gathering = undefined;
      // After this turn of the event loop, which may free some more.
      this.#pullDue = true;
      setImmediate(() => {
        this.#pull();
      });
    } else {
      this.#gathering ??= setTimeout(() => {
        this.#gathering = undefined;
        this.#pull();
      }, GATHER_MS);
    }
  }

  /** Take nothing more. What JetStream has sent meanwhile still goes to `onDelivery`; acks still leave. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wanted = false;
    clearInterval(this.#ticker);
    clearTimeout(this.#gathering);
    const drained = this.#consumers.map(async (consumer) => consumer.subscription?.drain());
    await within(Promise.allSettled(drained), DRAIN_MS);
  }

  /** Send what waits and close the connection. */
  async close(): Promise<void> {
    this.#stopped = true;
    this.#wanted = false;
    clearInterval(this.#ticker);
    clearTimeout(this.#gathering);
    await this.#changing;
    await this.#disconnect();
  }

  #free(): number {
    return this.#freeCredits() - this.#consumers.reduce((sum, consumer) => sum + consumer.reserved, 0);
  }

  #publish(subject: string, body: string | Uint8Array, reply?: string): void {
    // What waits for a connection is of no use to the next one: an ack that is lost means that the delivery comes again.
    if (this.#isConnected && this.#connection !== undefined) {
      this.#connection.publish(subject, body, reply === undefined ? undefined : { reply });
    }
  }

  #pull(): void {
    this.#pullDue = false;
    if (!this.#wanted || !this.#isConnected) {
      return;
    }
    const now = performance.now();
    const able = this.#consumers.filter((consumer) => consumer.notBefore <= now);
    for (const consumer of able) {
      consumer.lookAtBacklog();
    }
    for (const [consumer, count] of shareOut(this.#free(), able)) {
      this.#publish(consumer.subject, consumer.request(count, now), consumer.inbox);
    }
  }

  /** Renew pulls that were lost. */
  #tick(): void {
    const now = performance.now();
    for (const consumer of this.#consumers) {
      if (consumer.outstanding > 0 && now > consumer.deadline) {
        consumer.close();
      }
    }
    this.moreCredits();
  }

  /** A delivery of the pull under way, or its end. */
  #onMessage(consumer: Consumer, message: Msg): void {
    if (message.reply === undefined || message.reply === "") {
      this.#onStatus(consumer, message.headers?.code ?? 0, message.headers?.description ?? "");
      return;
    }
    consumer.took(message.reply);
    this.#onDelivery(message.subject.slice(message.subject.lastIndexOf(".") + 1), message.reply);
    if (consumer.outstanding === 0) {
      this.moreCredits();
    }
  }

  #onStatus(consumer: Consumer, status: number, description: string): void {
    if (status === HEARTBEAT_STATUS) {
      return;
    }
    consumer.close();
    if (PULL_IS_OVER.includes(status)) {
      this.moreCredits();
    } else {
      consumer.notBefore = performance.now() + RETRY_MS;
      this.#logger.debug("a pull ended", { consumer: consumer.name, status, description });
    }
  }

  /** Be connected to where this welcome says, for as long as it is the newest one. */
  #connectTo(welcome: Welcome): void {
    this.#changing = this.#changing.then(async () => {
      await this.#disconnect();
      while (this.#welcome === welcome && !this.#stopped) {
        try {
          await this.#connect(welcome);
          return;
        } catch (error) {
          this.#logger.warn("cannot connect to NATS", { error: String(error) });
          await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
        }
      }
    });
  }

  async #connect(welcome: Welcome): Promise<void> {
    const { user, password, token } = welcome.natsCredentials ?? { user: "", password: "", token: "" };
    const inboxPrefix = welcome.inboxPrefix;
    const connection = await connect({
      servers: welcome.natsUrls,
      name: `layeron-job-worker ${process.pid}`,
      inboxPrefix,
      maxReconnectAttempts: -1,
      reconnectTimeWait: 1_000,
      timeout: 2_000,
      // A connection that only looks alive is found within 15 s.
      pingInterval: 5_000,
      maxPingOut: 2,
      ...(token !== "" ? { token } : user !== "" ? { user, pass: password } : {}),
    });
    const inbox = createInbox(inboxPrefix);
    this.#connection = connection;
    this.#isConnected = true;
    this.#consumers = welcome.consumers.map((message, number) => {
      const consumer = new Consumer(message, welcome.stream, `${inbox}.${number}`);
      consumer.subscription = connection.subscribe(consumer.inbox, {
        callback: (error, received) => {
          if (error === null) this.#onMessage(consumer, received);
        },
      });
      return consumer;
    });
    void this.#follow(connection);
    this.moreCredits();
  }

  /** Know whether it is connected. */
  async #follow(connection: NatsConnection): Promise<void> {
    for await (const status of connection.status()) {
      if (connection !== this.#connection) {
        return;
      }
      if (status.type === "disconnect") {
        this.#isConnected = false;
        this.#logger.warn("lost the connection to NATS", { server: status.server });
      } else if (status.type === "reconnect") {
        this.#isConnected = true;
        this.#logger.info("connected to NATS again", { server: status.server });
        // The pulls of before are gone.
        for (const consumer of this.#consumers) {
          consumer.close();
        }
        this.moreCredits();
      } else if (status.type === "error") {
        this.#logger.warn("NATS", { error: status.error.message });
      }
    }
  }

  async #disconnect(): Promise<void> {
    const connection = this.#connection;
    const wasConnected = this.#isConnected;
    this.#connection = undefined;
    this.#isConnected = false;
    this.#consumers = [];
    if (connection !== undefined) {
      if (wasConnected) {
        await within(
          connection.flush().catch(() => undefined),
          1_000,
        );
      }
      await connection.close();
    }
  }
}

/** What a connection is made from. */
function placeOf({ natsUrls, natsCredentials, stream, consumers }: Welcome): string {
  const { user, password, token } = natsCredentials ?? {};
  return JSON.stringify([natsUrls, user, password, token, stream, consumers.map(({ name }) => name)]);
}
