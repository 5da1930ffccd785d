/** What waits to be sent to the server: a list for each kind, made into messages of at most 1 MiB. */

import type { MessageInitShape } from "@bufbuild/protobuf";

import type { FinishSchema, WorkRequestSchema } from "../gen/layeron/job/v1/worker_service_pb.js";
import type { Attempt } from "./attempt.js";
import { MESSAGE_BYTES_MAX } from "./limits.js";
import { sizeOf } from "./outcome.js";
import { Queue } from "./slots.js";

type WorkRequest = MessageInitShape<typeof WorkRequestSchema>;
type FinishInit = MessageInitShape<typeof FinishSchema>;

const START_BYTES = 64;
const NOTE_MS = 1000;

/** A start that waits to be sent. */
export interface Start {
  readonly startId: number;
  readonly runId: string;
}

/** One message under construction. */
interface Parcel {
  readonly starts: { startId: bigint; runId: string }[];
  readonly begun: { runId: string; attempt: number; runningMs: bigint }[];
  readonly finishes: FinishInit[];
  readonly notes: { runId: string; attempt: number; progressJson: Uint8Array; logTail: string }[];
  room: number;
}

/** The lanes of one session. Nothing here outlives a reconnect: `restart` says what is to be sent again. */
export class Outgoing {
  readonly #ready: () => void;
  #starts = new Queue<Start>();
  #finishes = new Queue<Attempt>();
  #begun = new Queue<Attempt>();
  readonly #notes = new Set<Attempt>();
  #notesDue = false;
  #goodbye = false;
  #heartbeatNumber = 0;
  #heartbeatWaits = false;
  #heartbeatAt = -Infinity;
  readonly #sentAt = new Map<number, number>();
  #noteTimer: NodeJS.Timeout | undefined;

  /** @param ready called when something was added */
  constructor(ready: () => void) {
    this.#ready = ready;
  }

  start(start: Start): void {
    this.#starts.push(start);
    this.#ready();
  }

  /** Add the report of an attempt that has its outcome. */
  finish(attempt: Attempt): void {
    this.#finishes.push(attempt);
    this.#ready();
  }

  /** Add a heartbeat, and with it the attempts that have begun and still run. */
  heartbeat(nowMs: number, begun: readonly Attempt[]): void {
    for (const attempt of begun) {
      this.#begun.push(attempt);
    }
    this.#heartbeatNumber += 1;
    this.#heartbeatAt = nowMs;
    this.#heartbeatWaits = true;
    this.#ready();
  }

  heartbeatDue(nowMs: number, intervalMs: number): boolean {
    return nowMs - this.#heartbeatAt >= intervalMs;
  }

  /** When the answered heartbeat was sent. It and the older ones are then forgotten. */
  heartbeatSentAt(number: number): number | undefined {
    const sentAt = this.#sentAt.get(number);
    for (const older of this.#sentAt.keys()) {
      if (older <= number) this.#sentAt.delete(older);
    }
    return sentAt;
  }

