import type { CycleEdge, LockRow, WaitSnapshot } from '../../../core/ports/locks.ts';
import type { BackendTime, Token } from '../../../core/ports/words.ts';
import type { RedisStore } from '../connection.ts';
import { defineScript } from '../scripts.ts';
import {
  modeOf,
  resourceStateOf,
  type ResourceState,
  type StoredRequest,
  storedRequestOf,
  versionAt,
} from './lock-texts.ts';
import {
  LOCK_CONTENDED,
  LOCK_PUBLISHED,
  LOCK_REACH,
  LOCK_REST,
  LOCK_ROWS,
  ROW_LIMIT,
} from './lua/pictures.ts';

const CONTENDED = defineScript('lock-contended', LOCK_CONTENDED);
const PUBLISHED = defineScript('lock-published', LOCK_PUBLISHED);
const REACH = defineScript('lock-reach', LOCK_REACH);
const REST = defineScript('lock-rest', LOCK_REST);
const ROWS = defineScript('lock-rows', LOCK_ROWS);

/** Most resources, and waiters at them, that one script reads. */
const PAGE_ROWS = 100;
const PAGE_WAITERS = 500;

type RowText = readonly [
  name: string,
  state: string,
  holders: readonly string[],
  ...queues: (number | readonly string[])[],
];
type RowsAnswer = readonly [at: string, rows: readonly RowText[], requests: readonly string[]];

interface Waiter {
  readonly id: string;
  readonly mode: number;
  readonly rank: number;
  /** Urgency and arrival: says who goes first of those with one rank. */
  readonly turn: string;
}

interface Row {
  readonly resource: string;
  readonly state: ResourceState;
  readonly holders: string[];
  readonly waiters: Waiter[];
}

/**
 * What was read of the lock table, page by page. It is no picture of one moment, and need not be: the version of a wait is taken from the state
 * of each of its resources as that was read FIRST, before anybody who holds it or waits there. So whatever changed since moves the version, and
 * `abort`, which compares those of a whole cycle in one script, refuses. A true deadlock stands still and is seen whole.
 */
export class LockPicture {
  readonly #store: RedisStore;
  readonly #rows = new Map<string, Row>();
  readonly #requests = new Map<string, StoredRequest>();
  #at = 0 as BackendTime;

  constructor(store: RedisStore) {
    this.#store = store;
  }

  get at(): BackendTime {
    return this.#at;
  }

  request(id: string): StoredRequest | undefined {
    return this.#requests.get(id);
  }

