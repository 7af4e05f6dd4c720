import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { fenced, once } from '../../src/backends/redis/fenced.ts';
import { LockProcess, newMesh } from '../support/locks/lock-process.ts';

let admin: Redis;

beforeAll(() => {
  admin = new Redis(inject('redisUrl'));
});

afterAll(() => {
  admin.disconnect();
});

const mesh = newMesh();
const options = { prefix: mesh.prefix, mesh: mesh.mesh };
const key = `${mesh.tag}report`;

test('a write with an older token never succeeds once a newer one was seen', async () => {
  expect(
    await fenced(
      admin,
      { resource: 'report', token: 5 },
      [
        ['SET', key, 'five'],
        ['GET', key],
      ],
      options,
    ),
  ).toEqual(['OK', 'five']);
  await fenced(admin, { resource: 'report', token: 7 }, [['SET', key, 'seven']], options);
  const late = fenced(admin, { resource: 'report', token: 6 }, [['SET', key, 'six']], options);
  await expect(late).rejects.toMatchObject({
    code: 'STALE_FENCE',
    message: expect.stringContaining('token 7 was seen'),
  });
  expect(await admin.get(key)).toBe('seven');
  expect(await fenced(admin, { resource: 'report', token: 7 }, [['APPEND', key, '!']], options)).toEqual([6]);
  const [, missing] = await fenced(
    admin,
    { resource: 'report', token: 7 },
    [
      ['INCR', `${key}:n`],
      ['GET', `${key}:none`],
    ],
    options,
  );
  expect(missing).toBeNull();
});

test('a lease of several resources is refused whole when one of its tokens is old, and raises none', async () => {
  const lease = (a: number, b: number) => ({
    tokens: new Map([
      ['a', a],
      ['b', b],
    ]),
  });
  await fenced(admin, lease(10, 10), [['SET', key, 'ten']], options);
  await expect(fenced(admin, lease(12, 9), [['SET', key, 'nine']], options)).rejects.toMatchObject({
    code: 'STALE_FENCE',
  });
  await fenced(admin, { resource: 'a', token: 11 }, [['SET', key, 'eleven']], options);
  expect(await admin.get(key)).toBe('eleven');
});

test('tokens of locks are exact: µs since 1970, one apart', async () => {
  const token = 1_763_754_000_000_001;
  await fenced(admin, { resource: 'µs', token: token + 1 }, [['SET', key, 'new']], options);
  await expect(
    fenced(admin, { resource: 'µs', token }, [['SET', key, 'old']], options),
  ).rejects.toMatchObject({ code: 'STALE_FENCE' });
});

test('mistakes are refused before anything is written', async () => {
  const write = (...args: unknown[]) => fenced(admin, ...(args as [never, never, never]));
  const fence = { resource: 'x', token: 1 };
  for (const bad of [
    [fence, []],
    [fence, [['PING']]],
    [fence, [['SET', key, {}]]],
    [{ tokens: new Map() }, [['SET', key, '1']]],
    [{ resource: 'x', token: 1.5 }, [['SET', key, '1']]],
  ])
    await expect(write(...bad, options)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await expect(write(fence, [['SET', key, '1']], { hashTag: 'a}b' })).rejects.toMatchObject({
    code: 'INVALID_OPTION',
  });
});

test('without a fence nothing is sent', async () => {
  const commands = [['SET', key, '1']] as const;
  for (const fence of [undefined, null, 7, { tokens: undefined }, { tokens: [1] }])
    for (const write of [once, fenced])
      await expect(write(admin, fence as never, commands, options)).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
      });
});

describe('once', () => {
  const outbox = `${mesh.tag}outbox`;
  const push = (words: string) => [['RPUSH', outbox, words]] as const;

  test('writes once over all tokens, and refuses an older one', async () => {
    const mail = (token: number) => once(admin, { resource: 'mail', token }, push(`by ${token}`), options);
    expect(await mail(5)).toBe(true);
    expect(await mail(5)).toBe(false);
    await expect(mail(4)).rejects.toMatchObject({ code: 'STALE_FENCE' });
    expect(await mail(6)).toBe(false);
    expect(await admin.lrange(outbox, 0, -1)).toEqual(['by 5']);
    const register = `${mesh.prefix}:{${mesh.mesh}}:f:${mesh.mesh}:mail`;
    expect(await admin.get(register)).toBe('5!');
  });

  test('what failed is not done: the repeat does it', async () => {
    const text = `${mesh.tag}text`;
    const list = `${mesh.tag}list`;
    await admin.set(text, 'of another type');
    const fence = { resource: 'repeated', token: 1 };
    const write = () =>
      once(
        admin,
        fence,
        [
          ['RPUSH', list, 'a'],
          ['RPUSH', text, 'b'],
        ],
        options,
      );
    await expect(write()).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await admin.del(text);
    expect(await write()).toBe(true);
    expect(await write()).toBe(false);
    // The first of the two stayed done.
    expect(await admin.lrange(list, 0, -1)).toEqual(['a', 'a']);
    expect(await admin.lrange(text, 0, -1)).toEqual(['b']);
  });
});

