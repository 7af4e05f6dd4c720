import { expect, test } from 'vitest';
import type { LegacyStrategy, SchedulingStrategy } from '../../src/scheduler/strategy.ts';
import { createScheduler } from '../support/mesh.ts';

/** Defect 6: a custom strategy was called 0 times in 9 assignments; 5 tasks went to agents without the capability. */
interface Scheduler {
  registerAgent(agent: { id: string; capabilities: string[]; maxConcurrentTasks: number }): void;
  registerStrategy(strategy: SchedulingStrategy | LegacyStrategy): void;
  setDefaultStrategy(name: string): void;
  /** The agent that got it. */
  assign(task: { id: string; type: string; capabilities: string[] }): Promise<string | undefined>;
}

export async function scenario(create: () => Scheduler, form: 'select' | 'selectAgent'): Promise<void> {
  const scheduler = create();
  const capable: Record<string, string[]> = { ann: ['edit'], bob: ['review'], cat: ['edit', 'review'] };
  for (const [id, capabilities] of Object.entries(capable)) {
    scheduler.registerAgent({ id, capabilities, maxConcurrentTasks: 20 });
  }
  let calls = 0;
  /** The last in the alphabet: nobody else's choice. */
  const last = (ids: readonly string[]): string => {
    calls += 1;
    return ids.toSorted().at(-1) as string;
  };
  scheduler.registerStrategy(
    form === 'select'
      ? { name: 'last', select: (_task, candidates) => last(candidates.map(({ id }) => id)) }
      : {
          name: 'last',
          selectAgent: (_task, agents) => last((agents as { id: string }[]).map(({ id }) => id)),
        },
  );
  scheduler.setDefaultStrategy('last');
  for (let i = 0; i < 9; i++) {
    const needed = ['edit', 'review'][i % 2] as string;
    const agent = await scheduler.assign({ id: `t${i}`, type: needed, capabilities: [needed] });
    expect(capable[agent ?? '']).toContain(needed);
    expect(agent).toBe('cat');
  }
  expect(calls).toBe(9);
}

/** The predecessor's way: strategies are kept in a map that nothing reads; whoever has the fewest tasks gets the next. */
const naive = (): Scheduler => {
  const loads = new Map<string, number>();
  const strategies = new Map<string, unknown>();
  return {
    registerAgent: ({ id }) => void loads.set(id, 0),
    registerStrategy: (strategy) => void strategies.set(strategy.name, strategy),
    setDefaultStrategy: () => undefined,
    async assign() {
      const [least] = [...loads].toSorted(([, a], [, b]) => a - b);
      if (least !== undefined) loads.set(least[0], least[1] + 1);
      return least?.[0];
    },
  };
};

const ours = (): Scheduler => {
  const { scheduler, named } = createScheduler();
  return {
    registerAgent: (agent) => void scheduler.registerAgent(agent),
    registerStrategy: (strategy) => scheduler.registerStrategy(strategy),
    setDefaultStrategy: (name) => scheduler.setDefaultStrategy(name),
    async assign(task) {
      await scheduler.assignTask(task);
      const events = named('task:assigned').map(
        ({ payload }) => payload as { taskId: string; agentId: string },
      );
      return events.find(({ taskId }) => taskId === task.id)?.agentId;
    },
  };
};

test.each(['select', 'selectAgent'] as const)(
  'defect 6: a custom strategy with %s decides, among capable agents',
  async (form) => {
    await expect(scenario(naive, form)).rejects.toThrow(/expected/);
    await scenario(ours, form);
  },
);
