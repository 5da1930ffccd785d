/** What the server sends on the stream in use: answers, cancel orders, and the wish that we go elsewhere. */

import type { MessageShape } from "@bufbuild/protobuf";

import type {
  GrantSchema,
  HeartbeatAnswer,
  StartAnswer,
  WelcomeSchema,
  WorkResponseSchema,
} from "../gen/layeron/job/v1/worker_service_pb.js";
import { FinishVerdict, HeartbeatVerdict } from "../gen/layeron/job/v1/worker_service_pb.js";
import type { Logger } from "../log.js";
import type { Servers } from "../servers.js";
import type { Attempt } from "./attempt.js";
import type { HandOver } from "./handover.js";
import type { Lease } from "./lease.js";
import type { Outgoing } from "./outgoing.js";
import type { Pending } from "./pending.js";
import type { Stream } from "./stream.js";

export type Welcome = MessageShape<typeof WelcomeSchema>;
export type Grant = MessageShape<typeof GrantSchema>;

const AWAY_ANSWERS_BEFORE_OTHERS = 3;

/** What the session tells its worker. */
export interface SessionEvents {
  /** A server has welcomed us; starts may be sent. */
  connected(welcome: Welcome): void;
  /** No server is connected; nothing more is to be pulled. */
  disconnected(): void;
  /** An attempt is ours: make it and see that it begins. */
  granted(startId: number, grant: Grant): Attempt;
  /** A delivery's start was answered: ack it. */
  settled(reply: string): void;
  /** A delivery's start has no answer: NAK it. */
  unanswered(reply: string): void;
}

/** The parts of a session that answers are for. */
interface Parts {
  readonly pending: Pending;
  readonly outgoing: Outgoing;
  readonly lease: Lease;
  readonly handOver: HandOver;
  readonly servers: Servers;
  readonly events: SessionEvents;
  readonly logger: Logger;
}

/** Takes what comes. */
export class Incoming {
  readonly #parts: Parts;
  #awayAnswers = 0;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Take one message. */
  take(stream: Stream, response: MessageShape<typeof WorkResponseSchema>): void {
    const { pending, handOver, servers, logger } = this.#parts;
    for (const answer of response.startAnswers) {
      this.#takeStartAnswer(answer);
    }
    for (const { startId, verdict } of response.finishAnswers) {
      const attempt = pending.attempts.get(Number(startId));
      pending.attempts.delete(Number(startId));
      if (verdict === FinishVerdict.SUPERSEDED && attempt !== undefined) {
        logger.debug("an attempt was superseded", { runId: attempt.context.runId });
      }
    }
    for (const { runId, attempt } of response.cancelOrders) {
      for (const named of pending.named(runId, attempt)) {
        named.cancel();
      }
    }
    if (response.heartbeatAnswer !== undefined) {
      this.#takeHeartbeatAnswer(stream, response.heartbeatAnswer);
    }
    if (response.drain !== undefined) {
      logger.info("the server shuts down; looking for another one");
      handOver.begin(stream, [...servers.others, servers.current]);
    }
  }

  #takeStartAnswer({ startId: id, answer }: StartAnswer): void {
    const { pending, outgoing, events } = this.#parts;
    const startId = Number(id);
    const reply = pending.answered(startId);
    if (reply === undefined) {
      return;
    }
    events.settled(reply);
    if (answer.case === "grant") {
      const attempt = events.granted(startId, answer.value);
      pending.attempts.set(startId, attempt);
      if (attempt.outcome !== undefined) {
        outgoing.finish(attempt);
      }
    }
  }

  #takeHeartbeatAnswer(stream: Stream, { number, verdict }: HeartbeatAnswer): void {
    const { outgoing, lease, handOver, servers, logger } = this.#parts;
    const sentAt = outgoing.heartbeatSentAt(Number(number));
    if (verdict === HeartbeatVerdict.SESSION_ENDED) {
      logger.info("the session has ended on this server, or goes on on another one", { address: stream.address });
      stream.cancel();
      return;
    }
    if (sentAt !== undefined) {
      // Also when the database is away: the server then lengthens every lease once it is back.
      lease.renew(sentAt);
    }
    if (verdict !== HeartbeatVerdict.DATABASE_AWAY) {
      this.#awayAnswers = 0;
      return;
    }
    this.#awayAnswers += 1;
    if (this.#awayAnswers >= AWAY_ANSWERS_BEFORE_OTHERS && servers.others.length > 0) {
      this.#awayAnswers = 0;
      handOver.begin(stream, servers.others);
    }
  }
}
