import { describe, expect, test, vi } from 'vitest';
import type { Claim } from '../../src/core/ports/tasks.ts';
import { createMemoryTasks, type MemoryTasks, newTask } from '../support/memory-tasks.ts';

function chunked<T>(items: readonly T[], size = 1_000): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) =>
    items.slice(i * size, (i + 1) * size),
  );
}

function conserved(tasks: MemoryTasks): boolean {
  return tasks.store.counts().queues.every(({ states, totals }) => {
    const sum = Object.values(states).reduce((a, b) => a + b, 0);
    return sum + totals.pruned === totals.enqueued;
  });
}

describe('retention', () => {
  test('T9: at most keepEnded ended rows stay, the oldest go first, and every one is counted', () => {
    const tasks = createMemoryTasks({ keepEnded: 5 });
    for (let i = 0; i < 20; i++) {
      tasks.add(newTask(`t${i}`, { limits: { maxCrashes: 3, keepMs: i % 2 === 0 ? 1_000 : 900_000 } }));
      tasks.complete(tasks.claim());
      tasks.clock.tick(1);
      expect(conserved(tasks)).toBe(true);
    }
    const kept = tasks.store.list({}, { limit: 100 }).items.map(({ id }) => id);
    expect(kept).toEqual(['t19', 't18', 't17', 't16', 't15']);
    expect(tasks.store.counts().queues[0]?.totals.pruned).toBe(15);
    expect(tasks.add(newTask('t3', { payload: 'other' }))).toEqual(['ready']);
    expect(tasks.add(newTask('t19', { payload: 'other' }))).toEqual(['conflict']);
  });

  test('keepEnded 0 keeps nothing, and dependents are told all the same', () => {
    const tasks = createMemoryTasks({ keepEnded: 0 });
    tasks.add(
      newTask('a'),
      newTask('b', { dependsOn: [{ parent: 'a', onFailure: 'cancel' }] }),
      newTask('c', { parent: 'a' }),
    );
    const [a] = tasks.claim({ limit: 1 });
    expect(tasks.complete([a as Claim]).readied.map(({ task }) => task)).toEqual(['b']);
    expect(tasks.store.get(['a'])).toEqual([undefined]);
    expect(conserved(tasks)).toBe(true);
  });

  test('rows with many different times are kept at least as long as they say', () => {
    const tasks = createMemoryTasks();
    const times = Array.from({ length: 200 }, (_, i) => 1_000 + i * 10);
    tasks.add(...times.map((keepMs, i) => newTask(`t${i}`, { limits: { maxCrashes: 0, keepMs } })));
    tasks.complete(tasks.claim());
    tasks.clock.tick(1_500);
    tasks.sweepAll();
    const left = new Set(tasks.store.list({}, { limit: 1_000 }).items.map(({ id }) => id));
    for (const [i, keepMs] of times.entries()) if (keepMs > 1_500) expect(left.has(`t${i}`)).toBe(true);
    expect(left.has('t0')).toBe(false);
    tasks.clock.tick(5_000);
    tasks.sweepAll();
    expect(tasks.store.list({}, { limit: 10 }).items).toEqual([]);
  });

  test('with keepMs 0 local object, payload and result are let go when the task ends', () => {
    const tasks = createMemoryTasks();
    const local = { handle: 1 };
    tasks.add(
      newTask('a', { local, payload: 'big' }),
      newTask('b', { local, payload: 'big', limits: { maxCrashes: 0, keepMs: 0 } }),
    );
    expect(tasks.store.get(['a'])[0]?.local).toBe(local);
    tasks.complete(tasks.claim());
    const [a, b] = tasks.store.get(['a', 'b']);
    expect([a?.local, b?.local]).toEqual([local, undefined]);
    expect([a?.body.payload, b?.body.payload]).toEqual(['big', undefined]);
    const [again] = tasks.store.enqueue(tasks.op(), [newTask('a', { payload: 'big' })]).results;
    expect(again).toEqual({ status: 'duplicate', id: 'a', state: 'completed', replaced: false, local });
  });

  test('tombstones of tasks with keepMs 0 go after their time', () => {
    const tasks = createMemoryTasks({ tombstoneMs: 500 });
    tasks.add(newTask('a', { key: 'k', limits: { maxCrashes: 0, keepMs: 0 } }));
    tasks.complete(tasks.claim());
    expect(tasks.store.sweep(tasks.op(), 10)).toMatchObject({ pruned: 0, nextInMs: 500 });
    tasks.clock.tick(500);
    expect(tasks.store.sweep(tasks.op(), 10)).toMatchObject({
      pruned: 1,
      nextInMs: Number.POSITIVE_INFINITY,
    });
  });
});

