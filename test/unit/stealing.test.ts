import { describe, expect, test } from 'vitest';
import { EventBus } from '../../src/core/event-bus.ts';
import type { CoordinationEvents } from '../../src/core/events.ts';
import { createIds } from '../../src/core/runtime/ids.ts';
import { silentLogger } from '../../src/core/runtime/logger.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { agentScore } from '../../src/work-stealing/agent-score.ts';
import { contentGap, decideSteals } from '../../src/work-stealing/steal-policy.ts';
import {
  type MoveTasks,
  type WorkStealingOptions,
  type WorkStealingParts,
  WorkStealingCoordinator,
} from '../../src/work-stealing/work-stealing-coordinator.ts';

type Stolen = CoordinationEvents['work:stolen'];
type Asked = CoordinationEvents['workstealing:request'];

function create(options?: WorkStealingOptions, move?: MoveTasks, parts: WorkStealingParts = {}) {
  const clock = createTestClock();
  const random = createRandom(1);
  const runtime = { clock, random, ids: createIds(clock, random), logger: silentLogger };
  const bus = new EventBus({ clock });
  const asked: Asked[] = [];
  const stolen: Stolen[] = [];
  const errors: string[] = [];
  bus.on('workstealing:request', (payload) => void asked.push(payload));
  bus.on('work:stolen', (payload) => void stolen.push(payload));
  bus.on('system:error', ({ message }) => void errors.push(message));
  const stealing = new WorkStealingCoordinator(options, bus, undefined, move, { runtime, ...parts });
  return { stealing, clock, asked, stolen, errors };
}

/** Moves everything it is asked to. */
const obliging: MoveTasks = (moves) =>
  moves.map(({ stealId, count }) => Array.from({ length: count }, (_, i) => `${stealId}/${i}`));

describe('the documented sample', () => {
  const config = { enabled: true, stealThreshold: 3, maxStealBatch: 2, stealInterval: 5_000 };

  test('runs as written', () => {
    const workStealing = new WorkStealingCoordinator(config);
    workStealing.updateAgentWorkload('agent1', {
      taskCount: 5,
      avgTaskDuration: 2_000,
      cpuUsage: 70,
      memoryUsage: 80,
    });
    const profile = {
      id: 'agent1',
      name: 'A',
      type: 'x',
      capabilities: ['edit'],
      maxConcurrentTasks: 2,
      priority: 1,
    };
    expect(workStealing.findBestAgent({ id: 't', type: 'edit' }, [profile])).toBe('agent1');
  });

  test('alone it asks for moves, of at most maxStealBatch tasks, and counts nothing as moved', async () => {
    const { stealing, asked, stolen } = create(config);
    stealing.updateAgentWorkload('busy', { taskCount: 9 });
    stealing.updateAgentWorkload('idle', { taskCount: 0 });
    expect(await stealing.checkAndSteal()).toEqual({ requests: 2, moved: 0, refused: 0 });
    expect(asked).toEqual([
      { sourceAgent: 'busy', targetAgent: 'idle', taskCount: 2 },
      { sourceAgent: 'busy', targetAgent: 'idle', taskCount: 2 },
    ]);
    expect(stolen).toEqual([]);
    expect(stealing.getWorkloadStats()).toMatchObject({ requests: 2, moved: 0, refused: 0, rounds: 1 });
  });

  test('a difference equal to the threshold is not enough', async () => {
    const { stealing, asked } = create(config);
    stealing.updateAgentWorkload('a', { taskCount: 3 });
    stealing.updateAgentWorkload('b', { taskCount: 0 });
    await stealing.checkAndSteal();
    expect(asked).toEqual([]);
    stealing.updateAgentWorkload('a', { taskCount: 4 });
    await stealing.checkAndSteal();
    expect(asked).toHaveLength(1);
  });

  test('the config of the whole mesh fits; misspelt options are refused', () => {
    const whole = { maxRetries: 3, retryDelay: 1_000, stealThreshold: 2 };
    expect(() => new WorkStealingCoordinator(whole)).not.toThrow();
    expect(() => new WorkStealingCoordinator({ stealTreshold: 2 } as object)).toThrow(/stealTreshold/);
    expect(() => new WorkStealingCoordinator({ stealThreshold: 0 })).toThrow(/stealThreshold/);
  });
});

