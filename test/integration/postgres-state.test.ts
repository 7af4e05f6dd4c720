import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Entry } from '../../src/core/ports/state.ts';
import { openCaller } from '../../src/testing/suites/caller.ts';
import { POSTGRES, postgresEnvironment } from '../support/postgres-environment.ts';
import { checkState, type StateWorld, stateStep } from '../support/state-model.ts';

/** Each step is a trip to the server, so there are fewer runs than on memory. */
const RUNS = Math.max(10, Number(process.env['FC_RUNS'] ?? 1_000) / 25);

describe('state in PostgreSQL', () => {
  test('is a map with compare-and-set; a watcher knows it after reading on, whatever expires or ends', async () => {
    const seen = { refused: 0, resets: 0, runs: 0 };
    await fc.assert(
      fc.asyncProperty(fc.array(stateStep, { minLength: 5, maxLength: 40 }), async (script) => {
        const env = await postgresEnvironment();
        try {
          await checkState({ backend: env.backend as StateWorld['backend'], pass: env.pass }, script, seen);
        } finally {
          await env.stop();
        }
      }),
      { numRuns: RUNS },
    );
    expect(seen.refused).toBeGreaterThan(seen.runs / 2);
  });

  test('a watcher misses nothing while many write at once: revisions come in the order of commits', async () => {
    const env = await postgresEnvironment();
    const { state } = env.backend as StateWorld['backend'];
    try {
      const writers = await Promise.all(Array.from({ length: 6 }, (_, i) => openCaller(env, `writer ${i}`)));
      const seen = new Map<string, unknown>();
      const revisions: number[] = [];
      let after = 0;
      let writing = true;
      const watch = async (): Promise<void> => {
        const { entries, revision } = await state.changes('w/', after, POSTGRES.maxBatch);
        for (const entry of entries) {
          seen.set(entry.key, entry.value);
          revisions.push(entry.revision);
        }
        after = revision;
      };
      const watching = (async () => {
        while (writing) await watch();
        await watch();
      })();
      const current = new Map<string, Entry>();
      await Promise.all(
        writers.map(async ({ op }, lane) => {
          for (let i = 0; i < 40; i++) {
            const key = `w/${lane}/${i % 7}`;
            const expected = current.get(key)?.revision ?? 0;
            const { entries } = await state.compareAndSet(op(), [{ key, expected, value: i }]);
            current.set(key, entries[0] as Entry);
          }
        }),
      );
      writing = false;
      await watching;
      expect(revisions).toEqual(revisions.toSorted((a, b) => a - b));
      expect(seen).toEqual(new Map([...current].map(([key, { value }]) => [key, value])));
    } finally {
      await env.stop();
    }
  });
});
