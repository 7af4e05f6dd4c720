import assert from 'node:assert/strict';
import type { Operation } from '../../../core/ports/words.ts';
import { idsOf, type TaskHarness, type TaskTest } from './harness.ts';

/** A repeated operation gets its first answer; a late or dead one is refused (G1). */
export function operationTests(test: TaskTest): void {
  test('G1: each mutating method, repeated with the same operation, answers the same and acts once', async (harness, me) => {
    const { store } = harness;
    const twice = async <T>(call: (op: Operation) => T): Promise<Awaited<T>> => {
      const op = me.op();
      const first = await call(op);
      const second = await call(op);
      assert.deepEqual(second, first);
      return first;
    };
    await twice((op) =>
      store.enqueue(op, [
        harness.task('a', { payload: 1 }),
        harness.task('a', { payload: 1 }),
        harness.task('b'),
      ]),
    );
    const { claims } = await twice((op) =>
      store.claim(op, {
        offers: [{ capabilities: [], slots: 9 }],
        agents: [],
        assigned: 0,
        limit: 9,
        start: 1,
      }),
    );
    assert.deepEqual(idsOf(claims), ['a', 'b']);
    const [a, b] = claims;
    assert.ok(a !== undefined && b !== undefined);
    const { started } = await twice((op) => store.start(op, [b]));
    assert.deepEqual(started, [true]);
    await twice((op) => store.settle(op, [{ claim: a, as: 'retry', delayMs: 0, error: 'x' }]));
    assert.equal((await harness.record('a')).attempt, 1);
    await twice((op) => store.cancel(op, [{ task: 'a', reason: 'r', tree: false, revoke: false }]));
    await twice((op) =>
      store.revise(op, {
        filter: { ids: ['a'] },
        revision: { set: 'redrive', delayMs: 0, resetAttempts: false, spreadMs: 0 },
        limit: 10,
      }),
    );
    const set = await twice((op) => store.configure(op, 'work', undefined, { paused: false, ageStepMs: 5 }));
    assert.equal(set.revision, 1);
    await twice((op) => store.sweep(op, 10));
    await twice((op) =>
      store.takeover(op, { from: 'dead', match: 'any', limit: 9, maxMoves: 3, steal: 's' }),
    );
    const { totals, states } = await harness.counts();
    assert.deepEqual([totals.enqueued, totals.duplicates, totals.attempts], [2, 1, 2]);
    assert.deepEqual([states.ready, states.claimed], [1, 1]);
  });

  test('an empty batch is answered with nothing', async (harness, me) => {
    const { store } = harness;
    await me.add('a');
    const answers = [
      (await store.enqueue(me.op(), [])).results,
      (await store.start(me.op(), [])).started,
      (await store.settle(me.op(), [])).results,
      (await store.cancel(me.op(), [])).results,
      await store.get([]),
      (await store.claim(me.op(), { offers: [], agents: [], assigned: 0, limit: 9, start: 9 })).claims,
      (await store.list({ ids: [] }, { limit: 9 })).items,
    ];
    assert.deepEqual(
      answers,
      answers.map(() => []),
    );
    assert.equal(await harness.state('a'), 'ready');
  });

  test('G1: a claim whose reply was lost is found again, not given away twice', async (harness, me) => {
    await me.add('a');
    const op = me.op();
    const request = { offers: [{ capabilities: [], slots: 1 }], agents: [], assigned: 0, limit: 1, start: 1 };
    const first = await harness.store.claim(op, request);
    await me.add('b');
    const replayed = await harness.store.claim(op, request);
    assert.deepEqual(idsOf(replayed.claims), ['a']);
    assert.equal(replayed.claims[0]?.token, first.claims[0]?.token);
    assert.equal((await me.complete(...replayed.claims)).results[0]?.status, 'settled');
  });

  test('G1: a sequence that is too old to be known is refused, never executed', async (harness, me) => {
    const stale = me.op();
    await harness.store.enqueue(stale, [harness.task('first')]);
    const { maxInFlight } = harness.env.backend.capabilities;
    for (let i = 0; i < 2 * maxInFlight; i++) await me.sweep();
    await assertExpired(harness, () => harness.store.enqueue(stale, [harness.task('never')]));
    assert.equal(await harness.state('never'), 'unknown');
  });

  test('G1: an older operation that comes late does not move the window back', async (harness, me) => {
    const { maxInFlight } = harness.env.backend.capabilities;
    const { session, sequence } = me.op();
    const enqueue = (ahead: number, id: string): unknown =>
      harness.store.enqueue({ session, sequence: sequence + ahead }, [harness.task(id)]);
    await enqueue(2 * maxInFlight + 4, 'newest');
    await enqueue(2 * maxInFlight, 'late');
    await assertExpired(harness, () => enqueue(4, 'never'));
    assert.equal(await harness.state('never'), 'unknown');
    assert.equal(await harness.state('late'), 'ready');
  });

  test('G1: a closed session is refused, but its settle counts while the token is current', async (harness, me) => {
    const gone = await harness.worker();
    await me.add('a');
    const claim = await gone.claimOnly('a');
    await harness.sessions.close(gone.session);
    await assertExpired(harness, () => gone.enqueue(harness.task('never')));
    await assertExpired(harness, () => gone.claim());
    await assertExpired(harness, () => gone.sweep());
    assert.deepEqual((await gone.complete(claim)).results, [{ status: 'settled', state: 'completed' }]);
    assert.equal(await harness.state('never'), 'unknown');
  });

  test('G1: an expired session claims nothing', async (harness, me) => {
    const dying = await harness.worker(150);
    await me.add('a');
    await harness.env.pass(250);
    await assertExpired(harness, () => dying.claim());
    assert.equal(await harness.state('a'), 'ready');
  });
}

async function assertExpired(_harness: TaskHarness, call: () => Promise<unknown> | unknown): Promise<void> {
  await assert.rejects(
    async () => call(),
    (error: unknown) => (error as { code?: unknown }).code === 'SESSION_EXPIRED',
  );
}
