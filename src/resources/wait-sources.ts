import type { DeadlockError } from '../core/deadlock-error.ts';
import type { CycleEdge } from '../core/ports/locks.ts';
import type { Awaitable } from '../core/ports/words.ts';
import type { NodeFacts, Requirement, WaitSource } from '../core/waits.ts';
import type { StuckNode, WaitView } from './reduce.ts';

const NOTHING: readonly Requirement[] = [];

/** Whether it tells of a store across a network, of which this process has but pictures. */
export function isRemote(source: WaitSource): boolean {
  return source.picture !== undefined;
}

export function isEmpty(nodes: Iterable<string>): boolean {
  for (const _ of nodes) return false;
  return true;
}

/** Whether anybody may wait for `node` there. */
export function blocks(source: WaitSource, node: string): boolean {
  if (source.blocks !== undefined) return source.blocks(node);
  for (const waiting of source.waiting()) if (waiting !== node) return true;
  return requirementsIn(source, node).some((need) => need.blockers.some((blocker) => blocker.node === node));
}

function requirementsIn(source: WaitSource, node: string): readonly Requirement[] {
  return source.isWaiting === undefined || source.isWaiting(node) ? source.requirements(node) : NOTHING;
}

export function isWaiting(sources: readonly WaitSource[], node: string): boolean {
  return sources.some((source) => source.isWaiting?.(node) ?? source.requirements(node).length > 0);
}

export function requirementsOf(sources: readonly WaitSource[], node: string): readonly Requirement[] {
  let found = NOTHING;
  for (const source of sources) {
    const more = requirementsIn(source, node);
    if (more.length > 0) found = found.length === 0 ? more : [...found, ...more];
  }
  return found;
}

export function viewOf(sources: readonly WaitSource[]): WaitView {
  return {
    isWaiting: (node) => isWaiting(sources, node),
    requirements: (node) => requirementsOf(sources, node),
  };
}

/** Joins what the sources know; the most cautious figure of each. */
export function factsOf(sources: readonly WaitSource[], node: string): NodeFacts | undefined {
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

export function labelled(edge: CycleEdge, sources: readonly WaitSource[]): CycleEdge {
  const agent = factsOf(sources, edge.waiter)?.agent;
  return agent === undefined ? edge : { ...edge, agent };
}

export function canEnd(sources: readonly WaitSource[], node: string): boolean {
  return sources.some((source) => source.abortable !== false && requirementsIn(source, node).length > 0);
}

export function endWait(
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
