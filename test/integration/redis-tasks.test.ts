import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { EMPTY_REPORT } from '../../src/core/empty-report.ts';
import type { Claim, NewTask, TaskStore } from '../../src/core/ports/tasks.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { memoryEnvironment } from '../support/memory-environment.ts';
import { type UsedRedis, useRedis } from '../support/redis-backends.ts';
import {
  completeAll,
  conservationFaults,
  edgesTo,
  enqueueMany,
  plainTask,
  runAll,
  shuffled,
  sweepAll,
  type TaskCaller,
  wanting,
} from '../support/redis-task-load.ts';

const SEED = process.env['FC_SEED'] ?? '0';
let meshes = 0;
let admin: Redis;

beforeAll(() => {
  admin = new Redis(inject('redisUrl'));
});
afterAll(() => {
  admin.disconnect();
});

/** A mesh of its own on the server of this run, and a process in it. */
async function someone(mesh = `tasks-${process.pid}-${++meshes}`): Promise<UsedRedis & TaskCaller> {
  const used = await useRedis({ url: inject('redisUrl'), mesh });
  return Object.assign(used, { tasks: used.backend.tasks });
}

function lastMesh(): string {
  return `tasks-${process.pid}-${meshes}`;
}

async function statesOf(tasks: TaskStore, queue = 'q'): Promise<Readonly<Record<string, number>>> {
  const { queues } = await tasks.counts([queue]);
  return Object.fromEntries(Object.entries(queues[0]?.states ?? {}).filter(([, count]) => count > 0));
}

