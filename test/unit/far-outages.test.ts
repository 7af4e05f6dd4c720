import { describe, expect, onTestFinished, test } from 'vitest';
import { memory } from '../../src/backends/memory/memory.ts';
import { EMPTY_REPORT } from '../../src/core/empty-report.ts';
import type { Backend } from '../../src/core/ports/backend.ts';
import {
  CircuitState,
  CoordinationManager,
  type CoordinationOptions,
  DeadlockError,
} from '../../src/index.ts';
import { networked } from '../../src/testing/networked.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { type Faults, faulty } from '../support/faulty.ts';

/** G2: what a process does while the store is away, or its answers are lost, for longer than single calls are repeated. */

const OUTAGE_MS = 45_000;
/** The session outlives it. */
const LONG = { leaseMs: 300_000 } as const;

type Options = Omit<CoordinationOptions, 'backend' | 'clock'>;

/** Processes over one store, each with a connection of its own that may fail. */
async function fleet(size: number, options: Options | ((i: number) => Options) = {}) {
  const clock = Object.assign(createTestClock(), { soon: (fn: () => void) => void setImmediate(fn) });
  const store = memory({ shared: true });
  const processes: { readonly mesh: CoordinationManager; readonly faults: Faults }[] = [];
  for (let seed = 0; seed < size; seed++) {
    const { backend, faults } = faulty(networked<Backend>(store));
    const own = typeof options === 'function' ? options(seed) : options;
    const mesh = new CoordinationManager({ backend, clock, seed, env: {}, ...own });
    await mesh.initialize();
    processes.push({ mesh, faults });
  }
  const pass = async (ms: number): Promise<void> => {
    for (let left = ms; left > 0; left -= 500) await clock.advance(Math.min(500, left));
  };
  onTestFinished(async () => {
    for (const { faults } of processes) faults.fault = 'none';
    const over = Promise.all(processes.map(({ mesh }) => mesh.shutdown()));
    await clock.advance(60_000);
    await over;
  });
  type Process = (typeof processes)[0];
  return { clock, store, pass, processes: processes as [Process, Process, ...Process[]] };
}

const codeOf = (error: unknown): unknown => (error as { readonly code?: unknown }).code;

describe('results of tasks that other processes run', () => {
  test('arrive when the store is back; it is asked ever more rarely meanwhile', async () => {
    const { pass, processes } = await fleet(2, { session: LONG });
    const [here, there] = processes;
    const go = Promise.withResolvers<string>();
    there.mesh.registerAgent({ id: 'worker', handler: () => go.promise });
    const submitted = here.mesh.submitTask({ type: 't' });
    await pass(500);
    const result = (await submitted).result();
    here.faults.fault = 'away';
    await pass(1_000);
    go.resolve('done');
    const before = here.faults.calls.get('tasks.get') ?? 0;
    await pass(10_000);
    expect((here.faults.calls.get('tasks.get') ?? 0) - before).toBeLessThan(15);
    here.faults.fault = 'none';
    await pass(2_000);
    expect(await result).toBe('done');
  });

  test('arrive when the store was killed and forgot the session meanwhile', async () => {
    const { pass, store, processes } = await fleet(2);
    const [here, there] = processes;
    const go = Promise.withResolvers<string>();
    there.mesh.registerAgent({ id: 'worker', handler: () => go.promise });
    const submitted = here.mesh.submitTask({ type: 't' });
    await pass(500);
    const result = (await submitted).result();
    for (const { faults } of processes) faults.fault = 'away';
    await pass(OUTAGE_MS);
    for (const { session } of (await store.sessions.list({ limit: 10 })).items)
      await store.sessions.close(session);
    for (const { faults } of processes) faults.fault = 'none';
    go.resolve('done');
    await pass(15_000);
    expect(await result).toBe('done');
  });

  test('are refused when its schema is gone, also where the task ran here and its end could not be stored', async () => {
    const { pass, processes } = await fleet(2, { session: LONG });
    const [here, there] = processes;
    const go = Promise.withResolvers<void>();
    here.mesh.registerAgent({ id: 'here', capabilities: ['here'], handler: () => go.promise });
    there.mesh.registerAgent({ id: 'there', capabilities: ['there'], handler: () => go.promise });
    const submitted = here.mesh.submitTasks(
      ['here', 'there'].map((capability) => ({ type: 't', capabilities: [capability] })),
    );
    await pass(500);
    const codes: unknown[] = [];
    for (const task of await submitted) task.result().catch((error: unknown) => codes.push(codeOf(error)));
    here.faults.fault = 'gone';
    await pass(5_000);
    expect(codes, 'one of them still runs').toEqual(['SCHEMA_MISMATCH']);
    go.resolve();
    await pass(5_000);
    expect(codes).toEqual(['SCHEMA_MISMATCH', 'SCHEMA_MISMATCH']);
  });
});

