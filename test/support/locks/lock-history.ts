import { CONFLICTS, UNITS } from '../../../src/core/lock-modes.ts';

export interface HistoryRow {
  readonly kind: string;
  readonly resource: string;
  readonly ticket: string;
  readonly owner: string;
  readonly mode: number;
  readonly units: number;
  readonly token: number;
}

interface Held {
  readonly owner: string;
  readonly mode: number;
  readonly units: number;
}

interface Waiting {
  readonly at: number;
  readonly mode: number;
  readonly units: number;
}

export interface Verdict {
  readonly problems: readonly string[];
  readonly grants: number;
  readonly waits: number;
  readonly conversions: number;
  readonly mostOvertaken: number;
}

/**
 * Reads what the server wrote down: L1 tokens of each resource only grow, but for one that its owner holds already and one that comes back
 * with an upgrade that was taken back; L2 no two incompatible holders; L7 nobody is overtaken too often.
 * @param capacities units of the semaphores
 */
export function checkHistory(
  rows: readonly HistoryRow[],
  capacities: ReadonlyMap<string, number>,
  maxOvertakes: number,
): Verdict {
  const problems: string[] = [];
  const holders = new Map<string, Map<string, Held>>();
  const newest = new Map<string, number>();
  const had = new Map<string, Set<number>>();
  const ownToken = new Map<string, Set<number>>();
  const queues = new Map<string, Map<string, Waiting>>();
  const arrivals = new Map<string, number>();
  const overtakers = new Map<string, Set<string>>();
  let [grants, waits, conversions] = [0, 0, 0];

  const at = (resource: string): Map<string, Held> => {
    const known = holders.get(resource) ?? new Map<string, Held>();
    holders.set(resource, known);
    return known;
  };
  const compatible = (row: HistoryRow): void => {
    let used = row.units;
    for (const [ticket, other] of at(row.resource)) {
      if (ticket === row.ticket) continue;
      used += other.units;
      if (other.owner === row.owner || row.mode === UNITS || other.mode === UNITS) continue;
      if (((CONFLICTS[row.mode] as number) & (1 << other.mode)) !== 0)
        problems.push(`L2: ${row.ticket} (${row.mode}) beside ${ticket} (${other.mode}) at ${row.resource}`);
    }
    if (row.mode === UNITS && used > (capacities.get(row.resource) ?? 0))
      problems.push(`L2: ${used} units of ${row.resource} are held`);
  };
  const overtakes = (row: HistoryRow, n: number): void => {
    const arrived = arrivals.get(`${row.ticket} ${row.resource}`) ?? n;
    let used = row.units;
    for (const other of at(row.resource).values()) used += other.units;
    for (const [ticket, waiter] of queues.get(row.resource) ?? []) {
      // Units that leave enough for those in front are in nobody's way.
      const clash =
        row.mode === UNITS
          ? used + waiter.units > (capacities.get(row.resource) ?? 0)
          : ((CONFLICTS[row.mode] as number) & (1 << waiter.mode)) !== 0;
      if (ticket === row.ticket || waiter.at > arrived || !clash) continue;
      const passed = overtakers.get(ticket) ?? new Set<string>();
      overtakers.set(ticket, passed.add(row.ticket));
    }
  };

  rows.forEach((row, n) => {
    const { kind, resource, ticket, owner, mode, units, token } = row;
    const key = `${ticket} ${resource}`;
    switch (kind) {
      case 'insert lock_waiters': {
        waits += 1;
        const queue = queues.get(resource) ?? new Map<string, Waiting>();
        queues.set(resource, queue.set(ticket, { at: n, mode, units }));
        arrivals.set(key, n);
        break;
      }
      case 'delete lock_waiters':
        queues.get(resource)?.delete(ticket);
        break;
      case 'insert lock_holders': {
        grants += 1;
        compatible(row);
        const isOwn = [...at(resource).values()].some((other) => other.owner === owner);
        if (!isOwn) overtakes(row, n);
        at(resource).set(ticket, { owner, mode, units });
        break;
      }
      case 'update lock_holders':
        conversions += 1;
        compatible(row);
        at(resource).set(ticket, { owner, mode, units });
        break;
      case 'delete lock_holders':
        at(resource).delete(ticket);
        break;
      default: {
        const own = ownToken.get(`${owner} ${resource}`) ?? new Set<number>();
        const before = had.get(key) ?? new Set<number>();
        if (token <= (newest.get(resource) ?? 0) && !own.has(token) && !before.has(token))
          problems.push(`L1: ${ticket} got ${token} at ${resource} after ${newest.get(resource)}`);
        newest.set(resource, Math.max(newest.get(resource) ?? 0, token));
        ownToken.set(`${owner} ${resource}`, own.add(token));
        had.set(key, before.add(token));
      }
    }
  });
  let mostOvertaken = 0;
  for (const [ticket, by] of overtakers) {
    mostOvertaken = Math.max(mostOvertaken, by.size);
    if (by.size > maxOvertakes) problems.push(`L7: ${ticket} was overtaken by ${[...by].join(', ')}`);
  }
  return { problems, grants, waits, conversions, mostOvertaken };
}