describe('claims', () => {
  test('several processes at once: every task to one of them, none left, all counted', async () => {
    await using first = await someone();
    const others = await Promise.all([1, 2, 3].map(() => someone(lastMesh())));
    const ids = Array.from({ length: 6_000 }, (_, i) => `t${i}`);
    const producing = enqueueMany(
      first,
      ids.map((id, i) => plainTask(id, { priority: i % 3, ...(i % 7 === 0 ? { group: `g${i % 5}` } : {}) })),
    );
    const seen = new Map<string, number>();
    let left = ids.length;
    const consume = async (caller: TaskCaller, size: number): Promise<void> => {
      while (left > 0) {
        const { claims } = await caller.tasks.claim(caller.op(), wanting(size));
        for (const { task } of claims) seen.set(task, (seen.get(task) ?? 0) + 1);
        left -= claims.length;
        await completeAll(caller, claims);
      }
    };
    await Promise.all([
      producing,
      ...[first, ...others].map((caller, i) => consume(caller, [250, 40, 7, 100][i] ?? 1)),
    ]);
    expect(seen.size).toBe(ids.length);
    expect([...seen.values()].every((times) => times === 1)).toBe(true);
    expect(await statesOf(first.tasks)).toEqual({ completed: ids.length });
    expect(await conservationFaults(first)).toEqual([]);
    for (const other of others) await other[Symbol.asyncDispose]();
  });

  test('in the order of their rank, of however many groups they are', async () => {
    await using me = await someone();
    const ids = Array.from({ length: 120 }, (_, i) => `t${i}`);
    await enqueueMany(
      me,
      ids.map((id, i) => plainTask(id, { group: `g${i % 60}` })),
    );
    const { claims } = await me.tasks.claim(me.op(), wanting(120));
    expect(claims.map(({ task }) => task)).toEqual(ids);
  });

  test('limits of queue and group hold at every moment, whoever claims', async () => {
    await using first = await someone();
    await using second = await someone(lastMesh());
    await first.tasks.configure(first.op(), 'q', undefined, {
      paused: false,
      ageStepMs: 10_000,
      maxRunning: 9,
      maxRunningPerGroup: 4,
    });
    await enqueueMany(
      first,
      Array.from({ length: 400 }, (_, i) => plainTask(`t${i}`, { group: `g${i % 3}`, priority: i % 4 })),
    );
    let done = 0;
    const running = new Map<string, number>();
    const add = (claims: readonly Claim[], by: number): void => {
      for (const { body } of claims) running.set(body.group ?? '', (running.get(body.group ?? '') ?? 0) + by);
    };
    const work = async (caller: TaskCaller): Promise<void> => {
      while (done < 400) {
        const { claims } = await caller.tasks.claim(caller.op(), wanting(6));
        add(claims, 1);
        expect(Math.max(0, ...running.values())).toBeLessThanOrEqual(4);
        expect([...running.values()].reduce((a, b) => a + b, 0)).toBeLessThanOrEqual(9);
        add(claims, -1);
        done += claims.length;
        await completeAll(caller, claims);
      }
    };
    await Promise.all([work(first), work(second)]);
    expect(await statesOf(first.tasks)).toEqual({ completed: 400 });
  });

  test('a claim that fills its queue does not say that there is more', async () => {
    await using me = await someone();
    const limits = { paused: false, ageStepMs: 10_000, maxRunning: 2 };
    await me.tasks.configure(me.op(), 'q', undefined, limits);
    await me.tasks.enqueue(
      me.op(),
      ['a', 'b', 'c'].map((id) => plainTask(id)),
    );
    expect(await me.tasks.claim(me.op(), wanting(1))).toMatchObject({ claims: [{ task: 'a' }], more: true });
    expect(await me.tasks.claim(me.op(), wanting(1))).toMatchObject({ claims: [{ task: 'b' }], more: false });
  });

  test('tasks moved out of long lists and back keep the order memory has', async () => {
    const model = await memoryEnvironment();
    await using real = await someone();
    const store = model.backend.tasks as TaskStore;
    const opened = await model.backend.sessions?.open({
      boot: 'b',
      leaseMs: 6e5,
      writer: 1,
      report: EMPTY_REPORT,
    });
    let sequence = 0;
    const twin: TaskCaller = {
      tasks: store,
      op: () => ({ session: opened?.session as never, sequence: ++sequence }),
    };
    const random = createRandom(`order ${SEED}`);
    const ids = Array.from({ length: 700 }, (_, i) => `t${i}`);
    const both = async (call: (caller: TaskCaller) => unknown): Promise<void> => {
      await call(twin);
      await call(real);
    };
    // No ageing, so that the order is one of priority and arrival: the two clocks differ.
    await both(({ tasks, op }) => tasks.configure(op(), 'q', undefined, { paused: false, ageStepMs: 1e9 }));
    await both((caller) =>
      enqueueMany(
        caller,
        ids.map((id) => plainTask(id)),
      ),
    );
    const alive = new Set(ids);
    for (let round = 0; round < 250; round++) {
      const id = ids[Math.floor(random.next() * ids.length)] as string;
      const choice = random.next();
      if (choice < 0.5) {
        const priority = Math.floor(random.next() * 3) - 1;
        await both(({ tasks, op }) =>
          tasks.revise(op(), { filter: { ids: [id] }, revision: { set: 'priority', priority }, limit: 1 }),
        );
      } else if (alive.delete(id)) {
        await both(({ tasks, op }) =>
          tasks.cancel(op(), [{ task: id, reason: 'r', tree: false, revoke: false }]),
        );
        if (choice < 0.75) continue;
        await both(({ tasks, op }) =>
          tasks.revise(op(), { filter: { ids: [id] }, revision: { set: 'discard' }, limit: 1 }),
        );
        alive.add(id);
        await both(({ tasks, op }) => tasks.enqueue(op(), [plainTask(id, { named: true })]));
      }
    }
    const listed = await real.tasks.list({ queue: 'q' }, { limit: 1_000, order: 'queue' });
    const orders = await Promise.all(
      [twin, real].map(async (caller) => {
        const order: string[] = [];
        for (;;) {
          const { claims } = await caller.tasks.claim(caller.op(), wanting(1 + (order.length % 97)));
          if (claims.length === 0) return order;
          order.push(...claims.map(({ task }) => task));
        }
      }),
    );
    expect(orders[1]).toEqual(orders[0]);
    expect(orders[1]).toHaveLength(alive.size);
    expect(listed.items.map(({ id }) => id)).toEqual(orders[0]);
    // The dead entries of the lists are gone with them.
    expect(await admin.exists(`agentmesh:{${lastMesh()}}:t:x`)).toBe(0);
    await model.backend.stop();
  });

  test('ids made for their tasks, that come again as the user’s, are the same tasks', async () => {
    await using me = await someone();
    const batch = Array.from({ length: 20 }, (_, i) =>
      plainTask(`t${i}`, { type: `type${i % 3}`, priority: i % 2 }),
    );
    await me.tasks.enqueue(me.op(), batch);
    const first = await me.tasks.enqueue(me.op(), batch);
    expect(new Set(first.results.map(({ status }) => status))).toEqual(new Set(['duplicate']));
    const mixed = await me.tasks.enqueue(me.op(), [plainTask('t3', { type: 'type0' }), plainTask('new')]);
    expect(mixed.results.map(({ status }) => status)).toEqual(['duplicate', 'enqueued']);
    const { claims } = await me.tasks.claim(me.op(), wanting(100));
    const byPriority = (p: number): string[] =>
      batch.filter(({ priority }) => priority === p).map(({ id }) => id);
    expect(claims.map(({ task }) => task)).toEqual([...byPriority(1), ...byPriority(0), 'new']);
  });
});

