import { execFileSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { createRouterWorld, deferred, expectConserved } from '../support/messaging.ts';

describe('shutdown', () => {
  test('waits for handlers under way, then takes no more', async () => {
    const { router, clock } = createRouterWorld();
    const gate = deferred();
    const done: unknown[] = [];
    router.subscribe('b', async ({ payload }) => {
      await gate.promise;
      done.push(payload);
    });
    await router.send('a', 'b', 1);
    await router.send('a', 'b', 2);
    await clock.settle();
    const stopped = router.shutdown();
    expect(router.shutdown()).toBe(stopped);
    await clock.advance(1_000);
    gate.resolve();
    await stopped;
    expect(done).toEqual([1]);
    expect(await expectConserved(router)).toMatchObject({ delivered: 1, waiting: 1, handling: 0 });
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
  });

  test('aborts what outlives the drain and gives its message back', async () => {
    const { router, clock } = createRouterWorld();
    let signal: AbortSignal | undefined;
    router.subscribe('b', async (message) => {
      ({ signal } = message);
      await new Promise(() => undefined);
    });
    await router.send('a', 'b', 1);
    await clock.settle();
    const stopped = router.shutdown({ drainMs: 2_000 });
    await clock.advance(1_900);
    expect(signal?.aborted).toBe(false);
    await clock.advance(200);
    await stopped;
    expect(signal?.reason).toMatchObject({ code: 'STOPPED' });
    expect(await expectConserved(router)).toMatchObject({ waiting: 1, handling: 0 });
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
  });

  test('refuses everything afterwards with STOPPED, and changes nothing', async () => {
    const { router } = createRouterWorld();
    await router.shutdown();
    const refused = { code: 'STOPPED' };
    await expect(router.send('a', 'b', 1)).rejects.toMatchObject(refused);
    await expect(router.broadcast('a', 1)).rejects.toMatchObject(refused);
    await expect(router.request('a', 'b', 1)).rejects.toMatchObject(refused);
    await expect(router.sendResponse('x', 1)).rejects.toMatchObject(refused);
    await expect(router.agentJoined('a')).rejects.toMatchObject(refused);
    await expect(router.redrive()).rejects.toMatchObject(refused);
    await expect(router.performMaintenance()).rejects.toMatchObject(refused);
    expect(() => router.subscribe('a', () => undefined)).toThrow(expect.objectContaining(refused));
    await router.agentLeft('a');
    await router.unsubscribe('a');
    expect(await expectConserved(router)).toMatchObject({ published: 0 });
  });

  test('called from a handler it ends too', async () => {
    const { router, clock } = createRouterWorld();
    const seen: string[] = [];
    router.subscribe('b', async () => {
      seen.push('begin');
      await router.shutdown({ drainMs: 500 });
      seen.push('end');
    });
    await router.send('a', 'b', 1);
    await clock.advance(1_000);
    expect(seen).toEqual(['begin', 'end']);
  });

  test('with a thousand handlers under way, everything settles', async () => {
    const { router, clock } = createRouterWorld();
    for (let i = 0; i < 1_000; i++) router.subscribe(`b${i}`, () => new Promise(() => undefined));
    await router.broadcast('a', 1);
    const replies = Array.from({ length: 1_000 }, (_, i) => router.request('a', `b${i}`, i));
    const outcomes = Promise.allSettled(replies);
    await clock.settle();
    const stopped = router.shutdown({ drainMs: 1_000 });
    await clock.advance(1_100);
    await stopped;
    expect((await outcomes).every(({ status }) => status === 'rejected')).toBe(true);
    expect(await expectConserved(router)).toMatchObject({ published: 2_000, handling: 0, waiting: 2_000 });
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
  });
});

test('G6: a process with a router, stopped or idle, exits by itself', () => {
  for (const end of ['await router.shutdown();', '']) {
    const script = `
      import { MessageRouter } from './src/messaging/router.ts';
      const router = new MessageRouter();
      router.subscribe('b', async () => undefined);
      router.subscribe('c', async () => { throw new Error('no'); });
      await router.send('a', 'b', 1);
      await router.send('a', 'nobody', 1);
      await router.request('a', 'b', 1, { timeoutMs: 20 }).catch(() => undefined);
      ${end}
      console.log('end');
    `;
    const output = execFileSync(process.execPath, ['--input-type=module-typescript', '-e', script], {
      encoding: 'utf8',
      timeout: 10_000,
    });
    expect(output).toBe('end\n');
  }
});
