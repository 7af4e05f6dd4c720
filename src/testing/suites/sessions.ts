import assert from 'node:assert/strict';
import type { SuiteEnvironment, SuiteOptions } from './suite.ts';
import { assertRefused, openCaller, REPORT, sessionsOf, withEnvironment } from './caller.ts';

/** Conformance of `Sessions`: one lease per process boot, numbers that are never used twice, an end that is final. */
export function sessionSuite(options: SuiteOptions): void {
  const test = (name: string, body: (env: SuiteEnvironment) => Promise<void>): void =>
    options.test(`sessions: ${name}`, () => withEnvironment(options.create, body));

  test('the backend says of itself what its caller expects', async ({ backend }) => {
    for (const [key, value] of Object.entries(options.expected)) {
      assert.deepEqual(
        { [key]: backend.capabilities[key as keyof typeof backend.capabilities] },
        { [key]: value },
      );
    }
    assert.equal((await backend.check()).healthy, true);
  });

  test('G2: numbers strictly increase and a live boot gets its own again', async (env) => {
    const first = await openCaller(env, 'a');
    const second = await openCaller(env, 'b');
    assert.ok(second.session > first.session);
    assert.equal((await openCaller(env, 'a')).session, first.session);
    await sessionsOf(env).close(second.session);
    assert.ok((await openCaller(env, 'b')).session > second.session);
  });

  test('a beat extends the lease', async (env) => {
    const { session } = await openCaller(env, 'a', 1_000);
    for (let i = 0; i < 4; i++) {
      await env.pass(600);
      assert.equal((await sessionsOf(env).beat(session, REPORT)).status, 'alive');
    }
    const { items } = await sessionsOf(env).list({ limit: 10, state: 'alive' });
    assert.deepEqual(
      items.map((item) => item.session),
      [session],
    );
  });

  test('G2: an expired session never revives, and its boot gets a new number', async (env) => {
    const { session } = await openCaller(env, 'a', 1_000);
    await env.pass(1_100);
    assert.equal((await sessionsOf(env).beat(session, REPORT)).status, 'expired');
    assert.equal((await sessionsOf(env).beat(session, REPORT)).status, 'expired');
    assert.ok((await openCaller(env, 'a')).session > session);
    assert.equal((await sessionsOf(env).beat(session, REPORT)).status, 'expired');
  });

  test('close ends it and may be repeated', async (env) => {
    const { session } = await openCaller(env, 'a');
    await sessionsOf(env).close(session);
    await sessionsOf(env).close(session);
    assert.equal((await sessionsOf(env).beat(session, REPORT)).status, 'expired');
  });

  test('list shows live sessions first, with their last report', async (env) => {
    const gone = await openCaller(env, 'gone');
    const here = await openCaller(env, 'here');
    await sessionsOf(env).beat(here.session, { ...REPORT, pid: 77 });
    await sessionsOf(env).beat(gone.session, { ...REPORT, pid: 33 });
    await sessionsOf(env).close(gone.session);
    const { items } = await sessionsOf(env).list({ limit: 10 });
    assert.deepEqual(
      items.map(({ session, report }) => [session, report.pid]),
      [
        [here.session, 77],
        [gone.session, 33],
      ],
    );
    const page = await sessionsOf(env).list({ limit: 1 });
    assert.equal(page.items.length, 1);
    assert.ok(page.next !== undefined);
    const rest = await sessionsOf(env).list({ limit: 1, after: page.next });
    assert.deepEqual(
      rest.items.map(({ session }) => session),
      [gone.session],
    );
  });

  test('G1: an operation of an ended session is refused, never executed', async (env) => {
    const { state } = env.backend;
    assert.ok(state !== undefined, 'the backend has state');
    const closed = await openCaller(env, 'closed');
    const expired = await openCaller(env, 'expired', 1_000);
    await sessionsOf(env).close(closed.session);
    await env.pass(1_100);
    for (const caller of [closed, expired]) {
      const swap = { key: 'part/x', expected: 0, value: 1 };
      await assertRefused(() => state.compareAndSet(caller.op(), [swap]), 'SESSION_EXPIRED');
    }
    assert.deepEqual((await state.get(['part/x'])).entries, [undefined]);
  });

  test('G1: an operation too old to be known is refused, never executed again', async (env) => {
    const { state, capabilities } = env.backend;
    assert.ok(state !== undefined, 'the backend has state');
    const caller = await openCaller(env);
    const first = caller.op();
    await state.compareAndSet(first, [{ key: 'part/old', expected: 0, value: 1 }]);
    for (let i = 0; i < 2 * capabilities.maxInFlight; i++) {
      await state.compareAndSet(caller.op(), [{ key: `part/${i}`, expected: 0, value: i }]);
    }
    await assertRefused(
      () => state.compareAndSet(first, [{ key: 'part/old', expected: 0, value: 2 }]),
      'SESSION_EXPIRED',
    );
    assert.equal((await state.get(['part/old'])).entries[0]?.value, 1);
  });

  test('stop refuses what comes after it', async (env) => {
    const { backend } = env;
    const caller = await openCaller(env);
    await backend.stop();
    await backend.stop();
    assert.equal((await backend.check()).healthy, false);
    const { state } = backend;
    assert.ok(state !== undefined, 'the backend has state');
    await assertRefused(
      () => state.compareAndSet(caller.op(), [{ key: 'part/x', expected: 0, value: 1 }]),
      'STOPPED',
    );
    await assertRefused(() => sessionsOf(env).beat(caller.session, REPORT), 'STOPPED');
  });
}
