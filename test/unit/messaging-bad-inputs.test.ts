import { describe, expect, test } from 'vitest';
import { isCoordinationError } from '../../src/core/errors.ts';
import { MessageRouter } from '../../src/messaging/router.ts';
import { createRouterWorld, expectConserved } from '../support/messaging.ts';

class Thing {
  readonly kind = 'thing';
}

const CYCLIC: { self?: unknown } = {};
CYCLIC.self = CYCLIC;

function nested(depth: number): unknown {
  let value: unknown = 1;
  for (let i = 0; i < depth; i++) value = [value];
  return value;
}

function gotcha(): never {
  throw new Error('gotcha');
}

const BAD_IDS: readonly (readonly [string, unknown])[] = [
  ['undefined', undefined],
  ['null', null],
  ['a number', 7],
  ['an object', {}],
  ['empty', ''],
  ['1,000 characters', 'x'.repeat(1_000)],
  ['a newline', 'a\nb'],
  ['NUL', 'a\0b'],
  ['a core address', '\u0001everybody'],
  ['a lone surrogate', '\ud800'],
  ['202 bytes', 'é'.repeat(101)],
];

const GOOD_IDS: readonly string[] = [
  '__proto__',
  'constructor',
  'toString',
  'a:b{c}*?[d]\\',
  '\u202ertl',
  '💥',
  'x'.repeat(63),
  'x'.repeat(64),
  'x'.repeat(200),
];

const BAD_PAYLOADS: readonly (readonly [string, unknown])[] = [
  ['cyclic', CYCLIC],
  ['10,000 deep', nested(10_000)],
  ['BigInt', 1n],
  ['NaN', Number.NaN],
  ['Infinity', { n: Number.POSITIVE_INFINITY }],
  ['a function', () => undefined],
  ['a symbol', Symbol('x')],
  ['a Date', new Date()],
  ['a Map', new Map()],
  ['a Buffer', Buffer.from('x')],
  ['a class instance', new Thing()],
  ['an own __proto__', JSON.parse('{"__proto__":1}')],
  ['toJSON', { toJSON: () => 1 }],
  ['a getter that throws', Object.defineProperty({}, 'x', { enumerable: true, get: gotcha })],
  ['a proxy that throws', new Proxy({}, { ownKeys: gotcha })],
  ['64 MiB', 'x'.repeat(64 * 1024 * 1024)],
  ['300 KiB', 'x'.repeat(300 * 1024)],
];

const GOOD_PAYLOADS: readonly (readonly [string, unknown])[] = [
  ['undefined', undefined],
  ['null', null],
  ['an empty text', ''],
  ['-0', -0],
  ['a lone surrogate and NUL', '\ud800\0'],
  ['a null-prototype object', Object.assign(Object.create(null) as object, { a: 1 })],
  ['250 KiB', 'x'.repeat(250 * 1024)],
];

const BAD_OPTIONS: readonly (readonly [string, unknown])[] = [
  ['a text', 'high'],
  ['a number', 1],
  ['an array', []],
  ['an unknown key', { prioritiy: 1 }],
  ['priority NaN', { priority: Number.NaN }],
  ['priority 1e9', { priority: 1e9 }],
  ['priority urgent', { priority: 'urgent' }],
  ['delivery maybe', { delivery: 'maybe' }],
  ['key empty', { key: '' }],
  ['signal true', { signal: true }],
];

/** The code a call is refused with; fails when it isn't refused, or by something else than an error of the library. */
async function codeOf(call: () => unknown): Promise<string> {
  try {
    await call();
  } catch (error) {
    if (!isCoordinationError(error)) throw error;
    return error.code;
  }
  throw new Error('the call was answered');
}

type Call = (router: MessageRouter, bad: unknown) => unknown;

