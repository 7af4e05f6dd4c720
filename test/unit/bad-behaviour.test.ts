import { describe, expect, test } from 'vitest';
import { CoordinationManager, EventBus, Logger, memory } from '../../src/index.ts';
import type { CoordinationOptions } from '../../src/manager-options.ts';
import { AdvancedTaskScheduler } from '../../src/scheduler/scheduler.ts';
import type { TaskContext } from '../../src/scheduler/types.ts';
import { createTestClock, type TestClock } from '../../src/testing/test-clock.ts';
import { attempt, complaints, HOSTILE, type Outcome, spoilt, within } from '../support/hostile.ts';
import { createScheduler } from '../support/mesh.ts';

async function startMesh(options: CoordinationOptions = {}, clock: TestClock = createTestClock()) {
  const mesh = new CoordinationManager({
    clock,
    seed: 3,
    env: {},
    ...options,
    scheduling: { retry: false, graceMs: 100, ...options.scheduling },
  });
  await mesh.initialize();
  return { mesh, clock };
}

const never = (): Promise<never> => new Promise(() => undefined);

function cyclicCause(): Error {
  const error = new Error('outer');
  error.cause = new Error('inner', { cause: error });
  return error;
}

function hugeStack(): Error {
  const error = new Error('huge');
  error.stack = 'x'.repeat(10 * 2 ** 20);
  return error;
}

/** What a handler may do, and how its task has to end. */
const HANDLERS: readonly [what: string, handler: (context: TaskContext) => unknown, code: string][] = [
  [
    'throws synchronously',
    () => {
      throw new Error('at once');
    },
    'TASK_FAILED',
  ],
  ['never settles', never, 'TASK_FAILED'],
  [
    'ignores its abort',
    ({ signal }) =>
      new Promise((resolve) => signal.addEventListener('abort', () => setTimeout(resolve, 1e9).unref())),
    'TASK_FAILED',
  ],
  ['answers with a thenable that throws', () => ({ then: () => bite() }), 'TASK_FAILED'],
  [
    'answers with a thenable that settles twice',
    () => ({
      then(resolve: (value: number) => void, reject: (error: Error) => void) {
        resolve(1);
        reject(new Error('twice'));
        resolve(2);
      },
    }),
    'resolved',
  ],
  ['answers with something that is no JSON', () => new Map(), 'TASK_FAILED'],
  ['answers with what refers to itself', () => cyclicCause(), 'TASK_FAILED'],
  ['answers with 2 MiB', () => 'x'.repeat(2 ** 21), 'TASK_FAILED'],
  ['answers with a lone surrogate and NUL', () => '\uD800\u0000', 'resolved'],
  ...HOSTILE.map(([what, make]): (typeof HANDLERS)[number] => [
    `throws ${what}`,
    () => {
      throw make();
    },
    'TASK_FAILED',
  ]),
  ['rejects with undefined', () => Promise.reject(undefined), 'TASK_FAILED'],
  ['rejects with a cyclic cause', () => Promise.reject(cyclicCause()), 'TASK_FAILED'],
  ['rejects with a stack of 10 MiB', () => Promise.reject(hugeStack()), 'TASK_FAILED'],
  [
    'rejects after it answered',
    () => Promise.race([Promise.resolve(1), Promise.reject(new Error('late'))]),
    'resolved',
  ],
];

function bite(): never {
  throw new Error('bites');
}

