import { andThen } from '../core/awaitable.ts';
import { DeadlockError, namedEdge } from '../core/deadlock-error.ts';
import { describe } from '../core/errors.ts';
import { type EventSink, silentSink } from '../core/events.ts';
import type { CycleEdge } from '../core/ports/locks.ts';
import type { Runtime } from '../core/ports/runtime.ts';
import type { Awaitable } from '../core/ports/words.ts';
import { nodeName } from '../core/run-node.ts';
import type { NodeFacts, Requirement, WaitGraph, WaitSource } from '../core/waits.ts';
import { type FailureReport, failureReport } from './callback-failures.ts';
import { cycleThrough, findDeadlocks, VictimTrial } from './find-deadlock.ts';
import { OpenDeadlocks } from './open-deadlocks.ts';
import { FarLooks } from './far-looks.ts';
import { findStuck, type StuckNode } from './reduce.ts';
import { survivorOf } from './survivor.ts';
import {
  blocks,
  canEnd,
  endWait,
  factsOf,
  isRemote,
  isWaiting,
  labelled,
  requirementsOf,
  viewOf,
} from './wait-sources.ts';
import { compareVictims, isSpared, type VictimCandidate } from './victim.ts';

/** Chooses whose wait ends: the id of one of the candidates, of which each breaks the deadlock. The cycle is a shortest one through the default choice. */
export type VictimPolicy = (
  cycle: readonly CycleEdge[],
  candidates: readonly VictimCandidate[],
) => string | undefined;

export interface WaitForGraphOptions {
  readonly runtime: Runtime;
  readonly events?: EventSink | undefined;
  /** @default lowest priority, fewest defeats, youngest, fewest locks */
  readonly victim?: VictimPolicy | undefined;
  /** False: nobody's wait is ended. Requests that merely queue in one another's way are still sorted out. @default true */
  readonly enabled?: boolean | undefined;
}

/** More rounds than this for one look mean that sources contradict themselves. */
const MAX_ROUNDS = 1_000;

/**
 * The one wait-for graph. It stores no edges: it asks its sources when a wait begins, follows only what that wait depends on, and ends
 * one wait of each deadlock it finds.
 *
 * Guarantees: only waits that could never end are ended (D1), inside the call that began the last of them (D2; on a store across a network
 * within two looks), one for each independent cycle (D3), and nobody six times in a row as long as another will do (D5).
 */
export class WaitForGraph implements WaitGraph {
  readonly #runtime: Runtime;
  readonly #events: EventSink;
  readonly #policy: VictimPolicy | undefined;
  readonly #enabled: boolean;
  readonly #open: OpenDeadlocks;
  readonly #failed: FailureReport;
  #sources: readonly WaitSource[] = [];
  #remote = false;
  readonly #far: FarLooks;

