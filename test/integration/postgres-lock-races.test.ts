import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Grant, LockAnswer, LockItem, LockMode, LockRequest } from '../../src/core/ports/locks.ts';
import type { Random } from '../../src/core/ports/runtime.ts';
import type { BackendTime } from '../../src/core/ports/words.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { LockFleet, type FleetProcess } from '../support/locks/lock-fleet.ts';
import { checkHistory } from '../support/locks/lock-history.ts';
import { type PostgresServer, startPostgres } from '../support/servers/postgres-server.ts';

const seed = `${process.env['FC_SEED']}`;
const MAX_OVERTAKES = 4;
/** How long processes contend at random. */
const CONTEND_MS = Number(process.env['LOCK_CONTEND_MS'] ?? 6_000);
const NAMES = ['a', 'b', 'c', 'd', 'e', 'f'];
const MODES: readonly LockMode[] = [
  'shared',
  'shared',
  'update',
  'exclusive',
  'intent-shared',
  'intent-exclusive',
];

let server: PostgresServer;
beforeAll(async () => {
  server = await startPostgres({ own: true });
}, 60_000);
afterAll(async () => server.stop());

let nextId = 0;
function requestOf(owner: string, items: readonly LockItem[], more: Partial<LockRequest> = {}): LockRequest {
  nextId += 1;
  const priority = more.priority ?? 2;
  return {
    id: `q${nextId}`,
    items,
    owner: { id: owner, priority, since: 0 as BackendTime, defeats: 0 },
    order: { ageStepMs: 50, maxOvertakes: MAX_OVERTAKES },
    wait: true,
    lease: 'session',
    reentrant: false,
    ...more,
    priority,
  };
}

async function ask({ backend, operations }: FleetProcess, request: LockRequest): Promise<LockAnswer> {
  const { answers } = await operations.run((op) => backend.locks.request(op, [request]));
  return answers[0] as LockAnswer;
}

async function keep({ backend, session }: FleetProcess, id: string): Promise<LockAnswer> {
  for (;;) {
    try {
      const { answers } = await backend.locks.keep(session, [{ id }]);
      return answers[0] as LockAnswer;
    } catch (error) {
      if (!['OUTCOME_UNKNOWN', 'BACKEND_UNAVAILABLE'].includes(String((error as { code?: string }).code)))
        throw error;
    }
  }
}

async function release({ backend, operations }: FleetProcess, ...ids: readonly string[]): Promise<void> {
  await operations.run((op) =>
    backend.locks.release(
      op,
      ids.map((id) => ({ id })),
    ),
  );
}

/** Waits until it is granted, or gives up and withdraws. */
async function acquire(
  process: FleetProcess,
  request: LockRequest,
  patienceMs: number,
): Promise<Grant | undefined> {
  let answer = await ask(process, request);
  const until = performance.now() + patienceMs;
  while (answer.status === 'waiting' && performance.now() < until) {
    await sleep(5);
    answer = await keep(process, request.id);
  }
  if (answer.status === 'granted') return answer;
  if (answer.status === 'waiting') await release(process, request.id);
  return undefined;
}

function pick<T>(random: Random, from: readonly T[]): T {
  return from[Math.floor(random.next() * from.length)] as T;
}

function itemsOf(random: Random, count: number): readonly LockItem[] {
  const names = new Set<string>();
  while (names.size < count) names.add(pick(random, [...NAMES, 'units']));
  return [...names].sort().map((resource) => ({
    resource,
    mode: resource === 'units' ? { units: 1 + Math.floor(random.next() * 3), of: 4 } : pick(random, MODES),
  }));
}

const seen = { granted: 0, gaveUp: 0, upgraded: 0, nested: 0 };

/** Takes, upgrades, downgrades, nests, gives up and gives back, until the time is over. */
async function contend(process: FleetProcess, owner: string, until: number): Promise<void> {
  const random = createRandom(`${seed} ${owner}`);
  while (performance.now() < until) {
    const request = requestOf(owner, itemsOf(random, 1 + Math.floor(random.next() * 3)), {
      priority: Math.floor(random.next() * 7) - 3,
      lease: random.next() < 0.15 ? { leaseMs: 20 + random.next() * 60 } : 'session',
      wait: random.next() < 0.9,
    });
    const grant = await acquire(process, request, 20 + random.next() * 150);
    if (grant === undefined) {
      seen.gaveUp += 1;
      continue;
    }
    seen.granted += 1;
    const held = [request.id];
    const dice = random.next();
    if (dice < 0.2 && request.items.every(({ mode }) => mode === 'shared' || mode === 'update')) {
      const items = request.items.map(({ resource }) => ({ resource, mode: 'exclusive' as const }));
      const up = requestOf(owner, items, { upgradeOf: { id: grant.id, token: grant.token } });
      if ((await acquire(process, up, 60)) !== undefined) seen.upgraded += 1;
      // Half of them are taken back.
      if (random.next() < 0.5) await release(process, up.id);
    } else if (dice < 0.3) {
      await process.operations.run((op) =>
        process.backend.locks.release(op, [{ id: grant.id, token: grant.token, downgradeTo: 'shared' }]),
      );
    } else if (dice < 0.6) {
      const more = requestOf(owner, itemsOf(random, 1));
      if ((await acquire(process, more, 40)) !== undefined) {
        seen.nested += 1;
        held.push(more.id);
      }
    }
    if (random.next() < 0.3) await sleep(random.next() * 5);
    await release(process, ...held);
  }
}

