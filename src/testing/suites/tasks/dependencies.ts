import assert from 'node:assert/strict';
import type { Edge, FailurePolicy, NewTask } from '../../../core/ports/tasks.ts';
import { idsOf, QUEUE, type TaskHarness, type TaskTest, type Worker } from './harness.ts';

const edge = (parent: string, onFailure: FailurePolicy): Edge => ({ parent, onFailure });

/** What waits for what. */
export function dependencyTests(test: TaskTest): void {
  test('dependencies: a child is ready once, when its last parent has completed', async (harness, me) => {
    await me.enqueue(harness.task('a'), harness.task('b'), harness.task('c', { dependsOn: ['a', 'b'] }));
    const record = await harness.record('c');
    assert.deepEqual([record.state, record.waitingFor, record.waitingCount], ['waiting', ['a', 'b'], 2]);
    const [a, b] = await me.claim();
    assert.ok(a !== undefined && b !== undefined);
    assert.deepEqual((await me.complete(a)).readied, []);
    assert.deepEqual((await harness.record('c')).waitingFor, ['b']);
    const last = await me.complete(b);
    assert.deepEqual(last.readied, [{ task: 'c', queue: QUEUE }]);
    assert.equal(last.more, false);
    await me.run('c');
    const page = await harness.store.history({ task: 'c' }, { limit: 10 });
    assert.deepEqual(
      page.items.map(({ to }) => to),
      ['waiting', 'ready', 'claimed', 'completed'],
    );
  });

  for (const [end, onFailure, expected] of [
    ['completed', 'cancel', 'ready'],
    ['dead', 'cancel', 'cancelled'],
    ['dead', 'skip', 'skipped'],
    ['dead', 'continue', 'ready'],
    ['dead', 'wait', 'waiting'],
  ] as const) {
    test(`dependencies: a parent whose row is gone still was ${end}: ${onFailure} makes it ${expected}`, async (harness, me) => {
      await me.add('a', { limits: { keepMs: 10 } });
      const claim = await me.claimOnly('a');
      await (end === 'completed' ? me.complete(claim) : me.bury(claim));
      await harness.env.pass(40);
      await me.sweepAll();
      assert.equal(await harness.state('a'), 'unknown');
      assert.equal(await me.add('b', { dependsOn: [edge('a', onFailure)] }), expected);
    });
  }

  test('dependencies: parents that are done already do not matter', async (harness, me) => {
    await me.add('a');
    await me.run('a');
    assert.equal(await me.add('b', { dependsOn: ['a'] }), 'ready');
    await me.add('c', { dependsOn: ['a', 'b'] });
    assert.deepEqual((await harness.record('c')).waitingFor, ['b']);
    await me.run('b');
    await me.run('c');
  });

  test('dependencies: a parent may be enqueued later, also in the same batch', async (harness, me) => {
    await me.enqueue(harness.task('child', { dependsOn: ['parent'] }), harness.task('parent'));
    assert.deepEqual(await harness.states('child', 'parent'), ['waiting', 'ready']);
    await me.add('orphan', { dependsOn: ['to-come'] });
    await me.run('parent');
    await me.run('child');
    assert.equal(await harness.state('orphan'), 'waiting');
    await me.add('to-come');
    await me.run('to-come');
    await me.run('orphan');
  });

  for (const [as, end] of [
    ['dead', async (me: Worker) => me.bury(await me.claimOnly('parent'))],
    ['cancelled', async (me: Worker) => me.cancel('parent')],
  ] as const) {
    test(`dependencies: failure policies when the parent ends ${as}`, async (harness, me) => {
      await me.enqueue(
        harness.task('parent'),
        harness.task('cancel', { dependsOn: [edge('parent', 'cancel')] }),
        harness.task('skip', { dependsOn: [edge('parent', 'skip')] }),
        harness.task('wait', { dependsOn: [edge('parent', 'wait')] }),
        harness.task('continue', { dependsOn: [edge('parent', 'continue')] }),
      );
      const { ended, readied } = await end(me);
      assert.deepEqual(
        ended
          .filter(({ task }) => task !== 'parent')
          .map(({ task, state, parent, reason }) => [task, state, parent, reason]),
        [
          ['cancel', 'cancelled', 'parent', `PARENT_${as.toUpperCase()}`],
          ['skip', 'skipped', 'parent', `PARENT_${as.toUpperCase()}`],
        ],
      );
      assert.deepEqual(readied, [{ task: 'continue', queue: QUEUE }]);
      assert.deepEqual(await harness.states('cancel', 'skip', 'wait', 'continue'), [
        'cancelled',
        'skipped',
        'waiting',
        'ready',
      ]);
      assert.deepEqual((await harness.record('wait')).waitingFor, ['parent']);
    });
  }

  test('dependencies: failure policies when the parent has failed before the child comes', async (harness, me) => {
    await me.add('parent');
    await me.bury(await me.claimOnly('parent'));
    const { results, ended } = await me.enqueue(
      ...(['cancel', 'skip', 'wait', 'continue'] as const).map((policy) =>
        harness.task(policy, { dependsOn: [edge('parent', policy)] }),
      ),
    );
    assert.deepEqual(
      results.map((result) => result.status === 'enqueued' && result.state),
      ['cancelled', 'skipped', 'waiting', 'ready'],
    );
    assert.deepEqual(ended, [], 'own items are no consequences');
    assert.equal((await harness.record('cancel')).reason, 'PARENT_DEAD');
  });

  test('dependencies: a retry fails nobody; only the last attempt does', async (harness, me) => {
    await me.enqueue(harness.task('parent'), harness.task('child', { dependsOn: ['parent'] }));
    await me.retry(await me.claimOnly('parent'));
    assert.equal(await harness.state('child'), 'waiting');
    await me.bury(await me.claimOnly('parent'));
    assert.equal(await harness.state('child'), 'cancelled');
  });

  test('dependencies: a failure goes down through generations, each by its own edge', async (harness, me) => {
    await me.enqueue(
      harness.task('a'),
      harness.task('b', { dependsOn: [edge('a', 'skip')] }),
      harness.task('c', { dependsOn: [edge('b', 'cancel')] }),
      harness.task('d', { dependsOn: [edge('c', 'continue')] }),
      harness.task('e', { dependsOn: [edge('d', 'cancel')] }),
    );
    await me.bury(await me.claimOnly('a'));
    assert.deepEqual(await harness.states('b', 'c', 'd', 'e'), ['skipped', 'cancelled', 'ready', 'waiting']);
    assert.deepEqual((await harness.record('c')).reason, 'PARENT_SKIPPED');
    await me.run('d');
    await me.run('e');
  });

  test('dependencies: cross-cascades A→B, A→C, C→B end each task once', async (harness, me) => {
    const orders = [
      ['a', 'b', 'c'],
      ['b', 'c', 'a'],
      ['c', 'b', 'a'],
    ] as const;
    const edges = { a: [], b: ['a', 'c'], c: ['a'] } as const;
    for (const [round, order] of orders.entries()) {
      const id = (name: string): string => `${name}${round}`;
      await me.enqueue(...order.map((name) => harness.task(id(name), { dependsOn: edges[name].map(id) })));
      const { ended } = await me.bury(await me.claimOnly(id('a')));
      assert.deepEqual(ended.map(({ task }) => task).toSorted(), [id('b'), id('c')]);
      assert.deepEqual(await harness.states(id('b'), id('c')), ['cancelled', 'cancelled']);
      const page = await harness.store.history({ task: id('b') }, { limit: 10 });
      assert.deepEqual(
        page.items.map(({ to }) => to),
        ['waiting', 'cancelled'],
      );
    }
    for (const [round, order] of orders.entries()) {
      const id = (name: string): string => `${name}-ok${round}`;
      await me.enqueue(...order.map((name) => harness.task(id(name), { dependsOn: edges[name].map(id) })));
      await me.run(id('a'));
      await me.run(id('c'));
      await me.run(id('b'));
    }
  });

  test('dependencies: a child that ended before its parent is left alone', async (harness, me) => {
    await me.enqueue(
      harness.task('a'),
      harness.task('b', { dependsOn: ['a'] }),
      harness.task('c', { dependsOn: [edge('b', 'continue'), 'a'] }),
    );
    await me.cancel('b', { reason: 'mine' });
    assert.deepEqual((await harness.record('c')).waitingFor, ['a']);
    const { ended, readied } = await me.run('a');
    assert.deepEqual([ended, readied], [[], [{ task: 'c', queue: QUEUE }]]);
    assert.equal((await harness.record('b')).reason, 'mine');
  });

  test('dependencies: a delay counts from the enqueue, beside the parents', async (harness, me) => {
    await me.enqueue(
      harness.task('a'),
      harness.task('soon', { dependsOn: ['a'], delayMs: 5 }),
      harness.task('later', { dependsOn: ['a'], delayMs: 60_000 }),
    );
    const claim = await me.claimOnly('a');
    await harness.env.pass(30);
    const { readied } = await me.complete(claim);
    assert.deepEqual(readied, [{ task: 'soon', queue: QUEUE }]);
    assert.deepEqual(await harness.states('soon', 'later'), ['ready', 'scheduled']);
    const { readyAt } = await me.claimOnly('soon');
    assert.ok(
      readyAt >= (await harness.record('soon')).enqueuedAt + 30_000,
      'ready when its parent was done',
    );
  });

  test('dependencies: cycles are refused with the path, whichever end comes last', async (harness, me) => {
    const self = await me.enqueue(harness.task('self', { dependsOn: ['self'] }));
    assert.deepEqual(self.results, [{ status: 'cycle', path: ['self', 'self'] }]);
    const { results } = await me.enqueue(
      harness.task('a', { dependsOn: ['c'] }),
      harness.task('b', { dependsOn: ['a'] }),
      harness.task('c', { dependsOn: ['x', 'b'] }),
    );
    assert.deepEqual(results[2], { status: 'cycle', path: ['c', 'b', 'a', 'c'] });
    assert.deepEqual(await harness.states('a', 'b', 'c'), ['waiting', 'waiting', 'unknown']);
    await me.add('c');
    await me.run('c');
    await me.run('a');
    await me.run('b');
  });

  test('dependencies: a cycle through a long chain is found', async (harness, me) => {
    const n = 300;
    const tasks = Array.from({ length: n }, (_, i) => harness.task(`t${i}`, { dependsOn: [`t${i + 1}`] }));
    await enqueueAll(harness, me, tasks);
    const { results } = await me.enqueue(harness.task(`t${n}`, { dependsOn: ['t0'] }));
    assert.equal(results[0]?.status, 'cycle');
    const path = results[0]?.status === 'cycle' ? results[0].path : [];
    assert.deepEqual([path.length, path[0], path[1], path.at(-1)], [n + 2, `t${n}`, 't0', `t${n}`]);
    assert.equal(await me.add(`t${n}`), 'ready');
  });

  test('dependencies: one parent of 2,500: 1,000 in the call, the rest by sweep, each once', async (harness, me) => {
    await me.add('root');
    const children = Array.from({ length: 2_500 }, (_, i) => harness.task(`c${i}`, { dependsOn: ['root'] }));
    await enqueueAll(harness, me, children);
    const first = await me.run('root');
    assert.ok(first.readied.length <= 1_000 && first.readied.length > 0);
    assert.equal(first.more, true);
    const newcomer = await me.enqueue(harness.task('newcomer', { dependsOn: ['root'] }));
    assert.deepEqual(newcomer.results, [{ status: 'enqueued', state: 'ready' }]);
    const seen = [...first.readied, ...newcomer.readied].map(({ task }) => task);
    for (let more = true; more; ) {
      const swept = await me.sweep();
      assert.ok(swept.readied.length <= 1_000);
      seen.push(...swept.readied.map(({ task }) => task));
      more = swept.more;
    }
    assert.deepEqual(seen.toSorted(), children.map(({ id }) => id).toSorted());
    const { states } = await harness.counts();
    assert.deepEqual([states.ready, states.waiting], [2_501, 0]);
  });

  test('dependencies: a child that is cancelled in front of the frontier is not made ready by it', async (harness, me) => {
    await me.add('root');
    await enqueueAll(
      harness,
      me,
      Array.from({ length: 1_500 }, (_, i) => harness.task(`c${i}`, { dependsOn: ['root'] })),
    );
    const { readied } = await me.run('root');
    const done = new Set(readied.map(({ task }) => task));
    const left = Array.from({ length: 1_500 }, (_, i) => `c${i}`).filter((id) => !done.has(id));
    assert.ok(left[0] !== undefined);
    await me.cancel(left[0]);
    await me.sweepAll();
    assert.equal(await harness.state(left[0]), 'cancelled');
    const { states } = await harness.counts();
    assert.deepEqual([states.ready, states.cancelled, states.waiting], [1_499, 1, 0]);
  });

  test('dependencies: a parent redriven before all its children were told decides anew for the rest', async (harness, me) => {
    await me.add('root');
    await enqueueAll(
      harness,
      me,
      Array.from({ length: 1_500 }, (_, i) => harness.task(`c${i}`, { dependsOn: ['root'] })),
    );
    const { ended } = await me.bury(await me.claimOnly('root'));
    assert.ok(ended.length > 0 && ended.length <= 1_000);
    const redriven = await me.revise(
      { ids: ['root'] },
      { set: 'redrive', delayMs: 0, resetAttempts: true, spreadMs: 0 },
    );
    assert.deepEqual(redriven.ended, [], 'its former end counts no more');
    const told = ended.length;
    await me.run('root');
    await me.sweepAll();
    const { states } = await harness.counts();
    assert.deepEqual([states.cancelled, states.ready, states.waiting], [told, 1_500 - told, 0]);
  });

  test('dependencies: a failure cascades through a chain of 3,000', async (harness, me) => {
    const n = 3_000;
    const tasks = Array.from({ length: n }, (_, i) =>
      harness.task(`t${i}`, { dependsOn: i === 0 ? [] : [`t${i - 1}`] }),
    );
    await enqueueAll(harness, me, tasks);
    const { more } = await me.bury(await me.claimOnly('t0'));
    assert.equal(more, true);
    await me.sweepAll();
    const { states } = await harness.counts();
    assert.deepEqual([states.dead, states.cancelled, states.waiting], [1, n - 1, 0]);
  });

  test('dependencies: redriving the parent lets children of policy wait live again', async (harness, me) => {
    await me.enqueue(harness.task('parent'), harness.task('child', { dependsOn: [edge('parent', 'wait')] }));
    await me.bury(await me.claimOnly('parent'));
    await me.revise({ ids: ['parent'] }, { set: 'redrive', delayMs: 0, resetAttempts: true, spreadMs: 0 });
    assert.deepEqual(await harness.states('parent', 'child'), ['ready', 'waiting']);
    const { readied } = await me.run('parent');
    assert.deepEqual(readied, [{ task: 'child', queue: QUEUE }]);
  });

  test('dependencies: a child of policy wait whose failed parent was discarded waits for its id', async (harness, me) => {
    await me.enqueue(harness.task('parent'), harness.task('child', { dependsOn: [edge('parent', 'wait')] }));
    await me.bury(await me.claimOnly('parent'));
    await me.revise({ ids: ['parent'] }, { set: 'discard' });
    assert.deepEqual(await harness.states('parent', 'child'), ['unknown', 'waiting']);
    await me.add('parent');
    await me.run('parent');
    await me.run('child');
  });

  test('dependencies: order in which children become claimable follows their arrival', async (harness, me) => {
    await me.enqueue(
      harness.task('root'),
      ...['c1', 'c2', 'c3'].map((id) => harness.task(id, { dependsOn: ['root'] })),
    );
    await me.run('root');
    assert.deepEqual(idsOf(await me.claim()), ['c1', 'c2', 'c3']);
  });
}

/** Enqueues in batches the backend takes. */
export async function enqueueAll(harness: TaskHarness, me: Worker, tasks: readonly NewTask[]): Promise<void> {
  const size = Math.min(500, harness.env.backend.capabilities.maxBatch);
  for (let i = 0; i < tasks.length; i += size) await me.enqueue(...tasks.slice(i, i + size));
}