  constructor(options: WaitForGraphOptions) {
    this.#runtime = options.runtime;
    this.#events = options.events ?? silentSink;
    this.#policy = options.victim;
    this.#enabled = options.enabled ?? true;
    this.#open = new OpenDeadlocks(options.runtime.clock, this.#events);
    this.#failed = failureReport(this.#events, options.runtime.logger);
    this.#far = new FarLooks({
      clock: options.runtime.clock,
      sources: () => this.#sources,
      open: this.#open,
      endsWaits: this.#enabled,
      break: (members, sources) => this.#break(members, sources),
      failed: this.#failed,
    });
  }

  addSource(source: WaitSource): Disposable {
    this.#setSources([...this.#sources, source]);
    return {
      [Symbol.dispose]: () => this.#setSources(this.#sources.filter((known) => known !== source)),
    };
  }

  #setSources(sources: readonly WaitSource[]): void {
    this.#sources = sources;
    this.#remote = sources.some(isRemote);
  }

  /** @param noLock nobody waits for a lock that this node holds or stands in front of: the lock store says so */
  entered(node: string, noLock = false): void {
    try {
      this.#entered(node, noLock);
    } catch (error) {
      // The wait of whoever called goes on; somebody's source of waits is broken.
      this.#failed('Looking for deadlocks', error);
    }
  }

  #entered(node: string, noLock: boolean): void {
    const sources = this.#sources;
    if (this.#remote) {
      this.#far.entered(node);
    }
    if (this.#open.unreported > 0) this.#open.check((known) => isWaiting(sources, known));
    // The first source is the locks'.
    for (let i = noLock ? 1 : 0; i < sources.length; i++) {
      if (blocks(sources[i] as WaitSource, node)) return this.#resolve([node], sources);
    }
  }

  /** Whether {@link left} has anything to note. */
  get hasOpen(): boolean {
    return this.#open.size > 0;
  }

  get hasDefeats(): boolean {
    return this.#open.hasDefeats;
  }

  left(node: string): void {
    this.#open.left(node);
    this.#far.changed(node);
  }

  /** `node` holds and wants nothing any more: unless it made room as a victim, its row of defeats ends here. */
  finished(node: string): void {
    this.#open.finished(node);
  }

  sweep(): void {
    try {
      this.#sweep();
    } catch (error) {
      this.#failed('Looking for deadlocks', error);
    }
  }

  #sweep(): void {
    const sources = this.#sources.filter((source) => !isRemote(source));
    this.#resolve(new Set(sources.flatMap((source) => [...source.waiting()])), sources);
    if (this.#sources.length > sources.length) this.#far.look();
  }

  /** What a node waits for now, for people. */
  requirements(node: string): readonly Requirement[] {
    return requirementsOf(this.#sources, node);
  }

  /** Whether a source says that the node is alive. */
  knows(node: string): boolean {
    return this.#sources.some((source) => source.knows?.(node) === true);
  }

  /** What is known of a node. */
  facts(node: string): NodeFacts | undefined {
    return factsOf(this.#sources, node);
  }

  /** How often in a row a node's wait was ended. */
  defeats(node: string): number {
    return this.#open.defeats(node);
  }

  /** Stops looking at stores across a network. Idempotent. */
  stop(): void {
    this.#far.stop();
  }

  /** Breaks deadlocks until the roots can finish, or nothing more can be done. */
  #resolve(roots: Iterable<string>, sources: readonly WaitSource[]): void {
    const view = viewOf(sources);
    const nodes = [...roots];
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const stuck = findStuck(nodes, view);
      if (stuck.size === 0) return;
      if (nodes.length === 1 && this.#passes(nodes[0] as string, stuck, sources)) continue;
      if (!this.#enabled) return;
      const [newcomer] = nodes.length === 1 ? nodes : [];
      const broken = findDeadlocks(stuck).map((members) => this.#break(members, sources, newcomer));
      // A source in this process answers in place; `false` of one means that the wait ended meanwhile.
      if (!broken.includes(true)) return;
    }
  }

  /** Whether the newcomer can go on by going before those who can't go on before it does: then nobody need be a victim. */
  #passes(node: string, stuck: ReadonlyMap<string, StuckNode>, sources: readonly WaitSource[]): boolean {
    return sources.some((source) => source.pass?.(node, stuck) === true);
  }

  /** Ends one wait of a deadlock. False: none of it can be ended. */
  #break(
    members: readonly StuckNode[],
    sources: readonly WaitSource[],
    newcomer?: string,
  ): Awaitable<boolean> {
    const choice = this.#choose(members, sources, newcomer);
    if (choice === undefined) return false;
    const { victim, cycle } = choice;
    const error = new DeadlockError({
      cycle,
      agents: unique(cycle.map((edge) => edge.agent ?? edge.waiter)),
      resources: unique(cycle.flatMap((edge) => (isLock(edge) ? [edge.what] : []))),
      survivor: survivorOf(cycle),
    });
    // Counted before the wait ends: whoever is told must find it counted already.
    const known = this.#open.begin(victim, cycle);
    this.#report(error, victim);
    const ended = endWait(sources, victim, error, members);
    return andThen(ended, (done) => {
      if (!done) this.#open.forget(known);
      return done;
    });
  }

  #report(error: DeadlockError, victim: string): void {
    const { agents, resources, cycle } = error;
    const name = nodeName(victim);
    this.#runtime.logger.debug(error.message, { victim: name });
    if (!this.#events.wants('deadlock:detected')) return;
    this.#events.emit('deadlock:detected', { agents, resources, cycle, victim: name });
  }

  #choose(
    members: readonly StuckNode[],
    sources: readonly WaitSource[],
    newcomer: string | undefined,
  ): { readonly victim: string; readonly cycle: readonly CycleEdge[] } | undefined {
    const abortable = members.filter(({ id }) => canEnd(sources, id));
    const candidates = abortable.map(({ id }) => this.#candidate(id, sources)).sort(compareVictims);
    const byId = new Map(members.map((member) => [member.id, member]));
    const trial = new VictimTrial(members);
    const enough = (candidate: VictimCandidate): boolean =>
      trial.frees(byId.get(candidate.node) as StuckNode);
    // Rather two victims than one that has lost too often.
    const fresh = candidates.filter((candidate) => !isSpared(candidate));
    const first =
      fresh.find(enough) ??
      // Where nobody is enough for certain, whoever closed the cycles is: each goes through it.
      fresh.find(({ node }) => node === newcomer) ??
      fresh[0] ??
      candidates.find(enough) ??
      candidates.find(({ node }) => node === newcomer) ??
      candidates[0];
    if (first === undefined) return undefined;
    const cycleOf = (node: string): readonly CycleEdge[] =>
      cycleThrough(byId.get(node) as StuckNode).map((edge) => labelled(edge, sources));
    const cycle = cycleOf(first.node);
    const wanted = this.#ask(cycle, candidates);
    if (wanted === undefined || wanted === first.node) return { victim: first.node, cycle };
    return { victim: wanted, cycle: cycleOf(wanted) };
  }

  #ask(cycle: readonly CycleEdge[], candidates: readonly VictimCandidate[]): string | undefined {
    if (this.#policy === undefined) return undefined;
    try {
      const wanted: unknown = this.#policy(
        cycle.map(namedEdge),
        candidates.map((candidate) => ({ ...candidate, node: nodeName(candidate.node) })),
      );
      if (wanted === undefined) return undefined;
      const chosen = candidates.find(({ node }) => nodeName(node) === wanted);
      if (chosen !== undefined) return chosen.node;
      this.#policyFailed(`named ${describe(wanted)}, which is not a candidate`);
    } catch (error) {
      this.#policyFailed(error instanceof Error ? error.message : describe(error));
    }
    return undefined;
  }

  #policyFailed(message: string): void {
    this.#events.emit('strategy:failed', { strategy: 'victim', message });
  }

  #candidate(node: string, sources: readonly WaitSource[]): VictimCandidate {
    const facts = factsOf(sources, node);
    return {
      node,
      agent: facts?.agent,
      priority: facts?.priority ?? 2,
      since: facts?.since ?? 0,
      locks: facts?.locks ?? 0,
      defeats: Math.max(facts?.defeats ?? 0, this.#open.defeats(node)),
    };
  }
}

function isLock({ by }: CycleEdge): boolean {
  return by === 'lock' || by === 'semaphore';
}

function unique(values: readonly string[]): readonly string[] {
  return [...new Set(values)];
}
