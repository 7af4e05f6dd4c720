import { describe, expect, test } from 'vitest';
import { CoordinationError } from '../../src/core/errors.ts';
import type { Backend } from '../../src/core/ports/backend.ts';
import type { MessageTransport } from '../../src/core/ports/messages.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { delayed, hintless, replyCutting, retrying } from '../../src/testing/wrappers.ts';
import { expectConserved } from '../support/messaging.ts';
import { createMessagingMesh } from '../support/messaging-mesh.ts';

const late = (backend: Backend): Backend => delayed(backend, { random: createRandom('late'), maxMs: 3 });

const WRAPPERS: readonly (readonly [string, (backend: Backend) => Backend])[] = [
  ['as it is', (backend) => backend],
  ['late', late],
  ['with cut replies', (backend) => retrying(replyCutting(backend))],
  ['late, with cut replies that the router repeats itself', (backend) => replyCutting(late(backend))],
  ['G4: without hints', hintless],
  ['G4: late and without hints', (backend) => hintless(late(backend))],
];

describe.each(WRAPPERS)('two routers on one backend, %s', (_name, wrap) => {
  test('M1: messages cross in order, requests are answered, broadcasts reach both', async () => {
    const mesh = await createMessagingMesh(wrap);
    const here = await mesh.router('here');
    const there = await mesh.router('there');
    const got: unknown[] = [];
    const told: string[] = [];
    there.subscribe('b', async (message) => {
      if (message.topic === undefined && message.type === 'ask')
        await message.reply({ echo: message.payload });
      else if (message.payload === 'all') told.push('b');
      else got.push(message.payload);
    });
    here.subscribe('a', ({ payload }) => void (payload === 'all' && told.push('a')));
    await mesh.clock.advance(100);
    const sends = Array.from({ length: 50 }, (_, n) => here.send('a', 'b', n));
    await mesh.clock.advance(3_000);
    await Promise.all(sends);
    await mesh.clock.advance(3_000);
    expect(got).toEqual(Array.from({ length: 50 }, (_, n) => n));
    const reply = here.request('a', 'b', { type: 'ask', n: 7 });
    await mesh.clock.advance(5_000);
    expect(await reply).toEqual({ echo: { type: 'ask', n: 7 } });
    const broadcast = there.broadcast('x', 'all');
    await mesh.clock.advance(5_000);
    expect(await broadcast).toEqual({ receivers: 2 });
    expect(told.toSorted()).toEqual(['a', 'b']);
    await mesh.until(expectConserved(here));
    await mesh.until(Promise.all([here.shutdown(), there.shutdown()]));
  });

  test('M2: a request is answered by its id, told of failures, and a late answer goes nowhere', async () => {
    const mesh = await createMessagingMesh(wrap);
    const here = await mesh.router('here', { messageTimeout: 20_000 });
    const there = await mesh.router('there', { maxDeliveries: 1 });
    const asked: string[] = [];
    there.subscribe('quiet', ({ id }) => void asked.push(id));
    there.subscribe('broken', () => {
      throw new Error('out of order');
    });
    const reply = here.request('a', 'quiet', 1);
    const failure = expect(here.request('a', 'broken', 1)).rejects.toMatchObject({
      code: 'NO_RESPONDER',
      message: expect.stringContaining('out of order') as string,
    });
    await mesh.clock.advance(4_000);
    expect(asked).toHaveLength(1);
    const sent = there.sendResponse(asked[0] as string, 'answer');
    await mesh.clock.advance(4_000);
    expect(await sent).toBe(true);
    expect(await reply).toBe('answer');
    await failure;
    expect(await there.sendResponse(asked[0] as string, 'again')).toBe(false);
    await mesh.until(Promise.all([here.shutdown(), there.shutdown()]));
  });

  test('M1: what a crashed process had in hand is handled by another', async () => {
    const mesh = await createMessagingMesh(wrap);
    const doomed = await mesh.router('doomed');
    const heir = await mesh.router('heir');
    doomed.subscribe('b', () => new Promise(() => undefined));
    await mesh.clock.advance(100);
    const sent = Promise.all([1, 2, 3].map((n) => heir.send('a', 'b', n, { expiresInMs: 1e9 })));
    await mesh.clock.advance(2_000);
    await sent;
    const got: unknown[] = [];
    heir.subscribe('b', ({ payload, redelivered }) => void got.push([payload, redelivered]));
    await mesh.clock.advance(2_000);
    expect(got).toEqual([]);
    await mesh.until(mesh.end('doomed'));
    await mesh.clock.advance(3_000);
    expect(got.map((entry) => (entry as [number, boolean])[0])).toEqual([1, 2, 3]);
    await mesh.until(Promise.all([heir.shutdown(), doomed.shutdown({ drainMs: 0 })]));
  });
});

test('an idle shared router polls, an alone one doesn’t', async () => {
  const mesh = await createMessagingMesh();
  const router = await mesh.router('only');
  router.subscribe('b', () => undefined);
  await mesh.clock.settle();
  expect(mesh.clock.nextDue()).toBeLessThan(Number.POSITIVE_INFINITY);
  await router.shutdown();
  await mesh.clock.advance(5_000);
  expect(mesh.clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
});

test('a router on a shared backend that isn’t started refuses and changes nothing, and works once it is', async () => {
  const mesh = await createMessagingMesh();
  const late = mesh.backend.messages as MessageTransport;
  let started = false;
  const gate = <T>(send: () => T): T => {
    if (!started) throw new CoordinationError('NOT_STARTED', 'not yet');
    return send();
  };
  const transport = new Proxy(late, {
    get: (target, key) => {
      const method = Reflect.get(target, key) as (...args: unknown[]) => unknown;
      return (...args: unknown[]) => gate(() => Reflect.apply(method, target, args));
    },
  });
  const router = await mesh.router('early', {}, transport);
  expect(() => router.subscribe('b', () => undefined)).toThrow('not yet');
  await expect(router.request('a', 'b', 1)).rejects.toMatchObject({ code: 'NOT_STARTED' });
  await expect(router.agentJoined('b')).rejects.toMatchObject({ code: 'NOT_STARTED' });
  expect(mesh.clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
  started = true;
  router.subscribe('b', (message) => message.reply('ready'));
  expect(await router.request('a', 'b', 1)).toBe('ready');
  await router.shutdown();
});
