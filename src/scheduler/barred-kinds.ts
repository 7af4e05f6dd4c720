import type { TaskBody, TaskKind } from '../core/ports/tasks.ts';
import type { AgentPool, Requirements } from './candidate-pool.ts';
import type { TaskSettings } from './settings.ts';

/** Most kinds at a time; what is beyond goes back to its queue with a delay. */
const MAX_KINDS = 256;

interface Barred {
  readonly kind: TaskKind;
  readonly requirements: Requirements;
}

/**
 * Kinds of tasks that no agent with a free slot may take now, because they exclude it or its load is too high for them: what is claimed
 * leaves them out, so that they neither come back again and again nor hide the tasks behind them.
 */
export class BarredKinds {
  readonly #pool: AgentPool;
  readonly #kinds = new Map<string, Barred>();

  constructor(pool: AgentPool) {
    this.#pool = pool;
  }

  get size(): number {
    return this.#kinds.size;
  }

  /** A claimed task found no agent: its kind is left out from now on, unless an agent could take it and the strategy would rather wait. */
  bar(body: TaskBody, { exclude, maxLoadRatio }: TaskSettings): void {
    const { type, capabilities, placement } = body;
    if (placement === undefined || this.#kinds.size >= MAX_KINDS) return;
    const requirements = { type, capabilities, exclude, maxLoadRatio };
    if (!this.#pool.eligible(requirements).isEmpty) return;
    this.#kinds.set(keyOf(type, placement, capabilities), {
      kind: { type, capabilities, placement },
      requirements,
    });
  }

  /** Whether tasks like this one are left out. */
  has({ type, capabilities, placement }: TaskBody): boolean {
    return placement !== undefined && this.#kinds.has(keyOf(type, placement, capabilities));
  }

  /** Forgets the kinds that somebody may take again. */
  review(): void {
    for (const [key, { requirements }] of this.#kinds) {
      if (!this.#pool.eligible(requirements).isEmpty) this.#kinds.delete(key);
    }
  }

  /** What to leave out of a claim. */
  get kinds(): readonly TaskKind[] {
    return [...this.#kinds.values()].map(({ kind }) => kind);
  }
}

function keyOf(type: string, placement: string, capabilities: readonly string[]): string {
  return `${type}\u0000${placement}\u0000${capabilities.join('\u0000')}`;
}
