import { describe, expect, test } from 'vitest';
import { openCaller } from '../../src/testing/suites/caller.ts';
import { item, LockWorld, requestOf } from '../../src/testing/suites/locks/world.ts';
import { memoryEnvironment } from '../support/memory-environment.ts';
import { LONG_MS, mesh } from '../support/postgres-peers.ts';
import { postgresEnvironment } from '../support/postgres-environment.ts';
import { begin, isBlocked, stopClock } from '../support/postgres-races.ts';
import { redisEnvironment } from '../support/redis-environment.ts';

const STORES = { memory: memoryEnvironment, postgres: postgresEnvironment, redis: redisEnvironment };

describe.each(['memory', 'postgres', 'redis'] as const)('%s', (store) => {
  test('L7: nobody takes a place in front of who was passed often enough, however equal their ranks are', async () => {
    const env = await STORES[store]();
    const world = new LockWorld(env, await openCaller(env, 'here'));
    await world.take('holder', 'r');
    await world.wait('stubborn', 'r', { priority: 0, order: { ageStepMs: 1, maxOvertakes: 0 } });
    await env.pass(1);
    // As much later as it is more urgent.
    await world.wait('urgent', 'r', { priority: 1, order: { ageStepMs: 1, maxOvertakes: 0 } });
    expect(await world.queue('r')).toEqual(['stubborn', 'urgent']);
    await env.stop();
  });

  test('L2: a wait that only what its owner holds lets in stays out when that is given back by the same call', async () => {
    const env = await STORES[store]();
    const world = new LockWorld(env, await openCaller(env, 'here'));
    await world.take('mine', 'r', { owner: 'me' });
    await world.take('theirs', 's');
    await world.wait('in front', 'r');
    await world.wait('both', [...item('r', 'shared'), ...item('s')], { owner: 'me', reentrant: true });
    const { granted } = await world.release({ id: 'theirs' }, { id: 'mine' });
    expect(granted).toEqual(['in front']);
    expect((await world.keep('both')).status).toBe('waiting');
    await env.stop();
  });
});

test('an upgrade of a lease that runs out while it waits for the row finds it lost', async () => {
  const { slow, schema } = await mesh('slow');
  const { locks } = slow.backend;
  const pass = await stopClock(schema);
  const held = requestOf('held', item('r', 'shared'), { lease: { leaseMs: 1_000 } });
  const { answers } = await slow.call((op) => locks.request(op, [held]));
  const [grant] = answers;
  if (grant?.status !== 'granted') throw new Error(grant?.status);
  const busy = await begin(schema);
  await busy(`select from agentmesh.lock_resources where name = 'r' for update`);
  const upgradeOf = { id: grant.id, token: grant.token };
  const upgraded = slow.call((op) =>
    locks.request(op, [requestOf('up', item('r'), { owner: 'held', upgradeOf })]),
  );
  await isBlocked(schema, 'slow');
  await pass(LONG_MS / 2);
  await busy('commit');
  expect((await upgraded).answers).toEqual([{ status: 'lost' }]);
});
