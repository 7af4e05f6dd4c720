import { Worker } from 'node:worker_threads';
import type { Pulse, PulseOptions } from './ports/backend.ts';
import type { SessionNumber } from './ports/words.ts';

/** What the thread is given. */
export interface PulseData<D> {
  /** How to reach the store: whatever can be cloned. */
  readonly connection: D;
  readonly session: SessionNumber;
  readonly everyMs: number;
  readonly stuckMs: number;
  /** See {@link PULSE_CELLS}. */
  readonly shared: SharedArrayBuffer;
}

/**
 * Cells of 8 bytes that both threads see, ms of {@link threadTime}: when the last confirmed renewal was sent, when the main loop last came
 * round, and when its last answered beat was sent.
 */
export const PULSE_CELLS = { sentAt: 0, turnedAt: 1, beatenAt: 2, count: 3 } as const;

/** Measured: it needs a fifth of that. Unlimited, its heap grows before it is cleared. */
const LIMITS = { maxOldGenerationSizeMb: 48, maxYoungGenerationSizeMb: 4 };

/** ms on a clock that all threads of a process share. */
export function threadTime(): bigint {
  // No clock of the runtime is shared by threads, and no test can move one that they share.
  // oxlint-disable-next-line no-restricted-properties
  return process.hrtime.bigint() / 1_000_000n;
}

export interface PulseThread<D> {
  /** The module of the thread, which calls `renewFromThread`. */
  readonly module: URL;
  /** How to reach the store: whatever can be cloned, see {@link canCross}. */
  readonly connection: D;
  readonly session: SessionNumber;
  readonly options: PulseOptions;
}

/** Starts the thread. It keeps the process from ending no more than its timers do, which is not at all. @throws what Node says when it may start none */
export function startPulse<D>({ module, connection, session, options }: PulseThread<D>): Pulse {
  const { everyMs, stuckMs, failed } = options;
  const shared = new SharedArrayBuffer(8 * PULSE_CELLS.count);
  const cells = new BigInt64Array(shared);
  const tick = (): void => void Atomics.store(cells, PULSE_CELLS.turnedAt, threadTime());
  tick();
  const workerData: PulseData<D> = { everyMs, stuckMs, session, shared, connection };
  // Its output stays there: what drivers print nobody has looked at for passwords.
  const worker = new Worker(module, {
    workerData,
    name: 'agentmesh pulse',
    // What was preloaded for the application, and how it was started, is not meant for this thread.
    execArgv: [],
    stdout: true,
    stderr: true,
    resourceLimits: LIMITS,
  });
  worker.unref();
  // Its code alone: what a driver's error says is not known to hold no password.
  worker.on('error', (error: unknown) => failed(codeOf(error)));
  return {
    tick,
    beaten: (agoMs) =>
      void Atomics.store(cells, PULSE_CELLS.beatenAt, threadTime() - BigInt(Math.ceil(agoMs))),
    agoMs() {
      const sentAt = Atomics.load(cells, PULSE_CELLS.sentAt);
      return sentAt === 0n ? Number.POSITIVE_INFINITY : Number(threadTime() - sentAt);
    },
    [Symbol.asyncDispose]: async () => void (await worker.terminate()),
  };
}

function codeOf(error: unknown): string {
  const { code } = error as { readonly code?: unknown };
  return typeof code === 'string' ? code : 'an error without a code';
}

/**
 * The module of a thread beside the one that asks: a source runs as it is, and what was built lies in one folder, chunks included. Its name is
 * no literal in a `new URL`, which bundlers would take for a file of theirs.
 * @param asker `import.meta.url` of the module that asks
 */
export function threadModule(asker: string, names: { readonly source: string; readonly built: string }): URL {
  return new URL(asker.endsWith('.ts') ? names.source : names.built, asker);
}

/**
 * Whether a setting means the same in another thread: what is made of plain objects, arrays, bytes and primitives. Functions can't go there,
 * and instances of classes lose what makes them one.
 */
export function canCross(value: unknown): boolean {
  if (typeof value === 'function' || typeof value === 'symbol') return false;
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return true;
  if (Array.isArray(value)) return value.every(canCross);
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return false;
  return Object.values(value).every(canCross);
}
