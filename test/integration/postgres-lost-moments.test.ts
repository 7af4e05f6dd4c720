import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { postgres } from '../../src/backends/postgres/postgres.ts';
import { isCoordinationError } from '../../src/core/errors.ts';
import type { Claim, NewTask } from '../../src/core/ports/tasks.ts';
import type { Operation } from '../../src/core/ports/words.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { REPORT } from '../../src/testing/suites/caller.ts';
import { LONG_MS, Peer } from '../support/postgres-peers.ts';
import { scratchSchema, sql } from '../support/postgres-scratch.ts';
import { type PostgresServer, startPostgres } from '../support/servers/postgres-server.ts';

/** A server that answers before it writes: what it said last is lost when it is killed. */
let server: PostgresServer;
beforeAll(async () => {
  server = await startPostgres({
    own: true,
    settings: ['fsync=on', 'synchronous_commit=off', 'wal_writer_delay=10000', 'wal_writer_flush_after=1GB'],
  });
});
afterAll(() => server.stop());

const schema = scratchSchema();

class Process extends Peer {
  static async boot(name: string): Promise<Process> {
    const backend = postgres({ url: server.url, schema, listen: false, connections: 2 });
    onTestFinished(() => backend.stop());
    await backend.start(createRuntime());
    const { session } = await backend.sessions.open({
      boot: `${name} ${scratchSchema()}`,
      leaseMs: LONG_MS,
      writer: 1,
      report: REPORT,
    });
    return new Process(backend, name, session);
  }

  /** The server may be ending, or still be starting. */
  async again<T>(send: (op: Operation) => Promise<T>): Promise<T> {
    const op = this.next();
    for (let tries = 1; ; tries++) {
      try {
        return await send(op);
      } catch (error) {
        const passing =
          isCoordinationError(error, 'BACKEND_UNAVAILABLE') || isCoordinationError(error, 'OUTCOME_UNKNOWN');
        if (!passing || tries > 100) throw error;
        await sleep(100);
      }
    }
  }

  async add(task: Partial<NewTask>): Promise<void> {
    const whole = {
      id: `t${Math.random()}`,
      queue: 'plain',
      type: 'a',
      payload: 1,
      priority: 2,
      capabilities: [],
      weight: 1,
      dependsOn: [],
      limits: { maxCrashes: 3, keepMs: LONG_MS },
      ...task,
    };
    const { results } = await this.again((op) => this.backend.tasks.enqueue(op, [whole]));
    expect(results, JSON.stringify(results)).toMatchObject([{ status: 'enqueued' }]);
  }

  async claim(limit = 10): Promise<readonly Claim[]> {
    const request = {
      offers: [{ capabilities: [], slots: limit }],
      agents: [],
      assigned: 0,
      limit,
      start: limit,
    };
    const { claims } = await this.again((op) => this.backend.tasks.claim(op, request));
    return claims;
  }

  async complete(claims: readonly Claim[]): Promise<readonly string[]> {
    const { results } = await this.again((op) =>
      this.backend.tasks.settle(
        op,
        claims.map((claim) => ({ claim, as: 'complete', result: this.name })),
      ),
    );
    return results.map(({ status }) => status);
  }
}

/** What was said up to here stays. */
async function toDisk(): Promise<void> {
  await sql(
    'set synchronous_commit = on; create table if not exists mark (i int); drop table mark; checkpoint',
    server.url,
  );
}

async function kindOf(id: string): Promise<unknown> {
  const [row] = await sql<{ kind: string }>(
    `select q.name || '/' || l.type as kind from ${schema}.task_bodies b
     left join ${schema}.tasks t using (seq) left join ${schema}.task_ends e using (seq)
     join ${schema}.task_lanes l on l.lane = coalesce(t.lane, e.lane)
     join ${schema}.task_queues q on q.number = l.queue where b.id = '${id}'`,
    server.url,
  );
  return row?.kind;
}

async function uptime(): Promise<unknown> {
  const rows = await sql(`select began from ${schema}.uptime`, server.url);
  return rows[0];
}

test('numbers that a killed server gave out last are never given again', async () => {
  const before = await Process.boot('before');
  const beside = await Process.boot('beside');
  await before.add({ id: 'x' });
  await toDisk();
  for (const n of [1, 2, 3, 4]) await before.add({ queue: `bank ${n}`, type: 'charge-card' });
  // A claim each, so that many tokens are given out.
  const lost: Claim[] = [];
  for (let n = 0; n < 5; n++) lost.push(...(await before.claim(1)));
  expect(lost.map(({ task }) => task)).toContain('x');
  await server.kill9();
  await server.restart();

  // Lanes and queues: a process that knows one that was lost must not put its tasks into what another one made since.
  await beside.add({ id: 'mail', queue: 'newsletter', type: 'send-mail' });
  await before.add({ id: 'card', queue: 'bank 4', type: 'charge-card' });
  expect([await kindOf('mail'), await kindOf('card')]).toEqual([
    'newsletter/send-mail',
    'bank 4/charge-card',
  ]);

  // Tokens: the lost claim was of x, and ends nobody else's.
  const claims = await beside.claim();
  const x = claims.find(({ task }) => task === 'x') as Claim;
  expect(x, 'nothing was lost').toBeDefined();
  expect(x.token).toBeGreaterThan(Math.max(...lost.map(({ token }) => token)));
  expect(await before.complete(lost)).not.toContain('settled');
  expect(new Set(await beside.complete(claims))).toEqual(new Set(['settled']));
  expect((await beside.backend.tasks.get(['x']))[0]?.result).toBe('beside');
});

test('whoever knew the lanes of a server that came back hears of those that were made since', async () => {
  const before = await Process.boot('before');
  const beside = await Process.boot('beside');
  await before.claim();
  await toDisk();
  // Transactions whose numbers are lost: those that come have the same ones.
  for (let i = 0; i < 50; i++) await before.add({ id: `lost-${i}`, delayMs: LONG_MS });
  await beside.add({ queue: 'lost' });
  await before.claim();
  await before.backend.stop();
  await server.kill9();
  await server.restart();
  await beside.add({ id: 'young', queue: 'young', type: 'young' });
  await before.again(() => before.backend.start(createRuntime()));
  expect((await before.claim()).map(({ task }) => task)).toContain('young');
});

test('a server that stops in order has lost nothing; one of whose processes was killed may have', async () => {
  const peer = await Process.boot('peer');
  await peer.add({});
  const first = await uptime();
  expect(first).toBeDefined();

  const [file] = await sql<{ text: string }>(`select pg_read_file('postmaster.pid') as text`, server.url);
  const gone = (pid: number): boolean => {
    try {
      return !process.kill(pid, 0);
    } catch {
      return true;
    }
  };
  const postmaster = Number.parseInt(file?.text ?? '');
  process.kill(postmaster, 'SIGINT');
  await vi.waitUntil(() => gone(postmaster), { timeout: 20_000 });
  await server.restart();
  await peer.add({});
  expect(await uptime()).toEqual(first);

  const [own] = await sql<{ pid: number }>(
    `select pid from pg_stat_activity where backend_type = 'background writer'`,
    server.url,
  );
  process.kill(own?.pid ?? 0, 'SIGKILL');
  await vi.waitUntil(() => gone(own?.pid ?? 0), { timeout: 20_000 });
  await peer.add({});
  const second = await uptime();
  expect(second).toBeDefined();
  expect(second).not.toEqual(first);
});