describe('what was claimed, and the answer was lost', () => {
  test.each(['away', 'deaf'] as const)('runs once when answers come again (%s)', async (fault) => {
    const { pass, processes } = await fleet(2, { session: LONG });
    const [submitter, worker] = processes;
    const ran: string[] = [];
    worker.mesh.registerAgent({ id: 'w', maxConcurrentTasks: 4, handler: ({ task }) => ran.push(task.id) });
    await pass(100);
    worker.faults.hits = (name) => name.startsWith('tasks.');
    worker.faults.fault = fault;
    const submitted = submitter.mesh.submitTasks(
      Array.from({ length: 3 }, (_, i) => ({ id: `t${i}`, type: 't' })),
    );
    await pass(OUTAGE_MS);
    await submitted;
    expect(ran).toEqual([]);
    worker.faults.fault = 'none';
    await pass(20_000);
    expect(ran.toSorted()).toEqual(['t0', 't1', 't2']);
  });

  test('W1 W2: or stolen: each runs once', async () => {
    const { pass, clock, processes } = await fleet(2, (i) => ({
      session: LONG,
      scheduling: { prefetch: i === 0 ? 20 : 0 },
    }));
    const [busy, idle] = processes;
    const ran = new Map<string, number>();
    const handler = async ({ task }: { readonly task: { readonly id: string } }): Promise<void> => {
      ran.set(task.id, (ran.get(task.id) ?? 0) + 1);
      await new Promise<void>((resolve) => void clock.after(200_000, resolve, true));
    };
    busy.mesh.registerAgent({ id: 'busy', maxConcurrentTasks: 2, handler });
    const submitted = busy.mesh.submitTasks(
      Array.from({ length: 12 }, (_, i) => ({ id: `t${i}`, type: 't' })),
    );
    // Its beat tells of what it has claimed ahead.
    await pass(110_000);
    await submitted;
    idle.faults.hits = (name) => name === 'tasks.takeover';
    idle.faults.fault = 'deaf';
    idle.mesh.registerAgent({ id: 'idle', maxConcurrentTasks: 4, handler });
    await pass(OUTAGE_MS);
    expect(idle.faults.calls.get('tasks.takeover') ?? 0).toBeGreaterThan(1);
    idle.faults.fault = 'none';
    await pass(1_000_000);
    expect([...ran.values()]).toEqual(Array.from({ length: 12 }, () => 1));
  });

  test('T6: or taken over from a process that died: they run', async () => {
    const { pass, store, processes } = await fleet(2, { session: LONG });
    const [, worker] = processes;
    const { session } = await store.sessions.open({
      boot: 'dead',
      leaseMs: 1_000,
      writer: 1,
      report: EMPTY_REPORT,
    });
    const submitted = worker.mesh.submitTasks([
      { id: 'a', type: 't' },
      { id: 'b', type: 't' },
    ]);
    await pass(500);
    await submitted;
    const request = { offers: [{ capabilities: [], slots: 9 }], agents: [], assigned: 0, limit: 9, start: 9 };
    await store.tasks.claim({ session, sequence: 1 }, request);
    const ran: string[] = [];
    worker.mesh.registerAgent({ id: 'w', maxConcurrentTasks: 4, handler: ({ task }) => ran.push(task.id) });
    for (const { faults } of processes) {
      faults.hits = (name) => name === 'tasks.takeover';
      faults.fault = 'deaf';
    }
    await pass(OUTAGE_MS);
    expect(ran).toEqual([]);
    for (const { faults } of processes) faults.fault = 'none';
    await pass(20_000);
    expect(ran.toSorted()).toEqual(['a', 'b']);
  });
});

