import { describe, expect, test } from 'vitest';
import type { ConflictRecord, Resolution } from '../../src/core/coordination-types.ts';
import { EventBus } from '../../src/core/event-bus.ts';
import type { CoordinationEvent } from '../../src/core/events.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import type { ConflictFacts } from '../../src/conflicts/conflict-facts.ts';
import { ConflictResolver, type ConflictResolverParts } from '../../src/conflicts/conflict-resolver.ts';
import { defineConflictStrategy, type ConflictStrategy } from '../../src/conflicts/conflict-strategy.ts';
import { PriorityResolutionStrategy } from '../../src/conflicts/strategies/priority-resolution-strategy.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

function createResolver(parts: Omit<ConflictResolverParts, 'runtime'> = {}) {
  const clock = createTestClock();
  const bus = new EventBus({ clock });
  const events: CoordinationEvent[] = [];
  bus.tap((event) => void events.push(event));
  const runtime = createRuntime({ clock, random: createRandom(3) });
  const resolver = new ConflictResolver(undefined, bus, { ...parts, runtime });
  const named = (name: string) => events.filter((event) => event.name === name).map(({ payload }) => payload);
  return { resolver, clock, bus, events, named };
}

const priorities = (...entries: [string, number][]): ConflictFacts => ({ agentPriorities: new Map(entries) });

describe('ConflictResolver', () => {
  test('the documented sample runs as written', async () => {
    const resolver = new ConflictResolver(undefined, new EventBus());
    resolver.registerStrategy(new PriorityResolutionStrategy());
    const conflict = await resolver.reportResourceConflict('shared-file', ['agent1', 'agent2', 'agent3']);
    const resolution = await resolver.resolveConflict(conflict.id, 'priority', {
      agentPriorities: new Map([
        ['agent1', 10],
        ['agent2', 5],
      ]),
    });
    expect(resolution.winner).toBe('agent1');
    expect(resolution.losers).toEqual(['agent2', 'agent3']);
  });

  test('reports and resolutions are events with plain data', async () => {
    const { resolver, clock, events } = createResolver();
    const record = await resolver.reportTaskConflict('t1', ['a', 'b'], 'assignment');
    clock.tick(5);
    const resolution = await resolver.resolveConflict(record.id, 'priority', priorities(['b', 1]));
    expect(
      events.map(({ name, payload }) => ({ name, payload: JSON.parse(JSON.stringify(payload)) as unknown })),
    ).toEqual([
      {
        name: 'conflict:reported',
        payload: { conflictId: record.id, kind: 'assignment', subject: 't1', agents: ['a', 'b'] },
      },
      { name: 'conflict:resolved', payload: { conflict: { ...record, resolved: true }, resolution } },
    ]);
    expect(resolution).toEqual({
      conflictId: record.id,
      type: 'priority',
      winner: 'b',
      losers: ['a'],
      reason: 'highest priority, 1',
      at: record.at + 5,
    });
    expect(resolver.getStats()).toEqual({
      active: 0,
      resolved: 1,
      escalated: 0,
      failed: 0,
      byKind: { resource: 0, assignment: 1, dependency: 0, output: 0, version: 0 },
      byStrategy: { priority: 1 },
      meanResolutionMs: 5,
    });
  });

  test('duplicate agents count once; the same report while open is the same conflict, afterwards a new one', async () => {
    const { resolver, named } = createResolver();
    const first = await resolver.reportResourceConflict('file', ['a', 'b', 'a']);
    expect(first.agents).toEqual(['a', 'b']);
    expect(await resolver.reportResourceConflict('file', ['b', 'a'])).toBe(first);
    expect((await resolver.reportVersionConflict('file', ['b', 'a'])).id).not.toBe(first.id);
    await resolver.resolveConflict(first.id, 'priority', priorities(['a', 1]));
    expect((await resolver.reportResourceConflict('file', ['a', 'b'])).id).not.toBe(first.id);
    expect(named('conflict:reported')).toHaveLength(3);
  });

  test('resolving again: the same strategy gives the first resolution, another is refused', async () => {
    const { resolver, named } = createResolver();
    const { id } = await resolver.reportResourceConflict('file', ['a', 'b']);
    const first = await resolver.resolveConflict(id, 'priority', priorities(['a', 1]));
    expect(await resolver.resolveConflict(id, 'priority', priorities(['b', 9]))).toBe(first);
    expect(await resolver.autoResolve(id)).toBe(first);
    await expect(resolver.resolveConflict(id, 'vote')).rejects.toMatchObject({ code: 'CONFLICT_RESOLVED' });
    expect(named('conflict:resolved')).toHaveLength(1);
  });

  test('a strategy under the name of a built-in replaces it', async () => {
    const { resolver } = createResolver();
    resolver.registerStrategy(
      defineConflictStrategy({
        name: 'priority',
        resolve: ({ agents }) => ({ winner: agents[1] as string, reason: 'mine' }),
      }),
    );
    const { id } = await resolver.reportResourceConflict('file', ['a', 'b']);
    expect(await resolver.resolveConflict(id, 'priority', priorities(['a', 9]))).toMatchObject({
      winner: 'b',
      reason: 'mine',
    });
  });

  test('merge resolves a version conflict with what all wrote', async () => {
    const { resolver } = createResolver();
    const { id } = await resolver.reportVersionConflict('readme', ['a', 'b'], {
      contents: {
        base: 'x\ny\nz\n',
        theirs: new Map([
          ['a', 'X\ny\nz\n'],
          ['b', 'x\ny\nZ\n'],
        ]),
      },
    });
    expect(await resolver.autoResolve(id)).toMatchObject({ type: 'merge', winner: 'a', merged: 'X\ny\nZ\n' });
  });
});

