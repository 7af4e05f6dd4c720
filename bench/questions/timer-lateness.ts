import PQueue from 'p-queue';
import { startMesh, turn, worker } from '../harness/mesh.ts';
import { defineQuestion, type Scale } from '../harness/question.ts';

const noop = async (): Promise<void> => undefined;

/** The worst lateness of a timer that is due each ms while `run` goes on. */
async function lateness(run: () => Promise<void>): Promise<Record<string, number>> {
  let worst = 0;
  let due = performance.now() + 1;
  let over = false;
  const tick = (): void => {
    const now = performance.now();
    worst = Math.max(worst, now - due);
    due = now + 1;
    if (!over) setTimeout(tick, 1);
  };
  setTimeout(tick, 1);
  const from = performance.now();
  await run();
  over = true;
  worst = Math.max(worst, performance.now() - due); // a run that never yielded let no timer fire at all
  return { worst, run: performance.now() - from };
}

/** Submits in bites of 500, so that the producer itself is never what keeps the timer waiting. */
async function produce(scale: Scale, submit: () => void): Promise<void> {
  const n = scale.of(1_000_000);
  for (let i = 0; i < n; i++) {
    submit();
    if (i % 500 === 499) await turn();
  }
}

export const timerLateness = defineQuestion({
  name: 'timer-lateness',
  asks: 'how late is a timer of 1 ms while a million tasks run?',
  metrics: [
    { name: 'worst', unit: 'ms' },
    { name: 'run', unit: 'ms' },
  ],
  contestants: {
    agentmesh: {
      async run(scale) {
        // A backlog of all tasks is there when the agent comes: the pump has to yield by itself.
        const mesh = await startMesh({ scheduling: { keepMs: 1_000 } });
        await produce(scale, () => void mesh.submitTask({ type: 'noop' }));
        return lateness(async () => {
          mesh.registerAgent(worker('a', 100));
          await mesh.tasks.onIdle();
        });
      },
    },
    'p-queue 10': {
      async run(scale) {
        const queue = new PQueue({ concurrency: 100, autoStart: false });
        await produce(scale, () => void queue.add(noop));
        return lateness(async () => {
          queue.start();
          await queue.onIdle();
        });
      },
    },
    'a pump that never yields': {
      async run(scale) {
        const n = scale.of(1_000_000);
        return lateness(async () => {
          for (let i = 0; i < n; i++) await noop();
        });
      },
    },
  },
  control: {
    contestant: 'p-queue 10',
    metric: 'worst',
    by: 3,
    why: 'runs what is queued in one microtask after the other',
  },
  goals: [{ text: 'worst lateness ≤ 15 ms', metric: 'worst', value: 15 }],
});
