import type { DeadlockError } from '../core/deadlock-error.ts';
import type { Clock, Timer } from '../core/ports/runtime.ts';
import { nodeName } from '../core/run-node.ts';
import type { Run } from './agent.ts';

/** Longest wait of a deadlock's victim for its survivor, ms; then it tries again anyway. */
const SURVIVOR_WAIT_MS = 30_000;
/** How often it is looked whether the survivor waits for the victim by now, ms. */
const LOOK_MS = 500;

export interface SurvivorFacts {
  /** Resolves when a node of the wait-for graph is over; `undefined`: nothing is known of it. */
  untilOver(node: string): Promise<unknown> | undefined;
  /** Whether somebody waits for a task's end: it may be the survivor. */
  isAwaited(taskId: string): boolean;
  /** Whether a task can't go on before another has ended, over whatever is between them. */
  isBehind(taskId: string, otherId: string): Promise<boolean>;
}

interface Wait {
  readonly survivor: string;
  readonly goOn: () => void;
  readonly until: number;
  timer: Timer;
}

/**
 * Keeps the victims of deadlocks until their survivors have finished: tried again at once, they would be in their way. It is no edge of the
 * wait-for graph, for it need not be kept: it ends when the survivor waits for the victim in its turn.
 */
export class SurvivorWaits {
  readonly #clock: Clock;
  readonly #facts: SurvivorFacts;
  readonly #waiting = new Map<Run, Wait>();

  constructor(clock: Clock, facts: SurvivorFacts) {
    this.#clock = clock;
    this.#facts = facts;
  }

  /** Goes on once the survivor has finished. False: that one may wait for the victim's end, or nothing is known of it. */
  after(victim: Run, { cycle, survivor }: DeadlockError['nodes'], goOn: () => void): boolean {
    const by = cycle.at(-1)?.by;
    const isHolder = by === 'lock' || by === 'semaphore' || by === 'slot';
    const over = isHolder ? this.#facts.untilOver(survivor) : undefined;
    if (over === undefined || this.#facts.isAwaited(victim.id)) return false;
    const name = nodeName(survivor);
    victim.extras.yieldsTo = name;
    const until = this.#clock.mono() + SURVIVOR_WAIT_MS;
    const wait: Wait = { survivor: name, goOn, until, timer: this.#lookLater(victim) };
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

  #lookLater(victim: Run): Timer {
    return this.#clock.after(LOOK_MS, () => void this.#look(victim), true);
  }

  async #look(victim: Run): Promise<void> {
    const wait = this.#waiting.get(victim);
    if (wait === undefined) return;
    if (this.#clock.mono() >= wait.until) return this.#end(victim, wait);
    // What can't be read now is looked at again.
    const isBehind = await this.#facts.isBehind(wait.survivor, victim.id).catch(() => false);
    if (isBehind) this.#end(victim, wait);
    else if (this.#waiting.get(victim) === wait) wait.timer = this.#lookLater(victim);
  }

  #end(victim: Run, wait: Wait): void {
    if (this.#waiting.get(victim) !== wait) return;
    this.forget(victim);
    wait.goOn();
  }
}
