import { describe, expect, test } from 'vitest';
import type { CoordinationEvent } from '../../src/core/events.ts';
import { CoordinationManager, defineTask, EventBus, Logger, memory } from '../../src/index.ts';
import type { TaskContext } from '../../src/scheduler/types.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { attempt, complaints, isRecord, type Outcome, spoilt, within } from '../support/hostile.ts';

/** A mesh on simulated time with everything in it that a call may be about. */
async function createWorld() {
  const clock = createTestClock();
  const events = new EventBus({ clock });
  const failed: CoordinationEvent[] = [];
  events.on('system:error', (payload) => void failed.push({ name: 'system:error', at: 0, payload }));
  const backend = memory();
  const mesh = new CoordinationManager(
    {
      clock,
      seed: 3,
      env: {},
      backend,
      health: { intervalMs: 60_000 },
      workStealing: { stealInterval: 60_000 },
      metrics: { intervalMs: 60_000 },
      scheduling: { retry: false, graceMs: 100 },
    },
    events,
  );
  await mesh.initialize();
  let context: TaskContext | undefined;
  const agent = mesh.registerAgent({
    id: 'worker',
    maxConcurrentTasks: 1_000,
    handler: {
      t: () => 'done',
      talk: (given) => {
        context = given;
        return new Promise((_, reject) => {
          given.signal.addEventListener('abort', () => reject(given.signal.reason as Error));
        });
      },
    },
  });
  mesh.registerAgent({ id: 'canary', handler: { canary: ({ task }) => task.input as unknown } });
  const handle = await mesh.submitTask({ id: 'known', type: 't' });
  await mesh.submitTask({ id: 'talk', type: 'talk' });
  await mesh.assignTask({ id: 'external', type: 't' }, 'outside');
  mesh.subscribe('outside', async (message) => message.reply?.('yes'));
  await clock.settle();
  const parts = {
    manager: mesh,
    tasks: mesh.tasks,
    queues: mesh.queues,
    handle,
    agent,
    context: context as unknown as TaskContext,
    bus: events,
    locks: mesh.locks,
    waits: mesh.locks.waits,
    messages: mesh.messages,
    breakers: mesh.breakers,
    breaker: mesh.breaker('known'),
    conflicts: mesh.conflicts,
    graph: mesh.graph,
    stealing: mesh.stealing,
    metrics: mesh.metrics,
  };
  return { mesh, clock, events, failed, backend, parts };
}

type World = Awaited<ReturnType<typeof createWorld>>;
type Part = keyof World['parts'];

const nothing = (): undefined => undefined;
const agentRecord = {
  id: 'new',
  name: 'n',
  type: 't',
  capabilities: ['c'],
  maxConcurrentTasks: 1,
  priority: 1,
  metadata: { cost: 1 },
  handler: nothing,
  tasks: undefined,
  silenceMs: 1_000,
};
const taskRecord = {
  id: 'new',
  type: 'new',
  input: { a: 1 },
  description: 'd',
  queue: 'q',
  priority: 2,
  dependencies: ['known'],
  capabilities: ['none'],
  agents: { only: 'nobody', prefer: ['p'], exclude: ['e'], maxLoadRatio: 0.5 },
  locks: ['lock'],
  breaker: 'b',
  delayMs: 10,
  runAt: new Date(1_735_689_700_000),
  deadline: new Date(1_735_689_700_000),
  timeoutMs: 100,
  retry: { maxAttempts: 1, delayMs: 1, factor: 2, maxDelayMs: 10, jitter: 'none' },
  idempotencyKey: 'key',
  onDuplicate: 'return',
  group: 'g',
  weight: 1,
  parent: 'known',
  preemptible: true,
  keepMs: 1_000,
  metadata: { m: 1 },
};
const filter = {
  ids: ['known'],
  state: ['ready'],
  queue: 't',
  type: 't',
  agent: 'worker',
  group: 'g',
  key: 'k',
  parent: 'p',
  errorSignature: 's',
  errorText: 'e',
  olderThanMs: 1,
};
const page = { limit: 10, after: '0', order: 'newest' };
const plainPage = { limit: 10, after: '0' };
const lockOptions = { timeoutMs: 10, priority: 1 };
const waitSource = {
  requirements: () => [],
  abort: () => false,
  waiting: () => ['n'],
  abortable: true,
  isWaiting: () => false,
  blocks: () => false,
  knows: () => false,
  facts: nothing,
  pass: () => false,
};
const workload = { taskCount: 1, avgTaskDuration: 1, cpuUsage: 1, memoryUsage: 1 };
const breakerOptions = { failureThreshold: 5, successThreshold: 3, timeout: 60_000, halfOpenLimit: 2 };

