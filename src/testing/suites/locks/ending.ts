import assert from 'node:assert/strict';
import type { WaitRef } from '../../../core/ports/locks.ts';
import { assertRefused } from '../caller.ts';
import { granted, item, type LockWorld, requestOf, units } from './world.ts';

type Test = (name: string, body: (world: LockWorld) => Promise<void>) => void;

/** How grants and waits end: given back, withdrawn, run out, taken back, aborted, with their process. */
export function endingTests(test: Test): void {
  test('L5: the same operation gets the same grant', async (world) => {
    const op = world.caller.op();
    const once = await world.store.request(op, [requestOf('a', 'db', {})]);
    const again = await world.store.request(op, [requestOf('a', 'db', {})]);
    assert.deepEqual(again.answers, once.answers);
    const release = world.caller.op();
    const first = granted((once.answers[0] as never) ?? { status: 'lost' });
    const ended = await world.store.release(release, [first]);
    assert.deepEqual((await world.store.release(release, [first])).ended, ended.ended);
    assert.equal(await world.rows(), 0);
  });

  test('L6: a withdrawn wait leaves nothing behind', async (world) => {
    const held = await world.take('holder', 'db');
    await world.wait('quitter', 'db');
    await world.wait('next', 'db');
    assert.deepEqual((await world.release({ id: 'quitter' })).ended, [true]);
    assert.deepEqual(await world.queue('db'), ['next']);
    assert.deepEqual((await world.release(held)).granted, ['next']);
    assert.deepEqual(await world.keep('quitter'), { status: 'lost' });
    await world.release(granted(await world.keep('next')));
    assert.equal(await world.rows(), 0);
  });

  test('L6: withdrawing a wait that was granted meanwhile gives the grant back', async (world) => {
    const held = await world.take('holder', 'db');
    await world.wait('quitter', 'db');
    await world.wait('next', 'db');
    await world.release(held);
    assert.deepEqual((await world.release({ id: 'quitter' })).granted, ['next']);
  });

  test('a withdrawn wait lets those behind it through', async (world) => {
    await world.take('reader', item('db', 'shared'));
    await world.wait('writer', 'db');
    await world.wait('late-reader', item('db', 'shared'));
    assert.deepEqual((await world.release({ id: 'writer' })).granted, ['late-reader']);
  });

  test('L4: a release with an old token ends nothing', async (world) => {
    const first = await world.take('a', 'db');
    await world.release(first);
    await world.take('b', 'db');
    assert.deepEqual((await world.release(first)).ended, [false]);
    assert.deepEqual((await world.release({ id: 'nobody' })).ended, [false]);
    assert.equal((await world.keep('b')).status, 'granted');
  });

  test('L3: an own lease that is not renewed ends, and the next one is granted', async (world) => {
    const held = await world.take('holder', 'db', { lease: { leaseMs: 500 } });
    assert.ok(held.expiresInMs <= 500 && held.expiresInMs > 0);
    await world.wait('next', 'db');
    await world.env.pass(1_500);
    assert.equal((await world.keep('next')).status, 'granted');
    assert.deepEqual(await world.keep('holder', held.token), { status: 'lost' });
  });

  test('L4: renewals keep a lease, and after its end it never revives, even if nobody took it', async (world) => {
    const held = await world.take('holder', 'db', { lease: { leaseMs: 500 } });
    for (let i = 0; i < 5; i++) {
      await world.env.pass(300);
      assert.equal((await world.keep('holder', held.token)).status, 'granted');
    }
    await world.env.pass(700);
    for (let i = 0; i < 2; i++) assert.deepEqual(await world.keep('holder', held.token), { status: 'lost' });
    assert.deepEqual((await world.release(held)).ended, [false]);
    assert.equal(await world.rows(), 0);
  });

  test('L3: with their process, grants and waits end', async (world) => {
    const dying = await world.other('dying', 1_000);
    await dying.take('a', 'db');
    await dying.take('b', units('gpu', 2, 2));
    await world.take('c', 'disk');
    await dying.wait('d', 'disk');
    await world.wait('e', 'db');
    await world.wait('f', units('gpu', 1, 2));
    await world.env.pass(3_000);
    assert.equal((await world.keep('e')).status, 'granted');
    assert.equal((await world.keep('f')).status, 'granted');
    assert.deepEqual(await world.queue('disk'), []);
    assert.deepEqual(await dying.keep('a'), { status: 'lost' });
    await assertRefused(() => dying.ask('g', 'db'), 'SESSION_EXPIRED');
  });

  test('keep tells the state of a wait and of a grant again and again', async (world) => {
    const held = await world.take('holder', 'db');
    await world.wait('next', 'db');
    for (let i = 0; i < 2; i++) assert.equal((await world.keep('next')).status, 'waiting');
    await world.release(held);
    const grant = granted(await world.keep('next'));
    assert.deepEqual(granted(await world.keep('next')).token, grant.token);
    await world.release(grant);
    assert.deepEqual(await world.keep('next'), { status: 'lost' });
  });

  test('taking back cuts the lease for good; its holder learns of it and may still release', async (world) => {
    const held = await world.take('holder', 'db');
    await world.wait('next', 'db');
    const other = await world.other('admin');
    const revoke = { graceMs: 1_000, reason: 'by an operator' };
    assert.deepEqual((await other.release({ id: held.id, token: held.token, revoke })).ended, [true]);
    const told = granted(await world.keep('holder', held.token));
    assert.equal(told.revoked, 'by an operator');
    assert.ok(told.expiresInMs <= 1_000);
    assert.equal((await world.keep('next')).status, 'waiting');
    await world.env.pass(600);
    await world.keep('holder', held.token);
    await world.env.pass(1_500);
    assert.deepEqual(await world.keep('holder', held.token), { status: 'lost' });
    const next = granted(await world.keep('next'));
    assert.ok(next.token > held.token);
  });

  test('a lock that was taken back and is released goes on at once', async (world) => {
    const held = await world.take('holder', 'db');
    await world.wait('next', 'db');
    await world.release({ id: held.id, token: held.token, revoke: { graceMs: 60_000, reason: 'x' } });
    assert.deepEqual((await world.release({ id: held.id, token: held.token })).granted, ['next']);
  });

  test('a snapshot shows holders and queues of what is contended, and what was published', async (world) => {
    await world.take('a', item('db', 'shared'), { agent: 'agent-a' });
    await world.wait('b', 'db', { priority: 7, since: 5, defeats: 2 });
    await world.take('c', 'quiet');
    await world.store.publish(world.caller.session, [
      { waiter: 'a', holder: 'x', by: 'reply', what: 'question' },
    ]);
    const snapshot = await world.store.snapshot();
    assert.deepEqual(
      snapshot.resources.map(({ resource }) => resource),
      ['db'],
    );
    const [row] = snapshot.resources;
    assert.deepEqual(
      row?.held.map(({ owner, mode }) => [owner, mode]),
      [['a', 'shared']],
    );
    assert.deepEqual(
      row?.queue.map(({ owner, mode }) => [owner, mode]),
      [['b', 'exclusive']],
    );
    const b = snapshot.owners.find(({ id }) => id === 'b');
    assert.deepEqual([b?.priority, b?.since, b?.defeats], [7, 5, 2]);
    assert.equal(snapshot.owners.find(({ id }) => id === 'a')?.agent, 'agent-a');
    assert.deepEqual(snapshot.published, [{ waiter: 'a', holder: 'x', by: 'reply', what: 'question' }]);
    await world.store.publish(world.caller.session, []);
    assert.deepEqual((await world.store.snapshot()).published, []);
  });

  test('a snapshot around an owner has all it depends on', async (world) => {
    await world.take('a', 'one');
    await world.take('b', 'two');
    await world.take('c', 'three');
    await world.wait('a2', 'two', { owner: 'a' });
    await world.wait('b2', 'three', { owner: 'b' });
    await world.take('y', 'far');
    await world.wait('z', 'far');
    const names = (await world.store.snapshot('a')).resources.map(({ resource }) => resource);
    assert.deepEqual(names.toSorted(), ['three', 'two']);
  });

  test('D1: a wait is aborted only while it and the rest of its cycle are as they were seen', async (world) => {
    const a = await world.take('a', 'one');
    const b = await world.take('b', 'two');
    await world.wait('a2', 'two', { owner: 'a' });
    await world.wait('b2', 'one', { owner: 'b' });
    const seen = async (id: string): Promise<WaitRef> => {
      const { resources } = await world.store.snapshot();
      return resources.flatMap(({ queue }) => queue).find(({ wait }) => wait.id === id)?.wait as WaitRef;
    };
    const cycle = [
      { waiter: 'a', holder: 'b', by: 'lock', what: 'two' },
      { waiter: 'b', holder: 'a', by: 'lock', what: 'one' },
    ] as const;
    const [waitA, waitB] = [await seen('a2'), await seen('b2')];
    await world.release({ id: 'b2' });
    const stale = await world.store.abort(world.caller.op(), waitA, cycle, [waitB]);
    assert.equal(stale.aborted, false, 'the other wait of the cycle has ended');
    await world.wait('b3', 'one', { owner: 'b' });
    const [nowA, nowB] = [await seen('a2'), await seen('b3')];
    const other = (wait: WaitRef): WaitRef => ({ ...wait, version: wait.version + 1 });
    for (const [wait, witness] of [
      [other(nowB), nowA],
      [nowB, other(nowA)],
    ] as const) {
      const { aborted } = await world.store.abort(world.caller.op(), wait, cycle, [witness]);
      assert.equal(aborted, false, 'they are as they were not seen');
    }
    const fresh = await world.store.abort(world.caller.op(), nowB, cycle, [nowA]);
    assert.equal(fresh.aborted, true);
    assert.deepEqual(await world.keep('b3'), { status: 'aborted', cycle });
    const twice = await world.store.abort(world.caller.op(), nowB, cycle, [nowA]);
    assert.equal(twice.aborted, false);
    assert.deepEqual((await world.release(b)).granted, ['a2'], 'its held locks stayed');
    await world.release(a);
  });

  test('the list shows what is held and wanted, longest queue first, page by page', async (world) => {
    await world.take('a', 'busy', { agent: 'agent-a' });
    await world.wait('b', 'busy', { agent: 'agent-b' });
    for (let i = 0; i < 3; i++) await world.take(`q${i}`, `quiet-${i}`);
    const first = await world.store.list({}, { limit: 2 });
    assert.equal(first.items[0]?.resource, 'busy');
    assert.equal(first.items[0]?.waiting, 1);
    assert.equal(first.items[0]?.holders[0]?.owner.id, 'a');
    assert.ok(first.next !== undefined);
    const second = await world.store.list({}, { limit: 2, after: first.next });
    assert.equal(second.items.length, 2);
    assert.equal((await world.store.list({ agent: 'agent-b' }, { limit: 9 })).items.length, 1);
    assert.equal((await world.store.list({ contended: true }, { limit: 9 })).items.length, 1);
    assert.equal((await world.store.list({ prefix: 'quiet' }, { limit: 9 })).items.length, 3);
    assert.equal((await world.store.list({ resource: 'quiet-1' }, { limit: 9 })).items.length, 1);
  });

  test('strange names are names', async (world) => {
    const names = ['__proto__', 'constructor', 'toString', '*', 'a:b{c}', '日本語 🎛', ' ', 'x'.repeat(200)];
    for (const name of names) {
      const grant = await world.take(`take ${name}`, name);
      assert.equal((await world.ask(`try ${name}`, name, { wait: false })).status, 'refused');
      await world.release(grant);
    }
    assert.equal(await world.rows(), 0);
  });
}
