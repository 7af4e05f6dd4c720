import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { postgres, type PostgresBackend } from '../../src/backends/postgres/postgres.ts';
import type { Claim, ClaimRequest, NewTask, QueueSettings, Settlement } from '../../src/core/ports/tasks.ts';
import type { Operation, SessionNumber } from '../../src/core/ports/words.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { CoordinationManager } from '../../src/index.ts';
import { REPORT } from '../../src/testing/suites/caller.ts';

/** What only real concurrency shows: several clients with connections of their own on one mesh. */

const runtime = createRuntime({ random: createRandom('postgres tasks') });

/** A process: a backend of its own, and a session. */
class Client {
  readonly backend: PostgresBackend;
  session = 0 as SessionNumber;
  #sequence = 0;

  constructor(schema: string) {
    this.backend = postgres({ url: inject('postgresUrl'), schema, connections: 4, commandTimeoutMs: 60_000 });
  }

  async open(boot: string, leaseMs = 600_000): Promise<this> {
    await this.backend.start(runtime);
    const { session } = await this.backend.sessions.open({ boot, leaseMs, writer: 1, report: REPORT });
    this.session = session;
    return this;
  }

  op(): Operation {
    this.#sequence += 1;
    return { session: this.session, sequence: this.#sequence };
  }

  async add(...tasks: readonly NewTask[]): Promise<void> {
    for (let i = 0; i < tasks.length; i += 1_000) {
      const { results } = await this.backend.tasks.enqueue(this.op(), tasks.slice(i, i + 1_000));
      for (const result of results) assert.equal(result.status, 'enqueued', JSON.stringify(result));
    }
  }

  async claim(limit: number, request: Partial<ClaimRequest> = {}): Promise<readonly Claim[]> {
    const { claims } = await this.backend.tasks.claim(this.op(), {
      offers: [{ capabilities: [], slots: limit }],
      agents: [],
      assigned: 0,
      limit,
      start: limit,
      ...request,
    });
    return claims;
  }

  settle(...settlements: readonly Settlement[]): ReturnType<PostgresBackend['tasks']['settle']> {
    return this.backend.tasks.settle(this.op(), settlements);
  }

  complete(claims: readonly Claim[]): ReturnType<PostgresBackend['tasks']['settle']> {
    return this.settle(...claims.map((claim) => ({ claim, as: 'complete', result: 1 }) as const));
  }

  async sweepAll(): Promise<number> {
    for (let calls = 1; ; calls++) {
      const { more } = await this.backend.tasks.sweep(this.op(), 1_000);
      if (!more) return calls;
    }
  }

  configure(queue: string, settings: Partial<QueueSettings>): Promise<unknown> {
    return this.backend.tasks.configure(this.op(), queue, undefined, {
      paused: false,
      ageStepMs: 10_000,
      ...settings,
    });
  }
}

function task(id: string, spec: Partial<Omit<NewTask, 'id'>> = {}): NewTask {
  return {
    id,
    queue: 'work',
    type: 'step',
    payload: { id },
    priority: 0,
    capabilities: [],
    weight: 1,
    dependsOn: [],
    limits: { maxCrashes: 3, keepMs: 600_000 },
    ...spec,
  };
}

const on = (...parents: readonly string[]): Pick<NewTask, 'dependsOn'> => ({
  dependsOn: parents.map((parent) => ({ parent, onFailure: 'cancel' })),
});

type HistoryPage = Parameters<PostgresBackend['tasks']['history']>[1];

let schema = '';
let clients: Client[] = [];
let serial = 0;

/** So many processes on one new mesh. */
async function mesh(n: number): Promise<readonly [Client, ...Client[]]> {
  schema = `c_${randomBytes(6).toString('hex')}`;
  clients = [];
  for (let i = 0; i < n; i++) clients.push(await new Client(schema).open(`boot-${serial++}`));
  return clients as [Client, ...Client[]];
}

async function done(): Promise<void> {
  const [first] = clients;
  if (first !== undefined) await conserved(first);
  for (const { backend } of clients) await backend.stop();
  clients = [];
  await pool.query(`drop schema if exists ${schema} cascade`);
}

/** T9, at any moment. */
async function conserved({ backend }: Client): Promise<void> {
  const { queues } = await backend.tasks.counts();
  for (const { queue, states, totals } of queues) {
    const sum = Object.values(states).reduce((a, b) => a + b, 0);
    assert.equal(
      sum + totals.pruned,
      totals.enqueued,
      `enqueued = states + pruned in ${queue}: ${JSON.stringify(states)}`,
    );
    assert.ok(
      Object.values(states).every((n) => n >= 0),
      JSON.stringify(states),
    );
  }
}

let pool: pg.Pool;
beforeAll(() => {
  pool = new pg.Pool({ connectionString: inject('postgresUrl'), max: 4 });
});
afterAll(async () => {
  await pool.end();
});

describe('claims', () => {
  test('T3: 8 claimers, with several lanes and priorities, get each task once', async () => {
    const workers = await mesh(8);
    const [first] = workers;
    const n = 4_000;
    await first.add(
      ...Array.from({ length: n }, (_, i) =>
        task(`t${i}`, { type: `type${i % 5}`, priority: i % 3, queue: i % 4 === 0 ? 'other' : 'work' }),
      ),
    );
    const seen = new Map<string, number>();
    await Promise.all(
      workers.map(async (worker, i) => {
        for (;;) {
          const claims = await worker.claim(7 + i * 9);
          if (claims.length === 0) return;
          for (const { task: id } of claims) seen.set(id, (seen.get(id) ?? 0) + 1);
          const { results } = await worker.complete(claims);
          assert.ok(results.every(({ status }) => status === 'settled'));
        }
      }),
    );
    assert.equal(seen.size, n);
    assert.ok([...seen.values()].every((times) => times === 1));
    await done();
  });

  test('maxRunning and maxRunningPerGroup hold over all sessions, and what they keep back is claimed in the end', async () => {
    const workers = await mesh(4);
    const [first] = workers;
    await first.configure('work', { maxRunning: 5, maxRunningPerGroup: 2 });
    const n = 300;
    await first.add(...Array.from({ length: n }, (_, i) => task(`t${i}`, { group: `g${i % 4}` })));
    const running = new Map<string, number>();
    let most = 0;
    let mostOfGroup = 0;
    let finished = 0;
    await Promise.all(
      workers.map(async (worker) => {
        while (finished < n) {
          const claims = await worker.claim(4);
          // Counted when the answer is here: it may be less than what the store knows, never more.
          for (const { body } of claims)
            running.set(body.group ?? '', (running.get(body.group ?? '') ?? 0) + 1);
          most = Math.max(
            most,
            [...running.values()].reduce((a, b) => a + b, 0),
          );
          mostOfGroup = Math.max(mostOfGroup, ...running.values());
          if (claims.length === 0) continue;
          for (const { body } of claims)
            running.set(body.group ?? '', (running.get(body.group ?? '') ?? 0) - 1);
          await worker.complete(claims);
          finished += claims.length;
        }
      }),
    );
    assert.ok(most <= 5, `${most} at once`);
    assert.ok(mostOfGroup <= 2, `${mostOfGroup} of one group`);
    assert.ok(most >= 4, 'the limit is used');
    await done();
  });

  test('batches of every size fit into a row of the journal, also when their numbers are no sequence', async () => {
    const [worker] = await mesh(1);
    for (let n = 960; n <= 1_000; n++) {
      // Every other task is one of its kind, as when two claim side by side.
      const tasks = Array.from({ length: 2 * n }, (_, i) =>
        task(`${n}-${i}`, i % 2 === 0 ? {} : { capabilities: ['other'] }),
      );
      await worker.add(...tasks);
      const claims = await worker.claim(n);
      assert.equal(claims.length, n);
      const { results } = await worker.complete(claims);
      assert.ok(results.every(({ status }) => status === 'settled'));
    }
    await done();
  });

  test('maxLength holds when several clients submit at once', async () => {
    const workers = await mesh(4);
    await workers[0].configure('work', { maxLength: 50 });
    const accepted = await Promise.all(
      workers.map(async (worker, w) => {
        let enqueued = 0;
        for (let i = 0; i < 10; i++) {
          const tasks = Array.from({ length: 4 }, (_, k) => task(`w${w}-${i}-${k}`));
          const { results } = await worker.backend.tasks.enqueue(worker.op(), tasks);
          enqueued += results.filter(({ status }) => status === 'enqueued').length;
        }
        return enqueued;
      }),
    );
    assert.equal(
      accepted.reduce((a, b) => a + b, 0),
      50,
    );
    await done();
  });

  test('a pause that was answered lets no claim through', async () => {
    const [boss, ...workers] = await mesh(4);
    await boss.add(...Array.from({ length: 3_000 }, (_, i) => task(`t${i}`)));
    let epoch = 0;
    let late = 0;
    let stopped = false;
    const claiming = workers.map(async (worker) => {
      while (!stopped) {
        const before = epoch;
        const claims = await worker.claim(5);
        // It was paused all the time.
        if (before % 2 === 1 && before === epoch) late += claims.length;
      }
    });
    for (let i = 0; i < 10; i++) {
      await boss.configure('work', { paused: true });
      epoch += 1;
      for (let looks = 0; looks < 5; looks++) await boss.backend.tasks.counts();
      epoch += 1;
      await boss.configure('work', { paused: false });
    }
    stopped = true;
    await Promise.all(claiming);
    assert.equal(late, 0);
    await done();
  });
});

describe('dependencies', () => {
  test('2,000 children enqueued while their parents complete: none is left waiting', async () => {
    const [one, two] = (await mesh(2)) as [Client, Client];
    const n = 2_000;
    const size = 20;
    let left = 0;
    for (let i = 0; i < n; i += size) {
      const parents = Array.from({ length: size }, (_, k) => `p${i + k}`);
      await one.add(...parents.map((id) => task(id, { queue: 'parents' })));
      const claims = await one.claim(size, { queues: [{ queue: 'parents', limit: size }] });
      assert.equal(claims.length, size);
      await Promise.all([
        one.complete(claims),
        ...[0, 1].map((half) =>
          two.add(...parents.slice(half * 10, half * 10 + 10).map((id) => task(`c-${id}`, on(id)))),
        ),
      ]);
      const records = await two.backend.tasks.get(parents.map((id) => `c-${id}`));
      left += records.filter((record) => record?.state !== 'ready').length;
    }
    assert.equal(left, 0);
    await done();
  }, 120_000);

  test('forward references: parents that come while their children come are met', async () => {
    const [one, two] = (await mesh(2)) as [Client, Client];
    for (let i = 0; i < 60; i++) {
      const ids = Array.from({ length: 10 }, (_, k) => `p${i}-${k}`);
      await Promise.all([
        one.add(...ids.map((id) => task(id, { queue: 'parents' }))),
        two.add(...ids.toReversed().map((id) => task(`c-${id}`, on(id)))),
      ]);
    }
    for (;;) {
      const claims = await one.claim(500, { queues: [{ queue: 'parents', limit: 500 }] });
      if (claims.length === 0) break;
      await one.complete(claims);
    }
    const { queues } = await one.backend.tasks.counts(['work', 'parents']);
    assert.deepEqual(
      queues.map(({ states }) => [states.waiting, states.ready, states.completed]),
      [
        [0, 600, 0],
        [0, 0, 600],
      ],
    );
    await done();
  });

  test('two that close a cycle together: one of them is refused', async () => {
    const [one, two] = (await mesh(2)) as [Client, Client];
    for (let i = 0; i < 40; i++) {
      // b waits for c, d waits for a; then a on b and c on d come at once.
      await one.add(task(`b${i}`, on(`c${i}`)), task(`d${i}`, on(`a${i}`)));
      const answers = await Promise.all([
        one.backend.tasks.enqueue(one.op(), [task(`a${i}`, on(`b${i}`))]),
        two.backend.tasks.enqueue(two.op(), [task(`c${i}`, on(`d${i}`))]),
      ]);
      const refused = answers.filter(({ results: [result] }) => result?.status === 'cycle').length;
      assert.equal(refused, 1);
    }
    await done();
  });

  test('crossing cascades and cancels end each task once', async () => {
    const workers = (await mesh(3)) as [Client, Client, Client];
    const [one] = workers;
    const ended = new Map<string, number>();
    for (let round = 0; round < 25; round++) {
      const id = (layer: number, k: number): string => `r${round}-${layer}-${k}`;
      for (let layer = 0; layer < 4; layer++) {
        await one.add(
          ...Array.from({ length: 12 }, (_, k) =>
            task(id(layer, k), {
              queue: layer === 0 ? 'roots' : 'work',
              ...(layer === 0 ? {} : on(...[0, 5, 7].map((step) => id(layer - 1, (k + step) % 12)))),
            }),
          ),
        );
      }
      const claims = await one.claim(12, { queues: [{ queue: 'roots', limit: 12 }] });
      const buried = claims.map(
        (claim): Settlement => ({ claim, as: 'bury', reason: 'R', error: 'e', signature: 's' }),
      );
      const answers = await Promise.all([
        workers[0].settle(...buried.slice(0, 6)),
        workers[1].settle(...buried.slice(6).toReversed()),
        workers[2].backend.tasks.cancel(
          workers[2].op(),
          Array.from({ length: 12 }, (_, k) => ({
            task: id(2, 11 - k),
            reason: 'x',
            tree: false,
            revoke: false,
          })),
        ),
      ]);
      for (const answer of answers)
        for (const { task: one } of answer.ended) ended.set(one, (ended.get(one) ?? 0) + 1);
    }
    assert.equal(ended.size, 25 * 36);
    assert.ok([...ended.values()].every((times) => times === 1));
    const { queues } = await one.backend.tasks.counts(['work']);
    assert.equal(queues[0]?.states.cancelled, 25 * 36);
    await done();
  }, 120_000);

  test('10,000 dependents of one task and a chain of 10,000 are worked off in bounded calls', async () => {
    const [one] = await mesh(1);
    const n = 10_000;
    await one.add(task('root', { queue: 'roots' }), task('start', { queue: 'roots' }));
    await one.add(...Array.from({ length: n }, (_, i) => task(`wide${i}`, on('root'))));
    await one.add(
      ...Array.from({ length: n }, (_, i) => task(`deep${i}`, on(i === 0 ? 'start' : `deep${i - 1}`))),
    );
    const claims = await one.claim(2, { queues: [{ queue: 'roots', limit: 2 }] });
    const root = claims.find(({ task: id }) => id === 'root');
    const start = claims.find(({ task: id }) => id === 'start');
    assert.ok(root !== undefined && start !== undefined);
    const { readied } = await one.complete([root]);
    assert.ok(readied.length <= 1_000);
    const { ended } = await one.settle({ claim: start, as: 'bury', reason: 'R', error: 'e', signature: 's' });
    assert.ok(ended.length <= 1_000);
    const calls = await one.sweepAll();
    assert.ok(calls >= 18 && calls < 60, `${calls} sweeps`);
    const { queues } = await one.backend.tasks.counts(['work']);
    assert.deepEqual(
      [queues[0]?.states.ready, queues[0]?.states.cancelled, queues[0]?.states.waiting],
      [n, n, 0],
    );
    await done();
  }, 120_000);
});

describe('counters and history', () => {
  test('T9 at every moment while clients submit, claim, fail, cancel, sweep and forget', async () => {
    const workers = await mesh(4);
    const [first] = workers;
    let stopped = false;
    let looks = 0;
    const watching = (async () => {
      while (!stopped) {
        await conserved(first);
        looks += 1;
      }
    })();
    await Promise.all(
      workers.map(async (worker, w) => {
        const random = createRandom(`conservation ${w}`);
        for (let i = 0; i < 40; i++) {
          const ids = Array.from({ length: 10 }, (_, k) => `w${w}-${i}-${k}`);
          await worker.add(
            ...ids.map((id, k) =>
              task(id, {
                ...(k > 6 ? on(ids[k - 5] as string) : {}),
                limits: { maxCrashes: 3, keepMs: 5 },
                weight: k,
              }),
            ),
          );
          const claims = await worker.claim(8);
          await worker.settle(
            ...claims.map((claim): Settlement => {
              const roll = random.next();
              if (roll < 0.5) return { claim, as: 'complete', result: 1 };
              if (roll < 0.7) return { claim, as: 'retry', delayMs: roll < 0.6 ? 3 : 0, error: 'e' };
              if (roll < 0.8) return { claim, as: 'bury', reason: 'r', error: 'e', signature: 's' };
              return { claim, as: 'release', delayMs: 0, reason: 'r', refundAttempt: true };
            }),
          );
          if (i % 4 === w) await worker.backend.tasks.sweep(worker.op(), 200);
          if (i % 7 === 0)
            await worker.backend.tasks.cancel(worker.op(), [
              { task: `w${(w + 1) % 4}-${i}-9`, reason: 'x', tree: false, revoke: true },
            ]);
        }
      }),
    );
    stopped = true;
    await watching;
    assert.ok(looks > 10);
    await first.sweepAll();
    const { queues } = await first.backend.tasks.counts();
    const { rows } = await pool.query<{ state: number; n: string; w: number }>(
      `select state, count(*) n, coalesce(sum(coalesce(weight, 1)), 0) w from ${schema}.tasks group by state
       union all select state, count(*), 0 from ${schema}.task_ends group by state`,
    );
    const counted = queues[0]?.states;
    const names = [
      'waiting',
      'scheduled',
      'ready',
      'claimed',
      'completed',
      'dead',
      'cancelled',
      'skipped',
    ] as const;
    for (const [code, name] of names.entries()) {
      const row = rows.find(({ state }) => state === code);
      assert.equal(counted?.[name], Number(row?.n ?? 0), name);
      if (name === 'ready') assert.equal(queues[0]?.readyWeight, row?.w ?? 0);
    }
    assert.ok((queues[0]?.totals.pruned ?? 0) > 0);
    await done();
  }, 120_000);

  test('T6: a beat under way saves its session from being taken over, however late it is committed', async () => {
    const [first] = await mesh(1);
    const slow = await new Client(schema).open(`boot-${serial++}`, 500);
    clients.push(slow);
    await first.add(task('a'));
    const claims = await slow.claim(1);
    const beat = await pool.connect();
    await beat.query('begin');
    await beat.query(`update ${schema}.sessions set lease_ms = 600000 where number = $1`, [slow.session]);
    await beat.query(`select ${schema}.session_beat_v1($1, '{}')`, [slow.session]);
    await sleep(600);
    const takeOver = async (): Promise<readonly Claim[]> => {
      const request = {
        from: 'dead',
        match: 'any',
        limit: 9,
        maxMoves: 3,
        steal: 'its session ended',
      } as const;
      return (await first.backend.tasks.takeover(first.op(), request)).claims;
    };
    assert.deepEqual(await takeOver(), []);
    await beat.query('commit');
    beat.release();
    assert.deepEqual(await takeOver(), []);
    const { results } = await slow.complete(claims);
    assert.deepEqual(results, [{ status: 'settled', state: 'completed' }]);
    await done();
  });

  test('history is read to its end while others write: each transition once, those of a task in order', async () => {
    const [reader, ...writers] = await mesh(4);
    let open = writers.length;
    const writing = writers.map(async (writer, w) => {
      for (let i = 0; i < 40; i++) {
        await writer.add(...Array.from({ length: 5 }, (_, k) => task(`w${w}-${i}-${k}`)));
        await writer.complete(await writer.claim(5));
      }
      // Of what a rival is about to claim a claim takes nothing.
      for (let claims = await writer.claim(50); claims.length > 0; claims = await writer.claim(50))
        await writer.complete(claims);
      open -= 1;
    });
    const seen = new Map<string, string[]>();
    let after: HistoryPage['after'];
    let isLast = false;
    for (;;) {
      // The end of a page isn't the end while somebody writes.
      const wasOpen = open > 0;
      const page = await reader.backend.tasks.history(
        {},
        { limit: 50, ...(after === undefined ? {} : { after }) },
      );
      if (page.next === undefined) {
        if (!wasOpen) isLast = true;
        else continue;
      }
      for (const { task: id, from, to } of page.items)
        seen.set(id, [...(seen.get(id) ?? []), `${from} ${to}`]);
      if (isLast) break;
      after = page.next;
    }
    await Promise.all(writing);
    assert.equal(seen.size, 600);
    for (const steps of seen.values())
      assert.deepEqual(steps, ['new ready', 'ready claimed', 'claimed completed']);
    await done();
  });

  test('history misses nobody who commits late, and waits for nobody who never does', async () => {
    const [reader, early, late, other] = (await mesh(4)) as readonly [Client, Client, Client, Client];
    const seen = new Map<string, string[]>();
    let after: HistoryPage['after'];
    /** Reads up to what is the end now; what the last page has is read again by the next call. */
    const readOn = async (limit: number, last = false): Promise<readonly string[]> => {
      for (let pages = 0; ; pages++) {
        assert.ok(pages < 1_000, 'it comes to an end');
        const page = await reader.backend.tasks.history(
          {},
          { limit, ...(after === undefined ? {} : { after }) },
        );
        assert.ok(page.items.length <= limit);
        const ids = page.items.map(({ task: id }) => id);
        if (page.next === undefined && !last) return ids;
        for (const { task: id, from, to } of page.items)
          seen.set(id, [...(seen.get(id) ?? []), `${from} ${to}`]);
        if (page.next === undefined) return ids;
        after = page.next;
      }
    };
    const held = await Promise.all([pool.connect(), pool.connect()]);
    for (const client of held) await client.query('begin');
    // Of the two that are held open the one that began first commits first, so the other is the oldest then.
    await held[0].query('select pg_current_xact_id()');
    const into = async (client: pg.ClientBase, who: Client, ...ids: readonly string[]): Promise<unknown> =>
      await who.backend.tasks.within(client).enqueue(
        who.op(),
        ids.map((id) => task(id)),
      );
    const expected: string[] = [];
    const given = (...ids: readonly string[]): readonly string[] => {
      expected.push(...ids);
      return ids;
    };
    for (let i = 0; i < 20; i++) {
      await into(held[1], late, ...given(`late${i}`, `late${i}b`, `late${i}c`));
      await other.add(...given(`a${i}`, `b${i}`).map((id) => task(id)));
      await into(held[0], early, ...given(`early${i}`));
    }
    await readOn(1);
    for (let i = 0; i < 30; i++) {
      // Numbers that nobody commits: taken back, cut off, and lost by the server, as in a crash.
      const undone = new pg.Client({ connectionString: inject('postgresUrl') });
      undone.on('error', () => undefined);
      await undone.connect();
      await undone.query('begin');
      await into(undone, other, `undone${i}`);
      if (i % 3 === 0) {
        const { rows } = await undone.query<{ pid: number }>('select pg_backend_pid() as pid');
        await pool.query('select pg_terminate_backend($1)', [rows[0]?.pid]);
      } else {
        await undone.query('rollback');
      }
      await undone.end();
      if (i % 5 === 0) await pool.query(`select nextval('${schema}.task_pos') from generate_series(1, 32)`);
    }
    await other.add(...given('after').map((id) => task(id)));
    assert.deepEqual(await readOn(1), ['after'], 'behind all that is missing');
    await other.add(...given('x', 'y').map((id) => task(id)));
    await held[0].query('commit');
    await readOn(2);
    assert.equal(seen.get('early19')?.length, 1, 'what was committed between two pages');
    await other.add(...given('z').map((id) => task(id)));
    await held[1].query('commit');
    for (const client of held) client.release();
    await readOn(2);
    await other.complete(await other.claim(1_000));
    await readOn(7, true);
    assert.deepEqual([...seen.keys()].toSorted(), expected.toSorted());
    for (const [id, steps] of seen)
      assert.deepEqual(steps, ['new ready', 'ready claimed', 'claimed completed'], id);
    await done();
  }, 60_000);

  test('times never run backwards: who waited answers when it went on', async () => {
    const [one, two, three] = (await mesh(3)) as readonly [Client, Client, Client];
    const holder = await pool.connect();
    /** While a row is held: the first call waits for it, then the second is answered, then the row is let go. */
    const overtaken = async <A, B>(
      held: string,
      first: () => Promise<A>,
      second: () => Promise<B>,
    ): Promise<[A, B]> => {
      await holder.query('begin');
      await holder.query(held);
      const waiting = first();
      for (let looks = 0; ; looks++) {
        assert.ok(looks < 5_000, 'it waits');
        const { rows } = await pool.query<{ n: number }>(
          `select count(*)::int as n from pg_locks l join pg_stat_activity a using (pid)
           where not l.granted and l.transactionid is not null and a.query like $1`,
          [`%${schema}.%`],
        );
        if (rows[0]?.n === 1) break;
      }
      const later = await second();
      await holder.query('commit');
      return [await waiting, later];
    };
    const inOrder = async (id: string, steps: number): Promise<void> => {
      const { items } = await one.backend.tasks.history({ task: id }, { limit: 10 });
      assert.equal(items.length, steps);
      assert.ok(
        items.every(({ at }, i) => i === 0 || at >= (items[i - 1]?.at ?? 0)),
        JSON.stringify(items),
      );
    };
    await one.configure('work', { maxRunning: 5 });
    await one.add(task('first'));
    await one.complete(await one.claim(5));
    const [claimed, { at }] = await overtaken(
      `select from ${schema}.task_queues where name = 'work' for update`,
      () =>
        one.backend.tasks.claim(one.op(), {
          offers: [{ capabilities: [], slots: 5 }],
          agents: [],
          assigned: 0,
          limit: 5,
          start: 5,
        }),
      () => two.backend.tasks.enqueue(two.op(), [task('parent')]),
    );
    assert.equal(claimed.claims.length, 1);
    assert.ok(claimed.at >= at, 'not older than what it saw');
    await inOrder('parent', 2);
    const [settled, child] = await overtaken(
      `select from ${schema}.tasks where state = 3 for no key update`,
      () => one.complete(claimed.claims),
      () => three.backend.tasks.enqueue(three.op(), [task('child', on('parent'))]),
    );
    assert.deepEqual(settled.readied, [{ task: 'child', queue: 'work' }]);
    assert.ok(settled.at >= child.at);
    await inOrder('child', 2);
    holder.release();
    await done();
  });

  test('the audit trail is kept for as many days as the option says', async () => {
    const [one] = await mesh(1);
    const brief = postgres({ url: inject('postgresUrl'), schema, historyDays: 2 });
    await brief.start(runtime);
    await one.add(task('old'));
    await one.add(task('new'));
    await pool.query(
      `update ${schema}.task_journal set at = at - 3 * 86400000000::bigint where pos = (select min(pos) from ${schema}.task_journal)`,
    );
    const left = async (): Promise<readonly string[]> => {
      const { items } = await one.backend.tasks.history({}, { limit: 10 });
      return items.map(({ task: id }) => id);
    };
    await one.sweepAll();
    assert.deepEqual(await left(), ['old', 'new']);
    // A transaction of anybody on this server holds it up for as long as it is open.
    for (let i = 0; i < 200 && (await left()).length > 1; i++) {
      await brief.tasks.sweep(one.op(), 1_000);
      await sleep(10);
    }
    assert.deepEqual(await left(), ['new']);
    await brief.stop();
    await done();
  });

  test('what is over its time is forgotten in bounded calls, its end remembered, and lists go on', async () => {
    const [one] = await mesh(1);
    await one.add(
      ...Array.from({ length: 1_500 }, (_, i) =>
        task(`t${i}`, { limits: { maxCrashes: 3, keepMs: 1 }, key: `k${i}` }),
      ),
    );
    for (let i = 0; i < 3; i++) await one.complete(await one.claim(500));
    const first = await one.backend.tasks.sweep(one.op(), 400);
    assert.ok(first.pruned > 0 && first.pruned <= 400, `${first.pruned}`);
    await one.sweepAll();
    const { queues } = await one.backend.tasks.counts();
    assert.deepEqual([queues[0]?.totals.pruned, queues[0]?.states.completed], [1_500, 0]);
    await one.add(task('child', on('t7', 't1499')), task('again', { key: 'k3' }));
    const { rows } = await pool.query<{ n: string }>(
      `select (select count(*) from ${schema}.task_bodies) + (select count(*) from ${schema}.task_expiries) as n`,
    );
    assert.equal(Number(rows[0]?.n), 2);
    assert.equal((await one.backend.tasks.history({ task: 't7' }, { limit: 10 })).items.length, 3);
    await done();
  });
});

describe('within a transaction of the caller', () => {
  test('T11: enqueue and settle go with it, or not at all', async () => {
    const [one] = await mesh(1);
    const client = await pool.connect();
    await client.query('begin');
    const joined = one.backend.tasks.within(client);
    await joined.enqueue(one.op(), [task('kept')]);
    assert.deepEqual(await one.claim(5), [], 'not before the commit');
    await client.query('commit');
    await client.query('begin');
    await one.backend.tasks.within(client).enqueue(one.op(), [task('gone')]);
    await client.query('rollback');
    const [claim] = await one.claim(5);
    assert.equal(claim?.task, 'kept');
    await client.query('begin');
    await one.backend.tasks.within(client).settle(one.op(), [{ claim, as: 'complete', result: 1 }]);
    await client.query('rollback');
    assert.equal((await one.backend.tasks.get(['kept']))[0]?.state, 'claimed');
    await client.query('begin');
    const { results } = await one.backend.tasks
      .within(client)
      .settle(one.op(), [{ claim, as: 'complete', result: 1 }]);
    await client.query('commit');
    assert.deepEqual(results, [{ status: 'settled', state: 'completed' }]);
    assert.deepEqual(
      (await one.backend.tasks.get(['kept', 'gone'])).map((record) => record?.state),
      ['completed', undefined],
    );
    client.release();
    await done();
  });

  test('T11: another isolation than READ COMMITTED is refused', async () => {
    const [one] = await mesh(1);
    const client = await pool.connect();
    await client.query('begin isolation level repeatable read');
    await expect(one.backend.tasks.within(client).enqueue(one.op(), [task('a')])).rejects.toMatchObject({
      code: 'NOT_SUPPORTED',
    });
    await client.query('rollback');
    client.release();
    await done();
  });
});

test('a trigger or another language submits in its own transaction, and its key means the same', async () => {
  const [one] = await mesh(1);
  const submit = (payload: string, key: string): Promise<{ rows: { id: string }[] }> =>
    pool.query(
      `select ${schema}.task_submit_v1('work', 'step', '${payload}', p_priority => 3, p_key => '${key}') as id`,
    );
  const { rows } = await submit('{"a": 1, "b": [2]}', 'k');
  assert.deepEqual((await submit('{"b":[2],"a":1}', 'k')).rows, rows);
  await expect(submit('{"a":2}', 'k')).rejects.toMatchObject({ code: '23505' });
  const again = await one.backend.tasks.enqueue(one.op(), [
    task('x', { key: 'k', payload: { b: [2], a: 1 } }),
  ]);
  assert.deepEqual(again.results[0], {
    status: 'duplicate',
    id: rows[0]?.id,
    state: 'ready',
    replaced: false,
  });
  const [claim] = await one.claim(5);
  assert.deepEqual(
    [claim?.task, claim?.body.payload, claim?.body.priority],
    [rows[0]?.id, { a: 1, b: [2] }, 3],
  );
  await done();
});

describe('what submitTask would refuse is refused from SQL too, with a message that names the argument', () => {
  const long = 'x'.repeat(201);
  const cases: readonly (readonly [name: string, args: string, message: RegExp])[] = [
    ...['null', `''`, `'${long}'`, `'${'ä'.repeat(101)}'`, `E'a\\nb'`, `E'\\u007f'`].flatMap(
      (text): (readonly [string, string, RegExp])[] => [
        [`queue ${text}`, `${text}, 't', '1'`, /p_queue/],
        [`type ${text}`, `'q', ${text}, '1'`, /p_type/],
        [`capability ${text}`, `'q', 't', '1', p_capabilities => array['a', ${text}]`, /p_capabilities/],
        ...(text === 'null'
          ? []
          : ([
              [`id ${text}`, `'q', 't', '1', p_id => ${text}`, /p_id/],
              [`key ${text}`, `'q', 't', '1', p_key => ${text}`, /p_key/],
            ] as const)),
      ],
    ),
    ...['null', '1001', '-1001'].map(
      (n) => [`priority ${n}`, `'q', 't', '1', p_priority => ${n}`, /p_priority.*-1000 to 1000/] as const,
    ),
    ...['null', '-1', `'NaN'`, `'Infinity'`].flatMap((n) => [
      [`delay ${n}`, `'q', 't', '1', p_delay_ms => ${n}`, /p_delay_ms/] as const,
      [`time to keep ${n}`, `'q', 't', '1', p_keep_ms => ${n}`, /p_keep_ms/] as const,
    ]),
    ...['null', '-1'].map(
      (n) => [`crashes ${n}`, `'q', 't', '1', p_max_crashes => ${n}`, /p_max_crashes/] as const,
    ),
    ['a payload of more than 256 KiB', `'q', 't', to_json(repeat('x', 262143))`, /p_payload.*262144 bytes/],
    [
      'more than 1,000 capabilities',
      `'q', 't', '1', p_capabilities => array(select 'c' || n from generate_series(1, 1001) n)`,
      /p_capabilities.*1000/,
    ],
  ];
  let submit: (args: string) => Promise<{ readonly rows: readonly { readonly id: string }[] }>;

  beforeAll(async () => {
    await mesh(1);
    const here = schema;
    submit = (args) => pool.query(`select ${here}.task_submit_v1(${args}) as id`);
  });
  afterAll(() => done());

  test.each(cases)('%s', async (_, args, message) => {
    await expect(submit(args)).rejects.toMatchObject({
      code: '22023',
      message: expect.stringMatching(message),
    });
  });

  test('what is just within the limits is taken', async () => {
    const name = 'x'.repeat(200);
    const most = `p_priority => 1000, p_delay_ms => 0.5, p_key => '${name}', p_keep_ms => 0, p_max_crashes => 0`;
    const { rows } = await submit(
      `'${name}', '${name}', to_json(repeat('x', 262142)), p_id => '${'ä'.repeat(100)}', ${most}`,
    );
    assert.deepEqual(rows, [{ id: 'ä'.repeat(100) }]);
  });

  test('nulls where nothing is said: no input, no id, no key, no capabilities', async () => {
    const { rows } = await submit(`'q', 't', null, p_id => null, p_key => null, p_capabilities => null`);
    assert.match(rows[0]?.id ?? '', /^[0-9a-f-]{36}$/);
  });

  test('capabilities that are said twice count once', async () => {
    await submit(`'twice', 't', '1', p_capabilities => array['b', 'a', 'b']`);
    const { rows } = await pool.query<{ capabilities: string }>(
      `select distinct l.capabilities from ${schema}.task_lanes l
       join ${schema}.task_queues q on q.number = l.queue where q.name = 'twice'`,
    );
    assert.deepEqual(rows, [{ capabilities: '["a","b"]' }]);
  });

  test('a key or an id of another task: the message names what the caller gave', async () => {
    await submit(`'q', 't', '1', p_key => 'k1', p_id => 'one'`);
    const refused = { code: '23505' };
    await expect(submit(`'q', 't', '2', p_key => 'k1'`)).rejects.toMatchObject({
      ...refused,
      message: 'Key k1 was used for another queue, type or payload',
    });
    await expect(submit(`'q', 't', '2', p_key => 'k2', p_id => 'one'`)).rejects.toMatchObject({
      ...refused,
      message: 'Id one was used for another queue, type or payload',
    });
  });
});

test('what a task from SQL leaves unsaid is as submitTask has it', async () => {
  await mesh(1);
  const manager = await CoordinationManager.start({
    backend: postgres({ url: inject('postgresUrl'), schema }),
    metrics: false,
  });
  await manager.submitTask({ type: 'step', queue: 'work', id: 'library', input: 1 });
  await pool.query(`select ${schema}.task_submit_v1('work', 'step', '1', p_id => 'sql')`);
  const { rows } = await pool.query<{ id: string }>(
    `select b.id, b.payload, b.priority, b.weight, b.max_crashes, b.keep_ms, b.deadline_ms, t.lane, t.state
     from ${schema}.task_bodies b join ${schema}.tasks t on t.seq = b.seq order by b.id`,
  );
  const [library, fromSql] = rows;
  assert.deepEqual({ ...fromSql, id: 'library' }, library);
  await manager.shutdown();
  await done();
});

test('statistics that take the tables for empty change no plan: a call reads its own rows only', async () => {
  const [one] = await mesh(1);
  const n = 4_000;
  await one.add(...Array.from({ length: n }, (_, i) => task(`t${i}`)));
  const claims: Claim[] = [];
  while (claims.length < n) claims.push(...(await one.claim(1_000)));
  await one.add(...Array.from({ length: n }, (_, i) => task(`c${i}`, on(`t${i}`))));
  await pool.query(
    `update pg_class set reltuples = 0, relpages = 1000 where relnamespace = '${schema}'::regnamespace`,
  );
  const client = await pool.connect();
  await client.query('begin');
  const joined = one.backend.tasks.within(client);
  const part = (from: number): readonly Claim[] => claims.slice(from, from + 10);
  await joined.settle(
    one.op(),
    part(0).map((claim): Settlement => ({ claim, as: 'complete', result: 1 })),
  );
  await joined.settle(
    one.op(),
    part(10).map((claim): Settlement => ({ claim, as: 'retry', delayMs: 0, error: 'e' })),
  );
  await joined.settle(
    one.op(),
    part(20).map((claim): Settlement => ({ claim, as: 'bury', reason: 'r', error: 'e', signature: 's' })),
  );
  await joined.enqueue(
    one.op(),
    part(30).map(({ task: id }) => task(`late-${id}`, on(id))),
  );
  const { rows } = await client.query<{ relname: string; read: string }>(
    `select relname, coalesce(idx_tup_fetch, 0) + seq_tup_read as read from pg_stat_xact_user_tables
     where schemaname = '${schema}' and relname in ('tasks', 'task_bodies', 'task_ends', 'task_edges')`,
  );
  await client.query('commit');
  client.release();
  assert.equal(rows.length, 4);
  for (const { relname, read } of rows)
    assert.ok(Number(read) < 1_500, `${read} rows of ${relname} were read`);
  await done();
});

test('an old snapshot does not make claims slower and slower', async () => {
  const [one] = await mesh(1);
  const n = 20_000;
  await one.add(...Array.from({ length: n }, (_, i) => task(`t${i}`)));
  const client = await pool.connect();
  await client.query('begin isolation level repeatable read');
  await client.query(`select count(*) from ${schema}.tasks`);
  const rates: number[] = [];
  for (let part = 0; part < 4; part++) {
    const begun = process.hrtime.bigint();
    for (let got = 0; got < n / 4; ) {
      const claims = await one.claim(250);
      got += claims.length;
      await one.complete(claims);
    }
    rates.push(n / 4 / (Number(process.hrtime.bigint() - begun) / 1e9));
  }
  await client.query('rollback');
  client.release();
  assert.ok((rates[3] as number) > 0.4 * (rates[0] as number), rates.map(Math.round).join(' '));
  await done();
}, 120_000);

test('a session that ends between a claim and its commit leaves nothing that nobody may take', async () => {
  const [one, two] = (await mesh(2)) as [Client, Client];
  await one.add(...Array.from({ length: 40 }, (_, i) => task(`t${i}`)));
  const claiming = Array.from({ length: 8 }, () => two.claim(5, { start: 0 }).catch(() => []));
  await Promise.all([...claiming, two.backend.sessions.close(two.session)]);
  const taken = await one.backend.tasks.takeover(one.op(), {
    from: 'dead',
    match: 'any',
    limit: 100,
    maxMoves: 3,
    steal: 's',
  });
  const { queues } = await one.backend.tasks.counts();
  assert.equal((queues[0]?.states.ready ?? 0) + taken.claims.length, 40);
  await done();
});
