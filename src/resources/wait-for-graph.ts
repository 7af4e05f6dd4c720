import { andThen } from '../core/awaitable.ts';
import { DeadlockError, namedEdge } from '../core/deadlock-error.ts';
import { describe } from '../core/errors.ts';
import { type EventSink, silentSink } from '../core/events.ts';
import type { CycleEdge } from '../core/ports/locks.ts';
import type { Runtime, Timer } from '../core/ports/runtime.ts';
import type { Awaitable } from '../core/ports/words.ts';
import { nodeName } from '../core/run-node.ts';
import type { NodeFacts, Requirement, WaitGraph, WaitSource } from '../core/waits.ts';
import { type FailureReport, failureReport } from './callback-failures.ts';
import { cycleThrough, findDeadlocks, VictimTrial } from './find-deadlock.ts';
import { OpenDeadlocks } from './open-deadlocks.ts';
import { edgesToPublish } from './published-waits.ts';
import { findStuck, type StuckNode, type WaitView } from './reduce.ts';
import { survivorOf } from './survivor.ts';
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
/** On a store across a network: first look this long after a wait began, then again while somebody waits, ms. */
const FIRST_LOOK_MS = 200;
const NEXT_LOOK_MS = 500;
/** What others published has to be seen twice. */
const DOUBTFUL_LOOK_MS = 260;
/** From the end of a published wait until the others are told. */
const WITHDRAW_MS = 20;
const NOTHING: readonly Requirement[] = [];
const NOBODY: ReadonlySet<string> = new Set();

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
  #timer: Timer | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  /** Nodes whose waits the others were told of. */
  #published: ReadonlySet<string> = NOBODY;
  #withdrawal: Timer | undefined;
  #looking = false;
  #stopped = false;

  constructor(options: WaitForGraphOptions) {
    this.#runtime = options.runtime;
    this.#events = options.events ?? silentSink;
    this.#policy = options.victim;
    this.#enabled = options.enabled ?? true;
    this.#open = new OpenDeadlocks(options.runtime.clock, this.#events);
    this.#failed = failureReport(this.#events, options.runtime.logger);
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
      this.#withdraw(node);
      this.#look(FIRST_LOOK_MS);
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
    this.#withdraw(node);
  }

  /** What a node waits for has changed: the others are told soon, if they were told before. */
  #withdraw(node: string): void {
    if (!this.#published.has(node) || this.#withdrawal !== undefined || this.#stopped) return;
    this.#withdrawal = this.#runtime.clock.after(WITHDRAW_MS, () => {
      this.#withdrawal = undefined;
      void this.#publish().catch((error: unknown) => this.#failed('Publishing waits', error));
    });
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
    if (this.#sources.length > sources.length) this.#look(0);
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
    this.#stopped = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#withdrawal?.cancel();
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

  // ── stores across a network

  #look(inMs: number): void {
    if (this.#looking || this.#stopped) return;
    const at = this.#runtime.clock.mono() + inMs;
    if (this.#timer !== undefined && at >= this.#timerAt) return;
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer = this.#runtime.clock.after(inMs, () => {
      this.#timer = undefined;
      this.#looking = true;
      void this.#lookAround()
        .catch((error: unknown) => {
          this.#failed('Looking for deadlocks', error);
          return false;
        })
        .then((isDoubtful) => {
          this.#looking = false;
          if (this.#sources.some((source) => isRemote(source) && !isEmpty(source.waiting())))
            this.#look(isDoubtful ? DOUBTFUL_LOOK_MS : NEXT_LOOK_MS);
        });
    });
  }

  /**
   * Takes a picture, ends a wait, and looks again until a picture shows nothing that could be ended.
   * @returns whether something in the last picture can't be believed yet
   */
  async #lookAround(): Promise<boolean> {
    for (let round = 0; round < MAX_ROUNDS && !this.#stopped; round++) {
      const roots = new Set(this.#sources.flatMap((source) => [...source.waiting()]));
      if (roots.size === 0) break;
      await this.#publish();
      const pictures = await Promise.all(
        this.#sources.map((source) => source.picture?.(undefined) ?? source),
      );
      const isDoubtful = pictures.some((picture) => picture.isDoubtful === true);
      this.#open.check((node) => isWaiting(pictures, node));
      const stuck = findStuck(roots, viewOf(pictures));
      if (stuck.size === 0 || !this.#enabled) return isDoubtful;
      const broken = await Promise.all(findDeadlocks(stuck).map((members) => this.#break(members, pictures)));
      if (broken.length === 0 || !broken.includes(true)) return isDoubtful;
    }
    return false;
  }

  /** Tells the other processes what waits here that their stores don't know of. */
  async #publish(): Promise<void> {
    const store = this.#sources.find((source) => source.publish !== undefined);
    if (store === undefined) return;
    const edges = edgesToPublish(this.#sources.filter((source) => source !== store));
    this.#published = new Set(edges.map(({ waiter }) => waiter));
    await store.publish?.(edges);
  }
}

function isRemote(source: WaitSource): boolean {
  return source.picture !== undefined;
}

function isEmpty(nodes: Iterable<string>): boolean {
  for (const _ of nodes) return false;
  return true;
}

/** Whether anybody may wait for `node` there. */
function blocks(source: WaitSource, node: string): boolean {
  if (source.blocks !== undefined) return source.blocks(node);
  for (const waiting of source.waiting()) if (waiting !== node) return true;
  return requirementsIn(source, node).some((need) => need.blockers.some((blocker) => blocker.node === node));
}

function requirementsIn(source: WaitSource, node: string): readonly Requirement[] {
  return source.isWaiting === undefined || source.isWaiting(node) ? source.requirements(node) : NOTHING;
}

function isWaiting(sources: readonly WaitSource[], node: string): boolean {
  return sources.some((source) => source.isWaiting?.(node) ?? source.requirements(node).length > 0);
}

function requirementsOf(sources: readonly WaitSource[], node: string): readonly Requirement[] {
  let found = NOTHING;
  for (const source of sources) {
    const more = requirementsIn(source, node);
    if (more.length > 0) found = found.length === 0 ? more : [...found, ...more];
  }
  return found;
}

function viewOf(sources: readonly WaitSource[]): WaitView {
  return {
    isWaiting: (node) => isWaiting(sources, node),
    requirements: (node) => requirementsOf(sources, node),
  };
}

/** Joins what the sources know; the most cautious figure of each. */
function factsOf(sources: readonly WaitSource[], node: string): NodeFacts | undefined {
  let found: NodeFacts | undefined;
  for (const source of sources) {
    const facts = source.facts?.(node);
    if (facts === undefined) continue;
    found = found === undefined ? facts : joined(found, facts);
  }
  return found;
}

function joined(a: NodeFacts, b: NodeFacts): NodeFacts {
  return {
    agent: a.agent ?? b.agent,
    priority: Math.max(a.priority, b.priority),
    since: Math.min(a.since, b.since),
    defeats: Math.max(a.defeats ?? 0, b.defeats ?? 0),
    locks: Math.max(a.locks ?? 0, b.locks ?? 0),
  };
}

function labelled(edge: CycleEdge, sources: readonly WaitSource[]): CycleEdge {
  const agent = factsOf(sources, edge.waiter)?.agent;
  return agent === undefined ? edge : { ...edge, agent };
}

function canEnd(sources: readonly WaitSource[], node: string): boolean {
  return sources.some((source) => source.abortable !== false && requirementsIn(source, node).length > 0);
}

function endWait(
  sources: readonly WaitSource[],
  victim: string,
  error: DeadlockError,
  members: readonly StuckNode[],
): Awaitable<boolean> {
  const nodes = members.map(({ id }) => id);
  const answers = sources
    .filter((source) => source.abortable !== false && requirementsIn(source, victim).length > 0)
    .map((source) => source.abort(victim, error, nodes));
  if (!answers.some((answer) => typeof answer !== 'boolean')) return answers.includes(true);
  return Promise.all(answers).then((all) => all.includes(true));
}

function isLock({ by }: CycleEdge): boolean {
  return by === 'lock' || by === 'semaphore';
}

function unique(values: readonly string[]): readonly string[] {
  return [...new Set(values)];
}
