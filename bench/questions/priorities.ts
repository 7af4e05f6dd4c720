import { ConsecutiveBreaker, circuitBreaker, handleAll, TimeoutStrategy, timeout, wrap } from 'cockatiel';
import { EventEmitter } from 'eventemitter3';
import PQueue from 'p-queue';
import { startMesh, usEach, worker } from '../harness/mesh.ts';
import { defineQuestion } from '../harness/question.ts';

const SLOTS = 100;
const LEVELS = 32;
const noop = async (): Promise<void> => undefined;
const shuffled = (i: number): number => (i * 2_654_435_761) % LEVELS;

/** Queues `n` tasks, then lets them run; µs a task over both. */
type Run = (n: number) => Promise<unknown>;

async function ask(run: Run, sizes: Readonly<Record<string, number>>): Promise<Record<string, number>> {
  for (let i = 0; i < 3; i++) await run(50_000);
  const values: Record<string, number> = {};
  for (const [name, n] of Object.entries(sizes)) values[name] = await usEach(n, () => run(n));
  return values;
}

const pQueue: Run = async (n) => {
  const queue = new PQueue({ concurrency: SLOTS, autoStart: false });
  for (let i = 0; i < n; i++) void queue.add(noop, { priority: shuffled(i) });
  queue.start();
  await queue.onIdle();
};

const composition: Run = async (n) => {
  const queue = new PQueue({ concurrency: SLOTS, autoStart: false });
  const events = new EventEmitter();
  const states = new Map<number, string>();
  events.on('started', (id: number) => states.set(id, 'running'));
  events.on('completed', (id: number) => states.set(id, 'completed'));
  const policy = wrap(
    circuitBreaker(handleAll, { halfOpenAfter: 1_000, breaker: new ConsecutiveBreaker(5) }),
    timeout(60_000, TimeoutStrategy.Aggressive),
  );
  for (let i = 0; i < n; i++) {
    states.set(i, 'queued');
    const task = async (): Promise<void> => {
      events.emit('started', i);
      await policy.execute(noop);
      events.emit('completed', i);
    };
    void queue.add(task, { priority: shuffled(i) });
  }
  queue.start();
  await queue.onIdle();
};

export const priorities = defineQuestion({
  name: 'priorities',
  asks: 'what does a task cost with 32 priorities, when all are queued before the first runs?',
  metrics: [
    { name: '100k queued', unit: 'µs' },
    { name: '300k queued', unit: 'µs' },
  ],
  contestants: {
    agentmesh: {
      async run(scale) {
        return ask(
          async (n) => {
            const mesh = await startMesh();
            for (let i = 0; i < n; i++)
              void mesh.submitTask({ type: 'noop', priority: shuffled(i), timeoutMs: 60_000 });
            mesh.registerAgent(worker('a', SLOTS));
            await Promise.resolve();
            await mesh.tasks.onIdle();
            await mesh.shutdown();
          },
          { '100k queued': scale.of(100_000), '300k queued': scale.of(300_000) },
        );
      },
    },
    'p-queue 10': {
      note: 'no ageing, ids, states, time limits',
      run: (scale) => ask(pQueue, { '100k queued': scale.of(100_000), '300k queued': scale.of(300_000) }),
    },
    composition: {
      note: 'p-queue, cockatiel (breaker, time limit), eventemitter3, a map of states',
      run: (scale) => ask(composition, { '100k queued': scale.of(100_000) }),
    },
  },
  control: {
    contestant: 'composition',
    metric: '100k queued',
    by: 2,
    why: 'libraries put together, each with its own bookkeeping',
  },
  goals: [
    {
      text: '≥ 3.5 × ahead of p-queue at 100k',
      metric: '100k queued',
      versus: 'p-queue 10',
      atMost: 1 / 3.5,
    },
    { text: '≥ 10 × ahead of p-queue at 300k', metric: '300k queued', versus: 'p-queue 10', atMost: 1 / 10 },
    { text: '≥ 8 × ahead of the composition', metric: '100k queued', versus: 'composition', atMost: 1 / 8 },
  ],
});
