import { afterEach, describe, expect, test } from 'vitest';
import {
  AdvancedTaskScheduler,
  CapabilitySchedulingStrategy,
  CircuitBreaker,
  CircuitBreakerManager,
  CircuitState,
  ConflictResolver,
  CoordinationManager,
  CoordinationMetricsCollector,
  DependencyGraph,
  EventBus,
  Logger,
  MessageRouter,
  OptimisticLockManager,
  PriorityResolutionStrategy,
  ResourceManager,
  SystemEvents,
  WorkStealingCoordinator,
} from '../src/index.ts';
import { createTestClock } from '../src/testing/test-clock.ts';

/** Every sample and paragraph of the documented API, as written; the title names its row. */

const config = {
  maxRetries: 3,
  retryDelay: 1000,
  deadlockDetection: true,
  resourceTimeout: 30000,
  messageTimeout: 10000,
};
const agentProfile = (id: string, more: object = {}) => ({
  id,
  name: id,
  type: 'implementer',
  capabilities: ['edit'],
  systemPrompt: 'You edit.',
  maxConcurrentTasks: 2,
  priority: 1,
  metadata: {},
  ...more,
});
const task = (id: string, more: object = {}) => ({
  id,
  type: 'edit',
  description: 'x',
  priority: 2,
  input: { a: 1 },
  metadata: {},
  ...more,
});

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});
async function started(more: object = {}, bus = new EventBus()): Promise<CoordinationManager> {
  const manager = new CoordinationManager({ ...config, ...more }, bus, new Logger({ level: 'silent' }));
  ends.push(() => manager.shutdown());
  await manager.initialize();
  return manager;
}

