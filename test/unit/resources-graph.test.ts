import { describe, expect, test } from 'vitest';
import { MemoryLockStore } from '../../src/backends/memory/lock-store.ts';
import { createMemoryCore, MAX_IN_FLIGHT } from '../../src/backends/memory/memory-core.ts';
import type { DeadlockError } from '../../src/core/deadlock-error.ts';
import { isCoordinationError } from '../../src/core/errors.ts';
import { EventBus } from '../../src/core/event-bus.ts';
import { createOperations } from '../../src/core/operations.ts';
import type { Requirement, WaitSource } from '../../src/core/waits.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { SnapshotWaits } from '../../src/resources/snapshot-waits.ts';
import { ResourceManager } from '../../src/resources/resource-manager.ts';
import { REPORT } from '../../src/testing/suites/caller.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { createDesk } from '../support/locks/lock-desk.ts';
import { remoteLocks } from '../support/locks/remote-locks.ts';

const codeOf = (error: unknown): unknown => (isCoordinationError(error) ? error.code : error);

/** A source that a test fills by hand. */
function handmade(abortable = true): WaitSource & {
  readonly waits: Map<string, Requirement[]>;
  readonly victims: { readonly node: string; readonly error: DeadlockError }[];
} {
  const waits = new Map<string, Requirement[]>();
  const victims: { node: string; error: DeadlockError }[] = [];
  return {
    waits,
    victims,
    abortable,
    requirements: (node) => waits.get(node) ?? [],
    waiting: () => waits.keys(),
    abort(node, error) {
      victims.push({ node, error });
      return waits.delete(node);
    },
  };
}

const anyOf = (by: Requirement['by'], what: string, ...nodes: string[]): Requirement => ({
  by,
  what,
  blockers: nodes.map((node) => ({ node, frees: 1 })),
  needs: 1,
});