const BY_ID: Readonly<Record<string, Call>> = {
  'send from': (router, id) => router.send(id as string, 'b', 1),
  'send to': (router, id) => router.send('a', id as string, 1),
  'request from': (router, id) => router.request(id as string, 'b', 1),
  'request to': (router, id) => router.request('a', id as string, 1),
  'sendWithResponse to': (router, id) => router.sendWithResponse('a', id as string, 1),
  'sendResponse id': (router, id) => router.sendResponse(id as string, 1),
  'broadcast from': (router, id) => router.broadcast(id as string, 1),
  'subscribe agent': (router, id) => router.subscribe(id as string, () => undefined),
  'unsubscribe agent': (router, id) => router.unsubscribe(id as string),
  'messages agent': (router, id) => router.messages(id as string),
  agentJoined: (router, id) => router.agentJoined(id as string),
  agentLeft: (router, id) => router.agentLeft(id as string),
};

test('a refused id is named as what it is', async () => {
  const router = new MessageRouter();
  await expect(router.send('a', '', 1)).rejects.toThrow('Expected the receiver not to be empty');
  await expect(router.send('', 'b', 1)).rejects.toThrow('Expected the sender not to be empty');
  await router.shutdown();
});

const BY_PAYLOAD: Readonly<Record<string, Call>> = {
  send: (router, payload) => router.send('a', 'b', payload),
  request: (router, payload) => router.request('a', 'b', payload),
  broadcast: (router, payload) => router.broadcast('a', payload),
  sendResponse: (router, payload) => router.sendResponse('x', payload),
};

const BY_OPTIONS: Readonly<Record<string, Call>> = {
  send: (router, options) => router.send('a', 'b', 1, options as object),
  request: (router, options) => router.request('a', 'b', 1, options as object),
  broadcast: (router, options) => router.broadcast('a', 1, options as object),
};

const OTHERS: readonly (readonly [string, (router: MessageRouter) => unknown])[] = [
  ['subscribe without a handler', (router) => router.subscribe('a', undefined as never)],
  ['subscribe with a text as handler', (router) => router.subscribe('a', 'handler' as never)],
  ['subscribe with options as text', (router) => router.subscribe('a', () => 1, 'news' as never)],
  ['subscribe with topics as text', (router) => router.subscribe('a', () => 1, { topics: 'news' as never })],
  ['subscribe with a bad topic', (router) => router.subscribe('a', () => 1, { topics: [''] })],
  ['subscribe with a bad group', (router) => router.subscribe('a', () => 1, { group: '' })],
  ['subscribe with concurrency 0', (router) => router.subscribe('a', () => 1, { concurrency: 0 })],
  ['subscribe with concurrency NaN', (router) => router.subscribe('a', () => 1, { concurrency: Number.NaN })],
  ['subscribe with maxLength -1', (router) => router.subscribe('a', () => 1, { maxLength: -1 })],
  ['subscribe with overflow x', (router) => router.subscribe('a', () => 1, { overflow: 'x' as never })],
  ['subscribe with an unknown option', (router) => router.subscribe('a', () => 1, { topic: 'x' } as never)],
  ['subscribe with an empty node', (router) => router.subscribe('a', () => 1, { node: '' })],
  ['unsubscribe with a number', (router) => router.unsubscribe('a', 7 as never)],
  ['broadcast to a bad topic', (router) => router.broadcast('a', 1, { topic: '' })],
  ['broadcast to everybody by name', (router) => router.broadcast('a', 1, { topic: '\u0001everybody' })],
  ['send with expiresInMs -1', (router) => router.send('a', 'b', 1, { expiresInMs: -1 })],
  ['send with expiresInMs NaN', (router) => router.send('a', 'b', 1, { expiresInMs: Number.NaN })],
  ['send with a bad id', (router) => router.send('a', 'b', 1, { id: '' })],
  ['request with timeoutMs -1', (router) => router.request('a', 'b', 1, { timeoutMs: -1 })],
  ['request with timeoutMs text', (router) => router.sendWithResponse('a', 'b', 1, '5' as never)],
  ['request with an empty node', (router) => router.request('a', 'b', 1, { node: '' })],
  ['request with an id', (router) => router.request('a', 'b', 1, { id: 'x' } as never)],
  ['messages with a bad signal', (router) => router.messages('a', { signal: {} as never })],
  ['messages with options as text', (router) => router.messages('a', 'x' as never)],
  ['agentLeft with a bad reason', (router) => router.agentLeft('a', 7 as never)],
  ['shutdown with drainMs NaN', (router) => router.shutdown({ drainMs: Number.NaN })],
  ['deadLetters with limit 0', (router) => router.deadLetters({}, { limit: 0 })],
  ['deadLetters with an unknown filter', (router) => router.deadLetters({ agent: 'a' } as never)],
  ['redrive with ids as text', (router) => router.redrive({ ids: 'x' as never })],
  ['discard with a bad id', (router) => router.discard({ ids: [''] })],
];

