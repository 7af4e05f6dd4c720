import { promise as fastq } from 'fastq';
import pLimit from 'p-limit';
import PQueue from 'p-queue';
import { startMesh, usEach, worker } from '../harness/mesh.ts';
import { defineQuestion, type Scale } from '../harness/question.ts';

const SLOTS = 100;
const noop = async (): Promise<void> => undefined;

/** Until it is warm, then the run that counts: what is asked for is what a task costs, not what starting a process costs. */
async function warmed(scale: Scale, run: (n: number) => Promise<unknown>): Promise<number> {
  const n = scale.of(100_000);
  for (let i = 0; i < 3; i++) await run(n);
  return usEach(n, () => run(n));
}

export const noOpTasks = defineQuestion({
  name: 'no-op-tasks',
  asks: 'what does a task cost that does nothing? (100 slots, 100,000 tasks)',
  metrics: [
    { name: 'with its result', unit: 'µs' },
    { name: 'without', unit: 'µs' },
  ],
  contestants: {
    agentmesh: {
      note: 'ids, states, time limits, events, histograms, results that can be looked up',
      async run(scale) {
        const mesh = await startMesh();
        mesh.registerAgent(worker('a', SLOTS));
        const withResult = await warmed(scale, (n) =>
          Promise.all(Array.from({ length: n }, () => mesh.runTask({ type: 'noop', timeoutMs: 60_000 }))),
        );
        const without = await warmed(scale, async (n) => {
          for (let i = 0; i < n; i++) void mesh.submitTask({ type: 'noop', timeoutMs: 60_000 });
          await Promise.resolve();
          await mesh.tasks.onIdle();
        });
        return { 'with its result': withResult, without };
      },
    },
    'p-queue 10': {
      note: 'no ids, states, time limits, events',
      async run(scale) {
        const queue = new PQueue({ concurrency: SLOTS });
        return {
          'with its result': await warmed(scale, (n) =>
            Promise.all(Array.from({ length: n }, () => queue.add(noop))),
          ),
          without: await warmed(scale, async (n) => {
            for (let i = 0; i < n; i++) void queue.add(noop);
            await queue.onIdle();
          }),
        };
      },
    },
    fastq: {
      note: 'a queue of one function; nothing else',
      async run(scale) {
        const queue = fastq(noop, SLOTS);
        return {
          'with its result': await warmed(scale, (n) =>
            Promise.all(Array.from({ length: n }, () => queue.push(undefined))),
          ),
        };
      },
    },
    'p-limit': {
      note: 'a limit of concurrency; nothing else',
      async run(scale) {
        const limit = pLimit(SLOTS);
        return {
          'with its result': await warmed(scale, (n) =>
            Promise.all(Array.from({ length: n }, () => limit(noop))),
          ),
        };
      },
    },
    'bare promises': {
      note: 'no limit at all',
      async run(scale) {
        return {
          'with its result': await warmed(scale, (n) => Promise.all(Array.from({ length: n }, noop))),
        };
      },
    },
    'array as queue': {
      async run(scale) {
        return {
          'with its result': await warmed(scale, (n) => {
            const waiting: (() => void)[] = [];
            let running = 0;
            const next = (): void => {
              while (running < SLOTS && waiting.length > 0) {
                running += 1;
                waiting.shift()?.();
              }
            };
            return Promise.all(
              Array.from(
                { length: n },
                () =>
                  new Promise<void>((resolve) => {
                    waiting.push(() => {
                      void noop().then(() => {
                        running -= 1;
                        resolve();
                        next();
                      });
                    });
                    if (waiting.length % 1_000 === 0) next();
                  }),
              ),
            );
          }),
        };
      },
    },
  },
  control: {
    contestant: 'array as queue',
    metric: 'with its result',
    by: 1.5,
    why: 'takes the head off an array with shift()',
  },
  goals: [
    { text: '≤ 0.7 × p-queue 10', metric: 'with its result', versus: 'p-queue 10', atMost: 0.7 },
    { text: '≤ 1.5 × fastq', metric: 'with its result', versus: 'fastq', atMost: 1.5 },
    { text: 'moonshot: 1.4 µs', metric: 'with its result', value: 1.4 },
  ],
});
