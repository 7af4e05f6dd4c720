import { describe, expect, test } from 'vitest';
import type { Claim, NewTask } from '../../src/core/ports/tasks.ts';
import { mesh, type Peer } from '../support/postgres-peers.ts';
import { begin, comesTo, gateBefore, isBlocked, OpenPeer, stopClock } from '../support/postgres-races.ts';
import { sql } from '../support/postgres-scratch.ts';
import { on, task, tasksOf } from '../support/postgres-task-calls.ts';

test('an operation that is sent again while its first run is under way gets the answer of that one', async () => {
  const { one, schema } = await mesh('one');
  const slow = await OpenPeer.boot(schema, 'slow');
  // Their lane is there.
  await tasksOf(one).add(task('before'));
  const op = slow.next();
  await slow.begin();
  const first = await slow.backend.tasks.enqueue(op, [task('t')]);
  const again = Promise.resolve(one.backend.tasks.enqueue(op, [task('t')]));
  expect(await comesTo(again, schema, 'one')).toBe('waits');
  await slow.commit();
  expect(await again).toEqual(first);
});

describe('a pause is not answered before those have committed who have not seen it', () => {
  test('a claim', async () => {
    const { boss, schema } = await mesh('boss');
    const slow = await OpenPeer.boot(schema, 'slow');
    await tasksOf(boss).add(task('t'));
    await slow.begin();
    expect(await tasksOf(slow).claim()).toHaveLength(1);
    const paused = tasksOf(boss).configure({ paused: true });
    expect(await comesTo(paused, schema, 'boss')).toBe('waits');
    await slow.commit();
    await paused;
  });

  test('a takeover', async () => {
    const { boss, dead, schema } = await mesh('boss', 'dead');
    const slow = await OpenPeer.boot(schema, 'slow');
    await tasksOf(boss).add(task('t'));
    await tasksOf(dead).claim();
    await dead.backend.sessions.close(dead.session);
    await slow.begin();
    expect(await tasksOf(slow).takeOver('dead')).toHaveLength(1);
    const paused = tasksOf(boss).configure({ paused: true });
    expect(await comesTo(paused, schema, 'boss')).toBe('waits');
    await slow.commit();
    await paused;
  });
});

test('T3: of two hosts of one agent, who has seen a task before the other claimed it leaves it to that one', async () => {
  const { one, two, schema } = await mesh('one', 'two');
  await tasksOf(one).add(task('t', { agent: 'helper' }));
  const shut = await gateBefore(schema, 'one', 'task_own_v1', 'select t.ctid, t.journal into');
  const late = tasksOf(one).claim(1, ['helper']);
  await isBlocked(schema, 'one');
  expect(await tasksOf(two).claim(1, ['helper'])).toHaveLength(1);
  await shut('commit');
  expect(await late).toEqual([]);
});

describe('two that want the last place below a limit come one after the other', () => {
  test('of those that run', async () => {
    const { one, schema } = await mesh('one');
    const slow = await OpenPeer.boot(schema, 'slow');
    await tasksOf(one).configure({ maxRunning: 1 });
    await tasksOf(one).add(task('a'), task('b'));
    await slow.begin();
    expect(await tasksOf(slow).claim()).toHaveLength(1);
    const second = tasksOf(one).claim();
    await comesTo(second, schema, 'one');
    await slow.commit();
    expect(await second).toEqual([]);
  });

  test('of those that wait', async () => {
    const { one, schema } = await mesh('one');
    const slow = await OpenPeer.boot(schema, 'slow');
    await tasksOf(one).configure({ maxLength: 2 });
    await tasksOf(one).add(task('a'));
    await slow.begin();
    await tasksOf(slow).add(task('b'));
    const third = tasksOf(one).add(task('c'));
    await comesTo(third, schema, 'one');
    await slow.commit();
    expect((await third).results).toMatchObject([{ status: 'full' }]);
  });

  test('of those that wait in several queues: none of them in a circle', async () => {
    const { one, two, schema } = await mesh('one', 'two');
    for (const queue of ['1', '2', '3']) {
      await tasksOf(one).configure({ maxLength: 10 }, queue);
      await tasksOf(one).add(task(`first of ${queue}`, { queue }));
    }
    const into = (...queues: readonly string[]): readonly NewTask[] =>
      queues.map((queue) => task(`${queues.join()} ${queue}`, { queue }));
    const busy = await begin(schema);
    await busy(`select from agentmesh.task_queues where name = '3' for update`);
    const mine = await begin(schema);
    const added = Promise.resolve(
      one.backend.tasks.within(mine.client).enqueue(one.next(), into('1', '3', '2')),
    );
    await isBlocked(schema, 'by hand');
    const others = tasksOf(two).add(...into('2', '1'));
    expect(await comesTo(others, schema, 'two')).toBe('waits');
    await busy('commit');
    expect((await added).results).toHaveLength(3);
    await mine('commit');
    await others;
  });
});

