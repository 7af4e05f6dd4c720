import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { Delivery } from '../../src/core/ports/messages.ts';
import { REPORT } from '../../src/testing/suites/caller.ts';
import { newMessage } from '../../src/testing/suites/messages/harness.ts';
import { LONG_MS, mesh, type Peer } from '../support/postgres-peers.ts';
import { begin, comesTo, isBlocked, OpenPeer, stopClock } from '../support/postgres-races.ts';
import { sql } from '../support/postgres-scratch.ts';

function membersOf(schema: string, { session }: Peer): Promise<{ address: string; gone: string | null }[]> {
  return sql(`select address, gone_until as gone from ${schema}.message_members where session = ${session}`);
}

test('who receives and who changes the same membership meanwhile take their locks in one order', async () => {
  const { peer, sender, schema } = await mesh('peer', 'sender');
  await peer.join('r', { topics: [{ topic: 'jobs', group: 'workers' }] });
  await sender.publish([newMessage({ id: 'a', to: 'jobs', topic: true })]);
  // As `subscribe` does it: first the mailboxes, then the membership.
  const change = await begin(schema);
  await change('select agentmesh.message_lock_v1(array(select id from agentmesh.message_boxes))');
  const received = peer.receive('r');
  await isBlocked(schema, 'peer');
  await change('update agentmesh.message_members set keep_us = keep_us + 1');
  await change('commit');
  expect((await received).map(({ message }) => message.id)).toEqual(['a']);
});

test('a beat that is under way when the lease ends saves the memberships', async () => {
  const { sweeper, heir, boot, schema } = await mesh('sweeper', 'heir');
  const slow = await boot('slow', 500);
  await slow.join('r', { keepMs: 0 });
  await slow.join('shared', { keepMs: 0 });
  const beat = await begin(schema);
  await beat(`update agentmesh.sessions set lease_ms = 600000 where number = ${slow.session}`);
  await beat(`select agentmesh.session_beat_v1(${slow.session}, '{}')`);
  await sleep(600);
  await sweeper.call((op) => sweeper.backend.messages.sweep(op, 100));
  await heir.join('shared');
  await beat('commit');
  expect(await membersOf(schema, slow)).toEqual([
    { address: 'r', gone: null },
    { address: 'shared', gone: null },
  ]);
  await sweeper.publish([newMessage({ id: 'a', to: 'shared' })]);
  expect((await slow.receive('shared')).map(({ message }) => message.id)).toEqual(['a']);
});

test.each(['beat', 'pulse'])('a %s that waited for who buried its session is too late', async (way) => {
  const { slow, schema } = await mesh('slow');
  const pass = await stopClock(schema);
  const { session, backend } = slow;
  const burial = await begin(schema);
  await burial(`select from agentmesh.sessions where number = ${session} for share`);
  const lives = async (): Promise<boolean> =>
    way === 'beat'
      ? (await backend.sessions.beat(session, REPORT)).status === 'alive'
      : await backend.sessions.pulse(session);
  const late = lives();
  await isBlocked(schema, 'slow');
  await pass(LONG_MS);
  await burial('commit');
  expect(await late).toBe(false);
});

test('whose lease ends while it waits for a mailbox has given back what it had in hand', async () => {
  const { slow, sender, schema } = await mesh('slow', 'sender');
  await slow.join('r');
  await sender.publish([newMessage({ id: 'a', to: 'r' })]);
  const [delivery] = await slow.receive('r');
  const pass = await stopClock(schema);
  const busy = await begin(schema);
  await busy('select agentmesh.message_lock_v1(array(select id from agentmesh.message_boxes))');
  const settled = slow.settle([{ delivery: delivery as Delivery, as: 'ack' }]);
  await isBlocked(schema, 'slow');
  await pass(LONG_MS);
  await busy('commit');
  expect(await settled).toEqual([false]);
});

test('what expires while its receiver waits for the mailbox is not handed out', async () => {
  const { slow, sender, schema } = await mesh('slow', 'sender');
  const pass = await stopClock(schema);
  await slow.join('r');
  await sender.publish([newMessage({ id: 'a', to: 'r', expiresInMs: 1_000 })]);
  const busy = await begin(schema);
  await busy('select agentmesh.message_lock_v1(array(select id from agentmesh.message_boxes))');
  const received = slow.receive('r');
  await isBlocked(schema, 'slow');
  await pass(1_000);
  await busy('commit');
  expect(await received).toEqual([]);
});

test.each(['leaves', 'closes'])(
  'M3: who %s waits for what is on its way to its topics: the last of a group leaves nothing behind',
  async (way) => {
    const { sender, reader, worker, schema } = await mesh('sender', 'reader', 'worker');
    await reader.join('r', { topics: [{ topic: 'jobs' }] });
    await worker.join('w', { topics: [{ topic: 'jobs', group: 'workers' }] });
    // The sender has looked who the members are, and waits for the first mailbox.
    const busy = await begin(schema);
    await busy(
      `select agentmesh.message_lock_v1(array[b.id]) from agentmesh.message_boxes b where b.address = 'r'`,
    );
    const sent = sender.publish([newMessage({ id: 'a', to: 'jobs', topic: true })]);
    await isBlocked(schema, 'sender');
    const left =
      way === 'leaves' ? worker.leave('w') : Promise.resolve(worker.backend.sessions.close(worker.session));
    await comesTo(left, schema, 'worker');
    await busy('commit');
    await sent;
    await left;
    expect(await sender.totals()).toMatchObject({ published: 2, waiting: 1, dropped: 1 });
  },
);