describe('replay', () => {
  test('every call carried out once, twice or three times under load: nothing lost, nothing done twice', async () => {
    await using me = await someone();
    const random = createRandom(`replay ${SEED}`);
    /** As a client whose replies are cut: the same operation again, until an answer arrives. */
    const again = async <T>(send: (op: ReturnType<TaskCaller['op']>) => T): Promise<Awaited<T>> => {
      const op = me.op();
      let answer = await send(op);
      while (random.next() < 0.4) answer = await send(op);
      return answer;
    };
    const { tasks } = me;
    const ids = Array.from({ length: 1_500 }, (_, i) => `t${i}`);
    for (let from = 0; from < ids.length; from += 100) {
      const some = ids
        .slice(from, from + 100)
        .map((id, i) =>
          plainTask(id, i % 3 === 0 && from > 0 ? { dependsOn: edgesTo(`t${from - 100 + i}`) } : {}),
        );
      await again((op) => tasks.enqueue(op, some));
    }
    const tokens = new Set<number>();
    let done = 0;
    for (let round = 0; round < 400 && done < ids.length; round++) {
      const { claims } = await again((op) => tasks.claim(op, wanting(60, 30)));
      for (const { token } of claims) {
        expect(tokens.has(token), 'a token is given out once').toBe(false);
        tokens.add(token);
      }
      if (claims.length === 0) continue;
      const [some, rest] = [claims.slice(0, 40), claims.slice(40)];
      await again((op) =>
        tasks.settle(
          op,
          some.map((claim) => ({ claim, as: 'complete', result: 1 })),
        ),
      );
      done += some.length;
      if (rest.length === 0) continue;
      const release = { as: 'release', delayMs: 0, reason: 'later', refundAttempt: false } as const;
      await again((op) =>
        tasks.settle(
          op,
          rest.map((claim) => ({ claim, ...release })),
        ),
      );
    }
    expect(await statesOf(tasks)).toEqual({ completed: ids.length });
    const { queues } = await tasks.counts(['q']);
    expect(queues[0]?.totals).toMatchObject({
      enqueued: ids.length,
      attempts: tokens.size,
      staleSettles: 0,
      duplicates: 0,
    });
  });

  test('a takeover whose reply was lost is found again, with the same tokens', async () => {
    await using me = await someone();
    await using dying = await someone(lastMesh());
    await me.tasks.enqueue(
      me.op(),
      ['a', 'b', 'c'].map((id) => plainTask(id)),
    );
    await dying.tasks.claim(dying.op(), wanting(3, 2));
    await dying.backend.sessions.close(dying.session);
    const op = me.op();
    const request = { from: 'dead', match: 'any', limit: 10, maxMoves: 3, steal: 's' } as const;
    const first = await me.tasks.takeover(op, request);
    expect(first.claims.map(({ task, crashes }) => [task, crashes])).toEqual([
      ['a', 1],
      ['b', 1],
    ]);
    expect(await me.tasks.takeover(op, request)).toEqual(first);
    await completeAll(me, first.claims);
    expect((await me.tasks.takeover(me.op(), request)).claims).toEqual([]);
    expect(await statesOf(me.tasks)).toEqual({ ready: 1, completed: 2 });
  });

  test('a claim that comes again behind a later one answers with its own tasks alone', async () => {
    await using me = await someone();
    await me.tasks.enqueue(
      me.op(),
      ['a', 'b', 'c'].map((id) => plainTask(id)),
    );
    const ops = [me.op(), me.op(), me.op()];
    const answers = [];
    for (const op of ops) answers.push(await me.tasks.claim(op, wanting(1)));
    expect(answers.map(({ claims }) => claims.map(({ task }) => task))).toEqual([['a'], ['b'], ['c']]);
    for (const [i, op] of ops.entries()) expect(await me.tasks.claim(op, wanting(1))).toEqual(answers[i]);
  });

  test('SCRIPT FLUSH at any time changes nothing', async () => {
    await using me = await someone();
    const ids = Array.from({ length: 500 }, (_, i) => `t${i}`);
    const flushing = (async () => {
      for (let i = 0; i < 20; i++) await admin.script('FLUSH');
    })();
    await enqueueMany(
      me,
      ids.map((id) => plainTask(id)),
    );
    expect(await runAll(me, 20)).toHaveLength(ids.length);
    await flushing;
    expect(await statesOf(me.tasks)).toEqual({ completed: ids.length });
  });
});

