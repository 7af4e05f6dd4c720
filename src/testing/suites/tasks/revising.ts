import assert from 'node:assert/strict';
import { enqueueAll } from './dependencies.ts';
import { idsOf, type TaskTest } from './harness.ts';

const REDRIVE = { set: 'redrive', delayMs: 0, resetAttempts: true, spreadMs: 0 } as const;

export function reviseTests(test: TaskTest): void {
  test('revise: priority of queued tasks changes their place, age counted from the beginning', async (harness, me) => {
    await harness.configure({ ageStepMs: 10_000 });
    await me.enqueue(harness.task('a'), harness.task('b'), harness.task('c'));
    assert.equal((await me.revise({ ids: ['c'] }, { set: 'priority', priority: 2 })).changed, 1);
    await me.add('d', { priority: 2 });
    assert.deepEqual(idsOf(await me.claim()), ['c', 'd', 'a', 'b']);
  });

  test('revise: age brings a task forward, before those of higher priority; its priority stays', async (harness, me) => {
    await harness.configure({ ageStepMs: 10_000 });
    await me.enqueue(harness.task('a'), harness.task('high', { priority: 2 }), harness.task('b'));
    assert.equal((await me.revise({ ids: ['b'] }, { set: 'age', ageMs: 100_000 })).changed, 1);
    const claims = await me.claim();
    assert.deepEqual(idsOf(claims), ['b', 'high', 'a']);
    assert.equal(claims[0]?.body.priority, (await harness.record('a')).body.priority);
    assert.equal((await me.revise({ ids: ['b'] }, { set: 'age', ageMs: 1 })).changed, 0);
  });

  test('revise: age of one that waits or is not due yet counts once it is ready', async (harness, me) => {
    await harness.configure({ ageStepMs: 10_000 });
    await me.enqueue(harness.task('late', { delayMs: 1_000 }), harness.task('child', { dependsOn: ['x'] }));
    assert.equal((await me.revise({ ids: ['late', 'child'] }, { set: 'age', ageMs: 100_000 })).changed, 2);
    await me.add('x');
    await me.run('x');
    await me.release(await me.claimOnly('child'));
    await me.add('first', { priority: 5 });
    await harness.env.pass(1_000);
    await me.sweep();
    assert.deepEqual(idsOf(await me.claim()), ['child', 'late', 'first'], 'also after a release');
  });

  test('revise: priority back and forth keeps first come, first served', async (harness, me) => {
    await me.enqueue(...['a', 'b', 'c', 'd'].map((id) => harness.task(id)));
    for (const priority of [5, 0, 7, 0]) await me.revise({ ids: ['b', 'c'] }, { set: 'priority', priority });
    await me.add('e');
    assert.deepEqual(idsOf(await me.claim()), ['a', 'b', 'c', 'd', 'e']);
  });

  test('revise: on a claimed task priority and payload wait until it is ready again', async (harness, me) => {
    await me.enqueue(harness.task('a', { payload: 1 }), harness.task('b'));
    const [a] = await me.claim({ limit: 1 });
    assert.ok(a !== undefined);
    const low = await me.revise({ ids: ['a'] }, { set: 'priority', priority: -5 });
    assert.deepEqual([low.changed, low.deferred], [0, 1]);
    await me.revise({ ids: ['a'] }, { set: 'payload', payload: 2 });
    assert.deepEqual((await harness.record('a')).body.payload, 1);
    await me.release(a);
    const claims = await me.claim();
    assert.deepEqual(idsOf(claims), ['b', 'a']);
    assert.deepEqual([claims[1]?.body.priority, claims[1]?.body.payload], [-5, 2]);
  });

  test('revise: delay moves unclaimed tasks in time, both ways; claimed and ended ones stay', async (harness, me) => {
    await me.enqueue(
      harness.task('now'),
      harness.task('late', { delayMs: 60_000 }),
      harness.task('child', { dependsOn: ['x'] }),
    );
    const later = await me.revise({ ids: ['now', 'child'] }, { set: 'delay', delayMs: 60_000 });
    assert.equal(later.changed, 2);
    const sooner = await me.revise({ ids: ['late'] }, { set: 'delay', delayMs: 0 });
    assert.deepEqual(
      sooner.readied.map(({ task }) => task),
      ['late'],
    );
    assert.deepEqual(await harness.states('now', 'late', 'child'), ['scheduled', 'ready', 'waiting']);
    const claim = await me.claimOnly('late');
    assert.equal((await me.revise({ ids: ['late'] }, { set: 'delay', delayMs: 5 })).changed, 0);
    await me.complete(claim);
    assert.equal((await me.revise({ ids: ['late'] }, { set: 'delay', delayMs: 5 })).changed, 0);
    await me.add('x');
    await me.run('x');
    assert.equal(await harness.state('child'), 'scheduled', 'its new delay counts');
  });

  test('revise: agent pins and unpins unclaimed tasks', async (harness, me) => {
    await me.enqueue(
      harness.task('a'),
      harness.task('b', { agent: 'bob' }),
      harness.task('c', { delayMs: 10 }),
    );
    await me.revise({ ids: ['a', 'c'] }, { set: 'agent', agent: 'ann' });
    await me.revise({ ids: ['b'] }, { set: 'agent', agent: null });
    assert.deepEqual(idsOf(await me.claim({ agents: ['bob'] })), ['b']);
    await harness.env.pass(40);
    await me.sweepAll();
    assert.deepEqual(idsOf(await me.claim({ agents: ['ann'] })), ['a', 'c']);
    const claimed = await me.revise({ ids: ['a'] }, { set: 'agent', agent: null });
    assert.equal(claimed.changed, 0);
  });

  test('revise: payload of a dead letter can be edited before it is redriven', async (_harness, me) => {
    await me.add('a', { payload: 1 });
    await me.bury(await me.claimOnly('a'));
    const edited = await me.revise({ ids: ['a'] }, { set: 'payload', payload: 2 });
    assert.equal(edited.changed, 1);
    await me.revise({ ids: ['a'] }, REDRIVE);
    assert.deepEqual((await me.claimOnly('a')).body.payload, 2);
  });

  test('redrive: dead and cancelled begin again, others are left alone', async (harness, me) => {
    await me.enqueue(
      ...['dead', 'cancelled', 'completed', 'ready'].map((id) => harness.task(id)),
      harness.task('skipped', { dependsOn: [{ parent: 'dead', onFailure: 'skip' }] }),
    );
    const claims = await me.claim({ limit: 3 });
    const [dead, , completed] = claims;
    assert.ok(dead !== undefined && completed !== undefined && claims[1] !== undefined);
    await me.bury(dead);
    await me.settle({ claim: claims[1], as: 'cancel', reason: 'r' });
    await me.complete(completed);
    const { changed, readied } = await me.revise({}, REDRIVE);
    assert.equal(changed, 2);
    assert.deepEqual(readied.map(({ task }) => task).toSorted(), ['cancelled', 'dead']);
    assert.deepEqual(await harness.states('dead', 'cancelled', 'completed', 'ready', 'skipped'), [
      'ready',
      'ready',
      'completed',
      'ready',
      'skipped',
    ]);
    const record = await harness.record('dead');
    assert.deepEqual([record.attempt, record.reason, record.endedAt], [0, undefined, undefined]);
    const again = (await me.claim()).find(({ task }) => task === 'dead');
    assert.ok(again !== undefined && again.token > dead.token, 'T3');
  });

  test('redrive: attempts stay unless reset; the delay holds; due times are spread', async (harness, me) => {
    await me.enqueue(...['a', 'b', 'c', 'd'].map((id) => harness.task(id)));
    for (const claim of await me.claim()) await me.bury(claim);
    const { changed } = await me.revise(
      { state: ['dead'] },
      { set: 'redrive', delayMs: 1_000, resetAttempts: false, spreadMs: 4_000 },
    );
    assert.equal(changed, 4);
    const records = await harness.store.get(['a', 'b', 'c', 'd']);
    assert.deepEqual(
      records.map((record) => [record?.state, record?.attempt]),
      Array.from({ length: 4 }, () => ['scheduled', 1]),
    );
    const due = records.map((record) => record?.runAt ?? 0);
    assert.deepEqual(
      due.map((at) => Math.round((at - (due[0] ?? 0)) / 1_000_000)),
      [0, 1, 2, 3],
    );
  });

  test('redrive: a task that died of its deadline has its time again', async (harness, me) => {
    await me.add('a', { limits: { deadlineMs: 50 } });
    await harness.env.pass(80);
    await me.sweepAll();
    assert.equal(await harness.state('a'), 'dead');
    await me.revise({ ids: ['a'] }, REDRIVE);
    await me.sweepAll();
    assert.equal(await harness.state('a'), 'ready');
    await harness.env.pass(80);
    await me.sweepAll();
    assert.equal(await harness.state('a'), 'dead');
  });

  test('redrive: a cancelled child waits for its parents again if they may still succeed', async (harness, me) => {
    await me.enqueue(harness.task('parent'), harness.task('child', { dependsOn: ['parent'] }));
    await me.bury(await me.claimOnly('parent'));
    assert.equal(await harness.state('child'), 'cancelled');
    await me.revise({ ids: ['parent'] }, REDRIVE);
    await me.revise({ ids: ['child'] }, REDRIVE);
    assert.deepEqual(await harness.states('parent', 'child'), ['ready', 'waiting']);
    await me.run('parent');
    await me.run('child');
  });

  test('redrive: a cancelled child whose parent stays dead runs by itself', async (harness, me) => {
    await me.enqueue(harness.task('parent'), harness.task('child', { dependsOn: ['parent'] }));
    await me.bury(await me.claimOnly('parent'));
    await me.revise({ ids: ['child'] }, REDRIVE);
    await me.run('child');
    assert.equal(await harness.state('parent'), 'dead');
  });

  test('discard: ended rows are pruned now and counted, live ones stay', async (harness, me) => {
    await me.enqueue(harness.task('a', { key: 'k' }), harness.task('b'), harness.task('c'));
    const [a, b] = await me.claim({ limit: 2 });
    assert.ok(a !== undefined && b !== undefined);
    await me.bury(a);
    assert.equal((await me.revise({}, { set: 'discard' })).changed, 1);
    assert.deepEqual(await harness.states('a', 'b', 'c'), ['unknown', 'claimed', 'ready']);
    assert.equal((await harness.counts()).totals.pruned, 1);
    assert.equal(await me.add('again', { key: 'k', payload: 'new' }), 'ready');
  });

  test('revise: goes through everything by pages, and only through what matches', async (harness, me) => {
    const ids = Array.from({ length: 250 }, (_, i) => `t${i}`);
    await enqueueAll(
      harness,
      me,
      ids.map((id, i) => harness.task(id, { type: i % 2 === 0 ? 'even' : 'odd' })),
    );
    let changed = 0;
    let pages = 0;
    for (let next: Awaited<ReturnType<typeof me.revise>>['next'] | null = null; next !== undefined; pages++) {
      const answer = await me.revise(
        { type: 'even' },
        { set: 'priority', priority: 3 },
        40,
        next ?? undefined,
      );
      assert.ok(answer.changed <= 40);
      changed += answer.changed;
      next = answer.next;
    }
    assert.equal(changed, 125);
    assert.ok(pages >= 4);
    const claims = await me.claim({ limit: 125 });
    assert.ok(claims.every(({ body }) => body.type === 'even'));
  });
}
