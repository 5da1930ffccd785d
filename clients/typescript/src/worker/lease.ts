/** The worker's side of the lease: until when its attempts are its own, by its own monotonic clock in milliseconds. */

import type { Welcome } from "./incoming.js";

/** The lease ends for us before it ends for the server, so that a run's next owner does not meet our handler. */
const SHARE = 0.8;

/** Runs from when the last answered heartbeat was sent. There is none before the first server's welcome. */
export class Lease {
  heartbeatMs = 5_000;
  /** How long it lasts for us. */
  milliseconds = 0;
  #until = Infinity;

  /** A server has welcomed us, who said hello at that time. */
  begin(welcome: Welcome, helloAt: number): void {
    this.heartbeatMs = Number(welcome.heartbeatIntervalMs);
    this.milliseconds = Number(welcome.leaseMs) * SHARE;
    this.#until = helloAt + this.milliseconds;
  }

  /** A heartbeat that was sent at that time has its answer. */
  renew(sentAt: number): void {
    this.#until = Math.max(this.#until, sentAt + this.milliseconds);
  }

  /** Whether the server may give our runs away soon. */
  isOver(now: number): boolean {
    return now > this.#until;
  }

  /** There is none until the next welcome. */
  drop(): void {
    this.#until = Infinity;
  }
}
