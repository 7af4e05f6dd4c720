import { expect, inject, onTestFinished, test } from 'vitest';
import { postgres } from '../../src/backends/postgres/postgres.ts';
import { redis } from '../../src/backends/redis/redis.ts';
import type { Backend } from '../../src/core/ports/backend.ts';
import { CoordinationManager } from '../../src/index.ts';
import { scratchSchema, sql } from '../support/postgres-scratch.ts';
import { refusalOf, useRedis } from '../support/redis-backends.ts';
import { type RedisServer, startRedis } from '../support/servers/redis-server.ts';

/** What a mesh has was deleted by hand while its processes run. */

async function ownRedis(): Promise<RedisServer> {
  const server = await startRedis();
  onTestFinished(() => server.stop());
  return server;
}

/**
 * The codes that the results of three tasks are refused with once their data is gone: one runs in the process that waits for them, one in another
 * process, one nowhere.
 */
async function refusals(
  backend: () => Backend,
  loseData: () => Promise<unknown>,
): Promise<readonly unknown[]> {
  const start = (): Promise<CoordinationManager> =>
    CoordinationManager.start({ backend: backend(), session: { leaseMs: 1_500, thread: 'main' }, env: {} });
  await using here = await start();
  await using there = await start();
  const lost = Promise.withResolvers<void>();
  const begun = { here: Promise.withResolvers<void>(), there: Promise.withResolvers<void>() };
  for (const [id, mesh] of Object.entries({ here, there }) as [keyof typeof begun, CoordinationManager][])
    mesh.registerAgent({
      id,
      capabilities: [id],
      handler: () => {
        begun[id].resolve();
        return lost.promise;
      },
    });
  const tasks = await here.submitTasks(
    ['here', 'there', 'nowhere'].map((capability) => ({ type: 't', capabilities: [capability] })),
  );
  const codes = Promise.all(tasks.map((task) => refusalOf(task.result())));
  await Promise.all([begun.here.promise, begun.there.promise]);
  await loseData();
  lost.resolve();
  return await codes;
}

test('Redis: results of tasks whose keys were deleted are refused', async () => {
  const server = await ownRedis();
  const codes = await refusals(
    () => redis({ url: server.url }),
    () => server.cli('flushall'),
  );
  expect(codes).toEqual(['UNKNOWN_TASK', 'UNKNOWN_TASK', 'UNKNOWN_TASK']);
});

test('PostgreSQL: results of tasks whose schema was dropped are refused', async () => {
  const schema = scratchSchema();
  const codes = await refusals(
    () => postgres({ url: inject('postgresUrl'), schema }),
    () => sql(`drop schema ${schema} cascade`),
  );
  expect(codes).toEqual(['SCHEMA_MISMATCH', 'SCHEMA_MISMATCH', 'SCHEMA_MISMATCH']);
});

test('Redis: a server that has lost its data gives no session the number of an earlier one', async () => {
  const server = await ownRedis();
  await using before = await useRedis({ url: server.url });
  await server.cli('flushall');
  await using after = await useRedis({ url: server.url });
  expect(after.session).toBeGreaterThan(before.session);
});
