import assert from 'node:assert/strict';
import { EMPTY_REPORT } from '../../src/core/empty-report.ts';
import type { Sessions } from '../../src/core/ports/sessions.ts';
import type {
  Claim,
  ClaimRequest,
  Edge,
  FailurePolicy,
  NewTask,
  Revision,
  Settlement,
  TaskFilter,
  TaskState,
  TaskStore,
} from '../../src/core/ports/tasks.ts';
import type { Operation, SessionNumber } from '../../src/core/ports/words.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import type { SuiteEnvironment } from '../../src/testing/suites/suite.ts';

/** One process as each of the two stores knows it. */
interface Worker {
  readonly name: string;
  readonly sessions: readonly [SessionNumber, SessionNumber];
  readonly leaseMs: number;
  sequence: number;
  closed: boolean;
}

type Side = 0 | 1;
type Pair<T> = readonly [T, T];

/** So long that a store may keep it elsewhere. */
const LONG = 'lang '.repeat(600);
const IDS = Array.from({ length: 10 }, (_, i) => `t${i}`);
const POLICIES: readonly FailurePolicy[] = ['cancel', 'skip', 'wait', 'continue'];
const STATES: readonly TaskState[] = [
  'waiting',
  'scheduled',
  'ready',
  'claimed',
  'completed',
  'dead',
  'cancelled',
  'skipped',
];

/**
 * The same calls to two stores on clocks that stand still, and a look at everything after each: the first is the model of the second. Tokens,
 * times and orders have to be the same, for both make them by the same rules.
 */
export class TaskTwins {
  readonly #envs: Pair<SuiteEnvironment>;
  readonly #next: () => number;
  readonly #workers: Worker[] = [];
  /** Claims of both, in the same places; the old ones too. */
  #claims: Pair<Claim>[] = [];
  #fresh = 0;
  readonly seen = new Set<string>(IDS);
  /** How often each kind of call was made, and each outcome seen. */
  readonly met = new Map<string, number>();
  readonly trace: string[] = [];

  constructor(seed: string, model: SuiteEnvironment, real: SuiteEnvironment) {
    this.#envs = [model, real];
    const random = createRandom(seed);
    this.#next = () => random.next();
  }

  async begin(): Promise<void> {
    await this.#open(600_000);
    await this.#open(600_000);
    for (const queue of ['q', 'r']) await this.#configure(queue);
  }

  async step(): Promise<void> {
    const kind = this.#pick(KINDS);
    await this[kind]();
    await this.#compare();
  }

