import { expect, test } from 'vitest';
import { AdvancedTaskScheduler } from '../../src/index.ts';

/** Defect 5: completeTask and failTask of the advanced scheduler always rejected; one task that timed out killed the process. */

export interface Scheduler {
  assignTask(task: { readonly id: string; readonly type: string }, agentId: string): Promise<unknown>;
  completeTask(taskId: string, result: unknown): Promise<void>;
  failTask(taskId: string, error: Error): Promise<void>;
}

/** Rejects when an assigned task can't be answered. */
export async function scenario(scheduler: Scheduler): Promise<void> {
  await scheduler.assignTask({ id: 'good', type: 't' }, 'agent');
  await scheduler.completeTask('good', 1);
  await scheduler.assignTask({ id: 'bad', type: 't' }, 'agent');
  await scheduler.failTask('bad', new Error('no'));
}

/** Keeps the assignment under one key and looks it up under another, as the predecessor did. */
function naiveScheduler(): Scheduler {
  const assignments = new Map<string, string>();
  const answer = async (taskId: string): Promise<void> => {
    if (!assignments.has(taskId)) throw new Error(`Task not found: ${taskId}`);
  };
  return {
    assignTask: async (task, agentId) => void assignments.set(`${agentId}:${task.id}`, agentId),
    completeTask: answer,
    failTask: answer,
  };
}

test('defect 5: the naive scheduler rejects every answer', async () => {
  await expect(scenario(naiveScheduler())).rejects.toThrow('Task not found');
});

test('defect 5: AdvancedTaskScheduler records them; a time-out leaves the process alive', async () => {
  const scheduler = new AdvancedTaskScheduler({ retry: false, graceMs: 100 });
  await expect(scenario(scheduler)).resolves.toBeUndefined();
  scheduler.registerAgent({ id: 'slow', handler: () => new Promise(() => undefined) });
  const handle = await scheduler.submitTask({ type: 't', timeoutMs: 5 });
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect((await handle.status()).status).toBe('running');
  await scheduler.shutdown({ drainMs: 0 });
});
