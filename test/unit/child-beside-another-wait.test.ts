// D1: a handler that waits for a child and for something else that ends by itself is in no deadlock, yet the child loses its wait.
// Two causes:
// 1. slot-loans.ts #lend: `graph.entered` is asked inside the call that begins the first wait; the second wait of the same turn hasn't begun.
// 2. slot-loans.ts #lookAgain: when the other wait ends, the graph is asked one microtask later; the handler (race, `use` of withLock,
//    lease.release) needs a few more before it has given the lock back.
import { expect, test } from 'vitest';
import { startMesh } from '../support/started-mesh.ts';

test.each(['lock released by the other branch', 'race, sleep first', 'race, child first'])(
  'D1: %s',
  async (how) => {
    const { mesh, clock, named } = await startMesh();
    mesh.registerAgent({
      id: 'a',
      maxConcurrentTasks: 4,
      handler: async ({ task, submit, withLock, sleep }) => {
        if (task.id === 'child') return withLock('L', () => 'child wrote');
        if (how.startsWith('lock')) {
          const write = withLock('L', () => sleep(100)); // gives L back after 100 ms, whatever the child does
          const child = await submit({ id: 'child', type: 't', retry: false });
          return (await Promise.all([write, child.result()]))[1];
        }
        const child = await withLock('L', async () => {
          const handle = await submit({ id: 'child', type: 't', retry: false });
          const early = how.endsWith('child first') ? handle.result() : undefined;
          const slept = sleep(100);
          const result = early ?? handle.result();
          await Promise.race([slept, result]);
          return { result };
        });
        return child.result;
      },
    });
    const parent = await mesh.submitTask({ id: 'parent', type: 't', retry: false });
    const result = parent.result().catch((error: { code: string }) => error.code);
    await clock.advance(2_000);
    expect(await result).toBe('child wrote');
    expect(named('deadlock:detected')).toEqual([]);
  },
);