describe('findBestAgent', () => {
  const load = {
    taskCount: 2,
    avgTaskDuration: 500,
    cpuUsage: 40,
    memoryUsage: 50,
    priority: 3,
    capabilities: ['edit'],
  };

  test('the score is the documented sum', () => {
    expect(agentScore({ type: 'edit' }, load)).toBe(100 - 20 - 20 - 15 + 15 + 20 - 1);
    expect(agentScore({ type: 'build' }, load)).toBe(100 - 20 - 20 - 15 + 15 - 1);
    expect(agentScore({ type: 'build', capabilities: ['edit'] }, load)).toBe(79);
    expect(agentScore({ type: 'edit', capabilities: ['gpu'] }, load)).toBe(59);
  });

  test('the highest score wins, the first among equals; unknown agents count as idle', () => {
    const { stealing } = create();
    stealing.updateAgentWorkload('a', { taskCount: 1 });
    expect(stealing.findBestAgent({ type: 't' }, ['a', 'b', 'c'])).toBe('b');
    expect(stealing.findBestAgent({ type: 't' }, [])).toBeNull();
  });

  test('a type it knows is worth 20, but no requirement; a named capability is one', () => {
    const { stealing } = create();
    const [plain, editor] = [
      { id: 'plain', capabilities: [] },
      { id: 'editor', capabilities: ['edit'] },
    ];
    expect(stealing.findBestAgent({ type: 'edit' }, [plain, editor])).toBe('editor');
    stealing.updateAgentWorkload('editor', { taskCount: 3 });
    expect(stealing.findBestAgent({ type: 'edit' }, [plain, editor])).toBe('plain');
    expect(stealing.findBestAgent({ type: 'edit', capabilities: ['edit'] }, [plain, editor])).toBe('editor');
    expect(stealing.findBestAgent({ type: 'edit', capabilities: ['gpu'] }, [plain, editor])).toBeNull();
  });

  test('profile facts go before reported ones', () => {
    const { stealing } = create();
    stealing.updateAgentWorkload('a', { capabilities: ['old'], priority: 9 });
    expect(stealing.findBestAgent({ capabilities: ['old'] }, ['a'])).toBe('a');
    expect(
      stealing.findBestAgent({ capabilities: ['old'] }, [{ id: 'a', capabilities: ['new'] }]),
    ).toBeNull();
    expect(stealing.findBestAgent({ type: 't' }, [{ id: 'b', priority: 10 }, 'a'])).toBe('b');
  });

  test('W5: an agent that was removed, or drains, is never the answer', () => {
    const { stealing } = create();
    stealing.updateAgentWorkload('a', {});
    stealing.removeAgent('a');
    stealing.updateAgentWorkload('b', { draining: true });
    expect(stealing.findBestAgent({ type: 't' }, ['a', 'b', { id: 'a', capabilities: ['t'] }])).toBeNull();
    stealing.addAgent('a');
    expect(stealing.findBestAgent({ type: 't' }, ['a', 'b'])).toBe('a');
  });

  test.each([
    [undefined, ['a']],
    ['t', ['a']],
    [{ type: 't' }, 'a'],
    [{ type: 't' }, [7]],
    [{ type: 't' }, [{}]],
    [{ type: 't' }, [{ id: '' }]],
    [{ type: 't' }, [{ id: 'a', capabilities: 'x' }]],
    [{ type: 't' }, [{ id: 'a', priority: Number.NaN }]],
    [{ capabilities: [1] }, ['a']],
  ])('%o among %o is refused', (task, agents) => {
    const { stealing } = create();
    expect(() => stealing.findBestAgent(task as object, agents as string[])).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    );
  });
});

