import { expect, test } from 'vitest';
import { isCoordinationError } from '../../src/core/errors.ts';
import type { ResourceRequest } from '../../src/core/lock-types.ts';
import type { Random } from '../../src/core/ports/runtime.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import type { LockScope } from '../../src/resources/lock-scope.ts';
import { createDesk, type LockDesk } from '../support/locks/lock-desk.ts';
import { checkTrace, type Entry, type Mode } from './lock-trace-checker.ts';

const AGENTS = 1_000;
const RESOURCES = 500;
const SEMAPHORES = 25;
const PLANTED = 150;
const ACQUISITIONS = 10_000;
/** The library's default. */
const MAX_OVERTAKES = 32;

/** The library's events and the callers' calls, in one order. */
function record(desk: LockDesk): Entry[] {
  const trace: Entry[] = [];
  const { bus } = desk;
  bus.on(
    'resource:waited',
    ({ agentId, resourceId }) => void trace.push({ at: 'waited', agent: agentId, resource: resourceId }),
  );
  bus.on(
    'resource:acquired',
    ({ agentId, resourceId, token }) =>
      void trace.push({ at: 'acquired', agent: agentId, resource: resourceId, token }),
  );
  bus.on(
    'resource:released',
    ({ agentId, resourceId }) => void trace.push({ at: 'released', agent: agentId, resource: resourceId }),
  );
  bus.on(
    'resource:abandoned',
    ({ agentId, resourceId, code }) =>
      void trace.push({ at: 'abandoned', agent: agentId, resource: resourceId, code }),
  );
  bus.on('deadlock:detected', ({ victim, cycle }) => void trace.push({ at: 'deadlock', victim, cycle }));
  bus.on('deadlock:resolved', ({ victim }) => void trace.push({ at: 'resolved', victim }));
  return trace;
}

/** Asks and notes it; what is decided at once is in the trace before `returned`. */
function ask(
  trace: Entry[],
  scope: LockScope,
  what: ResourceRequest,
  mode: Mode,
  priority: number,
): Promise<unknown> {
  const resource = nameOf(what);
  trace.push({ at: 'asked', agent: scope.owner, resource, mode, priority });
  const lease = scope.acquire(what, { priority });
  trace.push({ at: 'returned', agent: scope.owner });
  return lease;
}

function nameOf(what: ResourceRequest): string {
  if (typeof what === 'string') return what;
  return 'resource' in what ? what.resource : 'semaphore' in what ? what.semaphore : what.path;
}

function pick(random: Random, taken: ReadonlySet<string>): { what: ResourceRequest; mode: Mode } {
  for (;;) {
    const n = Math.floor(random.next() * RESOURCES);
    const name = `r${n}`;
    if (taken.has(name)) continue;
    if (n < SEMAPHORES) {
      const units = 1 + Math.floor(random.next() * 3);
      return { what: { semaphore: name, of: 8, units }, mode: { units, of: 8 } };
    }
    const dice = random.next();
    const mode = dice < 0.35 ? 'exclusive' : dice < 0.9 ? 'shared' : 'update';
    return { what: { resource: name, mode }, mode };
  }
}

async function pause(random: Random): Promise<void> {
  for (let turns = Math.floor(random.next() * 6); turns > 0; turns--) await Promise.resolve();
}