describe('history', () => {
  test('keeps the newest transitions; a cursor into what is gone goes on with what is left', () => {
    const tasks = createMemoryTasks({ history: 600 });
    const first = tasks.store.history({}, { limit: 10 });
    expect(first.items).toEqual([]);
    for (let i = 0; i < 400; i++) tasks.add(newTask(`t${i}`));
    const page = tasks.store.history({}, { limit: 3 });
    expect(page.items.map(({ task }) => task)).toEqual(['t0', 't1', 't2']);
    for (let i = 400; i < 1_000; i++) tasks.add(newTask(`t${i}`));
    const after = page.next;
    if (after === undefined) throw new Error('no cursor');
    const rest = tasks.store.history({}, { limit: 1_000, after });
    expect(rest.items.map(({ task }) => task)).toEqual(Array.from({ length: 600 }, (_, i) => `t${i + 400}`));
    expect(
      rest.items.every(({ from, to, attempt }) => from === 'new' && to === 'ready' && attempt === 0),
    ).toBe(true);
  });
});

describe('hints', () => {
  test('one a queue and call when something becomes ready, none when nobody listens', async () => {
    const tasks = createMemoryTasks();
    const send = vi.spyOn(tasks.core.hints, 'send');
    tasks.add(newTask('unheard'));
    expect(send).not.toHaveBeenCalled();
    const heard: string[] = [];
    using _listener = tasks.core.hints.on([{ about: 'tasks', queue: '*' }], (hint) => {
      if (hint.about === 'tasks') heard.push(hint.queue);
    });
    tasks.add(
      newTask('a'),
      newTask('b'),
      newTask('r', { queue: 'other' }),
      newTask('late', { queue: 'third', delayMs: 50 }),
    );
    expect(send).toHaveBeenCalledTimes(2);
    await tasks.clock.settle();
    expect(heard).toEqual(['q', 'other']);
    tasks.add(newTask('c'));
    await tasks.clock.settle();
    expect(heard).toEqual(['q', 'other', 'q']);
    tasks.clock.tick(50);
    tasks.sweepAll();
    await tasks.clock.settle();
    expect(heard.at(-1)).toBe('third');
  });

  test('orders are hinted at', async () => {
    const tasks = createMemoryTasks();
    let orders = 0;
    using _listener = tasks.core.hints.on([{ about: 'orders' }], () => {
      orders += 1;
    });
    tasks.add(newTask('a'));
    tasks.claim();
    tasks.store.cancel(tasks.op(), [{ task: 'a', reason: 'r', tree: false, revoke: false }]);
    await tasks.clock.settle();
    expect(orders).toBe(1);
  });
});

