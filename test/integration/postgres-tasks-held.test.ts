import { describe, expect, test } from 'vitest';
import type { Claim, NewTask, Revision } from '../../src/core/ports/tasks.ts';
import { mesh, type Peer } from '../support/postgres-peers.ts';
import { begin, comesTo, isBlocked, OpenPeer, stopClock } from '../support/postgres-races.ts';
import { sql } from '../support/postgres-scratch.ts';
import { on, task, tasksOf } from '../support/postgres-task-calls.ts';

/** Who meets a task that somebody else is changing passes it over, or waits and acts on what it has become. */

const revise = async (peer: Peer, id: string, revision: Revision): Promise<object> => {
  const { changed, deferred } = await tasksOf(peer).call((store, op) =>
    store.revise(op, { filter: { ids: [id] }, revision, limit: 1 }),
  );
  return { changed, deferred };
};
const redrive: Revision = { set: 'redrive', delayMs: 0, resetAttempts: false, spreadMs: 0 };

const asked = (id: string, tree = false) => ({ task: id, reason: 'R', tree, revoke: false });

const cancel = async (peer: Peer, id: string, tree = false): Promise<unknown> => {
  const requests = [asked(id, tree)];
  const { results, requested } = await tasksOf(peer).call((store, op) => store.cancel(op, requests));
  return tree ? requested.map(({ task: sub }) => sub) : results[0]?.status;
};

const claimed = (claims: readonly Claim[]): readonly string[] => claims.map(({ task: id }) => id);

describe('while somebody claims it, it', () => {
  interface Meeting {
    readonly spec?: Partial<NewTask>;
    /** What the other one does. */
    readonly meets: (one: Peer, pass: (ms: number) => Promise<void>) => Promise<unknown>;
    readonly answer: unknown;
  }
  const key = { key: 'k', onDuplicate: 'replace' } as const;
  const meetings: Readonly<Record<string, Meeting>> = {
    'is nobody else’s to claim': { meets: async (one) => claimed(await tasksOf(one).claim()), answer: [] },
    'is nobody else’s to claim beside tasks of other kinds': {
      meets: async (one) => {
        await tasksOf(one).add(task('other', { type: 'other' }));
        return claimed(await tasksOf(one).claim(1, [], 2));
      },
      answer: ['other'],
    },
    'is nobody else’s to claim for the same agent': {
      spec: { agent: 'helper' },
      meets: async (one) => claimed(await tasksOf(one).claim(1, ['helper'])),
      answer: [],
    },
    'is cancelled as one that runs': { meets: (one) => cancel(one, 't'), answer: 'requested' },
    'is cancelled with its tree as one that runs': {
      spec: { parent: 'root' },
      meets: (one) => cancel(one, 'root', true),
      answer: ['t'],
    },
    'is rescheduled no more': {
      meets: (one) => revise(one, 't', { set: 'delay', delayMs: 0 }),
      answer: { changed: 0, deferred: 0 },
    },
    'gets another priority later': {
      meets: (one) => revise(one, 't', { set: 'priority', priority: 1 }),
      answer: { changed: 0, deferred: 1 },
    },
    'is replaced by a task beside it': {
      spec: key,
      meets: async (one) => (await tasksOf(one).add(task('new', key))).results,
      answer: [{ status: 'enqueued', state: 'ready' }],
    },
    'misses no deadline': {
      spec: { limits: { maxCrashes: 3, keepMs: 1_000, deadlineMs: 10 } },
      meets: async (one, pass) => {
        await pass(20);
        return (await tasksOf(one).sweep()).ended;
      },
      answer: [],
    },
  };
  test.each(Object.keys(meetings))('%s', async (name) => {
    const { spec, meets, answer } = meetings[name] as Meeting;
    const { one, schema } = await mesh('one');
    const slow = await OpenPeer.boot(schema, 'slow');
    const pass = await stopClock(schema);
    await tasksOf(one).add(task('root', { delayMs: 1_000 }), task('t', spec));
    await slow.begin();
    expect(claimed(await tasksOf(slow).claim(1, spec?.agent === undefined ? [] : [spec.agent]))).toEqual([
      't',
    ]);
    const met = meets(one, pass);
    await comesTo(met, schema, 'one');
    await slow.commit();
    expect(await met).toEqual(answer);
    const [record] = await one.backend.tasks.get(['t']);
    expect(record).toMatchObject({ state: 'claimed', session: slow.session });
    const { items } = await one.backend.tasks.history({}, { limit: 100 });
    expect(items.filter(({ task: id }) => id === 't').map(({ to }) => to)).toEqual(['ready', 'claimed']);
  });
});

test('what is rescheduled while it falls due is due at the later time', async () => {
  const { one, schema } = await mesh('one');
  const slow = await OpenPeer.boot(schema, 'slow');
  const pass = await stopClock(schema);
  await tasksOf(one).add(task('t', { delayMs: 10 }));
  await pass(20);
  await slow.begin();
  await revise(slow, 't', { set: 'delay', delayMs: 1_000 });
  const swept = tasksOf(one).sweep();
  await comesTo(swept, schema, 'one');
  await slow.commit();
  expect((await swept).readied).toEqual([]);
  expect(await tasksOf(one).stateOf('t')).toBe('scheduled');
});

