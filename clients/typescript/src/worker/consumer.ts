/**
 * One durable pull consumer of JetStream, and the pull request under way on it.
 *
 * Pull requests are written by hand on one callback subscription per consumer: many small pulls of many consumers share
 * their credits, which no client library's consumer does. A pull lives for seconds only, so a lost one, or one that a
 * reconnect dropped, is soon made again.
 */

import type { Subscription } from "@nats-io/transport-node";

import type { Consumer as ConsumerMessage } from "../gen/layeron/job/v1/worker_service_pb.js";
import { Share } from "./credits.js";

const PULL_MS = 2_000;
const LISTEN_MS = 5_000;
const GRACE_MS = 1_000;

/** A durable pull consumer and its pull under way. */
export class Consumer extends Share {
  readonly name: string;
  readonly inbox: string;
  readonly subject: string;
  subscription: Subscription | undefined;
  deadline = 0;
  notBefore = 0;
  #lastReply = "";

  constructor(message: ConsumerMessage, stream: string, inbox: string) {
    super(message.priority);
    this.name = message.name;
    this.inbox = inbox;
    this.subject = `$JS.API.CONSUMER.MSG.NEXT.${stream}.${message.name}`;
  }

  /** The pull request for so many messages, which is then under way. */
  request(count: number, now: number): string {
    this.listening = this.backlog === 0;
    const expiresMs = this.listening ? LISTEN_MS : PULL_MS;
    this.outstanding = count;
    this.deadline = now + expiresMs + GRACE_MS;
    return `{"batch":${count},"expires":${expiresMs * 1e6}}`;
  }

  /** One message of the pull under way. */
  took(reply: string): void {
    if (this.outstanding > 0) {
      this.outstanding -= 1;
      this.listening = false;
    }
    this.#lastReply = reply;
  }

  /** What the newest delivery says of the backlog behind it. */
  lookAtBacklog(): void {
    if (this.#lastReply !== "") {
      const parts = this.#lastReply.split(".");
      // The second form of these subjects is longer.
      this.backlog = Number(parts[parts.length === 9 ? 8 : 10]) || 0;
      this.#lastReply = "";
    }
  }
}