const REFUSALS = ['INVALID_ARGUMENT', 'INVALID_OPTION'];

describe('bad inputs are refused with a code, and change nothing', () => {
  test.each(Object.entries(BY_ID))('%s', async (_name, call) => {
    const { router } = createRouterWorld();
    for (const [kind, id] of BAD_IDS) expect(REFUSALS, kind).toContain(await codeOf(() => call(router, id)));
    expect(await expectConserved(router)).toMatchObject({ published: 0, pendingRequests: 0 });
    await router.shutdown();
  });

  test.each(Object.entries(BY_PAYLOAD))('payload of %s', async (_name, call) => {
    const { router } = createRouterWorld();
    for (const [kind, payload] of BAD_PAYLOADS)
      expect(REFUSALS, kind).toContain(await codeOf(() => call(router, payload)));
    expect(await expectConserved(router)).toMatchObject({ published: 0, pendingRequests: 0 });
    await router.shutdown();
  });

  test.each(Object.entries(BY_OPTIONS))('options of %s', async (_name, call) => {
    const { router } = createRouterWorld();
    for (const [kind, options] of BAD_OPTIONS)
      expect(REFUSALS, kind).toContain(await codeOf(() => call(router, options)));
    expect(await expectConserved(router)).toMatchObject({ published: 0, pendingRequests: 0 });
    await router.shutdown();
  });

  test.each(OTHERS)('%s', async (_name, call) => {
    const { router } = createRouterWorld();
    expect(REFUSALS).toContain(await codeOf(() => call(router)));
    expect(await expectConserved(router)).toMatchObject({ published: 0, pendingRequests: 0 });
    await router.shutdown();
  });

  test.each([
    ['a text', 'fast'],
    ['an array', []],
    ['an unknown key', { maxLenght: 5 }],
    ['maxLength 0', { maxLength: 0 }],
    ['maxLength NaN', { maxLength: Number.NaN }],
    ['overflow explode', { overflow: 'explode' }],
    ['ackWithinMs 0', { ackWithinMs: 0 }],
    ['maxDeliveries 0', { maxDeliveries: 0 }],
    ['concurrency 1.5', { concurrency: 1.5 }],
    ['messageTimeout -1', { messageTimeout: -1 }],
    ['redeliveryDelayMs text', { redeliveryDelayMs: '1s' }],
  ])('a router with %s as its config', async (_name, config) => {
    expect(await codeOf(() => new MessageRouter(config as object))).toBe('INVALID_OPTION');
  });

  test('keys of other parts are known', async () => {
    const config = { maxRetries: 3, resourceTimeout: 30_000, messageTimeout: 10_000, stealThreshold: 3 };
    await expect(new MessageRouter(config).shutdown()).resolves.toBeUndefined();
  });

  test('a transport without its operations is refused', async () => {
    const parts = { transport: {} as never };
    expect(await codeOf(() => new MessageRouter({}, undefined, undefined, parts))).toBe('INVALID_ARGUMENT');
  });
});