describe('a handler that', () => {
  for (const [what, handler, code] of HANDLERS) {
    test(`${what}: its task ends, its neighbours too`, async () => {
      const { mesh, clock } = await startMesh();
      mesh.registerAgent({ id: 'a', handler: { bad: handler, good: () => 'fine' } });
      const [bad, good] = await mesh.submitTasks([
        { type: 'bad', timeoutMs: 1_000 },
        { type: 'good', dependencies: [] },
      ]);
      const ended = bad?.result().then(
        () => 'resolved',
        (error: { code: string }) => error.code,
      );
      expect(await within(clock, 100, good?.result() as Promise<unknown>)).toBe('fine');
      expect(await within(clock, 5_000, ended)).toBe(code);
      expect((await bad?.status())?.error?.message.length ?? 0).toBeLessThanOrEqual(4_096);
      await within(clock, 10_000, mesh.shutdown());
      expect(mesh.tasks.getSchedulingMetrics().running).toBe(0);
    });
  }

  test('shuts the mesh down from inside: everything ends', async () => {
    const { mesh, clock } = await startMesh({ shutdown: { drainMs: 50 } });
    mesh.registerAgent({ id: 'a', handler: async () => mesh.shutdown() });
    const result = (await mesh.submitTask({ type: 't' }))
      .result()
      .catch((error: { code: string }) => error.code);
    await within(clock, 10_000, mesh.shutdown());
    expect(['STOPPED', 'TASK_FAILED', undefined]).toContain(await within(clock, 1_000, result));
  });

  test('takes its own agent out from inside: the task goes to another', async () => {
    const { mesh, clock } = await startMesh();
    const ran: string[] = [];
    const handler = async ({ agentId }: TaskContext): Promise<string> => {
      ran.push(agentId);
      if (agentId === 'a') await mesh.unregisterAgent('a');
      return agentId;
    };
    mesh.registerAgent({ id: 'a', handler });
    const task = await mesh.submitTask({ type: 't' });
    await clock.settle();
    mesh.registerAgent({ id: 'b', handler });
    expect(await within(clock, 5_000, task.result())).toBe('b');
    expect(ran).toEqual(['a', 'b']);
    await within(clock, 10_000, mesh.shutdown());
  });

  test('submits, locks, asks and cancels from inside', async () => {
    const { mesh, clock } = await startMesh();
    mesh.subscribe('b', () => 'answer');
    mesh.registerAgent({
      id: 'a',
      maxConcurrentTasks: 1,
      handler: async ({ task, submit }) => {
        if (task.type === 'leaf') return 'leaf';
        const other = await mesh.submitTask({ type: 'leaf' });
        const lease = await mesh.acquireResource('r', 'a');
        await lease.release();
        await mesh.cancelTask(other.id);
        return (await submit({ type: 'leaf' })).result();
      },
    });
    const task = await mesh.submitTask({ type: 'root' });
    expect(await within(clock, 5_000, task.result())).toBe('leaf');
    await within(clock, 10_000, mesh.shutdown());
  });

  test('uses its context when its attempt is over: coded errors, nothing hangs', async () => {
    const { mesh, clock } = await startMesh();
    let kept: TaskContext | undefined;
    mesh.registerAgent({ id: 'a', handler: { t: (context) => void (kept = context), child: () => 'c' } });
    const task = await mesh.submitTask({ type: 't' });
    await within(clock, 100, task.result());
    const context = kept as unknown as TaskContext;
    const outcomes = [
      attempt('progress', () => context.progress(0.5)),
      attempt('submit', async () => (await context.submit({ type: 'child' })).result()),
      attempt('gather', () => context.gather([{ type: 'child' }])),
      attempt('withLock', () => context.withLock('late', () => 1)),
      attempt('sleep', () => context.sleep(10)),
      attempt('request', () => context.request('nobody', 1, 10)),
    ];
    await clock.advance(20_000);
    expect(complaints(outcomes)).toEqual([]);
    await within(clock, 10_000, mesh.shutdown());
    expect(mesh.locks.getAllocations().size).toBe(0);
  });
});

describe('listeners that', () => {
  test('throw, reject, remove themselves and emit recursively disturb nobody', async () => {
    const clock = createTestClock();
    const events = new EventBus({ clock });
    const { mesh } = await startMesh({ events }, clock);
    const failed: string[] = [];
    events.on('listener:failed', ({ event }) => void failed.push(event));
    events.on('listener:failed', bite);
    let depth = 0;
    const once: Disposable = events.on('task:started', (): void => once[Symbol.dispose]());
    events.on('task:started', bite);
    events.on('task:started', () => Promise.reject(new Error('later')));
    events.on('task:started', (payload) => {
      depth += 1;
      if (depth < 50) events.emit('task:started', payload);
    });
    events.tap(bite);
    mesh.registerAgent({ id: 'a', handler: ({ task }) => task.id });
    const tasks = await mesh.submitTasks(Array.from({ length: 20 }, (_, i) => ({ id: `t${i}`, type: 't' })));
    for (const task of tasks) expect(await within(clock, 1_000, task.result())).toBe(task.id);
    expect(depth).toBe(69);
    expect(failed.length).toBeGreaterThan(0);
    await within(clock, 10_000, mesh.shutdown());
  });

  test('submit, cancel and shut down inside each event end as they should', async () => {
    for (const name of [
      'task:created',
      'task:readied',
      'task:assigned',
      'task:started',
      'task:completed',
      'agent:idle',
    ] as const) {
      const clock = createTestClock();
      const events = new EventBus({ clock });
      const { mesh } = await startMesh({ events }, clock);
      const outcomes: Outcome[] = [];
      const watch = (promise: Promise<unknown>): void => void outcomes.push(attempt(name, () => promise));
      const submit = (id: string): void =>
        watch(mesh.submitTask({ id, type: 't' }).then((handle) => handle.result()));
      let acted = 0;
      events.on(name, () => {
        acted += 1;
        if (acted === 1) submit('inner');
        if (acted === 2) for (const id of ['inner', 'outer']) watch(mesh.cancelTask(id));
        if (acted === 3) watch(mesh.shutdown());
      });
      mesh.registerAgent({ id: 'a', handler: ({ task }) => task.id });
      submit('outer');
      submit('later');
      await clock.advance(10_000);
      await within(clock, 20_000, mesh.shutdown());
      expect(complaints(outcomes)).toEqual([]);
      expect(acted).toBeGreaterThan(1);
    }
  });
});

