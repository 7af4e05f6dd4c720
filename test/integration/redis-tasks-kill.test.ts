import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Claim } from '../../src/core/ports/tasks.ts';
import { untilAnswered, useRedis } from '../support/redis-backends.ts';
import {
  conservationFaults,
  edgesTo,
  plainTask,
  runAll,
  type TaskCaller,
  wanting,
} from '../support/redis-task-load.ts';
import { type RedisServer, startRedis } from '../support/servers/redis-server.ts';

describe('kill -9 of the server, everything on disk before it is answered', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis({ durable: true });
  });
  afterAll(async () => {
    await server.stop();
  });

  test('T1, T3, T4, T9: nothing acknowledged is lost, no token comes again, nothing ends twice', async () => {
    await using used = await useRedis({ url: server.url, mesh: 'killed' });
    const me: TaskCaller = { tasks: used.backend.tasks, op: used.op };
    const acknowledged = new Set<string>();
    const ended = new Map<string, number>();
    const tokens = new Map<string, number>();
    let isOver = false;
    let made = 0;
    /** The same operation until it is answered, as the session's client does it. */
    const insist = async <T>(send: (op: ReturnType<TaskCaller['op']>) => T | Promise<T>): Promise<T> => {
      const op = me.op();
      return untilAnswered(async () => send(op), 30_000);
    };
    const produce = async (): Promise<void> => {
      while (!isOver) {
        const ids = Array.from({ length: 20 }, () => `t${made++}`);
        const batch = ids.map((id, i) =>
          plainTask(id, i === 19 ? { dependsOn: edgesTo(ids[0] as string) } : {}),
        );
        const { results } = await insist((op) => me.tasks.enqueue(op, batch));
        for (const [i, { status }] of results.entries())
          if (status === 'enqueued') acknowledged.add(ids[i] as string);
      }
    };
    const consume = async (): Promise<void> => {
      while (!isOver) {
        const { claims } = await insist((op) => me.tasks.claim(op, wanting(15)));
        for (const { task, token } of claims) {
          expect(token, 'T3').toBeGreaterThan(tokens.get(task) ?? 0);
          tokens.set(task, token);
        }
        if (claims.length === 0) continue;
        const { results } = await insist((op) =>
          me.tasks.settle(
            op,
            claims.map((claim) => ({ claim, as: 'complete', result: 1 })),
          ),
        );
        for (const [i, result] of results.entries()) {
          expect(result, 'T4').toEqual({ status: 'settled', state: 'completed' });
          const { task } = claims[i] as Claim;
          ended.set(task, (ended.get(task) ?? 0) + 1);
        }
      }
    };
    const load = Promise.all([produce(), produce(), consume(), consume()]);
    for (let kill = 0; kill < 3; kill++) {
      await new Promise((resolve) => setTimeout(resolve, 400));
      await server.kill9();
      await server.start();
      await untilAnswered(() => me.tasks.counts() as Promise<unknown>, 30_000);
    }
    isOver = true;
    await load;
    await untilAnswered(() => runAll(me), 30_000);
    const { queues } = await me.tasks.counts(['q']);
    expect(queues[0]?.totals.enqueued, 'T1').toBe(made);
    expect(acknowledged.size).toBeGreaterThan(0);
    const records = await me.tasks.get([...acknowledged]);
    expect(records.filter((record) => record?.state !== 'completed')).toEqual([]);
    expect(
      [...ended.values()].filter((times) => times > 1),
      'T4',
    ).toEqual([]);
    expect(await conservationFaults(me), 'T9').toEqual([]);
    expect(queues[0]?.states.completed).toBe(made);
  }, 120_000);
});
