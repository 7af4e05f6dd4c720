import type { CoordinationEvent } from './mesh.ts';
import type { RunRecord } from './run.ts';
import { AGENTS } from './squad.ts';

/** What a run's event log says. Nothing here is counted anywhere else. */
export interface Counters {
  /** `failed` are attempts that were repeated, `dead` tasks that were given up. */
  readonly tasks: {
    readonly total: number;
    readonly completed: number;
    readonly failed: number;
    readonly dead: number;
  };
  readonly locks: { readonly acquired: number; readonly waited: number; readonly maxWaitMs: number };
  readonly deadlocks: { readonly detected: number; readonly resolved: number };
  readonly conflicts: { readonly detected: number; readonly merged: number; readonly retried: number };
  /** Tasks that moved to another agent. */
  readonly steals: number;
  readonly breaker: { readonly opened: number; readonly closed: number };
  readonly messages: number;
}

export function countEvents(events: readonly CoordinationEvent[]): Counters {
  const counts = new Map<string, number>();
  const add = (name: string, by = 1): void => void counts.set(name, (counts.get(name) ?? 0) + by);
  const waiting = new Set<string>();
  let maxWaitMs = 0;
  for (const event of events) {
    add(event.name);
    if (event.name === 'resource:waited') waiting.add(waitKey(event.payload));
    else if (event.name === 'resource:acquired') {
      if (waiting.delete(waitKey(event.payload))) maxWaitMs = Math.max(maxWaitMs, event.payload.waitedMs);
    } else if (event.name === 'work:stolen') add('stolen', event.payload.taskIds.length);
    else if (event.name === 'circuitbreaker:state-change') add(`breaker ${event.payload.to}`);
    else if (event.name === 'conflict:resolved') {
      add(event.payload.resolution.type === 'merge' ? 'merged' : 'retried');
    }
  }
  const of = (name: string): number => counts.get(name) ?? 0;
  return {
    tasks: {
      total: of('task:created'),
      completed: of('task:completed'),
      failed: of('task:failed'),
      dead: of('task:buried'),
    },
    locks: { acquired: of('resource:acquired'), waited: of('resource:waited'), maxWaitMs: round(maxWaitMs) },
    deadlocks: { detected: of('deadlock:detected'), resolved: of('deadlock:resolved') },
    conflicts: {
      detected: of('conflict:reported'),
      merged: of('merged'),
      retried: of('retried'),
    },
    steals: of('stolen'),
    breaker: { opened: of('breaker open'), closed: of('breaker closed') },
    messages: of('message:sent'),
  };
}

function waitKey({ agentId, resourceId }: { readonly agentId: string; readonly resourceId: string }): string {
  return `${agentId} ${resourceId}`;
}

/** The object that `--json` prints. */
export interface Summary extends Counters {
  readonly repo: string;
  readonly seed: number;
  readonly agents: number;
  readonly edits: EditCount;
  readonly serial: { readonly treeEqual: boolean; readonly durationMs: number };
  /** The run without coordination. */
  readonly baseline: EditCount;
  readonly durationMs: number;
}
export interface EditCount {
  readonly expected: number;
  readonly found: number;
  readonly lost: number;
}

export interface Runs {
  readonly serial: RunRecord;
  readonly off: RunRecord;
  readonly coordinated: RunRecord;
}

export function summarise(repo: string, seed: number, { serial, off, coordinated }: Runs): Summary {
  const { tasks, locks, deadlocks, conflicts, steals, breaker, messages } = countEvents(coordinated.events);
  return {
    repo,
    seed,
    agents: AGENTS.length,
    tasks,
    locks,
    deadlocks,
    conflicts,
    steals,
    breaker,
    messages,
    edits: editCount(coordinated),
    serial: {
      treeEqual: serial.verified.tree === coordinated.verified.tree,
      durationMs: round(serial.durationMs),
    },
    baseline: editCount(off),
    durationMs: round(coordinated.durationMs),
  };
}

/** What the demo promises, and whether this run kept it. */
export interface Check {
  readonly text: string;
  readonly kept: boolean;
}

export function checkRuns(summary: Summary, { serial, coordinated }: Runs): readonly Check[] {
  const { deadlocks, conflicts, breaker, edits, baseline } = summary;
  const speedup = serial.durationMs / coordinated.durationMs;
  const clean = [serial, coordinated].every(
    ({ verified }) => verified.damagedLines + verified.foreignChanges === 0,
  );
  const seen = {
    'lock waits': summary.locks.waited,
    'deadlocks resolved': deadlocks.resolved,
    'edits merged': conflicts.merged,
    'edits retried': conflicts.retried,
    steals: summary.steals,
    'breaker opened': breaker.opened,
    'breaker closed': breaker.closed,
    messages: summary.messages,
  };
  const unseen = Object.entries(seen).flatMap(([name, count]) => (count > 0 ? [] : [name]));
  return [
    { text: `coordinated: ${edits.lost} of ${edits.expected} edits lost`, kept: edits.lost === 0 },
    { text: 'coordinated and serial end in the same tree', kept: summary.serial.treeEqual },
    { text: 'original lines that no task may change survive', kept: clean },
    {
      text: `coordination off: ${baseline.lost} of ${baseline.expected} edits lost`,
      kept: baseline.lost > 0,
    },
    { text: `coordinated is ${speedup.toFixed(1)}× as fast as serial (at least 2×)`, kept: speedup >= 2 },
    {
      text: unseen.length === 0 ? 'every mechanism was needed' : `never needed: ${unseen.join(', ')}`,
      kept: unseen.length === 0,
    },
    { text: `${summary.tasks.dead} tasks given up`, kept: summary.tasks.dead === 0 },
  ];
}

function editCount({ verified: { expected, found, lost } }: RunRecord): EditCount {
  return { expected, found, lost };
}

function round(ms: number): number {
  return Math.round(ms * 10) / 10;
}
