import type { LockRow, LockStore } from '../../../core/ports/locks.ts';
import type { BackendTime, Cursor, Page, PageRequest, Token } from '../../../core/ports/words.ts';
import { labels, modeOf } from './lock-answer.ts';

export type ListFilter = Parameters<LockStore['list']>[0];

const SCAN_BUDGET = 20_000;

export const LIST = 'select at, scanned, rows from agentmesh.lock_list_v1($1, $2, $3, $4, $5, $6, $7)';

type HolderColumns = readonly [
  mode: number,
  units: number,
  id: string,
  token: Token,
  ownToken: Token,
  owner: string,
  agent: string | null,
  task: string | null,
  priority: number,
  since: BackendTime,
  defeats: number,
  heldForMs: number,
  expiresInMs: number,
];

export interface RowText {
  readonly at: BackendTime;
  readonly scanned: number;
  readonly rows:
    | readonly (readonly [
        resource: string,
        waiting: number,
        longestWaitMs: number,
        capacity: number,
        holders: readonly HolderColumns[] | null,
      ])[]
    | null;
}

export function listValues(filter: ListFilter, page: PageRequest): readonly unknown[] {
  const { resource = null, prefix = null, agent = null, contended = false } = filter;
  return [resource, prefix, agent, contended, page.scanBudget ?? SCAN_BUDGET, page.limit, startOf(page)];
}

export function pageOf({ at, scanned, rows }: RowText, page: PageRequest): Page<LockRow> {
  const found = rows ?? [];
  const next = found.length > page.limit ? (String(startOf(page) + page.limit) as Cursor) : undefined;
  return { at, items: found.slice(0, page.limit).map(rowOf), next, scanned };
}

function startOf({ after }: PageRequest): number {
  return after === undefined ? 0 : Number(after);
}

function rowOf([resource, waiting, longestWaitMs, capacity, holders]: NonNullable<
  RowText['rows']
>[number]): LockRow {
  return {
    resource,
    holders: (holders ?? []).map((columns) => holderOf(columns, capacity)),
    waiting,
    longestWaitMs,
  };
}

function holderOf(columns: HolderColumns, capacity: number): LockRow['holders'][number] {
  const [
    mode,
    units,
    id,
    token,
    ownToken,
    owner,
    agent,
    task,
    priority,
    since,
    defeats,
    heldForMs,
    expiresInMs,
  ] = columns;
  return {
    owner: { id: owner, ...labels(agent, task), priority, since, defeats },
    grant: { id, token },
    mode: modeOf(mode, units, capacity),
    token: ownToken,
    heldForMs: Math.max(0, heldForMs),
    expiresInMs: Math.max(0, expiresInMs),
  };
}