describe('a command that fails', () => {
  const text = `${mesh.tag}a-text`;
  const fence = { resource: 'failing', token: 1 };

  test.each([
    ['of a wrong type', ['RPUSH', text, 'b'], 'Command 2 (RPUSH) failed: WRONGTYPE'],
    ['that Redis lacks', ['NOSUCH', text], 'Command 2 (NOSUCH) failed: ERR'],
    ['with too few words', ['RPUSH', text], 'Command 2 (RPUSH) failed: ERR'],
    ['that scripts may not send', ['SUBSCRIBE', text], 'Command 2 (SUBSCRIBE) failed: ERR'],
  ] as const)('%s is the fault of the caller', async (_, command, message) => {
    for (const write of [once, fenced]) {
      const error: unknown = await write(admin, fence, [['SET', text, 'a'], command], options).catch(
        (refusal: unknown) => refusal,
      );
      expect(error).toMatchObject({
        code: 'INVALID_ARGUMENT',
        message: expect.stringContaining(message),
        hint: 'What stands before it was carried out and stays: put first what may fail, or use one command.',
        retryable: false,
      });
      expect((error as Error).message).not.toContain('user_script');
    }
  });

  test('alone has no hint: nothing was done', async () => {
    await admin.set(text, 'a');
    const error: unknown = await once(admin, fence, [['RPUSH', text, 'b']], options).catch((e: unknown) => e);
    expect(error).toMatchObject({ message: expect.stringMatching(/^RPUSH failed: WRONGTYPE/) });
    expect(error).not.toHaveProperty('hint');
  });

  test('for want of rights says so', async () => {
    const user = `writer-${mesh.mesh}`;
    const rights = [`~${mesh.prefix}:{${mesh.mesh}}:f:*`, '+eval', '+get', '+set', '+info'];
    await admin.call('ACL', ['SETUSER', user, 'on', '>secret', '-@all', ...rights]);
    const writer = new Redis(inject('redisUrl'), {
      username: user,
      password: 'secret',
      enableReadyCheck: false,
    });
    const refused = {
      code: 'NOT_SUPPORTED',
      message: expect.stringContaining('Redis forbids the user of this connection'),
      hint: 'Give its ACL user EVAL, GET and SET, the commands, their keys, and those of the registers.',
      retryable: false,
    };
    const register = `${mesh.prefix}:{${mesh.mesh}}:f:own`;
    for (const write of [once, fenced]) {
      await expect(write(writer, fence, [['SET', text, 'b']], options)).rejects.toMatchObject(refused);
      await expect(write(writer, fence, [['INCR', register]], options)).rejects.toMatchObject({
        ...refused,
        message: expect.stringContaining('INCR failed: Redis forbids'),
      });
    }
    writer.disconnect();
    await admin.call('ACL', ['DELUSER', user]);
  });
});

test('L2: a holder that slept past its lease writes nothing over its successor', async () => {
  const sleeper = await LockProcess.start(inject('redisUrl'), mesh, 300);
  await using successor = await LockProcess.start(inject('redisUrl'), mesh);
  const { grant: old } = await sleeper.take([{ resource: 'ledger', mode: 'exclusive' }]);
  const { grant: now } = await successor.take([{ resource: 'ledger', mode: 'exclusive' }], {}, 100);
  const ledger = `${mesh.tag}ledger`;
  const write = (token: number, text: string) =>
    fenced(admin, { resource: 'ledger', token }, [['RPUSH', ledger, text]], options);
  await write(now.token, 'successor');
  await expect(write(old.token, 'sleeper')).rejects.toMatchObject({ code: 'STALE_FENCE' });
  // Without the check the late write goes through.
  await admin.rpush(`${ledger}:unfenced`, 'successor', 'sleeper');
  expect(await admin.lrange(ledger, 0, -1)).toEqual(['successor']);
  expect(await admin.lrange(`${ledger}:unfenced`, 0, -1)).toContain('sleeper');
  await sleeper.backend.stop();
});