describe('samples', () => {
  test('manager: the documented calls do what they say', async () => {
    const eventBus = new EventBus();
    const logger = new Logger({ level: 'silent' });
    const seen: unknown[] = [];
    eventBus.on(SystemEvents.TASK_ASSIGNED, ({ taskId, agentId }) => void seen.push([taskId, agentId]));
    const manager = new CoordinationManager(config, eventBus, logger);
    ends.push(() => manager.shutdown());
    await manager.initialize();
    const handle = await manager.assignTask(task('t1'), 'agent1');
    expect(seen).toEqual([['t1', 'agent1']]);
    expect((await handle.status()).status).toBe('running');
    await manager.acquireResource('file-lock', 'agent1');
    expect(manager.locks.getAllocations()).toEqual(new Map([['file-lock', 'agent1']]));
    await manager.sendMessage('agent1', 'agent2', { type: 'status' });
    const got: unknown[] = [];
    manager.subscribe('agent2', (message) => void got.push(message.payload));
    await expect.poll(() => got).toEqual([{ type: 'status' }]);
    await manager.completeTask('t1', 'done');
    await expect(handle.result()).resolves.toBe('done');
  });

  test('manager: initialize and shutdown are idempotent; nothing works before or after', async () => {
    const manager = new CoordinationManager(config);
    await expect(manager.submitTask(task('x'))).rejects.toMatchObject({ code: 'NOT_STARTED' });
    await Promise.all([manager.initialize(), manager.initialize()]);
    await Promise.all([manager.shutdown(), manager.shutdown()]);
    await expect(manager.submitTask(task('x'))).rejects.toMatchObject({ code: 'STOPPED' });
    await expect(manager.initialize()).rejects.toMatchObject({ code: 'STOPPED' });
  });

  test('scheduler: assignTask picks the best agent by the default strategy', async () => {
    const eventBus = new EventBus();
    const scheduler = new AdvancedTaskScheduler(config, eventBus, new Logger({ level: 'silent' }));
    ends.push(() => scheduler.shutdown({ drainMs: 0 }));
    scheduler.registerStrategy(new CapabilitySchedulingStrategy());
    scheduler.setDefaultStrategy('capability');
    scheduler.registerAgent(agentProfile('other', { capabilities: ['plan'] }));
    scheduler.registerAgent(agentProfile('editor'));
    const assigned: string[] = [];
    eventBus.on('task:assigned', ({ agentId }) => void assigned.push(agentId));
    await scheduler.assignTask(task('t', { capabilities: ['edit'] }));
    expect(assigned).toEqual(['editor']);
    await scheduler.completeTask('t', { ok: true });
    expect((await scheduler.getTask('t'))?.status).toBe('completed');
    await scheduler.assignTask(task('u'), 'editor');
    await scheduler.failTask('u', new Error('no'));
    expect((await scheduler.getTask('u'))?.status).toBe('retrying');
    expect(await scheduler.cancelTask('u', 'enough')).toMatchObject({ status: 'cancelled' });
    expect(scheduler.getSchedulingMetrics()).toMatchObject({ agents: 2, strategy: 'capability' });
  });

  test('scheduler: cancelAgentTasks, rescheduleAgentTasks, unregisterAgent', async () => {
    const scheduler = new AdvancedTaskScheduler(config);
    ends.push(() => scheduler.shutdown({ drainMs: 0 }));
    scheduler.registerAgent(agentProfile('a'));
    await scheduler.assignTask(task('1'), 'a');
    await scheduler.assignTask(task('2'), 'a');
    expect(await scheduler.rescheduleAgentTasks('a')).toBe(2);
    await expect.poll(() => scheduler.getAgentTaskCount('a')).toBe(2);
    expect(await scheduler.cancelAgentTasks('a')).toBe(2);
    await expect.poll(async () => (await scheduler.getTask('1'))?.status).toBe('cancelled');
    await scheduler.unregisterAgent('a');
    await expect(scheduler.assignTask(task('3'), 'a')).rejects.toMatchObject({ code: 'UNKNOWN_AGENT' });
  });

  test('a registered strategy class has selectAgent(task, agents, context); its context is complete', async () => {
    const scheduler = new AdvancedTaskScheduler(config);
    ends.push(() => scheduler.shutdown({ drainMs: 0 }));
    const contexts: Record<string, unknown>[] = [];
    class Last {
      readonly name = 'last';
      selectAgent(_task: object, agents: readonly object[], context: object): string | null {
        contexts.push({ ...context });
        return (agents.at(-1) as { id: string } | undefined)?.id ?? null;
      }
    }
    scheduler.registerStrategy(new Last());
    scheduler.setDefaultStrategy('last');
    scheduler.registerAgent(agentProfile('a'));
    scheduler.registerAgent(agentProfile('b'));
    await scheduler.assignTask(task('t'));
    expect((await scheduler.getTask('t'))?.agentId).toBe('b');
    expect(Object.keys(contexts[0] ?? {}).toSorted()).toEqual(
      ['agentCapabilities', 'agentPriorities', 'currentTime', 'taskHistory', 'taskLoads'].toSorted(),
    );
    expect(contexts[0]?.['currentTime']).toBeInstanceOf(Date);
  });

  test('resources: acquire, and release in finally', async () => {
    const resourceManager = new ResourceManager(config, new EventBus(), new Logger({ level: 'silent' }));
    ends.push(() => resourceManager.shutdown());
    const agentId = 'agent1';
    const priority = 1;
    await resourceManager.acquire('database-lock', agentId, priority);
    const next = resourceManager.acquire('database-lock', 'agent2', priority);
    try {
      expect(resourceManager.getAllocations()).toEqual(new Map([['database-lock', 'agent1']]));
      expect(resourceManager.getWaitingRequests()).toEqual(new Map([['database-lock', ['agent2']]]));
      // By the agent that holds it: returns at once and changes nothing; one release gives it back.
      await resourceManager.acquire('database-lock', agentId, priority);
    } finally {
      await resourceManager.release('database-lock', agentId);
    }
    await next;
    expect(resourceManager.getAllocations()).toEqual(new Map([['database-lock', 'agent2']]));
    expect(await resourceManager.releaseAllForAgent('agent2')).toBe(1);
    expect(resourceManager.getAllocations().size).toBe(0);
  });

  test('stealing: workloads, the documented score, a steal when the difference is greater than the threshold', async () => {
    const eventBus = new EventBus();
    const options = { enabled: true, stealThreshold: 3, maxStealBatch: 2, stealInterval: 5000 };
    const workStealing = new WorkStealingCoordinator(options, eventBus, new Logger({ level: 'silent' }));
    ends.push(() => workStealing.shutdown());
    workStealing.updateAgentWorkload('a', {
      taskCount: 5,
      avgTaskDuration: 2000,
      cpuUsage: 70,
      memoryUsage: 80,
    });
    workStealing.updateAgentWorkload('b', {
      taskCount: 2,
      avgTaskDuration: 100,
      cpuUsage: 10,
      memoryUsage: 10,
    });
    workStealing.recordTaskDuration('b', 200);
    // a: 100 − 50 − 35 − 24 + 5 + 20 − 10 = 6; b: well above
    expect(workStealing.findBestAgent(task('t'), [agentProfile('a'), agentProfile('b')])).toBe('b');
    expect(workStealing.findBestAgent(task('t'), [])).toBeNull();
    const requests: object[] = [];
    eventBus.on('workstealing:request', (payload) => void requests.push(payload));
    await workStealing.checkAndSteal();
    expect(requests).toEqual([]);
    workStealing.updateAgentWorkload('a', { taskCount: 6 });
    await workStealing.checkAndSteal();
    expect(requests).toEqual([{ sourceAgent: 'a', targetAgent: 'b', taskCount: 2 }]);
    expect(workStealing.getWorkloadStats()).toMatchObject({ totalAgents: 2 });
  });

  test('graph: ready, completed, cycles refused, order, critical path', () => {
    const graph = new DependencyGraph(new Logger({ level: 'silent' }));
    graph.addTask(task('task1'));
    graph.addTask(task('task2', { dependencies: ['task1'] }));
    graph.addTask(task('task3', { dependencies: ['task2', 'task1'], priority: 3 }));
    expect(graph.getReadyTasks()).toEqual(['task1']);
    expect(graph.findCriticalPath()).toEqual({ path: ['task1', 'task2', 'task3'], length: 3 });
    expect(graph.getAllDependents('task1').toSorted()).toEqual(['task2', 'task3']);
    expect(graph.markCompleted('task1')).toEqual(['task2']);
    expect(graph.isTaskReady('task2')).toBe(true);
    expect(graph.detectCycles()).toEqual([]);
    expect(graph.topologicalSort()).toEqual(['task1', 'task2', 'task3']);
    expect(() => graph.addTask(task('task0', { dependencies: ['task0'] }))).toThrow(
      expect.objectContaining({ code: 'DEPENDENCY_CYCLE' }),
    );
    expect(graph.markFailed('task2')).toEqual(['task3']);
    expect(graph.getStats()).toMatchObject({ nodes: 3, edges: 3 });
    expect(graph.toDot()).toContain('digraph');
    graph.removeTask('task3');
    expect(graph.getStats().nodes).toBe(2);
  });

  test('graph: ready tasks come by priority, then age', () => {
    const graph = new DependencyGraph();
    graph.addTask({ id: 'old', type: 'write', description: 'd', priority: 1, input: {}, metadata: {} });
    graph.addTask(task('urgent', { priority: 5 }));
    graph.addTask(task('young', { priority: 1 }));
    expect(graph.getReadyTasks()).toEqual(['urgent', 'old', 'young']);
  });

  test('breaker: the documented configuration opens and closes again', async () => {
    const clock = createTestClock();
    const eventBus = new EventBus();
    const changes: string[] = [];
    eventBus.on(
      'circuitbreaker:state-change',
      ({ name, from, to }) => void changes.push(`${name} ${from} ${to}`),
    );
    const options = { failureThreshold: 5, successThreshold: 3, timeout: 60000, halfOpenLimit: 2 };
    const runtime = { clock };
    const breaker = new CircuitBreaker('external-api', options, new Logger({ level: 'silent' }), eventBus, {
      runtime,
    });
    for (let i = 0; i < 5; i++)
      await expect(breaker.execute(async () => Promise.reject(new Error('down')))).rejects.toThrow('down');
    expect(breaker.getState() === CircuitState.OPEN).toBe(true);
    await expect(breaker.execute(async () => 'up')).rejects.toMatchObject({ code: 'CIRCUIT_OPEN' });
    await clock.advance(60000);
    for (let i = 0; i < 3; i++) await expect(breaker.execute(async () => 'up')).resolves.toBe('up');
    expect(breaker.getState()).toBe('closed');
    expect(changes).toEqual([
      'external-api closed open',
      'external-api open half-open',
      'external-api half-open closed',
    ]);
    breaker.forceState('open');
    expect(breaker.getMetrics()).toMatchObject({ state: 'open' });
    breaker.reset();
    expect(breaker.getState()).toBe('closed');
  });

  test('breaker manager: named breakers', async () => {
    const manager = new CircuitBreakerManager({ failureThreshold: 1 });
    await expect(manager.execute('api', async () => 1)).resolves.toBe(1);
    expect(manager.getBreaker('api', {})).toBe(manager.getBreaker('api'));
    manager.forceState('api', 'open');
    expect(manager.getAllMetrics()['api']).toMatchObject({ state: 'open' });
    manager.resetBreaker('api');
    manager.resetAll();
    expect([...manager.getAllBreakers().keys()]).toEqual(['api']);
  });

  test('conflicts: a winner by priority; an agent missing from agentPriorities counts 0', async () => {
    const eventBus = new EventBus();
    const resolver = new ConflictResolver(new Logger({ level: 'silent' }), eventBus);
    resolver.registerStrategy(new PriorityResolutionStrategy());
    const resolvedEvents: unknown[] = [];
    eventBus.on(
      'conflict:resolved',
      ({ conflict, resolution }) =>
        void resolvedEvents.push([conflict.id, resolution.winner, resolution.type]),
    );
    const conflict = await resolver.reportResourceConflict('shared-file', ['agent1', 'agent2', 'agent3']);
    expect(resolver.getActiveConflicts().map(({ id }) => id)).toEqual([conflict.id]);
    const resolution = await resolver.resolveConflict(conflict.id, 'priority', {
      agentPriorities: new Map([
        ['agent1', 10],
        ['agent2', 5],
      ]),
    });
    expect(resolution.winner).toBe('agent1');
    expect(resolvedEvents).toEqual([[conflict.id, 'agent1', 'priority']]);
    for (const kind of ['assignment', 'dependency', 'output'] as const)
      await resolver.reportTaskConflict('t', ['a', 'b'], kind);
    expect(resolver.getConflictHistory(1).length).toBe(1);
    expect(resolver.getStats()).toMatchObject({ active: 3 });
    expect(typeof resolver.cleanupOldConflicts(0)).toBe('number');
  });

  test('conflicts: priority, timestamp and vote are built in', async () => {
    const resolver = new ConflictResolver();
    const facts = {
      requestTimestamps: new Map([
        ['a', new Date(2)],
        ['b', new Date(1)],
      ]),
      votes: new Map([
        ['a', ['x', 'y']],
        ['b', ['z']],
      ]),
    };
    const first = await resolver.reportResourceConflict('r', ['a', 'b']);
    expect((await resolver.resolveConflict(first.id, 'timestamp', facts)).winner).toBe('b');
    const second = await resolver.reportResourceConflict('r2', ['a', 'b']);
    expect((await resolver.resolveConflict(second.id, 'vote', facts)).winner).toBe('a');
  });

  test('conflicts: OptimisticLockManager', () => {
    const locks = new OptimisticLockManager();
    const version = locks.acquireLock('doc', 'a');
    const other = locks.acquireLock('doc', 'b');
    expect(locks.validateAndUpdate('doc', 'a', version)).toBe(true);
    expect(locks.validateAndUpdate('doc', 'b', other)).toBe(false);
    locks.releaseLock('doc', 'a');
  });

  test('metrics: current figures and history', async () => {
    const eventBus = new EventBus();
    const metrics = new CoordinationMetricsCollector(new Logger({ level: 'silent' }), eventBus);
    metrics.start();
    ends.push(() => metrics.stop());
    const base = { taskId: 't', agentId: 'a', queue: 'q', type: 'q', attempt: 1, queuedMs: 1, durationMs: 5 };
    for (let i = 0; i < 3; i++) eventBus.emit('task:completed', { ...base, taskId: `t${i}` });
    const current = metrics.getCurrentMetrics();
    expect(current.taskMetrics.activeTasks).toBeGreaterThanOrEqual(0);
    expect(current.taskMetrics.taskThroughput).toBe(3);
    expect(current.agentMetrics.agentUtilization).toBeGreaterThanOrEqual(0);
    expect(current.resourceMetrics.resourceUtilization).toBeGreaterThanOrEqual(0);
    metrics.recordMetric('custom.figure', 7, { part: 'x' });
    const history = metrics.getMetricHistory('task.completed', new Date(Date.now() - 3600000));
    expect(history.reduce((sum, { value }) => sum + value, 0)).toBe(3);
    expect(history[0]).toMatchObject({ metric: 'task.completed' });
    expect(history[0]?.timestamp).toBeInstanceOf(Date);
    expect(metrics.getTopMetrics(5).length).toBeGreaterThan(0);
    metrics.clearMetrics();
    expect(metrics.getMetricHistory('task.completed', new Date(0))).toEqual([]);
  });

  test('events: the documented payloads', async () => {
    const eventBus = new EventBus();
    const manager = await started({}, eventBus);
    const seen: Record<string, object> = {};
    for (const name of [
      'resource:acquired',
      'resource:released',
      'message:sent',
      'message:received',
      'task:created',
      'task:completed',
    ] as const) {
      eventBus.on(name, (payload) => void (seen[name] = payload));
    }
    await manager.acquireResource('r', 'a');
    await manager.releaseResource('r', 'a');
    manager.subscribe('b', () => undefined);
    await manager.sendMessage('a', 'b', 1);
    await manager.assignTask(task('t'), 'a');
    await manager.completeTask('t', 1);
    await expect.poll(() => Object.keys(seen).length).toBe(6);
    expect(seen['resource:acquired']).toMatchObject({ resourceId: 'r', agentId: 'a' });
    expect(seen['resource:released']).toMatchObject({ resourceId: 'r', agentId: 'a' });
    expect(seen['message:sent']).toMatchObject({ from: 'a', to: 'b' });
    expect(seen['task:completed']).toMatchObject({ taskId: 't', agentId: 'a', result: 1 });
  });

  test('events: a deadlock names agents and resources, and its victim is told', async () => {
    const eventBus = new EventBus();
    const manager = await started({}, eventBus);
    const found: { agents: readonly string[]; resources: readonly string[] }[] = [];
    eventBus.on(
      SystemEvents.DEADLOCK_DETECTED,
      ({ agents, resources }) => void found.push({ agents, resources }),
    );
    await manager.acquireResource('r1', 'a');
    await manager.acquireResource('r2', 'b');
    const waits = [manager.acquireResource('r2', 'a'), manager.acquireResource('r1', 'b')].map((wait, i) =>
      wait.then(
        () => 'granted',
        async (error: { code: string }) => {
          await manager.locks.releaseAllForAgent(i === 0 ? 'a' : 'b');
          return error.code;
        },
      ),
    );
    expect((await Promise.all(waits)).toSorted()).toEqual(['DEADLOCK', 'granted']);
    expect(found.map(({ agents, resources }) => [agents.toSorted(), resources.toSorted()])).toEqual([
      [
        ['a', 'b'],
        ['r1', 'r2'],
      ],
    ]);
  });

  test('SystemEvents names every documented event', () => {
    expect(Object.values(SystemEvents).toSorted()).toEqual(
      [
        'agent:active',
        'agent:error',
        'agent:idle',
        'agent:spawned',
        'agent:terminated',
        'deadlock:detected',
        'message:received',
        'message:sent',
        'resource:acquired',
        'resource:released',
        'system:error',
        'system:healthcheck',
        'system:ready',
        'system:shutdown',
        'task:assigned',
        'task:cancelled',
        'task:completed',
        'task:created',
        'task:failed',
        'task:started',
      ].toSorted(),
    );
  });

  test('debug: an event bus made with true logs every event', () => {
    const lines: string[] = [];
    const eventBus = new EventBus({
      debug: true,
      logger: new Logger({ level: 'debug', write: (line) => void lines.push(line) }),
    });
    eventBus.emit('queue:paused', { queue: 'q' });
    expect(lines.join('\n')).toContain('queue:paused');
    expect(new EventBus(true)).toBeInstanceOf(EventBus);
  });
});

