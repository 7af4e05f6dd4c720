import { expect, onTestFinished, test } from 'vitest';
import { memory } from '../../src/backends/memory/memory.ts';
import type { Backend } from '../../src/core/ports/backend.ts';
import type { ClaimAnswer } from '../../src/core/ports/tasks.ts';
import { CoordinationManager } from '../../src/index.ts';
import { networked } from '../../src/testing/networked.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { intercept } from '../../src/testing/wrappers.ts';

const TASKS = 3_000;
const SLOTS = 8;

/** One agent on a store whose claims take 2 ms; what it did, in order: `ask`, `more` or `last` as a claim was answered, `run`. */
async function worker() {
  const clock = Object.assign(createTestClock(), { soon: (fn: () => void) => void setImmediate(fn) });
  const store = memory({ shared: true });
  const log: string[] = [];
  /** Called as a claim is answered that leaves more behind. */
  let answered = (): void => undefined;
  const backend = intercept(networked<Backend>(store), async ({ port, method, send }) => {
    if (port !== 'tasks' || method !== 'claim') return send();
    log.push('ask');
    await new Promise<void>((resolve) => clock.after(2, resolve));
    const answer = (await send()) as ClaimAnswer;
    log.push(answer.more ? 'more' : 'last');
    if (answer.more) queueMicrotask(() => answered());
    return answer;
  });
  const mesh = new CoordinationManager({ backend, clock, seed: 1, env: {} });
  await mesh.initialize();
  onTestFinished(async () => {
    const over = mesh.shutdown();
    await clock.advance(60_000);
    await over;
  });
  const ids = Array.from({ length: TASKS }, (_, i) => `t${i}`);
  const submitted = Promise.all(ids.map((id) => mesh.submitTask({ id, type: 't' })));
  await clock.advance(50);
  await submitted;
  const join = (): void => {
    mesh.registerAgent({ id: 'a', maxConcurrentTasks: SLOTS, handler: () => void log.push('run') });
  };
  return {
    clock,
    store,
    mesh,
    log,
    ids,
    join,
    onAnswer: (listener: () => void): void => {
      answered = listener;
    },
  };
}

test('the next claim is on its way before what the last one brought begins', async () => {
  const { clock, log, join } = await worker();
  join();
  await clock.advance(1_000);
  expect(log.filter((step) => step === 'run')).toHaveLength(TASKS);
  // Not always: the first claims teach it that the tasks are quick, and where enough is here none is sent.
  const behind = log.flatMap((step, i) => (step === 'more' ? [log[i + 1]] : []));
  expect(behind.filter((step) => step === 'ask').length).toBeGreaterThan(behind.length / 2);
});

test('a shutdown right after such an answer loses nothing: what has not begun is ready for others', async () => {
  const { clock, store, mesh, log, ids, join, onAnswer } = await worker();
  let answers = 0;
  let over: Promise<unknown> | undefined;
  let begun = 0;
  onAnswer(() => {
    answers += 1;
    if (answers !== 4) return;
    over = mesh.shutdown();
    begun = log.filter((step) => step === 'run').length;
  });
  join();
  await clock.advance(60_000);
  await over;
  expect(begun).toBeGreaterThan(0);
  const records = await store.tasks.get(ids);
  const states = records.map((record) => record?.state);
  const runs = log.filter((step) => step === 'run').length;
  expect(states.filter((state) => state === 'completed')).toHaveLength(runs);
  expect(states.filter((state) => state === 'ready')).toHaveLength(TASKS - runs);
  expect(runs).toBeLessThan(TASKS);
  for (const record of records) if (record?.state === 'ready') expect(record.attempt).toBe(0);
});
