import { describe, expect, test } from 'vitest';
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
