import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import type { RedisStore } from '../../src/backends/redis/connection.ts';
import { RedisMessageTransport } from '../../src/backends/redis/messages/redis-message-transport.ts';
import { MessageHarness, newMessage, ROOMY } from '../../src/testing/suites/messages/harness.ts';
import { openCaller } from '../../src/testing/suites/caller.ts';
import type { SuiteEnvironment } from '../../src/testing/suites/suite.ts';
import { redisEnvironment } from '../support/redis-environment.ts';

let env: SuiteEnvironment;
let my: MessageHarness;
let redis: Redis;
let prefix: string;
/** What comes between two scripts of one call, by what is to be carried out. */
let between: ((script: string) => Promise<void>) | undefined;

beforeEach(async () => {
  redis = new Redis(inject('redisUrl'));
  between = undefined;
  const ports = (store: RedisStore): { messages: RedisMessageTransport } => {
    const watched = Object.create(store) as RedisStore;
    watched.run = async (...call: Parameters<RedisStore['run']>) => {
      const answer = await store.run(...call);
      await between?.(call[0].name);
      return answer;
    };
    return { messages: new RedisMessageTransport(watched) };
  };
  env = await redisEnvironment(
    (backend, names) => {
      prefix = `${names.prefix}:{${names.mesh}}:`;
      return backend;
    },
    { ports },
  );
  my = new MessageHarness(env, env.backend.messages as RedisMessageTransport, await openCaller(env, 'here'));
});
afterEach(async () => {
  redis.disconnect();
  await env.stop();
});

async function publish(count: number, spec: (n: number) => Parameters<typeof newMessage>[0]): Promise<void> {
  for (let from = 0; from < count; from += 250) {
    const length = Math.min(250, count - from);
    const messages = Array.from({ length }, (_, n) => newMessage(spec(from + n)));
    await my.store.publish(my.caller.op(), messages, { ...ROOMY, maxLength: 10_000 });
  }
}

test('ids that senders gave are forgotten after their time, however many come', async () => {
  const tag = randomBytes(4).toString('hex');
  await publish(2_000, (n) => ({ id: `${tag}.${n}`, dedupe: true }));
  expect(await redis.zcard(`${prefix}m:u`)).toBe(2_000);
  await env.pass(11 * 60_000);
  await publish(1_000, (n) => ({ id: `later.${n}`, dedupe: true }));
  expect(await redis.zcard(`${prefix}m:u`)).toBe(1_000);
});

test('what is in hand may be given back between the scripts of a leave: it is dropped like the rest', async () => {
  await my.join('r');
  await publish(700, (n) => ({ id: `m${n}`, to: 'r' }));
  const held = [...(await my.receive('r', { limit: 250 })), ...(await my.receive('r', { limit: 250 }))];
  held.push(...(await my.receive('r', { limit: 250 })));
  expect(held).toHaveLength(700);
  let returned = 0;
  between = async (script) => {
    if (script !== 'messages-subscribe') return;
    between = undefined;
    for (let from = 0; from < 700; from += 250) {
      const items = held.slice(from, from + 250).map((delivery) => ({ delivery, as: 'release' as const }));
      const { settled } = await my.store.settle(my.caller.op(), items);
      returned += settled.filter(Boolean).length;
    }
  };
  const leaving = { address: 'r', topics: [], listening: false, mailbox: 'leave', keepMs: 0 } as const;
  const { lost } = await my.store.subscribe(my.caller.op(), [leaving]);
  expect(returned).toBeGreaterThan(0);
  expect(lost.reduce((sum, { count }) => sum + count, 0)).toBe(700);
  await my.assertTotals({ published: 700, dropped: 700 });
});

test('what a receiver missed of more senders than one answer holds is told by the next', async () => {
  await my.join('r', { mailbox: { maxLength: 1, overflow: 'drop-newest' } });
  await publish(601, (n) => ({ id: `m${n}`, to: 'r', from: `s${n}`, class: 'm0' }));
  let told = 0;
  for (let n = 0; n < 3; n++) {
    const { lost } = await my.store.sweep(my.caller.op(), 100);
    told += lost.filter(({ reason }) => reason === 'full').length;
  }
  expect(told).toBe(600);
});

test('a script ends at most 50 memberships, of however many sessions', async () => {
  const sessions = await Promise.all([1, 2, 3, 4].map(async (n) => my.other(`dying${n}`, 1_000)));
  for (const [n, other] of sessions.entries()) {
    const changes = Array.from({ length: 40 }, (_, i) => ({
      address: `${n}.${i}`,
      topics: [],
      listening: true,
      mailbox: ROOMY,
      keepMs: 0,
    }));
    await other.store.subscribe(other.caller.op(), changes);
  }
  const joined = async (): Promise<number> => {
    let sum = 0;
    for (const { caller } of sessions) sum += await redis.scard(`${prefix}m:j:${caller.session}`);
    return sum;
  };
  expect(await joined()).toBe(160);
  await env.pass(1_100);
  const left: number[] = [];
  for (let n = 0; n < 4; n++) {
    await my.store.sweep(my.caller.op(), 100);
    left.push(await joined());
  }
  expect(left).toEqual([110, 60, 10, 0]);
});

test('of a mailbox’s dead letters no more are kept than it says, to the one: the oldest go', async () => {
  await my.join('r');
  for (const count of [1_000, 1]) {
    await publish(count, (n) => ({ id: `${count}:${n}`, to: 'r' }));
    for (let held = await my.receive('r'); held.length > 0; held = await my.receive('r'))
      await my.settle(held, { as: 'bury', reason: 'test' });
  }
  await my.assertTotals({ published: 1_001, dead: 1_000, dropped: 1 });
  const { changed } = await my.store.revise(my.caller.op(), {
    set: 'redrive',
    ids: ['1000:0', '1000:1', '1:0'],
    limit: 10,
  });
  expect(changed).toBe(2);
});
