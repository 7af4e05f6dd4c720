import { describe, expect, test } from 'vitest';
import { createRandom } from '../../src/core/runtime/random.ts';
import { AgentPool } from '../../src/scheduler/candidate-pool.ts';
import { CapabilitySchedulingStrategy } from '../../src/scheduler/strategies/capability.ts';
import {
  type Candidate,
  type CandidatePool,
  defineStrategy,
  type PlacedTask,
  type SchedulingStrategy,
} from '../../src/scheduler/strategy.ts';
import { NO_RUNS } from '../../src/scheduler/task-history.ts';
import { StrategyWorld } from '../../src/testing/suites/strategy-world.ts';
import { createScheduler } from '../support/mesh.ts';

const SHOWN = {
  id: 'a',
  capabilities: ['x'],
  running: 1,
  slots: 4,
  queued: 1,
  load: 0.5,
  priority: 2,
  cost: 3,
};

function poolOfOne(): AgentPool {
  const pool = new AgentPool();
  pool.add({ id: 'a', capabilities: ['x'], slots: 4, priority: 2, cost: 3, running: 1, queued: 1 });
  return pool;
}

describe('what a strategy is shown survives a spread and JSON', () => {
  test('a candidate, in its numbers of that moment, with its history', () => {
    const pool = poolOfOne();
    const candidate = pool.get('a') as Candidate;
    const copy = { ...candidate, score: 7 };
    pool.started('a');
    expect(copy).toMatchObject({ ...SHOWN, score: 7 });
    expect(copy.history('t')).toBe(NO_RUNS);
    expect(candidate.running).toBe(2);
    expect(JSON.parse(JSON.stringify(candidate))).toEqual({ ...SHOWN, running: 2, load: 0.75 });
    expect(() => Object.assign(candidate, { running: 0 })).toThrow(TypeError);
  });

  test('a candidate of the suite, as in the scheduler', () => {
    const [candidate] = new StrategyWorld('views', 1).candidates();
    expect(JSON.parse(JSON.stringify({ ...candidate }))).toMatchObject({ id: 'agent-0', running: 0 });
    expect({ ...(candidate as Candidate) }.history('t')).toMatchObject({ runs: 0 });
  });

  test.each(['select', 'selectFrom'] as const)('task and candidates given to %s', async (hook) => {
    const { scheduler, clock, named } = createScheduler();
    const seen: unknown[] = [];
    const pick = (task: PlacedTask, candidates: Iterable<Candidate>): string | undefined => {
      seen.push(JSON.parse(JSON.stringify({ ...task })), JSON.parse(JSON.stringify(task)));
      const scored = [...candidates].map((candidate) => ({ ...candidate, score: -candidate.load }));
      return scored.toSorted((a, b) => b.score - a.score)[0]?.id;
    };
    const select: SchedulingStrategy['select'] = hook === 'select' ? pick : () => undefined;
    scheduler.registerStrategy({
      name: 'spread',
      select,
      ...(hook === 'select' ? {} : { selectFrom: pick }),
    });
    scheduler.setDefaultStrategy('spread');
    scheduler.registerAgent({ id: 'a', handler: ({ agentId }) => agentId });
    const handle = await scheduler.submitTask({
      id: 't',
      type: 'work',
      group: 'g',
      input: [1],
      metadata: { m: 1 },
    });
    await clock.settle();
    expect(await handle.result()).toBe('a');
    const shown = {
      id: 't',
      type: 'work',
      queue: 'work',
      priority: 2,
      weight: 1,
      group: 'g',
      capabilities: [],
      attempt: 1,
      prefer: [],
      input: [1],
      metadata: { m: 1 },
    };
    expect(seen).toEqual([shown, shown]);
    expect(named('strategy:failed')).toEqual([]);
  });

  test('one that replaces a built-in is shown the same', async () => {
    const { scheduler, clock } = createScheduler();
    const seen: string[] = [];
    class Watching extends CapabilitySchedulingStrategy {
      override selectFrom(task: PlacedTask, pool: CandidatePool): string | undefined {
        seen.push({ ...task }.id);
        return super.selectFrom(task, pool);
      }
    }
    scheduler.registerStrategy(new Watching());
    scheduler.registerAgent({ id: 'a', handler: () => 1 });
    await scheduler.submitTask({ id: 't', type: 't' });
    await clock.settle();
    expect(seen).toEqual(['t']);
  });

  test('a task that is kept stays the same when another is placed', async () => {
    const { scheduler, clock } = createScheduler();
    const kept: PlacedTask[] = [];
    scheduler.registerStrategy({
      name: 'keeper',
      select: (task, candidates) => {
        kept.push(task);
        return candidates[0]?.id;
      },
    });
    scheduler.setDefaultStrategy('keeper');
    scheduler.registerAgent({ id: 'a', handler: () => 1 });
    await scheduler.submitTasks([
      { id: 'one', type: 't' },
      { id: 'two', type: 't' },
    ]);
    await clock.settle();
    expect(kept.map(({ id }) => id)).toEqual(['one', 'two']);
  });
});

