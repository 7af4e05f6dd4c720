import assert from 'node:assert/strict';
import { granted, item, type LockWorld } from './world.ts';

type Test = (name: string, body: (world: LockWorld) => Promise<void>) => void;

/** Grants that go on in other modes: answered again and again, taken back when nobody has heard of them. */
export function convertingTests(test: Test): void {
  test('L5: an upgrade answers with its grant again and again', async (world) => {
    const a = await world.take('a', item('db', 'shared'));
    const b = await world.take('b', item('db', 'shared'));
    await world.wait('a-up', 'db', { owner: 'a', upgradeOf: a });
    await world.release(b);
    const first = granted(await world.keep('a-up'));
    const again = granted(await world.keep('a-up'));
    assert.equal(first.id, 'a');
    assert.deepEqual([again.id, again.token], [first.id, first.token]);
    assert.equal(granted(await world.keep('a')).token, first.token);
    await world.release(first);
    assert.deepEqual(await world.keep('a-up'), { status: 'lost' });
    assert.equal(await world.rows(), 0);
  });

  test('L6: withdrawing an upgrade that was granted at once gives modes and tokens back', async (world) => {
    const a = await world.take('a', item('db', 'shared'));
    await world.take('a-up', 'db', { owner: 'a', upgradeOf: a });
    await world.wait('reader', item('db', 'shared'));
    assert.deepEqual(await world.release({ id: 'a-up' }), { ended: [true], granted: ['reader'] });
    assert.equal(granted(await world.keep('a', a.token)).token, a.token);
    assert.deepEqual((await world.release({ id: 'a-up' })).ended, [false]);
    assert.deepEqual((await world.release(a)).ended, [true]);
    await world.release(granted(await world.keep('reader')));
    assert.equal(await world.rows(), 0);
  });

  test('L6: withdrawing an upgrade that was granted after a wait does so too, at all its resources', async (world) => {
    const both = [...item('db', 'shared'), ...item('log', 'update')];
    const a = await world.take('a', both);
    const b = await world.take('b', item('db', 'shared'));
    await world.wait('a-up', [...item('db'), ...item('log')], { owner: 'a', upgradeOf: a });
    await world.release(b);
    assert.deepEqual((await world.release({ id: 'a-up' })).ended, [true]);
    assert.deepEqual(granted(await world.keep('a')).tokens, a.tokens);
    await world.take(
      'reader',
      both.map(({ resource }) => ({ resource, mode: 'shared' as const })),
    );
    assert.equal((await world.ask('updater', item('log', 'update'), { wait: false })).status, 'refused');
  });

  test('an upgrade that was converted further, or downgraded, is not withdrawn any more', async (world) => {
    const a = await world.take('a', item('db', 'shared'));
    const first = await world.take('first', item('db', 'update'), { owner: 'a', upgradeOf: a });
    const second = await world.take('second', 'db', { owner: 'a', upgradeOf: first });
    assert.deepEqual((await world.release({ id: 'first' })).ended, [false]);
    await world.release({ id: 'a', token: second.token, downgradeTo: 'shared' });
    assert.deepEqual((await world.release({ id: 'second' })).ended, [false]);
    assert.equal(granted(await world.keep('a')).token, second.token);
    const stranger = await world.other('stranger');
    await world.take('third', 'db', { owner: 'a', upgradeOf: second });
    assert.deepEqual((await stranger.release({ id: 'third' })).ended, [false]);
  });

  test('what one release says counts one after another: an upgrade is taken back, and its grant has another token then', async (world) => {
    const a = await world.take('a', item('db', 'shared'));
    const up = await world.take('a-up', 'db', { owner: 'a', upgradeOf: a });
    const { ended } = await world.release({ id: 'a-up' }, { id: 'a', token: up.token });
    assert.deepEqual(ended, [true, false]);
    assert.equal(granted(await world.keep('a')).token, a.token);
    assert.deepEqual((await world.release(a)).ended, [true]);
    assert.equal(await world.rows(), 0);
  });

  test('a grant is given back by its id alone, whatever its token is by now', async (world) => {
    const a = await world.take('a', item('db', 'shared'));
    await world.take('a-up', 'db', { owner: 'a', upgradeOf: a });
    assert.deepEqual((await world.release({ id: 'a' })).ended, [true]);
    assert.deepEqual((await world.release({ id: 'a-up' })).ended, [false]);
    assert.equal(await world.rows(), 0);
  });

  test('L4: an upgrade of a grant whose lease has run out is lost, and nothing is held', async (world) => {
    const a = await world.take('a', item('db', 'shared'), { lease: { leaseMs: 100 } });
    await world.env.pass(1_500);
    assert.deepEqual(await world.ask('a-up', 'db', { owner: 'a', upgradeOf: a }), { status: 'lost' });
    assert.equal(await world.rows(), 0);
  });

  test('L4: an upgrade keeps the lease that the grant had', async (world) => {
    const a = await world.take('a', item('db', 'shared'), { lease: { leaseMs: 500 } });
    const up = await world.take('a-up', 'db', { owner: 'a', upgradeOf: a });
    assert.ok(up.expiresInMs <= 500);
    assert.equal(granted(await world.keep('a', up.token)).token, up.token);
    await world.env.pass(1_500);
    assert.deepEqual(await world.keep('a', up.token), { status: 'lost' });
    assert.equal(await world.rows(), 0);
  });

  test('L8: an upgrade is refused only when each would wait for what the other one holds', async (world) => {
    const holder = await world.take('holder', item('db', 'update'));
    const a = await world.take('a', item('db', 'shared'));
    const b = await world.take('b', item('db', 'shared'));
    // Updating goes together with readers: a waits for the holder alone.
    await world.wait('a-up', item('db', 'update'), { owner: 'a', upgradeOf: a });
    await world.wait('b-up', 'db', { owner: 'b', upgradeOf: b });
    await world.release(holder);
    const up = granted(await world.keep('a-up'));
    assert.equal((await world.keep('b-up')).status, 'waiting');
    await world.release(up);
    assert.equal(granted(await world.keep('b-up')).id, 'b');
  });

  test('L8: what counts is what the other upgrade converts now, not what it did when it was asked for', async (world) => {
    const holder = await world.take('holder', item('db', 'intent-shared'));
    const a = await world.take('a', item('db', 'update'));
    const b = await world.take('b', item('db', 'shared'));
    await world.wait('a-up', 'db', { owner: 'a', upgradeOf: a });
    await world.release({ id: a.id, token: a.token, downgradeTo: 'shared' });
    // Updating goes together with reading, which is all that a has by now: b waits only because a came first.
    await world.wait('b-up', item('db', 'update'), { owner: 'b', upgradeOf: b });
    await world.release(holder, { id: 'b' });
    assert.equal(granted(await world.keep('a-up')).id, 'a');
  });

  test('taking back twice: the first reason stays, and the shorter time counts', async (world) => {
    const held = await world.take('holder', 'db');
    const takeBack = (graceMs: number, reason: string) =>
      world.release({ id: held.id, token: held.token, revoke: { graceMs, reason } });
    await takeBack(1_000, 'first');
    await takeBack(60_000, 'second');
    const told = granted(await world.keep('holder', held.token));
    assert.equal(told.revoked, 'first');
    assert.ok(told.expiresInMs <= 1_000);
    await takeBack(500, 'third');
    assert.ok(granted(await world.keep('holder', held.token)).expiresInMs <= 500);
    await world.env.pass(1_500);
    assert.deepEqual(await world.keep('holder', held.token), { status: 'lost' });
  });

  test('taking back never lengthens a lease', async (world) => {
    const held = await world.take('holder', 'db', { lease: { leaseMs: 500 } });
    const revoke = { graceMs: 60_000, reason: 'by an operator' };
    await world.release({ id: held.id, token: held.token, revoke });
    assert.ok(granted(await world.keep('holder', held.token)).expiresInMs <= 500);
  });
}
