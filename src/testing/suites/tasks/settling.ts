import assert from 'node:assert/strict';
import type { Token } from '../../../core/ports/words.ts';
import { idsOf, QUEUE, sorted, type TaskTest } from './harness.ts';

/** How attempts end, and that only the owner of the current token ends them. */
export function settleTests(test: TaskTest): void {
  test('settle: complete keeps the result and ends the task for good', async (harness, me) => {
    await me.add('a');
    const claim = await me.claimOnly('a');
    const { results } = await me.settle({ claim, as: 'complete', result: { ok: true } });
    assert.deepEqual(results, [{ status: 'settled', state: 'completed' }]);
    const record = await harness.record('a');
    assert.deepEqual(record.result, { ok: true });
    assert.ok((record.endedAt ?? 0) >= record.enqueuedAt);
    assert.equal(record.session, undefined);
    assert.deepEqual(await me.claim(), []);
  });

  test('settle: retry with a delay is scheduled, keeps the attempt and the error, then runs again', async (harness, me) => {
    await me.add('a', { priority: 4 });
    assert.deepEqual((await me.retry(await me.claimOnly('a'), 80)).results, [
      { status: 'settled', state: 'scheduled' },
    ]);
    const record = await harness.record('a');
    assert.deepEqual([record.state, record.attempt, record.started], ['scheduled', 1, false]);
    assert.deepEqual(record.error, { message: 'again' });
    assert.deepEqual(await me.claim(), []);
    await harness.env.pass(120);
    await me.sweepAll();
    const second = await me.claimOnly('a');
    assert.deepEqual([second.attempt, second.body.priority], [2, 4]);
    assert.deepEqual(second.lastError, { message: 'again' });
  });

  test('settle: retry without delay is ready at once, at its old place', async (harness, me) => {
    await me.enqueue(harness.task('a'), harness.task('b'));
    const [a] = await me.claim({ limit: 1 });
    assert.ok(a !== undefined);
    assert.deepEqual((await me.retry(a)).results, [{ status: 'settled', state: 'ready' }]);
    assert.deepEqual(idsOf(await me.claim()), ['a', 'b']);
  });

  test('settle: release refunds the attempt if asked, keeps the place, and can change the agent', async (harness, me) => {
    await me.enqueue(harness.task('a'), harness.task('b'), harness.task('c'));
    const [a, b, c] = await me.claim();
    assert.ok(a !== undefined && b !== undefined && c !== undefined);
    await harness.env.pass(5);
    await me.add('d');
    await me.release(c);
    await me.release(a);
    await me.release(b, { refundAttempt: false, toAgent: 'ann' });
    assert.deepEqual(idsOf(await me.claim()), ['a', 'c', 'd']);
    const [pinned] = await me.claim({ agents: ['ann'] });
    assert.deepEqual([pinned?.task, pinned?.attempt, pinned?.body.agent], ['b', 2, 'ann']);
    assert.equal((await harness.record('a')).attempt, 1);
    assert.ok(pinned !== undefined);
    await me.release(pinned, { toAgent: null });
    assert.equal((await me.claimOnly('b')).body.agent, undefined);
  });

  test('settle: release with a delay is scheduled', async (harness, me) => {
    await me.add('a');
    assert.deepEqual((await me.release(await me.claimOnly('a'), { delayMs: 60_000 })).results, [
      { status: 'settled', state: 'scheduled' },
    ]);
    assert.equal((await harness.record('a')).attempt, 0);
  });

  test('settle: bury ends dead with reason, error and signature', async (harness, me) => {
    await me.add('a');
    assert.deepEqual((await me.bury(await me.claimOnly('a'))).results, [
      { status: 'settled', state: 'dead' },
    ]);
    const record = await harness.record('a');
    assert.deepEqual(
      [record.state, record.reason, record.errorSignature],
      ['dead', 'ATTEMPTS', 'ERROR:broken'],
    );
    assert.deepEqual(record.error, { code: 'ERROR', name: 'Error', message: 'broken pipe' });
  });

  test('settle: cancel ends cancelled with its reason', async (harness, me) => {
    await me.add('a');
    const claim = await me.claimOnly('a');
    assert.deepEqual((await me.settle({ claim, as: 'cancel', reason: 'obeyed' })).results, [
      { status: 'settled', state: 'cancelled' },
    ]);
    assert.equal((await harness.record('a')).reason, 'obeyed');
  });

  test('T4: at most one terminal transition; the own settle seen again answers the state', async (harness, me) => {
    await me.add('a');
    const claim = await me.claimOnly('a');
    await me.complete(claim);
    assert.deepEqual((await me.bury(claim)).results, [{ status: 'settled', state: 'completed' }]);
    assert.deepEqual((await me.release(claim)).results, [{ status: 'settled', state: 'completed' }]);
    assert.equal(await harness.state('a'), 'completed');
    const page = await harness.store.history({ task: 'a' }, { limit: 10 });
    assert.deepEqual(
      page.items.map(({ to }) => to),
      ['ready', 'claimed', 'completed'],
    );
  });

  test('T4: an older token is stale in every method and changes nothing', async (harness, me) => {
    await me.add('a');
    const old = await me.claimOnly('a');
    await me.release(old);
    const current = await me.claimOnly('a');
    for (const late of [
      await me.complete(old),
      await me.bury(old),
      await me.retry(old),
      await me.release(old),
    ]) {
      assert.deepEqual(late.results, [{ status: 'stale', state: 'claimed', token: current.token }]);
    }
    assert.deepEqual((await harness.store.start(me.op(), [old, current])).started, [false, true]);
    assert.equal((await harness.counts()).totals.staleSettles, 4);
    assert.equal((await harness.record('a')).token, current.token);
    const forged = { session: me.session, task: 'a', token: (current.token + 1) as Token };
    assert.equal(
      (await me.settle({ claim: forged, as: 'complete', result: null })).results[0]?.status,
      'stale',
    );
    assert.deepEqual((await me.complete(current)).results, [{ status: 'settled', state: 'completed' }]);
  });

  test('settle: an unknown or pruned task is gone', async (harness, me) => {
    await me.add('a', { limits: { keepMs: 10 } });
    const claim = await me.claimOnly('a');
    await me.complete(claim);
    await harness.env.pass(40);
    await me.sweepAll();
    assert.deepEqual((await me.complete(claim)).results, [{ status: 'gone' }]);
    const unknown = { ...claim, task: 'never' };
    assert.deepEqual((await me.complete(unknown)).results, [{ status: 'gone' }]);
    await me.add('a');
    assert.equal((await me.complete(claim)).results[0]?.status, 'stale', 'another task of the same id');
    assert.equal(await harness.state('a'), 'ready');
  });

  test('settle: one batch with everything in it answers item by item', async (harness, me) => {
    await me.enqueue(...['a', 'b', 'c', 'd', 'e'].map((id) => harness.task(id)));
    const [a, b, c, d, e] = await me.claim();
    assert.ok(a && b && c && d && e);
    const error = 'x';
    const { results } = await me.settle(
      { claim: a, as: 'complete', result: null },
      { claim: b, as: 'retry', delayMs: 0, error },
      { claim: c, as: 'bury', reason: 'r', error, signature: 's' },
      { claim: d, as: 'release', delayMs: 0, reason: 'r', refundAttempt: true },
      { claim: { ...e, token: 1 as Token }, as: 'complete', result: null },
      { claim: a, as: 'complete', result: null },
    );
    assert.deepEqual(
      results.map((result) => [result.status, 'state' in result ? result.state : undefined]),
      [
        ['settled', 'completed'],
        ['settled', 'ready'],
        ['settled', 'dead'],
        ['settled', 'ready'],
        ['stale', 'claimed'],
        ['settled', 'completed'],
      ],
    );
  });

  test('deadline: an unclaimed task past it ends dead at sweep, whatever it waited for', async (harness, me) => {
    const limits = { deadlineMs: 100 };
    await me.enqueue(
      harness.task('ready', { limits }),
      harness.task('late', { limits, delayMs: 60_000 }),
      harness.task('child', { limits, dependsOn: ['nobody'] }),
      harness.task('free'),
      harness.task('after', { dependsOn: [{ parent: 'ready', onFailure: 'skip' }] }),
    );
    const first = await me.sweep();
    assert.ok(first.nextInMs > 0 && first.nextInMs <= 100);
    await harness.env.pass(150);
    const { ended } = await me.sweep();
    assert.deepEqual(sorted(ended.map(({ task, state, reason, parent }) => [task, state, reason, parent])), [
      ['after', 'skipped', 'PARENT_DEAD', 'ready'],
      ['child', 'dead', 'DEADLINE', undefined],
      ['late', 'dead', 'DEADLINE', undefined],
      ['ready', 'dead', 'DEADLINE', undefined],
    ]);
    assert.deepEqual(idsOf(await me.claim()), ['free']);
    assert.equal((await harness.record('ready')).reason, 'DEADLINE');
  });

  test('deadline: a claimed task is left alone, may still complete, and ends when it comes back', async (harness, me) => {
    const limits = { deadlineMs: 60 };
    await me.enqueue(harness.task('a', { limits }), harness.task('b', { limits }));
    const [a, b] = await me.claim();
    assert.ok(a !== undefined && b !== undefined);
    assert.equal(a.deadlineAt, a.enqueuedAt + 60_000);
    await harness.env.pass(100);
    assert.deepEqual((await me.sweep()).ended, []);
    assert.equal((await me.complete(a)).results[0]?.status, 'settled');
    await me.release(b);
    const swept = await me.sweep();
    assert.deepEqual(
      swept.ended.map(({ task, queue, state }) => [task, queue, state]),
      [['b', QUEUE, 'dead']],
    );
  });

  test('retention: rows stay for keepMs after the end, then are pruned and counted', async (harness, me) => {
    await me.enqueue(
      harness.task('short', { limits: { keepMs: 60 } }),
      harness.task('long', { limits: { keepMs: 600_000 } }),
    );
    await me.complete(...(await me.claim()));
    assert.equal((await me.sweep()).pruned, 0);
    await harness.env.pass(100);
    assert.equal((await me.sweep()).pruned, 1);
    assert.deepEqual(await harness.states('short', 'long'), ['unknown', 'completed']);
    const { states, totals } = await harness.counts();
    assert.deepEqual([states.completed, totals.pruned, totals.enqueued], [1, 1, 2]);
  });
}