describe('several processes at once', () => {
  test('L1, L2, L6, L7: random modes, sets, upgrades, leases and withdrawals, with connections that are cut', async () => {
    const fleet = await LockFleet.start(server.url, 4);
    const until = performance.now() + CONTEND_MS;
    const workers = fleet.processes.flatMap((process, p) =>
      Array.from({ length: 6 }, (_, w) => contend(process, `owner ${p}.${w}`, until)),
    );
    const random = createRandom(`${seed} cuts`);
    let cuts = 0;
    while (performance.now() < until) {
      await sleep(250);
      if (await fleet.cut(random)) cuts += 1;
    }
    await Promise.all(workers);
    // Leases of their own that nobody gave back run out; whoever looks ends them.
    await sleep(100);
    const [process] = fleet.processes as [FleetProcess];
    for (const resource of NAMES) {
      const last = requestOf('last', [{ resource, mode: 'exclusive' }], { wait: false });
      expect((await ask(process, last)).status, resource).toBe('granted');
      await release(process, last.id);
    }
    expect(await fleet.left()).toEqual({ holders: 0, waiters: 0, tickets: 0 });
    const verdict = checkHistory(await fleet.history(), new Map([['units', 4]]), MAX_OVERTAKES);
    const deadlocks = await fleet.stop();
    console.info(`postgres locks: FC_SEED=${seed}`, {
      ...seen,
      cuts,
      deadlocks,
      ...verdict,
      problems: verdict.problems.length,
    });
    expect(verdict.problems.slice(0, 10)).toEqual([]);
    expect(deadlocks, 'the server never had to break a deadlock').toBe(0);
    expect(cuts).toBeGreaterThan(5);
    expect(verdict.grants).toBeGreaterThan(50);
    expect(verdict.waits).toBeGreaterThan(50);
    expect(verdict.conversions).toBeGreaterThan(0);
    expect(seen.nested).toBeGreaterThan(0);
  }, 300_000);

  test('L3: what a frozen process holds and wants is passed on within its lease and a second, by whoever asks', async () => {
    const fleet = await LockFleet.start(server.url, 1);
    const [alive] = fleet.processes as [FleetProcess];
    const frozen = await fleet.add('frozen', 500);
    const since = performance.now();
    expect((await ask(frozen, requestOf('frozen', [{ resource: 'ice', mode: 'exclusive' }]))).status).toBe(
      'granted',
    );
    expect(
      (await ask(frozen, requestOf('frozen too', [{ resource: 'ice', mode: 'exclusive' }]))).status,
    ).toBe('waiting');
    const wanted = requestOf('alive', [{ resource: 'ice', mode: 'exclusive' }]);
    const grant = await acquire(alive, wanted, 5_000);
    expect(grant).toBeDefined();
    expect(performance.now() - since).toBeLessThan(1_500);
    await release(alive, wanted.id);
    expect(await fleet.left()).toEqual({ holders: 0, waiters: 0, tickets: 0 });
    await fleet.stop();
  }, 30_000);

  test('a release in one process wakes the one that waits in another', async () => {
    const fleet = await LockFleet.start(server.url, 2);
    const [one, two] = fleet.processes as [FleetProcess, FleetProcess];
    const held = requestOf('one', [{ resource: 'bell', mode: 'exclusive' }]);
    await ask(one, held);
    const wanted = requestOf('two', [{ resource: 'bell', mode: 'exclusive' }]);
    expect((await ask(two, wanted)).status).toBe('waiting');
    const heard = new Promise<unknown>((resolve) => {
      two.backend.onHint([{ about: 'locks', resource: 'bell' }], resolve);
    });
    await release(one, held.id);
    expect(await heard).toEqual({ about: 'locks', resource: 'bell', request: wanted.id });
    expect((await keep(two, wanted.id)).status).toBe('granted');
    await fleet.stop();
  }, 30_000);

  test('an aborted victim is told by its next beat, until it has asked', async () => {
    const fleet = await LockFleet.start(server.url, 1);
    const [process] = fleet.processes as [FleetProcess];
    const { backend, operations, session } = process;
    await ask(process, requestOf('holder', [{ resource: 'x', mode: 'exclusive' }]));
    const wanted = requestOf('victim', [{ resource: 'x', mode: 'exclusive' }]);
    const answer = await ask(process, wanted);
    if (answer.status !== 'waiting') throw new Error(answer.status);
    const cycle = [{ waiter: 'victim', holder: 'holder', by: 'lock', what: 'x' }] as const;
    const { wait } = answer;
    const { aborted } = await operations.run((op) => backend.locks.abort(op, wait, cycle, []));
    expect(aborted).toBe(true);
    // One who had seen the wait the moment before is told the same.
    const { rows } = await fleet.admin.query<{ said: object }>(
      `select ${fleet.schema}.lock_answer_v1($1, 0, 0) as said`,
      [wanted.id],
    );
    expect(rows[0]?.said).toEqual({ status: 'aborted', cycle: JSON.stringify(cycle) });
    const report = { host: 'h', pid: 1, build: 'b', rssBytes: 0, loopLagMs: 0, agents: [], progress: [] };
    const load = { running: 0, unstarted: 0, slots: 0, weight: 0 };
    const beat = async (): Promise<unknown> => {
      const said = await backend.sessions.beat(session, { ...report, load });
      return said.status === 'alive' ? said.orders : said;
    };
    const order = { kind: 'abort-wait', wait, cycle };
    expect(await beat()).toEqual([order]);
    expect(await beat()).toEqual([order]);
    expect(await keep(process, wanted.id)).toEqual({ status: 'aborted', cycle });
    expect(await beat()).toEqual([]);
    expect(await keep(process, wanted.id)).toEqual({ status: 'aborted', cycle });
    await fleet.stop();
  }, 30_000);
});

