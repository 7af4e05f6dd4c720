import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { PortProcess } from '../support/durable/port-process.ts';
import {
  LEASE_MS,
  newWorld,
  plainPostgres,
  startMesh,
  STORES,
  type World,
  within,
} from '../support/durable/stores.ts';

/**
 * Defect 54: a rescue by run time ran a long job again while it was alive (Oban, hexpm #1825), and a node that came back under its former
 * name kept the jobs of its former life from being rescued (#862).
 */
interface Queue {
  /** A live worker runs a job for so long, while another one looks for what to rescue. Resolves to how often it was begun. */
  runLong(ms: number): Promise<number>;
  /** The worker of this name takes a job, dies, and is there again under its name. Resolves whether the job was rescued within this time. */
  comeBack(name: string, withinMs: number): Promise<boolean>;
}

export async function scenario(queue: Queue): Promise<void> {
  expect(await queue.runLong(3 * LEASE_MS)).toBe(1);
  expect(await queue.comeBack('node-1', LEASE_MS + 2_500)).toBe(true);
}

/** What runs longer than a while is run again, unless a node of the worker's name is alive. */
async function naive(): Promise<Queue> {
  const { pool, table } = await plainPostgres('id text, node text, attempted_at timestamptz, runs int');
  const rescue = (alive: readonly string[]): Promise<{ rowCount: number | null }> =>
    pool.query(
      `update ${table} set runs = runs + 1, node = 'rescuer', attempted_at = now()
       where attempted_at < now() - interval '${LEASE_MS} ms' and not node = any($1)`,
      [alive],
    );
  return {
    async runLong(ms) {
      await pool.query(`insert into ${table} values ('long', 'node-1', now(), 1)`);
      for (let passed = 0; passed < ms; passed += 200) {
        await sleep(200);
        await rescue([]);
      }
      return (
        (await pool.query<{ runs: number }>(`select runs from ${table} where id = 'long'`)).rows[0]?.runs ?? 0
      );
    },
    async comeBack(name, withinMs) {
      await pool.query(`insert into ${table} values ('crashed', $1, now(), 1)`, [name]);
      const rescued = await within(withinMs, async () =>
        (await rescue([name])).rowCount === 1 ? true : undefined,
      );
      return rescued === true;
    },
  };
}

async function ours(world: World): Promise<Queue> {
  return {
    async runLong(ms) {
      const [runner, other] = await Promise.all([startMesh(world), startMesh(world)]);
      let begun = 0;
      const handler = async (): Promise<void> => {
        begun += 1;
        await sleep(ms);
      };
      runner.registerAgent({ id: 'runner', handler });
      other.registerAgent({ id: 'other', handler });
      await (await runner.submitTask({ type: 'long', input: {} })).result();
      await Promise.all([runner.shutdown(), other.shutdown()]);
      return begun;
    },
    async comeBack(name, withinMs) {
      const first = await PortProcess.start(world, LEASE_MS);
      await first.enqueue('crashed');
      expect(await first.claim()).toHaveLength(1);
      await first.backend.stop();
      // The same agent, in the process that takes the place of the dead one.
      const again = await startMesh(world);
      let isDone = false;
      again.registerAgent({ id: name, handler: () => void (isDone = true) });
      return (await within(withinMs, () => (isDone ? true : undefined))) === true;
    },
  };
}

test('defect 54: a rescue by run time runs live jobs again, one by names leaves dead ones', async () => {
  await expect(scenario(await naive())).rejects.toThrow();
});

test.each(STORES)('defect 54: on %s the lease of one boot decides', async (store) => {
  await expect(scenario(await ours(newWorld(store)))).resolves.toBeUndefined();
});
