import type { DeadlockError } from '../core/deadlock-error.ts';
import type { Clock, Timer } from '../core/ports/runtime.ts';
import { nodeName } from '../core/run-node.ts';
import type { Run } from './agent.ts';

/** Longest wait of a deadlock's victim for its survivor, ms; then it tries again anyway. */
const SURVIVOR_WAIT_MS = 30_000;

interface Wait {
  readonly goOn: () => void;
  readonly timer: Timer;
}

/** Keeps the victims of deadlocks until their survivors have finished: tried again at once, they would be in their way. */
export class SurvivorWaits {
  readonly #clock: Clock;
  readonly #untilOver: (node: string) => Promise<unknown> | undefined;
  readonly #isAwaited: (taskId: string) => boolean;
  readonly #waiting = new Map<Run, Wait>();

  /**
   * @param untilOver resolves when a node of the wait-for graph is over; `undefined`: nothing is known of it
   * @param isAwaited whether somebody waits for a task's end: it may be the survivor
   */
  constructor(
    clock: Clock,
    untilOver: (node: string) => Promise<unknown> | undefined,
    isAwaited: (taskId: string) => boolean,
  ) {
    this.#clock = clock;
    this.#untilOver = untilOver;
    this.#isAwaited = isAwaited;
  }

  /** Goes on once the survivor has finished. False: that one may wait for the victim's end, or nothing is known of it. */
  after(victim: Run, { cycle, survivor }: DeadlockError['nodes'], goOn: () => void): boolean {
    const by = cycle.at(-1)?.by;
    const over = by === 'lock' || by === 'semaphore' || by === 'slot' ? this.#untilOver(survivor) : undefined;
    if (over === undefined || this.#isAwaited(victim.id)) return false;
    victim.extras.yieldsTo = nodeName(survivor);
    const wait: Wait = {
      goOn,
      timer: this.#clock.after(SURVIVOR_WAIT_MS, () => this.#end(victim, wait), true),
    };
    this.#waiting.set(victim, wait);
    const end = (): void => this.#end(victim, wait);
    over.then(end, end);
    return true;
  }

  /** It waits no more, and does not go on. */
  forget(victim: Run): void {
    this.#waiting.get(victim)?.timer.cancel();
    this.#waiting.delete(victim);
    victim.extras.yieldsTo = undefined;
  }

  /** Somebody begins to wait for the end of this task: it may be the survivor, so it doesn't wait for that one. */
  awaited(taskId: string): void {
    for (const [victim, wait] of [...this.#waiting]) if (victim.id === taskId) this.#end(victim, wait);
  }

  /** Nobody waits for a survivor any more. */
  hurry(): void {
    for (const [victim, wait] of [...this.#waiting]) this.#end(victim, wait);
  }

  #end(victim: Run, wait: Wait): void {
    if (this.#waiting.get(victim) !== wait) return;
    this.forget(victim);
    wait.goOn();
  }
}
