import type { Claim, ClaimRequest, TakeoverSource } from '../../../core/ports/tasks.ts';
import type { SessionNumber } from '../../../core/ports/words.ts';
import { MemoryClaim } from './memory-claim.ts';
import { Offers } from './offers.ts';
import { ADOPTED, type Holder, type Moment, rareOf, STARTED, type TaskRow } from './row.ts';
import type { TaskTable } from './table.ts';

export interface TakeoverRequest {
  readonly from: TakeoverSource;
  readonly match: Pick<ClaimRequest, 'queues' | 'offers' | 'agents'> | 'any';
  readonly limit: number;
  readonly maxMoves: number;
  readonly steal: string;
}

/** Takes claims of other sessions: the last ones of a live session, which it would have come to last; the first ones of a dead one. */
export function takeover(
  table: TaskTable,
  session: SessionNumber,
  { from, match, limit, maxMoves, steal }: TakeoverRequest,
  now: Moment,
): readonly Claim[] {
  const claims: Claim[] = [];
  const room = match === 'any' ? undefined : new Room(table, match);
  const candidates = from === 'dead' ? deadClaims(table) : idleClaims(table, from.idle, maxMoves);
  for (const row of candidates) {
    if (claims.length >= limit) break;
    if (row.queue.settings.paused || room?.takes(row) === false) continue;
    const wasStarted = countMove(row);
    table.reclaim(row, table.holders.of(session), steal, now);
    claims.push(new MemoryClaim(row, wasStarted, true));
  }
  return claims;
}

/** Counts a move of an unstarted claim, or a crash of a started one, once. True when it had been started. */
function countMove(row: TaskRow): boolean {
  if ((row.flags & STARTED) === 0) {
    rareOf(row).moves += 1;
    return false;
  }
  if ((row.flags & ADOPTED) === 0) rareOf(row).crashes += 1;
  row.flags |= ADOPTED;
  return true;
}

/** A copy, because taking changes the lists. */
function deadClaims(table: TaskTable): readonly TaskRow[] {
  return [...table.holders.dead].flatMap((holder) => claimsOf(holder));
}

function idleClaims(table: TaskTable, victim: SessionNumber, maxMoves: number): readonly TaskRow[] {
  const holder = table.holders.get(victim);
  if (holder === undefined) return [];
  return claimsOf(holder)
    .toReversed()
    .filter((row) => (row.flags & STARTED) === 0 && (row.rare?.moves ?? 0) < maxMoves);
}

function claimsOf({ claims }: Holder): TaskRow[] {
  const rows: TaskRow[] = [];
  for (let row = claims.first; row !== undefined; row = row.next) rows.push(row);
  return rows;
}

/** What the taker can run, counted down. */
class Room {
  readonly #table: TaskTable;
  readonly #offers: Offers;
  readonly #agents: ReadonlySet<string>;
  readonly #queues: Map<string, number> | undefined;

  constructor(
    table: TaskTable,
    { queues, offers, agents }: Pick<ClaimRequest, 'queues' | 'offers' | 'agents'>,
  ) {
    this.#table = table;
    this.#offers = new Offers(table.kinds, offers);
    this.#agents = new Set(agents);
    this.#queues =
      queues === undefined ? undefined : new Map(queues.map(({ queue, limit }) => [queue, limit]));
  }

  takes({ task, queue }: TaskRow): boolean {
    const left = this.#queues === undefined ? Number.POSITIVE_INFINITY : (this.#queues.get(queue.name) ?? 0);
    if (left <= 0) return false;
    if (task.agent !== undefined) return this.#agents.has(task.agent);
    if (!this.#offers.take({ type: task.type, capabilities: this.#table.sets.of(task.capabilities) }))
      return false;
    this.#queues?.set(queue.name, left - 1);
    return true;
  }
}
