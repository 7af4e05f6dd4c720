import assert from 'node:assert/strict';
import { idsOf, QUEUE, type TaskTest } from './harness.ts';

/** Submission: identity, duplicates, replacement, limits, time. */
export function enqueueTests(test: TaskTest): void {
  test('enqueue: a task without conditions is ready, and its record says what was submitted', async (harness, me) => {
    const spec = { payload: { n: 1 }, priority: 7, headers: { trace: 'x' }, group: 'g', weight: 3 };
    assert.equal(await me.add('a', spec), 'ready');
    const record = await harness.record('a');
    assert.equal(record.state, 'ready');
    assert.equal(record.id, 'a');
    assert.equal(record.attempt, 0);
    assert.equal(record.started, false);
    assert.deepEqual(record.body.payload, { n: 1 });
    assert.equal(record.body.priority, 7);
    assert.deepEqual(record.body.headers, { trace: 'x' });
    assert.equal(record.body.group, 'g');
    assert.equal(record.body.weight, 3);
    assert.deepEqual(record.waitingFor, []);
    assert.ok(record.enqueuedAt > 1e15, 'µs since 1970');
    assert.equal((await harness.counts()).readyWeight, 3);
  });

  test('enqueue: one item refused does not touch its neighbours', async (harness, me) => {
    await me.add('a', { payload: 1 });
    const { results } = await me.enqueue(
      harness.task('b'),
      harness.task('a', { payload: 2 }),
      harness.task('c'),
    );
    assert.deepEqual(
      results.map(({ status }) => status),
      ['enqueued', 'conflict', 'enqueued'],
    );
    assert.deepEqual(await harness.states('a', 'b', 'c'), ['ready', 'ready', 'ready']);
  });

  test('enqueue: an ordered store carries calls out in the order in which they were made', async (harness, me) => {
    if (!harness.env.backend.capabilities.ordered) return;
    const ids = Array.from({ length: 12 }, (_, i) => `t${i}`);
    await Promise.all(ids.map((id) => me.add(id)));
    assert.deepEqual(idsOf(await me.claim({ limit: ids.length })), ids);
  });

  test('T2: the same id with the same payload is the same task, with another a conflict', async (harness, me) => {
    await me.add('a', { payload: { x: 1, y: [2] } });
    const again = await me.enqueue(harness.task('a', { payload: { x: 1, y: [2] } }));
    assert.deepEqual(withoutLocal(again.results[0]), {
      status: 'duplicate',
      id: 'a',
      state: 'ready',
      replaced: false,
    });
    const other = await me.enqueue(harness.task('a', { payload: { x: 1, y: [3] } }));
    assert.deepEqual(other.results[0], { status: 'conflict', id: 'a' });
    const type = await me.enqueue(harness.task('a', { payload: { x: 1, y: [2] }, type: 'other' }));
    assert.equal(type.results[0]?.status, 'conflict');
    const { totals } = await harness.counts();
    assert.equal(totals.enqueued, 1);
    assert.equal(totals.duplicates, 1);
  });

  test('T2: a key names one task, also in one batch, and after it has ended', async (harness, me) => {
    const { results } = await me.enqueue(
      harness.task('a', { key: 'k', payload: 1 }),
      harness.task('b', { key: 'k', payload: 1 }),
      harness.task('c', { key: 'k', payload: 2 }),
    );
    assert.deepEqual(
      results.map(({ status }) => status),
      ['enqueued', 'duplicate', 'conflict'],
    );
    assert.deepEqual(withoutLocal(results[1]), {
      status: 'duplicate',
      id: 'a',
      state: 'ready',
      replaced: false,
    });
    assert.deepEqual(results[2], { status: 'conflict', id: 'a' });
    await me.run('a');
    const later = await me.enqueue(
      harness.task('d', { key: 'k', payload: 1 }),
      harness.task('e', { key: 'k', payload: 3 }),
    );
    assert.deepEqual(withoutLocal(later.results[0]), {
      status: 'duplicate',
      id: 'a',
      state: 'completed',
      replaced: false,
    });
    assert.equal(later.results[1]?.status, 'conflict');
    assert.deepEqual(await harness.states('b', 'c', 'd', 'e'), ['unknown', 'unknown', 'unknown', 'unknown']);
  });

  test('T2: with keepMs 0 state and key stay, result and payload go', async (harness, me) => {
    await me.add('a', { key: 'k', payload: 1, limits: { keepMs: 0 } });
    await me.run('a');
    const record = await harness.record('a');
    assert.equal(record.state, 'completed');
    assert.equal(record.result, undefined);
    const again = await me.enqueue(harness.task('b', { key: 'k', payload: 1, limits: { keepMs: 0 } }));
    assert.equal(again.results[0]?.status, 'duplicate');
    const other = await me.enqueue(harness.task('c', { key: 'k', payload: 2, limits: { keepMs: 0 } }));
    assert.equal(other.results[0]?.status, 'conflict');
  });

  test('T2: once pruned, key and id are free again', async (harness, me) => {
    await me.add('a', { key: 'k', payload: 1, limits: { keepMs: 20 } });
    await me.run('a');
    await harness.env.pass(60);
    assert.equal((await me.sweep()).pruned, 1);
    assert.equal(await harness.state('a'), 'unknown');
    assert.equal(await me.add('a', { key: 'k', payload: 2 }), 'ready');
    assert.equal((await harness.counts()).totals.pruned, 1);
  });

  test('replace: swaps payload, priority and headers of an unclaimed task and keeps its time', async (harness, me) => {
    await me.add('a', { key: 'k', payload: 1, headers: { v: 1 } });
    await me.add('other', { priority: 3 });
    const { results } = await me.enqueue(
      harness.task('b', { key: 'k', payload: 2, priority: 5, headers: { v: 2 }, onDuplicate: 'replace' }),
    );
    assert.deepEqual(withoutLocal(results[0]), {
      status: 'duplicate',
      id: 'a',
      state: 'ready',
      replaced: true,
    });
    const claims = await me.claim();
    assert.deepEqual(idsOf(claims), ['a', 'other']);
    assert.deepEqual(claims[0]?.body.payload, 2);
    assert.deepEqual(claims[0]?.body.headers, { v: 2 });
    assert.equal((await harness.counts()).readyWeight, 0);
  });

  test('replace: all that is stated is swapped, and what is not stated is gone', async (harness, me) => {
    await me.add('parent', { agent: 'elsewhere' });
    await me.add('a', {
      key: 'k',
      capabilities: ['x'],
      group: 'g',
      weight: 5,
      parent: 'parent',
      settings: { timeoutMs: 1 },
      limits: { deadlineMs: 50 },
    });
    await me.enqueue(
      harness.task('b', {
        key: 'k',
        weight: 2,
        settings: { timeoutMs: 2 },
        onDuplicate: 'replace',
      }),
    );
    assert.equal((await harness.counts()).readyWeight, 3, 'its own weight, beside the parent’s');
    await harness.env.pass(90);
    await me.sweepAll();
    const { body } = await me.claimOnly('a');
    assert.deepEqual(
      [body.capabilities, body.group, body.weight, body.parent, body.settings],
      [[], undefined, 2, undefined, { timeoutMs: 2 }],
    );
  });

  test('replace: a deadline counts from the replacement', async (harness, me) => {
    await me.add('a', { key: 'k', limits: { deadlineMs: 100 } });
    await harness.env.pass(80);
    await me.enqueue(harness.task('b', { key: 'k', limits: { deadlineMs: 100 }, onDuplicate: 'replace' }));
    await harness.env.pass(80);
    await me.sweepAll();
    assert.equal(await harness.state('a'), 'ready');
    await harness.env.pass(80);
    await me.sweepAll();
    assert.equal(await harness.state('a'), 'dead');
  });

  test('replace: other dependencies, another queue or type are a conflict', async (harness, me) => {
    await me.add('p', { agent: 'elsewhere' });
    await me.add('a', { key: 'k', dependsOn: ['p'] });
    const replacing = { key: 'k', onDuplicate: 'replace' } as const;
    const { results } = await me.enqueue(
      harness.task('b', { ...replacing, dependsOn: ['p', 'q'] }),
      harness.task('c', { ...replacing, dependsOn: [{ parent: 'p', onFailure: 'continue' }] }),
      harness.task('d', { ...replacing, queue: 'other' }),
      harness.task('e', { ...replacing, type: 'other' }),
      harness.task('f', { ...replacing, dependsOn: ['p'] }),
    );
    assert.deepEqual(
      results.map(({ status }) => status),
      ['conflict', 'conflict', 'conflict', 'conflict', 'duplicate'],
    );
  });

  test('replace: a scheduled and a waiting task keep their conditions', async (harness, me) => {
    await me.add('late', { key: 'late', payload: 1, delayMs: 60 });
    await me.add('parent', { agent: 'elsewhere' });
    await me.add('child', { key: 'child', payload: 1, dependsOn: ['parent'] });
    const replacing = { payload: 2, onDuplicate: 'replace' } as const;
    const { results } = await me.enqueue(
      harness.task('x', { key: 'late', ...replacing }),
      harness.task('y', { key: 'child', ...replacing }),
    );
    assert.deepEqual(
      results.map((result) => result.status === 'duplicate' && [result.id, result.state, result.replaced]),
      [
        ['late', 'scheduled', true],
        ['child', 'waiting', true],
      ],
    );
    await harness.env.pass(90);
    await me.sweepAll();
    assert.deepEqual((await me.claimOnly('late').then(({ body }) => body)).payload, 2);
    assert.equal(await harness.state('child'), 'waiting');
  });

  test('debounce: each submission under the key starts the delay anew', async (harness, me) => {
    await me.enqueue(harness.task('a', { key: 'k', payload: 1, delayMs: 300, onDuplicate: 'debounce' }));
    await harness.env.pass(200);
    const { results } = await me.enqueue(
      harness.task('b', { key: 'k', payload: 2, delayMs: 300, onDuplicate: 'debounce' }),
    );
    assert.deepEqual(withoutLocal(results[0]), {
      status: 'duplicate',
      id: 'a',
      state: 'scheduled',
      replaced: true,
    });
    await harness.env.pass(150);
    await me.sweepAll();
    assert.equal(await harness.state('a'), 'scheduled', 'the first delay no longer counts');
    await harness.env.pass(200);
    await me.sweepAll();
    assert.deepEqual((await me.claimOnly('a')).body.payload, 2);
    assert.equal((await harness.counts()).totals.enqueued, 1);
  });

  test('debounce: a ready task goes back to wait', async (harness, me) => {
    await me.add('a', { key: 'k' });
    const { results } = await me.enqueue(
      harness.task('b', { key: 'k', delayMs: 60_000, onDuplicate: 'debounce' }),
    );
    assert.equal(results[0]?.status === 'duplicate' && results[0].state, 'scheduled');
    assert.deepEqual(await me.claim(), []);
    const counts = await harness.counts();
    assert.deepEqual([counts.states.ready, counts.states.scheduled, counts.readyWeight], [0, 1, 0]);
  });

  test('replace: a claimed task keeps running and gives its key up to the new one', async (harness, me) => {
    await me.add('a', { key: 'k', payload: 1 });
    const claim = await me.claimOnly('a');
    const { results } = await me.enqueue(harness.task('b', { key: 'k', payload: 2, onDuplicate: 'replace' }));
    assert.equal(results[0]?.status, 'enqueued');
    const third = await me.enqueue(harness.task('c', { key: 'k', payload: 3, onDuplicate: 'replace' }));
    assert.deepEqual(withoutLocal(third.results[0]), {
      status: 'duplicate',
      id: 'b',
      state: 'ready',
      replaced: true,
    });
    assert.equal((await me.complete(claim)).results[0]?.status, 'settled');
    const page = await harness.store.list({ key: 'k' }, { limit: 10 });
    assert.deepEqual(
      page.items.map(({ id }) => id),
      ['b'],
    );
  });

  test('replace: an ended task gives its key up', async (harness, me) => {
    await me.add('a', { key: 'k', payload: 1 });
    await me.run('a');
    const { results } = await me.enqueue(
      harness.task('b', { key: 'k', payload: 1, onDuplicate: 'debounce', delayMs: 10 }),
    );
    assert.equal(results[0]?.status, 'enqueued');
    assert.deepEqual(await harness.states('a', 'b'), ['completed', 'scheduled']);
  });

  test('full: a queue at its length refuses more, counts only unended tasks, and still knows duplicates', async (harness, me) => {
    await harness.configure({ maxLength: 3 });
    await me.add('parent');
    await me.add('child', { dependsOn: ['parent'] });
    await me.add('late', { delayMs: 60_000 });
    const { results } = await me.enqueue(harness.task('x'), harness.task('parent'));
    assert.deepEqual(results[0], { status: 'full', queue: QUEUE, length: 3 });
    assert.equal(results[1]?.status, 'duplicate');
    const claim = await me.claimOnly('parent');
    assert.equal((await me.enqueue(harness.task('x'))).results[0]?.status, 'full', 'a claimed task counts');
    await me.complete(claim);
    assert.equal((await me.enqueue(harness.task('x'))).results[0]?.status, 'enqueued');
    assert.equal(
      (await me.enqueue(harness.task('elsewhere', { queue: 'other' }))).results[0]?.status,
      'enqueued',
    );
  });

  test('T8: a delayed task is never claimed before its time, and sweep says exactly when that is', async (harness, me) => {
    assert.equal(await me.add('a', { delayMs: 250 }), 'scheduled');
    const { runAt, enqueuedAt } = await harness.record('a');
    assert.equal((runAt ?? 0) - enqueuedAt, 250_000);
    const swept = await me.sweep();
    assert.ok(swept.nextInMs > 0 && swept.nextInMs <= 250, `${swept.nextInMs}`);
    assert.deepEqual(await me.claim(), []);
    await harness.env.pass(swept.nextInMs + 5);
    const due = await me.sweep();
    assert.deepEqual(due.readied, [{ task: 'a', queue: QUEUE }]);
    const claim = await me.claimOnly('a');
    assert.equal(claim.readyAt, runAt);
  });

  test('T8: a delay of 0 is none', async (_harness, me) => {
    assert.equal(await me.add('none', { delayMs: 0 }), 'ready');
  });

  test('sweep: nothing due ever is Infinity', async (_harness, me) => {
    await me.add('a');
    assert.equal((await me.sweep()).nextInMs, Number.POSITIVE_INFINITY);
  });

  test('local: echoed by a store of the same process, dropped by others', async (harness, me) => {
    const local = { handle: 1 };
    await me.enqueue(harness.task('a', { local }), harness.task('b', { local, dependsOn: ['a'] }));
    const duplicate = await me.enqueue(harness.task('a', { local: { handle: 2 } }));
    const { local: shown } = await harness.record('b');
    const claim = await me.claimOnly('a');
    const { ended } = await me.bury(claim);
    const seen = [
      claim.local,
      duplicate.results[0]?.status === 'duplicate' && duplicate.results[0].local,
      ended[0]?.local,
      shown,
    ];
    if (harness.isReference) for (const one of seen) assert.equal(one, local);
    else assert.ok(seen.every((one) => one === undefined));
    const records = await harness.store.get(['a', 'b']);
    for (const record of records) {
      assert.ok(record !== undefined);
      assert.equal((record.body as { local?: object }).local, undefined);
    }
    await me.revise({ ids: ['a'] }, { set: 'redrive', delayMs: 0, resetAttempts: true, spreadMs: 0 });
    const again = await me.claimOnly('a');
    assert.equal(again.local, harness.isReference ? local : undefined, 'a dead letter may be redriven');
    await me.complete(again);
  });

  test('ids and keys that mean something to JavaScript, SQL or Redis are just text', async (harness, me) => {
    const ids = [
      '__proto__',
      'constructor',
      'toString',
      'a:b',
      '{x}',
      '*',
      "'; drop table tasks; --",
      'ü\u202e\u{1f600}',
      'a\nb',
    ];
    await me.enqueue(...ids.map((id, i) => harness.task(id, { key: `key ${id}`, group: id, payload: i })));
    const claims = await me.claim();
    assert.deepEqual(idsOf(claims), ids);
    await me.complete(...claims);
    assert.deepEqual(
      await harness.states(...ids),
      ids.map(() => 'completed'),
    );
    assert.equal(
      (await harness.store.list({ key: 'key __proto__' }, { limit: 5 })).items[0]?.id,
      '__proto__',
    );
  });
}

function withoutLocal(result: object | undefined): object {
  const { local: _local, ...rest } = (result ?? {}) as { local?: object };
  return rest;
}
