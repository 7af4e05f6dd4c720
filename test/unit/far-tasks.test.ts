import { describe, expect, test } from 'vitest';
import type { MemoryBackend } from '../../src/backends/memory/memory.ts';
import { CoordinationManager } from '../../src/index.ts';
import type { Backend } from '../../src/core/ports/backend.ts';
import type { NewTask, Settlement } from '../../src/core/ports/tasks.ts';
import type { Operation } from '../../src/core/ports/words.ts';
import { networked } from '../../src/testing/networked.ts';
import { startFleet } from '../support/fleet.ts';

const codeOf = (error: unknown): unknown => (error as { readonly code?: unknown }).code;

/** Managers over one store that they reach over a network. @param edit what else stands between */
async function farMeshes(size = 1, edit: (backend: Backend) => Backend = (backend) => backend) {
  const { clock, store, meshes } = await startFleet(size, (memory) => edit(networked<Backend>(memory)));
  return { clock, store, meshes: meshes as [CoordinationManager, ...CoordinationManager[]] };
}

describe('a store across a network', () => {
  test('tasks that are submitted together share calls, in order; handles and results are each one’s own', async () => {
    const calls: number[] = [];
    const { clock, meshes } = await farMeshes(1, (backend) => {
      const tasks = Object.create(backend.tasks as object) as NonNullable<Backend['tasks']>;
      tasks.enqueue = (op: Operation, items: readonly NewTask[]) => {
        calls.push(items.length);
        return (backend.tasks as NonNullable<Backend['tasks']>).enqueue(op, items);
      };
      return { ...backend, tasks };
    });
    const [mesh] = meshes;
    const order: number[] = [];
    mesh.registerAgent({
      id: 'a',
      maxConcurrentTasks: 3,
      handler: ({ task }) => order.push(task.input as number),
    });
    const numbers = Array.from({ length: 600 }, (_, i) => i);
    const handles = Promise.all(numbers.map((input) => mesh.submitTask({ type: 't', input })));
    const results = handles.then((all) => Promise.all(all.map((handle) => handle.result())));
    await clock.advance(1_000);
    expect(await results).toEqual(numbers.map((i) => i + 1));
    expect(order).toEqual(numbers);
    expect(Math.max(...calls)).toBeLessThanOrEqual(250);
    expect(calls.length).toBeLessThan(10);
  });

  test('results of tasks that another process runs arrive, errors with their code', async () => {
    const { clock, meshes } = await farMeshes(2);
    const [here, there] = meshes as [CoordinationManager, CoordinationManager];
    there.registerAgent({
      id: 'worker',
      handler: {
        good: ({ task }) => ({ doubled: 2 * (task.input as number) }),
        bad: () => {
          throw Object.assign(new Error('no'), { code: 'E_NO' });
        },
      },
    });
    const good = (await here.submitTask({ type: 'good', input: 21 })).result();
    const bad = (await here.submitTask({ type: 'bad', retry: false })).result().catch(codeOf);
    await clock.advance(3_000);
    expect(await good).toEqual({ doubled: 42 });
    expect(await bad).toBe('TASK_FAILED');
  });

  test('a result that is asked for when the task has long ended, or while it runs here, is there', async () => {
    const { clock, meshes } = await farMeshes();
    const [mesh] = meshes;
    mesh.registerAgent({
      id: 'a',
      handler: ({ task, sleep }) => sleep(task.input as number).then(() => 'done'),
    });
    const quick = await mesh.submitTask({ type: 't', input: 1 });
    const slow = await mesh.submitTask({ type: 't', input: 500 });
    await clock.advance(100);
    const results = Promise.all([quick.result(), slow.result()]);
    await clock.advance(2_000);
    expect(await results).toEqual(['done', 'done']);
  });

  test('a task that is cancelled where it was submitted stops where it runs', async () => {
    const { clock, meshes } = await farMeshes(2);
    const [here, there] = meshes as [CoordinationManager, CoordinationManager];
    let stopped = '';
    there.registerAgent({
      id: 'worker',
      handler: ({ signal, sleep }) =>
        sleep(60_000).catch((error: unknown) => {
          stopped = (signal.reason as { code: string }).code;
          throw error;
        }),
    });
    const task = await here.submitTask({ type: 't' });
    await clock.advance(1_000);
    const result = task.result().catch(codeOf);
    const cancelled = task.cancel('not wanted');
    await clock.advance(15_000);
    expect((await cancelled).status).toBe('requested');
    expect(stopped).toBe('TASK_CANCELLED');
    expect(await result).toBe('TASK_CANCELLED');
  });

  test('T10: with slow tasks no process takes more than it has slots for', async () => {
    const { clock, store, meshes } = await farMeshes(2);
    const most = meshes.map(() => 0);
    meshes.forEach((mesh, i) => {
      let now = 0;
      mesh.registerAgent({
        id: `worker-${i}`,
        maxConcurrentTasks: 3,
        handler: async () => {
          now += 1;
          most[i] = Math.max(most[i] ?? 0, now);
          await new Promise<void>((resolve) => void clock.after(1_000, resolve, true));
          now -= 1;
        },
      });
    });
    await clock.advance(10);
    const submitted = meshes[0].submitTasks(Array.from({ length: 30 }, () => ({ type: 't' })));
    await clock.advance(500);
    await submitted;
    const { items } = store.tasks.list({ state: ['claimed'] }, { limit: 100 });
    expect(items).toHaveLength(6);
    await clock.advance(20_000);
    expect(most).toEqual([3, 3]);
    expect((await meshes[0].tasks.queues.counts())[0]?.states.completed).toBe(30);
  });
});

