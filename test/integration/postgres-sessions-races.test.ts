import { expect, test } from 'vitest';
import { REPORT } from '../../src/testing/suites/caller.ts';
import { LONG_MS, mesh, type Peer } from '../support/postgres-peers.ts';
import { begin, comesTo, OpenPeer, stopClock } from '../support/postgres-races.ts';
import { sql } from '../support/postgres-scratch.ts';
import { task, tasksOf } from '../support/postgres-task-calls.ts';

async function openSession({ backend }: Peer, boot: string): Promise<number> {
  const { session } = await backend.sessions.open({ boot, leaseMs: LONG_MS, writer: 1, report: REPORT });
  return session;
}

test('a boot that asks again while its first call is under way gets the session of that one', async () => {
  const { one, schema } = await mesh('one');
  const slow = await OpenPeer.boot(schema, 'slow');
  await slow.begin();
  const first = await openSession(slow, 'boot');
  const again = openSession(one, 'boot');
  expect(await comesTo(again, schema, 'one')).toBe('waits');
  await slow.commit();
  expect(await again).toBe(first);
});

test('two that begin within one millisecond get numbers of their own', async () => {
  const { one, schema } = await mesh('one');
  const slow = await OpenPeer.boot(schema, 'slow');
  await stopClock(schema);
  await slow.begin();
  const first = await openSession(slow, 'a');
  const second = openSession(one, 'b');
  expect(await comesTo(second, schema, 'one')).toBe('waits');
  await slow.commit();
  expect(await second).toBe(first + 1);
});

test('a number that the server forgot with its last moments is not given out again', async () => {
  const { one, schema } = await mesh('one');
  const slow = await OpenPeer.boot(schema, 'slow');
  const pass = await stopClock(schema);
  await pass(1_000);
  await slow.begin();
  const lost = await openSession(slow, 'a');
  await slow.lose();
  await pass(1);
  expect(await openSession(one, 'b')).toBeGreaterThan(lost);
});

test('who opens a session forgets those of long ago, and waits for nobody who is at one of them', async () => {
  const { one, schema } = await mesh('one');
  await sql(`insert into ${schema}.sessions (number, boot, lease_ms, writer, report, opened_at, expires_at)
    select n, 'old', 1, 1, '{}', 0, 0 from generate_series(1, 2) n`);
  const burial = await begin(schema);
  await burial('select from agentmesh.sessions where number = 1 for share');
  const opened = openSession(one, 'boot');
  expect(await comesTo(opened, schema, 'one')).toBe('answered');
  expect(await sql(`select number::int from ${schema}.sessions where boot = 'old'`)).toEqual([{ number: 1 }]);
});

test('of those that come first to a server that lost its last moments, one makes all numbers pass over these', async () => {
  const { one, schema } = await mesh('one');
  const slow = await OpenPeer.boot(schema, 'slow');
  // Their lane is there.
  await tasksOf(one).add(task('before'));
  await sql(`delete from ${schema}.uptime`);
  await slow.begin();
  await tasksOf(slow).add(task('a'));
  const second = tasksOf(one).add(task('b'));
  expect(await comesTo(second, schema, 'one')).toBe('waits');
  await slow.commit();
  await second;
  expect(await sql(`select from ${schema}.uptime`)).toHaveLength(1);
});
