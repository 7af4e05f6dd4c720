import { checkInteger } from '../../core/check.ts';
import { CoordinationError } from '../../core/errors.ts';
import { checkOptions } from '../../core/options.ts';
import { attempt } from '../attempt.ts';
import { untilAborted } from '../linked-abort.ts';
import { type Policy, signalOf } from './policy.ts';

export interface BulkheadOptions {
  /** Calls at the same time. */
  readonly concurrency: number;
  /** Calls that may wait for a place. @default 0 */
  readonly queue?: number;
}

export interface Bulkhead extends Policy {
  readonly running: number;
  readonly waiting: number;
}

/**
 * Bounds how many calls run at once; others wait in line, first come first served, and beyond the queue are refused. A place comes
 * free when its call has settled, not when its caller gave up: concurrency is never exceeded.
 * @throws QUEUE_FULL; INVALID_ARGUMENT, INVALID_OPTION
 */
export function bulkheadPolicy(options: BulkheadOptions): Bulkhead {
  const given = checkOptions('bulkhead', options, ['concurrency', 'queue']);
  const concurrency = checkInteger(given.concurrency, 'bulkhead.concurrency', 1);
  const capacity = checkInteger(given.queue ?? 0, 'bulkhead.queue', 0);
  /** In order of arrival; a set, so that one who gives up leaves in O(1). */
  const line = new Set<() => void>();
  let running = 0;

  const leave = (): void => {
    const [next] = line;
    if (next === undefined) running -= 1;
    else {
      line.delete(next);
      next(); // the place passes on without coming free
    }
  };
  const enter = (signal: AbortSignal | undefined): Promise<void> | undefined => {
    if (running < concurrency) {
      running += 1;
      return undefined;
    }
    if (line.size >= capacity) throw full(concurrency, capacity);
    return new Promise((resolve, reject) => {
      const go = (): void => {
        signal?.removeEventListener('abort', giveUp);
        resolve();
      };
      const giveUp = (): void => {
        line.delete(go);
        reject(signal?.reason as Error);
      };
      line.add(go);
      signal?.addEventListener('abort', giveUp, { once: true });
    });
  };
  return {
    get running() {
      return running;
    },
    get waiting() {
      return line.size;
    },
    execute: async (call, options) => {
      const signal = signalOf(options);
      const wait = enter(signal);
      if (wait !== undefined) await wait;
      const work = signal?.aborted === true ? Promise.reject(signal.reason as Error) : attempt(call, signal);
      return await untilAborted(work.finally(leave), signal);
    },
  };
}

function full(concurrency: number, capacity: number): CoordinationError {
  return new CoordinationError(
    'QUEUE_FULL',
    `The bulkhead is full: ${concurrency} calls run and ${capacity} wait`,
  );
}
