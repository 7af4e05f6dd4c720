import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, type TestContext, test } from 'vitest';
import type { MeshPlace } from '../support/pulse-process.ts';
import { sql } from '../support/postgres-scratch.ts';
import { startPostgres } from '../support/servers/postgres-server.ts';
import { startRedis } from '../support/servers/redis-server.ts';

/** What a worker with two agents and a subscription costs while there is nothing to do: all its parts, its thread included. */

/** Rests have grown by then. */
const SETTLE_MS = 15_000;
/** Long enough that what comes each 2 and 5 s counts as it does on average. */
const WATCH_MS = 30_000;
const MOST_A_SECOND = 2;
const MOST_CPU = 0.01;

/** The worker; `usedMs` asks for its CPU time. */
async function idleWorker(place: MeshPlace, { onTestFinished }: TestContext) {
  const file = fileURLToPath(new URL('../support/idle-worker-process.ts', import.meta.url));
  const child = spawn(process.execPath, [file, JSON.stringify(place)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  onTestFinished(async () => {
    if (child.exitCode !== null) return;
    child.stdin.end();
    await once(child, 'exit');
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  expect((await lines.next()).value).toBe('idle');
  return {
    async usedMs(): Promise<number> {
      child.stdin.write('?\n');
      return Number((await lines.next()).value) / 1_000;
    },
  };
}

async function costOf(place: MeshPlace, context: TestContext, count: () => Promise<number>) {
  const worker = await idleWorker(place, context);
  await sleep(SETTLE_MS);
  const began = performance.now();
  const before = { asked: await count(), usedMs: await worker.usedMs() };
  await sleep(WATCH_MS);
  const ms = performance.now() - began;
  const asked = (await count()) - before.asked;
  const usedMs = (await worker.usedMs()) - before.usedMs;
  return { perSecond: (asked * 1_000) / ms, cpu: usedMs / ms, asked };
}

function expectCheap({ perSecond, cpu, asked }: Awaited<ReturnType<typeof costOf>>): void {
  expect(perSecond).toBeLessThanOrEqual(MOST_A_SECOND);
  expect(cpu).toBeLessThan(MOST_CPU);
  // It does look for work.
  expect(asked).toBeGreaterThan(WATCH_MS / 1_000);
}

describe.concurrent('an idle worker', () => {
  test('Redis: at most 2 commands a second, and less than 1 % of a CPU', async (context) => {
    const server = await startRedis();
    context.onTestFinished(() => server.stop());
    /** What clients send; what scripts call is counted beside it, under other names. */
    const sent = /^cmdstat_(eval|evalsha|ping|subscribe|hello|info|client\|\w+|config\|\w+):calls=(\d+)/gm;
    const count = async (): Promise<number> => {
      const stats = await server.cli('info', 'commandstats');
      let sum = 0;
      for (const [, name, calls] of stats.matchAll(sent)) if (name !== 'info') sum += Number(calls);
      return sum;
    };
    expectCheap(await costOf({ kind: 'redis', url: server.url, mesh: 'idle' }, context, count));
  });

  test('PostgreSQL: at most 2 queries a second, and less than 1 % of a CPU', async (context) => {
    const server = await startPostgres({ own: true, settings: ['autovacuum=off'] });
    context.onTestFinished(() => server.stop());
    await sql('create database idle', server.url);
    const place = new URL(server.url);
    place.pathname = '/idle';
    // Each query is a transaction. Asked from another database, for asking is one too.
    const count = async (): Promise<number> => {
      const text = `select xact_commit + xact_rollback as sum from pg_stat_database where datname = 'idle'`;
      const [row] = await sql<{ readonly sum: string }>(text, server.url);
      return Number(row?.sum);
    };
    expectCheap(await costOf({ kind: 'postgres', url: place.href, mesh: 'idle' }, context, count));
  });
});