describe('ConflictResolver, what the mesh knows and does', () => {
  test('autoResolve decides from the facts that are read, and what they suffice for', async () => {
    const seen: ConflictRecord[] = [];
    let known: ConflictFacts = {};
    const { resolver } = createResolver({
      facts: (conflict) => {
        seen.push(conflict);
        return Promise.resolve(known);
      },
    });
    const decide = async (facts: ConflictFacts): Promise<string> => {
      known = facts;
      const { id } = await resolver.reportResourceConflict('file', ['a', 'b', 'c']);
      const { type, winner } = await resolver.autoResolve(id);
      return `${type}: ${winner}`;
    };
    const ranked = priorities(['a', 0], ['b', 3], ['c', -1], ['stranger', 99]);
    expect(await decide(ranked)).toBe('priority: b');
    expect(
      await decide({
        requestTimestamps: new Map([
          ['a', new Date(3)],
          ['b', new Date(2)],
          ['c', new Date(1)],
        ]),
      }),
    ).toBe('timestamp: c');
    expect(await decide({ ...ranked, votes: new Map([['c', ['v']]]) })).toBe('vote: c');
    expect(
      await decide({
        ...ranked,
        versions: new Map([
          ['a', 1],
          ['b', 2],
          ['c', 3],
        ]),
      }),
    ).toBe('optimistic-version: c');
    expect(seen.map(({ subject }) => subject)).toEqual(['file', 'file', 'file', 'file']);
  });

  test('without facts it escalates and invents nothing', async () => {
    const { resolver, named } = createResolver();
    const { id } = await resolver.reportResourceConflict('file', ['a', 'b']);
    await expect(resolver.autoResolve(id)).rejects.toMatchObject({ code: 'CONFLICT_ESCALATED' });
    await expect(resolver.autoResolve(id, 'priority')).rejects.toMatchObject({ code: 'CONFLICT_ESCALATED' });
    await expect(resolver.resolveConflict(id, 'merge')).rejects.toMatchObject({ code: 'CONFLICT_ESCALATED' });
    expect(named('conflict:escalated')).toEqual([
      { conflictId: id, reason: 'nothing is known that could decide it' },
      { conflictId: id, reason: "priority: no agent's priority is known" },
      { conflictId: id, reason: 'merge: the texts are not known' },
    ]);
    expect(resolver.getActiveConflicts()).toHaveLength(1);
    expect((await resolver.resolveConflict(id, 'priority', priorities(['b', 1]))).winner).toBe('b');
  });

  const partial: readonly (readonly [string, ConflictFacts, string])[] = [
    ['priority', priorities(['a', -5]), 'the priority of b, c is not known'],
    ['priority', priorities(['c', 9], ['a', 1]), 'the priority of b is not known'],
    [
      'timestamp',
      {
        requestTimestamps: new Map([
          ['a', 1],
          ['b', 2],
        ]),
      },
      'the time of the request of c is not known',
    ],
    [
      'optimistic-version',
      { versions: new Map([['b', 2]]), currentVersion: 2 },
      'the version of a, c is not known',
    ],
  ];
  test.each(partial)(
    'autoResolve: a %s that some agents lack decides nothing: it escalates',
    async (...given) => {
      const [strategy, facts, reason] = given;
      for (const asked of [undefined, strategy]) {
        const { resolver, named } = createResolver({ facts: () => facts });
        const { id } = await resolver.reportVersionConflict('file', ['a', 'b', 'c']);
        await expect(resolver.autoResolve(id, asked)).rejects.toMatchObject({
          code: 'CONFLICT_ESCALATED',
          hint: expect.stringContaining('given to resolveConflict') as string,
        });
        expect(named('conflict:escalated')).toEqual([{ conflictId: id, reason: `${strategy}: ${reason}` }]);
        expect(resolver.getStats()).toMatchObject({ active: 1, resolved: 0, escalated: 1 });
        // Whoever gives the facts decides: there the documented rules for agents that are missing hold.
        expect(await resolver.resolveConflict(id, strategy, facts)).toMatchObject({ type: strategy });
      }
    },
  );

  test('autoResolve: one strategy that some agents lack the facts of leaves it to the next', async () => {
    const requestTimestamps = new Map([
      ['a', 2],
      ['b', 1],
    ]);
    const { resolver } = createResolver({ facts: () => ({ ...priorities(['a', 9]), requestTimestamps }) });
    const { id } = await resolver.reportResourceConflict('file', ['a', 'b']);
    expect(await resolver.autoResolve(id)).toMatchObject({ type: 'timestamp', winner: 'b' });
  });

  test('autoResolve: priorities that were reported join those that are known and win over them; times do not', async () => {
    const facts = {
      ...priorities(['a', 5], ['b', 1]),
      requestTimestamps: new Map([
        ['a', 1],
        ['b', 2],
        ['c', 3],
      ]),
    };
    const { resolver } = createResolver({ facts: () => facts });
    const reported = { ...priorities(['a', 0], ['c', 2]), requestTimestamps: new Map([['c', -1]]) };
    const { id } = await resolver.reportResourceConflict('file', ['a', 'b', 'c'], reported);
    await expect(resolver.autoResolve(id, 'timestamp')).rejects.toMatchObject({ code: 'CONFLICT_ESCALATED' });
    expect(await resolver.autoResolve(id)).toMatchObject({
      winner: 'c',
      reason: 'highest priority, 2',
    });
  });

  test('an escalation says which facts the strategy decides from', async () => {
    const { resolver } = createResolver();
    const { id } = await resolver.reportResourceConflict('file', ['a', 'b']);
    await expect(resolver.resolveConflict(id, 'merge')).rejects.toMatchObject({
      hint: expect.stringContaining('{ contents: { base, theirs: Map } }') as string,
    });
    await expect(resolver.resolveConflict(id, 'priority')).rejects.toMatchObject({
      hint: expect.stringContaining('{ agentPriorities: Map }') as string,
    });
  });

  test('when one strategy escalates the next one that has facts decides', async () => {
    const { resolver } = createResolver({ facts: () => priorities(['a', 0], ['b', 1]) });
    const { id } = await resolver.reportVersionConflict('readme', ['a', 'b'], {
      contents: {
        base: 'x\n',
        theirs: new Map([
          ['a', 'A\n'],
          ['b', 'B\n'],
        ]),
      },
    });
    expect(await resolver.autoResolve(id)).toMatchObject({ type: 'priority', winner: 'b' });
  });

  test('a resolution is applied before it counts', async () => {
    const applied: [Resolution, ConflictRecord][] = [];
    const { resolver, events } = createResolver({
      apply: (resolution, conflict) => {
        expect(events.map(({ name }) => name)).toEqual(['conflict:reported']);
        applied.push([resolution, conflict]);
      },
    });
    const record = await resolver.reportResourceConflict('file', ['a', 'b']);
    const resolution = await resolver.resolveConflict(record.id, 'priority', priorities(['a', 1]));
    expect(applied).toEqual([[resolution, record]]);
  });

  test.each([
    [
      'throws',
      () => {
        throw new Error('lock is gone');
      },
    ],
    ['rejects', () => Promise.reject(new Error('lock is gone'))],
  ])(
    'apply that %s leaves the conflict open, with the cause',
    async (_title, apply: () => void | Promise<void>) => {
      let broken = true;
      const { resolver, named } = createResolver({ apply: () => (broken ? apply() : undefined) });
      const { id } = await resolver.reportResourceConflict('file', ['a', 'b']);
      const attempt = resolver.resolveConflict(id, 'priority', priorities(['a', 1]));
      await expect(attempt).rejects.toMatchObject({
        code: 'CONFLICT_UNRESOLVED',
        cause: new Error('lock is gone'),
      });
      expect(resolver.getActiveConflicts().map((record) => record.id)).toEqual([id]);
      expect(named('conflict:resolved')).toEqual([]);
      broken = false;
      expect((await resolver.resolveConflict(id, 'priority', priorities(['a', 1]))).winner).toBe('a');
    },
  );

  test('a function that never settles is given up after the time limit', async () => {
    const { resolver, clock } = createResolver({ apply: () => new Promise(() => undefined), timeoutMs: 50 });
    const { id } = await resolver.reportResourceConflict('file', ['a', 'b']);
    const attempt = resolver.resolveConflict(id, 'priority', priorities(['a', 1]));
    const refused = expect(attempt).rejects.toMatchObject({
      code: 'CONFLICT_UNRESOLVED',
      cause: { code: 'TIMEOUT' },
    });
    await clock.advance(50);
    await refused;
    expect(clock.nextDue()).toBe(Infinity);
  });

  test('facts that can not be read leave the conflict open', async () => {
    const broken = createResolver({ facts: () => Promise.reject(new Error('down')) }).resolver;
    const wrong = createResolver({ facts: () => ({ agentPriorities: { a: 1 } }) as never }).resolver;
    for (const resolver of [broken, wrong]) {
      const { id } = await resolver.reportResourceConflict('file', ['a', 'b']);
      await expect(resolver.autoResolve(id)).rejects.toMatchObject({ code: 'CONFLICT_UNRESOLVED' });
      expect(resolver.getActiveConflicts()).toHaveLength(1);
    }
  });
});

