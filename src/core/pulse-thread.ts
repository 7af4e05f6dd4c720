import { workerData } from 'node:worker_threads';
import { PULSE_CELLS, type PulseData, threadTime } from './pulse.ts';
import { createClock } from './runtime/clock.ts';

/** After a renewal that failed, ms, and between looks at a main loop that is stuck. */
const AGAIN_MS = 500;
/** A try that is not answered for so long is followed by the next one at least, ms. */
const LEAST_TRY_MS = 100;
/** In parts of a renewal's interval: how late a beat of the main loop may be, and how long the connection is left unused while they come. */
const LATE = 1.25;
const UNUSED = 3;
/** Connecting, and answering, may take a busy server so long even where the lease is short, ms. */
const LEAST_LIMIT_MS = 1_000;

/** What the thread was given. @param D how to reach the store */
export function pulseData<D>(): PulseData<D> {
  return workerData as PulseData<D>;
}

interface Limits {
  readonly connectTimeoutMs: number;
  readonly commandTimeoutMs: number;
}

/** Time limits with which a black hole is left before the lease is over. */
export function pulseLimits(given: Limits): Limits {
  const { everyMs } = pulseData();
  return {
    connectTimeoutMs: Math.min(given.connectTimeoutMs, Math.max(2 * everyMs, LEAST_LIMIT_MS)),
    commandTimeoutMs: Math.min(given.commandTimeoutMs, Math.max(everyMs, LEAST_LIMIT_MS)),
  };
}

/**
 * Renews a lease again and again, from a thread of its own, until the session is over: handlers that block the event loop don't lose it. A
 * loop that doesn't come round for `stuckMs` is given up: then the lease runs out, and others take what this process holds.
 *
 * @param renew false: the session is over. It may fail, and need not answer
 */
export function renewFromThread(renew: () => Promise<boolean>): void {
  const data = pulseData();
  const cells = new BigInt64Array(data.shared);
  const clock = createClock();
  const limitMs = Math.max(data.everyMs, LEAST_TRY_MS);
  const isStuck = (): boolean =>
    Number(threadTime() - Atomics.load(cells, PULSE_CELLS.turnedAt)) > data.stuckMs;
  const again = (ms: number): void => void clock.after(ms, beat, true);
  const confirm = (sentAt: bigint): void => {
    // Answers may come in another order than the tries they belong to.
    if (sentAt > Atomics.load(cells, PULSE_CELLS.sentAt)) Atomics.store(cells, PULSE_CELLS.sentAt, sentAt);
  };
  let triedAt = 0n;
  /** How long the main loop's own beats will do, ms. */
  const coveredMs = (): number => {
    const now = threadTime();
    const left = LATE * data.everyMs - Number(now - Atomics.load(cells, PULSE_CELLS.beatenAt));
    return Math.min(left, UNUSED * data.everyMs - Number(now - triedAt));
  };
  function beat(): void {
    if (isStuck()) return again(Math.min(data.everyMs, AGAIN_MS));
    const leftMs = coveredMs();
    if (leftMs > 0) return again(leftMs);
    const sentAt = threadTime();
    triedAt = sentAt;
    let next = (ms: number): void => {
      limit.cancel();
      next = () => undefined;
      again(ms);
    };
    const limit = clock.after(limitMs, () => next(0), true);
    const failed = (): void => next(Math.min(data.everyMs, AGAIN_MS));
    try {
      renew().then((alive) => {
        // Ends this thread alone, whatever is still open in it.
        if (!alive) process.exit();
        confirm(sentAt);
        next(Math.max(0, data.everyMs - Number(threadTime() - sentAt)));
      }, failed);
    } catch {
      failed();
    }
  }
  // What drivers print nobody reads: kept, it would grow.
  for (const stream of [process.stdout, process.stderr]) stream.write = () => true;
  // Whatever a driver drops: the next try finds out what is left.
  for (const event of ['uncaughtException', 'unhandledRejection'] as const)
    process.on(event, () => undefined);
  beat();
}