describe('one graph over every wait', () => {
  test('D2: a parent that waits for its child, which waits for a lock of the parent', async () => {
    const { locks, named } = createDesk();
    const children = handmade();
    locks.waits.addSource(children);
    await locks.acquireFor({ node: 'parent', agent: 'ann', priority: 2 }, ['file']);
    children.waits.set('parent', [anyOf('child', 'child', 'child')]);
    locks.waits.entered('parent');
    expect(named('deadlock:detected')).toEqual([]);
    const child = locks.acquireFor({ node: 'child', agent: 'bob', priority: 1 }, ['file']).catch(codeOf);
    expect(await child).toBe('DEADLOCK');
    expect(named('deadlock:detected')).toMatchObject([
      {
        victim: 'child',
        agents: ['bob', 'ann'],
        resources: ['file'],
        cycle: [
          { waiter: 'child', holder: 'parent', by: 'lock', what: 'file', agent: 'bob' },
          { waiter: 'parent', holder: 'child', by: 'child', what: 'child', agent: 'ann' },
        ],
      },
    ]);
  });

  test('D2: the same when the lock was waited for first and the other wait closes the cycle', async () => {
    const { locks } = createDesk();
    const replies = handmade();
    locks.waits.addSource(replies);
    await locks.acquire('file', 'asker', 9);
    const wait = locks.acquire('file', 'answerer', 1).catch(codeOf);
    replies.waits.set('asker', [anyOf('reply', 'question', 'answerer')]);
    locks.waits.entered('asker');
    expect(await wait).toBe('DEADLOCK');
    expect(replies.victims).toEqual([]);
  });

  test('a wait that must not be ended never is: the other one of the cycle ends', async () => {
    const { locks } = createDesk();
    const slots = handmade(false);
    locks.waits.addSource(slots);
    await locks.acquire('file', 'parent', 1);
    slots.waits.set('child', [anyOf('slot', 'agent-1', 'other', 'parent')]);
    const children = handmade();
    locks.waits.addSource(children);
    slots.waits.set('other', [anyOf('slot', 'agent-2', 'parent')]);
    children.waits.set('parent', [anyOf('child', 'child', 'child')]);
    locks.waits.entered('parent');
    expect(slots.victims).toEqual([]);
    expect(children.victims.map(({ node }) => node)).toEqual(['parent']);
  });

  test('sweep finds what a shrunken capacity closed', () => {
    const { locks } = createDesk();
    const slots = handmade();
    locks.waits.addSource(slots);
    slots.waits.set('a', [anyOf('slot', 'pool', 'b', 'free')]);
    slots.waits.set('b', [anyOf('slot', 'pool', 'a', 'free')]);
    locks.waits.sweep();
    expect(slots.victims).toEqual([]);
    slots.waits.set('a', [anyOf('slot', 'pool', 'b')]);
    slots.waits.set('b', [anyOf('slot', 'pool', 'a')]);
    slots.waits.set('bystander', [anyOf('slot', 'pool', 'a')]);
    locks.waits.sweep();
    expect(slots.victims).toHaveLength(1);
    expect(['a', 'b']).toContain(slots.victims[0]?.node);
  });

  test('D3: two independent cycles lose one wait each', () => {
    const { locks, named } = createDesk();
    const source = handmade();
    locks.waits.addSource(source);
    for (const [waiter, holder] of [
      ['a', 'b'],
      ['b', 'a'],
      ['c', 'd'],
      ['d', 'c'],
    ] as const)
      source.waits.set(waiter, [anyOf('declared', 'x', holder)]);
    locks.waits.sweep();
    expect(source.victims).toHaveLength(2);
    expect(new Set(source.victims.map(({ node }) => ('ab'.includes(node) ? 1 : 2))).size).toBe(2);
    expect(named('deadlock:detected')).toHaveLength(2);
  });

  test('a deadlock of waits that nobody reports the end of is resolved with the next look', () => {
    const { locks, named } = createDesk();
    const source = handmade();
    locks.waits.addSource(source);
    source.waits.set('a', [anyOf('reply', 'x', 'b')]);
    source.waits.set('b', [anyOf('reply', 'y', 'a')]);
    locks.waits.entered('b');
    const victim = source.victims[0]?.node as string;
    expect(named('deadlock:resolved')).toEqual([]);
    source.waits.delete(victim === 'a' ? 'b' : 'a');
    source.waits.set('z', [anyOf('reply', 'z', 'nobody')]);
    locks.waits.entered('z');
    expect(named('deadlock:resolved')).toMatchObject([{ victim }]);
  });

  test('a source that is taken out is not asked any more', () => {
    const { locks } = createDesk();
    const source = handmade();
    const added = locks.waits.addSource(source);
    source.waits.set('a', [anyOf('reply', 'x', 'a')]);
    added[Symbol.dispose]();
    locks.waits.entered('a');
    expect(source.victims).toEqual([]);
  });

  test('declared waits: a cycle through one is found; with abort it may be the victim', async () => {
    const { locks } = createDesk();
    await locks.acquire('file', 'ann', 5);
    const wait = locks.acquire('file', 'bob', 1).catch(codeOf);
    const declared = locks.waitsFor('ann', 'bob', 'a phone call');
    expect(await wait).toBe('DEADLOCK');
    declared[Symbol.dispose]();
    const second = locks.acquire('file', 'bob', 9);
    const errors: DeadlockError[] = [];
    locks.waitsFor('ann', 'bob', 'a phone call', { abort: (error) => void errors.push(error) });
    expect(errors).toHaveLength(1);
    expect(errors[0]?.cycle.map(({ by }) => by)).toEqual(['declared', 'lock']);
    await locks.release('file', 'ann');
    await second;
  });
});

