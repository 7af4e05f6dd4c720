import { describe, expect, test } from 'vitest';
import { HELP, parseCommandLine } from '../../examples/repo-swarm/command-line.ts';
import { UsageError } from '../../examples/run-main.ts';
import type { CoordinationEvent } from '../../examples/repo-swarm/mesh.ts';
import { Progress } from '../../examples/repo-swarm/progress.ts';
import type { Plan } from '../../examples/repo-swarm/plan.ts';
import { renderReport } from '../../examples/repo-swarm/report.ts';
import { readTimeline } from '../../examples/repo-swarm/report/timeline.ts';
import type { Mode, RunRecord } from '../../examples/repo-swarm/run.ts';
import { checkRuns, countEvents, summarise, type Runs } from '../../examples/repo-swarm/summary.ts';
import { printResult } from '../../examples/repo-swarm/table.ts';
import { SUMMARY_KEYS } from '../support/summary-keys.ts';

type Name = CoordinationEvent['name'];
type PayloadOf<N extends Name> = Extract<CoordinationEvent, { readonly name: N }>['payload'];
const START = 1_000_000;
function event<N extends Name>(at: number, name: N, payload: PayloadOf<N>): CoordinationEvent {
  return { name, at: START + at, payload } as CoordinationEvent;
}
const ended = { queue: 'edit', type: 'edit', queuedMs: 0, durationMs: 5 };
const cycle = [
  { waiter: 't1', holder: 't2', by: 'lock', what: 'a.ts' },
  { waiter: 't2', holder: 't1', by: 'lock', what: '<b>&.ts' },
] as const;
const conflict = {
  id: 'c1',
  kind: 'resource',
  subject: 'a.ts',
  agents: ['dev-1', 'dev-2'],
  at: 0,
  resolved: true,
} as const;

/** A short run in which everything happens once. */
const events: readonly CoordinationEvent[] = [
  event(0, 'task:created', { taskId: 't1', queue: 'edit', type: 'edit', priority: 2 }),
  event(0, 'task:created', { taskId: 't2', queue: 'edit', type: 'edit', priority: 2 }),
  event(1, 'message:sent', { messageId: 'm', from: 'architect', to: 'dev-1' }),
  event(10, 'task:started', { taskId: 't1', agentId: 'dev-1', attempt: 1 }),
  event(10, 'task:started', { taskId: 't2', agentId: 'dev-2', attempt: 1 }),
  event(11, 'resource:acquired', {
    resourceId: 'a.ts',
    agentId: 'dev-2',
    mode: 'exclusive',
    token: 1,
    waitedMs: 0,
  }),
  event(20, 'resource:waited', { resourceId: 'a.ts', agentId: 'dev-1', ahead: 1 }),
  event(21, 'deadlock:detected', {
    agents: ['dev-1', 'dev-2'],
    resources: ['a.ts', '<b>&.ts'],
    cycle: [...cycle],
    victim: 't2',
  }),
  event(21, 'task:failed', {
    taskId: 't2',
    agentId: 'dev-2',
    attempt: 1,
    final: false,
    code: 'DEADLOCK',
    message: '',
    durationMs: 11,
  }),
  event(25, 'resource:acquired', {
    resourceId: 'a.ts',
    agentId: 'dev-1',
    mode: 'exclusive',
    token: 2,
    waitedMs: 5,
  }),
  event(26, 'deadlock:resolved', { victim: 't2', afterMs: 5 }),
  event(27, 'circuitbreaker:state-change', { name: 'formatter', from: 'closed', to: 'open', reason: '' }),
  event(30, 'circuitbreaker:state-change', { name: 'formatter', from: 'open', to: 'half-open', reason: '' }),
  event(31, 'circuitbreaker:state-change', { name: 'formatter', from: 'half-open', to: 'open', reason: '' }),
  event(35, 'circuitbreaker:state-change', {
    name: 'formatter',
    from: 'half-open',
    to: 'closed',
    reason: '',
  }),
  event(36, 'work:stolen', {
    stealId: 's',
    sourceAgent: 'dev-1',
    targetAgent: 'dev-3',
    taskIds: ['t8', 't9'],
  }),
  event(37, 'conflict:reported', {
    conflictId: 'c1',
    kind: 'resource',
    subject: 'a.ts',
    agents: ['dev-1', 'dev-2'],
  }),
  event(38, 'conflict:resolved', {
    conflict,
    resolution: { conflictId: 'c1', type: 'merge', winner: 'dev-1', losers: [], reason: '', at: 0 },
  }),
  event(39, 'conflict:reported', {
    conflictId: 'c2',
    kind: 'resource',
    subject: 'b.ts',
    agents: ['dev-1', 'dev-2'],
  }),
  event(40, 'conflict:resolved', {
    conflict: { ...conflict, id: 'c2', subject: 'b.ts' },
    resolution: {
      conflictId: 'c2',
      type: 'optimistic-version',
      winner: 'dev-2',
      losers: ['dev-1'],
      reason: '',
      at: 0,
    },
  }),
  event(41, 'task:started', { taskId: 't2', agentId: 'dev-2', attempt: 2 }),
  event(50, 'task:completed', { taskId: 't1', agentId: 'dev-1', attempt: 1, ...ended }),
  event(52, 'task:completed', { taskId: 't2', agentId: 'dev-2', attempt: 2, ...ended }),
];

