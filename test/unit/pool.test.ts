import { describe, expect, test } from 'vitest';
import { AgentPool } from '../../src/scheduler/candidate-pool.ts';
import { MOST_SLOTS } from '../../src/scheduler/slot-offers.ts';

function poolOf(
  ...agents: readonly (readonly [id: string, slots: number, ...capabilities: string[]])[]
): AgentPool {
  const pool = new AgentPool();
  for (const [id, slots, ...capabilities] of agents) pool.add({ id, slots, capabilities });
  return pool;
}
const ids = (candidates: Iterable<{ readonly id: string }>): string[] => [...candidates].map(({ id }) => id);

describe('offers', () => {
  test('free slots by set of capabilities, whatever the order they were given in', () => {
    const pool = poolOf(['a', 2, 'x', 'y'], ['b', 3, 'y', 'x', 'x'], ['c', 1]);
    pool.started('a');
    expect(pool.offers()).toEqual([
      { capabilities: ['x', 'y'], slots: 4 },
      { capabilities: [], slots: 1 },
    ]);
    expect(pool.freeSlots()).toBe(5);
  });

  test('the same array until something changes; an old one never changes', () => {
    const pool = poolOf(['a', 2], ['b', 2, 'x']);
    const before = pool.offers();
    expect(pool.offers()).toBe(before);
    pool.queued('a', 1);
    expect(pool.offers()).toEqual([
      { capabilities: [], slots: 1 },
      { capabilities: ['x'], slots: 2 },
    ]);
    expect(before[0]).toEqual({ capabilities: [], slots: 2 });
    expect(pool.offers()[1]).toBe(before[1]);
  });

  test('agents without a limit offer more than anybody claims', () => {
    const pool = poolOf(['ext', Number.POSITIVE_INFINITY], ['a', 2]);
    for (let i = 0; i < 3; i++) pool.started('ext');
    expect(pool.freeSlots()).toBe(Number.POSITIVE_INFINITY);
    expect(pool.offers()).toEqual([{ capabilities: [], slots: MOST_SLOTS }]);
    pool.remove('ext');
    expect([pool.freeSlots(), pool.offers()]).toEqual([2, [{ capabilities: [], slots: 2 }]]);
  });

  test('draining, overloaded and full agents offer nothing', () => {
    const pool = poolOf(['a', 1], ['b', 1], ['c', 2]);
    pool.drain('a');
    pool.started('b');
    pool.queued('b', 5);
    expect(pool.offers()).toEqual([{ capabilities: [], slots: 2 }]);
    pool.queued('b', -5);
    pool.ended('b');
    pool.drain('a', false);
    expect(pool.freeSlots()).toBe(4);
  });
});

describe('candidates', () => {
  test('show live numbers, and an assignment to one throws', () => {
    const pool = poolOf(['a', 4, 'x']);
    const candidate = pool.get('a');
    pool.started('a');
    pool.queued('a', 1);
    expect(candidate).toMatchObject({
      id: 'a',
      running: 1,
      queued: 1,
      slots: 4,
      load: 0.5,
      priority: 0,
      cost: 1,
    });
    expect(() => Object.assign(candidate as object, { running: 0 })).toThrow(TypeError);
    expect(() => (candidate as unknown as { capabilities: string[] }).capabilities.push('admin')).toThrow(
      TypeError,
    );
    expect(pool.eligible({ capabilities: ['admin'] }).isEmpty).toBe(true);
  });

  test('ask the history for their own tasks', () => {
    const pool = new AgentPool((type, agentId) => ({
      runs: 1,
      meanDurationMs: 2,
      successRatio: 1,
      lastAgent: type + agentId,
    }));
    pool.add({ id: 'a', capabilities: [], slots: 1 });
    expect(pool.get('a')?.history('t').lastAgent).toBe('ta');
  });
});

describe('eligible', () => {
  test('follows the pool, so one view serves a decision and what it sets in motion', () => {
    const pool = poolOf(['a', 1], ['b', 1]);
    const view = pool.eligible({ capabilities: [] });
    pool.started('a');
    expect(ids(view)).toEqual(['b']);
    pool.add({ id: 'c', capabilities: [], slots: 1 });
    pool.remove('b');
    expect([ids(view), view.size, view.get('b'), view.next('b')?.id]).toEqual([['c'], 1, undefined, 'c']);
  });

  test('agents with handlers for some types get no others; without such agents types do not matter', () => {
    const pool = poolOf(['all', 1]);
    expect(ids(pool.eligible({ capabilities: [], type: 'build' }))).toEqual(['all']);
    pool.add({ id: 'lint-only', capabilities: [], types: ['lint'], slots: 1 });
    expect(ids(pool.eligible({ capabilities: [], type: 'build' }))).toEqual(['all']);
    expect(ids(pool.eligible({ capabilities: [], type: 'lint' }))).toEqual(['all', 'lint-only']);
    expect(ids(pool.eligible({ capabilities: [] }))).toEqual(['all', 'lint-only']);
  });

  test('poisonous names are names', () => {
    const pool = poolOf(['__proto__', 1, 'constructor'], ['toString', 1]);
    expect(ids(pool.eligible({ capabilities: ['constructor'], exclude: ['toString'] }))).toEqual([
      '__proto__',
    ]);
    expect(ids(pool.eligible({ capabilities: ['hasOwnProperty'] }))).toEqual([]);
  });

  test('survives more kinds of needs than it keeps', () => {
    const pool = poolOf(['a', 1, 'c7'], ['b', 1, 'c7', 'c8']);
    for (let i = 0; i < 5_000; i++) {
      expect(pool.eligible({ capabilities: [`c${i}`] }).size).toBe(i === 7 ? 2 : i === 8 ? 1 : 0);
    }
    expect(ids(pool.eligible({ capabilities: ['c7', 'c8'] }))).toEqual(['b']);
  });
});

test('reports of agents that left, and of ends without a start, change nothing', () => {
  const pool = poolOf(['a', 1]);
  pool.remove('a');
  for (const report of [
    () => pool.started('a'),
    () => pool.ended('a'),
    () => pool.queued('a', 1),
    () => pool.drain('a'),
  ])
    report();
  expect([pool.size, pool.freeSlots(), pool.offers(), pool.remove('a')]).toEqual([0, 0, [], false]);
  pool.add({ id: 'a', capabilities: [], slots: 1 });
  pool.ended('a');
  pool.queued('a', -3);
  expect(pool.get('a')).toMatchObject({ running: 0, queued: 0 });
});

test('a thousand equals take turns, each once', () => {
  const pool = new AgentPool();
  for (let i = 0; i < 1_000; i++) pool.add({ id: `a${i}`, capabilities: ['x'], slots: 4 });
  const turns = new Set<string>();
  let last: string | undefined;
  for (let i = 0; i < 1_000; i++) {
    last = pool.eligible({ capabilities: ['x'] }).leastLoaded(last)?.id as string;
    turns.add(last);
    pool.started(last);
  }
  expect(turns.size).toBe(1_000);
});
