import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest';
import { EMPTY_REPORT } from '../../src/core/empty-report.ts';
import { CONFLICTS, modeIndex } from '../../src/core/lock-modes.ts';
import type { LockItem, LockStore, WaitRef } from '../../src/core/ports/locks.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { openCaller } from '../../src/testing/suites/caller.ts';
import { item, LockWorld, requestOf } from '../../src/testing/suites/locks/world.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';
import { type Held, LockProcess, newMesh, problemsOf } from '../support/locks/lock-process.ts';
import { redisEnvironment } from '../support/redis-environment.ts';

let admin: Redis;

beforeAll(() => {
  admin = new Redis(inject('redisUrl'));
});

afterAll(() => {
  admin.disconnect();
});

/** Everything that locks keep below a prefix. */
async function lockKeys(tag: string): Promise<string[]> {
  const found: string[] = [];
  for (let cursor = '0'; ; ) {
    const [next, keys] = await admin.scan(cursor, 'MATCH', `${tag}l:*`, 'COUNT', 1_000);
    found.push(...keys.map((key) => key.slice(tag.length)));
    cursor = next;
    if (cursor === '0') return found;
  }
}

function together(a: Held, b: Held): boolean {
  return ((CONFLICTS[modeIndex(a.mode)] as number) & (1 << modeIndex(b.mode))) === 0;
}

const WISHES: readonly (readonly LockItem[])[] = [
  [{ resource: 'hot', mode: 'exclusive' }],
  [{ resource: 'hot', mode: 'exclusive' }],
  [{ resource: 'doc', mode: 'shared' }],
  [{ resource: 'doc', mode: 'shared' }],
  [{ resource: 'doc', mode: 'update' }],
  [{ resource: 'doc', mode: 'exclusive' }],
  [{ resource: 'gpu', mode: { units: 2, of: 4 } }],
  [{ resource: 'gpu', mode: { units: 1, of: 4 } }],
  [
    { resource: '/', mode: 'intent-exclusive' },
    { resource: '/a', mode: 'exclusive' },
  ],
  [
    { resource: '/', mode: 'intent-exclusive' },
    { resource: '/b', mode: 'exclusive' },
  ],
  [{ resource: '/', mode: 'shared' }],
];
const MOST_OVERTAKES = 4;
/** How often each worker takes and gives back. */
const ROUNDS = Number(process.env['LOCK_ROUNDS'] ?? 12);

/** Workers of several processes take and give back at random. Returns what they saw. */
async function crowd(
  processes: readonly LockProcess[],
  workers: number,
  rounds: number,
  seed: string,
): Promise<Held[]> {
  const history: Held[] = [];
  const inside = new Map<string, number>();
  const work = async (process: LockProcess, worker: number): Promise<void> => {
    const random = createRandom(`${seed} ${process.session} ${worker}`);
    for (let round = 0; round < rounds; round++) {
      const items = WISHES[Math.floor(random.next() * WISHES.length)] as readonly LockItem[];
      const owner = `${process.session}-${worker}`;
      const order = { ageStepMs: 1_000, maxOvertakes: MOST_OVERTAKES };
      const priority = Math.floor(random.next() * 4);
      const { grant, askedAt } = await process.take(items, { owner, order, priority });
      const alone = items.filter(({ mode }) => mode === 'exclusive');
      for (const { resource } of alone) {
        expect(inside.get(resource) ?? 0, `${resource} is held by one`).toBe(0);
        inside.set(resource, 1);
      }
      await new Promise((resolve) => setTimeout(resolve, random.next() * 2));
      for (const { resource } of alone) inside.set(resource, 0);
      const releasedAt = await process.give(grant);
      items.forEach(({ resource, mode }, i) => {
        history.push({ id: grant.id, resource, mode, token: grant.tokens[i] as number, askedAt, releasedAt });
      });
    }
  };
  await Promise.all(
    processes.flatMap((process) => Array.from({ length: workers }, (_, i) => work(process, i))),
  );
  return history;
}

