import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { Claim } from '../../src/core/ports/tasks.ts';
import { PortProcess } from '../support/durable/port-process.ts';
import { newWorld, plainRedis, STORES, within, type World } from '../support/durable/stores.ts';

/** Defect 51: a job whose worker stalled was run again, and the first one overwrote the record of the one that had won (Bull #1416). */
interface Queue {
  /** A worker takes the job and stalls past its lease. */
  takeAndStall(leaseMs: number): Promise<void>;
  /** Another one takes it over and finishes it. */
  takeOver(result: string): Promise<void>;
  /** The first goes on where it was, and finishes too. */
  finishLate(result: string): Promise<void>;
  result(): Promise<unknown>;
}

export async function scenario(queue: Queue): Promise<void> {
  await queue.takeAndStall(1_000);
  await queue.takeOver('winner');
  await queue.finishLate('loser');
  expect(await queue.result()).toBe('winner');
}

function naive(): Queue {
  const { client, key } = plainRedis();
  const finish = async (result: string): Promise<void> => void (await client.hset(key, 'result', result));
  return {
    async takeAndStall(leaseMs) {
      await client.set(`${key}:lock`, 'first', 'PX', leaseMs, 'NX');
      await sleep(leaseMs + 50);
    },
    async takeOver(result) {
      if ((await client.set(`${key}:lock`, 'second', 'PX', 500, 'NX')) === 'OK') await finish(result);
    },
    finishLate: finish,
    result: () => client.hget(key, 'result'),
  };
}

async function ours(world: World): Promise<Queue> {
  const other = await PortProcess.start(world, 60_000);
  let first: PortProcess;
  let late: Claim;
  return {
    async takeAndStall(leaseMs) {
      await other.enqueue('job');
      first = await PortProcess.start(world, leaseMs);
      [late] = (await first.claim()) as [Claim];
    },
    async takeOver(result) {
      const claim = await within(3_000, async () => {
        const request = { from: 'dead', match: 'any', limit: 10, maxMoves: 3, steal: 'it is dead' } as const;
        return (await other.tasks.takeover(other.op(), request)).claims[0];
      });
      expect(claim?.task).toBe('job');
      expect(await other.settle({ claim: claim as Claim, as: 'complete', result })).toMatchObject({
        status: 'settled',
      });
    },
    async finishLate(result) {
      const answer = await first.settle({ claim: late, as: 'complete', result });
      expect(answer).toMatchObject({ status: 'stale', state: 'completed' });
    },
    result: async () => (await other.record('job'))?.result,
  };
}

test('defect 51: whoever finishes last is recorded', async () => {
  await expect(scenario(naive())).rejects.toThrow();
});

test.each(STORES)('defect 51: on %s the one with the newest claim is', async (store) => {
  await expect(scenario(await ours(newWorld(store)))).resolves.toBeUndefined();
});
