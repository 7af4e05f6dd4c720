import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fenced as fencedInPostgres, postgres } from '../../src/backends/postgres/index.ts';
import { redis } from '../../src/backends/redis/index.ts';
import { type Backend, CoordinationManager } from '../../src/index.ts';
import { codeBlocks } from '../support/code-blocks.ts';
import { type PostgresServer, startPostgres } from '../support/servers/postgres-server.ts';
import { type RedisServer, startRedis } from '../support/servers/redis-server.ts';

/** What the documentation tells operators to type, typed. */

const root = fileURLToPath(new URL('../..', import.meta.url));
const KEYS = 'docs/design/redis-keys.md';
const PAGES = ['docs/guide/operations.md', 'docs/guide/enqueueing.md', 'docs/design/postgres-tables.md'];

function blocksOf(page: string, language: string, mark?: string): readonly string[] {
  return codeBlocks(join(root, page))
    .filter((block) => block.language === language && (mark === undefined || block.marks.includes(mark)))
    .map(({ text }) => text);
}

function only(texts: readonly string[]): string {
  assert.equal(texts.length, 1);
  return texts[0] as string;
}

async function connect(connectionString: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  return client;
}

/** Work of every port, with whatever rights the backend was given. */
async function work(backend: Backend): Promise<void> {
  const mesh = new CoordinationManager({ backend });
  await mesh.initialize();
  try {
    mesh.registerAgent({
      id: 'ada',
      handler: {
        part: ({ task, withLock }) => withLock('place', () => task.input * 2),
        whole: async ({ gather }) => {
          const { completed } = await gather([
            { type: 'part', input: 1 },
            { type: 'part', input: 2 },
          ]);
          return completed;
        },
        fail: () => {
          throw new Error('no');
        },
      },
    });
    await mesh.queues.configure('part', { maxRunning: 2 });
    const first = await mesh.submitTask({ id: 'first', type: 'part', input: 3, idempotencyKey: 'once' });
    assert.equal(await first.result(), 6);
    const next = await mesh.submitTask({ type: 'whole', dependencies: ['first'] });
    assert.equal(await next.result(), 2);
    await expect(mesh.runTask({ id: 'dead', type: 'fail', retry: false })).rejects.toMatchObject({
      code: 'TASK_FAILED',
    });
    const late = await mesh.submitTask({ id: 'late', type: 'part', input: 1, delayMs: 3_600_000 });
    await late.cancel('no longer');
    assert.equal((await mesh.queues.history('first')).items.length, 3);
    await mesh.sendMessage('ada', 'nobody', 'hello');
    mesh.messages.subscribe('bob', (message) => message.reply('pong'));
    assert.equal(await mesh.messages.request('ada', 'bob', 'ping'), 'pong');
    assert.equal((await mesh.getHealthStatus()).healthy, true);
    await mesh.performMaintenance();
  } finally {
    await mesh.shutdown();
  }
}

