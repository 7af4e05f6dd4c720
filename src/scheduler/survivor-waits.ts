import type { DeadlockError } from '../core/deadlock-error.ts';
import type { Clock } from '../core/ports/runtime.ts';

/** Longest wait of a deadlock's victim for its survivor, ms; then it tries again anyway. */
const SURVIVOR_WAIT_MS = 30_000;

/** Keeps the victims of deadlocks until their survivors have finished: tried again at once, they would be in their way. */
export class SurvivorWaits {
  readonly #clock: Clock;
  readonly #untilOver: (node: string) => Promise<unknown> | undefined;
  readonly #waiting = new Set<() => void>();

  /** @param untilOver resolves when a node of the wait-for graph is over; `undefined`: nothing is known of it */
  constructor(clock: Clock, untilOver: (node: string) => Promise<unknown> | undefined) {
    this.#clock = clock;
    this.#untilOver = untilOver;
  }

  /** Goes on once the survivor has finished. False: that one waits for the victim's end, or nothing is known of it. */
  after({ cycle, survivor }: DeadlockError['nodes'], goOn: () => void): boolean {
    const by = cycle.at(-1)?.by;
    const over = by === 'lock' || by === 'semaphore' || by === 'slot' ? this.#untilOver(survivor) : undefined;
    if (over === undefined) return false;
    const end = (): void => {
      if (!this.#waiting.delete(end)) return;
      timer.cancel();
      goOn();
    };
    this.#waiting.add(end);
    const timer = this.#clock.after(SURVIVOR_WAIT_MS, end, true);
    over.then(end, end);
    return true;
  }

  /** Nobody waits for a survivor any more. */
  hurry(): void {
    for (const end of [...this.#waiting]) end();
  }
}
