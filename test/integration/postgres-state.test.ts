import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Entry, Swap } from '../../src/core/ports/state.ts';
import { openCaller } from '../../src/testing/suites/caller.ts';
import { POSTGRES, postgresEnvironment } from '../support/postgres-environment.ts';
import { mesh, type Peer } from '../support/postgres-peers.ts';
import { comesTo, OpenPeer, stopClock } from '../support/postgres-races.ts';
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

describe('revisions', () => {
  const swap = (peer: Peer, key: string, more: Partial<Swap> = {}) =>
    peer.call(async (op) => peer.backend.state.compareAndSet(op, [{ key, expected: 0, value: 1, ...more }]));
  const changes = async ({ backend }: Peer, after: number) => backend.state.changes('', after, 100);

  test.each(['look', 'close'])('what ends at a %s comes after what is being written', async (way) => {
    const { one, schema } = await mesh('one');
    const writer = await OpenPeer.boot(schema, 'writer');
    const pass = await stopClock(schema);
    await swap(one, 'before');
    // The clock went back: no time alone tells revisions apart.
    await pass(-1_000);
    await swap(one, 'ends', way === 'look' ? { expiresInMs: 10 } : { session: true });
    const { revision: seen } = await changes(one, 0);
    await writer.begin();
    const { entries } = await swap(writer, 'new');
    await pass(20);
    const ending = way === 'look' ? changes(one, seen) : one.backend.sessions.close(one.session);
    expect(await comesTo(ending, schema, 'one')).toBe('waits');
    await writer.commit();
    await ending;
    const after = await changes(writer, entries[0]?.revision ?? 0);
    expect(after.entries.map(({ key, value }) => [key, value])).toEqual([['ends', undefined]]);
  });

  test.each(['swap', 'look'])('of a %s that the server lost is given to nothing else', async (way) => {
    const { one, schema } = await mesh('one');
    const slow = await OpenPeer.boot(schema, 'slow');
    const pass = await stopClock(schema);
    if (way === 'look') await swap(one, 'ends', { expiresInMs: 10 });
    await pass(20);
    const write = async (peer: Peer): Promise<number> =>
      way === 'look'
        ? (await changes(peer, 0)).revision
        : ((await swap(peer, 'a')).entries[0]?.revision ?? 0);
    await slow.begin();
    const lost = await write(slow);
    await slow.lose();
    await pass(1);
    expect(await write(one)).toBeGreaterThan(lost);
  });
});
