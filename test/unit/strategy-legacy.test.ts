import { expect, test } from 'vitest';
import { createRandom } from '../../src/core/runtime/random.ts';
import { AgentPool } from '../../src/scheduler/candidate-pool.ts';
import { adaptLegacyStrategy, type LegacyFacts } from '../../src/scheduler/legacy-strategy.ts';
import type { LegacyContext, LegacyStrategy, PlacedTask } from '../../src/scheduler/strategy.ts';
import { NO_RUNS } from '../../src/scheduler/task-history.ts';
import { strategySuite } from '../../src/testing/suites/strategy.ts';
import { createScheduler } from '../support/mesh.ts';

/** As the predecessor's users wrote them. */
class LeastBusy implements LegacyStrategy {
  readonly name = 'least-busy';
  seen: { task: object; agents: readonly object[]; context: LegacyContext } | undefined;

  selectAgent(task: object, agents: readonly object[], context: LegacyContext): string | null {
    this.seen = { task, agents, context };
    const ids = agents.map((agent) => (agent as { id: string }).id);
    const load = (id: string): number => context.taskLoads.get(id) ?? 0;
    return ids.toSorted((a, b) => load(a) - load(b))[0] ?? null;
  }
}

const task: PlacedTask = {
  id: 't1',
  type: 'edit',
  queue: 'edit',
  priority: 3,
  weight: 1,
  capabilities: ['edit'],
  attempt: 1,
  prefer: [],
};

function ask(strategy: LegacyStrategy, facts?: LegacyFacts): unknown {
  const pool = new AgentPool();
  pool.add({ id: 'busy', capabilities: ['edit'], slots: 3, priority: 2, running: 1, queued: 1 });
  pool.add({ id: 'idle', capabilities: ['edit'], slots: 1 });
  const context = { now: 1_000, random: createRandom(1), lastAgent: undefined };
  return adaptLegacyStrategy(strategy, facts).select(task, [...pool.eligible(task)], context);
}

strategySuite({ test, create: () => adaptLegacyStrategy(new LeastBusy()), expected: { spreads: true } });

test('a class with selectAgent decides, with the facts it knew', () => {
  const strategy = new LeastBusy();
  const taskHistory = new Map([['edit', NO_RUNS]]);
  expect(ask(strategy, { taskHistory, wall: () => 5_000 })).toBe('idle');
  expect(strategy.seen?.task).toMatchObject({ id: 't1', type: 'edit', priority: 3 });
  expect(strategy.seen?.agents).toEqual([
    { id: 'busy', name: 'busy', type: 'agent', capabilities: ['edit'], maxConcurrentTasks: 3, priority: 2 },
    { id: 'idle', name: 'idle', type: 'agent', capabilities: ['edit'], maxConcurrentTasks: 1, priority: 0 },
  ]);
  expect(strategy.seen?.context).toEqual({
    taskLoads: new Map([
      ['busy', 2],
      ['idle', 0],
    ]),
    agentCapabilities: new Map([
      ['busy', ['edit']],
      ['idle', ['edit']],
    ]),
    agentPriorities: new Map([
      ['busy', 2],
      ['idle', 0],
    ]),
    taskHistory,
    currentTime: new Date(5_000),
  });
});

test('the records are those that were registered, completed, when they are known', () => {
  const strategy = new LeastBusy();
  const record = { id: 'busy', systemPrompt: 'You are busy.', name: undefined };
  ask(strategy, { profile: (id) => (id === 'busy' ? record : undefined) } as LegacyFacts);
  expect(strategy.seen?.agents[0]).toEqual({
    id: 'busy',
    name: 'busy',
    type: 'agent',
    systemPrompt: 'You are busy.',
    capabilities: ['edit'],
    maxConcurrentTasks: 3,
    priority: 2,
  });
  expect(strategy.seen?.agents[1]).toMatchObject({ id: 'idle' });
});

test('in a scheduler it gets the task as it was submitted, whole', async () => {
  const { scheduler, clock } = createScheduler();
  const seen: unknown[] = [];
  scheduler.registerStrategy({
    name: 'by-record',
    selectAgent(record, agents) {
      seen.push(record);
      return agents[0]?.id ?? null;
    },
  });
  scheduler.setDefaultStrategy('by-record');
  scheduler.registerAgent({ id: 'a', capabilities: ['edit'], handler: () => 1 });
  await scheduler.submitTask({
    id: 't',
    type: 'edit',
    description: 'Mend the roof',
    priority: 'high',
    capabilities: ['edit'],
    input: { file: 'roof.ts' },
    metadata: { region: 'eu' },
  });
  await clock.settle();
  expect(seen).toEqual([
    {
      id: 't',
      type: 'edit',
      description: 'Mend the roof',
      priority: 3,
      dependencies: [],
      status: 'pending',
      capabilities: ['edit'],
      input: { file: 'roof.ts' },
      metadata: { description: 'Mend the roof', region: 'eu' },
    },
  ]);
});

test('null means wait; a class may use this and change its copies', () => {
  class Never {
    readonly name = 'never';
    readonly #answer = null;
    selectAgent(_task: object, agents: readonly object[]): null {
      (agents as { capabilities: string[] }[])[0]?.capabilities.push('admin');
      return this.#answer;
    }
  }
  expect(ask(new Never())).toBeUndefined();
});

test('what is no strategy is refused', () => {
  expect(() => adaptLegacyStrategy({ name: 'x' } as never)).toThrow(/selectAgent of strategy x/);
  expect(() => adaptLegacyStrategy({ name: '', selectAgent: () => null })).toThrow(/name of a strategy/);
});