describe('ConflictResolver, bad strategies', () => {
  const bad: readonly (readonly [string, ConflictStrategy['resolve']])[] = [
    [
      'throws',
      () => {
        throw new Error('bug');
      },
    ],
    ['rejects', () => Promise.reject(new Error('bug'))],
    [
      'throws a non-error',
      () => {
        throw 'bug';
      },
    ], // oxlint-disable-line no-throw-literal, only-throw-error
    ['names a stranger', () => ({ winner: 'stranger', reason: '' })],
    ['names an inherited property', () => ({ winner: 'constructor', reason: '' })],
    ['names nobody', () => ({ reason: '' }) as never],
    ['answers with a string', () => 'a' as never],
    ['answers with null', () => null as never],
    ['merges to a number', () => ({ winner: 'a', reason: '', merged: 7 }) as never],
    [
      'answers with a hostile proxy',
      () =>
        new Proxy(
          {},
          {
            get: () => {
              throw new Error('no');
            },
          },
        ) as never,
    ],
  ];

  test.each(bad)('one that %s is a coded error and the conflict stays open', async (_title, resolve) => {
    const { resolver, named } = createResolver();
    resolver.registerStrategy({ name: 'bad', resolve });
    const { id } = await resolver.reportResourceConflict('file', ['a', 'b']);
    await expect(resolver.resolveConflict(id, 'bad')).rejects.toMatchObject({ code: 'CONFLICT_UNRESOLVED' });
    expect(resolver.getStats()).toMatchObject({ active: 1, resolved: 0, failed: 1 });
    expect(named('conflict:resolved')).toEqual([]);
  });

  test.each(bad)(
    'G5: one that %s under the name of a built-in is passed over by autoResolve, and reported',
    async (_title, resolve) => {
      const { resolver, named } = createResolver({
        facts: () => ({
          ...priorities(['a', 1], ['b', 0]),
          requestTimestamps: new Map([
            ['a', 2],
            ['b', 1],
          ]),
        }),
      });
      resolver.registerStrategy({ name: 'priority', resolve });
      const { id } = await resolver.reportResourceConflict('file', ['a', 'b']);
      expect(await resolver.autoResolve(id)).toMatchObject({ type: 'timestamp', winner: 'b' });
      expect(named('strategy:failed')).toMatchObject([{ strategy: 'priority' }]);
    },
  );

  test('one that answers undefined escalates', async () => {
    const { resolver } = createResolver();
    resolver.registerStrategy({ name: 'shrug', resolve: () => undefined });
    const { id } = await resolver.reportResourceConflict('file', ['a', 'b']);
    await expect(resolver.resolveConflict(id, 'shrug')).rejects.toMatchObject({ code: 'CONFLICT_ESCALATED' });
  });

  test('a strategy can not change the record or the facts of others', async () => {
    const { resolver } = createResolver();
    const agentPriorities = new Map([['a', 1]]);
    resolver.registerStrategy({
      name: 'greedy',
      resolve: (conflict, facts) => {
        (facts.agentPriorities as Map<string, number>).set('a', -9);
        (conflict.agents as string[]).push('me');
        return { winner: 'me', reason: '' };
      },
    });
    const { id } = await resolver.reportResourceConflict('file', ['a', 'b']);
    await expect(resolver.resolveConflict(id, 'greedy', { agentPriorities })).rejects.toMatchObject({
      code: 'CONFLICT_UNRESOLVED',
    });
    expect(agentPriorities).toEqual(new Map([['a', 1]]));
    expect(resolver.getActiveConflicts()[0]?.agents).toEqual(['a', 'b']);
  });
});

