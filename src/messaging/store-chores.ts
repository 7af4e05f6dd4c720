import type { Operations } from '../core/operations.ts';
import type { Lost, MessageTransport } from '../core/ports/messages.ts';
import type { Clock, Random, Timer } from '../core/ports/runtime.ts';
import type { Awaitable } from '../core/ports/words.ts';
import { Rest } from '../core/rest.ts';

export interface StoreChoresParts {
  readonly clock: Clock;
  readonly transport: MessageTransport;
  readonly operations: Operations;
  /** Others use the store too. */
  readonly shared: boolean;
  /** Across a network: while nothing happens it is asked less and less. */
  readonly far: boolean;
  /** Most mailboxes of one call. */
  readonly maxBatch: number;
  readonly random: Random;
  readonly reportLost: (lost: readonly Lost[]) => void;
  /** Something may have come for an address. */
  readonly wakeAddress: (address: string) => void;
  readonly wakeAll: () => void;
  /** Counts the time the store takes to answer. */
  readonly timed: <T>(answer: Awaitable<T>) => Awaitable<T>;
  readonly failed: (error: unknown) => void;
}

const POLL_MS = 1_000;
const LONGEST_POLL_MS = 5_000;
const SWEEP_LIMIT = 1_000;

/** Has the store of messages do its chores when they are due, and asks it again and again where hints may be lost. */
export class StoreChores {
  readonly #parts: StoreChoresParts;
  #stopped = false;
  #sweepTimer: Timer | undefined;
  #pollTimer: Timer | undefined;
  #pollAt = Number.POSITIVE_INFINITY;
  readonly #polls: Rest;
  readonly #sweeps: Rest;
  /** When the next sweep is due, mono ms. */
  dueAt = Number.POSITIVE_INFINITY;

  constructor(parts: StoreChoresParts) {
    this.#parts = parts;
    const rest = { firstMs: POLL_MS, mostMs: LONGEST_POLL_MS, random: parts.random };
    this.#polls = new Rest(rest);
    this.#sweeps = new Rest(rest);
  }

  /** The store isn't empty: expiry and lost receipts must be looked after. Costs nothing when that is known. */
  keepSweeping(): void {
    if (this.#stopped) return;
    if (this.#parts.far) this.#hurry();
    if (this.#sweepTimer === undefined) this.#armSweep(POLL_MS);
  }

  /** From the first consumer on asks again and again, for stores that others use and whose hints may be lost (G4). */
  poll(): void {
    if (this.#parts.shared && !this.#stopped && this.#pollTimer === undefined) this.#armPoll(POLL_MS);
  }

  /** Does the chores now. */
  async sweep(): Promise<void> {
    const { operations, transport, timed, reportLost, wakeAddress, maxBatch } = this.#parts;
    const limit = Math.min(SWEEP_LIMIT, maxBatch);
    const { lost, readied, nextInMs } = await timed(operations.run((op) => transport.sweep(op, limit)));
    reportLost(lost);
    for (const address of readied) wakeAddress(address);
    if (lost.length + readied.length > 0) this.#sweeps.reset();
    if (nextInMs === Number.POSITIVE_INFINITY || this.#stopped) return;
    if (this.#sweepTimer === undefined) this.#armSweep(this.#parts.far ? this.#restMs(nextInMs) : nextInMs);
  }

  stop(): void {
    this.#stopped = true;
    this.#sweepTimer?.cancel();
    this.#pollTimer?.cancel();
  }

  /** A second or more says only that nothing is due before: every process would ask each second, for letters that nobody fetches. */
  #restMs(nextInMs: number): number {
    return nextInMs < POLL_MS ? nextInMs : Math.max(nextInMs, this.#sweeps.next());
  }

  /** Something happens here: an answer may come, and its hint may be lost. */
  #hurry(): void {
    this.#polls.reset();
    this.#sweeps.reset();
    if (this.#pollTimer === undefined || this.#pollAt <= this.#parts.clock.mono() + POLL_MS) return;
    this.#pollTimer.cancel();
    this.#armPoll(POLL_MS);
  }

  #armPoll(ms: number): void {
    const { clock, wakeAll, far } = this.#parts;
    this.#pollAt = clock.mono() + ms;
    this.#pollTimer = clock.after(ms, () => {
      this.#pollTimer = undefined;
      wakeAll();
      if (this.#stopped) return;
      if (this.#sweepTimer === undefined) this.#armSweep(POLL_MS);
      this.#armPoll(far ? this.#polls.next() : POLL_MS);
    });
  }

  #armSweep(ms: number): void {
    const { clock, failed } = this.#parts;
    this.dueAt = clock.mono() + ms;
    this.#sweepTimer = clock.after(ms, () => {
      this.#sweepTimer = undefined;
      this.dueAt = Number.POSITIVE_INFINITY;
      this.sweep().catch((error: unknown) => {
        failed(error);
        this.keepSweeping();
      });
    });
  }
}
