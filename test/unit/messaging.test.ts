import { describe, expect, test } from 'vitest';
import type { Envelope } from '../../src/messaging/types.ts';
import { createRouterWorld, deferred, expectConserved } from '../support/messaging.ts';

describe('sending', () => {
  test('a message sent before subscribe is delivered, with all that a handler needs', async () => {
    const { router, clock } = createRouterWorld();
    const id = await router.send('agent1', 'agent2', { type: 'status', n: 1 });
    const got: Envelope[] = [];
    router.subscribe('agent2', (message) => void got.push(message));
    await clock.settle();
    expect(got).toHaveLength(1);
    const [message] = got;
    expect(message).toMatchObject({
      id,
      from: 'agent1',
      to: 'agent2',
      payload: { type: 'status', n: 1 },
      type: 'status',
      redelivered: false,
      delivery: 1,
      topic: undefined,
      sentAt: clock.wall(),
    });
    expect(message?.signal.aborted).toBe(false);
    await router.shutdown();
  });

  test('M1: one sender’s messages are handled in order, one at a time, across an asynchronous handler', async () => {
    const { router, clock } = createRouterWorld();
    const begun: unknown[] = [];
    const gates = [deferred(), deferred(), deferred()];
    router.subscribe('b', async ({ payload }) => {
      begun.push(payload);
      await gates[payload as number]?.promise;
    });
    for (const n of [0, 1, 2]) await router.send('a', 'b', n);
    await clock.settle();
    expect(begun).toEqual([0]);
    gates[0]?.resolve();
    await clock.settle();
    expect(begun).toEqual([0, 1]);
    gates[1]?.resolve();
    gates[2]?.resolve();
    await clock.settle();
    expect(begun).toEqual([0, 1, 2]);
    expect(await expectConserved(router)).toMatchObject({ published: 3, delivered: 3 });
    await router.shutdown();
  });

  test('concurrency handles different senders at the same time, and a hot sender doesn’t fill the places', async () => {
    const { router, clock } = createRouterWorld();
    const begun: unknown[] = [];
    const gate = deferred();
    router.subscribe(
      'b',
      async ({ payload }) => {
        begun.push(payload);
        await gate.promise;
      },
      { concurrency: 3 },
    );
    for (const n of [1, 2, 3, 4, 5, 6]) await router.send('hot', 'b', `hot${n}`);
    for (const from of ['x', 'y', 'z']) await router.send(from, 'b', from);
    await clock.settle();
    expect(begun).toEqual(['hot1', 'x', 'y']);
    gate.resolve();
    await clock.settle();
    expect(begun).toEqual(
      ['hot1', 'x', 'y', 'z', 'hot2', 'hot3', 'hot4', 'hot5', 'hot6'].sort(byBegun(begun)),
    );
    expect(begun.filter((name) => String(name).startsWith('hot'))).toEqual([
      'hot1',
      'hot2',
      'hot3',
      'hot4',
      'hot5',
      'hot6',
    ]);
    await router.shutdown();
  });

  test('messages of different keys of one sender are ordered apart', async () => {
    const { router, clock } = createRouterWorld();
    const begun: unknown[] = [];
    router.subscribe(
      'b',
      async ({ payload }) => {
        begun.push(payload);
        if (payload === 'x1') await new Promise(() => undefined);
      },
      { concurrency: 2 },
    );
    await router.send('a', 'b', 'x1', { key: 'x' });
    await router.send('a', 'b', 'x2', { key: 'x' });
    await router.send('a', 'b', 'y1', { key: 'y' });
    await clock.settle();
    expect(begun).toEqual(['x1', 'y1']);
    await router.shutdown({ drainMs: 0 });
  });

  test('priorities order between senders, never within one', async () => {
    const { router, clock } = createRouterWorld();
    await router.send('a', 'b', 'a-low', { priority: 'low' });
    await router.send('a', 'b', 'a-high', { priority: 'high' });
    await router.send('c', 'b', 'c-high', { priority: 3 });
    const got: unknown[] = [];
    router.subscribe('b', ({ payload }) => void got.push(payload));
    await clock.settle();
    expect(got).toEqual(['c-high', 'a-low', 'a-high']);
    await router.shutdown();
  });

  test('an id given by the sender dedupes', async () => {
    const { router, clock } = createRouterWorld();
    const got: string[] = [];
    router.subscribe('b', ({ id }) => void got.push(id));
    await router.send('a', 'b', 1, { id: 'order-7' });
    await router.send('a', 'b', 1, { id: 'order-7' });
    await clock.settle();
    expect(got).toEqual(['order-7']);
    await router.shutdown();
  });

  test('M1: an undelivered message expires after messageTimeout, and the loss is counted and reported', async () => {
    const { router, clock, payloads } = createRouterWorld({ messageTimeout: 10_000 });
    await router.send('a', 'nobody', 1);
    await router.send('a', 'nobody', 2, { expiresInMs: 60_000 });
    await clock.advance(12_000);
    expect(await expectConserved(router)).toMatchObject({ expired: 1, waiting: 1 });
    expect(payloads('message:dropped')).toEqual([{ from: 'a', to: 'nobody', count: 1, reason: 'expired' }]);
    await router.shutdown();
  });

  test('a full mailbox refuses with MAILBOX_FULL and a time to try again', async () => {
    const { router } = createRouterWorld({ maxLength: 2 });
    await router.send('a', 'b', 1);
    await router.send('a', 'b', 2);
    await expect(router.send('a', 'b', 3)).rejects.toMatchObject({
      code: 'MAILBOX_FULL',
      retryAfterMs: 1_000,
    });
    expect(await expectConserved(router)).toMatchObject({ published: 2, waiting: 2 });
    await router.shutdown();
  });

  test.each([
    ['drop-oldest', [2, 3]],
    ['drop-newest', [1, 2]],
  ] as const)('M1: overflow %s keeps what it says and counts the rest', async (overflow, kept) => {
    const { router, clock, payloads } = createRouterWorld({ maxLength: 2, overflow });
    for (const n of [1, 2, 3]) await router.send('a', 'b', n);
    const got: unknown[] = [];
    router.subscribe('b', ({ payload }) => void got.push(payload));
    await clock.settle();
    expect(got).toEqual(kept);
    expect(await expectConserved(router)).toMatchObject({ published: 3, delivered: 2, dropped: 1 });
    expect(payloads('message:dropped')).toEqual([{ from: 'a', to: 'b', count: 1, reason: 'full' }]);
    await router.shutdown();
  });

  test('an agent’s own bounds win over the router’s', async () => {
    const { router } = createRouterWorld();
    const subscription = router.subscribe('b', () => undefined, { maxLength: 1, overflow: 'drop-newest' });
    await subscription.unsubscribe();
    await router.send('a', 'b', 1);
    await router.send('a', 'b', 2);
    expect(await expectConserved(router)).toMatchObject({ published: 2, dropped: 1, waiting: 1 });
    await router.shutdown();
  });

  test('M0: at most once is dropped without a listener, delivered to one, and never repeated', async () => {
    const { router, clock, payloads } = createRouterWorld();
    await router.send('a', 'b', 1, { delivery: 'at-most-once' });
    expect(payloads('message:dropped')).toEqual([{ from: 'a', to: 'b', count: 1, reason: 'no-receiver' }]);
    let calls = 0;
    router.subscribe('b', async () => {
      calls += 1;
      throw new Error('no');
    });
    await router.send('a', 'b', 2, { delivery: 'at-most-once' });
    await clock.advance(60_000);
    expect(calls).toBe(1);
    expect(await expectConserved(router)).toMatchObject({
      published: 2,
      delivered: 1,
      dropped: 1,
      failedHandlings: 1,
    });
    await router.shutdown();
  });

  test('an aborted signal rejects with its reason and sends nothing', async () => {
    const { router } = createRouterWorld();
    const reason = new Error('changed my mind');
    await expect(router.send('a', 'b', 1, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect((await router.stats()).published).toBe(0);
    await router.shutdown();
  });

  test('events: sent, then received with latency', async () => {
    const { router, clock, payloads } = createRouterWorld();
    const messageId = await router.send('a', 'b', 1);
    await clock.advance(250);
    router.subscribe('b', () => undefined);
    await clock.settle();
    expect(payloads('message:sent')).toEqual([{ messageId, from: 'a', to: 'b' }]);
    expect(payloads('message:received')).toEqual([
      { messageId, from: 'a', to: 'b', delivery: 1, latencyMs: 250 },
    ]);
    await router.shutdown();
  });
});

describe('broadcasts and topics', () => {
  test('M3: a broadcast reaches everybody who joined or subscribed at that instant, but the sender', async () => {
    const { router, clock } = createRouterWorld();
    const got: string[] = [];
    for (const agent of ['a', 'b', 'c']) {
      router.subscribe(
        agent,
        ({ to, payload, topic }) => void got.push(`${to}:${String(payload)}:${String(topic)}`),
      );
    }
    await router.agentJoined('offline');
    expect(await router.broadcast('a', 'hello')).toEqual({ receivers: 3 });
    router.subscribe('late', ({ to }) => void got.push(to));
    await clock.settle();
    expect(got.toSorted()).toEqual(['b:hello:undefined', 'c:hello:undefined']);
    router.subscribe('offline', ({ to }) => void got.push(to));
    await clock.settle();
    expect(got).toContain('offline');
    await expectConserved(router);
    await router.shutdown();
  });

  test('a topic reaches its subscribers only, and only their handlers that want it', async () => {
    const { router, clock } = createRouterWorld();
    const got: string[] = [];
    router.subscribe('a', ({ topic }) => void got.push(`news ${String(topic)}`), { topics: ['news'] });
    router.subscribe('a', () => void got.push('plain'));
    router.subscribe('b', () => void got.push('b'));
    expect(await router.broadcast('x', 1, { topic: 'news' })).toEqual({ receivers: 1 });
    expect(await router.broadcast('x', 1, { topic: 'unheard' })).toEqual({ receivers: 0 });
    await clock.settle();
    expect(got).toEqual(['news news']);
    await router.shutdown();
  });

  test('a group shares one copy of each message, in each sender’s order', async () => {
    const { router, clock } = createRouterWorld();
    const got: string[] = [];
    for (const worker of ['w1', 'w2', 'w3']) {
      router.subscribe(
        worker,
        async ({ payload }) => {
          got.push(String(payload));
          await Promise.resolve();
        },
        { topics: ['jobs'], group: 'workers' },
      );
    }
    for (let n = 0; n < 30; n++) await router.broadcast(`s${n % 3}`, `s${n % 3}-${n}`, { topic: 'jobs' });
    await clock.settle();
    expect(got).toHaveLength(30);
    for (const sender of ['s0', 's1', 's2']) {
      const own = got.filter((job) => job.startsWith(sender)).map((job) => Number(job.split('-')[1]));
      expect(own).toEqual(own.toSorted((x, y) => x - y));
    }
    expect(await expectConserved(router)).toMatchObject({ published: 30, delivered: 30 });
    await router.shutdown();
  });

  test('a member that unsubscribes lets the rest of its group go on', async () => {
    const { router, clock } = createRouterWorld();
    const got: string[] = [];
    const options = { topics: ['jobs'], group: 'workers' };
    const gate = deferred();
    const first = router.subscribe('w1', async () => gate.promise, options);
    await router.broadcast('s', 1, { topic: 'jobs' });
    await router.broadcast('s', 2, { topic: 'jobs' });
    await clock.settle();
    router.subscribe('w2', ({ payload }) => void got.push(String(payload)), options);
    await first.unsubscribe();
    await clock.settle();
    expect(got).toEqual([]);
    gate.resolve();
    await clock.settle();
    expect(got).toEqual(['2']);
    await router.shutdown();
  });

  test('an agent can’t be in two groups of one topic', async () => {
    const { router } = createRouterWorld();
    router.subscribe('a', () => undefined, { topics: ['jobs'], group: 'one' });
    expect(() => router.subscribe('a', () => undefined, { topics: ['jobs'], group: 'two' })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    );
    await router.shutdown();
  });
});

describe('subscriptions', () => {
  test('unsubscribe takes the subscription or its id, and every handler gets every message', async () => {
    const { router, clock } = createRouterWorld();
    const got: string[] = [];
    const first = router.subscribe('b', () => void got.push('first'));
    const second = router.subscribe('b', () => void got.push('second'));
    await router.send('a', 'b', 1);
    await clock.settle();
    expect(got).toEqual(['first', 'second']);
    expect(String(first)).toBe(first.id);
    expect(await router.unsubscribe('b', first)).toBe(true);
    expect(await router.unsubscribe('b', first.id)).toBe(false);
    await router.send('a', 'b', 2);
    await clock.settle();
    expect(got).toEqual(['first', 'second', 'second']);
    expect(await router.unsubscribe('b', second.id)).toBe(true);
    await router.send('a', 'b', 3);
    await clock.settle();
    expect(await expectConserved(router)).toMatchObject({ delivered: 2, waiting: 1 });
    await router.shutdown();
  });

  test('of two handlers only the one that failed gets the message again', async () => {
    const { router, clock } = createRouterWorld();
    const calls = { good: 0, bad: 0 };
    router.subscribe('b', async () => void (calls.good += 1));
    router.subscribe('b', async () => {
      calls.bad += 1;
      if (calls.bad === 1) throw new Error('once');
    });
    await router.send('a', 'b', 1);
    await clock.advance(1_000);
    expect(calls).toEqual({ good: 1, bad: 2 });
    expect(await expectConserved(router)).toMatchObject({ delivered: 1 });
    await router.shutdown();
  });

  test('unsubscribing gives back what was taken and not begun', async () => {
    const { router, clock } = createRouterWorld();
    const gate = deferred();
    const subscription = router.subscribe('b', async () => gate.promise);
    for (const n of [1, 2, 3]) await router.send('a', 'b', n);
    await clock.settle();
    await subscription.unsubscribe();
    await clock.settle();
    expect(await expectConserved(router)).toMatchObject({ handling: 1, waiting: 2 });
    gate.resolve();
    const got: unknown[] = [];
    router.subscribe('b', ({ payload, redelivered }) => void got.push([payload, redelivered]));
    await clock.settle();
    expect(got).toEqual([
      [2, false],
      [3, false],
    ]);
    await router.shutdown();
  });

  test('await using ends it', async () => {
    const { router, clock } = createRouterWorld();
    let calls = 0;
    {
      await using _subscription = router.subscribe('b', () => void (calls += 1));
      await router.send('a', 'b', 1);
      await clock.settle();
    }
    await router.send('a', 'b', 2);
    await clock.settle();
    expect(calls).toBe(1);
    await router.shutdown();
  });
});

describe('messages()', () => {
  test('hands out one at a time; asking for the next acknowledges', async () => {
    const { router, clock } = createRouterWorld();
    for (const n of [1, 2, 3]) await router.send('a', 'b', n);
    const iterator = router.messages<number>('b')[Symbol.asyncIterator]();
    const first = await iterator.next();
    expect(first.value?.payload).toBe(1);
    expect(await router.stats()).toMatchObject({ delivered: 0, handling: 1 });
    expect((await iterator.next()).value?.payload).toBe(2);
    await clock.settle();
    expect(await router.stats()).toMatchObject({ delivered: 1 });
    await iterator.return?.();
    await clock.settle();
    expect(await expectConserved(router)).toMatchObject({ delivered: 1, waiting: 2, failedHandlings: 0 });
    const rest: unknown[] = [];
    router.subscribe('b', ({ payload, redelivered }) => void rest.push([payload, redelivered]));
    await clock.settle();
    expect(rest).toEqual([
      [2, true],
      [3, false],
    ]);
    await router.shutdown();
  });

  test('ack() before leaving the loop keeps it from coming again', async () => {
    const { router, clock } = createRouterWorld();
    await router.send('a', 'b', 1);
    for await (const message of router.messages('b')) {
      message.ack();
      break;
    }
    await clock.settle();
    expect(await expectConserved(router)).toMatchObject({ delivered: 1, waiting: 0 });
    await router.shutdown();
  });

  test.each(['signal', 'agent', 'router'])('ends with the %s', async (who) => {
    const { router, clock } = createRouterWorld();
    const abort = new AbortController();
    const seen: unknown[] = [];
    const loop = (async () => {
      for await (const { payload } of router.messages('b', { signal: abort.signal })) seen.push(payload);
      return 'ended';
    })();
    await router.send('a', 'b', 1);
    await clock.settle();
    if (who === 'signal') abort.abort();
    else if (who === 'agent') await router.agentLeft('b');
    else await router.shutdown();
    expect(await loop).toBe('ended');
    expect(seen).toEqual([1]);
    await router.shutdown();
  });
});

describe('agents that leave', () => {
  test('what waits is dropped and counted, and the agent is refused until it joins again', async () => {
    const { router, clock, payloads } = createRouterWorld();
    await router.agentJoined('b');
    await router.send('a', 'b', 1);
    await router.send('c', 'b', 2);
    await router.agentLeft('b');
    expect(await expectConserved(router)).toMatchObject({ published: 2, dropped: 2 });
    expect(payloads('message:dropped')).toEqual([
      { from: 'a', to: 'b', count: 1, reason: 'left' },
      { from: 'c', to: 'b', count: 1, reason: 'left' },
    ]);
    const refused = { code: 'UNKNOWN_AGENT' };
    await expect(router.send('a', 'b', 3)).rejects.toMatchObject(refused);
    await expect(router.send('b', 'a', 3)).rejects.toMatchObject(refused);
    await expect(router.broadcast('b', 3)).rejects.toMatchObject(refused);
    await expect(router.request('a', 'b', 3)).rejects.toMatchObject(refused);
    expect(() => router.subscribe('b', () => undefined)).toThrow(expect.objectContaining(refused));
    expect((await router.broadcast('a', 4)).receivers).toBe(0);
    await router.agentJoined('b');
    const got: unknown[] = [];
    router.subscribe('b', ({ payload }) => void got.push(payload));
    await router.send('a', 'b', 5);
    await clock.settle();
    expect(got).toEqual([5]);
    await router.shutdown();
  });

  test('its handling under way is aborted with the reason and its end changes nothing', async () => {
    const { router, clock } = createRouterWorld();
    const gate = deferred();
    let signal: AbortSignal | undefined;
    router.subscribe('b', async (message) => {
      ({ signal } = message);
      await gate.promise;
    });
    await router.send('a', 'b', 1);
    await clock.settle();
    await router.agentLeft('b', 'fired');
    expect(signal?.aborted).toBe(true);
    expect(signal?.reason).toMatchObject({ code: 'UNKNOWN_AGENT', message: 'Agent b left: fired' });
    gate.resolve();
    await clock.settle();
    expect(await expectConserved(router)).toMatchObject({ dropped: 1, delivered: 0 });
    await router.shutdown();
  });

  test('an agent may leave from inside its own handler', async () => {
    const { router, clock } = createRouterWorld();
    router.subscribe('b', async () => router.agentLeft('b'));
    router.subscribe('c', () => void router.agentLeft('c'));
    await router.send('a', 'b', 1);
    await router.send('a', 'c', 1);
    await clock.settle();
    expect(await expectConserved(router)).toMatchObject({ published: 2, dropped: 2 });
    await router.shutdown();
  });
});

function byBegun(begun: readonly unknown[]): (a: unknown, b: unknown) => number {
  return (a, b) => begun.indexOf(a) - begun.indexOf(b);
}
