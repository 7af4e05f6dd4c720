import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Claim, ListRequest, TaskStore } from '../../src/core/ports/tasks.ts';
import type { Cursor } from '../../src/core/ports/words.ts';
import { type UsedRedis, useRedis } from '../support/redis-backends.ts';
import {
  completeAll,
  conservationFaults,
  enqueueMany,
  plainTask,
  runAll,
  sweepAll,
  type TaskCaller,
  wanting,
} from '../support/redis-task-load.ts';

let meshes = 0;
let admin: Redis;

beforeAll(() => {
  admin = new Redis(inject('redisUrl'));
});
afterAll(() => {
  admin.disconnect();
});

/** A mesh of its own on the server of this run, and a process in it. */
async function someone(mesh = `task-bounds-${process.pid}-${++meshes}`): Promise<UsedRedis & TaskCaller> {
  const used = await useRedis({ url: inject('redisUrl'), mesh });
  return Object.assign(used, { tasks: used.backend.tasks });
}

function lastMesh(): string {
  return `task-bounds-${process.pid}-${meshes}`;
}

async function statesOf(tasks: TaskStore, queue = 'q'): Promise<Readonly<Record<string, number>>> {
  const { queues } = await tasks.counts([queue]);
  return Object.fromEntries(Object.entries(queues[0]?.states ?? {}).filter(([, count]) => count > 0));
}