  async finish(): Promise<void> {
    // Somebody has to die with something in hand, whatever the dice said.
    for (let i = 0; i < 5 && !this.met.has('takeover dead'); i++) {
      for (const step of [this.enqueue, this.claim, this.claim, this.#close]) await step.call(this);
      await this.takeover(true);
      await this.#compare();
    }
    for (const id of this.seen) {
      const pages = await this.#both((tasks) => tasks.history({ task: id }, { limit: 1_000 }));
      const [a, b] = pages.map(({ items }) =>
        items.map((item) => ({
          ...item,
          ...(item.session === undefined ? {} : { session: this.#nameOf(item.session) }),
        })),
      );
      this.#same(`history of ${id}`, a, b);
    }
  }

  async enqueue(): Promise<void> {
    // Batches of tasks that are only payload may go another way through a store.
    const isSimple = this.#chance(0.35);
    const tasks = Array.from({ length: 1 + this.#below(4) }, () =>
      isSimple ? this.#simpleTask() : this.#newTask(),
    );
    this.trace.push(`enqueue ${JSON.stringify(tasks)}`);
    const answers = await this.#mutate((op, store) => store.enqueue(op, tasks));
    this.#sameAnswers(answers);
    const [{ results }] = answers;
    for (const result of results) this.#met(`enqueue ${result.status}`);
    this.#same('enqueue', results.map(withoutLocal), answers[1].results.map(withoutLocal));
  }

  async claim(): Promise<void> {
    const limit = this.#below(6);
    const request: ClaimRequest = {
      queues: [{ queue: this.#pick(['q', 'r']), limit: 1 + this.#below(4) }],
      offers: Array.from({ length: 1 + this.#below(2) }, () => ({
        capabilities: this.#pick([[], ['c1'], ['c1', 'c2'], ['c1', 'c2', 'c3']]),
        slots: this.#pick([0, 1, 2, 5]),
        ...(this.#chance(0.3) ? { types: this.#pick([['x'], ['y'], ['x', 'y']]) } : {}),
      })),
      // Which of several agents comes first is up to the store.
      agents: this.#pick([[], ['ann'], ['bob']]),
      assigned: this.#below(3),
      limit,
      start: this.#below(limit + 1),
      ...(this.#chance(0.2) ? { without: [{ type: 'x', capabilities: [], placement: 'shy' }] } : {}),
    };
    this.trace.push(`claim ${JSON.stringify(request)}`);
    const answers = await this.#mutate((op, store) => store.claim(op, request));
    this.#keep('claim', answers);
    this.#same('more', answers[0].more, answers[1].more);
  }

  async settle(): Promise<void> {
    const chosen = Array.from({ length: 1 + this.#below(3) }, () => this.#pick(this.#claims)).filter(
      (one) => one !== undefined,
    );
    if (chosen.length === 0) return;
    const isSimple = this.#chance(0.4);
    const ends = chosen.map(() => (isSimple ? { as: 'complete', result: 'ok' } : this.#end()));
    this.trace.push(
      `settle ${JSON.stringify(chosen.map(([claim], i) => [claim.task, claim.token, ends[i]]))}`,
    );
    const answers = await this.#mutate((op, store, side) =>
      store.settle(
        op,
        chosen.map((pair, i) => ({ ...ends[i], claim: pair[side] }) as unknown as Settlement),
      ),
    );
    this.#sameAnswers(answers);
    for (const result of answers[0].results) this.#met(`settle ${result.status}`);
    this.#same('settle', answers[0].results, answers[1].results);
  }

  async start(): Promise<void> {
    const chosen = this.#claims.filter(() => this.#chance(0.3)).slice(0, 3);
    if (chosen.length === 0) return;
    this.trace.push(`start ${JSON.stringify(chosen.map(([claim]) => [claim.task, claim.token]))}`);
    const answers = await this.#mutate((op, store, side) =>
      store.start(
        op,
        chosen.map((pair) => pair[side]),
      ),
    );
    this.#same('start', answers[0].started, answers[1].started);
  }

  async takeover(isDead: boolean = this.#chance(0.5)): Promise<void> {
    const victim = this.#pick(this.#workers);
    const match = this.#chance(0.5)
      ? 'any'
      : { offers: [{ capabilities: ['c1'], slots: 2 }], agents: ['ann'], queues: [{ queue: 'q', limit: 2 }] };
    const limit = 1 + this.#below(4);
    // In which order several dead sessions are visited is up to the store.
    if (isDead && (await this.#deadHolders()) > 1) return;
    this.trace.push(`takeover ${isDead ? 'dead' : victim.name} ${limit} ${JSON.stringify(match)}`);
    const answers = await this.#mutate((op, store, side) =>
      store.takeover(op, {
        from: isDead ? 'dead' : { idle: victim.sessions[side] },
        match,
        limit,
        maxMoves: 2,
        steal: 'stolen',
      }),
    );
    this.#keep(`takeover ${isDead ? 'dead' : 'idle'}`, answers);
  }

  async cancel(): Promise<void> {
    const requests = Array.from({ length: 1 + this.#below(2) }, () => ({
      task: this.#pick(IDS),
      reason: 'no more',
      tree: this.#chance(0.4),
      revoke: this.#chance(0.3),
    }));
    this.trace.push(`cancel ${JSON.stringify(requests)}`);
    const answers = await this.#mutate((op, store) => store.cancel(op, requests));
    this.#sameAnswers(answers);
    for (const result of answers[0].results) this.#met(`cancel ${result.status}`);
    this.#same('cancel', answers[0].results, answers[1].results);
    const asked = answers.map(({ requested }) =>
      sorted(requested.map(({ task, reason }) => ({ task, reason }))),
    );
    this.#same('requested', asked[0], asked[1]);
  }

  async revise(): Promise<void> {
    const filter = this.#filter();
    const revision = this.#revision();
    this.trace.push(`revise ${JSON.stringify([filter, revision])}`);
    const answers = await this.#mutate((op, store) => store.revise(op, { filter, revision, limit: 100 }));
    this.#sameAnswers(answers);
    if (answers[0].changed > 0) this.#met(`revise ${revision.set}`);
    const counts = answers.map(({ changed, deferred }) => ({ changed, deferred }));
    this.#same('revise', counts[0], counts[1]);
  }

  async configure(): Promise<void> {
    await this.#configure(this.#pick(['q', 'r']));
  }

  async sweep(): Promise<void> {
    this.trace.push('sweep');
    const answers = await this.#mutate((op, store) => store.sweep(op, 1_000));
    this.#sameAnswers(answers, true);
    if (answers[0].pruned > 0) this.#met('pruned');
    this.#same('pruned', answers[0].pruned, answers[1].pruned);
    this.#same('dead sessions', answers[0].deadSessions, answers[1].deadSessions);
    // The time that ended tasks are kept is rounded up by at most 2.5 %.
    const [soon, late] = [answers[0].nextInMs, answers[1].nextInMs];
    // Memory looks after the leases of whoever ever held a claim.
    const isLook = soon === 1_000;
    assert.ok(
      isLook || late <= soon + 0.001 || (soon > 1_000 && late <= soon + 16_000),
      `the next sweep is in ${late}, not ${soon}`,
    );
  }

  async pass(): Promise<void> {
    const ms = this.#pick([1, 10, 10, 35, 100, 1_000, 70_000]);
    this.trace.push(`pass ${ms}`);
    for (const env of this.#envs) await env.pass(ms);
  }

  async session(): Promise<void> {
    if (this.#chance(0.3)) {
      await this.#open(this.#pick([50, 600_000]));
      return;
    }
    await this.#close();
    if (this.#chance(0.7)) await this.takeover(true);
  }

  async #close(): Promise<void> {
    const worker = this.#pick(this.#workers.filter(({ closed }) => !closed));
    this.trace.push(`close ${worker.name}`);
    worker.closed = true;
    await this.#eachSessions((sessions, side) => sessions.close(worker.sessions[side]));
    await this.#open(600_000);
  }

  #end(): object {
    const delayMs = this.#pick([0, 0, 20]);
    const error = { message: 'again' };
    return this.#pick<object>([
      { as: 'complete', result: { n: this.#below(3) } },
      { as: 'complete', result: null },
      { as: 'retry', delayMs, error },
      { as: 'bury', reason: 'broken', error, signature: 'E:x' },
      { as: 'cancel', reason: 'obeyed' },
      { as: 'release', delayMs, reason: 'given back', refundAttempt: this.#chance(0.5) },
      { as: 'release', delayMs, reason: 'moved', refundAttempt: true, toAgent: this.#pick(['ann', null]) },
    ]);
  }

  #simpleTask(): NewTask {
    const id = `u${this.#fresh++}`;
    this.seen.add(id);
    return {
      id,
      queue: this.#pick(['q', 'q', 'r']),
      type: this.#pick(['x', 'y']),
      payload: this.#chance(0.1) ? LONG : id,
      priority: this.#pick([0, 0, 1]),
      capabilities: this.#pick([[], ['c1']]),
      weight: 1,
      dependsOn: [],
      limits: {
        maxCrashes: 1,
        keepMs: this.#pick([30, 600_000]),
        ...(this.#chance(0.2) ? { keepFirm: true } : {}),
      },
      ...(this.#chance(0.4) ? { group: this.#pick(['g1', 'g2']) } : {}),
      ...(this.#chance(0.2) ? { settings: { timeoutMs: 5 } } : {}),
    };
  }

  #newTask(): NewTask {
    const isNamed = this.#chance(0.8);
    const id = isNamed ? this.#pick(IDS) : `u${this.#fresh++}`;
    this.seen.add(id);
    const optional = <K extends string, V>(name: K, share: number, value: () => V): { [P in K]?: V } =>
      (this.#chance(share) ? { [name]: value() } : {}) as { [P in K]?: V };
    const parents = new Set(
      this.#chance(0.45) ? Array.from({ length: 1 + this.#below(3) }, () => this.#pick(IDS)) : [],
    );
    const dependsOn: Edge[] = [...parents].map((parent) => ({ parent, onFailure: this.#pick(POLICIES) }));
    const key = optional('key', 0.25, () => this.#pick(['k1', 'k2', 'k\u0001']));
    return {
      id,
      queue: this.#pick(['q', 'q', 'r']),
      type: this.#pick(['x', 'x', 'y']),
      payload: { n: this.#below(2), text: this.#chance(0.2) ? LONG : 'ü' },
      priority: this.#pick([0, 0, 1, 5, -3]),
      capabilities: this.#pick([[], [], ['c1'], ['c1', 'c2']]),
      weight: this.#pick([1, 1, 2.5]),
      dependsOn,
      limits: {
        maxCrashes: 1,
        keepMs: this.#pick([30, 600_000, 600_000, 0]),
        ...optional('deadlineMs', 0.15, () => 50),
        ...optional('keepFirm', 0.2, () => true as const),
      },
      ...(isNamed ? { named: true as const } : {}),
      ...optional('delayMs', 0.2, () => 20),
      ...optional('group', 0.3, () => this.#pick(['g1', 'g2'])),
      ...optional('agent', 0.15, () => this.#pick(['ann', 'bob'])),
      // A tree whose middle is forgotten keeps its place by the ids it was made with here, and by those above them in memory.
      ...(isNamed && id > 't5' ? optional('parent', 0.4, () => this.#pick(['t0', 't1', 't2'])) : {}),
      ...optional('placement', 0.2, () => 'shy'),
      ...optional('headers', 0.2, () => ({ trace: 'a"\n' })),
      ...optional('settings', 0.2, () => ({ timeoutMs: 5 })),
      ...key,
      ...('key' in key
        ? optional('onDuplicate', 0.6, () => this.#pick(['replace', 'debounce'] as const))
        : {}),
    };
  }

  #filter(): TaskFilter {
    return this.#pick<TaskFilter>([
      {},
      { ids: [this.#pick(IDS), this.#pick(IDS)] },
      { ids: [this.#pick(IDS)] },
      { state: [this.#pick(STATES)] },
      { state: ['ready', 'dead'] },
      { queue: 'q', type: 'x' },
      { key: 'k1' },
      { group: 'g1' },
      { agent: 'ann' },
      { errorSignature: 'E:x' },
      { errorText: '"again' },
      { parent: 't1' },
      { olderThanMs: 20 },
    ]);
  }

  #revision(): Revision {
    return this.#pick<Revision>([
      { set: 'priority', priority: this.#pick([0, 1, 7]) },
      { set: 'age', ageMs: 100_000 },
      { set: 'delay', delayMs: this.#pick([0, 20]) },
      { set: 'payload', payload: { n: this.#below(2), text: this.#pick(['ü', LONG]) } },
      { set: 'agent', agent: this.#pick(['ann', null]) },
      { set: 'redrive', delayMs: 0, resetAttempts: this.#chance(0.5), spreadMs: this.#pick([0, 10]) },
      { set: 'redrive', delayMs: 5, resetAttempts: false, spreadMs: 0 },
      { set: 'discard' },
    ]);
  }

  async #configure(queue: string): Promise<void> {
    const settings = {
      paused: this.#chance(0.1),
      ageStepMs: this.#pick([10_000, 100, 0, 3]),
      ...(this.#chance(0.2) ? { maxLength: 6 } : {}),
      ...(this.#chance(0.3) ? { maxRunning: 2 } : {}),
      ...(this.#chance(0.3) ? { maxRunningPerGroup: 1 } : {}),
      // No shares: which of two groups that an offer left out comes first afterwards is up to the store.
    };
    this.trace.push(`configure ${queue} ${JSON.stringify(settings)}`);
    const answers = await this.#mutate((op, store) => store.configure(op, queue, undefined, settings));
    this.#same('configure', answers[0], answers[1]);
  }

  async #open(leaseMs: number): Promise<void> {
    const name = `w${this.#workers.length}`;
    this.trace.push(`open ${name} ${leaseMs}`);
    const opened = await this.#eachSessions((sessions) =>
      sessions.open({ boot: name, leaseMs, writer: 1, report: EMPTY_REPORT }),
    );
    const sessions = [opened[0].session, opened[1].session] as const;
    this.#workers.push({ name, sessions, leaseMs, sequence: 0, closed: false });
  }

  #keep(what: string, answers: Pair<{ readonly claims: readonly Claim[] }>): void {
    const [a, b] = answers.map(({ claims }) => claims);
    if ((a as readonly Claim[]).length > 0) this.#met(what);
    this.#same(
      what,
      a?.map((one) => this.#bare(one)),
      b?.map((one) => this.#bare(one)),
    );
    for (const [i, claim] of (a as readonly Claim[]).entries()) this.#claims.push([claim, b?.[i] as Claim]);
    this.#claims = this.#claims.slice(-30);
  }

  #bare(claim: Claim): object {
    const { local: _local, session, body, ...rest } = claim;
    return { ...bareBody(rest), session: this.#nameOf(session), body: bareBody(body) };
  }

  /** The same operation to both, of a worker that lives; of a dead one now and then. */
  async #mutate<T>(call: (op: Operation, store: TaskStore, side: Side) => T): Promise<Pair<Awaited<T>>> {
    const worker = this.#pick(this.#workers.filter(({ closed, leaseMs }) => !closed && leaseMs > 1_000));
    worker.sequence += 1;
    this.trace.push(`  by ${worker.name}`);
    const answers: Awaited<T>[] = [];
    for (const side of [0, 1] as const) {
      const store = this.#envs[side].backend.tasks as TaskStore;
      answers.push(await call({ session: worker.sessions[side], sequence: worker.sequence }, store, side));
    }
    return answers as unknown as Pair<Awaited<T>>;
  }

  async #both<T>(call: (store: TaskStore) => T): Promise<Pair<Awaited<T>>> {
    const answers: Awaited<T>[] = [];
    for (const env of this.#envs) answers.push(await call(env.backend.tasks as TaskStore));
    return answers as unknown as Pair<Awaited<T>>;
  }

  async #eachSessions<T>(call: (sessions: Sessions, side: Side) => T): Promise<Pair<Awaited<T>>> {
    const answers: Awaited<T>[] = [];
    for (const side of [0, 1] as const)
      answers.push(await call(this.#envs[side].backend.sessions as Sessions, side));
    return answers as unknown as Pair<Awaited<T>>;
  }

  #sameAnswers(
    answers: Pair<{
      readonly at: number;
      readonly readied: readonly object[];
      readonly ended: readonly object[];
    }>,
    isSweep = false,
  ): void {
    const [a, b] = answers;
    this.#same('at', a.at, b.at);
    this.#same('readied', sorted(a.readied), sorted(b.readied));
    this.#same('ended', sorted(a.ended.map(withoutLocal)), sorted(b.ended.map(withoutLocal)));
    if (a.ended.length > 0) this.#met(isSweep ? 'deadline' : 'cascade');
  }

  async #compare(): Promise<void> {
    const ids = [...this.seen];
    const [a, b] = await this.#both((store) => store.get(ids));
    for (const [i, id] of ids.entries()) this.#same(id, this.#bareRecord(a[i]), this.#bareRecord(b[i]));
    const [counts, real] = await this.#both((store) => store.counts(['q', 'r']));
    for (const [i, one] of counts.queues.entries()) {
      // Which of the ready ones are looked at for the oldest isn't the same.
      const { readyWeight, oldestReadyAt, ...rest } = one;
      const { readyWeight: weight, oldestReadyAt: oldest, ...others } = real.queues[i] as typeof one;
      this.#same('counts', rest, others);
      assert.equal(oldest === undefined, oldestReadyAt === undefined, 'whether something is ready');
      assert.ok(Math.abs(readyWeight - weight) < 1e-9, `ready weight ${readyWeight} and ${weight}`);
    }
    for (const order of ['newest', 'queue', 'ended'] as const) {
      const filter = order === 'newest' ? this.#filter() : order === 'queue' ? { queue: 'q' } : {};
      const pages = await this.#both((store) => store.list(filter, { limit: 50, order }));
      const [x, y] = pages.map(({ items }) => items.map(({ id }) => id));
      this.#same(`list ${order} ${JSON.stringify(filter)}`, x, y);
    }
    for (const worker of this.#workers) {
      const beats = await this.#eachSessions((sessions, side) =>
        // One that is never heard of again expires.
        worker.leaseMs > 1_000 && !worker.closed
          ? sessions.beat(worker.sessions[side], EMPTY_REPORT)
          : undefined,
      );
      const [x, y] = beats.map((beat) => (beat?.status === 'alive' ? sorted(beat.orders) : beat?.status));
      this.#same(`orders of ${worker.name}`, x, y);
    }
  }

  async #deadHolders(): Promise<number> {
    const records = (await this.#envs[0].backend.tasks?.get([...this.seen])) ?? [];
    const dead = this.#workers.filter(({ closed, leaseMs }) => closed || leaseMs < 1_000);
    return dead.filter(({ sessions }) => records.some((record) => record?.session === sessions[0])).length;
  }

  #bareRecord(record: Awaited<ReturnType<TaskStore['get']>>[number]): object | undefined {
    if (record === undefined) return undefined;
    const { local: _local, session, body, waitingFor, ...rest } = record;
    return {
      ...rest,
      waitingFor: waitingFor.toSorted(),
      body: bareBody(body),
      ...(session === undefined ? {} : { session: this.#nameOf(session) }),
    };
  }

  #nameOf(session: SessionNumber): string {
    return this.#workers.find(({ sessions }) => sessions.includes(session))?.name ?? `? ${session}`;
  }

  #same(what: string, model: unknown, real: unknown): void {
    assert.deepEqual(real, model, `${what} differs from the model`);
  }

  #met(what: string): void {
    this.met.set(what, (this.met.get(what) ?? 0) + 1);
  }

  #below(n: number): number {
    return Math.floor(this.#next() * n);
  }

  #chance(share: number): boolean {
    return this.#next() < share;
  }

  #pick<T>(from: readonly T[]): T {
    return from[this.#below(from.length)] as T;
  }
}

type Kind =
  | 'enqueue'
  | 'claim'
  | 'settle'
  | 'start'
  | 'takeover'
  | 'cancel'
  | 'revise'
  | 'configure'
  | 'sweep'
  | 'pass'
  | 'session';
const WEIGHTS: Readonly<Record<Kind, number>> = {
  enqueue: 10,
  claim: 8,
  settle: 8,
  start: 2,
  takeover: 4,
  cancel: 3,
  revise: 5,
  configure: 1,
  sweep: 4,
  pass: 4,
  session: 2,
};
const KINDS: readonly Kind[] = (Object.keys(WEIGHTS) as Kind[]).flatMap((kind) =>
  Array.from({ length: WEIGHTS[kind] }, () => kind),
);

/** Without what only one of the two keeps: the operation's own fields of a submission. */
function bareBody(body: object): object {
  const {
    named: _named,
    delayMs: _delay,
    onDuplicate: _on,
    dependsOn: _edges,
    limits: _limits,
    ...rest
  } = body as Record<string, unknown>;
  return Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));
}

function withoutLocal(item: object): object {
  const { local: _local, ...rest } = item as { readonly local?: object };
  return rest;
}

function sorted<T>(rows: readonly T[]): readonly T[] {
  const key = (row: T): string => JSON.stringify(row);
  return rows.toSorted((a, b) => (key(a) < key(b) ? -1 : 1));
}