describe('a lane that nobody uses is not forgotten while a task is on its way into it', () => {
  const ways: Readonly<
    Record<string, (slow: ReturnType<typeof tasksOf>, claims: readonly Claim[]) => unknown>
  > = {
    submission: (slow) => slow.add(task('t', { agent: 'helper' })),
    revision: ({ call }) =>
      call((store, op) =>
        store.revise(op, {
          filter: { ids: ['other'] },
          revision: { set: 'agent', agent: 'helper' },
          limit: 1,
        }),
      ),
    release: ({ call }, [claim]) =>
      call((store, op) =>
        store.settle(op, [
          {
            claim: claim as Claim,
            as: 'release',
            delayMs: 0,
            reason: 'R',
            refundAttempt: true,
            toAgent: 'helper',
          },
        ]),
      ),
  };
  test.each(Object.keys(ways))('%s', async (way) => {
    const { sweeper, schema } = await mesh('sweeper');
    const slow = await OpenPeer.boot(schema, 'slow');
    const slowly = tasksOf(slow);
    await stopClock(schema);
    const chores = (): Promise<unknown> => tasksOf(sweeper).sweep();
    const lanes = (): Promise<readonly object[]> =>
      sql(`select agent from ${schema}.task_lanes where agent is not null`);
    await slowly.add(task('1', { agent: 'helper' }), task('2', { agent: 'nobody' }));
    // As when both have long been done: by the way that takes, it would wait for every transaction on this server.
    await sql(`delete from ${schema}.tasks; delete from ${schema}.task_bodies; delete from ${schema}.task_journal;
      insert into ${schema}.task_counts select lane, 1, 0 from ${schema}.task_lanes;
      insert into ${schema}.task_horizon values (true, pg_current_xact_id())`);
    await slowly.add(task('other'));
    const claims = way === 'release' ? await slowly.claim() : [];
    await slow.begin();
    await ways[way]?.(slowly, claims);
    // Lanes are looked at now and then.
    await sql(`update ${schema}.test_clock set us = (us / 30000000 + 1) * 30000000`);
    await chores();
    await slow.commit();
    await chores();
    expect(await lanes()).toEqual([{ agent: 'helper' }]);
    expect(await tasksOf(sweeper).claim(1, ['helper'])).toHaveLength(1);
  });
});

describe('a child finds its parent whoever of both comes first', () => {
  /** The parent, when all is over, succeeds. */
  async function childOf(peer: Peer, parent: string): Promise<unknown> {
    const { claim, complete, stateOf } = tasksOf(peer);
    const claims = await claim();
    expect(claims.map(({ task: id }) => id)).toEqual([parent]);
    await complete(claims);
    return stateOf('child');
  }

  test('its parent takes the place that was held for it', async () => {
    const { one, schema } = await mesh('one');
    const slow = await OpenPeer.boot(schema, 'slow');
    await tasksOf(one).add(task('first', on('parent')));
    await slow.begin();
    await tasksOf(slow).add(task('child', on('parent')));
    const coming = tasksOf(one).add(task('parent'));
    await comesTo(coming, schema, 'one');
    await slow.commit();
    await coming;
    expect(await childOf(one, 'parent')).toBe('ready');
  });

  test('it comes while its parent takes the place', async () => {
    const { one, schema } = await mesh('one');
    const slow = await OpenPeer.boot(schema, 'slow');
    await tasksOf(one).add(task('first', on('parent')));
    await slow.begin();
    await tasksOf(slow).add(task('parent'));
    const coming = tasksOf(one).add(task('child', on('parent')));
    await comesTo(coming, schema, 'one');
    await slow.commit();
    await coming;
    expect(await childOf(one, 'parent')).toBe('ready');
  });

  test('its parent ends while it comes', async () => {
    const { one, schema } = await mesh('one');
    const slow = await OpenPeer.boot(schema, 'slow');
    const { add, claim, complete, stateOf } = tasksOf(one);
    await add(task('parent'));
    const claims = await claim();
    await slow.begin();
    await tasksOf(slow).add(task('child', on('parent')));
    const ending = complete(claims);
    await comesTo(ending, schema, 'one');
    await slow.commit();
    await ending;
    expect(await stateOf('child')).toBe('ready');
  });

  test('it comes while its parent ends', async () => {
    const { one, schema } = await mesh('one');
    const slow = await OpenPeer.boot(schema, 'slow');
    const { add, stateOf } = tasksOf(one);
    await add(task('parent'));
    const claims = await tasksOf(slow).claim();
    await slow.begin();
    await tasksOf(slow).complete(claims);
    const coming = add(task('child', on('parent')));
    await comesTo(coming, schema, 'one');
    await slow.commit();
    await coming;
    expect(await stateOf('child')).toBe('ready');
  });

  test('two that would close a cycle together see each other', async () => {
    const { one, schema } = await mesh('one');
    const slow = await OpenPeer.boot(schema, 'slow');
    await tasksOf(one).add(task('b', on('c')), task('d', on('a')));
    await slow.begin();
    expect((await tasksOf(slow).add(task('a', on('b')))).results).toMatchObject([{ status: 'enqueued' }]);
    const closing = tasksOf(one).add(task('c', on('d')));
    await comesTo(closing, schema, 'one');
    await slow.commit();
    expect((await closing).results).toMatchObject([{ status: 'cycle' }]);
  });

  /** A parent that has failed, and is to be forgotten. */
  async function failed(one: Peer, schema: string): Promise<void> {
    const pass = await stopClock(schema);
    const { add, bury, claim } = tasksOf(one);
    await add(task('parent'));
    await bury(await claim());
    await pass(1_500);
  }

  test('its parent, which may be tried again, is forgotten while it comes', async () => {
    const { one, schema } = await mesh('one');
    const slow = await OpenPeer.boot(schema, 'slow');
    await failed(one, schema);
    await slow.begin();
    await tasksOf(slow).add(task('child', on('parent', 'wait')));
    const forgetting = tasksOf(one).sweep();
    await comesTo(forgetting, schema, 'one');
    await slow.commit();
    expect(await forgetting).toMatchObject({ pruned: 1 });
    await tasksOf(one).add(task('parent'));
    expect(await childOf(one, 'parent')).toBe('ready');
  });

  test('it comes while its parent, which may be tried again, is forgotten', async () => {
    const { one, schema } = await mesh('one');
    const slow = await OpenPeer.boot(schema, 'slow');
    await failed(one, schema);
    await slow.begin();
    expect(await tasksOf(slow).sweep()).toMatchObject({ pruned: 1 });
    const coming = tasksOf(one).add(task('child', on('parent', 'wait')));
    await comesTo(coming, schema, 'one');
    await slow.commit();
    await coming;
    await tasksOf(one).add(task('parent'));
    expect(await childOf(one, 'parent')).toBe('ready');
  });
});