describe('large graphs', () => {
  test('a chain of 100,000 completes and cascades without recursion', () => {
    const size = 100_000;
    for (const end of ['complete', 'bury'] as const) {
      const tasks = createMemoryTasks({ keepEnded: size, history: 10 });
      const chain = Array.from({ length: size }, (_, i) =>
        newTask(`t${i}`, { dependsOn: i === 0 ? [] : [{ parent: `t${i - 1}`, onFailure: 'cancel' }] }),
      );
      for (const batch of chunked(chain)) tasks.add(...batch);
      const [first] = tasks.claim();
      if (end === 'bury') tasks.bury(first as Claim);
      else {
        for (let claims: readonly Claim[] = [first as Claim]; claims.length > 0; claims = tasks.claim())
          tasks.complete(claims);
      }
      tasks.sweepAll();
      const states = tasks.store.counts().queues[0]?.states;
      expect([states?.completed, states?.dead, states?.cancelled, states?.waiting]).toEqual(
        end === 'complete' ? [size, 0, 0, 0] : [0, 1, size - 1, 0],
      );
    }
  });

  test('100,000 forward references, enqueued from the last to the first, cost no search each', () => {
    const size = 100_000;
    const tasks = createMemoryTasks({ history: 10 });
    const chain = Array.from({ length: size }, (_, i) =>
      newTask(`t${i}`, { dependsOn: i === size - 1 ? [] : [{ parent: `t${i + 1}`, onFailure: 'cancel' }] }),
    );
    for (const batch of chunked(chain)) tasks.add(...batch);
    const states = tasks.store.counts().queues[0]?.states;
    expect([states?.waiting, states?.ready]).toEqual([size - 1, 1]);
  });

  test('10,000 children of one parent, and one child of 10,000 parents', () => {
    const tasks = createMemoryTasks({ keepEnded: 100_000 });
    const ids = Array.from({ length: 10_000 }, (_, i) => `c${i}`);
    tasks.add(newTask('root'));
    for (const batch of chunked(ids))
      tasks.add(...batch.map((id) => newTask(id, { dependsOn: [{ parent: 'root', onFailure: 'cancel' }] })));
    tasks.add(newTask('join', { dependsOn: ids.map((parent) => ({ parent, onFailure: 'continue' })) }));
    expect(tasks.store.get(['join'])[0]?.waitingFor).toHaveLength(20);
    expect(tasks.store.get(['join'])[0]?.waitingCount).toBe(10_000);
    const { readied, more } = tasks.complete(tasks.claim());
    expect([readied.length, more]).toEqual([1_000, true]);
    tasks.sweepAll();
    for (let claims = tasks.claim(); claims.length > 0 && claims[0]?.task !== 'join'; claims = tasks.claim())
      tasks.complete(claims);
    expect(tasks.store.get(['join'])[0]?.state).toBe('claimed');
  });

  test('placeholders go with the last task that waits for them', () => {
    const tasks = createMemoryTasks();
    for (let i = 0; i < 500; i++) {
      tasks.add(
        newTask(`t${i}`, {
          dependsOn: [
            { parent: `ghost${i}`, onFailure: 'cancel' },
            { parent: 'ghost', onFailure: 'wait' },
          ],
        }),
      );
    }
    tasks.store.cancel(
      tasks.op(),
      Array.from({ length: 499 }, (_, i) => ({ task: `t${i}`, reason: 'r', tree: false, revoke: false })),
    );
    tasks.add(newTask('ghost'), newTask('ghost499'));
    const { readied } = tasks.complete(tasks.claim());
    expect(readied.map(({ task }) => task)).toEqual(['t499']);
  });
});

describe('claims', () => {
  test('100 agents with thousands of classes nobody serves: what can run is found', () => {
    const tasks = createMemoryTasks();
    const junk = Array.from({ length: 5_000 }, (_, i) =>
      newTask(`junk${i}`, { capabilities: [`c${i}`], type: `type${i % 50}` }),
    );
    for (const batch of chunked(junk)) tasks.add(...batch);
    tasks.add(newTask('wanted', { capabilities: ['x'] }));
    const offers = Array.from({ length: 100 }, (_, i) => ({
      capabilities: [`a${i}`, ...(i === 60 ? ['x'] : [])],
      slots: 1,
    }));
    expect(tasks.claim({ offers, limit: 10 }).map(({ task }) => task)).toEqual(['wanted']);
  });

  test('capability sets, groups and agents that come and go leave nothing behind', () => {
    const tasks = createMemoryTasks({ keepEnded: 10, history: 10 });
    for (let i = 0; i < 3_000; i++) {
      tasks.add(
        newTask(`a${i}`, { capabilities: [`c${i}`], group: `g${i}` }),
        newTask(`b${i}`, { agent: `agent${i}` }),
        newTask(`d${i}`, { type: `type${i}` }),
      );
      const claims = tasks.claim({
        offers: [{ capabilities: [`c${i}`], slots: 9 }],
        agents: [`agent${i}`],
        assigned: 9,
      });
      expect(claims).toHaveLength(3);
      tasks.complete(claims);
    }
    expect(conserved(tasks)).toBe(true);
    tasks.add(newTask('last', { capabilities: ['c5'], group: 'g5' }));
    expect(tasks.claim({ offers: [{ capabilities: ['c5'], slots: 1 }] })).toHaveLength(1);
  });

  test('tasks from before a new ageing step are found after a thousand other classes came', () => {
    const tasks = createMemoryTasks();
    tasks.add(newTask('old', { capabilities: ['x'] }), newTask('older', { agent: 'ann' }));
    tasks.store.configure(tasks.op(), 'q', undefined, { paused: false, ageStepMs: 5 });
    for (let i = 0; i < 1_000; i++) tasks.add(newTask(`t${i}`, { capabilities: [`c${i}`], group: `g${i}` }));
    const claims = tasks.claim({ offers: [{ capabilities: ['x'], slots: 9 }], agents: ['ann'], assigned: 9 });
    expect(claims.map(({ task }) => task)).toEqual(['old', 'older']);
  });

  test('a list of capabilities that its owner has changed counts as it is now', () => {
    const tasks = createMemoryTasks();
    const capabilities = ['a'];
    tasks.add(newTask('b', { capabilities: ['b'] }));
    expect(tasks.claim({ offers: [{ capabilities, slots: 1 }] })).toHaveLength(0);
    capabilities.push('b');
    expect(tasks.claim({ offers: [{ capabilities, slots: 1 }] })).toHaveLength(1);
  });
});