describe('graphs', () => {
  test('10,000 children of one parent: told by the settle and by sweeps, each once', async () => {
    await using me = await someone();
    await me.tasks.enqueue(me.op(), [plainTask('root')]);
    const children = Array.from({ length: 10_000 }, (_, i) =>
      plainTask(`c${i}`, { dependsOn: edgesTo('root') }),
    );
    await enqueueMany(me, children);
    const { claims } = await me.tasks.claim(me.op(), wanting(1));
    const { readied, more } = await me.tasks.settle(me.op(), [
      { claim: claims[0] as Claim, as: 'complete', result: null },
    ]);
    expect([readied.length, more]).toEqual([250, true]);
    expect(await sweepAll(me)).toBeGreaterThanOrEqual(39);
    expect(await statesOf(me.tasks)).toEqual({ completed: 1, ready: 10_000 });
    const ran = await runAll(me, 250);
    expect(ran.map(({ task }) => task)).toEqual(children.map(({ id }) => id));
  });

  test('a chain of 100,000 is cancelled from its beginning, a step at a time', async () => {
    await using me = await someone();
    const length = 100_000;
    await enqueueMany(
      me,
      Array.from({ length }, (_, i) =>
        plainTask(`t${i}`, i === 0 ? {} : { dependsOn: edgesTo(`t${i - 1}`) }),
      ),
    );
    expect(await statesOf(me.tasks)).toEqual({ ready: 1, waiting: length - 1 });
    const { ended, more } = await me.tasks.cancel(me.op(), [
      { task: 't0', reason: 'enough', tree: false, revoke: false },
    ]);
    expect([ended.length <= 1_001, more]).toEqual([true, true]);
    await sweepAll(me);
    expect(await statesOf(me.tasks)).toEqual({ cancelled: length });
    expect(await conservationFaults(me)).toEqual([]);
  }, 120_000);

  test('random graphs with placeholders and cycles: refused and run as in memory', async () => {
    const model = await memoryEnvironment();
    const opened = await model.backend.sessions?.open({
      boot: 'b',
      leaseMs: 6e5,
      writer: 1,
      report: EMPTY_REPORT,
    });
    let sequence = 0;
    const twin: TaskCaller = {
      tasks: model.backend.tasks as TaskStore,
      op: () => ({ session: opened?.session as never, sequence: ++sequence }),
    };
    await using real = await someone();
    const random = createRandom(`graphs ${SEED}`);
    const refused = { cycle: 0 };
    for (let round = 0; round < 12; round++) {
      const ids = Array.from({ length: 60 }, (_, i) => `r${round}-${i}`);
      const tasks = shuffled(ids, `${SEED} ${round}`).map((id, at): NewTask => {
        const count = Math.floor(random.next() * 3);
        const parents = new Set(
          Array.from({ length: count }, () => ids[Math.floor(random.next() * ids.length)] as string),
        );
        const policies = ['cancel', 'skip', 'wait', 'continue'] as const;
        const dependsOn = [...parents].map((parent) => ({
          parent,
          onFailure: policies[Math.floor(random.next() * 4)] ?? 'cancel',
        }));
        return plainTask(id, { named: true, dependsOn, priority: at % 2 });
      });
      for (let from = 0; from < tasks.length; from += 9) {
        const batch = tasks.slice(from, from + 9);
        const [a, b] = [
          await twin.tasks.enqueue(twin.op(), batch),
          await real.tasks.enqueue(real.op(), batch),
        ];
        expect(b.results).toEqual(a.results);
        refused.cycle += a.results.filter(({ status }) => status === 'cycle').length;
      }
      const fails = new Set(ids.filter(() => random.next() < 0.15));
      const run = async (caller: TaskCaller): Promise<readonly string[]> => {
        for (;;) {
          const { claims } = await caller.tasks.claim(caller.op(), wanting(20));
          if (claims.length === 0) break;
          await caller.tasks.settle(
            caller.op(),
            claims.map((claim) =>
              fails.has(claim.task)
                ? { claim, as: 'bury', reason: 'r', error: 'e', signature: 's' }
                : { claim, as: 'complete', result: null },
            ),
          );
          await sweepAll(caller);
        }
        return (await caller.tasks.get(ids)).map((record) => record?.state ?? 'unknown');
      };
      const states = await run(twin);
      expect(await run(real)).toEqual(states);
      // What waits for ever waits for an id that was refused.
      expect(new Set(states).size).toBeGreaterThan(1);
    }
    expect(refused.cycle).toBeGreaterThan(0);
    await model.backend.stop();
  });

  test('a parent that comes by the quick way wakes the children that were there before it', async () => {
    await using me = await someone();
    await me.tasks.enqueue(me.op(), [plainTask('warm')]);
    await me.tasks.enqueue(me.op(), [plainTask('child', { dependsOn: edgesTo('parent') })]);
    await me.tasks.enqueue(me.op(), [plainTask('parent')]);
    expect((await runAll(me)).map(({ task }) => task)).toEqual(['warm', 'parent', 'child']);
  });

  test('a child that ends at once, because a parent has failed, waits for none of the others', async () => {
    await using me = await someone();
    await me.tasks.enqueue(me.op(), [plainTask('failed'), plainTask('lives')]);
    await me.tasks.cancel(me.op(), [{ task: 'failed', reason: 'r', tree: false, revoke: false }]);
    const { results } = await me.tasks.enqueue(me.op(), [
      plainTask('child', { dependsOn: edgesTo('lives', 'still to come', 'failed') }),
    ]);
    expect(results).toMatchObject([{ status: 'enqueued', state: 'cancelled' }]);
    const tag = `agentmesh:{${lastMesh()}}:t`;
    expect(await admin.keys(`${tag}:d:*`)).toEqual([]);
    expect(await admin.exists(`${tag}:ph`)).toBe(0);
  });
});

