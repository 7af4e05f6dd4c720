import { expect, test } from 'vitest';
import {
  plainRedis,
  settledWithin,
  startMesh,
  STORES,
  newWorld,
  LEASE_MS,
  type World,
  within,
} from '../support/durable/stores.ts';
import { PortProcess } from '../support/durable/port-process.ts';
import { WorkerProcess } from '../support/durable/worker-process.ts';

/**
 * Defect 25: a crash between taking a task and claiming it lost the task, one while it ran left it "running" for ever, and a task that waited
 * for its next attempt waited in the memory of the worker that had failed it.
 */
interface Fleet {
  /** Three tasks: one was taken when its worker died, one ran there, one had failed there and was to run again. */
  crashWithThree(): Promise<void>;
  /** Another worker works from now on. Resolves to how many of the three have ended well, when all have or after so long. */
  ended(withinMs: number): Promise<number>;
}

export async function scenario(fleet: Fleet): Promise<void> {
  await fleet.crashWithThree();
  expect(await fleet.ended(LEASE_MS + 4_000)).toBe(3);
}

/** A list, statuses in a hash, retries by sleeping. */
function naive(): Fleet {
  const { client, key } = plainRedis();
  return {
    async crashWithThree() {
      await client.lpush(`${key}:queue`, 'taken', 'running', 'failed');
      await client.rpop(`${key}:queue`);
      const running = (await client.rpop(`${key}:queue`)) ?? '';
      await client.hset(`${key}:status`, running, 'running');
      // Its worker sleeps before it pushes it again, and dies meanwhile.
      await client.rpop(`${key}:queue`);
    },
    async ended() {
      for (let id = await client.rpop(`${key}:queue`); id !== null; id = await client.rpop(`${key}:queue`))
        await client.hset(`${key}:status`, id, 'completed');
      return (await client.hvals(`${key}:status`)).filter((status) => status === 'completed').length;
    },
  };
}

function ours(world: World): Fleet {
  const results: Promise<unknown>[] = [];
  return {
    async crashWithThree() {
      const mesh = await startMesh(world);
      const submit = async (type: string, delayMs: number): Promise<void> => {
        const retry = { delayMs, jitter: 'none' as const };
        const handle = await mesh.submitTask({ type, input: { ms: 100 }, retry });
        const result = handle.result();
        result.catch(() => undefined);
        results.push(result);
      };
      await submit('work', 0);
      const dying = await WorkerProcess.start(world, { slots: 1 });
      await dying.heard(({ ran }) => ran);
      await submit('work', 0);
      await dying.kill();
      // Claimed, and dead before anything was begun.
      const taker = await PortProcess.start(world, LEASE_MS);
      expect(await taker.claim(1, 0)).toHaveLength(1);
      await taker.backend.stop();
      await submit('fails first', 300);
      const failing = await startMesh(world);
      failing.registerAgent({
        id: 'failing',
        handler: {
          'fails first': ({ attempt }) => {
            if (attempt === 1) throw new Error('not yet');
          },
        },
      });
      const failed = await within(3_000, async () => {
        const { items } = await failing.queues.list({ type: 'fails first', state: ['scheduled'] });
        return items[0];
      });
      expect(failed?.attempt).toBe(1);
      await failing.shutdown();
    },
    async ended(withinMs) {
      const rescuer = await startMesh(world);
      rescuer.registerAgent({ id: 'rescuer', handler: { work: () => 'done', 'fails first': () => 'done' } });
      const all = await settledWithin(withinMs, Promise.all(results));
      return all?.length ?? 0;
    },
  };
}

test('defect 25: what a crashed worker had in hand is lost', async () => {
  await expect(scenario(naive())).rejects.toThrow();
});

test.each(STORES)('defect 25: on %s another worker does it', async (store) => {
  await expect(scenario(ours(newWorld(store)))).resolves.toBeUndefined();
});