describe('several processes at once', () => {
  test('L1, L2, L6, L7: what they saw fits together, and at rest nothing is left', async () => {
    const mesh = newMesh();
    const seed = String(process.env['FC_SEED']);
    await using stack = new AsyncDisposableStack();
    const processes: LockProcess[] = [];
    for (let i = 0; i < 4; i++) processes.push(stack.use(await LockProcess.start(inject('redisUrl'), mesh)));
    const history = await crowd(processes, 8, ROUNDS, seed);
    expect(problemsOf(history, together), `FC_SEED=${seed}`).toEqual([]);
    const hot = history.filter(({ resource }) => resource === 'hot');
    const overtaken = hot.map(
      (one) => hot.filter((other) => other.askedAt > one.askedAt && other.token < one.token).length,
    );
    expect(Math.max(...overtaken), 'most overtakes').toBeLessThanOrEqual(MOST_OVERTAKES);
    expect(Math.max(...overtaken), 'somebody was overtaken').toBeGreaterThan(0);
    expect(await lockKeys(mesh.tag)).toEqual(['l:x']);
    expect(await admin.zrange(`${mesh.tag}l:x`, '0', '-1')).toEqual(
      processes.map(({ session }) => `s${session}`).toSorted(),
    );
  });

  test('L1, L2, L6: so it does when replies are cut', async () => {
    const mesh = newMesh();
    const seed = String(process.env['FC_SEED']);
    const random = createRandom(`cuts ${seed}`);
    await using proxy = await startFaultProxy({ port: Number(new URL(inject('redisUrl')).port) });
    await using stack = new AsyncDisposableStack();
    const processes: LockProcess[] = [];
    for (let i = 0; i < 3; i++)
      processes.push(stack.use(await LockProcess.start(`redis://127.0.0.1:${proxy.port}`, mesh)));
    let isOver = false;
    const cutting = (async () => {
      while (!isOver) {
        await new Promise((resolve) => setTimeout(resolve, 20 + random.next() * 40));
        proxy.cutReplies(1, (request) => request.includes('EVAL'));
      }
    })();
    const history = await crowd(processes, 4, 10, seed);
    isOver = true;
    await cutting;
    expect(problemsOf(history, together), `FC_SEED=${seed}`).toEqual([]);
    expect(history.length).toBeGreaterThanOrEqual(120);
    expect(
      processes.reduce((sum, { repeated }) => sum + repeated, 0),
      'repeated operations',
    ).toBeGreaterThan(0);
    expect(await lockKeys(mesh.tag)).toEqual(['l:x']);
  });

  test('L3: what a killed process held goes on within its lease and a second, to somebody who only waits', async () => {
    const mesh = newMesh();
    const url = inject('redisUrl');
    const leaseMs = 500;
    await using survivor = await LockProcess.start(url, mesh);
    const victim = await LockProcess.start(url, mesh, leaseMs);
    const beganAt = performance.now();
    for (const resource of ['a', 'b'])
      await victim.take([{ resource, mode: 'exclusive' }], { owner: resource });
    await victim.take([{ resource: 'gpu', mode: { units: 2, of: 2 } }], { owner: 'gpu' });
    // Nothing is said to the server: no beat, no close.
    await victim.backend.stop();
    const waits = [
      survivor.take([{ resource: 'a', mode: 'exclusive' }], {}, 1_000),
      survivor.take([{ resource: 'b', mode: 'shared' }], {}, 1_000),
      survivor.take([{ resource: 'gpu', mode: { units: 1, of: 2 } }], {}, 1_000),
    ];
    const grants = await Promise.all(waits);
    const tookMs = performance.now() - beganAt;
    expect(tookMs).toBeGreaterThan(leaseMs);
    expect(tookMs).toBeLessThan(leaseMs + 1_000 + 500);
    for (const { grant } of grants) await survivor.give(grant);
    expect(await lockKeys(mesh.tag)).toEqual(['l:x']);
  });

  test('a lock that many readers wait for is granted to all of them, in scripts that each do a part', async () => {
    const mesh = newMesh();
    await using writer = await LockProcess.start(inject('redisUrl'), mesh);
    await using readers = await LockProcess.start(inject('redisUrl'), mesh);
    const { grant } = await writer.take([{ resource: 'doc', mode: 'exclusive' }]);
    const waits = Array.from({ length: 700 }, () =>
      readers.take([{ resource: 'doc', mode: 'shared' }], {}, 300),
    );
    for (let waiting = 0; waiting < 700; ) {
      const { items } = await writer.locks.list({ resource: 'doc' }, { limit: 1 });
      waiting = items[0]?.waiting ?? 0;
    }
    await writer.give(grant);
    const grants = await Promise.all(waits);
    expect(new Set(grants.map((one) => one.grant.token)).size).toBe(700);
    for (const one of grants) await readers.give(one.grant);
    expect(await lockKeys(mesh.tag)).toEqual(['l:x']);
  });

  test('a script gives back at most 100 locks, of however many sessions that have ended', async () => {
    let tag = '';
    const env = await redisEnvironment((backend, { prefix, mesh }) => {
      tag = `${prefix}:{${mesh}}:`;
      return backend;
    });
    const locks = env.backend.locks as LockStore;
    const dying = await Promise.all([1, 2, 3, 4].map((n) => openCaller(env, `dying${n}`, 1_000)));
    for (const { session, op } of dying) {
      const wishes = Array.from({ length: 60 }, (_, i) =>
        requestOf(`${session}.${i}`, [{ resource: `${session}.${i}`, mode: 'exclusive' }], {}),
      );
      await locks.request(op(), wishes);
    }
    const held = async (): Promise<number> => {
      const counts = await Promise.all(dying.map(({ session }) => admin.scard(`${tag}l:s:${session}`)));
      return counts.reduce((a, b) => a + b, 0);
    };
    expect(await held()).toBe(240);
    await env.pass(1_100);
    const left: number[] = [];
    for (let n = 0; n < 3; n++) {
      await locks.list({}, { limit: 1 });
      left.push(await held());
    }
    expect(left).toEqual([140, 40, 0]);
    await env.stop();
  });

  test('L6: what one script gives back goes to nobody whose session is over, though that one’s turn comes in a later script', async () => {
    const env = await redisEnvironment();
    const world = new LockWorld(env, await openCaller(env, 'here'));
    const holder = await world.other('holds as much as a script gives back', 1_000);
    const waiter = await world.other('ends with it', 1_000);
    for (let n = 0; n < 100; n++) await holder.take(`d${n}`, `d${n}`);
    await waiter.wait('first', 'd50');
    await world.wait('second', 'd50');
    await env.pass(1_100);
    expect((await world.keep('second')).status).toBe('granted');
    await env.stop();
  });

  test('L6: nor to an upgrade of what has a lease that is over', async () => {
    const env = await redisEnvironment();
    const world = new LockWorld(env, await openCaller(env, 'here'));
    const lease = { leaseMs: 1_000 };
    // They end in this order, 100 in a script.
    await world.take('a', item('r', 'shared'), { lease });
    for (let n = 0; n < 99; n++) await world.take(`b${n}`, `b${n}`, { lease });
    const last = await world.take('c', item('r', 'shared'), { lease });
    await world.wait('up', 'r', { owner: 'c', upgradeOf: last });
    await env.pass(1_100);
    expect((await world.keep('up')).status).toBe('lost');
    await env.stop();
  });
});

