import { expect, test } from 'vitest';
import { createScheduler } from '../support/mesh.ts';

/** Defect 42: a time-out never interrupted work. */

export interface Runner {
  /** Runs work with a time limit of 50 ms; resolves when the runner says it is over. */
  run(work: (signal: AbortSignal) => Promise<void>): Promise<void>;
}

/** Rejects when work goes on after its time limit. */
export async function scenario(runner: Runner, later: (ms: number) => Promise<void>): Promise<void> {
  let steps = 0;
  let stopped = false;
  await runner.run(async (signal) => {
    while (!signal.aborted && steps < 1_000) {
      steps += 1;
      await later(10);
    }
    stopped = true;
  });
  const atEnd = steps;
  await later(100);
  if (!stopped || steps > atEnd) throw new Error(`work went on: ${atEnd} steps, then ${steps}`);
}

test('defect 42: the naive time-out only stops waiting', async () => {
  const naive: Runner = {
    run: (work) => {
      const never = new AbortController().signal;
      void work(never);
      return new Promise((resolve) => setTimeout(resolve, 50));
    },
  };
  const later = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
  await expect(scenario(naive, later)).rejects.toThrow('work went on');
});

test('defect 42: ours aborts the signal, and the slot is free when the work is done', async () => {
  const { scheduler, clock } = createScheduler({ retry: false });
  const ours: Runner = {
    async run(work) {
      scheduler.registerAgent({ id: 'a', handler: ({ signal }) => work(signal) });
      const handle = await scheduler.submitTask({ type: 't', timeoutMs: 50 });
      const end = handle.result().catch((error: unknown) => error);
      expect(await end).toMatchObject({ cause: { code: 'TASK_TIMEOUT' } });
    },
  };
  const later = (ms: number): Promise<void> => new Promise((resolve) => void clock.after(ms, resolve));
  const checked = scenario(ours, later);
  for (let i = 0; i < 20; i++) await clock.advance(50);
  await expect(checked).resolves.toBeUndefined();
});
