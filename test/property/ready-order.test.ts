import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, test } from 'vitest';
import type { Claim } from '../../src/core/ports/tasks.ts';
import { createMemoryTasks, newTask } from '../support/memory-tasks.ts';

const STEP_MS = 10;

/** One of many small changes to a backlog that is large enough for dead entries to pile up. */
const change = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('add' as const),
      count: fc.integer({ min: 1, max: 30 }),
      spread: fc.integer({ min: 1, max: 40 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('take' as const), count: fc.integer({ min: 1, max: 30 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('return' as const), every: fc.integer({ min: 1, max: 3 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('cancel' as const),
      every: fc.integer({ min: 2, max: 5 }),
      offset: fc.nat(4),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('move' as const),
      every: fc.integer({ min: 2, max: 5 }),
      offset: fc.nat(4),
      to: fc.integer({ min: 0, max: 40 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 60 }) }),
  },
);

interface Waiting {
  readonly id: string;
  readonly at: number;
  readonly arrival: number;
  priority: number;
}

describe('the order of the ready', () => {
  test('T7: with any mixture of arrivals, returns, cancellations and changes of priority it is by age and priority, then arrival', () => {
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 25 }), (changes) => {
        const tasks = createMemoryTasks({ history: 1 });
        tasks.store.configure(tasks.op(), 'q', undefined, { paused: false, ageStepMs: STEP_MS });
        let ready: Waiting[] = [];
        const claimed = new Map<string, { readonly claim: Claim; readonly row: Waiting }>();
        let arrivals = 0;
        const take = (limit: number): void => {
          const expected = ready
            .toSorted(
              (a, b) => a.at - a.priority * STEP_MS - (b.at - b.priority * STEP_MS) || a.arrival - b.arrival,
            )
            .slice(0, limit);
          const claims = tasks.claim({ limit });
          assert.deepEqual(
            claims.map(({ task }) => task),
            expected.map(({ id }) => id),
          );
          for (const [i, claim] of claims.entries())
            claimed.set(claim.task, { claim, row: expected[i] as Waiting });
          ready = ready.filter((row) => !claimed.has(row.id));
        };
        for (const one of changes) {
          switch (one.do) {
            case 'add': {
              const added = Array.from({ length: one.count }, () => {
                arrivals += 1;
                return {
                  id: `t${arrivals}`,
                  at: tasks.clock.mono(),
                  arrival: arrivals,
                  priority: (arrivals * 7) % one.spread,
                };
              });
              tasks.add(...added.map(({ id, priority }) => newTask(id, { priority })));
              ready.push(...added);
              break;
            }
            case 'take':
              take(one.count);
              break;
            case 'return': {
              const back = [...claimed.values()].filter((_, i) => i % one.every === 0);
              if (back.length === 0) break;
              tasks.store.settle(
                tasks.op(),
                back.map(({ claim }) => ({
                  claim,
                  as: 'release',
                  delayMs: 0,
                  reason: 'r',
                  refundAttempt: true,
                })),
              );
              for (const { row } of back) {
                claimed.delete(row.id);
                ready.push(row);
              }
              break;
            }
            case 'cancel': {
              const gone = new Set(ready.filter((_, i) => i % one.every === one.offset).map(({ id }) => id));
              if (gone.size === 0) break;
              tasks.store.cancel(
                tasks.op(),
                [...gone].map((task) => ({ task, reason: 'r', tree: false, revoke: false })),
              );
              ready = ready.filter(({ id }) => !gone.has(id));
              break;
            }
            case 'move': {
              const moved = ready.filter((_, i) => i % one.every === one.offset);
              const ids = moved.map(({ id }) => id);
              tasks.store.revise(tasks.op(), {
                filter: { ids },
                revision: { set: 'priority', priority: one.to },
                limit: 1_000,
              });
              for (const row of moved) row.priority = one.to;
              break;
            }
            case 'pass':
              tasks.clock.tick(one.ms);
          }
          const [counts] = tasks.store.counts().queues;
          assert.equal(counts?.states.ready ?? 0, ready.length);
        }
        take(1_000);
        assert.equal(ready.length, 0);
      }),
    );
  });
});
