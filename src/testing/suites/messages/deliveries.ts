import assert from 'node:assert/strict';
import type { Delivery } from '../../../core/ports/messages.ts';
import { sessionsOf } from '../caller.ts';
import { idsOf, type MessageHarness, type MessageTest } from './harness.ts';

/** Order, acknowledgement, redelivery, dead letters. */
export function deliveryTests(test: MessageTest): void {
  test('M1: messages of one order key come in the order they were sent', async (my) => {
    await my.join('receiver');
    for (let i = 0; i < 5; i++) await my.publish({ id: `a${i}`, from: 'a' }, { id: `b${i}`, from: 'b' });
    const ids = await my.take('receiver');
    assert.deepEqual(
      ids.filter((id) => id.startsWith('a')),
      ['a0', 'a1', 'a2', 'a3', 'a4'],
    );
    assert.deepEqual(
      ids.filter((id) => id.startsWith('b')),
      ['b0', 'b1', 'b2', 'b3', 'b4'],
    );
  });

  test('a larger priority goes first between order keys, and never before an earlier message of its own', async (my) => {
    await my.join('receiver');
    await my.publish(
      { id: 'a-low', from: 'a', priority: 1 },
      { id: 'a-high', from: 'a', priority: 3 },
      { id: 'b-medium', from: 'b', priority: 2 },
      { id: 'c-high', from: 'c', priority: 3 },
      { id: 'c-low', from: 'c', priority: 1 },
    );
    const ids = await my.take('receiver');
    assert.deepEqual(ids.slice(0, 2), ['c-high', 'b-medium']);
    assert.ok(ids.indexOf('a-low') < ids.indexOf('a-high'));
    assert.ok(ids.indexOf('c-high') < ids.indexOf('c-low'));
  });

  test('M1: acknowledged is over; the second acknowledgement is refused', async (my) => {
    await my.join('receiver');
    await my.publish({ id: 'a' });
    const deliveries = await my.receive('receiver');
    await my.settle(deliveries, { as: 'ack' });
    assert.deepEqual(await my.settled(deliveries, { as: 'ack' }), [false]);
    assert.deepEqual(await my.settled(deliveries, { as: 'retry', delayMs: 0 }), [false]);
    assert.deepEqual(await my.ids('receiver'), []);
    await my.assertTotals({ published: 1, delivered: 1 });
  });

  test('a settlement may name its delivery by address and receipt alone', async (my) => {
    await my.join('receiver');
    await my.publish({ id: 'a' }, { id: 'b' });
    const plain = (await my.receive('receiver')).map(({ address, receipt }) => ({ address, receipt }));
    const settle = async (receipts: typeof plain): Promise<readonly boolean[]> => {
      const items = receipts.map((delivery) => ({ delivery, as: 'ack' as const }));
      return (await my.store.settle(my.caller.op(), items)).settled;
    };
    assert.deepEqual(await settle(plain), [true, true]);
    assert.deepEqual(await settle(plain), [false, false]);
    await my.assertTotals({ published: 2, delivered: 2 });
  });

  test('M1: what is given back comes first of its order key, after its delay, flagged', async (my) => {
    await my.join('receiver');
    await my.publish({ id: 'a1', from: 'a' }, { id: 'a2', from: 'a' }, { id: 'b1', from: 'b' });
    const [a1, a2] = await my.receive('receiver', { limit: 2 });
    assert.ok(a1 !== undefined && a2 !== undefined);
    await my.settle([a1], { as: 'retry', delayMs: 1_000 });
    await my.settle([a2], { as: 'release' });
    const { deliveries, nextInMs } = await my.store.receive(my.caller.op(), {
      addresses: [{ address: 'receiver', limit: 10 }],
      ackWithinMs: 60_000,
    });
    assert.deepEqual(idsOf(deliveries), ['b1']);
    assert.ok(nextInMs > 500 && nextInMs <= 1_000);
    await my.env.pass(1_100);
    const again = await my.receive('receiver');
    assert.deepEqual(
      again.map(({ message, delivery }) => [message.id, delivery]),
      [
        ['a1', 2],
        ['a2', 1],
      ],
    );
  });

  test('M1: given back in any order, they come in the order they were sent', async (my) => {
    await my.join('receiver');
    await my.publish({ id: '1' }, { id: '2' }, { id: '3' }, { id: '4' });
    const [first, second, third] = (await my.receive('receiver', { limit: 3 })) as [
      Delivery,
      Delivery,
      Delivery,
    ];
    await my.settle([third], { as: 'release' });
    assert.deepEqual(await my.ids('receiver'), [], 'nothing while earlier ones are out');
    await my.settle([first], { as: 'release' });
    await my.settle([second], { as: 'release' });
    assert.deepEqual(await my.take('receiver'), ['1', '2', '3', '4']);
  });

  test('one of an order key at a time, when that is asked for', async (my) => {
    await my.join('receiver');
    await my.publish({ id: 'a1', from: 'a' }, { id: 'a2', from: 'a' }, { id: 'b1', from: 'b' });
    const first = await my.receive('receiver', { onePerKey: true });
    assert.deepEqual(idsOf(first), ['a1', 'b1']);
    assert.deepEqual(await my.ids('receiver', { onePerKey: true }), []);
    const { readied } = await my.store.settle(my.caller.op(), [
      { delivery: first[0] as Delivery, as: 'ack' },
    ]);
    assert.deepEqual(readied, ['receiver']);
    assert.deepEqual(await my.ids('receiver', { onePerKey: true }), ['a2']);
  });

  test('M1: while one process holds a message of an order key, another gets none of it', async (my) => {
    const other = await my.other('other');
    await my.join('receiver');
    await other.join('receiver');
    await my.publish({ id: 'a1', from: 'a' }, { id: 'a2', from: 'a' }, { id: 'b1', from: 'b' });
    const mine = await my.receive('receiver', { limit: 1 });
    assert.deepEqual(idsOf(mine), ['a1']);
    assert.deepEqual(await other.take('receiver'), ['b1']);
    await my.settle(mine, { as: 'ack' });
    assert.deepEqual(await other.take('receiver'), ['a2']);
  });

  test('M1: unacknowledged in time is handed out again, and the late acknowledgement refused', async (my) => {
    await my.join('receiver');
    await my.publish({ id: 'a' });
    const late = await my.receive('receiver', { ackWithinMs: 1_000 });
    assert.deepEqual(await my.ids('receiver'), []);
    await my.env.pass(1_100);
    const { readied } = await my.store.sweep(my.caller.op(), 100);
    assert.deepEqual(readied, ['receiver']);
    const again = await my.receive('receiver');
    assert.deepEqual(
      again.map(({ message, delivery }) => [message.id, delivery]),
      [['a', 2]],
    );
    assert.deepEqual(await my.settled(late, { as: 'ack' }), [false]);
    await my.settle(again, { as: 'ack' });
    await my.assertTotals({ published: 1, delivered: 1 });
  });

  test('M1: what was not acknowledged in time comes by receive alone, and in its place', async (my) => {
    await my.join('receiver');
    await my.publish({ id: '1' }, { id: '2' }, { id: '3' });
    await my.receive('receiver', { limit: 2, ackWithinMs: 1_000 });
    await my.env.pass(1_100);
    assert.deepEqual(await my.take('receiver'), ['1', '2', '3']);
  });

  const ends: readonly [string, (other: MessageHarness) => Promise<void>][] = [
    ['closes', async ({ env, caller }) => void (await sessionsOf(env).close(caller.session))],
    ['dies', async ({ env }) => env.pass(1_100)],
  ];
  for (const [how, end] of ends) {
    test(`M1: what a process has in hand when it ${how} goes to another, flagged: it may have been handled`, async (my) => {
      const other = await my.other('other', 1_000);
      await other.join('receiver');
      await my.publish({ id: 'a1' }, { id: 'a2' });
      assert.deepEqual(await other.ids('receiver', { limit: 1 }), ['a1']);
      await my.join('receiver');
      assert.deepEqual(await my.ids('receiver'), []);
      await end(other);
      const taken = await my.receive('receiver');
      assert.deepEqual(
        taken.map((item) => [item.message.id, item.delivery]),
        [
          ['a1', 2],
          ['a2', 1],
        ],
      );
    });
  }

  test('M1: a dead letter is kept apart, redriven as new, or discarded', async (my) => {
    await my.join('receiver');
    await my.publish({ id: 'a' }, { id: 'b' }, { id: 'c' });
    const deliveries = await my.receive('receiver');
    await my.settle(deliveries.slice(0, 2), { as: 'bury', reason: 'broken' });
    await my.settle(deliveries.slice(2), { as: 'ack' });
    await my.assertTotals({ published: 3, delivered: 1, dead: 2 });
    const { items } = await my.store.list({ messages: 'dead' }, { limit: 10 });
    assert.deepEqual(
      items.map(({ address, messages }) => [address, messages.map((m) => [m.message.id, m.reason])]),
      [
        [
          'receiver',
          [
            ['a', 'broken'],
            ['b', 'broken'],
          ],
        ],
      ],
    );
    const redriven = await my.store.revise(my.caller.op(), { set: 'redrive', ids: ['a'], limit: 10 });
    assert.deepEqual([redriven.changed, redriven.more, redriven.readied], [1, false, ['receiver']]);
    const again = await my.receive('receiver');
    assert.deepEqual(
      again.map(({ message, delivery }) => [message.id, delivery]),
      [['a', 1]],
    );
    const discarded = await my.store.revise(my.caller.op(), { set: 'discard', limit: 10 });
    assert.deepEqual([discarded.changed, discarded.lost.length], [1, 1]);
    await my.assertTotals({ published: 3, delivered: 1, dropped: 1, handling: 1 });
  });

  test('revise works in bounded steps', async (my) => {
    await my.join('receiver');
    await my.publish({ id: 'a' }, { id: 'b' }, { id: 'c' });
    await my.settle(await my.receive('receiver'), { as: 'bury', reason: 'x' });
    const first = await my.store.revise(my.caller.op(), { set: 'redrive', limit: 2 });
    assert.deepEqual([first.changed, first.more], [2, true]);
    const second = await my.store.revise(my.caller.op(), { set: 'redrive', limit: 2 });
    assert.deepEqual([second.changed, second.more], [1, false]);
    assert.deepEqual(await my.take('receiver'), ['a', 'b', 'c']);
  });

  test('dropped as unwanted is counted as dropped', async (my) => {
    await my.join('receiver');
    await my.publish({ id: 'a' });
    await my.settle(await my.receive('receiver'), { as: 'drop' });
    await my.assertTotals({ published: 1, dropped: 1 });
  });

  test('G1: receiving and settling with the same operation happens once', async (my) => {
    await my.join('receiver');
    await my.publish({ id: 'a' }, { id: 'b' });
    const op = my.caller.op();
    const request = { addresses: [{ address: 'receiver', limit: 1 }], ackWithinMs: 60_000 };
    const first = await my.store.receive(op, request);
    assert.deepEqual(await my.store.receive(op, request), first);
    assert.deepEqual(idsOf(first.deliveries), ['a']);
    const settle = my.caller.op();
    const items = first.deliveries.map((delivery) => ({ delivery, as: 'retry' as const, delayMs: 0 }));
    const settled = await my.store.settle(settle, items);
    assert.deepEqual(await my.store.settle(settle, items), settled);
    assert.deepEqual(settled.settled, [true]);
    assert.deepEqual(await my.take('receiver'), ['a', 'b']);
  });
}
