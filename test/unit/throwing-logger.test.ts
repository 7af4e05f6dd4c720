import { describe, expect, test } from 'vitest';
import {
  CircuitBreaker,
  ConflictResolver,
  CoordinationManager,
  DependencyGraph,
  MessageRouter,
  ResourceManager,
} from '../../src/index.ts';
import { guardedLogger } from '../../src/core/runtime/guarded-logger.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import type { Logger } from '../../src/core/ports/runtime.ts';

/** G5: a logger is a plugin; whatever it throws, nothing changes. */

const fail = (): never => {
  throw new Error('the log is full');
};
const throwing: Logger = { debug: fail, info: fail, warn: fail, error: fail };

describe('a logger that throws', () => {
  test('G5: a breaker trips, closes and answers as with any other', async () => {
    const breaker = new CircuitBreaker(
      'x',
      { failureThreshold: 1, successThreshold: 1, timeout: 60_000 },
      throwing,
    );
    await expect(breaker.execute(() => Promise.reject(new Error('real failure')))).rejects.toThrow(
      'real failure',
    );
    expect(breaker.getState()).toBe('open');
    breaker.forceState('half-open');
    expect(await breaker.execute(() => 'value')).toBe('value');
    expect(breaker.getState()).toBe('closed');
  });

  test('G5, L6: a deadlock is broken, and its victim leaves no wait behind', async () => {
    const locks = new ResourceManager({}, undefined, throwing);
    const a = await locks.acquire('A', 'x');
    const b = await locks.acquire('B', 'y');
    const first = locks.acquire('B', 'x').then(
      () => 'granted',
      (error: { code: string }) => error.code,
    );
    const second = locks.acquire('A', 'y').then(
      () => 'granted',
      (error: { code: string }) => error.code,
    );
    // The victim's wait is over; it gives back what it holds.
    await Promise.race([first, second]);
    await Promise.all([a.release(), b.release()]);
    expect([await first, await second].toSorted()).toEqual(['DEADLOCK', 'granted']);
    await Promise.all([locks.releaseAllForAgent('x'), locks.releaseAllForAgent('y')]);
    expect(locks.lockUse()).toMatchObject({ held: 0, waiting: 0 });
  });

  test('G5: parts used alone and a mesh do their work', async () => {
    const graph = new DependencyGraph(throwing);
    graph.addTask({ id: 'a', type: 't' });
    expect(graph.getReadyTasks()).toEqual(['a']);
    const conflicts = new ConflictResolver(throwing);
    const { id } = await conflicts.reportResourceConflict('r', ['a', 'b']);
    const facts = { agentPriorities: new Map([['a', 1]]) };
    expect((await conflicts.resolveConflict(id, 'priority', facts)).winner).toBe('a');
    const router = new MessageRouter({}, undefined, throwing);
    router.subscribe('a', fail);
    await expect(router.send('b', 'a', 1)).resolves.toBeTypeOf('string');
    await router.shutdown();
    await using mesh = await CoordinationManager.start({ env: {}, logger: throwing });
    mesh.registerAgent({ id: 'a', handler: fail });
    await expect(mesh.runTask({ type: 'x', retry: false })).rejects.toMatchObject({ code: 'TASK_FAILED' });
  });

  test('one that rejects, or whose isDebug throws, is kept apart too; it is wrapped once', async () => {
    const odd = guardedLogger({
      ...throwing,
      get isDebug(): boolean {
        throw new Error('no');
      },
      info: () => Promise.reject(new Error('later')) as never,
    });
    expect(odd.isDebug).toBe(false);
    odd.info('x');
    await new Promise((resolve) => setImmediate(resolve));
    expect(guardedLogger(odd)).toBe(odd);
    expect(createRuntime({ logger: odd }).logger).toBe(odd);
  });
});
