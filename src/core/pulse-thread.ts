import { workerData } from 'node:worker_threads';
import { PULSE_CELLS, type PulseData, threadTime } from './pulse.ts';
import { createClock } from './runtime/clock.ts';

/** After a renewal that failed, ms. */
const AGAIN_MS = 500;

/** What the thread was given. @param D how to reach the store */
export function pulseData<D>(): PulseData & { readonly connection: D } {
  return workerData as PulseData & { readonly connection: D };
}

/**
 * Renews a lease again and again, from a thread of its own: handlers that block the event loop don't lose it. A loop that doesn't come
 * round for `stuckMs` is given up: then the lease runs out, and others take what this process holds.
 *
 * @param renew false: the session is over
 */
export function renewFromThread(renew: () => Promise<boolean>): void {
  const { everyMs, stuckMs, shared } = pulseData();
  const cells = new BigInt64Array(shared);
  const clock = createClock();
  let turns = -1n;
  let turnedAt = threadTime();
  const isStuck = (): boolean => {
    const now = Atomics.load(cells, PULSE_CELLS.turns);
    if (now !== turns) turnedAt = threadTime();
    turns = now;
    return threadTime() - turnedAt > BigInt(Math.ceil(stuckMs));
  };
  const beat = async (): Promise<void> => {
    if (isStuck()) return again(everyMs);
    const sentAt = threadTime();
    try {
      if (!(await renew())) return;
      Atomics.store(cells, PULSE_CELLS.sentAt, sentAt);
      again(everyMs);
    } catch {
      again(Math.min(everyMs, AGAIN_MS));
    }
  };
  const again = (ms: number): void => void clock.after(ms, () => void beat(), true);
  void beat();
}