describe('agents and records that contradict themselves', () => {
  test('an agent id twice, and an agent that leaves while it holds a lock and runs', async () => {
    const { mesh, clock } = await startMesh();
    const agent = mesh.registerAgent({ id: 'a', handler: ({ withLock }) => withLock('inner', never) });
    expect(() => mesh.registerAgent({ id: 'a', handler: () => 1 })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    );
    await mesh.acquireResource('outer', 'a');
    const task = await mesh.submitTask({ type: 't' });
    await clock.settle();
    expect(mesh.locks.getAllocations().size).toBe(2);
    await within(clock, 10_000, agent.leave());
    expect(mesh.locks.getAllocations().size).toBe(0);
    expect((await task.status()).status).toBe('ready');
    await within(clock, 10_000, mesh.shutdown());
  });

  test('self-edges, an edge twice, a task that is its own parent', async () => {
    const { mesh, clock } = await startMesh();
    mesh.registerAgent({ id: 'a', handler: () => 1 });
    await expect(mesh.submitTask({ id: 'x', type: 't', dependencies: ['x'] })).rejects.toMatchObject({
      code: 'DEPENDENCY_CYCLE',
    });
    await mesh.submitTask({ id: 'p', type: 't' });
    const twice = await mesh.submitTask({ id: 'y', type: 't', dependencies: ['p', 'p'] });
    await within(clock, 100, twice.result());
    const own = await mesh.submitTask({ id: 'z', type: 't', parent: 'z' });
    await within(clock, 100, own.result());
    expect(await own.cancel()).toMatchObject({ status: 'ended' });
    const loop = await mesh.submitTask({ id: 'l', type: 't', parent: 'l', delayMs: 1_000 });
    expect(await loop.cancel()).toMatchObject({ status: 'cancelled' });
    await within(clock, 10_000, mesh.shutdown());
  });

  test('many tasks of which one is malformed: none is stored', async () => {
    const { scheduler, clock } = createScheduler();
    const tasks = Array.from({ length: 2_500 }, (_, i) => ({
      id: `t${i}`,
      type: 't',
      priority: i === 2_400 ? Number.NaN : 1,
    }));
    await expect(within(clock, 100, scheduler.submitTasks(tasks))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    expect(await scheduler.queues.counts()).toEqual([]);
  });

  test('a payload of 64 MiB is refused at once', async () => {
    const { mesh, clock } = await startMesh();
    const started = performance.now();
    for (const input of [
      'x'.repeat(64 * 2 ** 20),
      new Array(8 * 2 ** 20).fill('x'.repeat(8)),
      { deep: ['y'.repeat(64 * 2 ** 20)] },
    ]) {
      await expect(mesh.submitTask({ type: 't', input })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
      await expect(mesh.sendMessage('a', 'b', input)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
    expect(performance.now() - started).toBeLessThan(1_000);
    await within(clock, 10_000, mesh.shutdown());
  });
});

describe('a clock that', () => {
  test('goes backwards: delays, retries, timeouts and ends still come, tokens only grow', async () => {
    const inner = createTestClock();
    let skew = 0;
    const clock: TestClock = { ...inner, mono: () => inner.mono() + skew, wall: () => inner.wall() + skew };
    const { mesh } = await startMesh(
      { scheduling: { retry: { maxAttempts: 2, delayMs: 10, jitter: 'none' } } },
      clock,
    );
    const tokens: number[] = [];
    mesh.registerAgent({
      id: 'a',
      handler: ({ task, token, attempt: tried }) => {
        tokens.push(token);
        if (task.id === 'slow') return never();
        if (tried === 1) throw new Error('once more');
        return 'done';
      },
    });
    const results = [];
    for (const [i, back] of [0, -5_000, -60_000, -3_600_000].entries()) {
      skew = back;
      const task = await mesh.submitTask({ id: `t${i}`, type: 't', delayMs: 5 });
      results.push(task.result());
      await inner.advance(100);
    }
    const slow = await mesh.submitTask({ id: 'slow', type: 't', timeoutMs: 50, retry: false });
    results.push(slow.result().catch((error: { code: string }) => error.code));
    skew = -7_200_000;
    await inner.advance(10_000);
    skew = 0;
    await inner.advance(7_200_000);
    expect(await Promise.all(results)).toEqual(['done', 'done', 'done', 'done', 'TASK_FAILED']);
    expect(tokens).toEqual([...new Set(tokens)].toSorted((a, b) => a - b));
    await within(inner, 10_000, mesh.shutdown());
  });
});

describe('great graphs', () => {
  test('10,000 wide: one parent, then one child of all', async () => {
    const scheduler = new AdvancedTaskScheduler({ retry: false, keepMs: 0 });
    let ran = 0;
    scheduler.registerAgent({ id: 'a', maxConcurrentTasks: 100, handler: () => void (ran += 1) });
    const middle = Array.from({ length: 10_000 }, (_, i) => ({
      id: `m${i}`,
      type: 't',
      dependencies: ['first'],
    }));
    const [last] = await scheduler.submitTasks([
      { id: 'last', type: 't', dependencies: middle.map(({ id }) => id) },
      ...middle,
      { id: 'first', type: 't' },
    ]);
    await last?.result();
    expect(ran).toBe(10_002);
    await scheduler.shutdown();
  });

  test('100,000 deep: a chain runs to its end, and a cancelled one falls to its end', async () => {
    const scheduler = new AdvancedTaskScheduler({ retry: false, keepMs: 0 });
    let ran = 0;
    scheduler.registerAgent({ id: 'a', maxConcurrentTasks: 1, handler: () => void (ran += 1) });
    const chain = (name: string, delayMs?: number) =>
      Array.from({ length: 100_000 }, (_, i) => ({
        id: `${name}${i}`,
        type: 't',
        ...(i === 0 ? (delayMs === undefined ? {} : { delayMs }) : { dependencies: [`${name}${i - 1}`] }),
      }));
    const started = performance.now();
    const handles = await scheduler.submitTasks(chain('run'));
    await handles.at(-1)?.result();
    expect(ran).toBe(100_000);
    const doomed = await scheduler.submitTasks(chain('cancel', 3_600_000));
    await doomed[0]?.cancel('all of them');
    await expect(doomed.at(-1)?.result()).rejects.toMatchObject({ code: 'TASK_CANCELLED' });
    console.info(`two chains of 100,000: ${Math.round(performance.now() - started)} ms`);
    await scheduler.shutdown();
  });
});

describe('options', () => {
  const managerOptions = {
    maxRetries: 3,
    retryDelay: 1,
    backend: undefined,
    events: undefined,
    logger: undefined,
    clock: undefined,
    random: undefined,
    ids: undefined,
    deadlockDetection: true,
    resourceTimeout: 1,
    messageTimeout: 1,
    seed: 1,
    env: {},
    scheduling: {
      maxConcurrentTasks: 1,
      agentSlots: 1,
      graceMs: 1,
      keepMs: 1,
      retry: { maxAttempts: 1 },
      strategy: 'capability',
    },
    resources: { leaseMs: 100 },
    messaging: { maxLength: 1 },
    workStealing: { stealThreshold: 3 },
    breakers: { failureThreshold: 1 },
    metrics: { intervalMs: 10 },
    shutdown: { drainMs: 1, then: 'abort' },
    health: { intervalMs: 10 },
    allow: ['CLOCK_SKEW'],
  };
  const constructors: readonly [string, (...args: unknown[]) => unknown, readonly unknown[]][] = [
    [
      'CoordinationManager',
      (options) => new CoordinationManager(options as CoordinationOptions),
      [managerOptions],
    ],
    [
      'AdvancedTaskScheduler',
      (options) => new AdvancedTaskScheduler(options as object),
      [managerOptions.scheduling],
    ],
    [
      'EventBus',
      (options) => new EventBus(options as object),
      [{ debug: false, logger: undefined, clock: undefined }],
    ],
    [
      'memory',
      (options) => memory(options as object),
      [{ shared: false, tasks: { keepEnded: 1, history: 1, tombstoneMs: 1 } }],
    ],
    ['Logger', (options) => new Logger(options as { level: 'debug' }), [{ level: 'debug' }]],
  ];
  for (const [name, create, args] of constructors) {
    test(`of ${name} that are bad are refused with a code`, () => {
      const nested = args.flatMap((given) =>
        Object.entries(given as object)
          .filter(([, value]) => typeof value === 'object' && value !== null && !Array.isArray(value))
          .flatMap(([key, value]) =>
            [...spoilt([value])].map(
              ([what, [spoiled]]) => [`${key}: ${what}`, [{ ...(given as object), [key]: spoiled }]] as const,
            ),
          ),
      );
      const outcomes = [...spoilt(args), ...nested].map(([what, given]) =>
        attempt(what, () => void create(...given)),
      );
      expect(complaints(outcomes)).toEqual([]);
    });
  }

  test('maxAttempts 0 and other limits that could never work are refused', () => {
    for (const retry of [
      { maxAttempts: 0 },
      { maxAttempts: -1 },
      { maxAttempts: Number.NaN },
      { delayMs: -1 },
      { factor: 0 },
    ])
      expect(() => new AdvancedTaskScheduler({ retry })).toThrow(
        expect.objectContaining({ code: 'INVALID_OPTION' }),
      );
  });
});
