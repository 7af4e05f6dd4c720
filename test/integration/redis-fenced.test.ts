import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { fenced } from '../../src/backends/redis/fenced.ts';
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