/** What the manager hands on to its scheduler as it is. */
const TASK_METHODS: Readonly<Record<string, readonly unknown[]>> = {
  registerAgent: [agentRecord],
  unregisterAgent: ['worker', 'reason'],
  submitTask: [taskRecord, {}],
  runTask: [taskRecord],
  submitTasks: [[taskRecord]],
  assignTask: [taskRecord, 'worker'],
  completeTask: ['external', 1, '1.1'],
  failTask: ['external', new Error('x'), '1.1'],
  cancelTask: ['external', 'reason'],
  getTask: ['known'],
  getAgentTaskCount: ['worker'],
  getAgentTasks: ['worker'],
  gather: [[], { minimum: 1, rest: 'cancel', timeoutMs: 10, signal: undefined }],
  why: ['known'],
};

/** Every public method with arguments that are good; `false`: takes none. */
const METHODS: Readonly<Record<Part, Readonly<Record<string, readonly unknown[] | false>>>> = {
  manager: {
    initialize: false,
    shutdown: ['reason'],
    ...TASK_METHODS,
    onIdle: false,
    acquireResource: ['lock', 'worker', lockOptions],
    releaseResource: ['lock', 'worker'],
    acquire: ['lock', lockOptions],
    withLock: ['lock', nothing, lockOptions],
    sendMessage: ['worker', 'outside', { a: 1 }, { priority: 1, expiresInMs: 10 }],
    broadcast: ['worker', { a: 1 }, { topic: 'topic' }],
    request: ['worker', 'outside', { a: 1 }, { timeoutMs: 10, signal: undefined }],
    subscribe: ['worker', nothing, { concurrency: 1 }],
    breaker: ['b', breakerOptions],
    reportConflict: ['resource', 'file', ['worker', 'outside']],
    getHealthStatus: false,
    processes: false,
    getCoordinationMetrics: false,
    performMaintenance: false,
  },
  tasks: {
    registerStrategy: [{ name: 'mine', select: nothing }],
    setDefaultStrategy: ['capability'],
    explain: [taskRecord],
    ...TASK_METHODS,
    isWelcome: ['worker'],
    cancelAgentTasks: ['worker', 'reason'],
    rescheduleAgentTasks: ['worker', 'reason'],
    handle: ['known'],
    getSchedulingMetrics: false,
    loads: false,
    slotUse: false,
    agentPriority: ['worker'],
    moveTask: ['external', 'worker'],
    steal: ['worker', 'outside', 1, 3],
    runsOf: ['worker'],
    obey: [[{ kind: 'cancel', task: 'worker', token: 1, reason: 'reason' }]],
    sessionLost: false,
    wake: false,
    overdueMs: false,
    sweep: false,
    onIdle: false,
    drain: false,
    shutdown: [{ drainMs: 10, then: 'abort' }],
  },
  queues: {
    counts: [['t']],
    list: [filter, page],
    history: ['known', plainPage],
    pause: ['other'],
    resume: ['other'],
    configure: [
      'other',
      {
        paused: false,
        maxLength: 1,
        maxRunning: 1,
        maxRunningPerGroup: 1,
        groupWeights: { a: 1 },
        ageStepMs: 1,
      },
    ],
    reprioritise: [filter, 2],
    edit: [filter, { a: 1 }],
    redrive: [filter, { perSecond: 1, resetAttempts: true, delayMs: 1 }],
    discard: [filter],
  },
  handle: {
    result: [{ timeoutMs: 10, signal: undefined }],
    cancel: ['reason'],
    status: false,
    why: false,
  },
  agent: { drain: false, leave: ['reason'], beat: false },
  context: {
    progress: [0.5, 'note'],
    submit: [{ ...taskRecord, dependencies: [] }],
    gather: [[{ id: 'child', type: 't' }], { minimum: 1, rest: 'cancel', timeoutMs: 10, signal: undefined }],
    withLock: ['lock', nothing],
    request: ['outside', { a: 1 }, 10],
    sleep: [10],
    completeWithin: [{}, { a: 1 }],
  },
  bus: {
    emit: ['custom:mine', { a: 1 }],
    wants: ['custom:mine'],
    count: ['custom:mine'],
    on: ['task:started', nothing, { signal: undefined }],
    keep: ['task:started', nothing],
    once: ['task:started', nothing],
    off: ['task:started', nothing],
    onFiltered: ['task:started', () => true, nothing],
    wanting: ['task:started'],
    waitFor: ['task:started', { timeoutMs: 10, signal: undefined, where: undefined }],
    tap: [nothing],
    stream: [{ capacity: 1, signal: undefined }],
    getEventStats: false,
    resetStats: false,
    close: false,
    removeAllListeners: ['custom:mine'],
  },
  locks: {
    overdueMs: false,
    acquire: ['lock', 'worker', 1, lockOptions],
    tryAcquire: ['lock', lockOptions],
    acquireFor: [{ node: 'n', agent: 'worker', priority: 1 }, ['lock'], { timeoutMs: 10, signal: undefined }],
    acquireAll: [['lock', 'other'], lockOptions],
    withLock: ['lock', nothing, lockOptions],
    scope: [nothing, { agent: 'worker', priority: 1 }],
    release: ['lock', 'worker'],
    releaseAllForAgent: ['worker'],
    releaseOwner: ['n'],
    agentLeft: ['worker'],
    agentJoined: ['worker'],
    forceRelease: ['lock', { graceMs: 10, reason: 'r' }],
    moveLock: ['lock', 'worker', { graceMs: 10, reason: 'r' }],
    waitsFor: ['a', 'b', 'c', { abort: nothing }],
    getAllocations: false,
    getWaitingRequests: false,
    whyWaiting: ['n'],
    requestTimes: ['lock', ['worker']],
    list: [{ resource: 'lock' }, plainPage],
    lockUse: false,
    untilFinished: ['n', { signal: undefined }],
    isAtWork: ['n'],
    shutdown: false,
    askNow: false,
    sessionLost: false,
  },
  waits: {
    addSource: [waitSource],
    entered: ['n'],
    left: ['n'],
    finished: ['n'],
    sweep: false,
  },
  messages: {
    overdueMs: false,
    rejoin: false,
    send: ['worker', 'outside', { a: 1 }, { priority: 1, expiresInMs: 10 }],
    broadcast: ['worker', { a: 1 }, { topic: 'topic' }],
    request: ['worker', 'outside', { a: 1 }, { timeoutMs: 10, signal: undefined }],
    sendWithResponse: ['worker', 'outside', { a: 1 }, 10],
    sendResponse: ['message', { a: 1 }],
    subscribe: ['worker', nothing, { concurrency: 1 }],
    unsubscribe: ['worker', 'handler'],
    messages: ['worker', { signal: undefined }],
    agentJoined: ['worker'],
    agentLeft: ['worker', 'reason'],
    deadLetters: [{}, plainPage],
    redrive: [{}],
    discard: [{}],
    stats: false,
    performMaintenance: false,
    shutdown: [{ drainMs: 10 }],
  },
  breakers: {
    getBreaker: ['b', breakerOptions],
    execute: ['fresh', nothing, breakerOptions, { signal: undefined }],
    getAllBreakers: false,
    getAllMetrics: false,
    resetBreaker: ['known'],
    resetAll: false,
    forceState: ['known', 'open'],
    shutdown: false,
  },
  breaker: {
    execute: [nothing, { signal: undefined }],
    getState: false,
    getMetrics: false,
    forceState: ['open'],
    reset: false,
    snapshot: false,
    restore: [{}],
    shutdown: false,
  },
  conflicts: {
    registerStrategy: [{ name: 'mine', resolve: nothing }],
    reportResourceConflict: ['file', ['worker', 'outside']],
    reportTaskConflict: ['known', ['worker', 'outside'], 'assignment'],
    reportVersionConflict: ['file', { base: '', versions: [] }],
    resolveConflict: ['conflict', 'priority', { agentPriorities: new Map() }],
    autoResolve: ['conflict', 'priority'],
    getActiveConflicts: false,
    getConflictHistory: [1],
    cleanupOldConflicts: [1],
    getStats: false,
    stop: false,
  },
  graph: {
    addTask: [{ id: 'node', dependencies: ['known'], priority: 1 }],
    removeTask: ['node'],
    getReadyTasks: false,
    isTaskReady: ['node'],
    standingOf: ['node'],
    unmetDependencies: ['node'],
    markCompleted: ['node'],
    markFailed: ['node', { final: true }],
    settle: ['node', 'completed'],
    getAllDependents: ['node'],
    detectCycles: false,
    topologicalSort: false,
    generations: false,
    findCriticalPath: false,
    getStats: false,
    snapshot: false,
    toDot: false,
    toMermaid: false,
    toGraphology: false,
  },
  stealing: {
    initialize: false,
    shutdown: false,
    addAgent: ['worker', { capabilities: ['c'], priority: 1 }],
    removeAgent: ['worker'],
    updateAgentWorkload: ['worker', workload],
    recordTaskDuration: ['worker', 1],
    findBestAgent: [{ id: 'x', type: 't', priority: 1 }, ['worker']],
    checkAndSteal: false,
    getWorkloadStats: false,
  },
  metrics: {
    start: false,
    stop: false,
    getCurrentMetrics: false,
    getMetricHistory: ['task.completed', new Date(0)],
    recordMetric: ['mine', 1, { tag: 'x' }],
    getTopMetrics: [1],
    clearMetrics: false,
    toPrometheus: false,
  },
};