describe('workloads', () => {
  test.each([
    ['a', { taskCount: -1 }],
    ['a', { taskCount: 1.5 }],
    ['a', { taskCount: Number.NaN }],
    ['a', { cpuUsage: 101 }],
    ['a', { memoryUsage: Number.POSITIVE_INFINITY }],
    ['a', { avgTaskDuration: '5' }],
    ['a', { priority: 1e9 }],
    ['a', { capabilities: 'edit' }],
    ['a', { waiting: [{ capabilities: [], count: -1 }] }],
    ['a', { waiting: [7] }],
    ['a', undefined],
    ['', {}],
    [5, {}],
  ])('a report of %o: %o is refused and changes nothing', (id, report) => {
    const { stealing } = create();
    stealing.updateAgentWorkload('a', { taskCount: 4 });
    expect(() => stealing.updateAgentWorkload(id as string, report as object)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    );
    expect(stealing.getWorkloadStats()).toMatchObject({ totalAgents: 1, totalTasks: 4 });
  });

  test('what a report leaves out stays; durations are averaged from the report on', () => {
    const { stealing } = create();
    stealing.updateAgentWorkload('a', { taskCount: 4, avgTaskDuration: 100 });
    stealing.updateAgentWorkload('a', { cpuUsage: 50 });
    stealing.recordTaskDuration('a', 300);
    stealing.recordTaskDuration('a', 100);
    expect(stealing.getWorkloadStats().workloads['a']).toMatchObject({
      taskCount: 4,
      cpuUsage: 50,
      avgTaskDuration: 200,
    });
    expect(() => stealing.recordTaskDuration('a', Number.NaN)).toThrow(/durationMs/);
  });

  test('statistics of nobody, and of some', () => {
    const { stealing } = create();
    expect(stealing.getWorkloadStats()).toMatchObject({
      totalAgents: 0,
      averageTasks: 0,
      minTasks: 0,
      maxTasks: 0,
      imbalance: 0,
    });
    for (const [id, taskCount] of [
      ['a', 5],
      ['__proto__', 1],
    ] as const)
      stealing.updateAgentWorkload(id, { taskCount });
    const stats = stealing.getWorkloadStats();
    expect(stats).toMatchObject({
      totalAgents: 2,
      totalTasks: 6,
      averageTasks: 3,
      minTasks: 1,
      maxTasks: 5,
      imbalance: 4,
    });
    expect(Object.keys(stats.workloads)).toEqual(['a', '__proto__']);
  });

  test('a late report does not revive an agent that was removed', () => {
    const { stealing } = create();
    stealing.updateAgentWorkload('a', { taskCount: 4 });
    expect(stealing.removeAgent('a')).toBe(true);
    expect(() => stealing.updateAgentWorkload('a', {})).toThrow(
      expect.objectContaining({ code: 'UNKNOWN_AGENT' }),
    );
    expect(() => stealing.recordTaskDuration('a', 1)).toThrow(
      expect.objectContaining({ code: 'UNKNOWN_AGENT' }),
    );
    expect(stealing.removeAgent('a')).toBe(false);
  });
});

