import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import type { Claim, TaskStore } from '../../src/core/ports/tasks.ts';
import { type Caller, openCaller } from '../../src/testing/suites/caller.ts';
import type { SuiteEnvironment } from '../../src/testing/suites/suite.ts';
import { redisEnvironment } from '../support/redis-environment.ts';
import { plainTask, wanting } from '../support/redis-task-load.ts';

let env: SuiteEnvironment;
let tasks: TaskStore;
let redis: Redis;
let prefix: string;
let me: Caller;
let dying: Caller;

beforeEach(async () => {
  redis = new Redis(inject('redisUrl'));
  env = await redisEnvironment((backend, names) => {
    prefix = `${names.prefix}:{${names.mesh}}:`;
    return backend;
  });
  tasks = env.backend.tasks as TaskStore;
  me = await openCaller(env, `me ${randomBytes(4).toString('hex')}`);
  dying = await openCaller(env, 'dying', 1_000);
});
afterEach(async () => {
  redis.disconnect();
  await env.stop();
});

/** Sessions that something is kept for that they are to be told. */
async function told(): Promise<string[]> {
  const keys = await redis.keys(`${prefix}t:or:*`);
  return keys.map((key) => key.slice(`${prefix}t:or:`.length)).toSorted();
}

async function claimOne(start: 0 | 1): Promise<Claim> {
  await tasks.enqueue(me.op(), [plainTask('t')]);
  const { claims } = await tasks.claim(dying.op(), wanting(1, start));
  expect(claims).toHaveLength(1);
  return claims[0] as Claim;
}

async function takeOver(from: 'dead' | Caller): Promise<readonly Claim[]> {
  const { claims } = await tasks.takeover(me.op(), {
    from: from === 'dead' ? from : { idle: from.session },
    match: 'any',
    limit: 10,
    maxMoves: 3,
    steal: 'test',
  });
  return claims;
}

test('a wish to cancel goes to whoever takes the task over, and nothing is kept for the dead', async () => {
  await claimOne(1);
  await tasks.cancel(me.op(), [{ task: 't', reason: 'test', tree: false, revoke: false }]);
  expect(await told()).toEqual([String(dying.session)]);
  await env.pass(1_001);
  const [claim] = await takeOver('dead');
  await tasks.sweep(me.op(), 100);
  expect(await told()).toEqual([String(me.session)]);
  await tasks.settle(me.op(), [{ claim: claim as Claim, as: 'cancel', reason: 'test' }]);
  expect(await told()).toEqual([]);
});

test('nor for one whose last claim was taken from it while it lived', async () => {
  await claimOne(0);
  await takeOver(dying);
  expect(await told()).toEqual([String(dying.session)]);
  await tasks.sweep(me.op(), 100);
  await env.pass(1_001);
  await tasks.sweep(me.op(), 100);
  expect(await told()).toEqual([]);
});
