import { expect, test } from 'vitest';
import { EventBus } from '../../src/core/event-bus.ts';
import { WorkStealingCoordinator } from '../../src/work-stealing/work-stealing-coordinator.ts';
import { createScheduler, gate } from '../support/mesh.ts';

/** Defect 7: stealing asked 5 times and moved 0 tasks. */
interface Squad {
  /** Gives the busy agent this many tasks; the idle one gets none. */
  load(tasks: number): Promise<void>;
  /** One look of the balancer. */
  look(): Promise<void>;
  /** Lets all work end. Answers who ran each task, each run. */
  finish(): Promise<readonly (readonly [task: string, agent: string])[]>;
}

export async function scenario(create: () => Squad): Promise<void> {
  const squad = create();
  await squad.load(9);
  for (let i = 0; i < 5; i++) await squad.look();
  const runs = await squad.finish();
  expect(runs.map(([task]) => task).toSorted()).toEqual(Array.from({ length: 9 }, (_, i) => `t${i}`));
  expect(runs.filter(([, agent]) => agent === 'idle').length).toBeGreaterThanOrEqual(4);
}

/** The predecessor's way: the balancer emits its request, and nobody listens. */
const naive = (): Squad => {
  const queue: string[] = [];
  const bus = new EventBus();
  return {
    async load(tasks) {
      for (let i = 0; i < tasks; i++) queue.push(`t${i}`);
    },
    async look() {
      bus.emit('workstealing:request', { sourceAgent: 'busy', targetAgent: 'idle', taskCount: 2 });
    },
    finish: async () => queue.map((task) => [task, 'busy'] as const),
  };
};

const ours = (): Squad => {
  const { scheduler, clock, bus, runtime } = createScheduler();
  const hold = gate();
  const runs: [string, string][] = [];
  for (const id of ['busy', 'idle']) {
    scheduler.registerAgent({
      id,
      maxConcurrentTasks: 1,
      handler: async ({ task }) => {
        runs.push([task.id, id]);
        await hold.promise;
      },
    });
  }
  const stealing = new WorkStealingCoordinator(
    { stealThreshold: 3, maxStealBatch: 2 },
    bus,
    undefined,
    (moves) => moves.map(({ from, to, count, maxMoves }) => scheduler.steal(from, to, count, maxMoves)),
    {
      runtime,
      loads: () =>
        scheduler.loads().map(({ id, capabilities, draining, running, waiting }) => ({
          agentId: id,
          capabilities,
          draining,
          taskCount: running + waiting.length,
          waiting: waiting.map((needs) => ({ capabilities: needs, count: 1 })),
        })),
    },
  );
  return {
    async load(tasks) {
      for (let i = 0; i < tasks; i++) await scheduler.assignTask({ id: `t${i}`, type: 't' }, 'busy');
      await clock.settle();
    },
    async look() {
      await stealing.checkAndSteal();
      await clock.settle();
    },
    async finish() {
      hold.open();
      await clock.advance(1_000);
      return runs;
    },
  };
};

test('defect 7: what the balancer asks for is moved, and each task runs once (W1, W2)', async () => {
  await expect(scenario(naive)).rejects.toThrow(/expected 0 to be greater/);
  await scenario(ours);
});