describe('explain', () => {
  const strategies: readonly (readonly [string, SchedulingStrategy['select'], RegExp])[] = [
    [
      'throws',
      () => {
        throw new Error('oops');
      },
      /^broken failed \(oops\); least loaded/,
    ],
    [
      'names a stranger',
      () => 'nobody',
      /^broken failed \(it chose "nobody", which isn't a candidate\); least/,
    ],
    ['is async', (async () => 'b') as never, /^broken failed \(select must answer .* async\); least loaded/],
    [
      'is async and rejects',
      (async () => {
        throw new Error('late');
      }) as never,
      /^broken failed \(select must answer .* async\); least loaded/,
    ],
  ];
  test.each(strategies)(
    'of a strategy that %s tells what the default would do',
    async (_, select, reason) => {
      const { scheduler, clock, named } = createScheduler();
      scheduler.registerStrategy({ name: 'broken', select });
      scheduler.setDefaultStrategy('broken');
      for (const id of ['a', 'b']) scheduler.registerAgent({ id, handler: ({ agentId }) => agentId });
      const told = scheduler.explain({ type: 't' });
      expect(told).toMatchObject({ strategy: 'capability', agent: 'a', alternatives: ['b'] });
      expect(told.reason).toMatch(reason);
      expect(named('strategy:failed')).toEqual([]);
      const handle = await scheduler.submitTask({ type: 't' });
      await clock.settle();
      expect(await handle.result()).toBe(told.agent);
      expect(named('strategy:failed')).toHaveLength(1);
    },
  );

  test('words that break or name a stranger leave the choice as it is', () => {
    const { scheduler } = createScheduler();
    for (const id of ['a', 'b']) scheduler.registerAgent({ id, handler: () => 1 });
    for (const explain of [
      () => ({ agent: 'nobody', reason: 'a whim', alternatives: [] }),
      () => {
        throw new Error('no words');
      },
    ]) {
      scheduler.registerStrategy({ name: 'last', select: (_task, all) => all.at(-1)?.id, explain });
      scheduler.setDefaultStrategy('last');
      expect(scheduler.explain({ type: 't' })).toEqual({
        strategy: 'last',
        agent: 'b',
        reason: 'chosen by last',
        alternatives: ['a'],
      });
    }
  });

  test('heeds what the task says of agents', () => {
    const { scheduler } = createScheduler();
    for (const id of ['a', 'b']) scheduler.registerAgent({ id, handler: () => 1 });
    expect(scheduler.explain({ type: 't', agents: { exclude: ['a'] } })).toMatchObject({ agent: 'b' });
    expect(scheduler.explain({ type: 't', agents: { prefer: ['x', 'b'] } })).toEqual({
      strategy: 'preferred',
      agent: 'b',
      reason: 'the task prefers it',
      alternatives: ['a'],
    });
    expect(scheduler.explain({ type: 't', agents: { only: 'b' } })).toMatchObject({ agent: 'b' });
    expect(scheduler.explain({ type: 't', agents: { only: 'x' } })).toEqual({
      strategy: 'assigned',
      reason: 'it is for x alone, which is not registered',
      alternatives: [],
    });
    expect(scheduler.explain({ type: 't', agents: { exclude: ['a', 'b'] } }).agent).toBeUndefined();
  });
});

test('G5: an async observe that rejects reaches nobody', async () => {
  const { scheduler, clock } = createScheduler();
  const rejections: unknown[] = [];
  const note = (reason: unknown): void => void rejections.push(reason);
  process.on('unhandledRejection', note);
  const late: () => unknown = async () => {
    throw new Error('late');
  };
  scheduler.registerStrategy({
    name: 'late',
    select: (_task, candidates) => candidates[0]?.id,
    observe: late,
  });
  scheduler.setDefaultStrategy('late');
  scheduler.registerAgent({ id: 'a', handler: () => 1 });
  await scheduler.submitTask({ type: 't' });
  await clock.settle();
  await new Promise((resolve) => {
    setImmediate(resolve);
  });
  process.off('unhandledRejection', note);
  expect(rejections).toEqual([]);
});

describe('defineStrategy', () => {
  const select: SchedulingStrategy['select'] = (_task, candidates) => candidates[0]?.id;

  test('refuses a mis-spelt hook, and what nobody calls', () => {
    expect(() => defineStrategy({ name: 'x', select, oberve: () => 1 } as never)).toThrow(
      expect.objectContaining({
        code: 'INVALID_ARGUMENT',
        message: 'Strategy x has "oberve", which nobody calls',
        hint: 'Did you mean `observe`?',
      }),
    );
    expect(() => defineStrategy({ name: 'x', select, zzzzzzzz: 1 } as never)).toThrow(
      expect.objectContaining({
        hint: 'A strategy has name, select, selectFrom, explain, observe, snapshot, restore.',
      }),
    );
    expect(() => defineStrategy({ name: 'x', select, observe: 1 } as never)).toThrow(/observe of strategy x/);
    expect(() => defineStrategy({ name: 'x' } as never)).toThrow(/select of strategy x/);
  });

  test('takes all hooks, and a class with methods of its own', () => {
    const whole = {
      name: 'x',
      select,
      selectFrom: (_: PlacedTask, pool: Iterable<Candidate>) => [...pool][0]?.id,
      explain: () => undefined,
      observe: () => undefined,
      snapshot: () => 1,
      restore: () => undefined,
    };
    expect(defineStrategy(whole)).toBe(whole);
    class Own {
      readonly name = 'own';
      readonly seen = createRandom(1);
      select = select;
    }
    expect(defineStrategy(new Own()).name).toBe('own');
  });
});