  /** Reads everything that somebody waits for. */
  async readContended(): Promise<void> {
    let cursor = '0';
    do {
      const answer = await this.#store.run(CONTENDED, [cursor], 'read');
      const [at, next, found] = answer as [string, string, string[]];
      if (cursor === '0') this.#at = Number(at) as BackendTime;
      const names: [string, number][] = [];
      for (let i = 0; i < found.length; i += 2) {
        const name = found[i] as string;
        if (!this.#rows.has(name)) names.push([name, -Number(found[i + 1])]);
      }
      await Promise.all(pagesOf(names).map((page) => this.readRows(page)));
      cursor = next;
    } while (cursor !== '0');
  }

  /** Reads resources. @param most waiters of a mode; without it, all */
  async readRows(names: readonly string[], most?: number, leases = false): Promise<void> {
    if (names.length === 0) return;
    const answer = await this.#store.run(ROWS, [most ?? ROW_LIMIT, leases ? '1' : '', ...names], 'read');
    await this.#add(answer as RowsAnswer, most === undefined);
  }

  /** Reads what an owner waits for, and what those wait for who are in its way. */
  async readAround(owner: string, published: readonly CycleEdge[]): Promise<void> {
    const asked = new Set<string>();
    for (let owners: readonly string[] = [owner]; owners.length > 0; ) {
      for (const name of owners) asked.add(name);
      const [at, rows, requests, left] = (await this.#store.run(
        REACH,
        [owners.length, ...owners, ...this.#rows.keys()],
        'read',
      )) as [...RowsAnswer, string[]];
      await this.#add([at, rows, requests], true);
      const next = new Set(left);
      const known = new Set([...asked, ...[...this.#requests.values()].map(({ ownerId }) => ownerId)]);
      for (const { waiter, holder } of published) if (known.has(waiter)) next.add(holder);
      owners = [...next].filter((name) => !asked.has(name)).slice(0, PAGE_WAITERS);
    }
  }

  /** What sessions publish. */
  async readPublished(): Promise<CycleEdge[]> {
    const edges: CycleEdge[] = [];
    let cursor = '0';
    do {
      const [next, texts] = (await this.#store.run(PUBLISHED, [cursor], 'read')) as [string, string[]];
      for (const text of texts) edges.push(...(JSON.parse(text) as CycleEdge[]));
      cursor = next;
    } while (cursor !== '0');
    return edges;
  }

  snapshot(published: readonly CycleEdge[]): WaitSnapshot {
    const owners = new Map<string, StoredRequest>();
    const versions = new Map<string, number>();
    const remember = (request: StoredRequest): string => {
      // What an owner says of itself changes, and counts as of its latest wait.
      const known = owners.get(request.ownerId);
      if (known === undefined || (request.isWaiting && (!known.isWaiting || known.at <= request.at)))
        owners.set(request.ownerId, request);
      return request.ownerId;
    };
    const resources = [...this.#rows.values()].map(({ resource, state, holders, waiters }) => ({
      resource,
      ...(state.of > 0 ? { capacity: state.of } : {}),
      held: this.#known(holders, false).map((request) => {
        const item = itemOf(request, resource);
        return {
          owner: remember(request),
          grant: { id: request.id, token: item.token },
          mode: modeOf(item.mode, item.units, state.of),
        };
      }),
      queue: this.#known(
        waiters.map(({ id }) => id),
        true,
      ).map((request) => {
        const item = itemOf(request, resource);
        return {
          owner: remember(request),
          wait: { id: request.id, version: this.#versionOf(request, versions) },
          mode: modeOf(item.mode, item.units, state.of),
          ...(request.upgradeOf === undefined ? {} : { upgradeOf: request.upgradeOf }),
        };
      }),
    }));
    return { at: this.#at, resources, owners: [...owners.values()].map(({ owner }) => owner), published };
  }

  rows(): LockRow[] {
    const at = this.#at;
    return [...this.#rows.values()].map(({ resource, state, holders, waiters }) => {
      const queue = this.#known(
        waiters.map(({ id }) => id),
        true,
      );
      return {
        resource,
        holders: this.#known(holders, false).map((request) => {
          const item = itemOf(request, resource);
          return {
            owner: request.owner,
            grant: { id: request.id, token: request.items[0]?.token ?? item.token },
            mode: modeOf(item.mode, item.units, state.of),
            token: item.token,
            heldForMs: Math.max(0, (at - request.at) / 1_000),
            expiresInMs: Math.max(0, (request.endsAt - at) / 1_000),
          };
        }),
        waiting: state.waiting,
        longestWaitMs: queue.reduce((longest, { at: since }) => Math.max(longest, (at - since) / 1_000), 0),
      };
    });
  }

  /** Whether somebody with this label holds a resource or waits for it. */
  hasAgent(resource: string, agent: string): boolean {
    const row = this.#rows.get(resource);
    if (row === undefined) return false;
    const ids = [...row.holders, ...row.waiters.map(({ id }) => id)];
    return ids.some((id) => this.#requests.get(id)?.owner.agent === agent);
  }

  async #add([at, rows, requests]: RowsAnswer, isWhole: boolean): Promise<void> {
    if (this.#at === 0 || !isWhole) this.#at = Number(at) as BackendTime;
    this.#addRequests(requests);
    const rests: Promise<void>[] = [];
    for (const [resource, text, holders, ...queues] of rows) {
      if (this.#rows.has(resource)) continue;
      const state = resourceStateOf(text);
      const row: Row = { resource, state, holders: [], waiters: [] };
      this.#rows.set(resource, row);
      if (holders[0] === '') rests.push(this.#readRest(row, 0, '0'));
      else row.holders.push(...holders);
      for (let i = 0; i < queues.length; i += 2) {
        const mode = queues[i] as number;
        const page = queues[i + 1] as readonly string[];
        addWaiters(row, mode, page);
        if (isWhole && page.length >= 2 * ROW_LIMIT) rests.push(this.#readRest(row, mode, String(ROW_LIMIT)));
      }
      row.waiters.sort(inTurn);
    }
    await Promise.all(rests);
  }

  /** @param mode as the scripts count; 0: holders */
  async #readRest(row: Row, mode: number, from: string): Promise<void> {
    let cursor = from;
    do {
      const [, next, part, requests] = (await this.#store.run(
        REST,
        [row.resource, mode, cursor],
        'read',
      )) as [string, string, string[], string[]];
      this.#addRequests(requests);
      if (mode === 0) row.holders.push(...part.filter((id) => !row.holders.includes(id)));
      else addWaiters(row, mode, part);
      cursor = next;
    } while (cursor !== '0');
    row.waiters.sort(inTurn);
  }

  /** Of a request that changed between two pages the first reading counts. */
  #addRequests(texts: readonly string[]): void {
    for (let i = 0; i < texts.length; i += 3) {
      const id = texts[i] as string;
      if (this.#requests.has(id)) continue;
      this.#requests.set(id, storedRequestOf(id, texts[i + 1] as string, texts[i + 2] as string));
    }
  }

  #known(ids: readonly string[], waiting: boolean): StoredRequest[] {
    return ids.flatMap((id) => {
      const request = this.#requests.get(id);
      return request === undefined || request.isWaiting !== waiting ? [] : [request];
    });
  }

  #versionOf({ id, items }: StoredRequest, known: Map<string, number>): number {
    let version = known.get(id);
    if (version === undefined) {
      version = items.reduce((sum, { resource, mode }) => {
        const row = this.#rows.get(resource);
        return row === undefined ? sum : sum + versionAt(row.state, mode);
      }, 0);
      known.set(id, version);
    }
    return version;
  }
}

