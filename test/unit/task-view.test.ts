import { expect, test } from 'vitest';
import { startMesh } from '../support/started-mesh.ts';

test('a view has the error of the last attempt until the task completes; a completed task has none', async () => {
  const { mesh, clock } = await startMesh({
    maxRetries: 2,
    scheduling: { retry: { delayMs: 100, jitter: 'none' } },
  });
  mesh.registerAgent({
    id: 'ada',
    handler: async ({ attempt, sleep }) => {
      await sleep(10);
      if (attempt < 3) throw new Error(`attempt ${attempt}`);
      return 'done';
    },
  });
  const handle = await mesh.submitTask({ id: 't', type: 'x' });
  const seen: unknown[] = [];
  const look = async (): Promise<void> => {
    const { status, error } = (await mesh.getTask('t')) ?? {};
    seen.push([status, error?.message]);
  };
  await clock.advance(5);
  await look();
  await clock.advance(10);
  await look();
  await clock.advance(100);
  await look();
  await clock.advance(10);
  await look();
  await clock.advance(1_000);
  await look();
  expect(seen).toEqual([
    ['running', undefined],
    ['retrying', 'attempt 1'],
    ['running', 'attempt 1'],
    ['retrying', 'attempt 2'],
    ['completed', undefined],
  ]);
  expect(await handle.status()).not.toHaveProperty('error');
  const { items } = await mesh.queues.list({ state: ['completed'] });
  expect(items.map(({ id, error, result }) => [id, error, result])).toEqual([['t', undefined, 'done']]);
});

test('one that ended otherwise keeps it', async () => {
  const { mesh, clock } = await startMesh({ maxRetries: 1, retryDelay: 100 });
  mesh.registerAgent({
    id: 'ada',
    handler: () => {
      throw new Error('not today');
    },
  });
  await mesh.submitTask({ id: 'dead', type: 'x' });
  await clock.advance(1_000);
  expect(await mesh.getTask('dead')).toMatchObject({ status: 'dead', error: { message: 'not today' } });
  const stopped = await mesh.submitTask({ id: 'stopped', type: 'x' });
  await clock.advance(1);
  await stopped.cancel('enough');
  expect(await stopped.status()).toMatchObject({ status: 'cancelled', error: { message: 'not today' } });
  expect(await stopped.result().catch((error: unknown) => error)).toMatchObject({ code: 'TASK_CANCELLED' });
});