describe('rounds', () => {
  test('moved tasks are reported with their ids, counted, and change what is known', async () => {
    const { stealing, stolen } = create({}, obliging);
    stealing.updateAgentWorkload('busy', { taskCount: 8 });
    stealing.updateAgentWorkload('idle', { taskCount: 0 });
    const round = await stealing.checkAndSteal();
    expect(round).toEqual({ requests: 2, moved: 4, refused: 0 });
    expect(stolen.map(({ taskIds }) => taskIds.length)).toEqual([2, 2]);
    expect(new Set(stolen.map(({ stealId }) => stealId)).size).toBe(2);
    expect(stolen[0]).toMatchObject({ sourceAgent: 'busy', targetAgent: 'idle' });
    expect(stealing.getWorkloadStats()).toMatchObject({ imbalance: 0, moved: 4 });
    expect(await stealing.checkAndSteal()).toEqual({ requests: 0, moved: 0, refused: 0 });
  });

  test('what a mover refuses is counted and stays where it is', async () => {
    const { stealing, stolen } = create({}, (moves) => moves.map((_, i) => (i === 0 ? ['one'] : [])));
    stealing.updateAgentWorkload('busy', { taskCount: 8 });
    stealing.updateAgentWorkload('idle', { taskCount: 0 });
    expect(await stealing.checkAndSteal()).toEqual({ requests: 2, moved: 1, refused: 3 });
    expect(stolen).toHaveLength(1);
    expect(stealing.getWorkloadStats().workloads).toMatchObject({
      busy: { taskCount: 7 },
      idle: { taskCount: 1 },
    });
  });

  test('a move carries what the target can do and how often a task may move', async () => {
    const seen: Parameters<MoveTasks>[0][number][] = [];
    const { stealing } = create({ maxMoves: 2 }, (moves) => moves.map((move) => (seen.push(move), [])));
    stealing.updateAgentWorkload('busy', { taskCount: 5 });
    stealing.updateAgentWorkload('idle', { capabilities: ['edit'] });
    await stealing.checkAndSteal();
    expect(seen[0]).toMatchObject({
      from: 'busy',
      to: 'idle',
      count: 2,
      capabilities: ['edit'],
      maxMoves: 2,
    });
  });

  test.each<[string, MoveTasks]>([
    [
      'throws',
      () => {
        throw new Error('broken mover');
      },
    ],
    ['rejects', () => Promise.reject(new Error('broken mover'))],
    ['answers too little', () => []],
    ['answers nonsense', () => [7, 7] as never],
    ['answers nothing', () => undefined as never],
  ])('a mover that %s is reported, and the next round is not disturbed (G5)', async (_name, move) => {
    const { stealing, errors } = create({}, move);
    stealing.updateAgentWorkload('busy', { taskCount: 8 });
    stealing.updateAgentWorkload('idle', { taskCount: 0 });
    expect(await stealing.checkAndSteal()).toEqual({ requests: 2, moved: 0, refused: 4 });
    expect(errors).toHaveLength(1);
    expect(stealing.getWorkloadStats()).toMatchObject({ failures: 1, imbalance: 8 });
    expect(await stealing.checkAndSteal()).toMatchObject({ requests: 2 });
  });

  test('calls during a round share it', async () => {
    let open: () => void = () => undefined;
    let calls = 0;
    const { stealing } = create({}, async (moves) => {
      calls += 1;
      await new Promise<void>((resolve) => (open = resolve));
      return moves.map(() => ['x']);
    });
    stealing.updateAgentWorkload('busy', { taskCount: 5 });
    stealing.updateAgentWorkload('idle', {});
    const rounds = [stealing.checkAndSteal(), stealing.checkAndSteal()];
    await Promise.resolve();
    open();
    expect((await Promise.all(rounds)).map(({ moved }) => moved)).toEqual([1, 1]);
    expect(calls).toBe(1);
    expect(stealing.getWorkloadStats().moved).toBe(1);
  });

  test('live loads go before reports; the removed are left out all the same (W5)', async () => {
    const loads = ['a', 'b', 'gone'].map((agentId) => ({ agentId, taskCount: agentId === 'a' ? 9 : 0 }));
    const { stealing, stolen } = create({}, obliging, { loads: () => loads });
    stealing.updateAgentWorkload('gone', { taskCount: 50 });
    stealing.removeAgent('gone');
    await stealing.checkAndSteal();
    expect(new Set(stolen.map(({ sourceAgent, targetAgent }) => `${sourceAgent}>${targetAgent}`))).toEqual(
      new Set(['a>b']),
    );
  });

  test('loads that throw end the round, reported', async () => {
    const { stealing, errors } = create({}, obliging, {
      loads: () => {
        throw new Error('no loads');
      },
    });
    expect(await stealing.checkAndSteal()).toEqual({ requests: 0, moved: 0, refused: 0 });
    expect(errors).toEqual(['no loads']);
  });
});

