import type { DeadlockError } from '../core/deadlock-error.ts';
import type { TaskRecord, TaskStore } from '../core/ports/tasks.ts';
import type { Awaitable } from '../core/ports/words.ts';
import { isRunNode, nodeName, runNode } from '../core/run-node.ts';
import type { NodeFacts, Requirement, WaitSource } from '../core/waits.ts';
import type { Agent, Run } from './agent.ts';
import type { AgentRegistry } from './agent-registry.ts';
import { limitWaits } from './limit-waits.ts';
import { factsInPlace, fetchFacts, type StoredFacts } from './stored-facts.ts';
import { mayRunThere, type Peer } from './peers.ts';
import { LocalHandle } from './task-handle.ts';
import { settingsOf } from './settings.ts';

const NOTHING: readonly Requirement[] = [];
const CHILD = 'child ';

/** The key of a wait for a child in {@link Run.waits}. */
export function childWait(taskId: string): string {
  return CHILD + taskId;
}

/** The child that a wait of {@link Run.waits} is for, if it is for one. */
export function childOf(key: string): string | undefined {
  return key.startsWith(CHILD) ? key.slice(CHILD.length).split('\u0000', 1)[0] : undefined;
}

/** Runs that wait without their slot, and the children that are waited for: looked up only when somebody searches for a deadlock. */
export class RunWaits {
  /** Runs without their slot, by node. */
  readonly waiting = new Map<string, Run>();
  /** Nodes of the children somebody waits for, with the number of those who do. */
  readonly children = new Map<string, number>();

  /** Runs that hold their declared locks and wait for a slot; those that have gone on are dropped at the next look. */
  readonly #locked = new Map<string, Run>();

  addLocked(run: Run): void {
    this.#locked.set(run.node, run);
  }

  locked(node: string): Run | undefined {
    const run = this.#locked.get(node);
    if (run === undefined || waitsForSlot(run)) return run;
    this.#locked.delete(node);
    return undefined;
  }

