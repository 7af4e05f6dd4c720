import { describe, expect, test } from 'vitest';
import { createRandom } from '../../src/core/runtime/random.ts';
import { AgentPool } from '../../src/scheduler/candidate-pool.ts';
import { affinity } from '../../src/scheduler/strategies/affinity.ts';
import { builtInStrategies } from '../../src/scheduler/strategies/built-in.ts';
import { capability } from '../../src/scheduler/strategies/capability.ts';
import { learning } from '../../src/scheduler/strategies/learning.ts';
import { leastLoaded } from '../../src/scheduler/strategies/least-loaded.ts';
import { roundRobin } from '../../src/scheduler/strategies/round-robin.ts';
import { weightedHybrid } from '../../src/scheduler/strategies/weighted-hybrid.ts';
import { defineStrategy, type PlacedTask, type SchedulingStrategy } from '../../src/scheduler/strategy.ts';
import { candidatePool } from '../../src/scheduler/strategy-candidates.ts';
import { TaskHistory } from '../../src/scheduler/task-history.ts';
import { strategySuite } from '../../src/testing/suites/strategy.ts';

const expected: Record<string, { spreads: boolean }> = {
  capability: { spreads: true },
  'round-robin': { spreads: true },
  'least-loaded': { spreads: true },
  affinity: { spreads: false },
  'weighted-hybrid': { spreads: true },
  learning: { spreads: false },
};

describe.each(builtInStrategies().map(({ name }) => name))('%s', (name) => {
  const create = (): SchedulingStrategy =>
    builtInStrategies().find((strategy) => strategy.name === name) as SchedulingStrategy;
  strategySuite({ test, create, expected: expected[name] ?? {} });

  test('asked with the real pool or with a list, it chooses the same', () => {
    const [byPool, byList] = [create(), create()];
    const pool = poolOf(5, 3);
    const contexts = [contextOf('x'), contextOf('x')] as const;
    for (let i = 0; i < 12; i++) {
      const task = taskOf(i % 2 === 0 ? 'a' : 'b');
      const eligible = pool.eligible(task);
      const listed = byList.select(task, [...eligible], contexts[1]);
      const chosen = byPool.selectFrom?.(task, eligible, contexts[0]) as string;
      expect(chosen).toBe(listed);
      pool.started(chosen);
    }
  });

  test('explain tells the choice that selectFrom then makes', () => {
    const strategy = create();
    const pool = poolOf(5, 3);
    for (let i = 0; i < 10; i++) {
      const task = taskOf(i % 3 === 0 ? 'a' : 'b');
      const words = strategy.explain?.(task, pool.eligible(task), contextOf(`${i}`));
      const chosen = strategy.selectFrom?.(task, pool.eligible(task), contextOf(`${i}`)) as string;
      expect(words?.agent).toBe(chosen);
      expect(words?.reason).toMatch(/\S/);
      expect(words?.alternatives).not.toContain(chosen);
      pool.started(chosen);
    }
  });

  test('names nobody when nobody is free', () => {
    const pool = poolOf(1, 1);
    pool.started('a0');
    const task = taskOf('a');
    expect(create().selectFrom?.(task, pool.eligible(task), contextOf('x'))).toBeUndefined();
    expect(create().explain?.(task, pool.eligible(task), contextOf('x'))).toBeUndefined();
  });
});

test('capability: the smallest share of slots taken; equals take turns', () => {
  const pool = new AgentPool();
  pool.add({ id: 'small', capabilities: [], slots: 2 });
  pool.add({ id: 'large', capabilities: [], slots: 8 });
  pool.add({ id: 'same', capabilities: [], slots: 8 });
  expect(place(capability(), pool, 12)).toEqual([
    // 0/2 0/8 0/8 → one each; then the large ones until they are at a quarter more than half …
    'small',
    'large',
    'same',
    'large',
    'same',
    'large',
    'same',
    'large',
    'same',
    'small',
    'large',
    'same',
  ]);
  expect(leastLoaded().name).toBe('least-loaded');
});

