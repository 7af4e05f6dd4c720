import { expect, test } from 'vitest';
import { createMemoryCore } from '../../src/backends/memory/memory-core.ts';
import { EMPTY_REPORT } from '../../src/core/empty-report.ts';
import { createIds } from '../../src/core/runtime/ids.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

/** Defect 45: worker ids collided when workers were started in the same second. */

export interface Fleet {
  /** Starts a worker; returns its identity. */
  start(): string;
}

/** Throws when two workers of the same moment have one identity. */
export function scenario(fleet: Fleet): void {
  const ids = Array.from({ length: 500 }, () => fleet.start());
  const distinct = new Set(ids).size;
  if (distinct !== ids.length) throw new Error(`${ids.length} workers, ${distinct} identities`);
}

test('defect 45: naive ids of one second are the same', () => {
  const clock = createTestClock();
  expect(() => scenario({ start: () => `worker-${Math.floor(clock.wall() / 1000)}` })).toThrow(
    '500 workers, 1 identities',
  );
});

test('defect 45: ours differ, also on a clock that stands still, and sessions are never numbered twice', () => {
  const clock = createTestClock();
  const ids = createIds(clock, createRandom(1));
  expect(() => scenario({ start: () => ids.next() })).not.toThrow();
  const { sessions } = createMemoryCore({ clock });
  const open = (): string => {
    const { session } = sessions.open({ boot: ids.next(), leaseMs: 1_000, writer: 1, report: EMPTY_REPORT });
    sessions.close(session);
    return String(session);
  };
  expect(() => scenario({ start: open })).not.toThrow();
});
