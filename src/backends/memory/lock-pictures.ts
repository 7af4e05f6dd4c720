import type { CycleEdge, LockRow, LockStore, Owner, WaitSnapshot } from '../../core/ports/locks.ts';
import type { BackendTime, Cursor, Page, PageRequest } from '../../core/ports/words.ts';
import { expiresInMs, modeOf } from './lock-answer.ts';
import type { LockDirectory } from './lock-directory.ts';
import { type LockEntry, type LockTicket, type Place, waitOf } from './lock-entry.ts';

interface Table {
  readonly directory: LockDirectory;
  /** The id of a ticket's owner, which is then among the holders if it waits. */
  nodeOf(ticket: LockTicket): string;
}

export type LockFilter = Parameters<LockStore['list']>[0];

/** Everything contended, or what can be reached from one owner by its waits. */
export function snapshotLocks(
  table: Table,
  published: readonly CycleEdge[],
  at: BackendTime,
  around: string | undefined,
): WaitSnapshot {
  const entries =
    around === undefined
      ? [...table.directory.entries.values()].filter((entry) => waitingAt(entry) > 0)
      : reachable(table, published, around);
  const owners = new Map<string, Owner>();
  const resources = entries.map((entry) => ({
    resource: entry.resource,
    ...(entry.of > 0 ? { capacity: entry.of } : {}),
    held: [...chain(entry.holders)].map((place) => ({
      owner: remember(owners, place.ticket),
      grant: { id: place.ticket.id, token: place.token },
      mode: modeOf(place),
    })),
    queue: [...chain(entry.head)].map((place) => ({
      owner: remember(owners, place.ticket),
      wait: { id: place.ticket.id, version: place.ticket.version },
      mode: modeOf(place),
      ...upgradeIn(place),
    })),
  }));
  return { at, resources, owners: [...owners.values()], published };
}

function reachable(table: Table, published: readonly CycleEdge[], around: string): LockEntry[] {
  const found = new Set<LockEntry>();
  const seen = new Set([around]);
  const next = [around];
  const visit = (owner: string): void => {
    if (seen.has(owner)) return;
    seen.add(owner);
    next.push(owner);
  };
  for (let owner = next.pop(); owner !== undefined; owner = next.pop()) {
    for (const edge of published) if (edge.waiter === owner) visit(edge.holder);
    for (const ticket of table.directory.holders.get(owner)?.waits() ?? []) {
      for (const { entry } of ticket.places()) {
        if (found.has(entry)) continue;
        found.add(entry);
        for (const place of chain(entry.holders)) visit(place.ticket.owner.id);
        for (const place of chain(entry.head)) visit(table.nodeOf(place.ticket));
      }
    }
  }
  return [...found];
}

/** Held and contended resources for people, longest queue first. */
export function listLocks(
  table: Table,
  filter: LockFilter,
  page: PageRequest,
  at: BackendTime,
): Page<LockRow> {
  const { scanBudget = 20_000 } = page;
  const rows: LockEntry[] = [];
  let scanned = 0;
  const candidates =
    filter.resource === undefined
      ? table.directory.entries.values()
      : [table.directory.entries.get(filter.resource)];
  for (const entry of candidates) {
    if (entry === undefined || entry.idle) continue;
    scanned += 1;
    if (scanned > scanBudget) break;
    if (matches(entry, filter)) rows.push(entry);
  }
  rows.sort((a, b) => waitingAt(b) - waitingAt(a) || (a.resource < b.resource ? -1 : 1));
  const from = page.after === undefined ? 0 : Number(page.after);
  const items = rows.slice(from, from + page.limit).map((entry) => rowOf(entry, at));
  const end = from + page.limit;
  return { at, items, next: end < rows.length ? (String(end) as Cursor) : undefined, scanned };
}

function matches(entry: LockEntry, filter: LockFilter): boolean {
  if (filter.contended === true && waitingAt(entry) === 0) return false;
  if (filter.prefix !== undefined && !entry.resource.startsWith(filter.prefix)) return false;
  if (filter.agent === undefined) return true;
  for (const place of chain(entry.holders)) if (place.ticket.owner.agent === filter.agent) return true;
  for (const place of chain(entry.head)) if (place.ticket.owner.agent === filter.agent) return true;
  return false;
}

function rowOf(entry: LockEntry, at: BackendTime): LockRow {
  const longest = [...chain(entry.head)].reduce(
    (least, place) => Math.min(least, waitOf(place).since),
    at as number,
  );
  return {
    resource: entry.resource,
    holders: [...chain(entry.holders)].map((place) => ({
      owner: place.ticket.owner,
      grant: { id: place.ticket.id, token: place.ticket.token },
      mode: modeOf(place),
      token: place.token,
      heldForMs: Math.max(0, (at - place.ticket.grantedAt) / 1_000),
      expiresInMs: expiresInMs(place.ticket.lease, at),
    })),
    waiting: waitingAt(entry),
    longestWaitMs: (at - longest) / 1_000,
  };
}

function waitingAt({ queue }: LockEntry): number {
  return queue?.waiting ?? 0;
}

function* chain(first: Place | undefined): Iterable<Place> {
  for (let place = first; place !== undefined; place = place.next) yield place;
}

function remember(owners: Map<string, Owner>, ticket: LockTicket): string {
  const { owner } = ticket;
  if (!owners.has(owner.id)) {
    const { id, agent, task, priority, since, defeats } = ticket.holder?.owner ?? owner;
    owners.set(id, { id, agent, task, priority, since, defeats });
  }
  return owner.id;
}

function upgradeIn(place: Place): { readonly upgradeOf?: string } {
  const { upgrade } = place.ticket;
  return upgrade === undefined ? {} : { upgradeOf: upgrade.id };
}