/** Not for users: what a part offers to the part that composes it. */
const INTERNAL: Readonly<Partial<Record<Part, readonly string[]>>> = {
  handle: ['settle', 'revive'],
};

/** Records that are no options, by their place among the arguments: fields that aren't known are passed over, or are the caller's own. */
const OWN_RECORDS: Readonly<Record<string, readonly number[]>> = {
  ...Object.fromEntries(
    Object.keys(TASK_METHODS).flatMap((method) => [
      [`manager.${method}`, method === 'gather' ? [] : [0]],
      [`tasks.${method}`, method === 'gather' ? [] : [0]],
    ]),
  ),
  'manager.sendMessage': [2],
  'manager.broadcast': [1],
  'manager.request': [2],
  'tasks.registerStrategy': [0],
  'tasks.explain': [0],
  'queues.edit': [1],
  'context.submit': [0],
  'context.request': [1],
  'context.completeWithin': [0, 1],
  'bus.emit': [1],
  'locks.acquireFor': [0],
  'waits.addSource': [0],
  'messages.send': [2],
  'messages.broadcast': [1],
  'messages.request': [2],
  'messages.sendWithResponse': [2],
  'messages.sendResponse': [1],
  'breaker.restore': [0],
  'conflicts.registerStrategy': [0],
  'conflicts.reportVersionConflict': [1],
  'conflicts.resolveConflict': [2],
  'graph.addTask': [0],
  'stealing.addAgent': [1],
  'stealing.updateAgentWorkload': [1],
  'stealing.findBestAgent': [0],
  'metrics.recordMetric': [2],
};

