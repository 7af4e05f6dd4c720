import type { Operations } from '../core/operations.ts';
import type { Lost, MessageTransport } from '../core/ports/messages.ts';
import type { Clock, Timer } from '../core/ports/runtime.ts';
import type { Awaitable } from '../core/ports/words.ts';

export interface StoreChoresParts {
  readonly clock: Clock;
  readonly transport: MessageTransport;
  readonly operations: Operations;
  /** Others use the store too. */
  readonly shared: boolean;
  readonly reportLost: (lost: readonly Lost[]) => void;
  /** Something may have come for an address. */
  readonly wakeAddress: (address: string) => void;
  readonly wakeAll: () => void;
  /** Counts the time the store takes to answer. */
  readonly timed: <T>(answer: Awaitable<T>) => Awaitable<T>;
  readonly failed: (error: unknown) => void;
}

const POLL_MS = 1_000;
const SWEEP_LIMIT = 1_000;

/** Has the store of messages do its chores when they are due, and asks it again and again where hints may be lost. */
export class StoreChores {
  readonly #parts: StoreChoresParts;
  #stopped = false;
  #sweepTimer: Timer | undefined;
  #pollTimer: Timer | undefined;
  /** When the next sweep is due, mono ms. */
  dueAt = Number.POSITIVE_INFINITY;

  constructor(parts: StoreChoresParts) {
    this.#parts = parts;
  }

  /** The store isn't empty: expiry and lost receipts must be looked after. Costs nothing when that is known. */
  keepSweeping(): void {
    if (this.#sweepTimer === undefined && !this.#stopped) this.#armSweep(POLL_MS);
  }

  /** From the first consumer on asks again and again, for stores that others use and whose hints may be lost (G4). */
  poll(): void {
    const { shared, clock, wakeAll } = this.#parts;
    if (!shared || this.#stopped || this.#pollTimer !== undefined) return;
    this.#pollTimer = clock.after(POLL_MS, () => {
      this.#pollTimer = undefined;
      wakeAll();
      this.keepSweeping();
      this.poll();
    });
  }

  /** Does the chores now. */
  async sweep(): Promise<void> {
    const { operations, transport, timed, reportLost, wakeAddress } = this.#parts;
    const { lost, readied, nextInMs } = await timed(operations.run((op) => transport.sweep(op, SWEEP_LIMIT)));
    reportLost(lost);
    for (const address of readied) wakeAddress(address);
    if (nextInMs === Number.POSITIVE_INFINITY || this.#stopped) return;
    if (this.#sweepTimer === undefined) this.#armSweep(nextInMs);
  }

  stop(): void {
    this.#stopped = true;
    this.#sweepTimer?.cancel();
    this.#pollTimer?.cancel();
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