/** What a call makes the server run, with the number of arguments of each command, those of its scripts included. */
async function commandsOf(
  call: () => unknown,
): Promise<readonly { readonly name: string; readonly size: number }[]> {
  await admin.config('SET', 'slowlog-log-slower-than', '0');
  await admin.slowlog('RESET');
  await call();
  const log = (await admin.slowlog('GET', '128')) as [number, number, number, string[]][];
  await admin.config('SET', 'slowlog-log-slower-than', '10000');
  return log.map(([, , , args]) => ({
    name: args[0]?.toUpperCase() ?? '',
    size: args.length + Number(/\((\d+) more/.exec(args.at(-1) ?? '')?.[1] ?? 0),
  }));
}

describe('no script does more than its share', () => {
  test('tasks of an agent come beside a claim that always asks for as many as there may be', async () => {
    await using me = await someone();
    const mine = Array.from({ length: 5 }, (_, i) => plainTask(`mine${i}`, { agent: 'ada' }));
    await me.tasks.enqueue(me.op(), mine);
    const others = Array.from({ length: 600 }, (_, i) => plainTask(`t${i}`));
    await enqueueMany(me, others);
    const request = { ...wanting(250), agents: ['ada'], assigned: 10_000 };
    const { claims, more } = await me.tasks.claim(me.op(), request);
    expect(claims.filter(({ body }) => body.agent === 'ada')).toHaveLength(5);
    expect(claims.length).toBeLessThanOrEqual(250);
    expect(more).toBe(true);
    const rest: Claim[] = [];
    for (;;) {
      const next = await me.tasks.claim(me.op(), request);
      if (next.claims.length === 0) break;
      rest.push(...next.claims);
    }
    expect(claims.length + rest.length).toBe(605);
  });

  test('of more offers and agents than a script may look at, each gets what there is for it', async () => {
    await using me = await someone();
    const names = Array.from({ length: 1_200 }, (_, i) => `skill${i}`);
    const wanted = [3, 270, 777, 1_199];
    await me.tasks.enqueue(me.op(), [
      ...wanted.map((i) => plainTask(`t${i}`, { capabilities: [`skill${i}`] })),
      ...wanted.map((i) => plainTask(`a${i}`, { agent: `agent${i}` })),
    ]);
    const { claims } = await me.tasks.claim(me.op(), {
      offers: names.map((name) => ({ capabilities: [name], slots: 1 })),
      agents: names.map((_, i) => `agent${i}`),
      assigned: 100,
      limit: 250,
      start: 0,
    });
    expect(claims.map(({ task }) => task).sort()).toEqual(wanted.flatMap((i) => [`a${i}`, `t${i}`]).sort());
  });

  test('no script gets more offers or agents than a call may have', async () => {
    await using me = await someone();
    const names = Array.from({ length: 600 }, (_, i) => `skill${i}`);
    const tasks = names.map((name, i) => plainTask(`t${i}`, { capabilities: [name] }));
    await enqueueMany(me, tasks);
    const request = {
      offers: names.map((name) => ({ capabilities: [name], slots: 1 })),
      agents: names,
      assigned: 100,
      limit: 250,
      start: 0,
    };
    let first: { claims: readonly Claim[]; more: boolean } = { claims: [], more: true };
    const commands = await commandsOf(async () => {
      first = await me.tasks.claim(me.op(), request);
    });
    // Three for each offer and one for each agent, and what else a claim says.
    const scripts = commands.filter(({ name }) => name.startsWith('EVAL'));
    expect(Math.max(...scripts.map(({ size }) => size))).toBeLessThan(1_050);
    const seen = new Set(first.claims.map(({ task }) => task));
    for (let more = first.more; more; ) {
      const next = await me.tasks.claim(me.op(), request);
      for (const { task } of next.claims) seen.add(task);
      more = next.more;
    }
    expect(seen.size).toBe(600);
  });

  test.each([
    '01a2008c-9e63-74e0-a83e-50666131aeb7',
    'ffffffff-ffff-ffff-ffff-ffffffffffff',
    '00000000-0000-0000-0000-000000000000',
    '01A2008C-9E63-74E0-A83E-50666131AEB7',
    '01a2008c-9e63-74e0-a83e-5066613 aeb7',
    '01a2008c+9e63+74e0+a83e+50666131aeb7',
    '-1a2008c-9e63-74e0-a83e-50666131aeb7',
    '0x123456-9e63-74e0-a83e-50666131aeb7',
    'sixteen letters!',
    'seventeen letters',
    '"sixteen letters',
  ])('a key leads to its task, whatever its id looks like (%s)', async (id) => {
    await using me = await someone();
    await me.tasks.enqueue(me.op(), [plainTask(id, { key: 'one' })]);
    const again = await me.tasks.enqueue(me.op(), [
      { ...plainTask('other', { key: 'one' }), payload: { id } },
    ]);
    expect(again.results).toEqual([expect.objectContaining({ status: 'duplicate', id })]);
    const { items } = await me.tasks.list({ key: 'one' }, { limit: 5 });
    expect(items.map((item) => item.id)).toEqual([id]);
    await runAll(me);
    const discard = { filter: { ids: [id] }, revision: { set: 'discard' }, limit: 5 } as const;
    expect((await me.tasks.revise(me.op(), discard)).changed).toBe(1);
    const anew = await me.tasks.enqueue(me.op(), [plainTask('new', { key: 'one' })]);
    expect(anew.results).toEqual([{ status: 'enqueued', state: 'ready' }]);
  });

  test('a page of many dead letters takes a look at few of them, and all pages have each once', async () => {
    await using me = await someone();
    const ids = Array.from({ length: 3_000 }, (_, i) => `t${i}`);
    await enqueueMany(
      me,
      ids.map((id) => plainTask(id)),
    );
    for (;;) {
      const { claims } = await me.tasks.claim(me.op(), wanting(250));
      if (claims.length === 0) break;
      await me.tasks.settle(
        me.op(),
        claims.map((claim) => ({ claim, as: 'bury', reason: 'test', error: 'no', signature: 'no' })),
      );
    }
    const commands = await commandsOf(() => me.tasks.list({ state: ['dead'] }, { limit: 50 }));
    const read = commands.filter(({ name }) => name === 'HMGET').reduce((sum, { size }) => sum + size, 0);
    expect(read).toBeGreaterThan(50);
    expect(read).toBeLessThan(1_500);
    const seen: string[] = [];
    let after: Cursor | undefined;
    let scripts = 0;
    do {
      const page: ListRequest = { limit: 100, ...(after === undefined ? {} : { after }) };
      const { items, next, scanned } = await me.tasks.list({ state: ['dead'] }, page);
      expect(scanned).toBeLessThanOrEqual(1_000);
      seen.push(...items.map(({ id }) => id));
      after = next;
      scripts += 1;
    } while (after !== undefined);
    expect(scripts).toBeLessThan(60);
    expect(seen).toEqual([...ids].reverse());
  });

  test('beyond the most ended tasks that are kept, the oldest are pruned first, however long they were to be kept', async () => {
    const mesh = `task-bounds-${process.pid}-${++meshes}`;
    await using used = await useRedis({ url: inject('redisUrl'), mesh, tasks: { keepEnded: 10 } });
    const me = Object.assign(used, { tasks: used.backend.tasks });
    const end = async (ids: readonly string[], keepMs: number): Promise<void> => {
      await enqueueMany(
        me,
        ids.map((id) => plainTask(id, { limits: { maxCrashes: 3, keepMs } })),
      );
      await completeAll(me, (await me.tasks.claim(me.op(), wanting(250))).claims);
    };
    const names = (name: string): string[] => Array.from({ length: 8 }, (_, i) => `${name}${i}`);
    await end(names('long'), 3_600_000);
    await end(names('short'), 600_000);
    await end(names('other'), 1_200_000);
    await sweepAll(me);
    const { items } = await me.tasks.list({}, { limit: 100 });
    const left = items.map(({ id }) => id).toSorted();
    expect(left).toEqual([...names('other'), 'short6', 'short7']);
  });

  test('a session with many claims ends in steps: some go back at once, the rest is taken over', async () => {
    await using me = await someone();
    await using other = await someone(lastMesh());
    const ids = Array.from({ length: 1_500 }, (_, i) => `t${i}`);
    await enqueueMany(
      me,
      ids.map((id) => plainTask(id)),
    );
    for (let i = 0; i < 6; i++) await me.tasks.claim(me.op(), wanting(250, 0));
    await me.backend.sessions.close(me.session);
    const { ready = 0, claimed = 0 } = await statesOf(other.tasks);
    expect(ready + claimed).toBe(1_500);
    expect(ready).toBeGreaterThan(100);
    expect(ready).toBeLessThanOrEqual(1_000);
    const ended = new Set((await runAll(other, 250)).map(({ task }) => task));
    for (;;) {
      const { claims } = await other.tasks.takeover(other.op(), {
        from: 'dead',
        match: 'any',
        limit: 500,
        maxMoves: 3,
        steal: 'test',
      });
      if (claims.length === 0) break;
      for (const claim of claims) expect(claim).toMatchObject({ crashes: 0, started: false });
      await completeAll(other, claims.slice(0, 250));
      await completeAll(other, claims.slice(250));
      for (const { task } of claims) ended.add(task);
    }
    expect(ended.size).toBe(1_500);
    expect(await conservationFaults(other)).toEqual([]);
  });
});