test('who closes gives nothing back that was just taken from it', async () => {
  const { owner, schema } = await mesh('owner');
  const thief = await OpenPeer.boot(schema, 'thief');
  await tasksOf(owner).add(task('t'));
  await tasksOf(owner).claim(0);
  await thief.begin();
  expect(claimed(await tasksOf(thief).takeOver(owner))).toEqual(['t']);
  const closing = Promise.resolve(owner.backend.sessions.close(owner.session));
  await comesTo(closing, schema, 'owner');
  await thief.commit();
  await closing;
  expect((await owner.backend.tasks.get(['t']))[0]).toMatchObject({
    state: 'claimed',
    session: thief.session,
  });
});

test('of two that redrive a dead letter one does', async () => {
  const { one, schema } = await mesh('one');
  const slow = await OpenPeer.boot(schema, 'slow');
  await tasksOf(one).add(task('t'));
  await tasksOf(one).bury(await tasksOf(one).claim());
  await slow.begin();
  expect(await revise(slow, 't', redrive)).toMatchObject({ changed: 1 });
  const again = revise(one, 't', redrive);
  await comesTo(again, schema, 'one');
  await slow.commit();
  expect(await again).toMatchObject({ changed: 0 });
});

test('a dead letter that is redriven while it is to be forgotten is not forgotten', async () => {
  const { one, schema } = await mesh('one');
  const slow = await OpenPeer.boot(schema, 'slow');
  const pass = await stopClock(schema);
  await tasksOf(one).add(task('t'));
  await tasksOf(one).bury(await tasksOf(one).claim());
  await pass(2_000);
  await slow.begin();
  await revise(slow, 't', redrive);
  const swept = tasksOf(one).sweep();
  await comesTo(swept, schema, 'one');
  await slow.commit();
  expect(await swept).toMatchObject({ pruned: 0 });
  expect(claimed(await tasksOf(one).claim())).toEqual(['t']);
});

test('of two that replace a running task by its key the later replaces what the earlier brought', async () => {
  const { one, schema } = await mesh('one');
  const slow = await OpenPeer.boot(schema, 'slow');
  const key = { key: 'k', onDuplicate: 'replace' } as const;
  await tasksOf(one).add(task('runs', key));
  await tasksOf(one).claim();
  await slow.begin();
  await tasksOf(slow).add(task('second', key));
  const third = tasksOf(one).add(task('third', key));
  await comesTo(third, schema, 'one');
  await slow.commit();
  expect((await third).results).toMatchObject([{ status: 'duplicate', id: 'second', replaced: true }]);
});

test('of two that submit what others wait for one does', async () => {
  const { one, schema } = await mesh('one');
  const slow = await OpenPeer.boot(schema, 'slow');
  await tasksOf(one).add(task('child', on('parent')));
  await slow.begin();
  await tasksOf(slow).add(task('parent'));
  const again = tasksOf(one).add(task('parent'));
  await comesTo(again, schema, 'one');
  await slow.commit();
  expect((await again).results).toMatchObject([{ status: 'duplicate', id: 'parent' }]);
  expect(await sql(`select id from ${schema}.task_bodies order by id`)).toEqual([
    { id: 'child' },
    { id: 'parent' },
  ]);
});

test('of two that submit what others wait for one does, even if the other had looked before', async () => {
  const { one, late, schema } = await mesh('one', 'late');
  const slow = await OpenPeer.boot(schema, 'slow');
  const key = { key: 'k', onDuplicate: 'replace' } as const;
  await tasksOf(one).add(task('runs', key));
  await tasksOf(one).claim();
  await tasksOf(one).add(task('child', on('parent')));
  const busy = await begin(schema);
  await busy('select from agentmesh.task_keys for update');
  const again = tasksOf(late).add(task('parent', key));
  await isBlocked(schema, 'late');
  await slow.begin();
  await tasksOf(slow).add(task('parent'));
  await busy('commit');
  await comesTo(again, schema, 'late');
  await slow.commit();
  expect((await again).results).toMatchObject([{ status: 'duplicate', id: 'parent' }]);
  expect(await sql(`select id, key from ${schema}.task_bodies order by id`)).toEqual([
    { id: 'child', key: null },
    { id: 'parent', key: null },
    { id: 'runs', key: 'k' },
  ]);
});

test('two that cancel the same tasks in different orders do not wait for each other in a circle', async () => {
  const { one, schema } = await mesh('one');
  const slow = await OpenPeer.boot(schema, 'slow');
  for (const id of ['1', '2', '3']) await tasksOf(one).add(task(id));
  const busy = await begin(schema);
  await busy('select from agentmesh.tasks where seq = (select max(seq) from agentmesh.tasks) for update');
  await slow.begin();
  const cancelling = tasksOf(slow).call((store, op) =>
    store.cancel(
      op,
      ['1', '3', '2'].map((id) => asked(id)),
    ),
  );
  await isBlocked(schema, 'slow');
  const others = tasksOf(one).call((store, op) =>
    store.cancel(
      op,
      ['2', '1'].map((id) => asked(id)),
    ),
  );
  await isBlocked(schema, 'one');
  await busy('commit');
  await cancelling;
  expect(slow.undone).toBe(0);
  await slow.commit();
  await others;
});