describe('in a transaction of the application', () => {
  /** A store whose `within` does at once what is asked, or forgets it when the client says so. */
  async function transactional() {
    const client = { rollsBack: false, stale: false };
    const { clock, store, meshes } = await farMeshes(1, (backend) => {
      const inner = backend.tasks as NonNullable<Backend['tasks']>;
      const tasks = Object.create(inner) as NonNullable<Backend['tasks']>;
      const joined = {
        enqueue: (op: Operation, items: readonly NewTask[]) => inner.enqueue(op, items),
        settle: async (op: Operation, items: readonly Settlement[]) => {
          if (client.stale) return { ...NOTHING, results: [{ status: 'stale', state: 'ready', token: 1 }] };
          if (client.rollsBack) return { ...NOTHING, results: [{ status: 'settled', state: 'completed' }] };
          return inner.settle(op, items);
        },
      };
      Object.assign(tasks, { within: () => joined });
      return { ...backend, tasks };
    });
    return { clock, client, store, mesh: meshes[0] };
  }
  const NOTHING = { at: 1, readied: [], ended: [], more: false, opened: false };

  test('T11: what a handler completed there is the result, whatever it does afterwards', async () => {
    const { clock, client, mesh } = await transactional();
    mesh.registerAgent({
      id: 'a',
      handler: async ({ completeWithin, task }) => {
        await completeWithin(client, { written: task.id });
        if (task.id === 'throws') throw new Error('after the commit');
        return 'not this';
      },
    });
    const results = Promise.all(
      ['returns', 'throws'].map(async (id) => (await mesh.submitTask({ id, type: 't' })).result()),
    );
    await clock.advance(5_000);
    expect(await results).toEqual([{ written: 'returns' }, { written: 'throws' }]);
  });

  test('T11: an attempt whose transaction was rolled back has failed, though its handler returns; it is tried again', async () => {
    const { clock, client, mesh } = await transactional();
    let attempts = 0;
    mesh.registerAgent({
      id: 'a',
      handler: async ({ completeWithin, attempt }) => {
        attempts = attempt;
        client.rollsBack = attempt === 1;
        await completeWithin(client, attempt);
      },
    });
    const result = mesh.submitTask({ type: 't' }).then((task) => task.result());
    await clock.advance(10_000);
    expect([await result, attempts]).toEqual([2, 2]);
  });

  test('T4: a claim that is not current is refused there, and what the handler returns after that counts for nothing', async () => {
    const { clock, client, mesh } = await transactional();
    const codes: unknown[] = [];
    mesh.registerAgent({
      id: 'a',
      handler: async ({ completeWithin, attempt }) => {
        client.stale = attempt === 1;
        await completeWithin(client, attempt).catch((error: unknown) => codes.push(codeOf(error)));
      },
    });
    const result = mesh.submitTask({ type: 't' }).then((task) => task.result());
    await clock.advance(10_000);
    expect([await result, codes]).toEqual([2, ['STALE_CLAIM']]);
  });

  /** Ends the sessions of all processes, as if their leases had run out. */
  async function endSessions({ store }: { readonly store: MemoryBackend }): Promise<void> {
    const { items } = await store.sessions.list({ limit: 100, state: 'alive' });
    for (const { session } of items) await store.sessions.close(session);
  }

  test('T5: an attempt whose session ended under its transaction is not counted: another begins at once', async () => {
    const world = await transactional();
    const { clock, client, mesh } = world;
    const begun: (readonly [attempt: number, at: number])[] = [];
    const failed: unknown[] = [];
    mesh.events.on('task:failed', (payload) => failed.push(payload));
    mesh.registerAgent({
      id: 'a',
      handler: {
        parent: async ({ attempt, completeWithin }) => {
          begun.push([attempt, clock.mono()]);
          if (begun.length === 1) await endSessions(world);
          await mesh.submitTask({ type: 'child' }, { client });
          await completeWithin(client, 'done');
        },
        child: () => undefined,
      },
    });
    const result = mesh.submitTask({ type: 'parent' }).then((task) => task.result());
    await clock.advance(10_000);
    expect(await result).toBe('done');
    expect(begun.map(([attempt]) => attempt)).toEqual([1, 1]);
    expect((begun[1]?.[1] ?? Infinity) - (begun[0]?.[1] ?? 0)).toBeLessThan(500);
    expect(failed).toEqual([]);
  });

  test('T5: nor one whose locks went with its session', async () => {
    const world = await transactional();
    const { clock, mesh } = world;
    const attempts: number[] = [];
    mesh.registerAgent({
      id: 'a',
      handler: ({ attempt, signal }) => {
        if (attempts.push(attempt) > 1) return 'done';
        return new Promise((_, reject) =>
          signal.addEventListener('abort', () => reject(signal.reason as Error)),
        );
      },
    });
    const result = mesh.submitTask({ type: 't', locks: ['x'] }).then((task) => task.result());
    await clock.advance(1_000);
    await endSessions(world);
    await clock.advance(15_000);
    expect([await result, attempts]).toEqual(['done', [1, 1]]);
  });

  test('T5: nor one that is told in its transaction that it has lost its claim, which this very process took over', async () => {
    const world = await transactional();
    const { clock, client, mesh } = world;
    const attempts: number[] = [];
    mesh.registerAgent({
      id: 'a',
      handler: async ({ attempt, completeWithin, sleep }) => {
        client.stale = attempts.push(attempt) === 1;
        if (client.stale) await sleep(20_000);
        await completeWithin(client, 'done').catch(() => undefined);
      },
    });
    const result = mesh.submitTask({ type: 't' }).then((task) => task.result());
    await clock.advance(1_000);
    await endSessions(world);
    await clock.advance(30_000);
    expect([await result, attempts]).toEqual(['done', [1, 1]]);
  });

  test('a store without transactions says so, and an unusable client is refused', async () => {
    const { clock, meshes } = await farMeshes();
    const [mesh] = meshes;
    expect(await mesh.submitTask({ type: 't' }, { client: {} }).catch(codeOf)).toBe('NOT_SUPPORTED');
    expect(await mesh.submitTask({ type: 't' }, { client: 7 }).catch(codeOf)).toBe('INVALID_ARGUMENT');
    await clock.settle();
  });
});
