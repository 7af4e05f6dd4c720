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
    view: new MemberView({ id: agent.id, capabilities }, () => member, history),
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

/**
 * Reads through to the record and can change nothing: an assignment to one of its properties throws. All of them are its own and
 * enumerable, so that a strategy may spread or print it, which takes the numbers as they are then.
 */
class MemberView implements Candidate {
  readonly #member: () => Member;
  readonly id: string;
  readonly capabilities: readonly string[];
  declare readonly running: number;
  declare readonly slots: number;
  declare readonly queued: number;
  declare readonly load: number;
  declare readonly priority: number;
  declare readonly cost: number;
  readonly history: Candidate['history'];

  constructor(
    { id, capabilities }: Pick<Member, 'id' | 'capabilities'>,
    member: () => Member,
    history: History,
  ) {
    this.#member = member;
    this.id = id;
    this.capabilities = capabilities;
    this.history = (type) => history(type, id);
    Object.defineProperties(this, MemberView.#live);
    Object.freeze(this);
  }

  /** Shared by all views, so that they are of one shape and as quick to read as plain objects. */
  static readonly #live: PropertyDescriptorMap = {
    running: live((view) => view.#member().running),
    slots: live((view) => view.#member().slots),
    queued: live((view) => view.#member().queued),
    load: live((view) => loadOf(view.#member())),
    priority: live((view) => view.#member().priority),
    cost: live((view) => view.#member().cost),
  };
}

function live(read: (view: MemberView) => number): PropertyDescriptor {
  return {
    enumerable: true,
    get(this: MemberView) {
      return read(this);
    },
  };
}
