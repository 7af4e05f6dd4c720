import { describe, expect, test } from 'vitest';
import { gate } from '../support/mesh.ts';
import { startMesh } from '../support/started-mesh.ts';
import { crossedLocks, type SubmittedMesh, type VictimSpec } from '../support/crossed-locks.ts';

const run = async (act: (mesh: SubmittedMesh) => Promise<void>, victim?: VictimSpec): Promise<void> => {
  const crossed = await crossedLocks(victim);
  await act(crossed);
};

describe('the victim of a deadlock, while its survivor goes on', () => {
  test('says what it waits for', () =>
    run(async ({ mesh }) => {
      const { sentence, chain } = await mesh.why('victim');
      expect(chain[0]).toMatchObject({ kind: 'survivor', subject: 'survivor' });
      expect(sentence).toContain('victim waits until survivor, with which it was deadlocked, has finished');
      expect((await mesh.getTask('victim'))?.status).toBe('retrying');
    }));

  test('begins again once that has finished', () =>
    run(async ({ mesh, clock, finish, outcome }) => {
      await clock.advance(10_000);
      expect((await mesh.getTask('victim'))?.attempt).toBe(1);
      finish();
      await clock.advance(10);
      expect(await outcome).toBe('done');
    }));

  test('begins again after 30 s though that one goes on', () =>
    run(async ({ mesh, clock }) => {
      await clock.advance(29_000);
      expect((await mesh.getTask('victim'))?.attempt).toBe(1);
      await clock.advance(2_000);
      expect((await mesh.getTask('victim'))?.attempt).toBe(2);
    }));

  test('T5: is cancelled at once, with the reason that was given', () =>
    run(async ({ mesh, clock, named, outcome }) => {
      expect(await mesh.cancelTask('victim', 'no more')).toMatchObject({ status: 'requested' });
      await clock.settle();
      expect(await outcome).toMatchObject({ code: 'TASK_CANCELLED' });
      expect(named('task:cancelled')).toEqual([{ taskId: 'victim', reason: 'no more' }]);
    }));

  test('T8: dies at its deadline', () =>
    run(
      async ({ mesh, clock, outcome }) => {
        expect((await mesh.getTask('victim'))?.status).toBe('retrying');
        await clock.advance(900);
        expect(await outcome).toMatchObject({ code: 'TASK_FAILED', cause: { code: 'TASK_TIMEOUT' } });
        expect(await mesh.getTask('victim')).toMatchObject({ state: 'dead', reason: 'DEADLINE' });
      },
      ({ wall }) => ({ deadline: new Date(wall() + 1_000) }),
    ));

  test('is moved to another agent', () =>
    run(async ({ mesh, clock, finish, outcome }) => {
      mesh.registerAgent({ id: 'other', handler: () => 'by the other' });
      const moved = mesh.tasks.moveTask('victim', 'other');
      await clock.advance(10);
      await moved;
      expect(await outcome).toBe('by the other');
      finish();
    }));
});

test('D2: ends when the survivor comes to wait for the victim, over a lock, a child and a dependency', async () => {
  const { mesh, clock } = await startMesh({ workStealing: false });
  const [ready, past, taken] = [gate(), gate(), gate()];
  mesh.registerAgent({
    id: 'a',
    maxConcurrentTasks: 6,
    handler: {
      survivor: ({ withLock }) =>
        withLock('X', async () => {
          ready.open();
          await past.promise;
          await withLock('Y', () => undefined);
          await taken.promise;
          return withLock('W', () => undefined);
        }),
      victim: ({ withLock }) =>
        withLock('Y', async () => {
          await ready.promise;
          past.open();
          return withLock('X', () => undefined);
        }),
      other: ({ withLock, submit }) =>
        withLock('W', async () => {
          const child = await submit({ type: 'child', dependencies: ['victim'] });
          taken.open();
          return child.result();
        }),
      child: () => undefined,
    },
  });
  const tasks = ['survivor', 'victim', 'other'].map((type, i) =>
    mesh.submitTask({ id: type, type, priority: 5 - i }),
  );
  const results = Promise.all((await Promise.all(tasks)).map((task) => task.result()));
  await clock.advance(50);
  expect((await mesh.getTask('victim'))?.status).toBe('retrying');
  await clock.advance(2_000);
  expect((await mesh.getTask('victim'))?.status).toBe('completed');
  await results;
});

test('D2: ends when the survivor begins to wait for the victim’s end', async () => {
  const { mesh, clock } = await startMesh({ workStealing: false });
  const { promise, open } = gate();
  mesh.registerAgent({
    id: 'a',
    maxConcurrentTasks: 4,
    handler: {
      parent: ({ withLock, submit }) =>
        withLock('Z', async () => {
          const child = await withLock('X', async () => {
            const handle = await submit({ id: 'child', type: 'child', priority: 1 });
            await promise;
            await withLock('Y', () => undefined);
            return handle;
          }).then((handle) => ({ handle }));
          return child.handle.result();
        }),
      child: ({ withLock }) =>
        withLock('Y', async () => {
          open();
          await new Promise<void>((resolve) => void clock.after(5, resolve));
          return withLock('X', () => 'done');
        }),
    },
  });
  const parent = await mesh.submitTask({ type: 'parent', priority: 5 });
  await clock.advance(100);
  expect(await parent.result()).toBe('done');
});