test('round-robin: one after the other, the busy passed over', () => {
  const pool = poolOf(4, 2);
  pool.started('a1');
  pool.started('a1');
  expect(place(roundRobin(), pool, 6)).toEqual(['a0', 'a2', 'a3', 'a0', 'a2', 'a3']);
});

test('affinity: stays with the agent of a group or type, moves on when it is busy, and stays there', () => {
  const pool = poolOf(3, 2);
  const strategy = affinity();
  const ask = (type: string, group?: string): string => {
    const task = { ...taskOf(type), group };
    return strategy.selectFrom(task, pool.eligible(task)) as string;
  };
  expect([ask('a'), ask('b'), ask('c', 'g')]).toEqual(['a0', 'a1', 'a2']);
  expect([ask('b'), ask('a'), ask('a', 'g')]).toEqual(['a1', 'a0', 'a2']);
  pool.started('a1');
  pool.started('a1');
  const other = ask('b');
  expect(other).not.toBe('a1');
  pool.ended('a1');
  expect(ask('b')).toBe(other);
});

test('affinity: remembers no more than historySize', () => {
  const strategy = affinity({ historySize: 3 });
  const pool = poolOf(2, 9);
  for (const type of ['a', 'b', 'c', 'a', 'd'])
    strategy.selectFrom(taskOf(type), pool.eligible(taskOf(type)));
  expect(strategy.snapshot().homes.map(([kin]) => kin)).toEqual(['type c', 'type a', 'type d']);
});

describe('weighted-hybrid', () => {
  const history = new TaskHistory();
  for (let i = 0; i < 20; i++) {
    history.record('t', 'steady', true, 200);
    history.record('t', 'flaky', i % 2 === 0, 20);
  }
  const build = (): AgentPool => {
    const pool = new AgentPool((type, agent) => history.of(type, agent));
    pool.add({ id: 'steady', capabilities: [], slots: 4, cost: 4 });
    pool.add({ id: 'flaky', capabilities: [], slots: 4, cost: 1 });
    return pool;
  };
  test.each([
    ['success', { load: 0, success: 1, speed: 0, cost: 0 }, 'steady'],
    ['speed', { load: 0, success: 0, speed: 1, cost: 0 }, 'flaky'],
    ['cost', { load: 0, success: 0, speed: 0, cost: 1 }, 'flaky'],
  ])('follows the weight of %s alone', (_, weights, winner) => {
    expect(place(weightedHybrid(weights), build(), 4)).toEqual([winner, winner, winner, winner]);
  });

  test('load alone spreads', () => {
    expect(place(weightedHybrid({ load: 1, success: 0, speed: 0, cost: 0 }), build(), 4).toSorted()).toEqual([
      'flaky',
      'flaky',
      'steady',
      'steady',
    ]);
  });

  test('in a large pool it compares a sample, the least loaded and the last winner of the type', () => {
    const pool = poolOf(200, 100);
    for (let i = 0; i < 200; i++) if (i !== 150) pool.started(`a${i}`);
    expect(place(weightedHybrid({ sample: 5 }), pool, 1)).toEqual(['a150']);
  });

  test('refuses weights that say nothing', () => {
    expect(() => weightedHybrid({ load: 0, success: 0, speed: 0, cost: 0 })).toThrow(/above 0/);
    expect(() => weightedHybrid({ load: Number.NaN })).toThrow(/load/);
    expect(() => weightedHybrid({ sample: 0 })).toThrow(/sample/);
  });
});

