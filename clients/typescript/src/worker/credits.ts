/** How a worker's credits are shared over its consumers: high priority first, none starved. Pure arithmetic. */

const WEIGHTS: Readonly<Partial<Record<string, number>>> = { high: 16, normal: 4, low: 1 };
const ORDER: Readonly<Partial<Record<string, number>>> = { high: 0, normal: 1, low: 2 };

/** One consumer's claim. */
export class Share {
  readonly weight: number;
  readonly order: number;
  /** How many messages it was last known to have beyond those delivered; 0: none known. */
  backlog = 0;
  /** How many messages the pull under way may still bring; 0: no pull. */
  outstanding = 0;
  /** The pull under way is a doorbell: it may bring one message, which is not counted against the credits. */
  listening = false;
  /** What its weight has earned it beyond what it had; more than -1. */
  owed = 0;

  constructor(priority: string) {
    this.weight = WEIGHTS[priority] ?? 4;
    this.order = ORDER[priority] ?? 1;
  }

  /** How many credits its pull holds. */
  get reserved(): number {
    return this.listening ? 0 : this.outstanding;
  }

  /** Its pull is over. */
  close(): void {
    this.outstanding = 0;
    this.listening = false;
  }
}

/**
 * The pulls to make now, with `free` credits and the reserved ones already taken off.
 *
 * Consumers with a known backlog get credits by weight; what some have no use for goes to the others in order of
 * priority. Each of the rest gets a doorbell of one message even if nothing is left, so that a worker with one slot and
 * three consumers hears all of them; that is the only way to hold more than there are credits for. A longer one would
 * keep credits from the others for as long as it is quiet.
 */
export function shareOut<S extends Share>(free: number, shares: readonly S[]): [S, number][] {
  if (free <= 0) {
    return [];
  }
  const idle = shares.filter((share) => share.outstanding === 0).sort((a, b) => a.order - b.order);
  const busy = idle.filter((share) => share.backlog > 0);
  const listeners = idle.filter((share) => share.backlog === 0);
  const pulls = byWeight(free, busy);
  let left = free - [...pulls.values()].reduce((sum, count) => sum + count, 0);
  // What others have no use for is a gift: were it a debt, it would grow for ever.
  for (const share of busy) {
    const pulled = pulls.get(share) ?? 0;
    share.owed -= pulled;
    const gift = Math.min(share.backlog - pulled, left);
    pulls.set(share, pulled + gift);
    left -= gift;
  }
  for (const share of listeners) {
    pulls.set(share, 1);
  }
  return [...pulls].filter(([, count]) => count > 0);
}

/** The credits of consumers with a backlog, by what their weights have earned them. */
function byWeight<S extends Share>(free: number, busy: readonly S[]): Map<S, number> {
  const pulls = new Map<S, number>();
  const total = busy.reduce((sum, share) => sum + share.weight, 0);
  let left = free;
  for (const share of busy) {
    share.owed = Math.min(share.owed + (free * share.weight) / total, share.backlog);
    const count = Math.min(Math.max(0, Math.floor(share.owed)), left); // owed may be less than nothing
    pulls.set(share, count);
    left -= count;
  }
  // Parts of credits make whole ones: one each, to those that most is owed.
  const due = (share: S) => share.owed - (pulls.get(share) ?? 0);
  for (const share of [...busy].sort((a, b) => due(b) - due(a))) {
    if (left > 0 && due(share) > 0) {
      pulls.set(share, (pulls.get(share) ?? 0) + 1);
      left -= 1;
    }
  }
  return pulls;
}
