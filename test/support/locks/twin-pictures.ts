import type { LockMode, LockRow, LockStore, WaitSnapshot } from '../../../src/core/ports/locks.ts';
import type { Sessions } from '../../../src/core/ports/sessions.ts';
import type { Page, SessionNumber, Token } from '../../../src/core/ports/words.ts';
import { excludes, includes } from './snapshot-graph.ts';

/** One of two stores, with its sessions and the tokens that it gave. */
export interface TwinSide {
  readonly name: string;
  readonly locks: LockStore;
  readonly sessions: Sessions;
  readonly pass: (ms: number) => Promise<void>;
  readonly callers: { session: SessionNumber; sequence: number }[];
  /** By request: the last one that is known. */
  readonly tokens: Map<string, Token>;
}

/** Everything that is held and wanted, without what stores say in ways of their own: tokens, versions, ends of sessions. */
export function factsOf({ resources, owners }: WaitSnapshot, { items }: Page<LockRow>): unknown {
  return {
    contended: resources
      .map(({ resource, capacity, held, queue }) => ({
        resource,
        capacity,
        held: held.map(({ owner, grant, mode }) => ({ owner, id: grant.id, mode })).toSorted(byId),
        queue: queue.map(({ owner, wait, mode, upgradeOf }) => ({ owner, id: wait.id, mode, upgradeOf })),
      }))
      .toSorted(byName),
    rows: items.map(({ resource, holders, waiting, longestWaitMs }) => ({
      resource,
      waiting,
      longestWaitMs: Math.round(longestWaitMs),
      holders: holders
        .map(({ owner, grant, mode, heldForMs }) => ({
          owner: owner.id,
          agent: owner.agent,
          id: grant.id,
          mode,
          heldForMs: Math.round(heldForMs),
        }))
        .toSorted(byId),
    })),
    owners: owners.map(({ id, agent }) => ({ id, agent })).toSorted(byId),
  };
}

/**
 * For each wait, version and resource: who is in its way there, as a holder or in front of it; and whether its owner has come to hold there
 * what it wants.
 */
export function frontsOf(snapshot: WaitSnapshot): Map<string, string> {
  const found = new Map<string, string>();
  for (const { resource, held, queue } of snapshot.resources) {
    queue.forEach(({ wait, mode, owner }, at) => {
      const holders = held
        .filter((holder) => isInTheWay(mode, holder.mode))
        .map(({ grant, mode: by }) => `${grant.id} ${JSON.stringify(by)}`)
        .toSorted();
      const ahead = queue.slice(0, at).filter((other) => isInTheWay(mode, other.mode));
      const covered = held.some((holder) => holder.owner === owner && includes(holder.mode, mode));
      // That it no longer is lets nobody go on.
      const key = `${wait.id} ${wait.version} ${resource}${covered ? ' covered' : ''}`;
      found.set(key, JSON.stringify([holders, ahead.map((other) => other.wait.id)]));
    });
  }
  return found;
}

function isInTheWay(mode: LockMode, other: LockMode): boolean {
  return typeof mode === 'object' || excludes(mode, other);
}

function byId(a: { readonly id: string }, b: { readonly id: string }): number {
  return a.id < b.id ? -1 : 1;
}

function byName(a: { readonly resource: string }, b: { readonly resource: string }): number {
  return a.resource < b.resource ? -1 : 1;
}
