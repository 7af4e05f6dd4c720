import assert from 'node:assert/strict';
import type { LockMode } from '../../../core/ports/locks.ts';
import { granted, item, type LockWorld, units } from './world.ts';

type Test = (name: string, body: (world: LockWorld) => Promise<void>) => void;

const WORDS = ['intent-shared', 'intent-exclusive', 'shared', 'update', 'exclusive'] as const;
/** Which can be held together, written out: rows and columns in the order of WORDS. */
const TOGETHER = ['yyyyn', 'yynnn', 'ynyyn', 'ynynn', 'nnnnn'];

/** Who gets what, and in which order. */
export function grantingTests(test: Test): void {
  test('L2: two holders are compatible exactly by the matrix of modes', async (world) => {
    let n = 0;
    for (const [row, held] of WORDS.entries()) {
      for (const [column, wanted] of WORDS.entries()) {
        const resource = `r${n++}`;
        const { id, token } = await world.take(`${resource}-held`, item(resource, held));
        const answer = await world.ask(`${resource}-wanted`, item(resource, wanted), { wait: false });
        const expected = TOGETHER[row]?.[column] === 'y' ? 'granted' : 'refused';
        assert.equal(answer.status, expected, `${wanted} beside ${held}`);
        await world.release({ id, token });
      }
    }
  });

  test('an empty batch is answered with nothing', async ({ store, caller }) => {
    assert.deepEqual((await store.request(caller.op(), [])).answers, []);
    assert.deepEqual((await store.keep(caller.session, [])).answers, []);
    const { ended, granted: ids } = await store.release(caller.op(), []);
    assert.deepEqual([ended, ids], [[], []]);
    await store.publish(caller.session, []);
  });

  test('L1: tokens of a resource strictly increase, whoever takes it and however it was left', async (world) => {
    const other = await world.other('second', 1_000);
    const tokens: number[] = [];
    const first = await world.take('a', 'db');
    tokens.push(first.token);
    await world.release(first);
    const second = await other.take('b', 'db');
    tokens.push(second.token);
    await world.env.pass(2_500);
    tokens.push((await world.take('c', 'db', { lease: { leaseMs: 200 } })).token);
    await world.env.pass(400);
    tokens.push((await world.take('d', 'db')).token);
    for (let i = 1; i < tokens.length; i++)
      assert.ok((tokens[i] as number) > (tokens[i - 1] as number), tokens.join());
  });

  test('a set is granted all or none, and holds nothing while it waits', async (world) => {
    const held = await world.take('holder', 'b');
    await world.wait('set', [...item('a'), ...item('b'), ...item('c')]);
    const free = await world.ask('shared', item('a', 'shared'), { wait: false });
    assert.equal(free.status, 'refused', 'a waiter in front keeps its place');
    const { granted: ids } = await world.release(held);
    assert.deepEqual(ids, ['set']);
    const set = granted(await world.keep('set'));
    assert.equal(set.tokens.length, 3);
    for (const resource of ['a', 'b', 'c'])
      assert.equal((await world.ask(`try-${resource}`, resource, { wait: false })).status, 'refused');
    await world.release(set);
    assert.equal(await world.rows(), 0);
  });

  test('L7: within a priority the first to wait is the first to be granted', async (world) => {
    let held = await world.take('holder', 'db');
    for (let i = 0; i < 6; i++) await world.wait(`w${i}`, 'db');
    for (let i = 0; i < 6; i++) {
      const { granted: ids } = await world.release(held);
      assert.deepEqual(ids, [`w${i}`]);
      held = granted(await world.keep(`w${i}`));
    }
  });

  test('L7: a larger priority goes first, until waiting has made up for it', async (world) => {
    await world.take('holder', 'db');
    await world.wait('old-low', 'db', { priority: 1 });
    await world.wait('high', 'db', { priority: 3 });
    assert.deepEqual(await world.queue('db'), ['high', 'old-low']);
    await world.env.pass(25_000);
    await world.wait('late-high', 'db', { priority: 3 });
    assert.deepEqual(await world.queue('db'), ['high', 'old-low', 'late-high']);
  });

  test('L7: a waiter is overtaken at most 32 times', async (world) => {
    await world.take('holder', 'db');
    await world.wait('patient', 'db', { priority: -100 });
    for (let i = 0; i < 50; i++) await world.wait(`urgent-${i}`, 'db', { priority: 100 });
    const queue = await world.queue('db');
    assert.equal(queue.indexOf('patient'), 32);
  });

  test('L7: readers do not starve a writer', async (world) => {
    const reader = await world.take('reader', item('db', 'shared'));
    await world.wait('writer', 'db');
    await world.wait('late-reader', item('db', 'shared'));
    const { granted: ids } = await world.release(reader);
    assert.deepEqual(ids, ['writer']);
    const { granted: next } = await world.release(granted(await world.keep('writer')));
    assert.deepEqual(next, ['late-reader']);
  });

  test('readers that wait behind one writer are granted together', async (world) => {
    const writer = await world.take('writer', 'db');
    for (let i = 0; i < 3; i++) await world.wait(`r${i}`, item('db', 'shared'));
    const { granted: ids } = await world.release(writer);
    assert.deepEqual(ids.toSorted(), ['r0', 'r1', 'r2']);
  });

  test('two sets in two queues keep one order in both', async (world) => {
    const a = await world.take('holder-a', 'a');
    const b = await world.take('holder-b', 'b');
    const both = [...item('a'), ...item('b')];
    await world.wait('first', both, { priority: 1 });
    await world.wait('second', both, { priority: 9 });
    await world.wait('only-a', 'a', { priority: 5 });
    assert.deepEqual(await world.queue('a'), ['second', 'only-a', 'first']);
    assert.deepEqual(await world.queue('b'), ['second', 'first']);
    await world.release(a);
    const { granted: ids } = await world.release(b);
    assert.deepEqual(ids, ['second']);
  });

  test('a semaphore gives as many units as it has, and a large request is not passed by small ones', async (world) => {
    const a = await world.take('a', units('gpu', 2, 4));
    const b = await world.take('b', units('gpu', 1, 4));
    await world.wait('large', units('gpu', 3, 4));
    await world.wait('small', units('gpu', 1, 4));
    assert.deepEqual((await world.release(b)).granted, []);
    assert.deepEqual((await world.release(a)).granted, ['large', 'small']);
  });

  test('a semaphore in use has one capacity, and no more units than that', async (world) => {
    await world.take('a', units('gpu', 1, 4));
    for (const what of [units('gpu', 1, 5), item('gpu'), units('gpu', 5, 4)]) {
      const answer = await world.ask('b', what);
      assert.deepEqual(answer, { status: 'refused', why: 'capacity' });
    }
    assert.equal((await world.ask('more', units('gpu', 4, 4), { owner: 'a' })).status, 'refused');
  });

  test('a resource that nobody holds or wants may change its kind', async (world) => {
    await world.release(await world.take('a', units('x', 1, 2)));
    await world.release(await world.take('b', 'x'));
    await world.take('c', units('x', 3, 3));
  });

  test('L8: one upgrade at a time; the second fails at once', async (world) => {
    const a = await world.take('a', item('db', 'shared'));
    const b = await world.take('b', item('db', 'shared'));
    await world.wait('a-up', 'db', { owner: 'a', upgradeOf: a });
    const second = await world.ask('b-up', 'db', { owner: 'b', upgradeOf: b });
    assert.deepEqual(second, { status: 'refused', why: 'upgrade-conflict' });
    const { granted: ids } = await world.release(b);
    assert.equal(ids.length, 1);
    const upgraded = granted(await world.keep('a'));
    assert.equal(upgraded.id, 'a');
    assert.ok(upgraded.token > a.token, 'the upgraded lock has a new token');
    assert.equal((await world.ask('c', item('db', 'shared'), { wait: false })).status, 'refused');
    await world.release(upgraded);
    assert.equal(await world.rows(), 0);
  });

  test('L8: an upgrade goes before those who wait', async (world) => {
    const a = await world.take('a', item('db', 'update'));
    const b = await world.take('b', item('db', 'shared'));
    await world.wait('writer', 'db', { priority: 9 });
    await world.wait('a-up', 'db', { owner: 'a', upgradeOf: a });
    assert.deepEqual(await world.queue('db'), ['a-up', 'writer']);
    await world.release(b);
    assert.deepEqual(await world.queue('db'), ['writer']);
  });

  test('an upgrade alone is granted at once, and one of a lock that is gone is lost', async (world) => {
    const a = await world.take('a', item('db', 'shared'));
    const up = await world.take('a-up', 'db', { owner: 'a', upgradeOf: a });
    assert.equal(up.id, 'a');
    await world.release(up);
    assert.deepEqual(await world.ask('again', 'db', { owner: 'a', upgradeOf: up }), { status: 'lost' });
  });

  test('a downgrade lets readers in, and keeps token and place', async (world) => {
    const a = await world.take('a', 'db');
    await world.wait('reader', item('db', 'shared'));
    await world.wait('writer', 'db');
    const { ended, granted: ids } = await world.release({ id: a.id, token: a.token, downgradeTo: 'shared' });
    assert.deepEqual([ended, ids], [[true], ['reader']]);
    assert.equal(granted(await world.keep('a')).token, a.token);
    assert.deepEqual(await world.queue('db'), ['writer']);
  });

  test('L8: taking again what one holds is refused, with the grant, unless asked for; then each time is given back', async (world) => {
    const first = await world.take('first', 'db', { owner: 'me' });
    const refused = await world.ask('again', 'db', { owner: 'me' });
    assert.deepEqual(refused, {
      status: 'refused',
      why: 'reentrant',
      resource: 'db',
      held: { id: 'first', token: first.token },
    });
    const second = await world.take('second', 'db', { owner: 'me', reentrant: true });
    assert.equal(second.token, first.token, "the owner's own writes stay current");
    await world.wait('other', 'db');
    assert.deepEqual((await world.release(first)).granted, []);
    assert.deepEqual((await world.release(second)).granted, ['other']);
  });

  test('L9: intents let different files of a folder through and stop a lock on the folder', async (world) => {
    const folder = (mode: LockMode, file: string, own: LockMode): Parameters<typeof world.take>[1] => [
      { resource: '/', mode },
      { resource: '/src', mode },
      { resource: file, mode: own },
    ];
    const a = await world.take('a', folder('intent-exclusive', '/src/a.ts', 'exclusive'));
    await world.take('b', folder('intent-exclusive', '/src/b.ts', 'exclusive'));
    await world.take('a-too', folder('intent-exclusive', '/src/c.ts', 'exclusive'), { owner: 'a' });
    const whole = [
      { resource: '/', mode: 'intent-shared' },
      { resource: '/src', mode: 'shared' },
    ] as const;
    assert.equal((await world.ask('reader', whole, { wait: false })).status, 'refused');
    assert.equal(
      (await world.ask('same', folder('intent-exclusive', '/src/a.ts', 'exclusive'), { wait: false })).status,
      'refused',
    );
    await world.release(a);
    assert.equal(
      (await world.ask('same', folder('intent-exclusive', '/src/a.ts', 'exclusive'))).status,
      'granted',
    );
  });
}
