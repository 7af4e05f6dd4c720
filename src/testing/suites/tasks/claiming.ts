import assert from 'node:assert/strict';
import { idsOf, type TaskTest } from './harness.ts';

/** Who gets what, in which order. */
export function claimTests(test: TaskTest): void {
  test('claim: first come, first served, each task to one session only', async (harness, me) => {
    const other = await harness.worker();
    await me.enqueue(harness.task('a'), harness.task('b'), harness.task('c'));
    const mine = await me.claim({ limit: 2 });
    const theirs = await other.claim();
    assert.deepEqual([idsOf(mine), idsOf(theirs)], [['a', 'b'], ['c']]);
    const [claim] = mine;
    assert.equal(claim?.session, me.session);
    assert.deepEqual([claim?.attempt, claim?.crashes, claim?.moves, claim?.started], [1, 0, 0, true]);
    assert.equal(claim?.poison, undefined);
    assert.deepEqual(await me.claim(), []);
    const record = await harness.record('a');
    assert.deepEqual([record.state, record.session, record.token], ['claimed', me.session, claim?.token]);
  });

  test('claim: a higher number is more urgent, equals keep their order', async (harness, me) => {
    const priorities = [0, 5, -3, 5, 0, 1_000, -1_000];
    await me.enqueue(...priorities.map((priority, i) => harness.task(`t${i}`, { priority })));
    assert.deepEqual(idsOf(await me.claim()), ['t5', 't1', 't3', 't0', 't4', 't2', 't6']);
  });

  test('claim: kinds it is to do without stay, and do not hide what is behind them', async (harness, me) => {
    const shy = { priority: 9, placement: 'not a' };
    await me.enqueue(
      harness.task('shy', shy),
      harness.task('shyer', { ...shy, placement: 'not a or b' }),
      harness.task('shy-x', { ...shy, capabilities: ['x'] }),
      harness.task('plain'),
      harness.task('plain-x', { capabilities: ['x'] }),
    );
    const capabilities = ['x'];
    const without = [{ type: 'step', capabilities: [], placement: 'not a' }];
    const first = await me.claimAnswer({ capabilities, without });
    assert.deepEqual(idsOf(first.claims), ['shyer', 'shy-x', 'plain', 'plain-x']);
    assert.equal(first.more, false, 'nothing is left that it would take');
    assert.deepEqual(idsOf(await me.claim({ capabilities, without })), []);
    assert.deepEqual(idsOf(await me.claim({ capabilities })), ['shy'], 'without asks for nothing lasting');
  });

  test('claim: what is pinned to an agent comes whatever it is to do without', async (_harness, me) => {
    await me.add('mine', { agent: 'ann', placement: 'not a' });
    const without = [{ type: 'step', capabilities: [], placement: 'not a' }];
    assert.deepEqual(idsOf(await me.claim({ agents: ['ann'], without })), ['mine']);
  });

  test('T7: a task is overtaken only by tasks submitted within Δpriority × ageStep after it', async (harness, me) => {
    await harness.configure({ ageStepMs: 100 });
    await me.add('low', { priority: 0 });
    await harness.env.pass(150);
    await me.add('mid', { priority: 1 });
    await me.add('high', { priority: 3 });
    assert.deepEqual(idsOf(await me.claim()), ['high', 'low', 'mid']);
  });

  test('T7: a new ageing step holds for tasks that become ready from then on', async (harness, me) => {
    await harness.configure({ ageStepMs: 1_000_000 });
    await me.add('old-high', { priority: 1 });
    await me.add('old-low', { priority: 0 });
    await harness.configure({ ageStepMs: 0 });
    await harness.env.pass(5);
    await me.add('new-high', { priority: 1 });
    await me.add('new-higher', { priority: 2 });
    assert.deepEqual(idsOf(await me.claim()), ['old-high', 'old-low', 'new-high', 'new-higher']);
  });

  test('claim: more than 32 priorities at once keep their order', async (harness, me) => {
    const tasks = Array.from({ length: 120 }, (_, i) =>
      harness.task(`t${i}`, { priority: ((i * 37) % 120) - 60 }),
    );
    await me.enqueue(...tasks);
    const got = await me.claim({ limit: 120 });
    const priorities = got.map(({ body }) => body.priority);
    assert.deepEqual(
      priorities,
      priorities.toSorted((a, b) => b - a),
    );
    assert.equal(got.length, 120);
  });

  test('claim: capabilities: all are needed, by one offer, and what nobody can run stays', async (harness, me) => {
    await me.enqueue(
      harness.task('none'),
      harness.task('gpu', { capabilities: ['gpu'] }),
      harness.task('both', { capabilities: ['cuda', 'gpu'] }),
      harness.task('web', { capabilities: ['web'] }),
    );
    assert.deepEqual(idsOf(await me.claim({ capabilities: ['gpu', 'ssd'] })), ['none', 'gpu']);
    const split = [
      { capabilities: ['cuda'], slots: 9 },
      { capabilities: ['gpu'], slots: 9 },
    ];
    assert.deepEqual(await me.claim({ offers: split }), []);
    assert.deepEqual(idsOf(await me.claim({ capabilities: ['ssd', 'gpu', 'cuda'] })), ['both']);
    assert.equal(await harness.state('web'), 'ready');
  });

  test('claim: a task takes a slot of the first offer that fits; full offers get nothing', async (harness, me) => {
    await me.enqueue(
      harness.task('any1'),
      harness.task('any2'),
      harness.task('gpu1', { capabilities: ['gpu'] }),
      harness.task('gpu2', { capabilities: ['gpu'] }),
      harness.task('any3'),
    );
    const answer = await me.claimAnswer({
      offers: [
        { capabilities: [], slots: 2 },
        { capabilities: ['gpu'], slots: 1 },
      ],
    });
    assert.deepEqual(idsOf(answer.claims), ['any1', 'any2', 'gpu1']);
    assert.equal(answer.more, true);
    assert.deepEqual(await me.claim({ offers: [{ capabilities: ['gpu'], slots: 0 }] }), []);
    assert.deepEqual(idsOf(await me.claim({ capabilities: ['gpu'] })), ['gpu2', 'any3']);
  });

  test('claim: an offer may take some types only', async (harness, me) => {
    await me.enqueue(
      harness.task('x', { type: 'x' }),
      harness.task('y', { type: 'y' }),
      harness.task('xx', { type: 'x', capabilities: ['gpu'] }),
      harness.task('z', { type: 'z' }),
    );
    const offer = (types: readonly string[], capabilities: readonly string[] = []): object => ({
      offers: [{ capabilities, types, slots: 9 }],
    });
    assert.deepEqual(idsOf(await me.claim(offer([]))), []);
    assert.deepEqual(idsOf(await me.claim(offer(['x', 'other']))), ['x']);
    assert.deepEqual(idsOf(await me.claim(offer(['y', 'x'], ['gpu']))), ['y', 'xx']);
    assert.deepEqual(idsOf(await me.claim()), ['z']);
  });

  test('claim: a hundred offers, each for a type or a capability of its own', async (harness, me) => {
    const names = Array.from({ length: 100 }, (_, i) => `n${i}`);
    const one = (
      name: string,
      i: number,
    ): { readonly type?: string; readonly capabilities?: readonly string[] } =>
      i % 2 === 0 ? { type: name } : { capabilities: [name] };
    await me.enqueue(...names.map((name, i) => harness.task(name, one(name, i))));
    const offers = names.map((name, i) => ({
      capabilities: i % 2 === 0 ? [] : [name],
      ...(i % 2 === 0 ? { types: [name] } : {}),
      slots: 1,
    }));
    assert.deepEqual(idsOf(await me.claim({ limit: 100, offers })), names);
  });

  test('claim: many types and capability sets at once keep the order of rank', async (harness, me) => {
    const tasks = Array.from({ length: 200 }, (_, i) =>
      harness.task(`t${i}`, {
        type: `type${(i * 13) % 17}`,
        priority: (i * 31) % 7,
        capabilities: i % 3 === 0 ? [`c${i % 5}`] : [],
      }),
    );
    await me.enqueue(...tasks);
    const capabilities = ['c0', 'c1', 'c2', 'c3', 'c4'];
    const claims = [
      ...(await me.claim({ capabilities, limit: 1 })),
      ...(await me.claim({ capabilities, limit: 199 })),
    ];
    const expected = tasks
      .map((task, i) => ({ ...task, i }))
      .toSorted((a, b) => b.priority - a.priority || a.i - b.i);
    assert.deepEqual(
      idsOf(claims),
      expected.map(({ id }) => id),
    );
  });

  test('claim: order of rank across capability sets', async (harness, me) => {
    await me.enqueue(
      harness.task('a', { capabilities: ['x'] }),
      harness.task('b', { capabilities: ['y'], priority: 1 }),
      harness.task('c', { capabilities: ['x', 'y'] }),
      harness.task('d', { priority: 1 }),
    );
    assert.deepEqual(idsOf(await me.claim({ capabilities: ['x', 'y'] })), ['b', 'd', 'a', 'c']);
  });

  test('claim: limit, start and more', async (harness, me) => {
    await me.enqueue(...Array.from({ length: 5 }, (_, i) => harness.task(`t${i}`)));
    const first = await me.claimAnswer({ limit: 3, start: 1, offers: [{ capabilities: [], slots: 9 }] });
    assert.deepEqual(
      first.claims.map(({ started }) => started),
      [true, false, false],
    );
    assert.equal(first.more, true);
    const rest = await me.claimAnswer({ limit: 9, start: 0 });
    assert.equal(rest.claims.length, 2);
    assert.equal(rest.more, false);
    assert.equal((await me.claimAnswer()).more, false);
    assert.equal((await me.claimAnswer({ limit: 0, offers: [] })).claims.length, 0);
  });

  test('claim: queues that are not named give nothing; each named one at most its limit, in turns', async (harness, me) => {
    for (const queue of ['q1', 'q2', 'q3']) {
      await me.enqueue(...Array.from({ length: 4 }, (_, i) => harness.task(`${queue}-${i}`, { queue })));
    }
    const named = (...limits: readonly [string, number][]): { queue: string; limit: number }[] =>
      limits.map(([queue, limit]) => ({ queue, limit }));
    const claims = await me.claim({ queues: named(['q1', 1], ['q2', 2], ['unknown', 5]) });
    assert.deepEqual(idsOf(claims).toSorted(), ['q1-0', 'q2-0', 'q2-1']);
    const turns: string[] = [];
    for (let i = 0; i < 4; i++) {
      const [claim] = await me.claim({ limit: 1, queues: named(['q1', 9], ['q3', 9]) });
      turns.push(claim?.body.queue ?? '');
    }
    assert.deepEqual(turns.slice(0, 2).toSorted(), ['q1', 'q3'], 'claims of one take turns');
    assert.deepEqual(turns.slice(2).toSorted(), ['q1', 'q3']);
  });

  test('claim: without queues named, all are visited in turns, so that none waits for another', async (harness, me) => {
    await me.enqueue(
      ...Array.from({ length: 50 }, (_, i) => harness.task(`heavy-${i}`, { queue: 'heavy', priority: 9 })),
    );
    await me.add('light', { queue: 'light' });
    const claims = await me.claim({ limit: 4 });
    assert.ok(idsOf(claims).includes('light'));
  });

  test("claim: an agent's own tasks come beside the offers, unstarted, to its host only", async (harness, me) => {
    await me.enqueue(
      harness.task('ann1', { agent: 'ann', capabilities: ['anything'] }),
      harness.task('bob1', { agent: 'bob' }),
      harness.task('free1'),
      harness.task('ann2', { agent: 'ann', priority: 2 }),
    );
    assert.deepEqual(idsOf(await me.claim({ agents: ['eve'], limit: 0, offers: [] })), []);
    const claims = await me.claim({ agents: ['eve', 'ann'], limit: 1, start: 1 });
    assert.deepEqual(idsOf(claims), ['free1', 'ann2', 'ann1']);
    assert.deepEqual(
      claims.map(({ started }) => started),
      [true, false, false],
    );
    const limited = await me.claimAnswer({ agents: ['bob'], limit: 0, offers: [], assigned: 0 });
    assert.deepEqual(idsOf(limited.claims), []);
    assert.deepEqual(idsOf(await me.claim({ agents: ['bob'], limit: 0, offers: [], assigned: 1 })), ['bob1']);
  });

  test('claim: many agents, few with tasks of their own', async (harness, me) => {
    const agents = Array.from({ length: 300 }, (_, i) => `agent-${i}`);
    await me.enqueue(
      ...agents.filter((_, i) => i % 20 === 0).map((agent) => harness.task(`for-${agent}`, { agent })),
    );
    await me.add('stranger', { agent: 'elsewhere' });
    const claims = await me.claim({ agents, limit: 0, offers: [] });
    assert.equal(claims.length, 15);
    assert.ok(claims.every(({ body }) => agents.includes(body.agent ?? '')));
  });

  test('T3: tokens strictly increase over claims and tasks', async (harness, me) => {
    await me.enqueue(harness.task('a'), harness.task('b'));
    const tokens: number[] = [];
    for (let i = 0; i < 3; i++) {
      const claims = await me.claim();
      tokens.push(...claims.map(({ token }) => token));
      for (const claim of claims) await me.release(claim);
    }
    assert.deepEqual(
      tokens,
      [...new Set(tokens)].toSorted((a, b) => a - b),
    );
    assert.equal(tokens.length, 6);
  });

  test('claim: a claim is a snapshot', async (_harness, me) => {
    await me.add('a', { payload: 1 });
    const claim = await me.claimOnly('a');
    const before = JSON.stringify(claim);
    await me.revise({ ids: ['a'] }, { set: 'payload', payload: 2 });
    await me.release(claim);
    await me.claimOnly('a');
    assert.equal(JSON.stringify(claim), before);
  });

  test('settle: a plain reference does what the claim itself does', async (_harness, me) => {
    await me.add('a');
    const { session, task, token } = await me.claimOnly('a');
    const { results } = await me.settle({
      claim: { session, task, token },
      as: 'complete',
      result: 1,
    });
    assert.deepEqual(results, [{ status: 'settled', state: 'completed' }]);
  });
}
