import { expect, test } from 'vitest';
import { item, requestOf } from '../../src/testing/suites/locks/world.ts';
import { mesh } from '../support/postgres-peers.ts';
import { begin } from '../support/postgres-races.ts';

test('L6: waits that end together leave their queue in one look at it, and whoever comes next is granted', async () => {
  const { giver, waiter, schema } = await mesh('giver', 'waiter');
  const ask = (peer: typeof giver, ids: readonly string[]): Promise<unknown> =>
    peer.call(async (op) =>
      peer.backend.locks.request(
        op,
        ids.map((id) => requestOf(id, item('hot'), {})),
      ),
    );
  const ids = Array.from({ length: 300 }, (_, i) => `w${i}`);
  await ask(giver, ['holder']);
  await ask(waiter, ids);
  await ask(giver, ['next']);
  const run = await begin(schema);
  await run(`set local track_functions = 'all'`);
  const op = waiter.next();
  const list = (value: string): string => `array_fill(${value}, array[${ids.length}])`;
  const answered = await run(
    `select agentmesh.lock_release_v1(${op.session}, ${op.sequence}, array['${ids.join(`','`)}'], ${list('null::bigint')},
      ${list('false')}, ${list('null::double precision')}, ${list('null::text')})::json -> 'ended' as ended`,
  );
  expect(answered.rows).toEqual([{ ended: ids.map(() => true) }]);
  const calls = await run(
    `select funcname as name, calls::int from pg_stat_xact_user_functions
    where schemaname = '${schema}' and funcname in ('lock_opened_v1', 'lock_moved_v1') order by 1`,
  );
  expect(calls.rows).toEqual([
    { name: 'lock_moved_v1', calls: 1 },
    { name: 'lock_opened_v1', calls: 1 },
  ]);
  await run('commit');
  const { granted } = await giver.call(async (given) =>
    giver.backend.locks.release(given, [{ id: 'holder' }]),
  );
  expect(granted).toEqual(['next']);
});
