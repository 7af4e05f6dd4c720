import assert from 'node:assert/strict';
import type { TaskStore } from '../../../core/ports/tasks.ts';
import { idsOf, sorted, type TaskHarness, type TaskTest, type Worker } from './harness.ts';

type Takeover = Parameters<TaskStore['takeover']>[1];

/** Stealing, crashes and closed sessions. */
export function takeoverTests(test: TaskTest): void {
  test('W1: a stolen claim can be started and settled by its new owner only', async (harness, me) => {
    const thief = await harness.worker();
    await me.add('a');
    const [mine] = await me.claim({ start: 0 });
    assert.ok(mine !== undefined);
    const [stolen] = await take(harness, thief, { from: { idle: me.session }, steal: 'steal-7' });
    assert.ok(stolen !== undefined);
    assert.deepEqual(
      [stolen.session, stolen.attempt, stolen.moves, stolen.started],
      [thief.session, 1, 1, false],
    );
    assert.ok(stolen.token > mine.token, 'T3');
    assert.deepEqual((await harness.store.start(me.op(), [mine])).started, [false]);
    assert.equal((await me.complete(mine)).results[0]?.status, 'stale');
    assert.deepEqual((await harness.store.start(thief.op(), [stolen])).started, [true]);
    assert.equal((await thief.complete(stolen)).results[0]?.status, 'settled');
    const page = await harness.store.history({ task: 'a' }, { limit: 10 });
    assert.ok(
      page.items.some(
        ({ from, to, reason }) => from === 'claimed' && to === 'claimed' && reason === 'steal-7',
      ),
    );
  });

  test('W1: what was started stays; two thieves get each claim once', async (harness, me) => {
    const [one, two] = [await harness.worker(), await harness.worker()];
    await me.enqueue(...Array.from({ length: 6 }, (_, i) => harness.task(`t${i}`)));
    await me.claim({ start: 2 });
    const first = await take(harness, one, { from: { idle: me.session }, limit: 3 });
    const second = await take(harness, two, { from: { idle: me.session }, limit: 3 });
    assert.equal(first.length, 3);
    assert.equal(second.length, 1);
    assert.deepEqual([...idsOf(first), ...idsOf(second)].toSorted(), ['t2', 't3', 't4', 't5']);
  });

  test('W1: a prefetched claim that was started in time is not stolen', async (harness, me) => {
    const thief = await harness.worker();
    await me.add('a');
    const claims = await me.claim({ start: 0 });
    assert.deepEqual((await harness.store.start(me.op(), claims)).started, [true]);
    assert.deepEqual(await take(harness, thief, { from: { idle: me.session } }), []);
    assert.equal((await harness.record('a')).started, true);
  });

  test('W1: a takeover whose reply was lost does not come back started when another thief has begun it', async (harness, me) => {
    const [one, two] = [await harness.worker(), await harness.worker()];
    await me.add('a');
    await me.claim({ start: 0 });
    const request = { match: 'any', limit: 9, maxMoves: 3, steal: 's' } as const;
    const op = one.op();
    await harness.store.takeover(op, { ...request, from: { idle: me.session } });
    const theirs = await take(harness, two, { from: { idle: one.session } });
    assert.deepEqual((await harness.store.start(two.op(), theirs)).started, [true]);
    const { claims } = await harness.store.takeover(op, { ...request, from: { idle: me.session } });
    assert.deepEqual(
      claims.filter(({ started }) => started),
      [],
    );
    assert.deepEqual((await two.complete(...theirs)).results, [{ status: 'settled', state: 'completed' }]);
  });

  test('W3: a claim that moved maxMoves times stays', async (harness, me) => {
    const others = [await harness.worker(), await harness.worker(), await harness.worker()];
    await me.add('a');
    await me.claim({ start: 0 });
    let owner: Worker = me;
    for (const [i, thief] of others.entries()) {
      const claims = await take(harness, thief, { from: { idle: owner.session }, maxMoves: 2 });
      assert.equal(claims.length, i < 2 ? 1 : 0);
      if (i < 2) owner = thief;
    }
    assert.equal((await harness.record('a')).moves, 2);
  });

  test('W5: only what the thief can run is taken', async (harness, me) => {
    const thief = await harness.worker();
    await me.enqueue(
      harness.task('gpu', { capabilities: ['gpu'] }),
      harness.task('plain1'),
      harness.task('plain2'),
      harness.task('other', { queue: 'other' }),
      harness.task('ann', { agent: 'ann' }),
      harness.task('bob', { agent: 'bob' }),
    );
    await me.claim({ start: 0, capabilities: ['gpu'], agents: ['ann', 'bob'] });
    const match = {
      queues: [{ queue: 'work', limit: 9 }],
      offers: [{ capabilities: ['ssd'], slots: 1 }],
      agents: ['bob'],
    };
    const claims = await take(harness, thief, { from: { idle: me.session }, match });
    assert.equal(claims.length, 2);
    assert.ok(idsOf(claims).includes('bob'));
    assert.ok(idsOf(claims).some((id) => id.startsWith('plain')));
  });

  test('takeover: nothing is taken out of a paused queue', async (harness, me) => {
    const thief = await harness.worker();
    await me.add('a');
    await me.claim({ start: 0 });
    await harness.configure({ paused: true });
    assert.deepEqual(await take(harness, thief, { from: { idle: me.session } }), []);
    await harness.configure({ paused: false });
    assert.equal((await take(harness, thief, { from: { idle: me.session } })).length, 1);
  });

  test('takeover: its own session may take a claim back, for an ordinary release', async (harness, me) => {
    await me.add('a');
    const [mine] = await me.claim({ start: 0 });
    const [again] = await take(harness, me, { from: { idle: me.session } });
    assert.ok(mine !== undefined && again !== undefined && again.token > mine.token);
    await me.release(again);
    assert.equal(await harness.state('a'), 'ready');
  });

  test('T6: claims of an expired session can be taken over, and not before', async (harness, me) => {
    const dying = await harness.worker(200);
    await me.enqueue(harness.task('ran'), harness.task('waited'));
    await dying.claim({ start: 1 });
    assert.deepEqual(await take(harness, me), []);
    await harness.env.pass(300);
    assert.equal((await me.sweep()).deadSessions, 1);
    const claims = await take(harness, me);
    assert.deepEqual(
      sorted(claims.map(({ task, crashes, moves, attempt }) => [task, crashes, moves, attempt])),
      [
        ['ran', 1, 0, 1],
        ['waited', 0, 1, 1],
      ],
      'T5: only what ran has crashed',
    );
    assert.deepEqual(sorted(claims.map(({ task, started }) => [task, started])), [
      ['ran', true],
      ['waited', false],
    ]);
    for (const claim of claims)
      assert.equal((await me.release(claim, { refundAttempt: false })).results[0]?.status, 'settled');
    assert.equal((await me.sweep()).deadSessions, 0);
    assert.deepEqual(
      (await me.claim()).map(({ attempt }) => attempt),
      [2, 2],
    );
  });

  test('T4: a settle of an expired session counts while nobody took the task, and is stale afterwards', async (harness, me) => {
    const dying = await harness.worker(200);
    await me.enqueue(harness.task('kept'), harness.task('lost'));
    const [kept, lost] = await dying.claim();
    assert.ok(kept !== undefined && lost !== undefined);
    await harness.env.pass(300);
    await me.sweep();
    assert.deepEqual((await dying.complete(kept)).results, [{ status: 'settled', state: 'completed' }]);
    assert.deepEqual(idsOf(await take(harness, me)), ['lost']);
    assert.equal((await dying.complete(lost)).results[0]?.status, 'stale');
  });

  test('T5: a task that crashes its worker too often comes back as poison', async (harness, me) => {
    await me.add('a', { limits: { maxCrashes: 2 } });
    const seen: unknown[] = [];
    for (let i = 0; i < 3; i++) {
      const worker = await harness.worker();
      await worker.claimOnly('a');
      await harness.sessions.close(worker.session);
      const [claim] = await take(harness, me);
      assert.ok(claim !== undefined);
      seen.push([claim.crashes, claim.poison]);
      if (claim.poison === true) await me.bury(claim, 'POISON');
      else await me.release(claim, { refundAttempt: false });
    }
    assert.deepEqual(seen, [
      [1, undefined],
      [2, undefined],
      [3, true],
    ]);
    const record = await harness.record('a');
    assert.deepEqual([record.state, record.reason, record.crashes], ['dead', 'POISON', 3]);
  });

  test('T5: whoever takes a crashed claim over and dies itself is no second crash', async (harness, me) => {
    const [one, two] = [await harness.worker(), await harness.worker()];
    await me.add('a');
    await one.claimOnly('a');
    await harness.sessions.close(one.session);
    assert.equal((await take(harness, two))[0]?.crashes, 1);
    assert.deepEqual(
      await take(harness, me, { from: { idle: two.session } }),
      [],
      'not up for stealing either',
    );
    await harness.sessions.close(two.session);
    assert.equal((await take(harness, me))[0]?.crashes, 1);
  });

  test('close: unstarted claims go back with their attempt refunded, started ones can be taken at once', async (harness, me) => {
    const leaving = await harness.worker();
    await me.enqueue(harness.task('ran'), harness.task('waited'));
    const [, waited] = await leaving.claim({ start: 1 });
    await harness.sessions.close(leaving.session);
    assert.deepEqual(await harness.states('ran', 'waited'), ['claimed', 'ready']);
    assert.equal((await harness.record('waited')).attempt, 0);
    assert.deepEqual(idsOf(await take(harness, me)), ['ran']);
    assert.deepEqual(idsOf(await me.claim()), ['waited']);
    assert.ok(waited !== undefined);
    assert.equal((await leaving.complete(waited)).results[0]?.status, 'stale');
    await harness.sessions.close(leaving.session);
  });

  test('orders: what was taken is told until the former owner acts', async (harness, me) => {
    const thief = await harness.worker();
    await me.enqueue(harness.task('a'), harness.task('b'));
    const claims = await me.claim({ start: 0 });
    const tokens = new Map(claims.map(({ task, token }) => [task, token]));
    await take(harness, thief, { from: { idle: me.session } });
    const told = (await harness.orders(me)) as { kind: string; task: string; token: number }[];
    assert.deepEqual(
      sorted(told.map(({ kind, task, token }) => [kind, task, token])),
      sorted([...tokens].map(([task, token]) => ['taken', task, token])),
    );
    assert.equal((await harness.orders(me)).length, 2, 'level-triggered');
    await harness.store.start(me.op(), claims.slice(0, 1));
    assert.equal((await harness.orders(me)).length, 1);
    await me.complete(...claims.slice(1));
    assert.deepEqual(await harness.orders(me), []);
  });

  test('takeover: a cancel request goes with the claim', async (harness, me) => {
    const dying = await harness.worker();
    await me.add('a');
    await dying.claimOnly('a');
    assert.equal((await me.cancel('a')).results[0]?.status, 'requested');
    await harness.sessions.close(dying.session);
    const [claim] = await take(harness, me);
    assert.ok(claim !== undefined);
    assert.deepEqual(await harness.orders(me), [
      { kind: 'cancel', task: 'a', token: claim.token, reason: 'unwanted' },
    ]);
    assert.deepEqual((await me.release(claim)).results, [{ status: 'settled', state: 'cancelled' }]);
    assert.deepEqual(await harness.orders(me), []);
  });
}

async function take(
  harness: TaskHarness,
  worker: Worker,
  request: Partial<Takeover> = {},
): ReturnType<Worker['claim']> {
  const { claims } = await harness.store.takeover(worker.op(), {
    from: 'dead',
    match: 'any',
    limit: 100,
    maxMoves: 3,
    steal: 's',
    ...request,
  });
  return claims;
}