describe('ConflictResolver, bad input', () => {
  const calls: readonly (readonly [string, string, (resolver: ConflictResolver, id: string) => unknown])[] = [
    ['one agent', 'INVALID_ARGUMENT', (r) => r.reportResourceConflict('x', ['a'])],
    ['one agent twice', 'INVALID_ARGUMENT', (r) => r.reportResourceConflict('x', ['a', 'a'])],
    ['no agents', 'INVALID_ARGUMENT', (r) => r.reportResourceConflict('x', [])],
    ['agents that are a string', 'INVALID_ARGUMENT', (r) => r.reportResourceConflict('x', 'ab' as never)],
    [
      'a hole among the agents',
      'INVALID_ARGUMENT',
      (r) => r.reportResourceConflict('x', ['a', undefined as never]),
    ],
    ['an empty resource', 'INVALID_ARGUMENT', (r) => r.reportResourceConflict('', ['a', 'b'])],
    [
      'an id of 1,000 characters',
      'INVALID_ARGUMENT',
      (r) => r.reportVersionConflict('x'.repeat(1_000), ['a', 'b']),
    ],
    [
      'a kind nobody knows',
      'INVALID_ARGUMENT',
      (r) => r.reportTaskConflict('t', ['a', 'b'], 'mood' as never),
    ],
    [
      'facts that are null',
      'INVALID_ARGUMENT',
      (r) => r.reportResourceConflict('x', ['a', 'b'], null as never),
    ],
    ['an unknown conflict', 'UNKNOWN_CONFLICT', (r) => r.resolveConflict('nobody', 'priority')],
    ['an unknown conflict, automatic', 'UNKNOWN_CONFLICT', (r) => r.autoResolve('__proto__')],
    ['a conflict id that is a number', 'INVALID_ARGUMENT', (r) => r.autoResolve(7 as never)],
    ['an unknown strategy', 'UNKNOWN_STRATEGY', (r, id) => r.resolveConflict(id, 'dice')],
    ['a strategy called toString', 'UNKNOWN_STRATEGY', (r, id) => r.resolveConflict(id, 'toString')],
    ['an unknown strategy, automatic', 'UNKNOWN_STRATEGY', (r, id) => r.autoResolve(id, 'dice')],
    [
      'priorities that are an object',
      'INVALID_ARGUMENT',
      (r, id) => r.resolveConflict(id, 'priority', { agentPriorities: { a: 1 } as never }),
    ],
    [
      'a priority of NaN',
      'INVALID_ARGUMENT',
      (r, id) => r.resolveConflict(id, 'priority', priorities(['a', Number.NaN])),
    ],
    [
      'an infinite version',
      'INVALID_ARGUMENT',
      (r, id) => r.resolveConflict(id, 'optimistic-version', { versions: new Map([['a', Infinity]]) }),
    ],
    [
      'an invalid Date',
      'INVALID_ARGUMENT',
      (r, id) =>
        r.resolveConflict(id, 'timestamp', { requestTimestamps: new Map([['a', new Date(Number.NaN)]]) }),
    ],
    [
      'votes that are a number',
      'INVALID_ARGUMENT',
      (r, id) => r.resolveConflict(id, 'vote', { votes: new Map([['a', 3 as never]]) }),
    ],
    [
      'a voter without a name',
      'INVALID_ARGUMENT',
      (r, id) => r.resolveConflict(id, 'vote', { votes: new Map([['a', ['']]]) }),
    ],
    [
      'contents without base',
      'INVALID_ARGUMENT',
      (r, id) => r.resolveConflict(id, 'merge', { contents: { theirs: new Map() } as never }),
    ],
    [
      'contents that are numbers',
      'INVALID_ARGUMENT',
      (r, id) =>
        r.resolveConflict(id, 'merge', { contents: { base: '', theirs: new Map([['a', 1 as never]]) } }),
    ],
    [
      'facts behind a hostile proxy',
      'INVALID_ARGUMENT',
      (r, id) =>
        r.resolveConflict(
          id,
          'vote',
          new Proxy(
            {},
            {
              get: () => {
                throw new Error('no');
              },
            },
          ),
        ),
    ],
    [
      'a strategy without name',
      'INVALID_ARGUMENT',
      (r) => r.registerStrategy({ resolve: () => undefined } as never),
    ],
    ['a strategy without resolve', 'INVALID_ARGUMENT', (r) => r.registerStrategy({ name: 'x' } as never)],
    ['a strategy that is undefined', 'INVALID_ARGUMENT', (r) => r.registerStrategy(undefined as never)],
    ['a history of 0', 'INVALID_ARGUMENT', (r) => r.getConflictHistory(0)],
    ['a negative age', 'INVALID_ARGUMENT', (r) => r.cleanupOldConflicts(-1)],
    ['an age of NaN', 'INVALID_ARGUMENT', (r) => r.cleanupOldConflicts(Number.NaN)],
  ];

  test.each(calls)('%s: %s', async (_title, code, call) => {
    const { resolver } = createResolver();
    const { id } = await resolver.reportResourceConflict('file', ['a', 'b']);
    await expect((async () => call(resolver, id))()).rejects.toMatchObject({ code });
    expect(resolver.getActiveConflicts().map((record) => record.id)).toEqual([id]);
  });
});