  /** Add an attempt's progress and log lines; they wait until its last note is a second old. */
  note(attempt: Attempt): void {
    this.#notes.add(attempt);
    this.#noteTimer ??= setTimeout(
      () => {
        this.#lookAtNotes();
      },
      Math.max(0, attempt.notedAt + NOTE_MS - performance.now()),
    );
  }

  /** Add the last message. */
  goodbye(): void {
    this.#goodbye = true;
    this.#ready();
  }

  /** A new stream, or a new session: send exactly this. */
  restart(starts: Iterable<Start>, finishes: Iterable<Attempt>): void {
    this.#starts = new Queue();
    this.#finishes = new Queue();
    this.#begun = new Queue();
    for (const start of starts) this.#starts.push(start);
    for (const attempt of finishes) this.#finishes.push(attempt);
    this.#sentAt.clear();
    this.#heartbeatWaits = false;
    this.#ready();
  }

  /** Nothing is sent any more. */
  close(): void {
    clearTimeout(this.#noteTimer);
  }

  /** The next message of what waits, with or without the starts; undefined if nothing does. Goodbye comes last, alone. */
  next({ starts: withStarts }: { starts: boolean }): WorkRequest | undefined {
    const parcel: Parcel = { starts: [], begun: [], finishes: [], notes: [], room: MESSAGE_BYTES_MAX };
    const heartbeat = this.#takeHeartbeat();
    if (withStarts) this.#takeStarts(parcel);
    this.#takeBegun(parcel);
    this.#takeFinishes(parcel);
    this.#takeNotes(parcel);
    if (heartbeat !== undefined || parcel.room < MESSAGE_BYTES_MAX) {
      const { starts, begun, finishes, notes } = parcel;
      return { starts, begun, finishes, notes, ...(heartbeat !== undefined && { heartbeat }) };
    }
    if (this.#goodbye) {
      this.#goodbye = false;
      return { goodbye: {} };
    }
    return undefined;
  }

  #takeHeartbeat(): { number: bigint } | undefined {
    if (!this.#heartbeatWaits) {
      return undefined;
    }
    this.#heartbeatWaits = false;
    this.#sentAt.set(this.#heartbeatNumber, performance.now());
    return { number: BigInt(this.#heartbeatNumber) };
  }

  #takeStarts(parcel: Parcel): void {
    while (parcel.room > 0) {
      const start = this.#starts.shift();
      if (start === undefined) {
        return;
      }
      parcel.starts.push({ startId: BigInt(start.startId), runId: start.runId });
      parcel.room -= START_BYTES;
    }
  }

  #takeBegun(parcel: Parcel): void {
    while (parcel.room > 0) {
      const attempt = this.#begun.shift();
      if (attempt === undefined) {
        return;
      }
      if (attempt.outcome === undefined) {
        attempt.begunSent = true;
        const { runId, attempt: number } = attempt.context;
        parcel.begun.push({ runId, attempt: number, runningMs: BigInt(attempt.ranMs) });
        parcel.room -= START_BYTES;
      }
    }
  }

  #takeFinishes(parcel: Parcel): void {
    for (let attempt = this.#finishes.first; attempt !== undefined && parcel.room > 0; attempt = this.#finishes.first) {
      const { outcome } = attempt;
      if (outcome !== undefined && !attempt.abandoned) {
        const logTail = attempt.context.logTail();
        const size = sizeOf(outcome) + 3 * logTail.length;
        // What is larger than a message goes alone.
        if (size > parcel.room && parcel.room < MESSAGE_BYTES_MAX) {
          return;
        }
        parcel.finishes.push(finishOf(attempt, logTail));
        parcel.room -= size;
      }
      this.#finishes.shift();
    }
  }

  #takeNotes(parcel: Parcel): void {
    if (!this.#notesDue) {
      return;
    }
    const now = performance.now();
    for (const attempt of this.#notes) {
      if (parcel.room <= 0) {
        return;
      }
      const isOver = attempt.outcome !== undefined || attempt.abandoned;
      if (!isOver && attempt.notedAt + NOTE_MS > now) {
        continue;
      }
      this.#notes.delete(attempt);
      if (!isOver) {
        this.#addNote(parcel, attempt, now);
      }
    }
    this.#notesDue = false;
  }

  #addNote(parcel: Parcel, attempt: Attempt, now: number): void {
    const { runId, attempt: number, progressJson: newest } = attempt.context;
    const progressJson = newest === attempt.notedProgress ? new Uint8Array() : newest;
    const logTail = attempt.context.logTail();
    attempt.notedAt = now;
    attempt.notedProgress = newest;
    parcel.notes.push({ runId, attempt: number, progressJson, logTail });
    parcel.room -= progressJson.length + 3 * logTail.length + START_BYTES;
  }

  #lookAtNotes(): void {
    this.#noteTimer = undefined;
    if (this.#notes.size > 0) {
      this.#notesDue = true;
      this.#ready();
      // Those whose last note is not a second old yet are looked at again.
      this.#noteTimer = setTimeout(() => {
        this.#lookAtNotes();
      }, NOTE_MS / 4);
    }
  }
}

function finishOf(attempt: Attempt, logTail: string): FinishInit {
  const { outcome, startId, ranMs } = attempt;
  const { runId, attempt: number } = attempt.context;
  return {
    startId: BigInt(startId),
    runId,
    attempt: number,
    ranMs: BigInt(ranMs),
    outcome: outcomeOf(outcome),
    logTail,
  };
}

function outcomeOf(outcome: Attempt["outcome"]): NonNullable<FinishInit["outcome"]> {
  if (outcome === undefined) {
    return { case: undefined };
  }
  if (outcome.kind === "succeeded") {
    return { case: "resultJson", value: outcome.resultJson };
  }
  const { retryAfterMs, ...failure } = outcome.failure;
  const value = retryAfterMs === undefined ? failure : { ...failure, retryAfterMs: BigInt(retryAfterMs) };
  return { case: outcome.kind === "failed" ? "failure" : outcome.kind, value };
}
