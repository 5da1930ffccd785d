/** Moves a session to another server while its present stream stays in use until the other one has welcomed it. */

import type { Logger } from "../log.js";
import type { Servers } from "../servers.js";
import { Backoff } from "./backoff.js";
import type { Stream } from "./stream.js";
import { StreamBroken } from "./stream.js";

/** One hand-over at a time. */
export class HandOver {
  readonly #servers: Servers;
  readonly #connect: (address: string) => Promise<Stream>;
  readonly #logger: Logger;
  readonly #signal: AbortSignal;
  #moving: Promise<void> = Promise.resolve();
  #isMoving = false;
  #successor: Stream | undefined;

  /**
   * @param connect opens a stream to an address and makes it the session's own
   * @param signal aborted when there is nothing to move any more
   */
  constructor(servers: Servers, connect: (address: string) => Promise<Stream>, logger: Logger, signal: AbortSignal) {
    this.#servers = servers;
    this.#connect = connect;
    this.#logger = logger;
    this.#signal = signal;
  }

  /** A successor waits for `following`. */
  get isDone(): boolean {
    return this.#successor !== undefined;
  }

  /** Try these addresses in turn, and leave the old stream for the first that welcomes us. */
  begin(old: Stream, addresses: readonly string[]): void {
    if (this.#isMoving || this.isDone || this.#signal.aborted) {
      return;
    }
    this.#isMoving = true;
    this.#moving = this.#tryInTurn(old, addresses).finally(() => {
      this.#isMoving = false;
    });
    this.#moving.catch(() => {
      old.cancel(); // so that the reader goes on, and finds the error
    });
  }

  /** The stream that was made ready, if there is one; waits for a hand-over under way. */
  async following(): Promise<Stream | undefined> {
    await this.#moving;
    const successor = this.#successor;
    this.#successor = undefined;
    return successor;
  }

  async #tryInTurn(old: Stream, addresses: readonly string[]): Promise<void> {
    const backoff = new Backoff();
    for (const address of addresses) {
      if (this.#signal.aborted) {
        return;
      }
      try {
        this.#successor = await this.#connect(address);
        this.#servers.turnTo(address);
        old.cancel();
        return;
      } catch (error) {
        if (!(error instanceof StreamBroken)) {
          throw error;
        }
        this.#logger.info("cannot move", { address, error: error.message });
      }
      // What was held back during the try has its turn on the old stream.
      await backoff.wait(this.#signal);
    }
  }
}