describe('life', () => {
  test('looks every stealInterval from initialize to shutdown; both may be called twice', async () => {
    const { stealing, clock } = create({ stealInterval: 1_000 }, obliging);
    await stealing.initialize();
    await stealing.initialize();
    await clock.advance(3_500);
    expect(stealing.getWorkloadStats().rounds).toBe(3);
    await stealing.shutdown();
    await stealing.shutdown();
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
    await clock.advance(3_000);
    expect(stealing.getWorkloadStats().rounds).toBe(3);
    await expect(stealing.checkAndSteal()).rejects.toMatchObject({ code: 'STOPPED' });
    await stealing.initialize();
    await clock.advance(1_000);
    expect(stealing.getWorkloadStats().rounds).toBe(4);
    await stealing.shutdown();
  });

  test('shutdown waits for the round that is under way, and no further one comes', async () => {
    let open: () => void = () => undefined;
    const { stealing, clock, stolen } = create({ stealInterval: 1_000 }, async (moves) => {
      await new Promise<void>((resolve) => (open = resolve));
      return moves.map(() => ['x']);
    });
    stealing.updateAgentWorkload('busy', { taskCount: 5 });
    stealing.updateAgentWorkload('idle', {});
    await stealing.initialize();
    await clock.advance(1_000);
    const end = stealing.shutdown();
    open();
    await end;
    await clock.settle();
    expect(stolen).toHaveLength(1);
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
  });

  test('switched off it does nothing', async () => {
    const { stealing, clock } = create({ enabled: false }, obliging);
    stealing.updateAgentWorkload('busy', { taskCount: 50 });
    stealing.updateAgentWorkload('idle', {});
    await stealing.initialize();
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
    expect(await stealing.checkAndSteal()).toEqual({ requests: 0, moved: 0, refused: 0 });
  });

  test('its timer does not hold the process open (G6)', async () => {
    const held: boolean[] = [];
    const clock = createTestClock();
    const random = createRandom(1);
    const watched = {
      ...clock,
      after: (ms: number, fn: () => void, keepAlive = false) => (held.push(keepAlive), clock.after(ms, fn)),
    };
    const runtime = { clock: watched, random, ids: createIds(clock, random), logger: silentLogger };
    await new WorkStealingCoordinator({}, undefined, undefined, undefined, { runtime }).initialize();
    expect(held).toEqual([false]);
  });
});

describe('decideSteals', () => {
  const options = { stealThreshold: 3, maxStealBatch: 2 };
  const counts = (...taskCounts: number[]) =>
    taskCounts.map((taskCount, i) => ({ agentId: `${i}`, taskCount }));

  test('goes on until the gap is half the threshold, so that it does not start again at once', () => {
    expect(contentGap(3)).toBe(1);
    expect(contentGap(10)).toBe(5);
    const steals = decideSteals(counts(100, 0), { stealThreshold: 10, maxStealBatch: 100 });
    expect(steals).toEqual([{ from: '0', to: '1', count: 48 }]);
  });

  test('moves only what waits, to those that can do it', () => {
    const loads = [
      {
        agentId: 'busy',
        taskCount: 10,
        waiting: [
          { capabilities: ['gpu'], count: 2 },
          { capabilities: [], count: 1 },
        ],
      },
      { agentId: 'plain', taskCount: 0, capabilities: [] },
      { agentId: 'gpu', taskCount: 4, capabilities: ['gpu'], waiting: [] },
      { agentId: 'draining', taskCount: 0, draining: true },
    ];
    expect(decideSteals(loads, options)).toEqual([
      { from: 'busy', to: 'gpu', count: 2 },
      { from: 'busy', to: 'plain', count: 1 },
    ]);
  });

  test('nobody, somebody alone, and nothing movable', () => {
    expect(decideSteals([], options)).toEqual([]);
    expect(decideSteals(counts(100), options)).toEqual([]);
    expect(
      decideSteals(
        [
          { agentId: 'a', taskCount: 9, waiting: [] },
          { agentId: 'b', taskCount: 0 },
        ],
        options,
      ),
    ).toEqual([]);
  });

  test('a thousand agents and ten thousand tasks on one of them: even in one round', () => {
    const loads = counts(10_000, ...Array<number>(999).fill(0));
    const steals = decideSteals(loads, options);
    const after = loads.map(({ taskCount }) => taskCount);
    for (const { from, to, count } of steals) {
      after[Number(from)] = (after[Number(from)] as number) - count;
      after[Number(to)] = (after[Number(to)] as number) + count;
    }
    expect(Math.max(...after) - Math.min(...after)).toBeLessThanOrEqual(1);
  });
});