describe('behaviour', () => {
  test('one config object goes to every class; unknown keys are refused with the nearest name', async () => {
    const all = { ...config, stealThreshold: 3, failureThreshold: 5, leaseMs: 30_000 };
    for (const make of [
      () => new AdvancedTaskScheduler(all),
      () => new ResourceManager(all),
      () => new MessageRouter(all),
      () => new WorkStealingCoordinator(all),
      () => new CircuitBreaker('x', all),
    ]) {
      expect(make).not.toThrow();
    }
    expect(() => new CoordinationManager({ ...config, resourceTimeot: 1 } as object)).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION', hint: expect.stringContaining('resourceTimeout') }),
    );
  });

  test('maxRetries 3 = three retries after the first attempt; delay before retry n = retryDelay·2^(n−1), jittered', async () => {
    const clock = createTestClock();
    const manager = new CoordinationManager({ ...config, clock });
    ends.push(async () => {
      const down = manager.shutdown();
      await clock.advance(20_000);
      await down;
    });
    await manager.initialize();
    const at: number[] = [];
    manager.registerAgent({
      id: 'a',
      handler: () => {
        at.push(clock.mono());
        throw new Error('no');
      },
    });
    const handle = await manager.submitTask({ type: 't' });
    const end = handle.result().catch((error: { code: string }) => error.code);
    await clock.advance(60_000);
    expect(await end).toBe('TASK_FAILED');
    expect(at.length).toBe(4);
    const delays = at.slice(1).map((time, i) => time - (at[i] as number));
    delays.forEach((delay, i) => {
      expect(delay).toBeGreaterThanOrEqual((1000 * 2 ** i) / 2);
      expect(delay).toBeLessThanOrEqual(1000 * 2 ** i + 2);
    });
  });

  test('resourceTimeout limits the wait for a lock only', async () => {
    const clock = createTestClock();
    const locks = new ResourceManager(
      { ...config, resourceTimeout: 100 },
      undefined,
      undefined,
      await alone(clock),
    );
    await locks.acquire('r', 'a');
    const wait = locks.acquire('r', 'b').catch((error: { code: string }) => error.code);
    await clock.advance(150);
    expect(await wait).toBe('LOCK_TIMEOUT');
    expect(locks.getAllocations().get('r')).toBe('a');
  });

  test('messageTimeout is the reply deadline and the default expiry of an undelivered message', async () => {
    const manager = await started({ messageTimeout: 30 });
    manager.subscribe('silent', () => undefined);
    await expect(manager.request('a', 'silent', 1)).rejects.toMatchObject({ code: 'REPLY_TIMEOUT' });
    await manager.sendMessage('a', 'late', 'old');
    await new Promise((resolve) => setTimeout(resolve, 60));
    await manager.sendMessage('a', 'late', 'new');
    const got: unknown[] = [];
    manager.subscribe('late', ({ payload }) => void got.push(payload));
    await expect.poll(() => got.length).toBe(1);
    expect(got).toEqual(['new']);
  });

  test('ids that were never registered are accepted; one that was removed is refused until it is registered again', async () => {
    // Nobody will answer its tasks: its end need not wait for that.
    const manager = await started({ shutdown: { drainMs: 0 } });
    await manager.assignTask(task('t'), 'stranger');
    await manager.acquireResource('r', 'stranger');
    await manager.sendMessage('stranger', 'nobody', 1);
    manager.registerAgent(agentProfile('a'));
    await manager.unregisterAgent('a');
    const calls = [
      () => manager.assignTask(task('u'), 'a'),
      () => manager.acquireResource('r2', 'a'),
      () => manager.sendMessage('a', 'b', 1),
    ];
    for (const call of calls) await expect(call()).rejects.toMatchObject({ code: 'UNKNOWN_AGENT' });
    manager.registerAgent(agentProfile('a'));
    for (const call of calls) await expect(call()).resolves.toBeDefined();
  });

  test('a resolution moves the lock or the task it speaks of', async () => {
    const manager = await started({ resources: { leaseMs: 50 } });
    manager.registerAgent(agentProfile('a', { priority: 1 }));
    manager.registerAgent(agentProfile('b', { priority: 9 }));
    const lease = await manager.acquireResource('r', 'a');
    const conflict = await manager.reportConflict('resource', 'r', ['a', 'b']);
    expect((await manager.conflicts.autoResolve(conflict.id, 'priority')).winner).toBe('b');
    expect(lease.signal.aborted).toBe(true);
    await expect.poll(() => manager.locks.getAllocations().get('r')).toBe('b');

    await manager.assignTask(task('t'), 'a');
    const dispute = await manager.reportConflict('task', 't', ['a', 'b']);
    await manager.conflicts.autoResolve(dispute.id, 'priority');
    await expect.poll(async () => (await manager.getTask('t'))?.agentId).toBe('b');
  });

  test('manager: counts, tasks, health, maintenance, metrics', async () => {
    const manager = await started();
    await manager.assignTask(task('t'), 'a');
    expect(await manager.getAgentTaskCount('a')).toBe(1);
    expect((await manager.getAgentTasks('a')).map(({ id }) => id)).toEqual(['t']);
    expect(await manager.getHealthStatus()).toMatchObject({
      healthy: true,
      components: { backend: { healthy: true } },
    });
    await manager.performMaintenance();
    expect((await manager.getCoordinationMetrics()).taskMetrics.activeTasks).toBe(1);
    expect(await manager.cancelTask('t', 'enough')).toMatchObject({ status: 'requested' });
    await expect.poll(async () => (await manager.getTask('t'))?.status).toBe('cancelled');
    expect((await manager.why('t')).chain[0]?.kind).toBe('ended');
    expect(manager.graph).toBeInstanceOf(DependencyGraph);
    expect(manager.breaker('x').getState()).toBe('closed');
    expect(await manager.withLock('l', () => 5)).toBe(5);
    expect(await manager.broadcast('a', 'hello')).toMatchObject({ receivers: expect.any(Number) });
  });

  test('router: send, sendWithResponse, sendResponse, broadcast, subscribe, unsubscribe by handler id', async () => {
    const router = new MessageRouter(config);
    ends.push(() => router.shutdown());
    const got: unknown[] = [];
    const first = router.subscribe('b', (message) => void got.push(message.payload));
    await router.send('a', 'b', 1);
    await expect.poll(() => got).toEqual([1]);
    await router.unsubscribe('b', first.id);
    const second = router.subscribe('b', (message) => void router.sendResponse(message.id, 'pong'));
    await expect(router.sendWithResponse('a', 'b', 'ping', 1000)).resolves.toBe('pong');
    await router.unsubscribe('b', second.id);
    router.subscribe('c', (message) => void got.push(message.payload));
    await router.broadcast('a', 'all');
    await expect.poll(() => got).toEqual([1, 'all']);
  });

  test('bus: emit, on, once, off, waitFor, onFiltered, getEventStats, removeAllListeners', async () => {
    const bus = new EventBus();
    const got: string[] = [];
    const listener = ({ queue }: { queue: string }): void => void got.push(queue);
    bus.on('queue:paused', listener);
    bus.once('queue:paused', ({ queue }) => void got.push(`once ${queue}`));
    bus.onFiltered(
      'queue:paused',
      ({ queue }) => queue === 'b',
      ({ queue }) => void got.push(`filtered ${queue}`),
    );
    const waited = bus.waitFor('queue:resumed', 1000);
    bus.emit('queue:paused', { queue: 'a' });
    bus.emit('queue:paused', { queue: 'b' });
    bus.emit('queue:resumed', { queue: 'c' });
    expect(await waited).toEqual({ queue: 'c' });
    expect(got).toEqual(['a', 'once a', 'b', 'filtered b']);
    bus.off('queue:paused', listener);
    bus.removeAllListeners();
    bus.emit('queue:paused', { queue: 'd' });
    expect(got.length).toBe(4);
    expect(bus.getEventStats()['queue:paused']?.count).toBe(3);
    await expect(bus.waitFor('queue:paused', 5)).rejects.toMatchObject({ code: 'TIMEOUT' });
  });
});