describe('L1: tokens grow for ever', () => {
  async function tokenOf(process: FleetProcess, resource: string): Promise<number> {
    const request = requestOf('someone', [{ resource, mode: 'exclusive' }]);
    const answer = await ask(process, request);
    await release(process, request.id);
    if (answer.status !== 'granted') throw new Error(answer.status);
    return answer.token;
  }

  test('over a crash of the server, and a clock that goes back', async () => {
    const fleet = await LockFleet.start(server.url, 1);
    const [process] = fleet.processes as [FleetProcess];
    const kept = requestOf('keeper', [{ resource: 'kept', mode: 'exclusive' }]);
    const before = [await tokenOf(process, 'x'), ((await ask(process, kept)) as Grant).token];
    fleet.admin.on('error', () => undefined);
    await server.kill9();
    await server.restart();
    const after = await LockFleet.start(server.url, 0);
    expect(await tokenOf(process, 'x')).toBeGreaterThan(before[0] as number);
    expect(((await keep(process, kept.id)) as Grant).token, 'what was held is held').toBe(before[1]);
    const now = await tokenOf(process, 'x');
    await after.admin.query(
      `create or replace function ${fleet.schema}.now_us() returns bigint language sql volatile as
        $$ select (extract(epoch from clock_timestamp()) * 1000000)::bigint - 3600000000 $$`,
    );
    expect(await tokenOf(process, 'x')).toBeGreaterThan(now);
    await after.stop();
    await process.backend.stop();
  }, 60_000);

  test('over the end of the row of a resource, even when the clock goes back further than that', async () => {
    const fleet = await LockFleet.start(server.url, 1);
    const [process] = fleet.processes as [FleetProcess];
    const clock = (us: number): Promise<unknown> =>
      fleet.admin.query(`create or replace function ${fleet.schema}.now_us() returns bigint language sql volatile as
        $$ select (extract(epoch from clock_timestamp()) * 1000000)::bigint + ${us} $$`);
    const rows = async (): Promise<number> =>
      Number((await fleet.admin.query(`select count(*) from ${fleet.schema}.lock_resources`)).rows[0].count);
    const held = requestOf('holder', [{ resource: 'in use', mode: 'exclusive' }], {
      lease: { leaseMs: 1e12 },
    });
    await ask(process, held);
    const before = await tokenOf(process, 'idle');
    await fleet.admin.query(`update ${fleet.schema}.sessions set expires_at = expires_at + 1e12`);
    await clock(2 * 86_400_000_000);
    expect(await rows()).toBe(2);
    await fleet.admin.query(`select ${fleet.schema}.lock_tidy_v1()`);
    expect(await rows(), 'what is held keeps its row').toBe(1);
    await clock(-3 * 86_400_000_000);
    expect(await tokenOf(process, 'idle')).toBeGreaterThan(before);
    await fleet.stop();
  }, 60_000);
});
