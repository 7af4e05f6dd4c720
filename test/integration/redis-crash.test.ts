import { mkdirSync, readdirSync, readFileSync, rmdirSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { untilAnswered, useRedis } from '../support/redis-backends.ts';
import { conservationFaults, plainTask, runAll, type TaskCaller } from '../support/redis-task-load.ts';
import { type RedisServer, startRedis } from '../support/servers/redis-server.ts';

let server: RedisServer;
beforeEach(async () => {
  server = await startRedis({ durable: true });
});
afterEach(() => server.stop());

/** Cuts the log as a crash does that comes in the middle of a write: inside the last transaction, inside one of its commands. */
function cutLog(): void {
  const dir = join(server.dir, 'appendonlydir');
  const name = readdirSync(dir)
    .filter((one) => one.endsWith('.incr.aof'))
    .toSorted()
    .at(-1) as string;
  const log = readFileSync(join(dir, name));
  const begin = log.lastIndexOf('MULTI');
  const command = log.indexOf('RPUSH', begin);
  expect(command, 'a transaction with a list').toBeGreaterThan(begin);
  truncateSync(join(dir, name), log.indexOf('*', log.indexOf('*', command) + 1) + 5);
}

async function untilRewritten(): Promise<void> {
  for (let looks = 0; ; looks++) {
    expect(looks, 'the log is written anew').toBeLessThan(500);
    const info = await server.cli('info', 'persistence');
    const isIdle = info.includes('aof_rewrite_in_progress:0') && info.includes('aof_rewrite_scheduled:0');
    const bases = readdirSync(join(server.dir, 'appendonlydir')).filter((one) => one.includes('.2.base.'));
    if (isIdle && bases.length > 0) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test('what a crash cut off in the middle of a transaction is not carried out in part by a later start', async () => {
  await using used = await useRedis({ url: server.url, mesh: 'cut' });
  const me: TaskCaller = { tasks: used.backend.tasks, op: used.op };
  const batch = ['a', 'b', 'c', 'd'].map((id) => plainTask(id, { key: id }));
  const op = me.op();
  await me.tasks.enqueue(op, batch);
  await server.kill9();
  cutLog();
  await server.start();
  // Its reply was cut off with it, so whoever sent it sends it again.
  await untilAnswered(async () => me.tasks.enqueue(op, batch), 10_000);
  await untilRewritten();
  await server.kill9();
  await server.start();
  const claims = await untilAnswered(() => runAll(me), 10_000);
  expect(claims.map(({ task }) => task)).toEqual(['a', 'b', 'c', 'd']);
  expect(await conservationFaults(me)).toEqual([]);
});

test('where the log may not be written anew the start says so, until somebody may', async () => {
  const may = [
    '+@read',
    '+@write',
    '+@connection',
    '+eval',
    '+evalsha',
    '+time',
    '+publish',
    '+subscribe',
    '+info',
  ];
  await server.cli('acl', 'setuser', 'w', 'on', '>x', '~*', '&*', '-@all', ...may, '+config|get');
  const codes = async (url: string): Promise<readonly string[]> => {
    await using used = await useRedis({ url, mesh: 'refused' });
    return used.report.problems.map(({ code }) => code);
  };
  const weak = server.url.replace('redis://', 'redis://w:x@');
  expect(await codes(weak), 'a mesh that is new has nothing to be repaired').toEqual([]);
  await server.kill9();
  await server.start();
  await server.cli('acl', 'setuser', 'w', 'on', '>x', '~*', '&*', '-@all', ...may, '+config|get');
  expect(await codes(weak)).toEqual(['AOF_UNREPAIRED']);
  expect(await codes(weak), 'and says so again').toEqual(['AOF_UNREPAIRED']);
  expect(await codes(server.url)).toEqual([]);
  await untilRewritten();
  expect(await codes(weak)).toEqual([]);
});

test('a log that could not be written anew is asked for again; that it could not be is said once, and by each start', async () => {
  const warned: unknown[] = [];
  const quiet = (): void => undefined;
  const warn = (_: string, facts: unknown): void => void warned.push((facts as { code: string }).code);
  const logger = { debug: quiet, info: quiet, warn, error: quiet };
  const there = await useRedis({ url: server.url, mesh: 'failing' }, createRuntime({ logger }));
  await server.kill9();
  const inTheWay = join(server.dir, 'appendonlydir', 'appendonly.aof.2.base.rdb');
  mkdirSync(inTheWay);
  await server.start();
  const failures = async (more: number): Promise<void> => {
    const info = await server.cli('info', 'persistence');
    const count = Number(/aof_rewrites_consecutive_failures:(\d+)/.exec(info)?.[1]);
    expect(count).toBeGreaterThanOrEqual(more);
  };
  await vi.waitFor(() => failures(3), 20_000);
  expect(warned).toEqual(['AOF_UNREPAIRED']);
  await there[Symbol.asyncDispose]();
  await using late = await useRedis({ url: server.url, mesh: 'failing' });
  expect(late.report.problems.map(({ code }) => code)).toEqual(['AOF_UNREPAIRED']);
  await vi.waitFor(() => failures(5), 20_000);
  rmdirSync(inTheWay);
  await untilRewritten();
});
