import assert from 'node:assert/strict';
import type { NewTask } from '../../../core/ports/tasks.ts';
import { idsOf, type TaskTest } from './harness.ts';

/** Settings of queues. */
export function queueTests(test: TaskTest): void {
  test('configure: compare-and-set by revision', async (harness, me) => {
    const settings = { paused: false, ageStepMs: 7, maxLength: 5 };
    const configure = async (
      revision: number | undefined,
      queue = 'q',
    ): Promise<readonly [string, number]> => {
      const answer = await harness.store.configure(me.op(), queue, revision, settings);
      return [answer.status, answer.revision];
    };
    assert.deepEqual((await harness.counts('q')).revision, 0);
    assert.deepEqual(await configure(0), ['set', 1]);
    assert.deepEqual(await configure(0), ['changed-meanwhile', 1]);
    assert.deepEqual(await configure(1), ['set', 2]);
    assert.deepEqual(await configure(undefined), ['set', 3]);
    const counts = await harness.counts('q');
    assert.deepEqual([counts.revision, counts.settings], [3, settings]);
  });

  test('pause: stops claims, not running work nor submissions', async (harness, me) => {
    await me.enqueue(harness.task('a'), harness.task('b'));
    const [a] = await me.claim({ limit: 1 });
    await harness.configure({ paused: true });
    const answer = await me.claimAnswer();
    assert.deepEqual([answer.claims, answer.more], [[], false]);
    assert.ok(a !== undefined);
    assert.equal((await me.complete(a)).results[0]?.status, 'settled');
    assert.equal(await me.add('c'), 'ready');
    await harness.configure({ paused: false });
    assert.deepEqual(idsOf(await me.claim()), ['b', 'c']);
  });

  test('maxRunning: never more claims than that, over all sessions', async (harness, me) => {
    const other = await harness.worker();
    await harness.configure({ maxRunning: 3 });
    await me.enqueue(...Array.from({ length: 6 }, (_, i) => harness.task(`t${i}`)));
    const mine = await me.claim({ limit: 2 });
    const theirs = await other.claim();
    assert.deepEqual([mine.length, theirs.length], [2, 1]);
    assert.deepEqual(await me.claim(), []);
    const { opened } = await me.complete(...mine.slice(0, 1));
    assert.equal(opened, true, 'something waits for the place that is free now');
    await me.retry(mine[1] as (typeof mine)[number], 60_000);
    assert.equal((await other.claim()).length, 2);
    await harness.configure({});
    assert.equal((await other.claim()).length, 1);
  });

  test('maxRunningPerGroup: a group at its limit is passed over, tasks without group are not limited', async (harness, me) => {
    await harness.configure({ maxRunningPerGroup: 2 });
    await me.enqueue(
      ...Array.from({ length: 4 }, (_, i) => harness.task(`a${i}`, { group: 'a', priority: 5 })),
      ...Array.from({ length: 3 }, (_, i) => harness.task(`b${i}`, { group: 'b', priority: i })),
      ...Array.from({ length: 3 }, (_, i) => harness.task(`n${i}`)),
    );
    const claims = await me.claim();
    assert.deepEqual(idsOf(claims).toSorted(), ['a0', 'a1', 'b1', 'b2', 'n0', 'n1', 'n2']);
    assert.deepEqual(await me.claim(), []);
    const a0 = claims.find(({ task }) => task === 'a0');
    assert.ok(a0 !== undefined);
    assert.equal((await me.complete(a0)).opened, true);
    assert.deepEqual(idsOf(await me.claim()), ['a2']);
    const unlimited = claims.find(({ task }) => task === 'n0');
    assert.ok(unlimited !== undefined);
    assert.equal((await me.complete(unlimited)).opened, false, 'no limit kept anything back for it');
    await harness.configure({ maxRunningPerGroup: 3 });
    assert.deepEqual(idsOf(await me.claim()).toSorted(), ['a3', 'b0']);
  });

  test('maxRunningPerGroup: a change of priority or a cancel inside a full group is safe', async (harness, me) => {
    await harness.configure({ maxRunningPerGroup: 1 });
    await me.enqueue(...['a', 'b', 'c', 'd'].map((id) => harness.task(id, { group: 'g' })));
    const [a] = await me.claim();
    assert.ok(a !== undefined);
    await me.revise({ ids: ['d'] }, { set: 'priority', priority: 9 });
    await me.cancel('b');
    assert.deepEqual(await me.claim(), []);
    await me.complete(a);
    const d = await me.claimOnly('d');
    await me.release(d);
    await me.run('d');
    await me.run('c');
  });

  test('maxRunningPerGroup: holds for tasks of an agent too, and what it keeps back is not more to claim', async (harness, me) => {
    await harness.configure({ maxRunningPerGroup: 1 });
    await me.enqueue(...['a', 'b'].map((id) => harness.task(id, { agent: 'ann', group: 'g' })));
    const own = { agents: ['ann'], limit: 0, offers: [], assigned: 1 };
    const { claims, more } = await me.claimAnswer(own);
    assert.deepEqual([idsOf(claims), more], [['a'], false]);
    await me.complete(claims[0] as (typeof claims)[0]);
    assert.deepEqual(idsOf(await me.claim(own)), ['b']);
  });

  test('groupWeights: claims serve groups by their share, whatever was submitted first', async (harness, me) => {
    await harness.configure({ groupWeights: { big: 3, small: 1 } });
    await me.enqueue(
      ...Array.from({ length: 40 }, (_, i) => harness.task(`big${i}`, { group: 'big' })),
      ...Array.from({ length: 40 }, (_, i) => harness.task(`small${i}`, { group: 'small' })),
      ...Array.from({ length: 40 }, (_, i) => harness.task(`none${i}`)),
    );
    const claims = await me.claim({ limit: 50 });
    const served = { big: 0, small: 0, none: 0 };
    for (const { body } of claims) served[(body.group ?? 'none') as keyof typeof served] += 1;
    assert.deepEqual(served, { big: 30, small: 10, none: 10 });
    const order = claims.filter(({ body }) => body.group === 'small').map(({ task }) => task);
    assert.deepEqual(
      order,
      Array.from({ length: 10 }, (_, i) => `small${i}`),
      'in order inside a group',
    );
  });

  test('groupWeights: a group that was idle has saved nothing up', async (harness, me) => {
    await harness.configure({ groupWeights: { a: 1, b: 1 } });
    const of = (group: string, from: number, count: number): NewTask[] =>
      Array.from({ length: count }, (_, i) => harness.task(`${group}${from + i}`, { group }));
    await me.enqueue(...of('a', 0, 60), ...of('b', 0, 1));
    await me.complete(...(await me.claim({ limit: 40 })));
    await me.enqueue(...of('b', 1, 20));
    const claims = await me.claim({ limit: 20 });
    const b = claims.filter(({ body }) => body.group === 'b').length;
    assert.ok(b >= 9 && b <= 11, `${b} of 20`);
  });

  test('counts: states, totals and weight are running totals', async (harness, me) => {
    await me.enqueue(
      harness.task('a', { weight: 2 }),
      harness.task('b', { weight: 0.1 }),
      harness.task('c', { weight: 0.2, delayMs: 9_000 }),
    );
    const before = await harness.counts();
    assert.ok(Math.abs(before.readyWeight - 2.1) < 1e-9);
    assert.equal(before.oldestReadyAt, (await harness.record('a')).readyAt);
    await me.complete(...(await me.claim()));
    const after = await harness.counts();
    assert.deepEqual(
      [after.states, after.totals.enqueued, after.totals.attempts, after.readyWeight, after.oldestReadyAt],
      [
        { waiting: 0, scheduled: 1, ready: 0, claimed: 0, completed: 2, dead: 0, cancelled: 0, skipped: 0 },
        3,
        2,
        0,
        undefined,
      ],
    );
    const { queues } = await harness.store.counts(['nowhere']);
    assert.deepEqual([queues[0]?.queue, queues[0]?.totals.enqueued, queues[0]?.revision], ['nowhere', 0, 0]);
  });
}