describe('environment', () => {
  test('AGENTMESH_CONCURRENCY: slots of an agent that does not say; 5 without it', async () => {
    const five = await started({ env: {} });
    five.registerAgent({ id: 'a' });
    expect(five.tasks.slotUse().slots).toBe(5);
    const two = await started({ env: { AGENTMESH_CONCURRENCY: '2' } });
    two.registerAgent({ id: 'a' });
    expect(two.tasks.slotUse().slots).toBe(2);
    expect(() => new CoordinationManager({ env: { AGENTMESH_CONCURRENCY: 'many' } })).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }),
    );
  });

  test('AGENTMESH_HEALTH_PORT: a health endpoint on loopback', async () => {
    const manager = await started({ env: { AGENTMESH_HEALTH_PORT: '0' } });
    const url = `http://127.0.0.1:${manager.healthPort}/health`;
    const answer = await fetch(url);
    expect([answer.status, ((await answer.json()) as { healthy: boolean }).healthy]).toEqual([200, true]);
    manager.breaker('api').forceState('open');
    expect((await fetch(url)).status).toBe(503);
  });
});

async function alone(clock: ReturnType<typeof createTestClock>) {
  const { createRuntime } = await import('../src/core/runtime/runtime.ts');
  return { runtime: createRuntime({ clock }) };
}
