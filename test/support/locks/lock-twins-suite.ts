import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { SuiteEnvironment } from '../../../src/testing/suites/suite.ts';
import { twinSteps } from './lock-steps.ts';
import { LockTwins } from './lock-twins.ts';

/** Where a counterexample was, as its report says: only that is run. */
const PATH = process.env['LOCK_PATH'];
const RUNS = Number(process.env['LOCK_RUNS'] ?? 200);

/** Locks of a store against those in memory. */
export function lockTwins(name: string, open: () => Promise<SuiteEnvironment>): void {
  test(`${name}: locks against memory on ${RUNS} random sequences: every answer, who holds, who waits, in which order`, async () => {
    const counts = new Map<string, number>();
    await fc.assert(
      fc.asyncProperty(twinSteps, async (steps) => {
        const env = await open();
        try {
          const twins = new LockTwins(env);
          await twins.start();
          for (const step of steps) if (twins.isOpen) await twins.run(step);
          if (twins.isOpen) await twins.drain();
          for (const [what, count] of twins.counts) counts.set(what, (counts.get(what) ?? 0) + count);
        } finally {
          await env.stop();
        }
      }),
      // Making a counterexample small takes minutes: `LOCK_SHRINK=1` with the same seed does it.
      {
        ...(PATH === undefined ? {} : { path: PATH }),
        numRuns: RUNS,
        endOnFailure: process.env['LOCK_SHRINK'] === undefined,
      },
    );
    console.info(
      `${name} locks: FC_SEED=${process.env['FC_SEED']}`,
      Object.fromEntries([...counts].toSorted(([a], [b]) => (a < b ? -1 : 1))),
    );
    for (const what of [
      'granted',
      'waiting',
      'lost',
      'handed on',
      'aborted: true',
      'session expired',
      'refused: upgrade-conflict',
      'refused: reentrant',
    ])
      expect(counts.get(what) ?? 0, what).toBeGreaterThan(0);
  }, 600_000);
}
