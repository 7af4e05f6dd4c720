import { afterEach, beforeEach, expect, test } from 'vitest';
import { idsOf, MessageHarness } from '../../src/testing/suites/messages/harness.ts';
import { openCaller } from '../../src/testing/suites/caller.ts';
import type { SuiteEnvironment } from '../../src/testing/suites/suite.ts';
import { memoryEnvironment } from '../support/memory-environment.ts';
import { redisEnvironment } from '../support/redis-environment.ts';

let env: SuiteEnvironment;
let my: MessageHarness;

beforeEach(async () => {
  env = await redisEnvironment();
  const { messages } = env.backend;
  if (messages === undefined) throw new Error('Redis has messages');
  my = new MessageHarness(env, messages, await openCaller(env, 'here'));
  await my.join('r');
});
afterEach(() => env.stop());

test('a receive that comes again answers with nothing that another has by now', async () => {
  const heir = await my.other('heir');
  await heir.join('r');
  await my.publish({ id: 'm', to: 'r' });
  const op = my.caller.op();
  const request = { addresses: [{ address: 'r', limit: 10, onePerKey: false }], ackWithinMs: 1_000 };
  expect(idsOf((await my.store.receive(op, request)).deliveries)).toEqual(['m']);
  expect(idsOf((await my.store.receive(op, request)).deliveries)).toEqual(['m']);
  await env.pass(1_100);
  const taken = await heir.receive('r');
  expect(taken.map(({ message, delivery }) => [message.id, delivery])).toEqual([['m', 2]]);
  expect(idsOf((await my.store.receive(op, request)).deliveries)).toEqual([]);
  await heir.settle(taken, { as: 'ack' });
  expect(idsOf((await my.store.receive(op, request)).deliveries)).toEqual([]);
});

test('what is late is given back, not what was given back before and is in hand again', async () => {
  await my.publish({ id: 'a', to: 'r', from: 'x' }, { id: 'b', to: 'r', from: 'y' });
  const [first] = await my.receive('r', { ackWithinMs: 1_000 });
  expect(first?.message.id).toBe('a');
  await my.settle(first === undefined ? [] : [first], { as: 'release' });
  const again = await my.receive('r');
  expect(idsOf(again)).toEqual(['a']);
  await env.pass(1_100);
  expect(await my.ids('r')).toEqual(['b']);
  await my.settle(again, { as: 'ack' });
});

test.each([
  ['memory', memoryEnvironment],
  ['redis', redisEnvironment],
] as const)(
  'what was given back to the front of less urgent ones makes nothing urgent that comes behind these (%s)',
  async (_, create) => {
    const other = await create();
    const { messages } = other.backend;
    if (messages === undefined) throw new Error('it has messages');
    const mine = new MessageHarness(other, messages, await openCaller(other, 'here'));
    await mine.join('r');
    await mine.publish(
      { id: 'first', to: 'r', from: 'x', priority: 5 },
      { id: 'slow', to: 'r', from: 'x', priority: 0 },
    );
    const held = await mine.receive('r', { limit: 1 });
    expect(idsOf(held)).toEqual(['first']);
    await mine.publish({ id: 'other', to: 'r', from: 'y', priority: 0 });
    await mine.settle(held, { as: 'release' });
    await mine.publish({ id: 'last', to: 'r', from: 'x', priority: 5 });
    expect(await mine.ids('r')).toEqual(['first', 'slow', 'other', 'last']);
    await other.stop();
  },
);
