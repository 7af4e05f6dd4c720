import { getEventListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import { MemoryMessageTransport } from '../../src/backends/memory/message-transport.ts';
import { standalone } from '../../src/backends/memory/standalone.ts';
import type { DeadlockError } from '../../src/core/deadlock-error.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import type { WaitGraph, WaitSource } from '../../src/core/waits.ts';
import type { Envelope } from '../../src/messaging/types.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { createRouterWorld, deferred, expectConserved } from '../support/messaging.ts';
import { createSimpleWaitGraph } from '../support/simple-wait-graph.ts';

describe('requests settle exactly once', () => {
  test('M2: by the reply of the handler', async () => {
    const { router } = createRouterWorld();
    router.subscribe(
      'b',
      async (message) => void (await message.reply({ sum: (message.payload as number) + 1 })),
    );
    expect(await router.sendWithResponse('a', 'b', 41)).toEqual({ sum: 42 });
    expect(await router.stats()).toMatchObject({ pendingRequests: 0, lateReplies: 0 });
    await router.shutdown();
  });

  test('M2: by sendResponse with the id of the message, after the handler ended', async () => {
    const { router, clock } = createRouterWorld();
    let asked: Envelope | undefined;
    router.subscribe('b', (message) => void (asked = message));
    const reply = router.sendWithResponse('a', 'b', 'question');
    await clock.advance(1_000);
    expect(await router.sendResponse(String(asked?.id), 'answer')).toBe(true);
    expect(await reply).toBe('answer');
    await router.shutdown();
  });

  test('M2: a request sent before the responder subscribes is answered', async () => {
    const { router, clock } = createRouterWorld();
    const reply = router.request('a', 'b', 1);
    await clock.advance(5_000);
    router.subscribe('b', (message) => message.reply('here now'));
    expect(await reply).toBe('here now');
    await router.shutdown();
  });

  test('M2: by its timeout, and the late reply is dropped and counted', async () => {
    const { router, clock } = createRouterWorld({ messageTimeout: 10_000 });
    let asked: Envelope | undefined;
    router.subscribe('b', (message) => void (asked = message));
    const reply = router.request('a', 'b', 1, { timeoutMs: 2_000 });
    const expected = expect(reply).rejects.toMatchObject({
      code: 'REPLY_TIMEOUT',
      message: 'No reply from b within 2000 ms',
    });
    await clock.advance(2_100);
    await expected;
    expect(await asked?.reply('too late')).toBe(false);
    expect(await router.sendResponse(String(asked?.id), 'again')).toBe(false);
    expect(await router.stats()).toMatchObject({ pendingRequests: 0, lateReplies: 2 });
    await router.shutdown();
  });

  test('M2: one that nobody has handled when it times out is handled by nobody any more, and counts as expired', async () => {
    const { router, clock } = createRouterWorld({ messageTimeout: 60_000 });
    const reply = router
      .request('a', 'b', 1, { timeoutMs: 2_000 })
      .catch((error: { code: string }) => error.code);
    await clock.advance(2_100);
    expect(await reply).toBe('REPLY_TIMEOUT');
    const asked: Envelope[] = [];
    router.subscribe('b', (message) => void asked.push(message));
    await clock.advance(5_000);
    expect(asked).toEqual([]);
    expect(await expectConserved(router)).toMatchObject({ expired: 1, delivered: 0, waiting: 0 });
    await router.shutdown();
  });

  test('M2: one without end is not lost while nobody listens, however long', async () => {
    const { router, clock } = createRouterWorld({ messageTimeout: 1_000 });
    const reply = router.request('a', 'b', 1, { timeoutMs: Number.POSITIVE_INFINITY });
    await clock.advance(3_600_000);
    router.subscribe('b', (message) => message.reply('at last'));
    await clock.settle();
    expect(await reply).toBe('at last');
    await router.shutdown();
  });

  test('M2: without timeoutMs after messageTimeout', async () => {
    const { router, clock } = createRouterWorld({ messageTimeout: 700 });
    const expected = expect(router.request('a', 'b', 1)).rejects.toMatchObject({ code: 'REPLY_TIMEOUT' });
    await clock.advance(800);
    await expected;
    await router.shutdown();
  });

  test('M2: a second reply is a late one', async () => {
    const { router, clock } = createRouterWorld();
    const answers: boolean[] = [];
    router.subscribe('b', async (message) => {
      answers.push(await message.reply(1), await message.reply(2));
    });
    expect(await router.request('a', 'b', 0)).toBe(1);
    await clock.settle();
    expect(answers).toEqual([true, false]);
    expect((await router.stats()).lateReplies).toBe(1);
    await router.shutdown();
  });

  test('M2: with NO_RESPONDER when the responder leaves', async () => {
    const { router, clock } = createRouterWorld();
    router.subscribe('b', () => new Promise(() => undefined));
    const handled = expect(router.request('a', 'b', 1)).rejects.toMatchObject({ code: 'NO_RESPONDER' });
    const queued = expect(router.request('a', 'b', 2)).rejects.toMatchObject({ code: 'NO_RESPONDER' });
    await clock.settle();
    await router.agentLeft('b');
    await handled;
    await queued;
    await router.shutdown();
  });

  test('M2: when the responder is removed and the store refuses to hear of it', async () => {
    const clock = createTestClock();
    const runtime = createRuntime({ clock, random: createRandom('away') });
    const { core, operations } = standalone({ runtime });
    const transport = new MemoryMessageTransport(core);
    const { router } = createRouterWorld({}, { runtime, operations, transport });
    router.subscribe('b', async () => new Promise(() => undefined));
    const stream = router.messages('b')[Symbol.asyncIterator]();
    const first = stream.next();
    const reply = router.request('a', 'b', 1).catch((error: { code: string }) => error.code);
    expect(await first).toMatchObject({ done: false, value: { payload: 1 } });
    const second = stream.next();
    core.log.stopped = true;
    await expect(router.agentLeft('b')).rejects.toMatchObject({ code: 'STOPPED' });
    await clock.settle();
    expect(await Promise.race([reply, 'it waits'])).toBe('NO_RESPONDER');
    expect(await Promise.race([second, 'it waits'])).toMatchObject({ done: true });
    await expect(router.send('b', 'a', 1)).rejects.toMatchObject({ code: 'UNKNOWN_AGENT' });
  });

  test('M2: with NO_RESPONDER at once when at most once meets nobody', async () => {
    const { router } = createRouterWorld();
    await expect(router.request('a', 'b', 1, { delivery: 'at-most-once' })).rejects.toMatchObject({
      code: 'NO_RESPONDER',
    });
    await router.shutdown();
  });

  test('M2: with NO_RESPONDER and the reason when the handler failed for the last time', async () => {
    const { router, clock } = createRouterWorld({ maxDeliveries: 2, messageTimeout: 60_000 });
    router.subscribe('b', async () => {
      throw new Error('model unavailable');
    });
    const expected = expect(router.request('a', 'b', 1)).rejects.toMatchObject({
      code: 'NO_RESPONDER',
      message: expect.stringContaining('model unavailable') as string,
    });
    await clock.advance(1_000);
    await expected;
    await router.shutdown();
  });

  test('M2: with MAILBOX_FULL when the mailbox refuses it', async () => {
    const { router } = createRouterWorld({ maxLength: 1 });
    await router.send('a', 'b', 1);
    await expect(router.request('a', 'b', 2)).rejects.toMatchObject({ code: 'MAILBOX_FULL' });
    expect((await router.stats()).pendingRequests).toBe(0);
    await router.shutdown();
  });

  test('M2: with the reason of its signal, before and after it was sent', async () => {
    const { router } = createRouterWorld();
    const reason = new Error('enough');
    const abort = new AbortController();
    const reply = router.request('a', 'b', 1, { signal: abort.signal });
    abort.abort(reason);
    await expect(reply).rejects.toBe(reason);
    await expect(router.request('a', 'b', 1, { signal: abort.signal })).rejects.toBe(reason);
    expect((await router.stats()).pendingRequests).toBe(0);
    await router.shutdown();
  });

  test('G6: one signal for many requests: however they end, nothing of them stays on it', async () => {
    const { router, clock } = createRouterWorld({ maxLength: 1 });
    const { signal } = new AbortController();
    const codeOf = (error: { code: string }): string => error.code;
    router.subscribe('good', (message) => message.reply('fine'));
    router.subscribe('leaves', () => undefined);
    await router.send('x', 'full', 1);
    const ends = [
      router.request('a', 'good', 1, { signal }),
      router.request('a', 'silent', 1, { signal, timeoutMs: 100 }).catch(codeOf),
      router.request('a', 'leaves', 1, { signal }).catch(codeOf),
      router.request('a', 'nobody', 1, { signal, delivery: 'at-most-once' }).catch(codeOf),
      router.request('a', 'full', 1, { signal }).catch(codeOf),
    ];
    const stopped = router.request('a', 'asleep', 1, { signal }).catch(codeOf);
    expect(getEventListeners(signal, 'abort').length).toBeGreaterThan(1);
    await clock.advance(200);
    await router.agentLeft('leaves');
    expect(await Promise.all(ends)).toEqual([
      'fine',
      'REPLY_TIMEOUT',
      'NO_RESPONDER',
      'NO_RESPONDER',
      'MAILBOX_FULL',
    ]);
    expect(getEventListeners(signal, 'abort')).toHaveLength(1);
    await router.shutdown();
    expect(await stopped).toBe('STOPPED');
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  test('M2: with STOPPED by shutdown', async () => {
    const { router } = createRouterWorld();
    const expected = expect(router.request('a', 'b', 1)).rejects.toMatchObject({ code: 'STOPPED' });
    await router.shutdown();
    await expected;
  });

  test('a message that isn’t a request has nobody to reply to', async () => {
    const { router, clock } = createRouterWorld();
    let refused: unknown;
    router.subscribe('b', async (message) => {
      refused = await message.reply(1).catch((error: unknown) => error);
    });
    await router.send('a', 'b', 1);
    await clock.settle();
    expect(refused).toMatchObject({ code: 'INVALID_ARGUMENT' });
    await router.shutdown();
  });

  test('a redelivered request is answered once', async () => {
    const { router, clock } = createRouterWorld({ messageTimeout: 60_000 });
    let calls = 0;
    router.subscribe('b', async (message) => {
      calls += 1;
      if (calls === 1) throw new Error('first time');
      await message.reply(calls);
    });
    const reply = router.request('a', 'b', 1);
    await clock.advance(1_000);
    expect(await reply).toBe(2);
    expect(await expectConserved(router)).toMatchObject({ published: 1, delivered: 1 });
    await router.shutdown();
  });
});

describe('waiting for a reply is part of the wait-for graph', () => {
  test('a request back to an agent whose only place waits for it is a deadlock, found as it closes', async () => {
    const graph = createSimpleWaitGraph();
    const { router, clock } = createRouterWorld({}, { waits: graph });
    const outcomes: string[] = [];
    router.subscribe('a', async (message) => {
      if (message.from === 'b') return;
      await message.request('b', 'from a').then(
        () => outcomes.push('a answered'),
        (error: { code: string }) => outcomes.push(`a ${error.code}`),
      );
    });
    router.subscribe('b', async (message) => {
      await message.request('a', 'from b').then(
        () => outcomes.push('b answered'),
        (error: { code: string }) => outcomes.push(`b ${error.code}`),
      );
      await message.reply('b to a');
    });
    await router.send('x', 'a', 'go');
    await clock.settle();
    expect(graph.deadlocks).toHaveLength(1);
    expect(graph.deadlocks[0]?.cycle.map(({ by }) => by)).toEqual(['reply', 'reply']);
    expect(outcomes[0]).toBe('b DEADLOCK');
    expect(outcomes[1]).toBe('a answered');
    await router.shutdown();
  });

  test('D1: no deadlock where the responder has a free place', async () => {
    const graph = createSimpleWaitGraph();
    const { router, clock } = createRouterWorld({}, { waits: graph });
    router.subscribe(
      'a',
      async (message) => {
        if (message.from === 'x') await message.request('b', 'from a');
        else await message.reply('fine');
      },
      { concurrency: 2 },
    );
    router.subscribe('b', async (message) => {
      await message.request('a', 'from b');
      await message.reply('fine');
    });
    await router.send('x', 'a', 'go');
    await clock.settle();
    expect(graph.deadlocks).toEqual([]);
    expect(await router.stats()).toMatchObject({ pendingRequests: 0, delivered: 3 });
    await router.shutdown();
  });

  test('a task that waits for an agent whose run waits for that task is found through runsOf', async () => {
    const graph = createSimpleWaitGraph();
    const { router } = createRouterWorld(
      {},
      { waits: graph, runsOf: (id) => (id === 'b' ? ['task-b'] : []) },
    );
    graph.declare('task-b', 'task-a');
    const error = (await router
      .request('a', 'b', 1, { node: 'task-a' })
      .catch((error: unknown) => error)) as DeadlockError;
    expect(error.code).toBe('DEADLOCK');
    expect((await router.stats()).pendingRequests).toBe(0);
    await router.shutdown();
  });

  test('D1: a request whose handling ended unanswered blames nobody but what the agent runs', async () => {
    let source: WaitSource | undefined;
    const waits: WaitGraph = {
      addSource: (added) => {
        source = added;
        return { [Symbol.dispose]: () => undefined };
      },
      entered: () => undefined,
      sweep: () => undefined,
    };
    const { router, clock } = createRouterWorld({}, { waits });
    const gate = deferred();
    router.subscribe('b', async () => gate.promise);
    const reply = router.request('a', 'b', 1, { node: 'task-a' }).catch(() => undefined);
    await clock.settle();
    const [requirement] = source?.requirements('task-a') ?? [];
    expect(requirement).toMatchObject({ by: 'reply', what: 'b', needs: 1 });
    expect(requirement?.blockers).toHaveLength(1);
    expect([...(source?.waiting() ?? [])]).toEqual(['task-a']);
    gate.resolve();
    await clock.settle();
    expect(source?.requirements('task-a')).toEqual([]);
    expect(source?.requirements('somebody else')).toEqual([]);
    await router.shutdown();
    await reply;
    expect([...(source?.waiting() ?? [])]).toEqual([]);
  });
});