const plan: Plan = {
  version: 1,
  seed: 1,
  hotPaths: ['a.ts'],
  crossed: [['t1', 't2']],
  tasks: ['t1', 't2'].map((id) => ({
    id,
    kind: 'line-endings',
    mode: 'lock',
    mark: `0000-${id}`,
    paths: ['a.ts'],
    options: {},
  })),
};
function record(mode: Mode, durationMs: number, lost = 0): RunRecord {
  const verified = {
    ok: lost === 0,
    tree: 'abc',
    expected: 2,
    found: 2 - lost,
    lost,
    damagedLines: 0,
    foreignChanges: 0,
  };
  const examples = { lost: [], damaged: [], foreign: [] };
  return {
    mode,
    startedAt: START,
    durationMs,
    events,
    report: { tree: 'abc', commits: 3, missedByQa: 0 },
    verified: { ...verified, lostByPath: lost === 0 ? {} : { 'a.ts': lost }, examples },
  };
}
const runs: Runs = {
  serial: record('serial', 300),
  off: record('off', 50, 1),
  coordinated: record('coordinated', 60),
};
const summary = summarise('/repo <x>', 1, runs);

describe('what the demo says of a run', () => {
  test('counts from the event log', () => {
    expect(countEvents(events)).toEqual({
      tasks: { total: 2, completed: 2, failed: 1, dead: 0 },
      locks: { acquired: 2, waited: 1, maxWaitMs: 5 },
      deadlocks: { detected: 1, resolved: 1 },
      conflicts: { detected: 2, merged: 1, retried: 1 },
      steals: 2,
      breaker: { opened: 2, closed: 1 },
      messages: 1,
    });
  });

  test('--json has exactly the documented keys', () => {
    expect(Object.keys(summary)).toEqual(SUMMARY_KEYS);
    expect(summary).toMatchObject({
      edits: { expected: 2, found: 2, lost: 0 },
      serial: { treeEqual: true, durationMs: 300 },
      baseline: { expected: 2, found: 1, lost: 1 },
      durationMs: 60,
    });
  });

  test('every promise can be broken', () => {
    const broken = (changed: Partial<Runs>): readonly string[] => {
      const all = { ...runs, ...changed };
      return checkRuns(summarise('r', 1, all), all).flatMap(({ text, kept }) => (kept ? [] : [text]));
    };
    expect(broken({})).toEqual([]);
    expect(broken({ coordinated: record('coordinated', 60, 1) })).toEqual(['coordinated: 1 of 2 edits lost']);
    expect(broken({ off: record('off', 50) })).toEqual(['coordination off: 0 of 2 edits lost']);
    expect(broken({ serial: record('serial', 90) })).toEqual([
      'coordinated is 1.5× as fast as serial (at least 2×)',
    ]);
    const { verified } = runs.serial;
    expect(broken({ serial: { ...runs.serial, verified: { ...verified, tree: 'other' } } })).toEqual([
      'coordinated and serial end in the same tree',
    ]);
    expect(broken({ serial: { ...runs.serial, verified: { ...verified, damagedLines: 1 } } })).toEqual([
      'original lines that no task may change survive',
    ]);
    const calm = { ...runs.coordinated, events: events.filter(({ name }) => name !== 'work:stolen') };
    expect(broken({ coordinated: calm })).toEqual(['never needed: steals']);
    const buried = event(55, 'task:buried', { taskId: 't1', queue: 'edit', reason: '', signature: '' });
    expect(broken({ coordinated: { ...runs.coordinated, events: [...events, buried] } })).toEqual([
      '1 tasks given up',
    ]);
  });

  test('the timeline has attempts, waits, deadlock, conflicts, steals and outages', () => {
    const timeline = readTimeline(runs.coordinated);
    expect(
      timeline.spans.map(({ taskId, attempt, from, to, failure }) => [taskId, attempt, from, to, failure]),
    ).toEqual([
      ['t2', 1, 10, 21, 'DEADLOCK'],
      ['t1', 1, 10, 50, undefined],
      ['t2', 2, 41, 52, undefined],
    ]);
    expect(timeline.waits).toEqual([{ agentId: 'dev-1', resource: 'a.ts', from: 20, to: 25, granted: true }]);
    expect(timeline.deadlocks).toMatchObject([{ at: 21, victim: 't2', resolvedAfterMs: 5 }]);
    expect(timeline.conflicts.map(({ outcome }) => outcome)).toEqual(['merged', 'retried']);
    expect(timeline.steals).toEqual([{ at: 36, from: 'dev-1', to: 'dev-3', tasks: ['t8', 't9'] }]);
    expect(timeline.outages).toEqual([{ from: 27, to: 35 }]);
  });

  test('the page stands alone: no script, no address, no handler, everything escaped', () => {
    const page = renderReport(plan, runs, summary, checkRuns(summary, runs));
    expect(page).not.toMatch(/<script|<link|<img|@import|url\((?!#)|\son\w+=|https?:/i);
    expect(page).not.toContain('<b>');
    expect(page).toContain('&#60;b&#62;&#38;.ts');
    expect(page).not.toMatch(/undefined|NaN|\[object/);
    expect(page).toContain('prefers-color-scheme:dark');
    expect(page).toContain('1 of 2 edits lost');
  });

  test('many conflicts: some rows, the others unfold; no card scrolls inside', () => {
    const many = Array.from({ length: 30 }, (_, i) => [
      event(50 + i, 'conflict:reported', {
        conflictId: `m${i}`,
        kind: 'resource',
        subject: `file-${i}.ts`,
        agents: ['dev-1', 'dev-2'],
      }),
      event(50 + i, 'conflict:resolved', {
        conflict: { ...conflict, id: `m${i}`, subject: `file-${i}.ts` },
        resolution: { conflictId: `m${i}`, type: 'merge', winner: 'dev-1', losers: [], reason: '', at: 0 },
      }),
    ]).flat();
    const crowded: Runs = { ...runs, coordinated: { ...runs.coordinated, events: [...events, ...many] } };
    const page = renderReport(plan, crowded, summary, checkRuns(summary, crowded));
    const shown = readTimeline(crowded.coordinated).conflicts;
    expect(shown.length).toBeGreaterThan(20);
    const card = /<h2>Conflicts:.*?<\/section>/s.exec(page)?.[0] ?? '';
    const [atOnce = '', unfolded = ''] = card.split('<details>');
    expect(atOnce.match(/<tr><td>/g)).toHaveLength(8);
    expect(unfolded.match(/<tr><td>/g)).toHaveLength(shown.length - 8);
    expect(unfolded).toContain(`${shown.length - 8} more`);
    expect(page).not.toMatch(/max-height|overflow(-y)?:\s*(auto|scroll)/);
  });

  test('the table shows the three runs, with colour only when asked', () => {
    const plain = printResult(summary, runs, checkRuns(summary, runs), false);
    expect(plain).toMatch(/time +0\.30 s +0\.05 s +0\.06 s/);
    expect(plain).toMatch(/edits lost +0 +1 +0/);
    expect(plain).not.toContain('\u001b');
    expect(printResult(summary, runs, checkRuns(summary, runs), true)).toContain('\u001b[32m✓');
  });
});

describe('progress', () => {
  const complete = (n: number): CoordinationEvent =>
    event(n, 'task:completed', { taskId: `t${n}`, agentId: 'dev-1', attempt: 1, ...ended });
  function watch(isTTY: boolean, stepMs: number): { readonly lines: string[]; readonly progress: Progress } {
    const lines: string[] = [];
    let now = 0;
    const progress = new Progress(
      { isTTY, columns: 60, write: (text) => lines.push(text) },
      'run',
      40,
      () => (now += stepMs),
    );
    return { lines, progress };
  }

  test('elsewhere: a plain line each 10 %', () => {
    const { lines, progress } = watch(false, 10);
    for (let n = 0; n < 40; n++) progress.see(complete(n));
    progress.end();
    expect(lines).toHaveLength(10);
    expect(lines[0]).toMatch(/^run: 4\/40 edits · \d+\/s · [\d.]+ s left\n$/);
    expect(lines[9]).toMatch(/^run: 40\/40 edits · \d+\/s · 0\.0 s left\n$/);
  });

  test('on a terminal: one line, at most 10 times a second, never wider than it', () => {
    const { lines, progress } = watch(true, 7);
    progress.see(event(0, 'deadlock:detected', { agents: [], resources: [], cycle: [], victim: '' }));
    for (let n = 0; n < 40; n++) progress.see(complete(n));
    progress.end();
    expect(lines.length).toBeLessThan(12);
    expect(lines.every((line) => !line.includes('\n') && line.length <= 60 + '\r\u001b[2K'.length)).toBe(
      true,
    );
    expect(lines[0]).toContain('deadlocks 1');
    expect(lines.at(-1)).toBe('\r\u001b[2K');
  });
});

describe('command line', () => {
  test('has defaults, and takes what the help lists', () => {
    expect(parseCommandLine([])).toMatchObject({
      seed: 7,
      tasks: 240,
      json: false,
      keep: false,
      report: true,
    });
    expect(
      parseCommandLine(['--repo', '/x', '--seed=0', '--tasks=100', '--json', '--keep', '--no-report']),
    ).toEqual({
      repo: '/x',
      seed: 0,
      tasks: 100,
      json: true,
      keep: true,
      report: false,
    });
    expect(parseCommandLine(['-h', '--json'])).toBe('help');
    for (const flag of ['--repo', '--seed', '--tasks', '--json', '--keep', '--no-report', '--help'])
      expect(HELP).toContain(flag);
  });

  test('refuses what it does not know', () => {
    for (const args of [
      ['--unknown'],
      ['extra'],
      ['--seed', 'x'],
      ['--tasks', '99'],
      ['--seed', '-1'],
      ['--seed', '1.5'],
      ['--repo'],
      ['--repo', ''],
      ['--json=1'],
    ]) {
      expect(() => parseCommandLine(args), args.join(' ')).toThrow(UsageError);
    }
  });
});
