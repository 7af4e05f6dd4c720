import { describe, expect, test } from 'vitest';
import type { Operations } from '../../src/core/operations.ts';
import type { TaskStore } from '../../src/core/ports/tasks.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { Sweeper } from '../../src/scheduler/sweeper.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

/** A sweeper over a store that answers as it is told. */
function create(store: { sweep(): unknown; counts?(): unknown }) {
  const clock = createTestClock();
  const log: string[] = [];
  const applied: unknown[] = [];
  let sweeps = 0;
  const parts = {
    counts: () => ({ queues: [] }),
    ...store,
    sweep: () => {
      sweeps += 1;
      return store.sweep();
    },
  };
  const sweeper = new Sweeper({
    store: parts as unknown as TaskStore,
    operations: () => ({ run: (send: (op: never) => unknown) => send(0 as never) }) as unknown as Operations,
    runtime: {
      ...createRuntime({ clock, random: createRandom(1) }),
      logger: { debug() {}, info() {}, warn() {}, error: (message) => void log.push(message) },
    },
    events: { emit: (name) => void log.push(name), wants: () => true },
    apply: (answer) => void applied.push(answer),
    company: 'alone',
  });
  return { sweeper, clock, log, applied, sweeps: () => sweeps };
}

const away = (): never => {
  throw new Error('away');
};
const swept = { more: false, nextInMs: Number.POSITIVE_INFINITY };

describe('a sweep that fails', () => {
  test('is reported, and tried again after a second', async () => {
    const { sweeper, clock, log, sweeps } = create({ sweep: away });
    sweeper.due(10, false);
    await clock.advance(10);
    expect(log).toEqual(['Could not sweep tasks', 'system:error']);
    await clock.advance(1_000);
    expect(sweeps()).toBe(2);
  });

  test('is tried again as soon when nothing was due and something much later is asked for', async () => {
    const { sweeper, clock, sweeps } = create({ sweep: away });
    sweeper.sweep();
    sweeper.due(60_000, false);
    await clock.advance(1_100);
    expect(sweeps()).toBe(2);
    expect(sweeper.overdueMs()).toBe(1_100);
  });

  test('is nobody’s concern after the end', async () => {
    const { sweeper, clock, log, sweeps } = create({ sweep: () => Promise.reject(new Error('stopped')) });
    sweeper.sweep();
    sweeper.stop();
    await clock.advance(10_000);
    expect(log).toEqual([]);
    expect(sweeps()).toBe(1);
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
  });
});

test('what a sweep has brought is used although the store can’t say how much is left', async () => {
  const answer = { ...swept, nextInMs: 500 };
  const { sweeper, clock, log, applied, sweeps } = create({ sweep: () => answer, counts: away });
  sweeper.sweep();
  expect(applied).toEqual([answer]);
  expect(log).toEqual([]);
  await clock.advance(600);
  expect(sweeps()).toBe(2);
});