test.each([
  ['as often as it is by default', MAX_OVERTAKES, 0, {}],
  ['seldom', 4, 100, { maxOvertakes: 4 }],
] as const)(
  'D1, D2, D3, D4, D5, L2, L6, L7: 1,000 agents on 500 resources, overtaken %s, checked from the trace',
  {
    timeout: 60_000,
  },
  async (_how, maxOvertakes, barred, options) => {
    const started = performance.now();
    const desk = createDesk({ resourceTimeout: 600_000, ...options });
    const trace = record(desk);
    const done: string[] = [];

    // Planted: rings of 2 to 6 agents, each holding its own two or three locks, then asking for the next one's first. Names of their own.
    let agent = 0;
    const rings = Array.from({ length: PLANTED }, (_, ring) => {
      const size = 2 + (ring % 5);
      return Array.from({ length: size }, (_, i) => ({ id: `agent-${agent++ % AGENTS}`, ring, i, size }));
    });
    const ringRuns: Promise<unknown>[] = [];
    for (const members of rings) {
      const gate = Promise.withResolvers<void>();
      let inside = 0;
      for (const { id, ring, i, size } of members) {
        const own = (n: number): string => `ring${ring}-${n}`;
        let first = true;
        const run = desk.locks.scope(
          async (scope) => {
            await ask(trace, scope, own(i), 'exclusive', 2);
            await ask(trace, scope, { resource: `ring${ring}-extra-${i}`, mode: 'shared' }, 'shared', 2);
            if (first) {
              first = false;
              inside += 1;
              if (inside === size) gate.resolve();
              await gate.promise;
            }
            await ask(trace, scope, own((i + 1) % size), 'exclusive', 2);
          },
          { owner: `${id}-ring${ring}`, maxDefeats: 50 },
        );
        ringRuns.push(run.then(() => done.push(id)));
      }
    }
    await Promise.all(ringRuns);
    const planted = checkTrace(trace, maxOvertakes);
    expect(planted.problems).toEqual([]);
    expect(planted.deadlocks).toBeGreaterThanOrEqual(PLANTED);

    // At random: everybody takes 2 to 4 locks one after another, then more, and works a little.
    const runs = Array.from({ length: AGENTS }, async (_, n) => {
      const own = createRandom(`agent ${n}`);
      const id = `worker-${n}`;
      const priority = 1 + (n % 3);
      for (let job = 0; job < 3; job++) {
        const wanted: { what: ResourceRequest; mode: Mode }[] = [];
        const names = new Set<string>();
        const count = 3 + Math.floor(own.next() * 3);
        while (wanted.length < count) {
          const next = pick(own, names);
          names.add(nameOf(next.what));
          wanted.push(next);
        }
        await pause(own);
        await desk.locks.scope(
          async (scope) => {
            for (const { what, mode } of wanted) {
              await ask(trace, scope, what, mode, priority);
              await pause(own);
            }
          },
          { owner: id, maxDefeats: 200 },
        );
        trace.push({ at: 'finished', agent: id });
      }
      done.push(id);
    });
    await Promise.all(runs);
    const worked = performance.now() - started;

    const verdict = checkTrace(trace, maxOvertakes);
    console.info('ms', { worked, checked: performance.now() - started - worked });
    console.info('contention', { ...verdict, entries: trace.length });
    expect(verdict.problems).toEqual([]);
    expect(verdict.left).toEqual({ held: 0, waiting: 0 });
    expect(desk.locks.lockUse()).toMatchObject({ held: 0, waiting: 0 });
    expect(desk.locks.getAllocations()).toEqual(new Map());
    expect(desk.locks.getWaitingRequests()).toEqual(new Map());
    expect(done).toHaveLength(AGENTS + rings.flat().length);
    expect(verdict.acquisitions).toBeGreaterThanOrEqual(ACQUISITIONS);
    expect(verdict.waitsWithTwoOrMore).toBeGreaterThan(1_000);
    // L7: so often, and then newcomers stay behind.
    expect(verdict.mostOvertaken).toBeGreaterThan(3);
    expect(verdict.mostOvertaken).toBeLessThanOrEqual(maxOvertakes);
    expect(verdict.barred).toBeGreaterThanOrEqual(barred);
    expect(verdict.resolved).toBe(verdict.deadlocks);
    expect(verdict.mostDefeatsInARow).toBeLessThanOrEqual(5);
    await desk.locks.shutdown();
    expect(
      isCoordinationError(await desk.locks.acquire('x').catch((error: unknown) => error), 'STOPPED'),
    ).toBe(true);
  },
);