  lockedNodes(): readonly string[] {
    return [...this.#locked.keys()].filter((node) => this.locked(node) !== undefined);
  }

  addChild(id: string): void {
    const node = runNode(id);
    this.children.set(node, (this.children.get(node) ?? 0) + 1);
  }

  removeChild(id: string): void {
    const node = runNode(id);
    const waiters = (this.children.get(node) ?? 0) - 1;
    if (waiters > 0) this.children.set(node, waiters);
    else this.children.delete(node);
  }

  /** Whether somebody waits for this child. */
  awaits(id: string): boolean {
    return this.children.has(runNode(id));
  }

  /** Resolves when the attempt of a run that waits for a slot, or without one, is over and stored; `undefined`: it is none of those. */
  untilOver(node: string): Promise<unknown> | undefined {
    const run = this.waiting.get(node) ?? this.locked(node);
    return run === undefined || run.phase === 'ending' || run.phase === 'ended'
      ? undefined
      : run.untilSettled();
  }
}

/** Claimed, with its locks, and not begun. */
export function waitsForSlot(run: Run): boolean {
  return run.facts.lease !== undefined && (run.phase === 'queued' || run.phase === 'parked');
}

/** Waits for children as edges of the one wait-for graph; a victim's `result()` rejects. */
export function childWaits(waits: RunWaits): WaitSource {
  return {
    requirements(node) {
      const run = waits.waiting.get(node);
      if (run?.phase !== 'awaiting' || run.facts.waits === undefined || run.facts.looksAgain) return NOTHING;
      const children: string[] = [];
      for (const key of run.facts.waits.keys()) {
        // A handler that waits for something else at the same time may go on by that: no deadlock can be claimed.
        if (childOf(key) === undefined) return NOTHING;
        children.push(childOf(key) as string);
      }
      if (children.length === 0) return NOTHING;
      // Whether the handler needs all of them or any isn't known: "any" never claims a deadlock that isn't one, and when the others
      // have finished the last one shows it.
      const blockers = children.map((child) => ({ node: runNode(child), frees: 1 }));
      return [{ by: 'child', what: children.join(', '), blockers, needs: 1 }];
    },
    abort(node, error: DeadlockError) {
      const run = waits.waiting.get(node);
      if (run?.phase !== 'awaiting' || run.facts.waits === undefined || run.facts.waits.size === 0)
        return false;
      const ends = [...run.facts.waits.values()];
      // It waits no more from here on, whenever its handler hears of it: else the same deadlock would be found again.
      run.facts.waits.clear();
      for (const end of ends) end(error);
      return true;
    },
    waiting: () => waits.waiting.keys(),
    isWaiting: (node) => waits.waiting.get(node)?.phase === 'awaiting',
    // Somebody waits for a node here only when it is an awaited child.
    blocks: (node) => waits.children.has(node),
    facts(node) {
      const run = waits.waiting.get(node);
      return run === undefined ? undefined : factsOf(run);
    },
  };
}

/** What a victim is chosen by. */
function factsOf({ agent, claim }: Run): NodeFacts {
  return { agent: agent?.id, priority: claim.body.priority, since: claim.enqueuedAt };
}

/** What waits for slots are made of. */
export interface SlotWaitsHost {
  readonly waits: RunWaits;
  readonly agents: AgentRegistry;
  readonly store: TaskStore;
  /** Whether the limit over all agents leaves a slot. */
  readonly hasRoom: () => boolean;
  /** The store is across a network: what it knows is fetched before somebody searches. */
  readonly isFar: boolean;
  /** The other processes: of a task that one of them could run as well the wait for a slot can't be told here. */
  readonly peers: () => Awaitable<readonly Peer[]>;
}

/**
 * Waits for a slot: of runs that want theirs back, of runs that have their locks and no slot, and of tasks that haven't begun while
 * children are awaited; with what those depend on. Never the victim.
 */
export function slotWaits(host: SlotWaitsHost): WaitSource {
  if (!host.isFar) return sourceOf(host, factsInPlace(host.store), []);
  return { ...sourceOf(host, NO_FACTS, []), picture: () => pictureOf(host) };
}

async function pictureOf(host: SlotWaitsHost): Promise<WaitSource> {
  const { waits, store, peers } = host;
  if (waits.children.size === 0) return sourceOf(host, NO_FACTS, []);
  const children = [...waits.children.keys()].map(nodeName);
  const [facts, others] = await Promise.all([fetchFacts(store, children), peers()]);
  return sourceOf(host, facts, others);
}

const NO_FACTS: StoredFacts = {
  record: () => undefined,
  queue: () => undefined,
  claimed: () => undefined,
};

function sourceOf(
  { waits, agents, hasRoom }: SlotWaitsHost,
  facts: StoredFacts,
  others: readonly Peer[],
): WaitSource {
  const runsElsewhere = ({ body }: Pick<TaskRecord, 'body'>): boolean =>
    others.some((peer) => mayRunThere(peer, body));
  const holders = (agent: Agent): { node: string; frees: number }[] => {
    const runs: { node: string; frees: number }[] = [];
    for (const run of agent.runs()) if (run.holdsSlot) runs.push({ node: run.node, frees: 1 });
    return runs;
  };
  const slotOf = (candidates: readonly Agent[]): readonly Requirement[] => {
    if (candidates.length === 0) return NOTHING;
    const what = candidates.map((agent) => agent.id).join(', ');
    if (!candidates.some((agent) => agent.hasSlot))
      return [{ by: 'slot', what, blockers: candidates.flatMap(holders), needs: 1 }];
    if (hasRoom()) return NOTHING;
    return [{ by: 'slot', what, blockers: [...agents.all()].flatMap(holders), needs: 1 }];
  };
  const ofStored = (record: TaskRecord): readonly Requirement[] => {
    if (record.state === 'waiting') {
      // It needs all of them, so that those listed are enough to tell that it can't go on.
      const blockers = record.waitingFor.map((parent) => ({ node: runNode(parent), frees: 1 }));
      return [{ by: 'child', what: record.waitingFor.join(', '), blockers, needs: blockers.length }];
    }
    if (record.state === 'ready')
      return [...(runsElsewhere(record) ? NOTHING : slotFor(record)), ...limitWaits(facts, record)];
    const run = record.local instanceof LocalHandle ? record.local.run : undefined;
    if (run?.phase === 'queued' && run.agent !== undefined) return slotOf([run.agent]);
    return run?.phase === 'parked' ? slotFor(record) : NOTHING;
  };
  const slotFor = (record: Pick<TaskRecord, 'body'>): readonly Requirement[] =>
    slotOf([...agents.all()].filter((agent) => mayRun(agent, record)));
  const stored = (node: string): TaskRecord | undefined =>
    isRunNode(node) ? facts.record(nodeName(node)) : undefined;
  return {
    abortable: false,
    requirements(node) {
      const resuming = waits.waiting.get(node);
      if (resuming?.phase === 'resuming' && resuming.agent !== undefined) return slotOf([resuming.agent]);
      const locked = waits.locked(node);
      if (locked?.phase === 'queued' && locked.agent !== undefined) return slotOf([locked.agent]);
      if (locked !== undefined) return slotFor(locked.claim);
      // Only a child somebody waits for, and what that depends on, can stand in the way before it has begun.
      if (waits.children.size === 0 || resuming !== undefined) return NOTHING;
      const record = stored(node);
      return record === undefined ? NOTHING : ofStored(record);
    },
    knows(node) {
      const record = stored(node);
      return record !== undefined && !isEnded(record);
    },
    abort: () => false,
    waiting: () => [...waits.children.keys(), ...waits.lockedNodes()],
    // Whoever holds a slot may be in the way of an awaited child, of a run that wants its slot back, or of one that has its locks.
    blocks: () => waits.waiting.size > 0 || waits.lockedNodes().length > 0,
  };
}

function isEnded({ state }: TaskRecord): boolean {
  return state === 'completed' || state === 'dead' || state === 'cancelled' || state === 'skipped';
}

/** Whether an agent could ever run this task. */
export function mayRun(agent: Agent, record: Pick<TaskRecord, 'body'>): boolean {
  const { body } = record;
  if (agent.gone || agent.draining) return false;
  if (body.agent === undefined) return !agent.isImplicit && agent.canDo(body);
  return agent.id === body.agent && (agent.isImplicit || settingsOf(body).only !== true || agent.canDo(body));
}