/** After these, nothing can be submitted any more, or the canary may have gone. */
const ENDS: ReadonlySet<string> = new Set([
  'shutdown',
  'drain',
  'leave',
  'unregisterAgent',
  'stop',
  'initialize',
]);
/** Waits that last as long as they are told to, whatever the mesh does. */
const WAITS: ReadonlySet<string> = new Set(['bus.waitFor']);

/** They call a function of the caller's and pass its error on as it is. */
const CALLS: ReadonlySet<string> = new Set([
  'manager.withLock',
  'context.withLock',
  'locks.withLock',
  'locks.scope',
  'breaker.execute',
  'breakers.execute',
]);
const BY_CALLER = /a function that|refuses to be called/;

/** The calls of a method with a field that it doesn't know in each of its options. */
function misspelt(path: string, args: readonly unknown[]): readonly (readonly unknown[])[] {
  return args.flatMap((given, i) =>
    isRecord(given) && OWN_RECORDS[path]?.includes(i) !== true
      ? [args.with(i, { ...given, unknownField: 1 })]
      : [],
  );
}

function methodsOf(part: object): readonly string[] {
  const prototype = Object.getPrototypeOf(part) as object;
  if (prototype === Object.prototype)
    return Object.keys(part).filter((key) => typeof (part as Record<string, unknown>)[key] === 'function');
  return Object.getOwnPropertyNames(prototype).filter(
    (key) => key !== 'constructor' && isMethod(part, prototype, key),
  );
}

function isMethod(part: object, prototype: object, key: string): boolean {
  const own = Object.getOwnPropertyDescriptor(prototype, key);
  if (own?.get === undefined) return typeof own?.value === 'function';
  return typeof (part as Record<string, unknown>)[key] === 'function';
}

/** A task goes through, and every task is counted once. */
async function checkAlive({ mesh, clock }: World): Promise<void> {
  const canary = await within(clock, 100, mesh.assignTask({ type: 'canary', input: 'sings' }, 'canary'));
  expect(await within(clock, 1_000, canary.result())).toBe('sings');
  for (const { states, totals } of await mesh.queues.counts()) {
    const sum = Object.values(states).reduce((a, b) => a + b, 0);
    expect(sum + totals.pruned, 'T9').toBe(totals.enqueued);
  }
}

