import assert from 'node:assert/strict';
import type { Entry, StateStore } from '../../core/ports/state.ts';
import type { SuiteEnvironment, SuiteOptions } from './suite.ts';
import { type Caller, openCaller, sessionsOf, withEnvironment } from './caller.ts';

/** Conformance of `StateStore`: compare-and-set of several keys or none, one order of all changes, watchers that miss nothing. */
export function stateSuite(options: SuiteOptions): void {
  const test = (
    name: string,
    body: (store: StateStore, caller: Caller, env: SuiteEnvironment) => Promise<void>,
  ): void =>
    options.test(`state: ${name}`, () =>
      withEnvironment(options.create, async (env) => {
        const { state } = env.backend;
        assert.ok(state !== undefined, 'the backend has state');
        await body(state, await openCaller(env), env);
      }),
    );

  test('a key is created once, read back, changed by its revision', async (store, caller) => {
    assert.deepEqual((await store.get(['a/1'])).entries, [undefined]);
    const made = await store.compareAndSet(caller.op(), [{ key: 'a/1', expected: 0, value: { n: 1 } }]);
    assert.equal(made.swapped, true);
    const [entry] = (await store.get(['a/1'])).entries;
    assert.deepEqual([entry?.key, entry?.value], ['a/1', { n: 1 }]);
    assert.ok(entry !== undefined && entry.revision > 0 && entry.changedAt > 0);
    const again = await store.compareAndSet(caller.op(), [{ key: 'a/1', expected: 0, value: { n: 2 } }]);
    assert.equal(again.swapped, false);
    assert.deepEqual(again.entries[0]?.value, { n: 1 });
    const changed = await store.compareAndSet(caller.op(), [
      { key: 'a/1', expected: entry.revision, value: { n: 2 } },
    ]);
    assert.equal(changed.swapped, true);
    assert.ok((changed.entries[0] as Entry).revision > entry.revision);
  });

  test('an empty batch is answered with nothing', async (store, caller) => {
    assert.deepEqual((await store.get([])).entries, []);
    assert.deepEqual((await store.compareAndSet(caller.op(), [])).entries, []);
  });

  test('several swaps happen all or none', async (store, caller) => {
    await store.compareAndSet(caller.op(), [{ key: 'a/taken', expected: 0, value: 1 }]);
    const refused = await store.compareAndSet(caller.op(), [
      { key: 'a/free', expected: 0, value: 1 },
      { key: 'a/taken', expected: 0, value: 2 },
    ]);
    assert.equal(refused.swapped, false);
    assert.deepEqual(
      refused.entries.map((entry) => entry?.value),
      [undefined, 1],
    );
    assert.deepEqual((await store.get(['a/free'])).entries, [undefined]);
    const [taken] = (await store.get(['a/taken'])).entries;
    const made = await store.compareAndSet(caller.op(), [
      { key: 'a/free', expected: 0, value: 1 },
      { key: 'a/taken', expected: (taken as Entry).revision, value: 2 },
    ]);
    assert.equal(made.swapped, true);
  });

  test('of two writers with one revision exactly one wins, and no increment is lost', async (store, caller, env) => {
    const callers = [caller, await openCaller(env, 'second')];
    await store.compareAndSet(caller.op(), [{ key: 'a/count', expected: 0, value: 0 }]);
    const increment = async ({ op }: Caller): Promise<void> => {
      for (let done = 0; done < 20; ) {
        const [entry] = (await store.get(['a/count'])).entries as [Entry];
        const value = (entry.value as number) + 1;
        const { swapped } = await store.compareAndSet(op(), [
          { key: 'a/count', expected: entry.revision, value },
        ]);
        if (swapped) done += 1;
      }
    };
    await Promise.all(callers.map(increment));
    assert.equal((await store.get(['a/count'])).entries[0]?.value, 40);
  });

  test('G1: the same operation changes once and is answered alike', async (store, caller) => {
    const op = caller.op();
    const swap = { key: 'a/once', expected: 0, value: 1 };
    const first = await store.compareAndSet(op, [swap]);
    assert.deepEqual(await store.compareAndSet(op, [swap]), first);
    assert.equal(first.swapped, true);
  });

  test('revisions of all keys are one order, and changes come in it', async (store, caller) => {
    const revisions: number[] = [];
    for (const key of ['a/1', 'b/1', 'a/2', 'b/2']) {
      const { entries } = await store.compareAndSet(caller.op(), [{ key, expected: 0, value: key }]);
      revisions.push((entries[0] as Entry).revision);
    }
    assert.deepEqual(
      revisions,
      [...new Set(revisions)].sort((x, y) => x - y),
    );
    const all = await store.changes('', 0, 100);
    assert.deepEqual(
      all.entries.map(({ key }) => key),
      ['a/1', 'b/1', 'a/2', 'b/2'],
    );
    const some = await store.changes('a/', revisions[0] as number, 100);
    assert.deepEqual(
      some.entries.map(({ key }) => key),
      ['a/2'],
    );
    assert.deepEqual([some.reset, some.more], [false, false]);
    assert.deepEqual((await store.changes('', some.revision, 100)).entries, []);
  });

  test('a key that changed comes once, at its last place; a deleted one as a tombstone', async (store, caller) => {
    const put = async (key: string, expected: number, value: unknown): Promise<number> => {
      const { swapped, entries } = await store.compareAndSet(caller.op(), [{ key, expected, value }]);
      assert.equal(swapped, true);
      return entries[0]?.revision ?? 0;
    };
    const first = await put('a/1', 0, 'old');
    const doomed = await put('a/2', 0, 'doomed');
    await put('a/1', first, 'new');
    await put('a/2', doomed, undefined);
    const seen = await store.changes('a/', first, 100);
    assert.deepEqual(
      seen.entries.map(({ key, value }) => [key, value]),
      [
        ['a/1', 'new'],
        ['a/2', undefined],
      ],
    );
    assert.deepEqual((await store.get(['a/2'])).entries, [undefined]);
    await put('a/2', 0, 'again');
    assert.equal((await store.get(['a/2'])).entries[0]?.value, 'again');
  });

  test('a watcher that takes small pages misses nothing while others write', async (store, caller) => {
    const known = new Map<string, unknown>();
    let after = 0;
    const read = async (): Promise<void> => {
      for (let more = true; more; ) {
        const page = await store.changes('w/', after, 3);
        for (const { key, value } of page.entries) {
          if (value === undefined) known.delete(key);
          else known.set(key, value);
        }
        after = page.revision;
        more = page.more;
      }
    };
    const current = new Map<string, Entry>();
    for (let i = 0; i < 60; i++) {
      const key = `w/${(i * 7) % 10}`;
      const value = i % 5 === 4 ? undefined : i;
      const { entries } = await store.compareAndSet(caller.op(), [
        { key, expected: current.get(key)?.revision ?? 0, value },
      ]);
      if (entries[0] === undefined || entries[0].value === undefined) current.delete(key);
      else current.set(key, entries[0]);
      if (i % 3 === 0) await read();
    }
    await read();
    const expected = new Map([...current].map(([key, { value }]) => [key, value]));
    assert.deepEqual(known, expected);
    assert.ok(expected.size > 0);
  });

  test('an entry ends with its time', async (store, caller, env) => {
    const { entries } = await store.compareAndSet(caller.op(), [
      { key: 'a/brief', expected: 0, value: 1, expiresInMs: 1_000 },
      { key: 'a/lasting', expected: 0, value: 1 },
    ]);
    const after = (entries[1] as Entry).revision;
    await env.pass(600);
    assert.equal((await store.get(['a/brief'])).entries[0]?.value, 1);
    await env.pass(600);
    assert.deepEqual((await store.get(['a/brief'])).entries, [undefined]);
    const { entries: changes } = await store.changes('a/', after, 10);
    assert.deepEqual(
      changes.map(({ key, value }) => [key, value]),
      [['a/brief', undefined]],
    );
    const made = await store.compareAndSet(caller.op(), [{ key: 'a/brief', expected: 0, value: 2 }]);
    assert.equal(made.swapped, true);
    await env.pass(2_000);
    assert.equal((await store.get(['a/brief'])).entries[0]?.value, 2);
  });

  test('what is bound to a session ends with it, closed or expired', async (store, _caller, env) => {
    const closing = await openCaller(env, 'closing');
    const dying = await openCaller(env, 'dying', 1_000);
    for (const [caller, key] of [
      [closing, 'm/closing'],
      [dying, 'm/dying'],
    ] as const) {
      await store.compareAndSet(caller.op(), [{ key, expected: 0, value: 1, session: true }]);
      await store.compareAndSet(caller.op(), [{ key: `${key}/kept`, expected: 0, value: 1 }]);
    }
    await sessionsOf(env).close(closing.session);
    await env.pass(1_100);
    const { entries } = await store.get(['m/closing', 'm/dying', 'm/closing/kept', 'm/dying/kept']);
    assert.deepEqual(
      entries.map((entry) => entry?.value),
      [undefined, undefined, 1, 1],
    );
  });

  test('what another session wrote over outlives the first one', async (store, caller, env) => {
    const first = await openCaller(env, 'first');
    const { entries } = await store.compareAndSet(first.op(), [
      { key: 'm/x', expected: 0, value: 'first', session: true },
    ]);
    await store.compareAndSet(caller.op(), [
      { key: 'm/x', expected: (entries[0] as Entry).revision, value: 'second' },
    ]);
    await sessionsOf(env).close(first.session);
    assert.equal((await store.get(['m/x'])).entries[0]?.value, 'second');
  });

  test('a watcher behind the forgotten tombstones is told to begin again', async (store, caller, env) => {
    const { entries } = await store.compareAndSet(caller.op(), [
      { key: 'a/gone', expected: 0, value: 1 },
      { key: 'a/here', expected: 0, value: 2 },
    ]);
    const seen = await store.changes('a/', 0, 10);
    const gone = (entries[0] as Entry).revision;
    await store.compareAndSet(caller.op(), [{ key: 'a/gone', expected: gone, value: undefined }]);
    await env.pass(5 * 60_000);
    assert.equal((await store.changes('a/', seen.revision, 10)).reset, false);
    await env.pass(6 * 60_000);
    const late = await store.changes('a/', seen.revision, 10);
    assert.deepEqual([late.reset, late.entries.map(({ key }) => key)], [true, ['a/here']]);
    assert.equal((await store.changes('a/', late.revision, 10)).reset, false);
  });

  test('beginning again works in pages too, and meets what changes meanwhile', async (store, caller, env) => {
    const swaps = ['gone', '1', '2', '3'].map((name) => ({ key: `a/${name}`, expected: 0, value: name }));
    const { entries } = await store.compareAndSet(caller.op(), swaps);
    const [gone, first] = entries as readonly [Entry, Entry, ...Entry[]];
    const { revision } = await store.changes('a/', 0, 10);
    await store.compareAndSet(caller.op(), [{ key: gone.key, expected: gone.revision, value: undefined }]);
    await env.pass(11 * 60_000);
    const known = new Map<string, unknown>();
    let resets = 0;
    let pages = 0;
    for (let after = revision, more = true; more; pages++) {
      assert.ok(pages < 10, 'the pages come to an end');
      const page = await store.changes('a/', after, 1);
      if (page.reset) resets += 1;
      for (const { key, value } of page.entries) known.set(key, value);
      if (pages === 0) {
        const swap = { key: first.key, expected: first.revision, value: undefined };
        await store.compareAndSet(caller.op(), [swap]);
      }
      ({ revision: after, more } = page);
    }
    assert.equal(resets, 1);
    const values = { 'a/1': undefined, 'a/2': '2', 'a/3': '3' };
    assert.deepEqual(Object.fromEntries([...known].sort(([x], [y]) => (x < y ? -1 : 1))), values);
  });

  test('hostile keys are keys like others', async (store, caller) => {
    const keys = ['__proto__', 'constructor', 'a/*', 'a/[x]?', "a/'; drop table state", '﷽/\u202e', 'a/💥'];
    for (const key of keys) {
      const { swapped } = await store.compareAndSet(caller.op(), [{ key, expected: 0, value: { key } }]);
      assert.equal(swapped, true);
    }
    const { entries } = await store.get(keys);
    assert.deepEqual(
      entries.map((entry) => entry?.value),
      keys.map((key) => ({ key })),
    );
    assert.equal((await store.changes('a/*', 0, 10)).entries.length, 1);
  });
}