describe('odd inputs work', () => {
  test.each(GOOD_IDS)('the id %j', async (id) => {
    const { router, clock } = createRouterWorld();
    const got: unknown[] = [];
    router.subscribe(
      id,
      async (message) => {
        got.push(message.payload);
        if (message.payload === 'ask') await message.reply(id);
      },
      { topics: [id] },
    );
    await router.agentJoined(id);
    await router.send(id, id, 'self', { id, key: id });
    await router.broadcast('a', 'topic', { topic: id });
    await router.broadcast('a', 'all');
    expect(await router.request('a', id, 'ask')).toBe(id);
    await clock.settle();
    expect(got).toEqual(['self', 'topic', 'all', 'ask']);
    await router.agentLeft(id);
    await expectConserved(router);
    await router.shutdown();
  });

  test.each(GOOD_PAYLOADS)('the payload %s', async (_name, payload) => {
    const { router, clock } = createRouterWorld();
    const got: unknown[] = [];
    router.subscribe('b', (message) => void got.push(message.payload));
    await router.send('a', 'b', payload);
    await clock.settle();
    expect(got).toEqual([payload ?? null]);
    await router.shutdown();
  });

  test('times of 0, beyond 2^31 and without end', async () => {
    const { router, clock } = createRouterWorld({ messageTimeout: Number.POSITIVE_INFINITY });
    const codeOfReply = (timeoutMs: number): Promise<unknown> =>
      router.request('a', 'c', 1, { timeoutMs }).catch((error: { code: string }) => error.code);
    await router.send('a', 'b', 1, { expiresInMs: 0 });
    await router.send('a', 'b', 2, { expiresInMs: 2 ** 31 });
    await router.send('a', 'b', 3);
    const now = codeOfReply(0);
    const never = codeOfReply(Number.POSITIVE_INFINITY);
    await clock.advance(10);
    expect(await now).toBe('REPLY_TIMEOUT');
    const got: unknown[] = [];
    router.subscribe('b', ({ payload }) => void got.push(payload));
    await clock.settle();
    expect(got).toEqual([2, 3]);
    await router.shutdown();
    expect(await never).toBe('STOPPED');
  });
});

describe('handlers that misbehave', () => {
  test('one that calls the router from inside, in every way', async () => {
    const { router, clock } = createRouterWorld({ maxDeliveries: 1 });
    const seen: string[] = [];
    router.subscribe('b', (message) => {
      seen.push(String(message.payload));
      if (message.payload !== 'go') return;
      void router.send('b', 'b', 'again');
      void router.broadcast('b', 'all');
      router.subscribe('c', ({ payload }) => void seen.push(`c ${String(payload)}`));
      void router.send('b', 'c', 'new');
      void router.unsubscribe('d');
      void router.performMaintenance();
      throw new Error('after all that');
    });
    await router.send('a', 'b', 'go');
    await clock.settle();
    expect(seen).toEqual(['go', 'again', 'c new']);
    expect(await expectConserved(router)).toMatchObject({ published: 4, delivered: 2, dropped: 1, dead: 1 });
    await router.shutdown();
  });

  test('listeners that throw or reject disturb no delivery', async () => {
    const { router, clock, bus } = createRouterWorld();
    for (const name of ['message:sent', 'message:received'] as const) {
      bus.on(name, gotcha);
      bus.on(name, () => Promise.reject(new Error('listener')));
    }
    const got: unknown[] = [];
    router.subscribe('b', ({ payload }) => void got.push(payload));
    await router.send('a', 'b', 1);
    await clock.settle();
    expect(got).toEqual([1]);
    await router.shutdown();
  });

  test('a loop that awaits each send overflows no mailbox and leaves timers their time', async () => {
    const router = new MessageRouter({ maxLength: 100 });
    let handled = 0;
    let turns = 0;
    router.subscribe('b', () => void (handled += 1));
    let sending = true;
    const turn = (): void => {
      turns += 1;
      if (sending) setImmediate(turn);
    };
    setImmediate(turn);
    for (let i = 0; i < 30_000; i++) await router.send('a', 'b', i);
    sending = false;
    await new Promise((resolve) => setImmediate(resolve));
    expect(handled).toBe(30_000);
    expect(turns).toBeGreaterThan(2);
    await router.shutdown();
  });

  test('agents that answer each other without end leave timers their time', async () => {
    const router = new MessageRouter();
    const rounds = 50_000;
    let round = 0;
    for (const [agent, other] of [
      ['a', 'b'],
      ['b', 'a'],
    ] as const) {
      router.subscribe(agent, async () => {
        round += 1;
        if (round < rounds) await router.send(agent, other, 1);
      });
    }
    await router.send('x', 'a', 1);
    let turns = 0;
    while (round < rounds) {
      await new Promise((resolve) => setImmediate(resolve));
      turns += 1;
    }
    expect(turns).toBeGreaterThan(3);
    await router.shutdown();
  });
});
