import assert from 'node:assert/strict';
import { enqueueAll } from './dependencies.ts';
import { sorted, type TaskTest } from './harness.ts';

export function cancelTests(test: TaskTest): void {
  test('cancel: what does not run is cancelled now, whatever it waited for', async (harness, me) => {
    await me.enqueue(
      harness.task('ready'),
      harness.task('late', { delayMs: 60_000 }),
      harness.task('child', { dependsOn: ['x'] }),
    );
    const { results, ended } = await harness.store.cancel(
      me.op(),
      ['ready', 'late', 'child', 'unknown'].map((task) => ({
        task,
        reason: 'r',
        tree: false,
        revoke: false,
      })),
    );
    assert.deepEqual(results, [
      { status: 'cancelled', state: 'cancelled', affected: 1 },
      { status: 'cancelled', state: 'cancelled', affected: 1 },
      { status: 'cancelled', state: 'cancelled', affected: 1 },
      { status: 'unknown', affected: 0 },
    ]);
    assert.deepEqual(
      ended.map(({ task, state, reason }) => [task, state, reason]),
      ['ready', 'late', 'child'].map((id) => [id, 'cancelled', 'r']),
    );
    assert.equal((await harness.record('late')).reason, 'r');
    assert.deepEqual(await me.claim(), []);
    assert.equal((await me.sweep()).readied.length, 0);
    const { states, readyWeight } = await harness.counts();
    assert.deepEqual(
      [states.cancelled, states.ready, states.scheduled, states.waiting, readyWeight],
      [3, 0, 0, 0, 0],
    );
  });

  test('cancel: an ended task answers its state', async (harness, me) => {
    await me.add('a');
    await me.run('a');
    assert.deepEqual((await me.cancel('a')).results, [{ status: 'ended', state: 'completed', affected: 0 }]);
    assert.equal(await harness.state('a'), 'completed');
  });

  test('cancel: a running task gets a request, as an order until it is settled', async (harness, me) => {
    await me.add('a');
    const claim = await me.claimOnly('a');
    const { results, requested, ended } = await me.cancel('a', { reason: 'stop' });
    assert.deepEqual(results, [{ status: 'requested', state: 'claimed', affected: 1 }]);
    assert.deepEqual(
      requested.map(({ task, reason }) => [task, reason]),
      [['a', 'stop']],
    );
    assert.deepEqual(ended, []);
    assert.equal((await harness.record('a')).cancelRequested, 'stop');
    assert.deepEqual(await harness.orders(me), [
      { kind: 'cancel', task: 'a', token: claim.token, reason: 'stop' },
    ]);
    assert.equal((await harness.orders(me)).length, 1);
    await me.settle({ claim, as: 'cancel', reason: 'stop' });
    assert.deepEqual(await harness.orders(me), []);
    assert.equal(await harness.state('a'), 'cancelled');
  });

  test('cancel: after a request complete wins, retry and release end cancelled, bury ends dead', async (harness, me) => {
    await me.enqueue(...['complete', 'retry', 'release', 'bury'].map((id) => harness.task(id)));
    const [complete, retry, release, bury] = await me.claim();
    assert.ok(complete && retry && release && bury);
    for (const id of ['complete', 'retry', 'release', 'bury']) await me.cancel(id, { reason: 'stop' });
    const results = [
      await me.complete(complete),
      await me.retry(retry),
      await me.release(release),
      await me.bury(bury),
    ];
    assert.deepEqual(
      results.map(({ results: [one] }) => one?.status === 'settled' && one.state),
      ['completed', 'cancelled', 'cancelled', 'dead'],
    );
    assert.equal((await harness.record('retry')).reason, 'stop');
    assert.equal((await harness.record('complete')).cancelRequested, undefined);
    assert.deepEqual(await harness.orders(me), []);
  });

  test('cancel: a claim that was not started ends now, and its session can neither start nor settle it', async (harness, me) => {
    await me.add('a');
    const [claim] = await me.claim({ start: 0 });
    assert.ok(claim !== undefined);
    assert.equal((await me.cancel('a')).results[0]?.status, 'cancelled');
    assert.deepEqual(
      (await harness.orders(me)).map((order) => (order as { kind: string }).kind),
      ['taken'],
    );
    assert.deepEqual((await harness.store.start(me.op(), [claim])).started, [false]);
    assert.equal((await me.complete(claim)).results[0]?.status, 'stale');
    assert.deepEqual(await harness.orders(me), []);
    assert.equal(await harness.state('a'), 'cancelled');
  });

  test('cancel: revoke ends a running task now; the late answer is stale', async (harness, me) => {
    await me.enqueue(harness.task('a'), harness.task('b', { dependsOn: ['a'] }));
    const claim = await me.claimOnly('a');
    const { results, ended } = await me.cancel('a', { revoke: true });
    assert.deepEqual(results, [{ status: 'cancelled', state: 'cancelled', affected: 2 }]);
    assert.deepEqual(
      ended.map(({ task }) => task),
      ['a', 'b'],
    );
    const late = await me.complete(claim);
    assert.equal(late.results[0]?.status, 'stale');
    assert.ok(late.results[0]?.status === 'stale' && late.results[0].token > claim.token);
    assert.equal(await harness.state('a'), 'cancelled');
  });

  test('cancel: tree takes sub-tasks along, at any depth; running ones are asked', async (harness, me) => {
    await me.add('root');
    const root = await me.claimOnly('root');
    await me.enqueue(
      harness.task('kid1', { parent: 'root' }),
      harness.task('kid2', { parent: 'root', delayMs: 60_000 }),
    );
    const kid1 = await me.claimOnly('kid1');
    await me.enqueue(
      harness.task('grandkid', { parent: 'kid1' }),
      harness.task('after', { dependsOn: ['grandkid'] }),
      harness.task('stranger'),
    );
    const { results, ended, requested } = await me.cancel('root', { tree: true, reason: 'all' });
    assert.deepEqual(results, [{ status: 'requested', state: 'claimed', affected: 5 }]);
    assert.deepEqual(
      requested.map(({ task, reason }) => [task, reason]),
      [
        ['root', 'all'],
        ['kid1', 'all'],
      ],
    );
    assert.deepEqual(sorted(ended.map(({ task, state, reason }) => [task, state, reason])), [
      ['after', 'cancelled', 'PARENT_CANCELLED'],
      ['grandkid', 'cancelled', 'all'],
      ['kid2', 'cancelled', 'all'],
    ]);
    assert.equal(await harness.state('stranger'), 'ready');
    await me.retry(kid1);
    await me.release(root);
    assert.deepEqual(await harness.states('root', 'kid1'), ['cancelled', 'cancelled']);
  });

  test('cancel: tree reaches live sub-tasks under ended ones; without tree they stay', async (harness, me) => {
    await me.add('root');
    await me.enqueue(harness.task('kid', { parent: 'root' }));
    const claims = await me.claim();
    await me.enqueue(harness.task('grandkid', { parent: 'kid' }));
    await me.complete(...claims);
    assert.equal((await me.cancel('root')).results[0]?.affected, 0);
    assert.equal(await harness.state('grandkid'), 'ready');
    const { results } = await me.cancel('root', { tree: true });
    assert.deepEqual(results, [{ status: 'ended', state: 'completed', affected: 1 }]);
    assert.equal(await harness.state('grandkid'), 'cancelled');
  });

  test('cancel: a tree of 2,500 is finished by sweep', async (harness, me) => {
    await me.add('root');
    await enqueueAll(
      harness,
      me,
      Array.from({ length: 2_500 }, (_, i) => harness.task(`k${i}`, { parent: 'root' })),
    );
    const { ended, more } = await me.cancel('root', { tree: true });
    assert.ok(ended.length <= 1_001);
    assert.equal(more, true);
    await me.sweepAll();
    const { states } = await harness.counts();
    assert.deepEqual([states.cancelled, states.ready], [2_501, 0]);
  });

  test('cancel: dependents follow the policy of their edge', async (harness, me) => {
    await me.enqueue(
      harness.task('a'),
      harness.task('b', { dependsOn: [{ parent: 'a', onFailure: 'continue' }] }),
      harness.task('c', { dependsOn: ['a'] }),
    );
    const { results, readied, ended } = await me.cancel('a');
    assert.equal(results[0]?.affected, 2);
    assert.deepEqual(
      readied.map(({ task }) => task),
      ['b'],
    );
    assert.deepEqual(
      ended.map(({ task, parent }) => [task, parent]),
      [
        ['a', undefined],
        ['c', 'a'],
      ],
    );
  });
}
