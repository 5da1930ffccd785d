/**
 * What of a worker's session has no final answer: its attempts, and the deliveries whose start waits for an answer.
 *
 * A worker that connects again names exactly this, and the server closes what is not named.
 */

import type { MessageInitShape } from "@bufbuild/protobuf";

import type { HelloSchema } from "../gen/layeron/job/v1/worker_service_pb.js";
import type { Attempt } from "./attempt.js";
import type { Start } from "./outgoing.js";

export type HelloInit = MessageInitShape<typeof HelloSchema>;
/** Who we are, as Hello says it. */
export type Introduction = Omit<
  HelloInit,
  "$typeName" | "$unknown" | "sessionId" | "attempts" | "unansweredStarts" | "last"
>;

const HELLO_ITEMS_MAX = 2_000;

/** A pulled message whose start waits for an answer. `reply` is where it is acked. */
interface Delivery {
  readonly runId: string;
  readonly reply: string;
  handedBack: boolean;
}

/** Attempts from their grant to the answer of their finish, starts until their answer; both by start id. */
export class Pending {
  readonly attempts = new Map<number, Attempt>();
  readonly #starts = new Map<number, Delivery>();

  /** How many starts wait for an answer. */
  get starts(): number {
    return this.#starts.size;
  }

  /** A start that waits for its answer from now on. */
  add(startId: number, runId: string, reply: string): void {
    this.#starts.set(startId, { runId, reply, handedBack: false });
  }

  /** A start has its answer: where to ack its delivery, or undefined if it did not wait. */
  answered(startId: number): string | undefined {
    const delivery = this.#starts.get(startId);
    this.#starts.delete(startId);
    return delivery?.reply;
  }

  /** Hello in as many messages as it takes to name all of it. */
  hellos(introduction: Introduction, sessionId: string): HelloInit[] {
    const attempts = [...this.attempts.values()].map(({ context: { runId, attempt } }) => ({ runId, attempt }));
    const starts = [...this.#starts.keys()].map(BigInt);
    const size = HELLO_ITEMS_MAX;
    const pages = Math.max(1, Math.ceil(attempts.length / size), Math.ceil(starts.length / size));
    return Array.from({ length: pages }, (_, page) => ({
      ...(page === 0 && { ...introduction, sessionId }),
      attempts: attempts.slice(page * size, (page + 1) * size),
      unansweredStarts: starts.slice(page * size, (page + 1) * size),
      last: page === pages - 1,
    }));
  }

  /** Every start, for a stream on which none was sent. */
  unsentStarts(): Start[] {
    return [...this.#starts].map(([startId, { runId }]) => ({ startId, runId }));
  }

  /** The attempts with an outcome, for a stream on which none was sent. */
  unsentFinishes(): Attempt[] {
    return [...this.attempts.values()].filter(({ outcome }) => outcome !== undefined);
  }

  /** The attempts that run and whose begin was not told on this stream. */
  unsentBegins(): Attempt[] {
    return [...this.attempts.values()].filter(
      ({ began, outcome, begunSent }) => began > 0 && outcome === undefined && !begunSent,
    );
  }

  /** Where to NAK the deliveries that wait and were not handed back yet. Their starts stay: they may be granted. */
  *handBack(): Generator<string, void, undefined> {
    for (const delivery of this.#starts.values()) {
      if (!delivery.handedBack) {
        delivery.handedBack = true;
        yield delivery.reply;
      }
    }
  }

  /** The attempts of this run and number. */
  named(runId: string, number: number): Attempt[] {
    const isNamed = ({ context }: Attempt) => context.runId === runId && context.attempt === number;
    return [...this.attempts.values()].filter(isNamed);
  }

  /** An attempt is no longer ours: stop it, report nothing. */
  supersede(runId: string, number: number): void {
    for (const attempt of this.named(runId, number)) {
      attempt.abandon();
      this.attempts.delete(attempt.startId);
    }
  }

  /** Nothing is ours any more. */
  forget(): void {
    for (const attempt of this.attempts.values()) {
      attempt.abandon();
    }
    this.attempts.clear();
    this.#starts.clear();
  }
}
