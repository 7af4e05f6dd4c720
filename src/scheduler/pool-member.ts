import type { SlotClass } from './slot-offers.ts';
import type { Candidate, TaskStatistics } from './strategy.ts';

/** An agent as the pool takes it. */
export interface PoolAgent {
  readonly id: string;
  readonly capabilities: readonly string[];
  /** Task types it has a handler for; `undefined`: all. */
  readonly types?: readonly string[] | undefined;
  /** Tasks it runs at the same time; `Infinity` for external agents without a limit. */
  readonly slots: number;
  /** @default 0 */
  readonly priority?: number;
  /** @default 1 */
  readonly cost?: number;
  /** @default 0 */
  readonly running?: number;
  /** @default 0 */
  readonly queued?: number;
}

/** The pool's own record of an agent. */
export interface Member {
  readonly id: string;
  /** Sorted, each once. */
  readonly capabilities: readonly string[];
  readonly has: ReadonlySet<string>;
  readonly types: ReadonlySet<string> | undefined;
  readonly class: SlotClass;
  /** What strategies see. */
  readonly view: Candidate;
  slots: number;
  priority: number;
  cost: number;
  running: number;
  queued: number;
  draining: boolean;
  /** Its place in rows of bits. */
  seat: number;
  level: number;
}

type History = (type: string, agentId: string) => TaskStatistics;

export function createMember(
  agent: PoolAgent,
  seat: number,
  classOf: (capabilities: readonly string[]) => SlotClass,
  history: History,
): Member {
  const capabilities = Object.freeze([...new Set(agent.capabilities)].sort());
  const member: Member = {
    id: agent.id,
    capabilities,
    has: new Set(capabilities),
    types: agent.types === undefined ? undefined : new Set(agent.types),
    class: classOf(capabilities),
    view: new MemberView(() => member, history),
    slots: agent.slots,
    priority: agent.priority ?? 0,
    cost: agent.cost ?? 1,
    running: agent.running ?? 0,
    queued: agent.queued ?? 0,
    draining: false,
    seat,
    level: 0,
  };
  return member;
}

/** (running + queued) / slots. */
export function loadOf(member: Member): number {
  return (member.running + member.queued) / member.slots;
}

/** Of an agent with a limit that takes work; 0 for the others. */
export function freeSlotsOf(member: Member): number {
  if (member.draining || member.slots === Number.POSITIVE_INFINITY) return 0;
  return Math.max(0, member.slots - member.running - member.queued);
}

/** Reads through to the record and can change nothing: an assignment to one of its properties throws. */
class MemberView implements Candidate {
  readonly #member: () => Member;
  readonly #history: History;

  constructor(member: () => Member, history: History) {
    this.#member = member;
    this.#history = history;
    Object.freeze(this);
  }

  get id(): string {
    return this.#member().id;
  }
  get capabilities(): readonly string[] {
    return this.#member().capabilities;
  }
  get running(): number {
    return this.#member().running;
  }
  get slots(): number {
    return this.#member().slots;
  }
  get queued(): number {
    return this.#member().queued;
  }
  get load(): number {
    return loadOf(this.#member());
  }
  get priority(): number {
    return this.#member().priority;
  }
  get cost(): number {
    return this.#member().cost;
  }

  history(type: string): TaskStatistics {
    return this.#history(type, this.#member().id);
  }
}
