import { expect, test } from 'vitest';
import { silentSink } from '../../src/core/events.ts';
import type { Timer } from '../../src/core/ports/runtime.ts';
import { createIds } from '../../src/core/runtime/ids.ts';
import { silentLogger } from '../../src/core/runtime/logger.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { Sweeper } from '../../src/scheduler/sweeper.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

/** A sweeper whose store answers when it is told to, and the timers it holds the process with. */
function create(scheduled: number) {
  const clock = createTestClock();
  const holding = new Set<number>();
  const counted = {
    ...clock,
    after: (ms: number, fn: () => void, keepAlive = false): Timer => {
      const due = clock.mono() + ms;
      const timer = clock.after(ms, () => (holding.delete(due), fn()), keepAlive);
      if (keepAlive) holding.add(due);
      return { cancel: () => (holding.delete(due), timer.cancel()) };
    },
  };
  const random = createRandom(1);
  const answers: ((nextInMs: number) => void)[] = [];
  const sweeper = new Sweeper({
    runtime: { clock: counted, random, ids: createIds(clock, random), logger: silentLogger },
    events: silentSink,
    company: 'alone',
    apply: () => undefined,
    operations: () => ({ session: 1 as never, run: (send) => send({ session: 1 as never, sequence: 1 }) }),
    store: {
      sweep: () =>
        new Promise((resolve) =>
          answers.push((nextInMs) => resolve({ nextInMs, more: false, readied: [], ended: [] })),
        ),
      counts: () => ({ queues: [{ states: { scheduled } }] }),
    } as never,
  });
  const answer = async (nextInMs: number): Promise<void> => {
    answers.shift()?.(nextInMs);
    await clock.settle();
  };
  return { sweeper, clock, holding, answers, answer };
}

test('a hold that is asked for while a sweep is under way holds the process after it', async () => {
  const { sweeper, clock, holding, answer } = create(0);
  sweeper.due(10, true);
  expect([...holding]).toEqual([10]);
  await clock.advance(10);
  expect([...holding]).toEqual([]);
  sweeper.due(500, true);
  expect([...holding]).toEqual([]);
  await answer(Number.POSITIVE_INFINITY);
  expect([...holding]).toEqual([510]);
});

test('after a sweep the process is held while tasks are scheduled, and only then', async () => {
  const some = create(1);
  some.sweeper.due(10, true);
  await some.clock.advance(10);
  await some.answer(300);
  expect([...some.holding]).toEqual([310]);
  const none = create(0);
  none.sweeper.due(10, true);
  await none.clock.advance(10);
  await none.answer(300);
  expect([...none.holding]).toEqual([]);
  await none.clock.advance(300);
  expect(none.answers).toHaveLength(1);
});

test('a sweep under way counts as overdue from its begin, one that is answered does not', async () => {
  const { sweeper, clock, answer } = create(0);
  sweeper.sweep();
  await clock.advance(5_000);
  expect(sweeper.overdueMs()).toBe(5_000);
  await answer(60_000);
  expect(sweeper.overdueMs()).toBe(0);
  await clock.advance(61_000);
  expect(sweeper.overdueMs()).toBe(1_000);
  sweeper.stop();
  expect(sweeper.overdueMs()).toBe(0);
});