describe('sessions', () => {
  test('a cancel request follows a claim into another session, and what depends on it is told of the end', () => {
    const tasks = createMemoryTasks();
    const other = tasks.another('other');
    const local = {};
    tasks.add(
      newTask('a', { local, agent: 'ann' }),
      newTask('b', { dependsOn: [{ parent: 'a', onFailure: 'skip' }] }),
    );
    const request = { offers: [], agents: ['ann'], assigned: 1, limit: 0, start: 0 };
    const { claims } = tasks.store.claim(other.op(), request);
    tasks.store.start(other.op(), claims);
    tasks.store.cancel(tasks.op(), [{ task: 'a', reason: 'r', tree: false, revoke: false }]);
    tasks.core.sessions.close(other.session);
    const [taken] = tasks.store.takeover(tasks.op(), {
      from: 'dead',
      match: 'any',
      limit: 1,
      maxMoves: 3,
      steal: 's',
    }).claims;
    expect(taken?.local).toBe(local);
    const settled = tasks.store.settle(tasks.op(), [
      { claim: taken as Claim, as: 'release', delayMs: 0, reason: 'r', refundAttempt: true },
    ]);
    expect(settled.results).toEqual([{ status: 'settled', state: 'cancelled' }]);
    expect(settled.ended.map(({ task, state }) => [task, state])).toEqual([['b', 'skipped']]);
  });

  test('while others hold claims the next sweep is at most a second away', () => {
    const tasks = createMemoryTasks();
    const other = tasks.another('other');
    tasks.add(newTask('a'), newTask('b'));
    tasks.claim({ limit: 1 });
    expect(tasks.store.sweep(tasks.op(), 10).nextInMs).toBe(Number.POSITIVE_INFINITY);
    tasks.store.claim(other.op(), {
      offers: [{ capabilities: [], slots: 1 }],
      agents: [],
      assigned: 0,
      limit: 1,
      start: 1,
    });
    expect(tasks.store.sweep(tasks.op(), 10).nextInMs).toBe(1_000);
  });
});

describe('bounds', () => {
  test('a hundred thousand cancelled ready tasks, and changes of priority, leave the rest in order', () => {
    const tasks = createMemoryTasks({ keepEnded: 100 });
    const ids = Array.from({ length: 20_000 }, (_, i) => `t${i}`);
    for (const batch of chunked(ids)) tasks.add(...batch.map((id) => newTask(id)));
    for (const batch of chunked(ids.filter((_, i) => i % 10 !== 0))) {
      tasks.store.cancel(
        tasks.op(),
        batch.map((task) => ({ task, reason: 'r', tree: false, revoke: false })),
      );
    }
    const left = ids.filter((_, i) => i % 10 === 0);
    expect(
      tasks.claim({ limit: 2_000, offers: [{ capabilities: [], slots: 2_000 }] }).map(({ task }) => task),
    ).toEqual(left);
    expect(conserved(tasks)).toBe(true);
  });

  test('1,000 delayed tasks are readied by sweeps of 100, in order of their time', () => {
    const tasks = createMemoryTasks();
    const ids = Array.from({ length: 1_000 }, (_, i) => `t${i}`);
    tasks.add(...ids.map((id, i) => newTask(id, { delayMs: 1 + ((i * 7_919) % 1_000) })));
    tasks.clock.tick(2_000);
    const seen: string[] = [];
    for (let more = true; more; ) {
      const swept = tasks.store.sweep(tasks.op(), 100);
      expect(swept.readied.length).toBeLessThanOrEqual(100);
      seen.push(...swept.readied.map(({ task }) => task));
      more = swept.more;
    }
    expect(seen).toEqual(
      ids.toSorted((a, b) => ((Number(a.slice(1)) * 7_919) % 1_000) - ((Number(b.slice(1)) * 7_919) % 1_000)),
    );
  });
});
