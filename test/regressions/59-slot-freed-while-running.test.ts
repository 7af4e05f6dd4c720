import { expect, test } from 'vitest';
import { createScheduler, gate } from '../support/mesh.ts';

/** Defect 59: a time-out freed the slot while the task ran on; strict priorities starved. */

export interface Queue {
  /** Adds work with a limit of one at a time and 50 ms each. */
  add(work: () => Promise<void>): Promise<unknown>;
  pass(ms: number): Promise<void>;
}

/** Rejects when two pieces of work run at the same time under a limit of one. */
export async function scenario(queue: Queue): Promise<void> {
  const slow = gate();
  let running = 0;
  let most = 0;
  const work = async (until: Promise<void>): Promise<void> => {
    running += 1;
    most = Math.max(most, running);
    await until;
    running -= 1;
  };
  await queue.add(() => work(slow.promise));
  await queue.add(() => work(Promise.resolve()));
  await queue.pass(500);
  slow.open();
  await queue.pass(500);
  if (most > 1) throw new Error(`${most} ran at the same time`);
}

test('defect 59: the naive queue starts the next one at the time-out', async () => {
  const { clock } = createScheduler();
  let last: Promise<unknown> = Promise.resolve();
  const naive: Queue = {
    async add(work) {
      const limit = (): Promise<void> => new Promise((resolve) => void clock.after(50, resolve));
      last = last.then(() => Promise.race([work(), limit()]));
    },
    pass: (ms) => clock.advance(ms),
  };
  await expect(scenario(naive)).rejects.toThrow('2 ran at the same time');
});

test('defect 59: ours waits for the handler', async () => {
  const { scheduler, clock } = createScheduler({ retry: false });
  const works: (() => Promise<void>)[] = [];
  scheduler.registerAgent({ id: 'a', maxConcurrentTasks: 1, handler: () => works.shift()?.() });
  const ours: Queue = {
    add: (work) => {
      works.push(work);
      return scheduler.submitTask({ type: 't', timeoutMs: 50 });
    },
    pass: (ms) => clock.advance(ms),
  };
  await expect(scenario(ours)).resolves.toBeUndefined();
});

/** Rejects when a low task is overtaken for ever by urgent ones that keep coming. */
export async function starvation(queue: {
  submit(id: string, priority: number): Promise<unknown>;
  step(): Promise<string>;
}): Promise<void> {
  await queue.submit('low', 1);
  for (let i = 0; i < 100; i++) {
    await queue.submit(`high-${i}`, 3);
    if ((await queue.step()) === 'low') return;
  }
  throw new Error('low never ran');
}

test('defect 59: strict priorities starve the low task', async () => {
  const waiting: { id: string; priority: number }[] = [];
  const naive = {
    submit: async (id: string, priority: number) => void waiting.push({ id, priority }),
    step: async () => {
      waiting.sort((a, b) => b.priority - a.priority);
      return waiting.shift()?.id ?? '';
    },
  };
  await expect(starvation(naive)).rejects.toThrow('low never ran');
});

test('defect 59: ageing lets it run', async () => {
  const { scheduler, clock } = createScheduler();
  const ran: string[] = [];
  let next = gate();
  scheduler.registerAgent({
    id: 'a',
    maxConcurrentTasks: 1,
    handler: async ({ task }) => {
      ran.push(task.id);
      await next.promise;
    },
  });
  const ours = {
    submit: (id: string, priority: number) => scheduler.submitTask({ id, type: 't', priority }),
    step: async () => {
      const before = ran.length;
      const open = next;
      next = gate();
      open.open();
      await clock.advance(1_000);
      return ran.slice(before).includes('low') ? 'low' : '';
    },
  };
  await scheduler.submitTask({ id: 'first', type: 't', priority: 3 });
  await clock.settle();
  await expect(starvation(ours)).resolves.toBeUndefined();
});