describe('every public method', () => {
  test('is in the table', async () => {
    const { parts, mesh, clock } = await createWorld();
    for (const [name, part] of Object.entries(parts) as [Part, object][]) {
      const known = [...Object.keys(METHODS[name]), ...(INTERNAL[name] ?? [])].toSorted();
      expect(methodsOf(part).toSorted(), name).toEqual(known);
    }
    await within(clock, 10_000, mesh.shutdown());
  });

  for (const [name, methods] of Object.entries(METHODS) as [Part, (typeof METHODS)[Part]][]) {
    for (const [method, args] of Object.entries(methods)) {
      if (args === false) continue;
      test(`${name}.${method}: bad arguments give a coded error or work; nothing hangs, nothing is lost`, async () => {
        const world = await createWorld();
        const part = world.parts[name] as unknown as Record<string, (...given: unknown[]) => unknown>;
        const outcomes: Outcome[] = [];
        for (const [what, given] of spoilt(args))
          outcomes.push(attempt(what, () => part[method]?.(...given)));
        await world.clock.advance(60_000);
        if (!ENDS.has(method)) await checkAlive(world);
        await within(world.clock, 60_000, world.mesh.shutdown());
        await world.clock.advance(60_000);
        const path = `${name}.${method}`;
        const ended = WAITS.has(path) ? outcomes.filter(({ state }) => state !== 'pending') : outcomes;
        const own = CALLS.has(path) ? ended.filter(({ what }) => !BY_CALLER.test(what)) : ended;
        expect(complaints(own)).toEqual([]);
      });
      const calls = misspelt(`${name}.${method}`, args);
      if (calls.length === 0) continue;
      test(`${name}.${method}: options refuse a field they don't know`, async () => {
        const { parts, clock, mesh } = await createWorld();
        const part = parts[name] as unknown as Record<string, (...given: unknown[]) => unknown>;
        const outcomes = calls.map((given) => attempt('', () => part[method]?.(...given)));
        await clock.advance(100);
        for (const { error } of outcomes)
          expect(error).toMatchObject({
            code: 'INVALID_OPTION',
            message: expect.stringContaining('"unknownField"') as string,
          });
        await within(clock, 60_000, mesh.shutdown());
      });
    }
  }
});

describe('options of calls that take none are refused, and what does take them is named', () => {
  const client = { query: nothing };
  test.each([
    ['submitTasks', [[{ type: 't', input: 1 }], { client }]],
    ['runTask', [{ type: 't', input: 1 }, { client }]],
    ['assignTask', [{ type: 't', input: 1 }, 'worker', { client }]],
  ] as const)('%s', async (method, args) => {
    const { mesh, clock } = await createWorld();
    const before = (await mesh.queues.list({}, { limit: 100 })).items.length;
    for (const part of [mesh, mesh.tasks]) {
      const { [method]: call } = part as unknown as Record<string, (...given: unknown[]) => Promise<unknown>>;
      await expect(call?.apply(part, [...args])).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        hint: expect.stringContaining('`submitTask(task, { client })`') as string,
      });
    }
    expect((await mesh.queues.list({}, { limit: 100 })).items).toHaveLength(before);
    await within(clock, 60_000, mesh.shutdown());
  });
});

describe('a transaction that isn’t there is no wish to do without', () => {
  test.each([undefined, null, 'client'])('client: %s', async (client) => {
    const { mesh, clock, parts } = await createWorld();
    const before = (await mesh.queues.list({}, { limit: 100 })).items.length;
    const record = { type: 't', input: 1 };
    for (const part of [mesh, mesh.tasks]) {
      await expect(part.submitTask(record, { client })).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        hint: expect.stringContaining('leave `client` out') as string,
      });
      const submitTasks = part.submitTasks.bind(part) as (...given: unknown[]) => Promise<unknown>;
      await expect(submitTasks([record], { client })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
    await expect(parts.context.completeWithin(client, 1)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      hint: expect.stringContaining('return the result') as string,
    });
    expect((await mesh.queues.list({}, { limit: 100 })).items).toHaveLength(before);
    await mesh.submitTask(record, {});
    await within(clock, 60_000, mesh.shutdown());
  });
});

test('options of what is made outside of a mesh refuse fields they don’t know', async () => {
  const refused = { code: 'INVALID_OPTION', message: expect.stringContaining('"unknownField"') as string };
  const more = { unknownField: 1 };
  expect(() => new Logger(more as object)).toThrow(expect.objectContaining(refused) as Error);
  expect(() => defineTask({ name: 'n', ...more })).toThrow(expect.objectContaining(refused) as Error);
});