function itemOf(request: StoredRequest, resource: string): StoredRequest['items'][number] {
  return (
    request.items.find((item) => item.resource === resource) ?? {
      resource,
      mode: 0,
      units: 0,
      token: 0 as Token,
    }
  );
}

function addWaiters(row: Row, mode: number, page: readonly string[]): void {
  const known = new Set(row.waiters.map(({ id }) => id));
  for (let i = 0; i < page.length; i += 2) {
    const [turn = '', , , ...id] = (page[i] as string).split(':');
    const name = id.join(':');
    if (!known.has(name))
      row.waiters.push({ id: name, mode: mode - 1, rank: rankOf(page[i + 1] as string), turn });
  }
}

function rankOf(text: string): number {
  return text === '-inf' ? Number.NEGATIVE_INFINITY : Number(text);
}

function inTurn(a: Waiter, b: Waiter): number {
  if (a.rank !== b.rank) return a.rank < b.rank ? -1 : 1;
  return a.turn < b.turn ? -1 : 1;
}

/** Names in pages that one script can read quickly. */
function pagesOf(names: readonly (readonly [name: string, waiting: number])[]): string[][] {
  const pages: string[][] = [];
  let room = 0;
  for (const [name, waiting] of names) {
    const page = pages.at(-1);
    if (page === undefined || page.length === PAGE_ROWS || room < waiting) {
      pages.push([name]);
      room = PAGE_WAITERS - waiting;
    } else {
      page.push(name);
      room -= waiting;
    }
  }
  return pages;
}
