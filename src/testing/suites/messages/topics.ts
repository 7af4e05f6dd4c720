import assert from 'node:assert/strict';
import type { Membership } from '../../../core/ports/messages.ts';
import { sessionsOf } from '../caller.ts';
import type { MessageHarness, MessageTest } from './harness.ts';

const NEWS: Partial<Membership> = { topics: [{ topic: 'news' }] };

async function leave(my: MessageHarness, address: string): Promise<void> {
  await my.store.subscribe(my.caller.op(), [
    { address, topics: [], listening: false, mailbox: 'leave', keepMs: 0 },
  ]);
}

/** Topics, groups, and the members of one instant. */
export function topicTests(test: MessageTest): void {
  test('M3: a topic reaches the members of one instant, each once, and not its sender', async (my) => {
    for (const address of ['a', 'b', 'sender']) await my.join(address, NEWS);
    await my.join('bystander');
    const [result] = await my.publish({ id: 'n1', to: 'news', topic: true });
    assert.deepEqual(result, { status: 'published', receivers: 2 });
    await my.join('late', NEWS);
    assert.deepEqual(await my.take('a'), ['n1']);
    assert.deepEqual(await my.take('b'), ['n1']);
    for (const address of ['sender', 'bystander', 'late']) assert.deepEqual(await my.take(address), []);
    await my.assertTotals({ published: 2, delivered: 2 });
  });

  test('M3: an offline member gets its copy; one that left does not, and its waiting copies are counted', async (my) => {
    await my.join('offline', { ...NEWS, listening: false });
    await my.join('leaver', NEWS);
    await my.publish({ id: 'n1', to: 'news', topic: true });
    await leave(my, 'leaver');
    const [result] = await my.publish({ id: 'n2', to: 'news', topic: true });
    assert.deepEqual(result, { status: 'published', receivers: 1 });
    await my.join('offline', NEWS);
    assert.deepEqual(await my.take('offline'), ['n1', 'n2']);
    await my.assertTotals({ published: 3, delivered: 2, dropped: 1 });
  });

  test('a topic without members has no receiver, whatever the class', async (my) => {
    const results = await my.publish(
      { id: 'a', to: 'news', topic: true },
      { id: 'b', to: 'news', topic: true, class: 'm0' },
    );
    assert.deepEqual(results, [{ status: 'no-receiver' }, { status: 'no-receiver' }]);
    await my.assertTotals({ published: 2, dropped: 2 });
  });

  test('a change of topics replaces the former ones', async (my) => {
    await my.join('a', NEWS);
    await my.join('a', { topics: [{ topic: 'sport' }] });
    await my.publish({ id: 'n', to: 'news', topic: true }, { id: 's', to: 'sport', topic: true });
    assert.deepEqual(await my.take('a'), ['s']);
  });

  test('M3: a copy that a full mailbox refuses is dropped and counted; the others arrive', async (my) => {
    await my.join('full', { ...NEWS, mailbox: { maxLength: 1, overflow: 'refuse' } });
    await my.join('roomy', NEWS);
    await my.publish({ id: 'n1', to: 'news', topic: true });
    const [result] = await my.publish({ id: 'n2', to: 'news', topic: true });
    assert.deepEqual(result, {
      status: 'published',
      receivers: 2,
      lost: [{ from: 'sender', address: 'full', count: 1, reason: 'full' }],
    });
    assert.deepEqual(await my.take('full'), ['n1']);
    assert.deepEqual(await my.take('roomy'), ['n1', 'n2']);
    await my.assertTotals({ published: 4, delivered: 3, dropped: 1 });
  });

  test('members of a group share one copy; others get their own', async (my) => {
    for (const address of ['w1', 'w2'])
      await my.join(address, { topics: [{ topic: 'jobs', group: 'workers' }] });
    await my.join('audit', { topics: [{ topic: 'jobs' }] });
    for (let i = 0; i < 4; i++) {
      const [result] = await my.publish({ id: `j${i}`, to: 'jobs', topic: true, from: `s${i}` });
      assert.deepEqual(result, { status: 'published', receivers: 2 });
    }
    const shared = [...(await my.take('w1', 1)), ...(await my.take('w2', 2)), ...(await my.take('w1'))];
    assert.deepEqual(shared.sort(), ['j0', 'j1', 'j2', 'j3']);
    assert.deepEqual(await my.take('audit'), ['j0', 'j1', 'j2', 'j3']);
    await my.assertTotals({ published: 8, delivered: 8 });
  });

  test('M1: in a group, one sender’s messages stay in order over its members', async (my) => {
    for (const address of ['w1', 'w2'])
      await my.join(address, { topics: [{ topic: 'jobs', group: 'workers' }] });
    for (const id of ['1', '2', '3']) await my.publish({ id, to: 'jobs', topic: true });
    const [first] = await my.receive('w1', { limit: 1 });
    assert.ok(first !== undefined);
    assert.deepEqual(await my.ids('w2'), []);
    const { readied } = await my.store.settle(my.caller.op(), [{ delivery: first, as: 'ack' }]);
    assert.deepEqual([...readied].sort(), ['w1', 'w2']);
    assert.deepEqual(await my.take('w2'), ['2', '3']);
  });

  test('the last member of a group that leaves takes the waiting copies with it, counted', async (my) => {
    const shared = { topics: [{ topic: 'jobs', group: 'workers' }] };
    await my.join('w1', shared);
    await my.join('w2', shared);
    await my.publish({ id: '1', to: 'jobs', topic: true }, { id: '2', to: 'jobs', topic: true });
    await leave(my, 'w1');
    assert.deepEqual(await my.take('w2', 1), ['1']);
    await leave(my, 'w2');
    await my.assertTotals({ published: 2, delivered: 1, dropped: 1 });
  });

  test('M1: who comes back after a crash may join its group in a later call: nothing of what waits there is lost', async (my) => {
    const dying = await my.other('dying', 1_000);
    const shared = { topics: [{ topic: 'jobs', group: 'workers' }] };
    await dying.join('w1', shared);
    await my.publish({ id: '1', to: 'jobs', topic: true });
    await my.env.pass(1_100);
    await my.join('w1');
    await my.join('w1', shared);
    assert.deepEqual(await my.take('w1'), ['1']);
    await my.assertTotals({ published: 1, delivered: 1 });
  });

  test('one address at two processes is one member', async (my) => {
    const other = await my.other('other');
    await my.join('a', NEWS);
    await other.join('a', NEWS);
    const [result] = await my.publish({ id: 'n', to: 'news', topic: true });
    assert.deepEqual(result, { status: 'published', receivers: 1 });
    await leave(other, 'a');
    assert.deepEqual(await my.take('a'), ['n']);
  });

  test('a crashed member goes on offline for its time, a closed one ends at once', async (my) => {
    const closing = await my.other('closing');
    const dying = await my.other('dying', 1_000);
    await closing.join('closed', NEWS);
    await dying.join('dead', { ...NEWS, keepMs: 10_000 });
    await sessionsOf(my.env).close(closing.caller.session);
    await my.env.pass(1_100);
    assert.deepEqual(await my.publish({ id: 'n1', to: 'news', topic: true }), [
      { status: 'published', receivers: 1 },
    ]);
    await my.env.pass(11_000);
    await my.store.sweep(my.caller.op(), 100);
    assert.deepEqual(await my.publish({ id: 'n2', to: 'news', topic: true }), [{ status: 'no-receiver' }]);
    await my.join('dead', NEWS);
    assert.deepEqual(await my.take('dead'), ['n1']);
  });

  test('M1: an id that the sender gave counts once for a topic', async (my) => {
    await my.join('a', NEWS);
    const message = { id: 'n', to: 'news', topic: true, dedupe: true };
    assert.deepEqual(
      (await my.publish(message, message)).map(({ status }) => status),
      ['published', 'duplicate'],
    );
    assert.deepEqual(await my.take('a'), ['n']);
  });
}
