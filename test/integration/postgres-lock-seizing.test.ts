import { describe, expect, test } from 'vitest';
import type { CycleEdge, LockAnswer, LockItem } from '../../src/core/ports/locks.ts';
import { granted, item, requestOf, type Wish } from '../../src/testing/suites/locks/world.ts';
import { mesh, type Peer } from '../support/postgres-peers.ts';
import { begin, comesTo, isBlocked, OpenPeer, stopClock } from '../support/postgres-races.ts';
import { sql } from '../support/postgres-scratch.ts';

async function ask(
  peer: Peer,
  id: string,
  what: string | readonly LockItem[],
  wish?: Wish,
): Promise<LockAnswer> {
  const request = requestOf(id, what, wish ?? {});
  const { answers } = await peer.call(async (op) => peer.backend.locks.request(op, [request]));
  return answers[0] as LockAnswer;
}

async function keep({ backend, session }: Peer, id: string): Promise<LockAnswer> {
  const { answers } = await backend.locks.keep(session, [{ id }]);
  return answers[0] as LockAnswer;
}

const release = (peer: Peer, id: string): Promise<unknown> =>
  peer.call(async (op) => peer.backend.locks.release(op, [{ id }]));

const both = (...resources: readonly string[]): readonly LockItem[] =>
  resources.flatMap((name) => item(name));

test.each(['single', 'tied'])(
  'L1: resources that were %s are tied while two calls wait for one of them each',
  async (how) => {
    const { giver, schema } = await mesh('giver');
    const waiter = await OpenPeer.boot(schema, 'waiter');
    const taker = await OpenPeer.boot(schema, 'taker');
    granted(await ask(giver, 'holder', 'a'));
    if (how === 'tied') {
      granted(await ask(giver, 'holder of more', both('c', 'd')));
      await ask(giver, 'a with c', both('a', 'c'));
      await ask(giver, 'b with d', both('b', 'd'));
    }
    await waiter.begin();
    expect(await ask(waiter, 'a with b', both('a', 'b'), { priority: 3 })).toMatchObject({
      status: 'waiting',
    });
    const inFront = await begin(schema);
    const front = inFront(`select from agentmesh.lock_resources where name = 'a' for update`);
    await isBlocked(schema, 'by hand');
    const given = release(giver, 'holder');
    await isBlocked(schema, 'giver');
    await taker.begin();
    const taken = ask(taker, 'only b', 'b', { priority: 4 });
    await isBlocked(schema, 'taker');
    await waiter.commit();
    // Either may have the row of a next. Who takes b alone and needs no a has it now; who gives a back decides without knowing of it, unless
    // both have seen the tie.
    const isFront = await Promise.race([front.then(() => true), taken.then(() => false)]);
    if (isFront) {
      await comesTo(taken, schema, 'taker');
      await inFront('commit');
      await comesTo(given, schema, 'giver');
      await taken;
      await taker.commit();
    } else {
      await taker.commit();
      await front;
      await inFront('commit');
    }
    await given;
    expect(await sql(`select ticket from ${schema}.lock_holders where resource = 'b'`)).toHaveLength(1);
  },
);

test('L3: a lease that is being renewed when somebody finds it over is not over', async () => {
  const { other, schema } = await mesh('other');
  const holder = await OpenPeer.boot(schema, 'holder');
  const pass = await stopClock(schema);
  granted(await ask(holder, 'leased', 'r', { lease: { leaseMs: 100 } }));
  await pass(50);
  await holder.begin();
  granted(await keep(holder, 'leased'));
  await pass(60);
  const asked = ask(other, 'next', 'r');
  await isBlocked(schema, 'other');
  await holder.commit();
  expect(await asked).toMatchObject({ status: 'waiting' });
  await pass(50);
  expect(await keep(other, 'next')).toMatchObject({ status: 'granted' });
});