describe('PostgreSQL', () => {
  let server: PostgresServer;
  let admin: pg.Client;
  const urlOf = (user: string): string => server.url.replace('postgres@', `${user}@`);

  beforeAll(async () => {
    server = await startPostgres({ own: true });
    admin = await connect(server.url);
    await admin.query(only(blocksOf('docs/guide/operations.md', 'sql', 'roles')));
    await postgres({ url: urlOf('mesh_migrator') }).migrate();
  }, 60_000);
  afterAll(async () => {
    await admin.end();
    await server.stop();
  });

  test('the rights of the worker are enough, and no more than that', async () => {
    await work(postgres({ url: urlOf('mesh_worker'), migrate: 'check' }));
    const worker = await connect(urlOf('mesh_worker'));
    for (const refused of [
      'create table agentmesh.mine (n int)',
      'drop table agentmesh.tasks',
      'truncate agentmesh.tasks',
      'create or replace function agentmesh.now_us() returns bigint language sql as $$ select 0::bigint $$',
    ])
      await expect(worker.query(refused)).rejects.toMatchObject({ code: '42501' });
    await worker.end();
  });

  test('who only writes under locks needs the register alone', async () => {
    await admin.query(`create role writer login; grant usage on schema agentmesh to writer;
      grant select, insert, update on agentmesh.fences to writer`);
    const client = await connect(urlOf('writer'));
    await client.query('begin');
    assert.equal(await fencedInPostgres(client, { resource: 'r', token: 7 }, (token) => token), 7);
    await client.query('commit');
    await client.query('begin');
    await expect(fencedInPostgres(client, { resource: 'r', token: 6 }, () => 0)).rejects.toMatchObject({
      code: 'STALE_FENCE',
    });
    await client.end();
  });

  test('the trigger of the page submits a task, and its wake-up is understood', async () => {
    const [trigger = '', wake = '', ...more] = blocksOf('docs/guide/enqueueing.md', 'sql');
    await admin.query(trigger);
    await admin.query(only(more));
    const backend = postgres({ url: server.url });
    const mesh = await CoordinationManager.start({ backend });
    const heard = Promise.withResolvers<unknown>();
    using listening = backend.onHint([{ about: 'tasks', queue: 'mail' }], heard.resolve);
    await admin.query(wake);
    assert.deepEqual(await heard.promise, { about: 'tasks', queue: 'mail' });
    listening[Symbol.dispose]();
    mesh.registerAgent({ id: 'clerk', handler: { confirm: ({ task }) => task.input.customer } });
    await admin.query('alter function public.submit_mail owner to mesh_worker');
    await admin.query(`create role submitter login; grant usage on schema public to submitter`);
    const submitter = await connect(urlOf('submitter'));
    const { rows } = await submitter.query<{ id: string }>(
      `select public.submit_mail('{"to":"ann"}', 'm1') as id`,
    );
    await submitter.end();
    assert.equal((await mesh.getTask(rows[0]?.id ?? ''))?.queue, 'mail');
    const { items } = await mesh.queues.list({ queue: 'orders' });
    await expect
      .poll(async () => (await mesh.getTask(items[0]?.id ?? ''))?.result, { timeout: 10_000 })
      .toBe('ann');
    await mesh.shutdown();
  });

  test.each(PAGES.flatMap((page) => blocksOf(page, 'sql', 'reads').map((text) => [page, text] as const)))(
    '%s: what operators ask is answered: %s',
    async (_, text) => {
      const worker = await connect(urlOf('mesh_worker'));
      await expect(worker.query(text)).resolves.toBeDefined();
      await worker.end();
    },
  );

  test('there are questions of operators', () => {
    expect(PAGES.flatMap((page) => blocksOf(page, 'sql', 'reads')).length).toBeGreaterThan(5);
  });
});

describe('Redis', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis();
  }, 60_000);
  afterAll(() => server.stop());

  test('the rights of the worker are enough, and no more than that', async () => {
    const line = only(blocksOf('docs/guide/operations.md', 'acl')).trim();
    const admin = new Redis(server.url);
    const [command = '', ...args] = line.split(' ');
    await admin.call(command, args);
    const url = server.url.replace('redis://', 'redis://mesh_worker:change-me@');
    await work(redis({ url }));
    assert.deepEqual(await admin.call('ACL', ['LOG']), []);
    const worker = new Redis(url);
    for (const refused of [
      ['set', 'mine', '1'],
      ['flushall'],
      ['config', 'set', 'appendonly', 'no'],
      ['script', 'flush'],
      ['function', 'flush'],
      ['keys', '*'],
    ] as const)
      await expect(worker.call(refused[0], refused.slice(1))).rejects.toThrow(/NOPERM/);
    worker.disconnect();
    admin.disconnect();
  });

  test('what operators ask is answered, to somebody who may only look', async () => {
    await work(redis({ url: server.url }));
    const admin = new Redis(server.url);
    const rights = /who only looks has `([^`]+)`/.exec(readFileSync(join(root, KEYS), 'utf8'))?.[1] ?? '';
    await admin.call('ACL', ['SETUSER', 'looker', 'on', 'nopass', ...rights.split(' ')]);
    const looker = new Redis(server.url.replace('redis://', 'redis://looker:any@'), {
      enableReadyCheck: false,
    });
    const lines = blocksOf(KEYS, 'sh').flatMap((text) => text.split('\n'));
    const asked = lines.filter((line) => line.startsWith('redis-cli') && !line.includes('subscribe'));
    expect(asked.length).toBeGreaterThan(10);
    const known = new Set<string>();
    for (const line of asked) {
      const [, command = '', ...args] = line.split(' ').map((word) => word.replaceAll("'", ''));
      const answer = await looker.call(command, args);
      if (Object.keys(answer ?? {}).length > 0) known.add(line);
    }
    // Names of tasks and sessions are examples; what every mesh has must be there.
    expect(known.size).toBeGreaterThan(5);
    looker.disconnect();
    admin.disconnect();
  });
});
