import assert from 'node:assert/strict';
import { type MessageTest, ROOMY } from './harness.ts';

/** Storing, bounds, expiry, duplicates. */
export function mailboxTests(test: MessageTest): void {
  test('what was sent before the first subscription is there for it', async (my) => {
    assert.deepEqual(await my.publish({ id: 'early' }), [{ status: 'published', receivers: 1 }]);
    await my.join('receiver');
    const [delivery] = await my.receive('receiver');
    assert.ok(delivery !== undefined);
    assert.deepEqual([delivery.message.id, delivery.message.payload], ['early', { id: 'early' }]);
    assert.deepEqual([delivery.delivery, delivery.message.from], [1, 'sender']);
    await my.settle([delivery], { as: 'ack' });
    await my.assertTotals({ published: 1, delivered: 1 });
  });

  test('an empty batch is answered with nothing', async ({ store, caller }) => {
    assert.deepEqual((await store.subscribe(caller.op(), [])).lost, []);
    assert.deepEqual((await store.publish(caller.op(), [], ROOMY)).results, []);
    const none = await store.receive(caller.op(), { addresses: [], ackWithinMs: 60_000 });
    assert.deepEqual([none.deliveries, none.missed], [[], []]);
    assert.deepEqual((await store.settle(caller.op(), [])).settled, []);
  });

  test('nobody receives for an address it did not join', async (my) => {
    await my.publish({ id: 'm' });
    assert.deepEqual(await my.ids('receiver'), []);
  });

  test('M0: without a listener nothing is kept, and it is counted as dropped', async (my) => {
    assert.deepEqual(await my.publish({ id: 'a', class: 'm0' }), [{ status: 'no-receiver' }]);
    await my.join('receiver', { listening: false });
    assert.deepEqual(await my.publish({ id: 'b', class: 'm0' }), [{ status: 'no-receiver' }]);
    await my.join('receiver');
    await my.publish({ id: 'c', class: 'm0' });
    assert.deepEqual(await my.ids('receiver'), ['c']);
    await my.assertTotals({ published: 3, delivered: 1, dropped: 2 });
  });

  test('M0: published = delivered + dropped at a full mailbox, and the receiver learns what it missed', async (my) => {
    await my.join('receiver', { mailbox: { maxLength: 3, overflow: 'refuse' } });
    for (let i = 0; i < 10; i++) {
      const [result] = await my.publish({ id: `m${i}`, class: 'm0' });
      assert.equal(result?.status, 'published');
    }
    const { deliveries, missed } = await my.store.receive(my.caller.op(), {
      addresses: [{ address: 'receiver', limit: 100 }],
      ackWithinMs: 1_000,
    });
    assert.deepEqual(
      deliveries.map(({ message }) => message.id),
      ['m0', 'm1', 'm2'],
    );
    assert.deepEqual(missed, [{ from: 'sender', address: 'receiver', count: 7, reason: 'full' }]);
    await my.assertTotals({ published: 10, delivered: 3, dropped: 7 });
    await my.env.pass(60_000);
    assert.deepEqual(await my.ids('receiver'), []);
  });

  test('M1: a full mailbox that refuses says so, and counts nothing', async (my) => {
    await my.join('receiver', { mailbox: { maxLength: 2, overflow: 'refuse' } });
    const results = await my.publish({ id: 'a' }, { id: 'b' }, { id: 'c' });
    assert.deepEqual(
      results.map(({ status }) => status),
      ['published', 'published', 'full'],
    );
    await my.assertTotals({ published: 2, waiting: 2 });
    assert.deepEqual(await my.take('receiver', 1), ['a']);
    assert.equal((await my.publish({ id: 'd' }))[0]?.status, 'published');
    assert.deepEqual(await my.take('receiver'), ['b', 'd']);
  });

  test('M1: drop-oldest and drop-newest drop what they say, and count it', async (my) => {
    await my.join('oldest', { mailbox: { maxLength: 2, overflow: 'drop-oldest' } });
    await my.join('newest', { mailbox: { maxLength: 2, overflow: 'drop-newest' } });
    for (const to of ['oldest', 'newest']) {
      const results = await my.publish({ id: 'a', to }, { id: 'b', to }, { id: 'c', to });
      const lost = [{ from: 'sender', address: to, count: 1, reason: 'full' }];
      assert.deepEqual(results[2], { status: 'published', receivers: 1, lost });
    }
    assert.deepEqual(await my.take('oldest'), ['b', 'c']);
    assert.deepEqual(await my.take('newest'), ['a', 'b']);
    await my.assertTotals({ published: 6, delivered: 4, dropped: 2 });
  });

  test('what was dropped for a later message of its order key does not hold its priority back, in one batch either', async (my) => {
    await my.join('receiver', { mailbox: { maxLength: 2, overflow: 'drop-oldest' } });
    await my.publish({ id: 'a-low', from: 'a', priority: 1 }, { id: 'b', from: 'b', priority: 1 });
    // For the second `b` goes `a-low`, for `a-high` the first `b`.
    await my.publish({ id: 'b2', from: 'b', priority: 1 }, { id: 'a-high', from: 'a', priority: 3 });
    await my.publish({ id: 'c-high', from: 'c', priority: 3 });
    assert.deepEqual(await my.take('receiver', 1), ['a-high']);
    // Here `d-low` goes for `d-high` itself, which came while it was still ahead.
    await my.join('other', { mailbox: { maxLength: 1, overflow: 'drop-oldest' } });
    await my.publish(
      { id: 'd-low', to: 'other', from: 'd', priority: 1 },
      { id: 'd-high', to: 'other', from: 'd', priority: 3 },
      { id: 'd-last', to: 'other', from: 'd', priority: 3 },
    );
    assert.deepEqual(await my.take('other'), ['d-last']);
  });

  test('an address that nobody joined is bounded by what publish says', async (my) => {
    const { results } = await my.store.publish(
      my.caller.op(),
      [1, 2, 3].map((n) => ({
        id: `m${n}`,
        dedupe: false,
        class: 'm1' as const,
        from: 'sender',
        to: 'stranger',
        topic: false,
        orderKey: 'sender',
        n: 0,
        payload: n,
        priority: 2,
        expiresInMs: undefined,
        replyTo: undefined,
        correlation: undefined,
      })),
      { maxLength: 2, overflow: 'refuse' },
    );
    assert.deepEqual(
      results.map(({ status }) => status),
      ['published', 'published', 'full'],
    );
  });

  test('M1: what is undelivered by its time expires, and is counted', async (my) => {
    await my.publish({ id: 'brief', expiresInMs: 1_000 }, { id: 'lasting' });
    await my.env.pass(1_500);
    await my.join('receiver');
    assert.deepEqual(await my.take('receiver'), ['lasting']);
    await my.assertTotals({ published: 2, delivered: 1, expired: 1 });
  });

  test('M1: a sweep expires what nobody comes for, tells of it, and says when to come again', async (my) => {
    assert.equal((await my.store.sweep(my.caller.op(), 100)).nextInMs, Number.POSITIVE_INFINITY);
    await my.publish({ id: 'a', expiresInMs: 1_000 }, { id: 'b', expiresInMs: 1_000 }, { id: 'c' });
    assert.ok((await my.store.sweep(my.caller.op(), 100)).nextInMs <= 1_000);
    await my.env.pass(1_500);
    const { lost } = await my.store.sweep(my.caller.op(), 100);
    assert.deepEqual(lost, [{ from: 'sender', address: 'receiver', count: 2, reason: 'expired' }]);
    await my.assertTotals({ published: 3, expired: 2, waiting: 1 });
  });

  test('M1: an id that the sender gave counts once within the window, at each receiver', async (my) => {
    const twice = { id: 'same', dedupe: true };
    assert.deepEqual(
      (await my.publish(twice, twice, { ...twice, to: 'other' })).map(({ status }) => status),
      ['published', 'duplicate', 'published'],
    );
    await my.join('receiver');
    assert.deepEqual(await my.take('receiver'), ['same']);
    assert.equal((await my.publish(twice))[0]?.status, 'duplicate');
    await my.env.pass(10 * 60_000 + 1_000);
    assert.equal((await my.publish(twice))[0]?.status, 'published');
    assert.equal((await my.totals()).published, 3);
  });

  test('a refused message may be sent again under its id', async (my) => {
    await my.join('receiver', { mailbox: { maxLength: 1, overflow: 'refuse' } });
    const message = { id: 'x', dedupe: true };
    assert.equal((await my.publish({ id: 'first' }))[0]?.status, 'published');
    assert.equal((await my.publish(message))[0]?.status, 'full');
    await my.take('receiver');
    assert.equal((await my.publish(message))[0]?.status, 'published');
  });

  test('a mailbox that keeps nothing drops what comes while nobody listens', async (my) => {
    await my.join('receiver', { mailbox: 'none' });
    await my.publish({ id: 'a' });
    assert.deepEqual(await my.take('receiver'), ['a']);
    await my.publish({ id: 'b' });
    await my.join('receiver', { mailbox: 'none', listening: false });
    assert.equal((await my.publish({ id: 'c' }))[0]?.status, 'no-receiver');
    await my.join('receiver', { mailbox: 'none' });
    assert.deepEqual(await my.take('receiver'), []);
    await my.assertTotals({ published: 3, delivered: 1, dropped: 2 });
  });

  test('the sweep that ends the last membership of an empty mailbox forgets it, and how it was set', async (my) => {
    const dying = await my.other('dying', 1_000);
    await dying.join('receiver', { mailbox: 'none', keepMs: 1_000 });
    await my.env.pass(1_100);
    await my.store.sweep(my.caller.op(), 100);
    assert.equal((await my.publish({ id: 'a' }))[0]?.status, 'no-receiver');
    await my.env.pass(1_100);
    await my.store.sweep(my.caller.op(), 100);
    assert.equal((await my.publish({ id: 'b' }))[0]?.status, 'published');
  });

  test('M1: leaving drops what waits and what is in hand, and counts it; the name may be used again', async (my) => {
    await my.join('receiver');
    await my.publish({ id: 'a' }, { id: 'b' }, { id: 'c', from: 'other' });
    const [held] = await my.receive('receiver', { limit: 1 });
    const { lost } = await my.store.subscribe(my.caller.op(), [
      { address: 'receiver', topics: [], listening: false, mailbox: 'leave', keepMs: 0 },
    ]);
    assert.deepEqual(
      lost.map(({ count, reason }) => [count, reason]),
      [
        [1, 'left'],
        [1, 'left'],
        [1, 'left'],
      ],
    );
    assert.ok(held !== undefined);
    assert.deepEqual(await my.settled([held], { as: 'ack' }), [false]);
    await my.assertTotals({ published: 3, dropped: 3 });
    await my.publish({ id: 'd' });
    await my.join('receiver');
    assert.deepEqual(await my.take('receiver'), ['d']);
  });

  test('list pages through mailboxes, and through the messages of a long one', async (my) => {
    for (const to of ['a', 'b', 'c']) await my.publish({ id: `1${to}`, to }, { id: `2${to}`, to });
    const addresses: string[] = [];
    const letters: string[] = [];
    for (let after; ; ) {
      const page = await my.store.list({}, { limit: 2, ...(after === undefined ? {} : { after }) });
      addresses.push(...page.items.map(({ address }) => address));
      assert.ok(page.items.every(({ waiting, messages }) => waiting === 2 && messages.length === 0));
      if (page.next === undefined) break;
      after = page.next;
    }
    for (let after; ; ) {
      const page = await my.store.list(
        { messages: 'waiting' },
        { limit: 3, ...(after === undefined ? {} : { after }) },
      );
      letters.push(...page.items.flatMap(({ messages }) => messages.map(({ message }) => message.id)));
      if (page.next === undefined) break;
      after = page.next;
    }
    assert.deepEqual(addresses, ['a', 'b', 'c']);
    assert.deepEqual(letters, ['1a', '2a', '1b', '2b', '1c', '2c']);
    const { items } = await my.store.list({ address: 'b', messages: 'waiting' }, { limit: 10 });
    assert.deepEqual(
      items.map(({ address, messages }) => [address, messages.length]),
      [['b', 2]],
    );
  });

  test('hostile names are names like others', async (my) => {
    for (const to of ['__proto__', 'constructor', '*', 'a:{b}', '💥', "'; --"]) {
      await my.join(to, { topics: [{ topic: to }] });
      await my.publish({ id: 'x', to, from: '__proto__', orderKey: '__proto__' });
      assert.deepEqual(await my.take(to), ['x']);
      await my.publish({ id: 'y', to, topic: true });
      assert.deepEqual(await my.take(to), ['y']);
    }
  });

  test('G1: publishing with the same operation stores once', async (my) => {
    const op = my.caller.op();
    const message = {
      id: 'once',
      dedupe: false,
      class: 'm1' as const,
      from: 'sender',
      to: 'receiver',
      topic: false,
      orderKey: 'sender',
      n: 0,
      payload: 1,
      priority: 2,
      expiresInMs: undefined,
      replyTo: undefined,
      correlation: undefined,
    };
    const first = await my.store.publish(op, [message], ROOMY);
    assert.deepEqual(await my.store.publish(op, [message], ROOMY), first);
    await my.join('receiver');
    assert.deepEqual(await my.take('receiver'), ['once']);
    await my.assertTotals({ published: 1, delivered: 1 });
  });
}
