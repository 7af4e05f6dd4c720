import assert from 'node:assert/strict';
import type { TaskFilter, TaskStore } from '../../../core/ports/tasks.ts';
import type { Cursor, Page } from '../../../core/ports/words.ts';
import { idsOf, type TaskHarness, type TaskTest } from './harness.ts';

type ListPage = Parameters<TaskStore['list']>[1];

export function readTests(test: TaskTest): void {
  test('get: unknown ids are undefined, in order', async (harness, me) => {
    await me.add('a');
    const records = await harness.store.get(['x', 'a', 'y']);
    assert.deepEqual(
      records.map((record) => record?.id),
      [undefined, 'a', undefined],
    );
  });

  test('list: newest first, by pages, each task once', async (harness, me) => {
    await me.enqueue(...Array.from({ length: 25 }, (_, i) => harness.task(`t${i}`, { payload: i })));
    const ids = await listAll(harness, {}, { limit: 7 });
    assert.deepEqual(
      ids,
      Array.from({ length: 25 }, (_, i) => `t${24 - i}`),
    );
    const page = await harness.store.list({}, { limit: 1 });
    assert.equal(page.items[0]?.body.payload, undefined, 'lists carry no payload');
    assert.equal((await harness.store.list({}, { limit: 25 })).next, undefined);
  });

  test('list: tasks that come and go between pages do not shift it', async (harness, me) => {
    await me.enqueue(...Array.from({ length: 10 }, (_, i) => harness.task(`t${i}`)));
    const first = await harness.store.list({}, { limit: 4 });
    await me.add('new');
    await me.complete(...(await me.claim({ limit: 3 })));
    await me.revise({ state: ['completed'] }, { set: 'discard' });
    assert.ok(first.next !== undefined);
    const second = await harness.store.list({}, { limit: 10, after: first.next });
    assert.deepEqual(
      second.items.map(({ id }) => id),
      ['t5', 't4', 't3'],
    );
  });

  test('list: every filter, alone and together', async (harness, me) => {
    await me.enqueue(
      harness.task('a', { type: 'x', group: 'g', key: 'ka' }),
      harness.task('b', { type: 'x', queue: 'other', agent: 'ann' }),
      harness.task('c', { type: 'y', parent: 'a' }),
      harness.task('d', { type: 'y' }),
    );
    const claims = await me.claim();
    const d = claims.find(({ task }) => task === 'd');
    assert.ok(d !== undefined);
    await me.bury(d);
    const matching: readonly [TaskFilter, readonly string[]][] = [
      [{ ids: ['c', 'a', 'nobody'] }, ['c', 'a']],
      [{ type: 'x' }, ['b', 'a']],
      [{ queue: 'other' }, ['b']],
      [{ agent: 'ann' }, ['b']],
      [{ group: 'g' }, ['a']],
      [{ key: 'ka' }, ['a']],
      [{ key: 'nothing' }, []],
      [{ parent: 'a' }, ['c']],
      [{ state: ['claimed'] }, ['c', 'a']],
      [{ state: ['dead', 'completed'] }, ['d']],
      [{ state: ['ready', 'dead'] }, ['d', 'b']],
      [{ errorSignature: 'ERROR:broken' }, ['d']],
      [{ errorText: 'broken pi' }, ['d']],
      [{ errorText: 'broken.*' }, []],
      [{ type: 'x', state: ['claimed'] }, ['a']],
      [{ olderThanMs: 60_000 }, []],
    ];
    for (const [filter, ids] of matching) {
      const page = await harness.store.list(filter, { limit: 10 });
      assert.deepEqual(
        page.items.map(({ id }) => id),
        ids,
        JSON.stringify(filter),
      );
    }
    await harness.env.pass(30);
    assert.equal((await harness.store.list({ olderThanMs: 10 }, { limit: 10 })).items.length, 4);
  });

  test('list: stops after the scan budget and goes on from there', async (harness, me) => {
    await me.enqueue(
      harness.task('wanted', { type: 'rare' }),
      ...Array.from({ length: 60 }, (_, i) => harness.task(`t${i}`)),
    );
    const page = await harness.store.list({ type: 'rare' }, { limit: 5, scanBudget: 25 });
    assert.deepEqual([page.items.length, page.scanned <= 25, page.next !== undefined], [0, true, true]);
    assert.deepEqual(await listAll(harness, { type: 'rare' }, { limit: 5, scanBudget: 25 }), ['wanted']);
  });

  test("list: order 'queue' is the order of claims", async (harness, me) => {
    await harness.configure({ ageStepMs: 1_000 });
    const tasks = Array.from({ length: 40 }, (_, i) =>
      harness.task(`t${i}`, { priority: (i * 7) % 5, ...(i % 3 === 0 ? { capabilities: ['x'] } : {}) }),
    );
    await me.enqueue(...tasks, harness.task('late', { delayMs: 9_000 }));
    await me.revise({ ids: ['t9'] }, { set: 'priority', priority: 4 });
    const [first] = await me.claim({ limit: 1, capabilities: ['x'] });
    assert.ok(first !== undefined);
    await me.release(first);
    const listed = await listAll(harness, { queue: 'work' }, { limit: 6, order: 'queue' });
    assert.deepEqual(listed, idsOf(await me.claim({ capabilities: ['x'] })));
    assert.equal(listed.length, 40);
  });

  test("list: order 'queue' with `each` is the first so many of each lane", async (harness, me) => {
    for (const [name, spec] of Object.entries({
      plain: {},
      capable: { capabilities: ['x'] },
      shy: { placement: 'not a' },
      urgent: { priority: 5 },
      grouped: { group: 'g' },
    }))
      await me.enqueue(...[1, 2, 3].map((n) => harness.task(`${name}${n}`, spec)));
    const listed = await harness.store.list({ state: ['ready'] }, { limit: 100, order: 'queue', each: 2 });
    assert.deepEqual(
      listed.items.map(({ id }) => id).toSorted(),
      ['plain', 'capable', 'shy', 'urgent', 'grouped'].flatMap((name) => [`${name}1`, `${name}2`]).toSorted(),
    );
    assert.equal(listed.items[0]?.id, 'urgent1');
  });

  test("list: order 'ended' is the latest end first", async (harness, me) => {
    await me.enqueue(...['a', 'b', 'c', 'd'].map((id) => harness.task(id)));
    const [a, b, c] = await me.claim({ limit: 3 });
    assert.ok(a !== undefined && b !== undefined && c !== undefined);
    for (const claim of [b, c, a]) {
      await me.complete(claim);
      await harness.env.pass(3);
    }
    assert.deepEqual(await listAll(harness, {}, { limit: 2, order: 'ended' }), ['a', 'c', 'b']);
  });

  test('history: every transition of a task with its session, token, attempt and reason', async (harness, me) => {
    await me.add('a', { delayMs: 5 });
    await harness.env.pass(30);
    await me.sweepAll();
    const first = await me.claimOnly('a');
    await me.release(first, { reason: 'too hot', refundAttempt: false });
    const second = await me.claimOnly('a');
    await me.bury(second, 'ATTEMPTS');
    const { items } = await harness.store.history({ task: 'a' }, { limit: 50 });
    assert.deepEqual(
      items.map(({ from, to, attempt }) => [from, to, attempt]),
      [
        ['new', 'scheduled', 0],
        ['scheduled', 'ready', 0],
        ['ready', 'claimed', 1],
        ['claimed', 'ready', 1],
        ['ready', 'claimed', 2],
        ['claimed', 'dead', 2],
      ],
    );
    assert.deepEqual([items[2]?.session, items[2]?.token], [me.session, first.token]);
    assert.equal(items[3]?.reason, 'too hot');
    assert.equal(items[5]?.reason, 'ATTEMPTS');
    assert.ok(items.every(({ at }, i) => i === 0 || at >= (items[i - 1]?.at ?? 0)));
  });

  test('history: of all tasks or one queue, by pages, nothing skipped', async (harness, me) => {
    await me.enqueue(
      ...Array.from({ length: 12 }, (_, i) => harness.task(`t${i}`, { queue: i % 2 === 0 ? 'q' : 'r' })),
    );
    const seen: string[] = [];
    let after: Cursor | undefined;
    do {
      const page: Page<{ readonly task: string }> = await harness.store.history(
        { queue: 'q' },
        { limit: 2, ...(after === undefined ? {} : { after }) },
      );
      seen.push(...page.items.map(({ task }) => task));
      after = page.next;
      if (seen.length === 2) await me.add('t12', { queue: 'q' });
    } while (after !== undefined);
    assert.deepEqual(seen, ['t0', 't2', 't4', 't6', 't8', 't10', 't12']);
    assert.equal((await harness.store.history({}, { limit: 100 })).items.length, 13);
  });
}

async function listAll(harness: TaskHarness, filter: TaskFilter, page: ListPage): Promise<readonly string[]> {
  const ids: string[] = [];
  let after: Cursor | undefined;
  do {
    const answer = await harness.store.list(filter, { ...page, ...(after === undefined ? {} : { after }) });
    assert.ok(answer.items.length <= page.limit);
    ids.push(...answer.items.map(({ id }) => id));
    after = answer.next;
  } while (after !== undefined);
  return ids;
}
