import { andThen, isPromise } from '../core/awaitable.ts';
import type { DeadlockError } from '../core/deadlock-error.ts';
import type { CycleEdge, LiveLocks, LockStore, WaitRef } from '../core/ports/locks.ts';
import type { Operations } from '../core/operations.ts';
import type { Runtime } from '../core/ports/runtime.ts';
import type { Awaitable } from '../core/ports/words.ts';
import type { WaitSource } from '../core/waits.ts';
import { PublishedWaits } from './published-waits.ts';
import { SnapshotWaits } from './snapshot-waits.ts';

/** Nodes whose waits are compared in one call without a thought. */
const MANY = 100;

/** What lock waits need of the part that sends them. */
export interface LockWaitsHost {
  readonly runtime: Runtime;
  readonly store: LockStore;
  readonly operations: Operations;
  readonly owners: {
    records(): Iterable<{ readonly status: string; readonly holder: { readonly id: string } }>;
  };
}

/** Lock and semaphore waits as edges of the wait-for graph: read from the table of a store in this process, else from its snapshots. */
export function lockWaits(host: LockWaitsHost): WaitSource {
  const { live } = host.store;
  return live === undefined ? remoteWaits(host) : liveWaits(host, live);
}

function liveWaits(host: LockWaitsHost, live: LiveLocks): WaitSource {
  return {
    isWaiting: (node) => live.isWaiting(node),
    requirements: (node) => live.requirements(node),
    blocks: (node) => live.blocks(node),
    waiting: () => live.waiting(),
    pass: (node, stuck) => live.pass(node, stuck),
    facts: (node) => live.owner(node),
    abort: (node, error) => abortAll(host, error, concerned(live.waits(node), error.nodes.cycle, node), []),
  };
}

function remoteWaits(host: LockWaitsHost): WaitSource {
  const published = new PublishedWaits();
  /** Whether the store has what was published last. */
  let isSure = true;
  return {
    isWaiting: () => false,
    requirements: () => [],
    // What this process knows of a store across a network is never the whole picture.
    blocks: () => false,
    *waiting() {
      for (const { status, holder } of host.owners.records()) if (status === 'waiting') yield holder.id;
    },
    abort: () => false,
    publish: (edges) => {
      if (isSure && !published.differs(edges)) return true;
      const before = published.own;
      published.own = edges;
      isSure = true;
      const sent = host.store.publish(host.operations.session, edges);
      if (!isPromise(sent)) return true;
      return sent.then(
        () => true,
        () => {
          // Whichever of them the store has: they are this process's own.
          published.own = [...before, ...published.own];
          isSure = false;
          return false;
        },
      );
    },
    picture: (around) =>
      andThen(host.store.snapshot(around), (snapshot): WaitSource => {
        const { edges, doubtful } = published.believed(snapshot.published, host.runtime.clock.mono());
        const waits = new SnapshotWaits(snapshot, edges);
        return {
          isDoubtful: doubtful,
          isWaiting: (node) => waits.isWaiting(node),
          requirements: (node) => waits.requirements(node),
          waiting: () => waits.waiting(),
          facts: (node) => waits.facts(node),
          abort: (node, error, members) => {
            const { cycle } = error.nodes;
            const all = concernedNodes(cycle, members);
            // Had any of them gone on meanwhile, the others might go on as well.
            const witnesses = all.flatMap((other) =>
              other === node ? [] : waits.waits(other).map(({ ref }) => ref),
            );
            return abortAll(host, error, concerned(waits.waits(node), cycle, node), witnesses);
          },
        };
      }),
  };
}

/**
 * Whose waits must stand still for a deadlock to stand. A cycle without semaphores stands by itself, so of a large knot only the cycle is looked
 * at: thousands may queue behind it. With semaphores it is all of its members, for any of them might give what is missing.
 */
function concernedNodes(
  cycle: readonly CycleEdge[],
  members: readonly string[] | undefined,
): readonly string[] {
  const inCycle = unique(cycle.map((edge) => edge.waiter));
  if (members === undefined) return inCycle;
  const isLarge = members.length > MANY && members.length > inCycle.length;
  return isLarge && cycle.every(({ by }) => by !== 'semaphore') ? inCycle : members;
}

type OwnWait = { readonly ref: WaitRef; readonly resources: readonly string[] };

/** The waits of a node that are part of the cycle; all, if the cycle doesn't tell. */
function concerned(waits: readonly OwnWait[], cycle: readonly CycleEdge[], node: string): readonly OwnWait[] {
  const names = new Set(cycle.flatMap((edge) => (edge.waiter === node ? [edge.what] : [])));
  const found = waits.filter(({ resources }) => resources.some((resource) => names.has(resource)));
  return found.length > 0 ? found : waits;
}

function abortAll(
  host: LockWaitsHost,
  error: DeadlockError,
  waits: readonly OwnWait[],
  witnesses: readonly WaitRef[],
): Awaitable<boolean> {
  const answers = waits.map(({ ref }) => {
    return andThen(
      host.operations.run((op) => host.store.abort(op, ref, error.nodes.cycle, witnesses)),
      ({ aborted }) => aborted,
    );
  });
  if (answers.every((answer) => typeof answer === 'boolean')) return answers.includes(true);
  return Promise.all(answers).then((all) => all.includes(true));
}

function unique(values: readonly string[]): readonly string[] {
  return [...new Set(values)];
}
