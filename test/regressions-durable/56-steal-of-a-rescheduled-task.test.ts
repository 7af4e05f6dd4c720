import { expect, test } from 'vitest';
import type { Claim } from '../../src/core/ports/tasks.ts';
import { PortProcess } from '../support/durable/port-process.ts';
import { newWorld, plainRedis, STORES, type World } from '../support/durable/stores.ts';

/** Defect 56: a steal was confirmed by a victim that had given the task back meanwhile: it belonged to nobody, and was stuck (Dask #5370, #8787). */
interface Mesh {
  /** A thief asks the victim for its task; before that arrives the victim gives the task back and a third one takes it. */
  stealWhileRescheduled(): Promise<void>;
  /** The same, but the thief is first, and the victim gives back and begins what it hasn't any more. */
  stealBeforeRescheduled(): Promise<void>;
  /** How often each of the two tasks was begun, in the end, by whoever has it or can have it. */
  begun(): Promise<readonly number[]>;
}

export async function scenario(mesh: Mesh): Promise<void> {
  await mesh.stealWhileRescheduled();
  await mesh.stealBeforeRescheduled();
  expect(await mesh.begun()).toEqual([1, 1]);
}

/** A confirmation names the task alone, whoever has it by then. */
function naive(): Mesh {
  const { client, key } = plainRedis();
  const steal = (id: string): Promise<unknown> => client.hset(`${key}:owner`, id, 'thief');
  const giveBack = async (id: string): Promise<void> => {
    await client.hset(`${key}:owner`, id, 'nobody');
    await client.lpush(`${key}:queue`, id);
  };
  return {
    async stealWhileRescheduled() {
      await client.hset(`${key}:owner`, 'one', 'victim');
      await giveBack('one');
      const id = (await client.rpop(`${key}:queue`)) ?? '';
      await client.hset(`${key}:owner`, id, 'third');
      await steal('one');
    },
    async stealBeforeRescheduled() {
      await client.hset(`${key}:owner`, 'two', 'victim');
      await steal('two');
      await giveBack('two');
    },
    /** The thief has nothing of what it was promised after the first; the third one isn't the owner any more. */
    async begun() {
      const owners = await client.hgetall(`${key}:owner`);
      const third = owners['one'] === 'third' ? 1 : 0;
      const [thief, queued] = [owners['two'] === 'thief' ? 1 : 0, await client.llen(`${key}:queue`)];
      return [third, thief + queued];
    },
  };
}

async function ours(world: World): Promise<Mesh> {
  const start = (): Promise<PortProcess> => PortProcess.start(world, 60_000);
  const [victim, thief, third] = await Promise.all([start(), start(), start()]);
  const claims: { readonly by: PortProcess; readonly claim: Claim }[] = [];
  const has = (by: PortProcess, all: readonly Claim[]): unknown =>
    claims.push(...all.map((claim) => ({ by, claim })));
  const steal = async (): Promise<readonly Claim[]> => {
    const from = { idle: victim.session };
    const request = { from, match: 'any', limit: 5, maxMoves: 3, steal: 'there is room' } as const;
    return (await thief.tasks.takeover(thief.op(), request)).claims;
  };
  const back = (claim: Claim) =>
    ({ claim, as: 'release', delayMs: 0, reason: 'given back', refundAttempt: true }) as const;
  return {
    async stealWhileRescheduled() {
      await victim.enqueue('one');
      const [claim] = (await victim.claim(1, 0)) as [Claim];
      has(victim, [claim]);
      expect(await victim.settle(back(claim))).toMatchObject({ status: 'settled', state: 'ready' });
      has(third, await third.claim(1, 0));
      has(thief, await steal());
    },
    async stealBeforeRescheduled() {
      await victim.enqueue('two');
      const [claim] = (await victim.claim(1, 0)) as [Claim];
      has(victim, [claim]);
      has(thief, await steal());
      expect(await victim.settle(back(claim))).toMatchObject({ status: 'stale' });
      has(third, await third.claim(1, 0));
    },
    async begun() {
      const begun = { one: 0, two: 0 };
      // Everybody begins what it takes for its own.
      for (const { by, claim } of claims) {
        const { started } = await by.tasks.start(by.op(), [claim]);
        if (started[0] === true) begun[claim.task as 'one' | 'two'] += 1;
      }
      return [begun.one, begun.two];
    },
  };
}

test('defect 56: a steal that names the task alone leaves it with nobody, or with two', async () => {
  await expect(scenario(naive())).rejects.toThrow();
});

test.each(STORES)('defect 56: on %s each task has one owner at any time', async (store) => {
  await expect(scenario(await ours(newWorld(store)))).resolves.toBeUndefined();
});
