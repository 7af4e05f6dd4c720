import { Worker } from 'node:worker_threads';
import type { Pulse, PulseOptions } from './ports/backend.ts';
import type { SessionNumber } from './ports/words.ts';

/** What the thread is given beside how to reach the store. */
export interface PulseData extends PulseOptions {
  readonly session: SessionNumber;
  /** See {@link PULSE_CELLS}. */
  readonly shared: SharedArrayBuffer;
}

/** Cells of 8 bytes that both threads see: when the last renewal that was confirmed was sent, and how often the main loop has come round. */
export const PULSE_CELLS = { sentAt: 0, turns: 1, count: 2 } as const;

/** ms on a clock that all threads of a process share. */
export function threadTime(): bigint {
  return process.hrtime.bigint() / 1_000_000n;
}

export interface PulseThread<D> {
  /** The module of the thread, which calls `renewFromThread`. */
  readonly module: URL;
  /** How to reach the store: whatever can be cloned. */
  readonly connection: D;
  readonly session: SessionNumber;
  readonly options: PulseOptions;
  /** The thread has died: nothing renews the lease from there any more. */
  readonly failed: (error: Error) => void;
}

/** Starts the thread. It keeps the process from ending no more than its timers do, which is not at all. */
export function startPulse<D>({ module, connection, session, options, failed }: PulseThread<D>): Pulse {
  const shared = new SharedArrayBuffer(8 * PULSE_CELLS.count);
  const cells = new BigInt64Array(shared);
  const data: PulseData & { readonly connection: D } = { ...options, session, shared, connection };
  const worker = new Worker(module, { workerData: data, name: 'agentmesh pulse' });
  worker.unref();
  worker.on('error', failed);
  return {
    tick: () => void Atomics.add(cells, PULSE_CELLS.turns, 1n),
    agoMs() {
      const sentAt = Atomics.load(cells, PULSE_CELLS.sentAt);
      return sentAt === 0n ? Number.POSITIVE_INFINITY : Number(threadTime() - sentAt);
    },
    [Symbol.dispose]: () => void worker.terminate(),
  };
}
