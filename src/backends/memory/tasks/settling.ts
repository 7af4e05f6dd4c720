import type { ClaimRef, Consequences, SettleResult, Settlement } from '../../../core/ports/tasks.ts';
import type { Token } from '../../../core/ports/words.ts';
import { Effects } from './effects.ts';
import { MemoryClaim } from './memory-claim.ts';
import {
  CANCELLED,
  CLAIMED,
  COMPLETED,
  DEAD,
  type Moment,
  PRUNED,
  rareOf,
  STARTED,
  STATE_NAMES,
  type StateCode,
  stateName,
  type TaskRow,
} from './row.ts';
import type { TaskTable } from './table.ts';

type Settled = Extract<SettleResult, { status: 'settled' }>;
type Release = Extract<Settlement, { as: 'release' }>;

const SETTLED: readonly Settled[] = STATE_NAMES.map((state) => Object.freeze({ status: 'settled', state }));
const NONE: readonly never[] = Object.freeze([]);
const GONE: SettleResult = Object.freeze({ status: 'gone' });

/** Ends attempts whose token is current; what that means for their dependents happens in the same call, as far as it may. */
export function settle(
  table: TaskTable,
  settlements: readonly Settlement[],
): Consequences & { readonly results: readonly SettleResult[] } {
  const now = table.now();
  const results = new Array<SettleResult>(settlements.length);
  for (let i = 0; i < settlements.length; i++)
    results[i] = settleOne(table, settlements[i] as Settlement, now);
  if (!table.cascade.hasMore) {
    table.trim(now);
    return { at: now.at, readied: NONE, ended: NONE, more: false, opened: table.takeOpened(), results };
  }
  const effects = new Effects(now);
  table.cascade.drain(effects);
  table.trim(now);
  return {
    at: now.at,
    readied: effects.readiedList,
    ended: effects.endedList,
    more: table.cascade.hasMore || effects.scheduled,
    opened: table.takeOpened(),
    results,
  };
}

/** Marks prefetched claims started; false for those that are somebody else's now. */
export function start(table: TaskTable, claims: readonly ClaimRef[]): readonly boolean[] {
  return claims.map((claim) => {
    const row = rowOf(table, claim);
    if (row === undefined || row.token !== claim.token || row.state !== CLAIMED) {
      table.orders.drop(claim.session, claim.token);
      return false;
    }
    row.flags |= STARTED;
    return true;
  });
}

function settleOne(table: TaskTable, settlement: Settlement, now: Moment): SettleResult {
  const { claim } = settlement;
  const row = rowOf(table, claim);
  if (row === undefined) return GONE;
  if (row.token !== claim.token) {
    row.queue.totals.staleSettles += 1;
    table.orders.drop(claim.session, claim.token);
    return { status: 'stale', state: stateName(row.state as StateCode), token: row.token ?? (0 as Token) };
  }
  if (row.state === CLAIMED) apply(table, row, settlement, now);
  return SETTLED[row.state] as Settled;
}

function apply(table: TaskTable, row: TaskRow, settlement: Settlement, now: Moment): void {
  switch (settlement.as) {
    case 'complete':
      row.later.result = settlement.result;
      table.end(row, COMPLETED, now);
      return;
    case 'retry':
      rareOf(row).lastError = settlement.error;
      if (!obeyedCancel(table, row, now)) table.giveBack(row, now, settlement.delayMs, undefined);
      return;
    case 'bury': {
      const rare = rareOf(row);
      rare.lastError = settlement.error;
      rare.signature = settlement.signature;
      table.end(row, DEAD, now, settlement.reason);
      return;
    }
    case 'cancel':
      table.end(row, CANCELLED, now, settlement.reason);
      return;
    case 'release':
      if (!obeyedCancel(table, row, now)) release(table, row, settlement, now);
  }
}

/** A task that goes back while it is to be cancelled ends here. */
function obeyedCancel(table: TaskTable, row: TaskRow, now: Moment): boolean {
  const reason = row.rare?.cancelRequested;
  if (reason === undefined) return false;
  table.end(row, CANCELLED, now, reason);
  return true;
}

function release(
  table: TaskTable,
  row: TaskRow,
  { refundAttempt, toAgent, delayMs, reason }: Release,
  now: Moment,
): void {
  if (refundAttempt) row.attempt -= 1;
  if (toAgent !== undefined) table.pin(row, toAgent);
  table.giveBack(row, now, delayMs, reason);
}

/** The row of a claim: by its private pointer, or by id. A forgotten row may have been followed by another of the same id. */
function rowOf(table: TaskTable, claim: ClaimRef): TaskRow | undefined {
  const row = MemoryClaim.rowOf(claim);
  return row === undefined || (row.flags & PRUNED) !== 0 ? table.rows.get(claim.task) : row;
}
