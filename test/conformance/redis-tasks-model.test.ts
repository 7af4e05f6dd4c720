import { expect, test } from 'vitest';
import { memoryEnvironment } from '../support/memory-environment.ts';
import { redisEnvironment } from '../support/redis-environment.ts';
import { TaskTwins } from '../support/task-twins.ts';

const RUNS = 24;
const STEPS = 80;
/** What has to have happened, lest the comparison is of two stores that did nothing. */
const WANTED = [
  'claim',
  'cascade',
  'deadline',
  'pruned',
  'enqueue conflict',
  'enqueue cycle',
  'enqueue duplicate',
  'enqueue full',
  'revise priority',
  'revise redrive',
  'settle stale',
  'settle gone',
  'takeover dead',
  'takeover idle',
];

test('random calls: Redis answers what memory answers, and holds what it holds', async () => {
  const base = Number(process.env['FC_SEED']);
  const met = new Map<string, number>();
  for (let run = 0; run < RUNS; run++) {
    const seed = `FC_SEED=${base} run ${run}`;
    const [model, real] = [await memoryEnvironment(), await redisEnvironment()];
    const twins = new TaskTwins(seed, model, real);
    try {
      await twins.begin();
      for (let step = 0; step < STEPS; step++) await twins.step();
      await twins.finish();
    } catch (error) {
      throw new Error(`${seed}\n${twins.trace.slice(-12).join('\n')}`, { cause: error });
    } finally {
      await real.stop();
      await model.stop();
    }
    for (const [name, count] of twins.met) met.set(name, (met.get(name) ?? 0) + count);
  }
  expect(WANTED.filter((name) => !met.has(name))).toEqual([]);
}, 120_000);