describe('who waits is told', () => {
  test('by a hint when it is granted, also when a lease ran out; a victim by its beats too, until it has asked', async () => {
    const mesh = newMesh();
    await using holder = await LockProcess.start(inject('redisUrl'), mesh);
    await using waiter = await LockProcess.start(inject('redisUrl'), mesh);
    const heard: string[] = [];
    const told = new Set<string | undefined>();
    using _ = waiter.backend.onHint([{ about: 'locks', resource: '*' }, { about: 'orders' }], (hint) => {
      heard.push(hint.about === 'locks' ? hint.resource : hint.about);
      if (hint.about === 'locks') told.add(hint.request);
    });
    const hears = (what: string): Promise<void> => vi.waitFor(() => expect(heard).toContain(what), 2_000);
    const exclusive = (resource: string): LockItem[] => [{ resource, mode: 'exclusive' }];

    const { grant } = await holder.take(exclusive('given'));
    const given = waiter.take(exclusive('given'));
    await vi.waitFor(async () => expect((await holder.locks.snapshot()).resources).toHaveLength(1));
    await holder.give(grant);
    await hears('given');
    expect(told).toEqual(new Set([(await given).grant.id]));

    await holder.take(exclusive('expired'), { lease: { leaseMs: 100 } });
    // Whoever asks for anything finds out for all.
    const expired = waiter.take(exclusive('expired'), {}, 50);
    await expired;
    await hears('expired');

    await holder.take(exclusive('held'));
    const aborted = waiter.take(exclusive('held'), {}, 500);
    aborted.catch(() => undefined);
    const wait = await vi.waitFor(async () => {
      const { resources } = await holder.locks.snapshot();
      return resources[0]?.queue[0]?.wait as WaitRef;
    });
    const cycle = [{ waiter: 'x', holder: 'y', by: 'lock', what: 'held' }] as const;
    const { aborted: isAborted } = await holder.abort(wait, cycle);
    expect(isAborted).toBe(true);
    await hears('orders');
    const orders = async (): Promise<unknown> => {
      const beat = await waiter.backend.sessions.beat(waiter.session, EMPTY_REPORT);
      return beat.status === 'alive' ? beat.orders : beat.status;
    };
    const order = { kind: 'abort-wait', wait, cycle };
    expect(await orders()).toEqual([order]);
    expect(await orders()).toEqual([order]);
    await expect(aborted).rejects.toThrow('aborted');
    expect(await orders()).toEqual([]);
  });
});

describe('taking a lock back', () => {
  test('whoever renews it hears of that, and keeps it no longer than it may', async () => {
    const env = await redisEnvironment();
    const world = new LockWorld(env, await openCaller(env, 'here'));
    const { token } = await world.take('holder', 'r', { lease: { leaseMs: 5_000 } });
    await world.wait('next', 'r');
    const revoke = { graceMs: 300, reason: 'moved' };
    expect((await world.release({ id: 'holder', token, revoke })).ended).toEqual([true]);
    expect(await world.keep('holder', token)).toMatchObject({ revoked: 'moved', expiresInMs: 300 });
    await env.pass(301);
    expect((await world.keep('next')).status).toBe('granted');
    expect((await world.keep('holder', token)).status).toBe('lost');
    await env.stop();
  });
});

test('a newcomer passes at most 500 at once, however urgent it is: a script does no more', async () => {
  const env = await redisEnvironment();
  const world = new LockWorld(env, await openCaller(env, 'here'));
  await world.take('holder', 'r');
  for (let from = 0; from < 600; from += 200) {
    const wishes = Array.from({ length: 200 }, (_, i) => requestOf(`w${from + i}`, item('r'), {}));
    await world.store.request(world.caller.op(), wishes);
  }
  const { ahead } = await world.wait('urgent', 'r', { priority: 1_000 });
  expect(ahead).toBe(101);
  await env.stop();
});