test.each([
  ['away', ['tasks.start'], {}],
  ['deaf', ['tasks.start'], {}],
  ['away', ['locks.request'], { locks: ['x'] }],
  ['deaf', ['locks.request'], { locks: ['x'] }],
] as const)(
  'T5: a task that could not begin, the store being %s for %s, has not failed',
  async (fault, methods, more) => {
    const { pass, processes } = await fleet(1, { session: LONG, resourceTimeout: 100_000 });
    const [{ mesh, faults }] = processes;
    const attempts: number[] = [];
    const failed: unknown[] = [];
    mesh.events.on('task:failed', (payload) => failed.push(payload));
    mesh.registerAgent({ id: 'a', handler: ({ attempt }) => void attempts.push(attempt) });
    faults.hits = (name) => (methods as readonly string[]).includes(name);
    faults.fault = fault;
    const assigned = mesh.tasks.assignTask({ type: 't', ...more }, 'a');
    await pass(OUTAGE_MS);
    await assigned;
    expect(attempts).toEqual([]);
    faults.fault = 'none';
    await pass(20_000);
    expect(attempts).toEqual([1]);
    expect(failed).toEqual([]);
  },
);

describe('locks', () => {
  test.each(['away', 'deaf'] as const)(
    'L6: one whose request was given up is nobody’s (%s)',
    async (fault) => {
      const { pass, processes } = await fleet(2, { session: LONG });
      const [a, b] = processes;
      a.faults.hits = (name) => name.startsWith('locks.');
      a.faults.fault = fault;
      const asked = a.mesh.acquire('x', { timeoutMs: 100_000 }).then(
        () => 'granted',
        (error: unknown) => codeOf(error),
      );
      await pass(OUTAGE_MS);
      expect(await asked).toBe(fault === 'away' ? 'BACKEND_UNAVAILABLE' : 'OUTCOME_UNKNOWN');
      a.faults.fault = 'none';
      await pass(5_000);
      const lock = b.mesh.acquire('x', { timeoutMs: 5_000 });
      await pass(6_000);
      await (await lock).release();
    },
  );

  test('what was asked for when the session is given up rejects; what is asked for later waits for the next one', async () => {
    const { pass, processes } = await fleet(2);
    const [here, there] = processes;
    const outcomes: Record<string, unknown> = {};
    const ask = (name: string, timeoutMs: number, resource = name): void => {
      here.mesh.acquire(resource, { timeoutMs }).then(
        () => (outcomes[name] = 'granted'),
        (error: unknown) => (outcomes[name] = codeOf(error)),
      );
    };
    void there.mesh.acquire('taken');
    await pass(500);
    ask('waits in the store', 600_000, 'taken');
    await pass(500);
    here.faults.fault = 'away';
    ask('asked in time', 600_000);
    ask('impatient', 3_000);
    await pass(4_000);
    expect(outcomes).toEqual({ impatient: 'LOCK_TIMEOUT' });
    // Two thirds of the lease after the last renewal.
    await pass(17_000);
    expect(outcomes).toMatchObject({
      'waits in the store': 'SESSION_EXPIRED',
      'asked in time': 'SESSION_EXPIRED',
    });
    ask('impatient later', 3_000);
    ask('for longer than a lease', 600_000);
    await pass(20_000);
    ask('asked later', 600_000);
    expect(outcomes).toMatchObject({ 'impatient later': 'LOCK_TIMEOUT' });
    await pass(11_000);
    expect(outcomes).toMatchObject({ 'for longer than a lease': 'BACKEND_UNAVAILABLE' });
    expect(outcomes).not.toHaveProperty(['asked later']);
    here.faults.fault = 'none';
    await pass(3_000);
    expect(outcomes).toMatchObject({ 'asked later': 'granted' });
  });

  test('L6: one that was given back while the store was away is given back when it is there again', async () => {
    const { pass, processes } = await fleet(2, { session: LONG });
    const [a, b] = processes;
    const asked = a.mesh.acquire('x');
    await pass(100);
    const held = await asked;
    a.faults.fault = 'away';
    const released = held.release();
    await pass(OUTAGE_MS);
    a.faults.fault = 'none';
    await pass(5_000);
    await released;
    const lock = b.mesh.acquire('x', { timeoutMs: 5_000 });
    await pass(6_000);
    expect((await lock).signal.aborted).toBe(false);
    await (await lock).release();
  });
});