test('D1: a victim that waits for fewer than it was seen to wait for is not aborted', async () => {
  const { one } = await mesh('one');
  granted(await ask(one, 'first', item('r', 'shared')));
  granted(await ask(one, 'second', item('r', 'shared')));
  const seen = await ask(one, 'victim', 'r');
  if (seen.status !== 'waiting') throw new Error(seen.status);
  await release(one, 'first');
  const now = await keep(one, 'victim');
  if (now.status !== 'waiting') throw new Error(now.status);
  const abort = ({ wait }: typeof seen): Promise<object> =>
    one.call(async (op) => one.backend.locks.abort(op, wait, [], []));
  expect(await abort(seen)).toMatchObject({ aborted: false });
  expect(await abort(now)).toMatchObject({ aborted: true });
});

test('of two reports of one session about its other waits the later one stands', async () => {
  const { one, schema } = await mesh('one');
  const slow = await OpenPeer.boot(schema, 'slow');
  const edges = (...holders: readonly string[]): readonly CycleEdge[] =>
    holders.map((holder) => ({ waiter: 'w', holder, by: 'declared', what: 't' }) as const);
  await slow.begin();
  await slow.backend.locks.publish(slow.session, edges('a', 'b'));
  const later = Promise.resolve(one.backend.locks.publish(slow.session, edges('c')));
  await comesTo(later, schema, 'one');
  await slow.commit();
  await later;
  expect((await one.backend.locks.snapshot()).published).toEqual(edges('c'));
});

describe('who forgets resources that were idle for a day waits for nobody', () => {
  const DAY_MS = 86_400_000;

  test('who wants one of them again', async () => {
    const { one, schema } = await mesh('one');
    const slow = await OpenPeer.boot(schema, 'slow');
    const pass = await stopClock(schema);
    granted(await ask(one, 'former', both('idle', 'wanted')));
    await release(one, 'former');
    await pass(2 * DAY_MS);
    await sql(`update ${schema}.sessions set expires_at = expires_at + ${2 * DAY_MS}::bigint * 1000`);
    await slow.begin();
    granted(await ask(slow, 'again', 'wanted'));
    const tidy = await begin(schema);
    const tidied = tidy('select agentmesh.lock_tidy_v1()');
    expect(await comesTo(tidied, schema, 'by hand')).toBe('answered');
    await tidy('commit');
    await slow.commit();
    expect(await sql(`select name from ${schema}.lock_resources`)).toEqual([{ name: 'wanted' }]);
  });

  test('who does the same', async () => {
    const { schema } = await mesh('one');
    const [first, second] = [await begin(schema), await begin(schema)];
    await first('select agentmesh.lock_tidy_v1()');
    const tidied = second('select agentmesh.lock_tidy_v1()');
    expect(await comesTo(tidied, schema, 'by hand')).toBe('answered');
  });
});

test('who comes in front of one that waits changes his wait, where the list of waits is long too', async () => {
  const { peer, schema, boot } = await mesh('peer');
  granted(await ask(peer, 'holder', 'r'));
  expect(await ask(peer, 'waiter', 'r')).toMatchObject({ status: 'waiting' });
  // What a long list is to the planner: from now on connections look it up by its index.
  await sql(
    `update pg_class set reltuples = 1e6, relpages = 1 where oid = '${schema}.lock_waiters'::regclass`,
  );
  const versionOf = async (id: string): Promise<number> => {
    const answer = await keep(peer, id);
    return answer.status === 'waiting' ? answer.wait.version : NaN;
  };
  const before = await versionOf('waiter');
  const late = await boot('late');
  expect(await ask(late, 'in front', 'r', { priority: 4 })).toMatchObject({ status: 'waiting', ahead: 0 });
  expect(await versionOf('waiter')).toBe(before + 1);
  expect(await ask(late, 'behind', 'r')).toMatchObject({ status: 'waiting', ahead: 2 });
  expect(await versionOf('waiter')).toBe(before + 1);
});
