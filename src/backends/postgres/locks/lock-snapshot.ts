import type { CycleEdge, Owner, WaitSnapshot } from '../../../core/ports/locks.ts';
import type { BackendTime, Token } from '../../../core/ports/words.ts';
import { labels, modeOf } from './lock-answer.ts';

export const SNAPSHOT =
  'select at, resources, holders, waiters, owners, edges from agentmesh.lock_snapshot_v1($1)';

type Rows<Row> = readonly Row[] | null;

export interface SnapshotText {
  readonly at: BackendTime;
  readonly resources: Rows<readonly [name: string, capacity: number]>;
  readonly holders: Rows<
    readonly [resource: string, mode: number, units: number, owner: string, id: string, token: Token]
  >;
  readonly waiters: Rows<
    readonly [
      resource: string,
      mode: number,
      units: number,
      owner: string,
      id: string,
      upgrade: string | null,
      version: number,
    ]
  >;
  readonly owners: Rows<
    readonly [
      id: string,
      agent: string | null,
      task: string | null,
      priority: number,
      since: BackendTime,
      defeats: number,
    ]
  >;
  readonly edges: Rows<
    readonly [waiter: string, holder: string, by: CycleEdge['by'], what: string, agent: string | null]
  >;
}

type Resource = WaitSnapshot['resources'][number];
type Mutable<List> = List extends readonly (infer Item)[] ? Item[] : never;
interface Open {
  readonly capacity: number;
  readonly held: Mutable<Resource['held']>;
  readonly queue: Mutable<Resource['queue']>;
}

export function snapshotOf(text: SnapshotText): WaitSnapshot {
  const found = new Map<string, Open>();
  for (const [name, capacity] of text.resources ?? []) found.set(name, { capacity, held: [], queue: [] });
  for (const [resource, mode, units, owner, id, token] of text.holders ?? []) {
    const open = found.get(resource) as Open;
    open.held.push({ owner, grant: { id, token }, mode: modeOf(mode, units, open.capacity) });
  }
  for (const [resource, mode, units, owner, id, upgrade, version] of text.waiters ?? []) {
    const open = found.get(resource) as Open;
    const queued = { owner, wait: { id, version }, mode: modeOf(mode, units, open.capacity) };
    open.queue.push(upgrade === null ? queued : { ...queued, upgradeOf: upgrade });
  }
  return {
    at: text.at,
    resources: [...found]
      .filter(([, { held, queue }]) => held.length + queue.length > 0)
      .map(([resource, { capacity, held, queue }]) =>
        capacity > 0 ? { resource, capacity, held, queue } : { resource, held, queue },
      ),
    owners: (text.owners ?? []).map(
      ([id, agent, task, priority, since, defeats]): Owner => ({
        id,
        ...labels(agent, task),
        priority,
        since,
        defeats,
      }),
    ),
    published: (text.edges ?? []).map(([waiter, holder, by, what, agent]) => {
      const edge = { waiter, holder, by, what };
      return agent === null ? edge : { ...edge, agent };
    }),
  };
}