test('who sweeps while somebody else does has nothing to do', async () => {
  const { one, schema } = await mesh('one');
  const slow = await OpenPeer.boot(schema, 'slow');
  const pass = await stopClock(schema);
  await tasksOf(one).add(task('t', { delayMs: 10 }));
  await pass(20);
  await slow.begin();
  expect((await tasksOf(slow).sweep()).readied).toHaveLength(1);
  const swept = tasksOf(one).sweep();
  expect(await comesTo(swept, schema, 'one')).toBe('answered');
  expect((await swept).readied).toEqual([]);
  await slow.commit();
});

test('what failed again after it was redriven is kept as long as from then on', async () => {
  const { one, schema } = await mesh('one');
  const pass = await stopClock(schema);
  const { add, bury, call, claim, stateOf, sweep } = tasksOf(one);
  await add(task('t'));
  await bury(await claim());
  await pass(500);
  const revision = { set: 'redrive', delayMs: 0, resetAttempts: false, spreadMs: 0 } as const;
  await call((store, op) => store.revise(op, { filter: { ids: ['t'] }, revision, limit: 1 }));
  await bury(await claim());
  await pass(700);
  expect(await sweep()).toMatchObject({ pruned: 0 });
  expect(await stateOf('t')).toBe('dead');
  await pass(300);
  expect(await sweep()).toMatchObject({ pruned: 1 });
});

describe('who takes a claim over looks again before', () => {
  test('of two that take over from the dead one gets it', async () => {
    const { dead, slow, schema } = await mesh('dead', 'slow');
    const quick = await OpenPeer.boot(schema, 'quick');
    await tasksOf(dead).add(task('t'));
    await tasksOf(dead).claim();
    await dead.backend.sessions.close(dead.session);
    await quick.begin();
    // Whoever wants to lock a row waits now; whoever only looks doesn't.
    await quick.send('lock table agentmesh.tasks in exclusive mode');
    const late = tasksOf(slow).takeOver('dead');
    await isBlocked(schema, 'slow');
    expect(await tasksOf(quick).takeOver('dead')).toHaveLength(1);
    await quick.commit();
    expect(await late).toEqual([]);
  });

  test('what its owner starts meanwhile stays there', async () => {
    const { thief, schema } = await mesh('thief');
    const owner = await OpenPeer.boot(schema, 'owner');
    await tasksOf(owner).add(task('t'));
    const claims = await tasksOf(owner).claim(0);
    await owner.begin();
    await owner.send('lock table agentmesh.tasks in exclusive mode');
    const theft = tasksOf(thief).takeOver(owner);
    await isBlocked(schema, 'thief');
    expect(await tasksOf(owner).start(claims)).toEqual([true]);
    await owner.commit();
    expect(await theft).toEqual([]);
  });
});

test('who starts what was taken from it does not start the claim of who has it now', async () => {
  const { former, thief, another } = await mesh('former', 'thief', 'another');
  await tasksOf(former).add(task('t'));
  const claims = await tasksOf(former).claim(0);
  const [taken] = await tasksOf(thief).takeOver(former);
  expect(taken).toMatchObject({ task: 't', started: false });
  expect(await tasksOf(former).start(claims)).toEqual([false]);
  expect(await tasksOf(another).takeOver(thief)).toMatchObject([{ task: 't', started: false }]);
});
