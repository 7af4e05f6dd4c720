import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { afterEach, expect, inject, test } from 'vitest';
import { newMessage } from '../../src/testing/suites/messages/harness.ts';
import { mesh, type Peer } from '../support/postgres-peers.ts';
import { sql } from '../support/postgres-scratch.ts';

const begun: pg.Client[] = [];
afterEach(async () => {
  for (const client of begun.splice(0)) await client.end();
});

/** A transaction that is driven by hand. It is the first to notice that it waits in a circle. */
async function begin(schema: string): Promise<(text: string) => Promise<unknown>> {
  const client = new pg.Client({ connectionString: inject('postgresUrl') });
  begun.push(client);
  await client.connect();
  await client.query(`begin; set local search_path = ${schema}; set local deadlock_timeout = '20ms'`);
  return (text) => client.query(text.replaceAll('agentmesh.', `${schema}.`));
}

/** Until a process waits for a lock. */
async function isBlocked(schema: string, name: string): Promise<void> {
  await expect
    .poll(
      async () =>
        (
          await sql(`select from pg_stat_activity
            where application_name = '${schema} ${name}' and cardinality(pg_blocking_pids(pid)) > 0`)
        ).length,
      { timeout: 5_000 },
    )
    .toBeGreaterThan(0);
}

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

test('a beat that waited for who buried its session is too late', async () => {
  const { boot, schema } = await mesh('other');
  const slow = await boot('slow', 500);
  const burial = await begin(schema);
  await burial(`select from agentmesh.sessions where number = ${slow.session} for share`);
  const beat = Promise.resolve(
    slow.backend.sessions.beat(slow.session, {
      host: '',
      pid: 1,
      build: '',
      load: { running: 0, unstarted: 0, slots: 0, weight: 0 },
      rssBytes: 0,
      loopLagMs: 0,
      agents: [],
      progress: [],
    }),
  );
  await isBlocked(schema, 'slow');
  await sleep(600);
  await burial('commit');
  expect(await beat).toMatchObject({ status: 'expired' });
});

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
