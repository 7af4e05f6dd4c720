import { expect, test } from 'vitest';
import { PortProcess } from '../support/durable/port-process.ts';
import { newWorld, plainRedis, startMesh, STORES, type World, within } from '../support/durable/stores.ts';

/** Defect 52: a delayed job was moved to its queue by one process alone; when that was gone it never ran (BullMQ #2534). */
interface Queue {
  /** A process submits a job for later, and is gone. */
  submitForLater(delayMs: number): Promise<void>;
  /** When a worker had the job, ms after it was submitted; `undefined`: not in this time. */
  ranAfter(withinMs: number): Promise<number | undefined>;
}

export async function scenario(queue: Queue): Promise<void> {
  await queue.submitForLater(500);
  const ms = await queue.ranAfter(3_500);
  expect(ms).toBeDefined();
  // The clocks of this process and the server may differ in speed, not by more.
  expect(ms).toBeGreaterThan(480);
}

/** Its promoter is a timer of the process that submits. */
function naive(): Queue {
  const { client, key } = plainRedis();
  let submittedAt = 0;
  return {
    async submitForLater(delayMs) {
      submittedAt = performance.now();
      await client.zadd(`${key}:delayed`, Date.now() + delayMs, 'job');
      const promoter = setTimeout(() => void client.lpush(key, 'job'), delayMs);
      clearTimeout(promoter);
    },
    ranAfter: (withinMs) =>
      within(withinMs, async () => {
        return (await client.rpop(key)) === null ? undefined : performance.now() - submittedAt;
      }),
  };
}

async function ours(world: World): Promise<Queue> {
  // There before, with nothing to do: nobody tells it.
  const worker = await startMesh(world);
  let ranAt: number | undefined;
  worker.registerAgent({ id: 'worker', handler: () => void (ranAt = performance.now()) });
  let submittedAt = 0;
  return {
    async submitForLater(delayMs) {
      const submitter = await PortProcess.start(world, 500);
      submittedAt = performance.now();
      expect(await submitter.enqueue('job', { delayMs })).toBe('enqueued');
      await submitter.backend.stop();
    },
    ranAfter: (withinMs) => within(withinMs, () => (ranAt === undefined ? undefined : ranAt - submittedAt)),
  };
}

test('defect 52: what one process was to promote never runs', async () => {
  await expect(scenario(naive())).rejects.toThrow();
});

test.each(STORES)('defect 52: on %s any process has it done, in time and not before', async (store) => {
  await expect(scenario(await ours(newWorld(store)))).resolves.toBeUndefined();
});