describe('a store across a network', () => {
  /** Several processes on one store, with answers that take 5 ms. */
  function processes(count: number) {
    const clock = createTestClock();
    const core = createMemoryCore({ clock });
    const store = new MemoryLockStore(core);
    const desks = Array.from({ length: count }, (_, i) => {
      const runtime = createRuntime({ clock, random: createRandom(i) });
      const { session } = core.sessions.open({ boot: `p${i}`, leaseMs: 1e9, writer: 1, report: REPORT });
      const bus = new EventBus({ clock });
      const victims: string[] = [];
      bus.on('deadlock:detected', ({ victim }) => void victims.push(victim));
      const locks = new ResourceManager({}, bus, undefined, {
        runtime,
        store: remoteLocks(store, async (_label, call) => {
          await new Promise<void>((resolve) => void clock.after(5, resolve));
          return call();
        }),
        operations: createOperations(session, runtime, { maxInFlight: MAX_IN_FLIGHT }),
        onHint: (interest, listener) => core.hints.on(interest, listener),
      });
      return { locks, victims };
    });
    return { clock, store, desks };
  }

  test('D2: a cycle over two processes is found within a second, and one of the two loses', async () => {
    const { clock, store, desks } = processes(2);
    const [ann, bob] = desks.map(({ locks }) => locks) as [ResourceManager, ResourceManager];
    const first = [ann.acquire('a', 'ann'), bob.acquire('b', 'bob')];
    await clock.advance(20);
    await Promise.all(first);
    const waits = [ann.acquire('b', 'ann', 1), bob.acquire('a', 'bob', 3)].map((wait) => wait.catch(codeOf));
    await clock.advance(1_000);
    expect(await waits[0]).toBe('DEADLOCK');
    const release = ann.release('a', 'ann');
    await clock.advance(1_100);
    await release;
    expect(await waits[1]).toMatchObject({ owner: 'bob' });
    await clock.advance(3_000);
    expect(store.live.counts().waiting).toBe(0);
  });

  test('D3: two detectors with the same picture agree on the victim, and its wait is ended once', async () => {
    const { clock, store, desks } = processes(4);
    const names = ['ann', 'bob', 'cid', 'dee'];
    const took = desks.map(({ locks }, i) => locks.acquire(`r${i}`, names[i] as string));
    await clock.advance(20);
    await Promise.all(took);
    const outcomes: string[] = [];
    desks.forEach(({ locks }, i) => {
      const name = names[i] as string;
      void locks.acquire(`r${(i + 1) % 4}`, name, 1 + i).then(
        () => outcomes.push(`${name} granted`),
        (error: unknown) => outcomes.push(`${name} ${String(codeOf(error))}`),
      );
    });
    await clock.advance(1_200);
    expect(outcomes).toEqual(['ann DEADLOCK']);
    const release = desks[0]?.locks.releaseAllForAgent('ann');
    await clock.advance(1_500);
    await release;
    expect(outcomes).toEqual(['ann DEADLOCK', 'dee granted']);
    expect(store.live.counts().waiting).toBe(2);
  });

  test('D1: plain waiting over processes makes no victims, however long', async () => {
    const { clock, desks } = processes(3);
    const [a, b, c] = desks.map(({ locks }) => locks) as [ResourceManager, ResourceManager, ResourceManager];
    const held = a.acquire('x', 'ann');
    await clock.advance(20);
    const waits = [b.acquire('x', 'bob'), c.acquire('x', 'cid')];
    await clock.advance(10_000);
    expect(desks.flatMap(({ victims }) => victims)).toEqual([]);
    const release = (await held).release();
    await clock.advance(1_100);
    await release;
    await waits[0];
    void b.release('x', 'bob');
    await clock.advance(1_100);
    await waits[1];
  });

  test('a wait that is granted while nobody told us is noticed by asking', async () => {
    const { clock, desks } = processes(1);
    const { locks } = desks[0] as { locks: ResourceManager };
    const held = locks.acquire('x', 'ann');
    await clock.advance(20);
    const wait = locks.acquire('x', 'bob');
    await clock.advance(50);
    void (await held).release();
    await clock.advance(1_100);
    expect((await wait).owner).toBe('bob');
  });

  test('the snapshot reads the same waits as the live table', async () => {
    const { locks, store } = createDesk({ deadlockDetection: false });
    await locks.acquireAll(['a', { resource: 'doc', mode: 'shared' }], { owner: 'ann' });
    await locks.acquire({ semaphore: 'gpu', of: 2 }, { owner: 'bob' });
    const ignore = (wait: Promise<unknown>): void => void wait.catch(() => undefined);
    ignore(locks.acquire({ semaphore: 'gpu', of: 2, units: 2 }, { owner: 'ann' }));
    ignore(locks.acquire('a', 'bob'));
    ignore(locks.acquire('doc', { owner: 'cid' }));
    ignore(locks.acquire({ resource: 'doc', mode: 'shared' }, { owner: 'dee' }));
    ignore(locks.acquire({ path: 'src/**' }, { owner: 'eve' }));
    const waits = new SnapshotWaits(store.snapshot());
    for (const node of ['ann', 'bob', 'cid', 'dee', 'eve', 'nobody']) {
      const live = store.live.requirements(node);
      const read = waits.requirements(node);
      const shape = (needs: readonly Requirement[]): unknown =>
        needs.map(({ by, what, blockers }) => ({ by, what, nodes: new Set(blockers.map((b) => b.node)) }));
      expect(shape(read)).toEqual(shape(live));
      expect(waits.isWaiting(node)).toBe(store.live.isWaiting(node));
    }
  });
});