describe('upkeep', () => {
  test('the log is cut, ended tasks are shed, and lists still find what lives', async () => {
    const mesh = `tasks-${process.pid}-${++meshes}`;
    const used = await useRedis({ url: inject('redisUrl'), mesh, tasks: { history: 400, keepEnded: 50 } });
    const me = Object.assign(used, { tasks: used.backend.tasks });
    await me.tasks.enqueue(me.op(), [
      plainTask('old', { agent: 'nobody' }),
      plainTask('older', { agent: 'nobody' }),
    ]);
    for (let round = 0; round < 12; round++) {
      await me.tasks.enqueue(
        me.op(),
        Array.from({ length: 50 }, (_, i) => plainTask(`r${round}-${i}`)),
      );
      expect(await runAll(me)).toHaveLength(50);
    }
    await sweepAll(me);
    const { items } = await me.tasks.list({}, { limit: 1_000 });
    expect(items.length).toBeLessThanOrEqual(52);
    expect(items.slice(-2).map(({ id }) => id)).toEqual(['older', 'old']);
    const first = await me.tasks.revise(me.op(), {
      filter: {},
      revision: { set: 'priority', priority: 1 },
      limit: 1,
    });
    expect(first.changed).toBe(1);
    expect((await me.tasks.get(['old']))[0]?.body.priority).toBe(1);
    const history = await me.tasks.history({}, { limit: 1_000 });
    expect(history.items.length).toBeLessThan(1_000);
    expect(history.items.length).toBeGreaterThan(300);
    expect(await conservationFaults(me)).toEqual([]);
    await me[Symbol.asyncDispose]();
  });

  test('nothing is left behind when everything has been pruned', async () => {
    await using me = await someone();
    const tasks = Array.from({ length: 300 }, (_, i) =>
      plainTask(`t${i}`, {
        ...(i % 3 === 0 ? { key: `k${i}` } : {}),
        ...(i % 4 === 0 ? { group: `g${i % 5}` } : {}),
        ...(i % 5 === 0 ? { parent: 't1' } : {}),
        ...(i % 7 === 0 && i > 0 ? { dependsOn: edgesTo(`t${i - 1}`, 't0') } : {}),
        ...(i % 11 === 0 ? { weight: 2.5 } : {}),
        ...(i % 13 === 0 ? { payload: 'x'.repeat(5_000) } : {}),
        limits: { maxCrashes: 3, keepMs: 600_000, ...(i % 6 === 0 ? { deadlineMs: 600_000 } : {}) },
      }),
    );
    await enqueueMany(me, tasks);
    await runAll(me);
    for (let changed = 1; changed > 0; )
      ({ changed } = await me.tasks.revise(me.op(), {
        filter: {},
        revision: { set: 'discard' },
        limit: 250,
      }));
    await sweepAll(me);
    const { queues } = await me.tasks.counts(['q']);
    expect([queues[0]?.totals.enqueued, queues[0]?.totals.pruned, queues[0]?.readyWeight]).toEqual([
      300, 300, 0,
    ]);
    const tag = `agentmesh:{${lastMesh()}}:t`;
    const keys = await admin.keys(`${tag}*`);
    // Settings and counters, the log, kinds, what is forgotten, and the retention lists until they fall due.
    const expected = /:t:(n:q|qs|m|log|kn|kt|kz|fg:0|ec|e:...|ho)$/;
    expect(keys.filter((key) => !expected.test(key))).toEqual([]);
  });
});
