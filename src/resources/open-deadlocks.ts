import type { EventSink } from '../core/events.ts';
import type { CycleEdge } from '../core/ports/locks.ts';
import type { Clock } from '../core/ports/runtime.ts';
import { nodeName } from '../core/run-node.ts';

/** A deadlock whose victim is known and whose others don't have yet what they wait for. */
export interface OpenDeadlock {
  readonly victim: string;
  readonly startedAt: number;
  readonly remaining: Set<string>;
  /** Somebody in it waits for something whose end nobody reports. */
  readonly unreported: boolean;
}

/** Victims whose defeats are remembered; the oldest are forgotten first. */
const MAX_REMEMBERED = 10_000;

/** Follows deadlocks until they are resolved, and counts how often in a row each node was a victim. */
export class OpenDeadlocks {
  readonly #clock: Clock;
  readonly #events: EventSink;
  readonly #open = new Set<OpenDeadlock>();
  readonly #byNode = new Map<string, Set<OpenDeadlock>>();
  #unreported = 0;
  readonly #defeats = new Map<string, { count: number; fresh: boolean }>();

  constructor(clock: Clock, events: EventSink) {
    this.#clock = clock;
    this.#events = events;
  }

  get size(): number {
    return this.#open.size;
  }

  get hasDefeats(): boolean {
    return this.#defeats.size > 0;
  }

  defeats(node: string): number {
    return this.#defeats.get(node)?.count ?? 0;
  }

  begin(victim: string, cycle: readonly CycleEdge[]): OpenDeadlock {
    const defeats = this.defeats(victim) + 1;
    this.#defeats.delete(victim);
    this.#defeats.set(victim, { count: defeats, fresh: true });
    if (this.#defeats.size > MAX_REMEMBERED) {
      const [oldest] = this.#defeats.keys();
      this.#defeats.delete(oldest as string);
    }
    const remaining = new Set(cycle.map((edge) => edge.waiter));
    remaining.delete(victim);
    const unreported = cycle.some(({ by }) => by !== 'lock' && by !== 'semaphore');
    const deadlock = { victim, startedAt: this.#clock.mono(), remaining, unreported };
    this.#open.add(deadlock);
    if (unreported) this.#unreported += 1;
    for (const node of remaining) {
      const known = this.#byNode.get(node);
      if (known === undefined) this.#byNode.set(node, new Set([deadlock]));
      else known.add(deadlock);
    }
    if (remaining.size === 0) this.#resolved(deadlock);
    return deadlock;
  }

  /** The victim's wait had ended by itself: there was nothing to break. */
  forget(deadlock: OpenDeadlock): void {
    this.#close(deadlock);
    const defeats = this.defeats(deadlock.victim) - 1;
    if (defeats <= 0) this.#defeats.delete(deadlock.victim);
    else this.#defeats.set(deadlock.victim, { count: defeats, fresh: false });
  }

  left(node: string): void {
    const deadlocks = this.#byNode.get(node);
    if (deadlocks === undefined) return;
    this.#byNode.delete(node);
    for (const deadlock of deadlocks) {
      if (deadlock.remaining.delete(node) && deadlock.remaining.size === 0) this.#resolved(deadlock);
    }
  }

  /** The node holds and wants nothing any more. After a defeat it has made room; after anything else it has won, and its row of defeats ends. */
  finished(node: string): void {
    if (this.#defeats.size === 0) return;
    const known = this.#defeats.get(node);
    if (known === undefined) return;
    if (known.fresh) known.fresh = false;
    else this.#defeats.delete(node);
  }

  /** Open deadlocks with waits whose end nobody reports. */
  get unreported(): number {
    return this.#unreported;
  }

  /** Looks whether such waits have ended. */
  check(isWaiting: (node: string) => boolean): void {
    for (const { unreported, remaining } of this.#open) {
      if (unreported) for (const node of remaining) if (!isWaiting(node)) this.left(node);
    }
  }

  #close(deadlock: OpenDeadlock): void {
    if (!this.#open.delete(deadlock)) return;
    if (deadlock.unreported) this.#unreported -= 1;
    for (const node of deadlock.remaining) {
      const known = this.#byNode.get(node);
      if (known?.delete(deadlock) === true && known.size === 0) this.#byNode.delete(node);
    }
  }

  #resolved(deadlock: OpenDeadlock): void {
    this.#close(deadlock);
    if (!this.#events.wants('deadlock:resolved')) return;
    const afterMs = this.#clock.mono() - deadlock.startedAt;
    this.#events.emit('deadlock:resolved', { victim: nodeName(deadlock.victim), afterMs });
  }
}
