import { expect, test } from 'vitest';
import { mesh, type Peer } from '../support/postgres-peers.ts';
import { on, task, tasksOf } from '../support/postgres-task-calls.ts';

/** More than one call tells. */
const CHILDREN = 1_200;

async function statesOf({ backend }: Peer): Promise<Readonly<Record<string, number>>> {
  const { queues } = await backend.tasks.counts(['work']);
  return Object.fromEntries(Object.entries(queues[0]?.states ?? {}).filter(([, count]) => count > 0));
}

async function buried(peer: Peer): Promise<ReturnType<typeof tasksOf>> {
  const calls = tasksOf(peer);
  const limits = { maxCrashes: 3, keepMs: 600_000 };
  await calls.add(task('parent', { limits }));
  for (let from = 0; from < CHILDREN; from += 600) {
    const children = Array.from({ length: 600 }, (_, i) =>
      task(`c${from + i}`, { limits, ...on('parent', 'skip') }),
    );
    await calls.add(...children);
  }
  await calls.bury(await calls.claim());
  expect(await statesOf(peer)).toEqual({ dead: 1, skipped: 1_000, waiting: 200 });
  const redrive = {
    filter: { ids: ['parent'] },
    revision: { set: 'redrive', delayMs: 0, resetAttempts: true, spreadMs: 0 },
    limit: 1,
  } as const;
  expect((await calls.call((store, op) => store.revise(op, redrive))).changed).toBe(1);
  return calls;
}

test('children that were not told yet how their parent had ended wait for how it ends now that it was redriven', async () => {
  const { one } = await mesh('one');
  const calls = await buried(one);
  await calls.sweep();
  expect(await statesOf(one)).toEqual({ ready: 1, skipped: 1_000, waiting: 200 });
  await calls.complete(await calls.claim());
  expect(await statesOf(one)).toEqual({ completed: 1, skipped: 1_000, ready: 200 });
});

test('and are told once where it has ended anew before that was found', async () => {
  const { one } = await mesh('one');
  const calls = await buried(one);
  await calls.bury(await calls.claim());
  const first = await statesOf(one);
  expect(first).toEqual({ dead: 1, skipped: 1_200 });
  await calls.sweep();
  expect(await statesOf(one)).toEqual(first);
  expect((await calls.sweep()).more).toBe(false);
});