describe('learning', () => {
  test('prefers the fast among equally good ones', () => {
    const pool = poolOf(3, 4);
    const strategy = learning();
    const counts = [0, 0, 0];
    for (let i = 0; i < 600; i++) {
      const id = strategy.selectFrom(taskOf('t'), pool.eligible(taskOf('t')), contextOf(`${i}`)) as string;
      const agent = Number(id.slice(1));
      counts[agent] = (counts[agent] as number) + 1;
      strategy.observe({ taskId: 't', type: 't', agentId: id, ok: true, durationMs: agent === 1 ? 10 : 100 });
    }
    expect(counts[1]).toBeGreaterThan(450);
  });

  test('learns each type for itself', () => {
    const pool = poolOf(2, 4);
    const strategy = learning();
    const last: Record<string, string[]> = { even: [], odd: [] };
    for (let i = 0; i < 800; i++) {
      const type = i % 2 === 0 ? 'even' : 'odd';
      const id = strategy.selectFrom(taskOf(type), pool.eligible(taskOf(type)), contextOf(`${i}`)) as string;
      if (i >= 600) last[type]?.push(id);
      const ok = (type === 'even') === (id === 'a0') || i % 10 < 3;
      strategy.observe({ taskId: 't', type, agentId: id, ok, durationMs: 5 });
    }
    const share = (type: string, id: string): number =>
      (last[type] ?? []).filter((each) => each === id).length;
    expect(share('even', 'a0')).toBeGreaterThan(90);
    expect(share('odd', 'a1')).toBeGreaterThan(90);
  });

  test('spreads a burst whose outcomes are not known yet', () => {
    const counts = new Map<string, number>();
    for (const id of place(learning(), poolOf(4, 10), 40)) counts.set(id, (counts.get(id) ?? 0) + 1);
    expect(new Set(counts.values())).toEqual(new Set([10]));
  });

  test('forgets the longest unused types, then the agents that ran longest ago', () => {
    const strategy = learning({ historySize: 4 });
    const see = (type: string, agentId: string): void =>
      strategy.observe({ taskId: 't', type, agentId, ok: true, durationMs: 1 });
    for (const type of ['a', 'b', 'c']) see(type, 'x');
    see('a', 'x');
    for (const agent of ['y', 'z']) see('d', agent);
    expect(strategy.snapshot().types.map(({ type }) => type)).toEqual(['c', 'a', 'd']);
    for (const agent of ['1', '2', '3', '4']) see('d', agent);
    expect(strategy.snapshot().types).toMatchObject([
      {
        type: 'd',
        arms: [
          ['1', {}],
          ['2', {}],
          ['3', {}],
          ['4', {}],
        ],
      },
    ]);
  });
});

test('defineStrategy refuses what is no strategy', () => {
  expect(() => defineStrategy({ name: '', select: () => undefined })).toThrow(/empty/);
  expect(() => defineStrategy({ name: 'x' } as unknown as SchedulingStrategy)).toThrow(
    /select of strategy x/,
  );
});

test('candidatePool answers like the real pool', () => {
  const pool = poolOf(3, 2);
  pool.started('a0');
  const [real, list] = [pool.eligible(taskOf('t')), candidatePool([...pool.eligible(taskOf('t'))])];
  for (const id of [undefined, 'a0', 'a1', 'a2', 'nobody']) {
    expect(list.next(id)?.id).toBe(real.next(id)?.id);
    expect(list.leastLoaded(id)?.id).toBe(real.leastLoaded(id)?.id);
  }
  expect([list.size, list.get('a2')?.id, list.get('nobody')]).toEqual([3, 'a2', undefined]);
});

function poolOf(agents: number, slots: number): AgentPool {
  const pool = new AgentPool();
  for (let i = 0; i < agents; i++) pool.add({ id: `a${i}`, capabilities: [], slots });
  return pool;
}

function taskOf(type: string): PlacedTask {
  return { id: 't', type, queue: type, priority: 2, weight: 1, capabilities: [], attempt: 1, prefer: [] };
}

function contextOf(seed: string): {
  now: number;
  random: ReturnType<typeof createRandom>;
  lastAgent: undefined;
} {
  return { now: 0, random: createRandom(seed), lastAgent: undefined };
}

/** Places tasks one after the other; none ends. */
function place(strategy: SchedulingStrategy, pool: AgentPool, tasks: number): string[] {
  const context = contextOf('place');
  return Array.from({ length: tasks }, () => {
    const id = strategy.selectFrom?.(taskOf('t'), pool.eligible(taskOf('t')), context) as string;
    pool.started(id);
    return id;
  });
}