describe('ConflictResolver, history', () => {
  test('the newest first, as many as asked, never more than are kept', async () => {
    const { resolver } = createResolver({ historySize: 3 });
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) {
      const { id } = await resolver.reportResourceConflict(`file${i}`, ['a', 'b']);
      await resolver.resolveConflict(id, 'priority', priorities(['a', 1]));
      ids.push(id);
    }
    const idsOf = (limit?: number) => resolver.getConflictHistory(limit).map(({ conflict }) => conflict.id);
    expect(idsOf()).toEqual([ids[4], ids[3], ids[2]]);
    expect(idsOf(1)).toEqual([ids[4]]);
    expect(resolver.getStats().resolved).toBe(5);
    await expect(resolver.autoResolve(ids[0] as string)).rejects.toMatchObject({ code: 'UNKNOWN_CONFLICT' });
  });

  test('cleanup forgets what was resolved long ago and leaves open conflicts alone', async () => {
    const { resolver, clock } = createResolver();
    const old = await resolver.reportResourceConflict('old', ['a', 'b']);
    const open = await resolver.reportResourceConflict('open', ['a', 'b']);
    await resolver.resolveConflict(old.id, 'priority', priorities(['a', 1]));
    clock.tick(1_000);
    expect(resolver.cleanupOldConflicts(1_001)).toBe(0);
    expect(resolver.cleanupOldConflicts(1_000)).toBe(1);
    expect(resolver.getConflictHistory()).toEqual([]);
    expect(resolver.getActiveConflicts()).toEqual([open]);
  });

  test('10,000 conflicts among 100 agents: p99 from report to resolution is below 100 ms', async () => {
    const agents = Array.from({ length: 100 }, (_, i) => `agent${i}`);
    const facts = priorities(...agents.map((agent): [string, number] => [agent, agent === 'agent7' ? 2 : 0]));
    const { resolver } = createResolver({ facts: () => facts });
    const times: number[] = [];
    for (let i = 0; i < 10_000; i++) {
      const started = performance.now();
      const { id } = await resolver.reportResourceConflict(
        `file${i}`,
        agents.slice(i % 90, (i % 90) + 10).concat('agent7'),
      );
      await resolver.autoResolve(id);
      times.push(performance.now() - started);
    }
    expect(resolver.getStats()).toMatchObject({ active: 0, resolved: 10_000 });
    const p99 = times.toSorted((a, b) => a - b)[9_900];
    expect(p99).toBeLessThan(100);
  });
});

test('G6: stopped, it waits for no strategy any more', async () => {
  const { resolver, clock } = createResolver();
  resolver.registerStrategy({ name: 'slow', resolve: () => new Promise(() => undefined) });
  const conflict = await resolver.reportResourceConflict('r', ['a', 'b']);
  const waiting = resolver.resolveConflict(conflict.id, 'slow').catch((error: unknown) => error);
  await clock.settle();
  expect(clock.nextDue()).toBeLessThan(Number.POSITIVE_INFINITY);
  resolver.stop();
  expect(await waiting).toMatchObject({ code: 'STOPPED' });
  expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
  await expect(resolver.resolveConflict(conflict.id, 'slow')).rejects.toMatchObject({ code: 'STOPPED' });
});