describe('waits that are published', () => {
  test.each(['away', 'deaf'] as const)(
    'D2: a deadlock is found when the store is back (%s)',
    async (fault) => {
      const { pass, processes } = await fleet(2, { session: LONG, workStealing: false });
      const [a, b] = processes;
      let victims = 0;
      a.mesh.registerAgent({
        id: 'parents',
        handler: {
          parent: ({ withLock, submit }) =>
            withLock('L', async () => (await submit({ type: 'child' })).result()),
        },
      });
      b.mesh.registerAgent({
        id: 'children',
        handler: {
          child: ({ withLock }) =>
            withLock('L', () => 'had it').catch((error: unknown) => {
              if (error instanceof DeadlockError) victims += 1;
              return 'went without';
            }),
        },
      });
      a.faults.hits = (name) => name === 'locks.publish' || name === 'locks.snapshot';
      a.faults.fault = fault;
      const submitted = a.mesh.submitTask({ type: 'parent' });
      await pass(5_000);
      const result = (await submitted).result();
      a.faults.fault = 'none';
      await pass(3_000);
      expect(await result).toBe('went without');
      expect(victims).toBe(1);
    },
  );

  test('D1: one that ended while the store was away is withdrawn when it is back', async () => {
    const { pass, store, processes } = await fleet(2, { session: LONG, workStealing: false });
    const [a] = processes;
    a.mesh.registerAgent({
      id: 'parents',
      handler: {
        parent: async ({ submit }) => {
          const child = await submit({ type: 'child', agent: 'nobody' } as never);
          await child.result().catch(() => undefined);
        },
      },
    });
    const submitted = a.mesh.submitTask({ type: 'parent' });
    // Somebody waits for a lock, so that the waits of this process are published.
    const locks = [
      a.mesh.acquire('x', { owner: 'one' }),
      a.mesh.acquire('x', { owner: 'two', timeoutMs: 3_000 }),
    ];
    void Promise.allSettled(locks);
    await pass(2_000);
    const parent = await submitted;
    expect((await store.locks.snapshot()).published).toHaveLength(1);
    a.faults.hits = (name) => name.startsWith('locks.');
    a.faults.fault = 'away';
    await pass(2_000);
    const { items } = await store.tasks.list({ type: 'child' }, { limit: 5 });
    const cancelled = a.mesh.cancelTask((items[0] as { readonly id: string }).id);
    await pass(3_000);
    await cancelled;
    a.faults.fault = 'none';
    await pass(5_000);
    expect(await parent.status()).toMatchObject({ status: 'completed' });
    expect((await store.locks.snapshot()).published).toEqual([]);
  });
});

describe('breakers that are shared', () => {
  const breakers = {
    shared: true,
    failureThreshold: 2,
    timeout: 600_000,
    successThreshold: 1,
    probeTimeoutMs: 4_000,
  };

  test.each(['away', 'deaf'] as const)(
    'one that opens while the store is %s opens for all when it is back',
    async (fault) => {
      const { pass, processes } = await fleet(2, { session: LONG, breakers });
      const [a, b] = processes.map(({ mesh }) => mesh.breakers.getBreaker('api'));
      await pass(500);
      processes[0].faults.fault = fault;
      for (let i = 0; i < 2; i++)
        await a?.execute(() => Promise.reject(new Error('down'))).catch(() => undefined);
      expect(a?.getState()).toBe(CircuitState.OPEN);
      await pass(OUTAGE_MS);
      expect(b?.getState()).toBe(fault === 'deaf' ? CircuitState.OPEN : CircuitState.CLOSED);
      processes[0].faults.fault = 'none';
      await pass(8_000);
      expect([a?.getState(), b?.getState()]).toEqual([CircuitState.OPEN, CircuitState.OPEN]);
      // Nor is it lost to one that comes later.
      a?.forceState('closed');
      await pass(8_000);
      expect([a?.getState(), b?.getState()]).toEqual([CircuitState.CLOSED, CircuitState.CLOSED]);
    },
  );

  test('one that opens where the session ran out meanwhile opens for all', async () => {
    const { pass, processes } = await fleet(2, { breakers });
    const [a, b] = processes.map(({ mesh }) => mesh.breakers.getBreaker('api'));
    await pass(500);
    processes[0].faults.fault = 'deaf';
    for (let i = 0; i < 2; i++)
      await a?.execute(() => Promise.reject(new Error('down'))).catch(() => undefined);
    await pass(OUTAGE_MS);
    processes[0].faults.fault = 'none';
    await pass(15_000);
    expect([a?.getState(), b?.getState()]).toEqual([CircuitState.OPEN, CircuitState.OPEN]);
  });
});