test('who sweeps waits for nobody who waits for an id that it forgets', async () => {
  const { sweeper, boot, schema } = await mesh('sweeper');
  const dying = await boot('dying', 300);
  await dying.join('r', { topics: [{ topic: 'news' }], keepMs: 0 });
  await sql(`insert into ${schema}.message_ids values ('tnews', 'x', 0)`);
  await sleep(350);
  // As `publish` does it: its topics, then its ids.
  const publish = await begin(schema);
  await publish(`select pg_advisory_xact_lock_shared(hashtextextended('agentmesh.message_topic news', 0))`);
  const swept = sweeper.call((op) => sweeper.backend.messages.sweep(op, 100));
  await isBlocked(schema, 'sweeper');
  await publish(`insert into agentmesh.message_ids values ('tnews', 'x', 1)
    on conflict (place, id) do update set seen_at = excluded.seen_at`);
  await publish('commit');
  await swept;
  expect(await membersOf(schema, dying)).toEqual([]);
});

test('who sweeps waits for nobody who takes up an id that is old enough to be forgotten', async () => {
  const { sweeper, schema } = await mesh('sweeper');
  await sql(`insert into ${schema}.message_ids values ('tnews', 'x', 0), ('tnews', 'y', 0)`);
  const publish = await begin(schema);
  await publish(`update agentmesh.message_ids set seen_at = 1 where id = 'x'`);
  const swept = sweeper.call((op) => sweeper.backend.messages.sweep(op, 100));
  expect(await comesTo(swept, schema, 'sweeper')).toBe('answered');
  expect(await sql(`select id from ${schema}.message_ids`)).toEqual([{ id: 'x' }]);
});

test('who sweeps while somebody else does has nothing to do', async () => {
  const { one, schema } = await mesh('one');
  const slow = await OpenPeer.boot(schema, 'slow');
  const sweep = (peer: Peer) => peer.call((op) => peer.backend.messages.sweep(op, 100));
  // Counts of mailboxes that were forgotten, to be added up.
  await sql(`insert into ${schema}.message_retired (published, delivered, dropped, expired)
    select 1, 1, 0, 0 from generate_series(1, 2)`);
  await slow.begin();
  await sweep(slow);
  const swept = sweep(one);
  expect(await comesTo(swept, schema, 'one')).toBe('answered');
  await slow.commit();
  expect(await one.totals()).toMatchObject({ published: 2, delivered: 2 });
  expect(await sql(`select published from ${schema}.message_retired`)).toHaveLength(1);
});

test('who sweeps waits for no mailbox that somebody works on: it may have locked others', async () => {
  const { sweeper, boot, schema } = await mesh('sweeper');
  await sweeper.publish([
    newMessage({ id: 'a', to: 'busy', expiresInMs: 1 }),
    newMessage({ id: 'b', to: 'idle', expiresInMs: 1 }),
  ]);
  const dying = await boot('dying', 300);
  await dying.join('r', { keepMs: 0 });
  await sleep(350);
  // As one does that publishes to both.
  const publish = await begin(schema);
  const lock = (address: string) =>
    publish(
      `select agentmesh.message_lock_v1(array[b.id]) from agentmesh.message_boxes b where b.address = '${address}'`,
    );
  await lock('busy');
  const sweep = () => sweeper.call((op) => sweeper.backend.messages.sweep(op, 100));
  const swept = sweep();
  const first = await Promise.race([swept, sleep(2_000)]);
  await lock('r');
  await publish('commit');
  await swept;
  const lostAt = (address: string) => [{ from: 'sender', address, count: 1, reason: 'expired' }];
  expect(first).toMatchObject({ lost: lostAt('idle') });
  expect(await membersOf(schema, dying)).toEqual([]);
  expect(await sweep()).toMatchObject({ lost: lostAt('busy') });
});

test('however much expires at once, a sweep ends 10,000 of it and asks to be called again', async () => {
  const { peer } = await mesh('peer');
  for (let n = 0; n < 12; n++) {
    await peer.publish(
      Array.from({ length: 1_000 }, (_, i) => newMessage({ id: `${n}.${i}`, to: 'r', expiresInMs: 1 })),
    );
  }
  await sleep(5);
  const sweep = () => peer.call((op) => peer.backend.messages.sweep(op, 100));
  const first = await sweep();
  expect(first.lost).toEqual([{ from: 'sender', address: 'r', count: 10_000, reason: 'expired' }]);
  expect(first.nextInMs).toBeLessThan(10);
  const second = await sweep();
  expect(second.lost).toEqual([{ from: 'sender', address: 'r', count: 2_000, reason: 'expired' }]);
  expect(await peer.totals()).toMatchObject({ published: 12_000, expired: 12_000, waiting: 0 });
});
