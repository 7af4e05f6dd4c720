import { hasAll } from './agent-score.ts';
import { LoadHeap } from './load-heap.ts';

/** An agent as the balancer sees it. */
export interface AgentLoad {
  readonly agentId: string;
  /** Running and waiting tasks: what is compared. */
  readonly taskCount: number;
  /** `undefined`: it can do anything. */
  readonly capabilities?: readonly string[] | undefined;
  /** Its unstarted tasks by what they need. @default all of `taskCount`, with no needs */
  readonly waiting?: readonly WaitingTasks[] | undefined;
  /** Gives tasks away, takes none: it drains. @default false */
  readonly draining?: boolean | undefined;
}

/** Unstarted tasks with the same needs. */
export interface WaitingTasks {
  readonly capabilities: readonly string[];
  readonly count: number;
}

export interface StealOptions {
  /** Stealing starts when the difference is greater. */
  readonly stealThreshold: number;
  /** Most tasks of one steal. */
  readonly maxStealBatch: number;
}

/** One steal to make. */
export interface PlannedSteal {
  readonly from: string;
  readonly to: string;
  readonly count: number;
}

/** Tasks of other needs can undo a little of a balance; every step narrows a gap, so few passes are enough. */
const MAX_PASSES = 8;

/**
 * The steals of one round. Pure.
 *
 * Starts where an agent with movable tasks has more than `stealThreshold` more than one that can do them, and goes on until no such gap
 * is wider than half the threshold: the way back to a start is long, so tasks don't swing to and fro. Every task goes from the most to
 * the least loaded, and one that was moved isn't moved again in the round. Between agents of equal ability one round is enough, however
 * many they are (W4).
 */
export function decideSteals(loads: readonly AgentLoad[], options: StealOptions): readonly PlannedSteal[] {
  const counts = loads.map((load) => Math.max(0, Math.floor(load.taskCount)));
  const groups = groupByNeeds(loads);
  const flows: Flows = new Map();
  for (let pass = 0; pass < MAX_PASSES; pass++) {
    let moved = false;
    for (const group of groups) {
      if (balance(group, counts, options.stealThreshold, flows)) moved = true;
    }
    if (!moved || groups.length === 1) break;
  }
  return batched(flows, loads, options.maxStealBatch);
}

/** The gap at which a round that has started is content. */
export function contentGap(stealThreshold: number): number {
  return Math.max(1, Math.floor(stealThreshold / 2));
}

/** Tasks with the same needs: who has how many that may move, and who could do them. */
interface Group {
  readonly movable: Map<number, number>;
  readonly targets: readonly number[];
}

/** Tasks by source and target. */
type Flows = Map<number, Map<number, number>>;

function groupByNeeds(loads: readonly AgentLoad[]): readonly Group[] {
  const groups = new Map<
    string,
    { readonly needs: readonly string[]; readonly movable: Map<number, number> }
  >();
  loads.forEach((load, index) => {
    for (const { capabilities, count } of load.waiting ?? [{ capabilities: [], count: load.taskCount }]) {
      if (!(count >= 1)) continue;
      const needs = [...capabilities].sort();
      const key = needs.join('\u0000');
      let group = groups.get(key);
      if (group === undefined) groups.set(key, (group = { needs, movable: new Map() }));
      group.movable.set(index, (group.movable.get(index) ?? 0) + Math.floor(count));
    }
  });
  return [...groups.values()].map(({ needs, movable }) => ({
    movable,
    targets: loads.flatMap((load, index) =>
      load.draining !== true && hasAll(load.capabilities, needs) ? [index] : [],
    ),
  }));
}

/**
 * Moves one task at a time from the most to the least loaded, so that receivers stay within one of each other and never become the most
 * loaded; who gave doesn't receive. True: something was moved.
 */
function balance(group: Group, counts: number[], threshold: number, flows: Flows): boolean {
  const { movable } = group;
  const sources = new LoadHeap(movable.keys(), (index) => -(counts[index] as number));
  const targets = new LoadHeap(group.targets, (index) => counts[index] as number);
  let moved = false;
  for (let limit = threshold; ; limit = contentGap(threshold)) {
    const from = sources.first();
    const to = targets.first();
    if (from === undefined || to === undefined) return moved;
    if ((counts[from] as number) - (counts[to] as number) <= limit) return moved;
    moved = true;
    counts[from] = (counts[from] as number) - 1;
    counts[to] = (counts[to] as number) + 1;
    const left = (movable.get(from) as number) - 1;
    if (left > 0) movable.set(from, left);
    else movable.delete(from);
    add(flows, from, to);
    sources.changed(from, left > 0);
    targets.changed(from, false);
    targets.changed(to, true);
  }
}

function add(flows: Flows, from: number, to: number): void {
  let given = flows.get(from);
  if (given === undefined) flows.set(from, (given = new Map()));
  given.set(to, (given.get(to) ?? 0) + 1);
}

function batched(flows: Flows, loads: readonly AgentLoad[], most: number): readonly PlannedSteal[] {
  const steals: PlannedSteal[] = [];
  for (const [from, given] of flows) {
    for (const [to, count] of given) {
      for (let left = count; left > 0; left -= most) {
        steals.push({
          from: (loads[from] as AgentLoad).agentId,
          to: (loads[to] as AgentLoad).agentId,
          count: Math.min(left, most),
        });
      }
    }
  }
  return steals;
}
