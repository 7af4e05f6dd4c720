import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, inject, type TestContext, test } from 'vitest';
import { EMPTY_REPORT } from '../../src/core/empty-report.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { CoordinationManager } from '../../src/index.ts';
import type { SessionOptions } from '../../src/manager-options.ts';
import { backendAt, type MeshPlace, WorkerProcess } from './pulse-process.ts';
import { startPostgres } from './servers/postgres-server.ts';
import { startRedis } from './servers/redis-server.ts';

/**
 * A process keeps its lease while its event loop is blocked, by a thread; and loses it where it has to. On real servers and real time: they wait,
 * all at the same time.
 */

const LEASE_MS = 2_000;

function placeOf(kind: MeshPlace['kind'], url?: string): MeshPlace {
  const mesh = `p_${randomBytes(6).toString('hex')}`;
  return { kind, mesh, url: url ?? inject(kind === 'redis' ? 'redisUrl' : 'postgresUrl') };
}

/** Another process of the mesh: it takes what is up for taking. */
async function rivalAt(place: MeshPlace, { onTestFinished }: TestContext) {
  const mesh = new CoordinationManager({ backend: backendAt(place), session: { thread: 'main' }, env: {} });
  await mesh.initialize();
  onTestFinished(() => mesh.shutdown());
  return mesh;
}

async function workerAt(
  place: MeshPlace,
  session: SessionOptions,
  { onTestFinished }: TestContext,
): Promise<WorkerProcess> {
  const worker = await WorkerProcess.start({ ...place, session });
  onTestFinished(() => worker[Symbol.asyncDispose]());
  return worker;
}

/** Blocks the worker's loop; meanwhile the rival wants its task and its lock. */
async function blocked(place: MeshPlace, session: SessionOptions, ms: number, context: TestContext) {
  const rival = await rivalAt(place, context);
  const worker = await workerAt(place, session, context);
  const task = await rival.submitTask({ type: 'x', capabilities: ['block'], input: { ms } });
  await worker.until('begun');
  rival.registerAgent({ id: 'rival', capabilities: ['block'], handler: () => 'rival' });
  let seized = false;
  const seizing = (async () => {
    while (!worker.said.includes('blocked no more')) {
      seized ||= (await rival.locks.tryAcquire('db')) !== undefined;
      await sleep(50);
    }
  })();
  const result = await task.result();
  await worker.until('blocked no more');
  await seizing;
  return { worker, rival, result, seized };
}

/** For each server a file of its own: they run side by side. */
export function describePulse(kind: MeshPlace['kind']): void {
  describe.concurrent(`a session renewed from a thread, on ${kind}`, () => {
    test('a loop that is blocked for three leases keeps its task and its lock: its end is accepted, in the same session', async (context) => {
      const session = { leaseMs: LEASE_MS };
      const { worker, result, seized } = await blocked(placeOf(kind), session, 3 * LEASE_MS + 500, context);
      expect({ result, seized }).toEqual({ result: 'worker', seized: false });
      await worker.until('task completed');
      await sleep(LEASE_MS);
      expect(worker.said).toEqual(['locked', 'begun', 'blocked no more', 'task completed']);
      // It ends by itself, the thread too, and nothing was printed by anybody.
      expect(await worker.shutdown()).toBe(0);
      expect([worker.said.at(-1), worker.errors]).toEqual(['down', '']);
    });

    test('without the thread the same loses both', async (context) => {
      const session = { leaseMs: LEASE_MS, thread: 'main' } as const;
      const { worker, result, seized } = await blocked(placeOf(kind), session, 6 * LEASE_MS, context);
      expect({ result, seized }).toEqual({ result: 'rival', seized: true });
      await worker.until('session expired');
      await worker.until('lock lost');
    });

    test('a loop that is blocked for longer than stuckMs loses both, thread or not', async (context) => {
      const session = { leaseMs: LEASE_MS, stuckMs: 1_000 };
      const { worker, result, seized } = await blocked(placeOf(kind), session, 7 * LEASE_MS, context);
      expect({ result, seized }).toEqual({ result: 'rival', seized: true });
      await worker.until('session expired');
    });

    test.for(['worker', 'main'] as const)(
      'a process that is stopped for longer than its lease loses it, renewed from %s',
      async (thread, context) => {
        const place = placeOf(kind);
        const rival = await rivalAt(place, context);
        const worker = await workerAt(place, { leaseMs: LEASE_MS, thread }, context);
        expect(await rival.locks.tryAcquire('db')).toBeUndefined();
        worker.signal('SIGSTOP');
        await rival.acquire('db', { timeoutMs: 10 * LEASE_MS });
        worker.signal('SIGCONT');
        await worker.until('session expired');
        await worker.until('lock lost');
      },
    );

    test('the server is killed and comes back within the lease, while the loop is blocked for longer than it: kept', async (context) => {
      const server =
        kind === 'redis' ? await startRedis({ durable: true }) : await startPostgres({ own: true });
      context.onTestFinished(() => server.stop());
      const place = placeOf(kind, server.url);
      const leaseMs = 5_000;
      const rival = await rivalAt(place, context);
      const worker = await workerAt(place, { leaseMs }, context);
      const task = await rival.submitTask({
        type: 'x',
        capabilities: ['block'],
        input: { ms: 2.5 * leaseMs },
      });
      await worker.until('begun');
      await server.kill9();
      await ('start' in server ? server.start() : server.restart());
      expect(await task.result()).toBe('worker');
      await worker.until('task completed');
      expect(worker.said).toEqual(['locked', 'begun', 'blocked no more', 'task completed']);
    });

    test('a process that is killed: who was idle for long runs its task within its lease and a second', async (context) => {
      const place = placeOf(kind);
      const leaseMs = 3_000;
      const rival = await rivalAt(place, context);
      const worker = await workerAt(place, { leaseMs }, context);
      // Until its rests have grown.
      await sleep(6_000);
      const task = await rival.submitTask({ type: 'x', capabilities: ['block'], input: { ms: 60_000 } });
      await worker.until('begun');
      rival.registerAgent({ id: 'rival', capabilities: ['block'], handler: () => 'rival' });
      const killed = performance.now();
      worker.signal('SIGKILL');
      expect(await task.result()).toBe('rival');
      // The last part is what a busy machine needs.
      expect(performance.now() - killed).toBeLessThan(leaseMs + 1_000 + 500);
    });

    test('a session that is over is not renewed: its thread ends', async (context) => {
      const backend = backendAt(placeOf(kind));
      const runtime = createRuntime();
      await backend.start(runtime);
      context.onTestFinished(async () => await backend.stop());
      const { sessions } = backend as Required<typeof backend>;
      const { session } = await sessions.open({
        boot: runtime.ids.next(),
        leaseMs: 3_000,
        writer: 1,
        report: EMPTY_REPORT,
      });
      const failures: string[] = [];
      const failed = (code: string): void => void failures.push(code);
      const pulse = backend.pulse?.(session, { everyMs: 50, stuckMs: 60_000, failed });
      if (pulse === undefined) expect.unreachable('it has a thread');
      context.onTestFinished(() => pulse[Symbol.asyncDispose]());
      // Nobody beats but the thread.
      await sleep(4_500);
      expect((await sessions.beat(session, EMPTY_REPORT)).status).toBe('alive');
      await sessions.close(session);
      await sleep(300);
      const ago = pulse.agoMs();
      await sleep(300);
      expect(pulse.agoMs()).toBeGreaterThan(ago + 200);
      expect((await sessions.beat(session, EMPTY_REPORT)).status).toBe('expired');
      expect(failures).toEqual([]);
    });
  });
}