describe('submissions while the store is away', () => {
  test.each([
    ['away', 11_000, ['BACKEND_UNAVAILABLE']],
    ['deaf', 61_000, ['OUTCOME_UNKNOWN', 'BACKEND_UNAVAILABLE']],
  ] as const)(
    'are refused soon, however many wait behind the first (%s); later ones are stored',
    async (fault, withinMs, codes) => {
      const { pass, clock, store, processes } = await fleet(1, { session: LONG });
      const [{ mesh, faults }] = processes;
      faults.hits = (name) => name === 'tasks.enqueue';
      faults.fault = fault;
      const outcomes: unknown[] = [];
      const submit = (n: number): void => {
        for (let i = 0; i < n; i++)
          void mesh
            .submitTask({ type: 't' })
            .then(() => 'stored', codeOf)
            .then((one) => outcomes.push(one));
      };
      submit(250);
      await clock.settle();
      submit(1_000);
      await pass(withinMs);
      expect(outcomes).toHaveLength(1_250);
      expect([...new Set(outcomes)]).toEqual(codes);
      faults.fault = 'none';
      submit(600);
      await pass(1_000);
      expect(outcomes.filter((one) => one === 'stored')).toHaveLength(600);
      // Those of which nobody knows are there; none that was refused for certain is.
      const known = fault === 'deaf' ? 500 : 0;
      expect((await store.tasks.counts()).queues[0]?.totals.enqueued).toBe(600 + known);
    },
  );
});

describe('messages while the store is away', () => {
  test('are refused together, however many wait behind the first; later ones arrive, replies too', async () => {
    const { pass, processes } = await fleet(1, { session: LONG });
    const [{ mesh, faults }] = processes;
    faults.hits = (name) => name === 'messages.publish';
    mesh.messages.subscribe('r', async (message) => void (await message.reply(message.payload)));
    await pass(500);
    faults.fault = 'away';
    const outcomes: unknown[] = [];
    for (let i = 0; i < 1_000; i++)
      void mesh
        .sendMessage('s', 'r', i)
        .then(() => 'sent', codeOf)
        .then((one) => outcomes.push(one));
    await pass(61_000);
    expect(outcomes).toHaveLength(1_000);
    expect([...new Set(outcomes)]).toEqual(['BACKEND_UNAVAILABLE']);
    faults.fault = 'none';
    const got: unknown[] = [];
    void mesh.messages.request('s', 'r', 'later').then(
      (one) => got.push(one),
      (error: unknown) => got.push(codeOf(error)),
    );
    await pass(2_000);
    expect(got).toEqual(['later']);
  });
});

describe('a shutdown while submissions wait to be sent', () => {
  test.each(['away', 'deaf'] as const)('refuses them in its time, where the store is %s', async (fault) => {
    const { pass, clock, processes } = await fleet(1, { shutdown: { drainMs: 200 } });
    const [{ mesh, faults }] = processes;
    faults.fault = fault;
    const outcomes: unknown[] = [];
    const submit = (): void =>
      void mesh
        .submitTask({ type: 't' })
        .then(() => 'stored', codeOf)
        .then((one) => outcomes.push(one));
    submit();
    await pass(500);
    for (let i = 0; i < 600; i++) submit();
    await clock.settle();
    const over = mesh.shutdown();
    await pass(11_000);
    await over;
    expect(outcomes).toHaveLength(601);
    expect(['STOPPED', 'BACKEND_UNAVAILABLE', 'OUTCOME_UNKNOWN']).toEqual(
      expect.arrayContaining([...new Set(outcomes)]),
    );
  });

  test('stores what it can: each is stored, or is told that it is not', async () => {
    const { pass, clock, store, processes } = await fleet(1, { shutdown: { drainMs: 200 } });
    const [{ mesh }] = processes;
    const stored: string[] = [];
    const refused: unknown[] = [];
    for (let i = 0; i < 1_200; i++)
      void mesh.submitTask({ id: `t${i}`, type: 't' }).then(
        ({ id }) => stored.push(id),
        (error: unknown) => refused.push(codeOf(error)),
      );
    await clock.settle();
    const over = mesh.shutdown();
    await pass(11_000);
    await over;
    expect(stored.length + refused.length).toBe(1_200);
    expect(refused.filter((code) => code !== 'STOPPED')).toEqual([]);
    const counts = await store.tasks.counts();
    expect(counts.queues[0]?.totals.enqueued ?? 0).toBe(stored.length);
  });
});
