import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { CircuitBreakerOptions } from '../../src/circuit-breaker/breaker-rules.ts';
import { CircuitBreaker } from '../../src/circuit-breaker/circuit-breaker.ts';
import type { Classify } from '../../src/circuit-breaker/classify.ts';
import { CallTally, TimeTally } from '../../src/circuit-breaker/tally.ts';
import { CoordinationError, isCoordinationError } from '../../src/core/errors.ts';
import type { CircuitState } from '../../src/core/coordination-types.ts';
import type { CoordinationEvents, EventSink } from '../../src/core/events.ts';
import { createTestClock, type TestClock } from '../../src/testing/test-clock.ts';

type Change = CoordinationEvents['circuitbreaker:state-change'];
type End = 'success' | 'failure' | 'ignore';
interface Configuration {
  readonly failureThreshold: number;
  readonly successThreshold: number;
  readonly timeout: number;
  readonly halfOpenLimit: number;
  readonly probeTimeoutMs: number;
}

/** Statistics over the runs mean something only when there are many. */
const thorough = (fc.readConfigureGlobal().numRuns ?? 0) >= 500;

/** Lets the reactions of a settled call run: the longest chain of promises behind one has six links. */
const react = async (): Promise<void> => {
  for (let i = 0; i < 12; i++) await Promise.resolve();
};

/** What `make` returns or throws. */
function attempt(make: () => unknown): unknown {
  try {
    return make();
  } catch (error) {
    return error;
  }
}

/** A call whose end is in the test's hands. */
interface Controlled {
  readonly promise: Promise<unknown>;
  readonly settle: (end: End) => void;
}

const classify: Classify = ({ ok, error }) => (ok ? 'success' : error === 'ignored' ? 'ignore' : 'failure');

class Subject {
  readonly clock: TestClock = createTestClock();
  readonly changes: Change[] = [];
  readonly breaker: CircuitBreaker;
  readonly calls: Controlled[] = [];
  refused = 0;
  constructor(options: CircuitBreakerOptions) {
    const events: EventSink = {
      emit: (name, payload) =>
        void (name === 'circuitbreaker:state-change' && this.changes.push(payload as Change)),
      wants: () => true,
    };
    const runtime = { clock: this.clock };
    this.breaker = new CircuitBreaker('subject', { classify, ...options }, undefined, events, { runtime });
  }
  /** Starts a call. False when it was refused. */
  start(): boolean {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    let made = false;
    const answer = this.breaker.execute(() => {
      made = true;
      return promise;
    });
    answer.catch(() => undefined);
    if (!made) {
      this.refused += 1;
      return false;
    }
    const settle = (end: End): void =>
      end === 'success' ? resolve(1) : reject(end === 'ignore' ? 'ignored' : new Error('failed'));
    this.calls.push({ promise: answer, settle });
    return true;
  }
}

// ───────────────────────────────────────────────────────────────────────── the reference model: a log and plain rules

interface ModelCall {
  readonly epoch: number;
  /** Set for probes: when the place is taken back. */
  readonly placeUntil?: number;
  settled: boolean;
}
/** Kept as naive as can be: one record a call, no generations but an epoch, everything looked up by walking. */
class Model {
  now = 0;
  state: CircuitState = 'closed';
  epoch = 0;
  openedAt = 0;
  failuresInARow = 0;
  ends: End[] = [];
  probeSuccesses = 0;
  calls: ModelCall[] = [];
  changes: string[] = [];
  refused = 0;
  readonly rules: Configuration;
  readonly window: { calls: number; failureRatio: number; minCalls: number } | undefined;
  constructor(rules: Configuration, window: Model['window']) {
    this.rules = rules;
    this.window = window;
  }
  go(to: CircuitState, always = false): void {
    if (to !== this.state) this.changes.push(`${this.state}>${to}`);
    else if (!always) return;
    this.state = to;
    this.epoch += 1;
    this.failuresInARow = this.probeSuccesses = 0;
    this.ends = [];
    if (to === 'open') this.openedAt = this.now;
  }
  advance(ms: number): void {
    const end = this.now + ms;
    if (this.state === 'open' && end >= this.openedAt + this.rules.timeout) {
      this.now = this.openedAt + this.rules.timeout;
      this.go('half-open');
    }
    this.now = end;
  }
  probesUnderWay(): number {
    return this.calls.filter(
      (call) => call.epoch === this.epoch && !call.settled && (call.placeUntil ?? 0) > this.now,
    ).length;
  }
  start(): boolean {
    const probe = this.state === 'half-open';
    if (this.state === 'open' || (probe && this.probesUnderWay() >= this.rules.halfOpenLimit)) {
      this.refused += 1;
      return false;
    }
    this.calls.push({
      epoch: this.epoch,
      settled: false,
      ...(probe ? { placeUntil: this.now + this.rules.probeTimeoutMs } : {}),
    });
    return true;
  }
  settle(index: number, end: End): void {
    const call = this.calls[index] as ModelCall;
    call.settled = true;
    const overdue = call.placeUntil !== undefined && call.placeUntil <= this.now;
    if (call.epoch !== this.epoch || overdue || end === 'ignore') return;
    if (this.state === 'half-open') {
      if (end === 'failure') return this.go('open');
      this.probeSuccesses += 1;
      if (this.probeSuccesses >= this.rules.successThreshold) this.go('closed');
      return;
    }
    this.ends.push(end);
    this.failuresInARow = end === 'failure' ? this.failuresInARow + 1 : 0;
    if (this.window === undefined) {
      if (this.failuresInARow >= this.rules.failureThreshold) this.go('open');
      return;
    }
    const last = this.ends.slice(-this.window.calls);
    const failed = last.filter((each) => each === 'failure').length;
    if (last.length >= this.window.minCalls && failed / last.length >= this.window.failureRatio)
      this.go('open');
  }
}

class Command implements fc.AsyncCommand<Model, Subject> {
  readonly #text: string;
  readonly #ready: (model: Model) => boolean;
  readonly #act: (model: Model, subject: Subject) => void | Promise<void>;
  constructor(
    text: string,
    act: (model: Model, subject: Subject) => void | Promise<void>,
    ready: (model: Model) => boolean = () => true,
  ) {
    this.#text = text;
    this.#act = act;
    this.#ready = ready;
  }
  check(model: Model): boolean {
    return this.#ready(model);
  }
  async run(model: Model, subject: Subject): Promise<void> {
    await this.#act(model, subject);
    await react();
    const metrics = subject.breaker.getMetrics();
    expect(subject.breaker.getState()).toBe(model.state);
    expect(subject.changes.map(({ from, to }) => `${from}>${to}`)).toEqual(model.changes);
    expect(subject.refused).toBe(model.refused);
    expect(metrics.running + metrics.successes + metrics.failures + metrics.ignored + metrics.stale).toBe(
      metrics.calls,
    );
    expect(metrics.running).toBe(model.calls.filter((call) => !call.settled).length);
  }
  toString(): string {
    return this.#text;
  }
}

const start = (): Command =>
  new Command('start', (model, subject) => expect(subject.start()).toBe(model.start()));
const settleOne = (pick: number, end: End): Command => {
  const open = (model: Model): number[] => model.calls.flatMap((call, i) => (call.settled ? [] : [i]));
  return new Command(
    `settle(${pick}, ${end})`,
    (model, subject) => {
      const candidates = open(model);
      const index = candidates[pick % candidates.length] as number;
      model.settle(index, end);
      subject.calls[index]?.settle(end);
    },
    (model) => open(model).length > 0,
  );
};
const advance = (ms: number): Command =>
  new Command(`advance(${ms})`, (model, subject) => {
    model.advance(ms);
    subject.clock.tick(ms);
  });
const forceTo = (state: CircuitState): Command =>
  new Command(`force(${state})`, (model, subject) => {
    model.go(state, true);
    subject.breaker.forceState(state);
  });

const states = fc.constantFrom<CircuitState[]>('closed', 'open', 'half-open');
const ends = fc.constantFrom<End[]>('success', 'failure', 'failure', 'ignore');
const configurations: fc.Arbitrary<Configuration> = fc.record({
  failureThreshold: fc.integer({ min: 1, max: 4 }),
  successThreshold: fc.integer({ min: 1, max: 4 }),
  timeout: fc.integer({ min: 1, max: 50 }),
  halfOpenLimit: fc.integer({ min: 1, max: 3 }),
  probeTimeoutMs: fc.integer({ min: 1, max: 60 }),
});
const windows = fc.option(
  fc
    .record({
      calls: fc.integer({ min: 1, max: 6 }),
      failureRatio: fc.constantFrom(0.25, 0.5, 0.75, 1),
      part: fc.double({ min: 0, max: 1, noNaN: true }),
    })
    .map(({ calls, failureRatio, part }) => ({
      calls,
      failureRatio,
      minCalls: 1 + Math.floor(part * (calls - 1)),
    })),
  { nil: undefined },
);

describe('a breaker against the reference model', () => {
  test('B1–B6: state, events, refusals and counts agree after each call, end, wait and force', async () => {
    const commands = fc.commands(
      [
        fc.constant(start()),
        fc.constant(start()),
        fc.tuple(fc.nat(20), ends).map(([pick, end]) => settleOne(pick, end)),
        fc.tuple(fc.nat(20), ends).map(([pick, end]) => settleOne(pick, end)),
        fc.integer({ min: 1, max: 40 }).map(advance),
        states.map(forceTo),
      ],
      { maxCommands: 40 },
    );
    const seen = new Set<string>();
    await fc.assert(
      fc.asyncProperty(configurations, windows, commands, async (rules, window, plan) => {
        const { failureThreshold, ...others } = rules;
        const options = window === undefined ? rules : { ...others, window };
        const model = new Model({ ...rules, failureThreshold }, window);
        await fc.asyncModelRun(() => ({ model, real: new Subject(options) }), plan);
        for (const change of model.changes) seen.add(change);
      }),
    );
    // A model test that never leaves closed would prove nothing.
    const all = ['closed>open', 'open>half-open', 'half-open>open', 'half-open>closed'];
    expect(all.filter((change) => thorough && !seen.has(change))).toEqual([]);
  });
});

// ───────────────────────────────────────────────────────────────────────── one property for each promise

/** Opens the circuit by failures. */
async function open(subject: Subject, rules: Pick<Configuration, 'failureThreshold'>): Promise<void> {
  for (let i = 0; i < rules.failureThreshold; i++) {
    subject.start();
    subject.calls.at(-1)?.settle('failure');
    await react();
  }
  expect(subject.breaker.getState()).toBe('open');
}

describe('promises', () => {
  test('B1: in half-open no interleaving makes more than halfOpenLimit calls at the same time', async () => {
    await fc.assert(
      fc.asyncProperty(
        configurations,
        fc.scheduler(),
        fc.integer({ min: 1, max: 12 }),
        async (rules, scheduler, callers) => {
          const subject = new Subject({ ...rules, probeTimeoutMs: 1_000 });
          await open(subject, rules);
          subject.clock.tick(rules.timeout);
          let probes = 0;
          let most = 0;
          const refusals: unknown[] = [];
          // Each caller arrives, and is answered, whenever the scheduler likes.
          for (let i = 0; i < callers; i++) {
            void scheduler.schedule(Promise.resolve(), `arrive ${i}`).then(() => {
              const probing = subject.breaker.getState() === 'half-open';
              void subject.breaker
                .execute(async () => {
                  if (probing) most = Math.max(most, (probes += 1));
                  try {
                    await scheduler.schedule(Promise.resolve(), `answer ${i}`);
                  } finally {
                    if (probing) probes -= 1;
                  }
                })
                .catch((error: unknown) => refusals.push(error));
            });
          }
          await scheduler.waitIdle();
          await react();
          expect(refusals.every((error) => isCoordinationError(error, 'CIRCUIT_OPEN'))).toBe(true);
          expect(most).toBeGreaterThan(0);
          expect(most).toBeLessThanOrEqual(rules.halfOpenLimit);
        },
      ),
    );
  });

  test('B2: what ends after the state has changed changes nothing, in any order', async () => {
    await fc.assert(
      fc.asyncProperty(
        configurations,
        states,
        fc.array(ends, { minLength: 1, maxLength: 8 }),
        async (rules, state, stragglers) => {
          const subject = new Subject(rules);
          for (const _ of stragglers) expect(subject.start()).toBe(true);
          subject.breaker.forceState(state);
          const before = subject.breaker.snapshot();
          const changes = subject.changes.length;
          for (const [i, end] of stragglers.entries()) {
            subject.calls[i]?.settle(end);
            await react();
          }
          expect(subject.breaker.snapshot()).toEqual(before);
          expect(subject.changes).toHaveLength(changes);
          expect(subject.breaker.getMetrics().stale).toBe(stragglers.length);
        },
      ),
    );
  });

  test('B3: each configuration is refused, or closes again once the dependency is healthy', async () => {
    const wild = fc.oneof(
      { weight: 25, arbitrary: fc.integer({ min: 1, max: 12 }) },
      {
        weight: 1,
        arbitrary: fc.constantFrom<unknown[]>(
          0,
          -1,
          Number.NaN,
          Number.POSITIVE_INFINITY,
          Number.NEGATIVE_INFINITY,
          0.5,
          2 ** 31,
          2 ** 53,
          '3',
          null,
          undefined,
          {},
        ),
      },
    );
    const half = fc.oneof(
      { weight: 25, arbitrary: fc.double({ min: 0.01, max: 1, noNaN: true }) },
      { weight: 1, arbitrary: fc.double({ min: -0.5, max: 1.5 }) },
      { weight: 1, arbitrary: wild },
    );
    const size = fc.oneof(
      fc.record({ calls: wild }),
      fc.record({ windowMs: wild }),
      fc.record({ calls: wild, windowMs: wild }),
    );
    const window = fc.option(
      fc.oneof(
        { weight: 1, arbitrary: wild },
        {
          weight: 9,
          arbitrary: fc
            .tuple(
              size,
              fc.record({ failureRatio: half, minCalls: wild }, { requiredKeys: ['failureRatio'] }),
            )
            .map(([one, two]) => ({ ...one, ...two })),
        },
      ),
      { nil: undefined },
    );
    const slow = fc.option(
      fc.oneof(
        { weight: 1, arbitrary: wild },
        {
          weight: 9,
          arbitrary: fc.record(
            { overMs: wild, ratio: half, minCalls: wild },
            { requiredKeys: ['overMs', 'ratio'] },
          ),
        },
      ),
      { nil: undefined },
    );
    let accepted = 0;
    let refused = 0;
    const numbers = {
      failureThreshold: wild,
      successThreshold: wild,
      timeout: wild,
      halfOpenLimit: wild,
      probeTimeoutMs: wild,
    };
    await fc.assert(
      fc.asyncProperty(fc.record({ ...numbers, window, slow }, { requiredKeys: [] }), async (given) => {
        const subject = attempt(() => new Subject(given as CircuitBreakerOptions));
        if (!(subject instanceof Subject)) {
          refused += 1;
          if (isCoordinationError(subject, 'INVALID_OPTION')) return;
          throw subject;
        }
        accepted += 1;
        subject.breaker.forceState('open');
        const { retryAfterMs } = subject.breaker.getMetrics();
        subject.clock.tick(retryAfterMs);
        expect(subject.breaker.getState()).toBe('half-open');
        const needed = typeof given.successThreshold === 'number' ? given.successThreshold : 2;
        for (let i = 0; i < needed; i++) {
          expect(subject.start()).toBe(true);
          subject.calls.at(-1)?.settle('success');
          await react();
        }
        expect(subject.breaker.getState()).toBe('closed');
      }),
    );
    expect(thorough ? Math.min(accepted, refused) / (accepted + refused) : 1).toBeGreaterThan(0.1);
  });

  test('B4: open becomes half-open exactly at the timeout, whatever stragglers do meanwhile', async () => {
    await fc.assert(
      fc.asyncProperty(
        configurations,
        fc.array(fc.tuple(fc.integer({ min: 0, max: 50 }), ends), { maxLength: 6 }),
        async (rules, stragglers) => {
          const subject = new Subject(rules);
          for (const _ of stragglers) subject.start();
          await open(subject, { failureThreshold: rules.failureThreshold });
          const due = subject.clock.mono() + rules.timeout;
          const inOrder = stragglers.toSorted(([a], [b]) => a - b);
          for (const [i, [at, end]] of inOrder.entries()) {
            if (at >= rules.timeout) break;
            subject.clock.tick(due - rules.timeout + at - subject.clock.mono());
            subject.calls[i]?.settle(end);
            await react();
            expect(subject.breaker.getState()).toBe('open');
          }
          subject.clock.tick(due - subject.clock.mono() - 1);
          expect(subject.breaker.getState()).toBe('open');
          subject.clock.tick(1);
          // By the timer: the event is there before anybody asks.
          expect(subject.changes.at(-1)).toMatchObject({ from: 'open', to: 'half-open' });
          expect(subject.breaker.getState()).toBe('half-open');
        },
      ),
    );
  });

  test('B5: a healthy dependency closes the circuit within the timeout and successThreshold calls', async () => {
    await fc.assert(
      fc.asyncProperty(configurations, windows, async (rules, window) => {
        const { failureThreshold: _, ...others } = rules;
        const subject = new Subject(window === undefined ? rules : { ...others, window });
        subject.breaker.forceState('open');
        subject.clock.tick(rules.timeout);
        for (let i = 0; i < rules.successThreshold; i++) {
          await subject.breaker.execute(() => 'well');
        }
        expect(subject.breaker.getState()).toBe('closed');
      }),
    );
  });

  test('B6: a probe that never settles gives its place back at probeTimeoutMs, and its late end changes nothing', async () => {
    await fc.assert(
      fc.asyncProperty(configurations, ends, async (rules, late) => {
        const subject = new Subject(rules);
        subject.breaker.forceState('half-open');
        for (let i = 0; i < rules.halfOpenLimit; i++) expect(subject.start()).toBe(true);
        expect(subject.start()).toBe(false);
        subject.clock.tick(rules.probeTimeoutMs - 1);
        expect(subject.start()).toBe(false);
        subject.clock.tick(1);
        expect(subject.breaker.getState()).toBe('half-open');
        for (let i = 0; i < rules.halfOpenLimit; i++) expect(subject.start()).toBe(true);
        expect(subject.start()).toBe(false);
        const before = subject.breaker.snapshot();
        for (let i = 0; i < rules.halfOpenLimit; i++) subject.calls[i]?.settle(late);
        await react();
        expect(subject.breaker.snapshot()).toEqual(before);
        expect(subject.start()).toBe(false);
      }),
    );
  });

  test('a snapshot restored elsewhere behaves as the original, and an older one is refused', async () => {
    await fc.assert(
      fc.asyncProperty(
        configurations,
        states,
        fc.integer({ min: 0, max: 49 }),
        async (rules, state, waited) => {
          const [one, two] = [new Subject(rules), new Subject(rules)];
          one.breaker.forceState(state);
          one.clock.tick(waited);
          const snapshot = JSON.parse(JSON.stringify(one.breaker.snapshot())) as ReturnType<
            CircuitBreaker['snapshot']
          >;
          expect(two.breaker.restore(snapshot)).toBe(true);
          expect(two.breaker.restore(snapshot)).toBe(false);
          expect(two.breaker.snapshot()).toEqual(snapshot);
          const left = one.breaker.getMetrics().retryAfterMs;
          for (const { clock } of [one, two]) clock.tick(left);
          expect(two.breaker.getState()).toBe(one.breaker.getState());
        },
      ),
    );
  });
});

describe('windows', () => {
  test('the last n calls are counted exactly', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 20 }),
        fc.array(fc.tuple(fc.boolean(), fc.boolean()), { maxLength: 80 }),
        (size, calls) => {
          const tally = new CallTally(size);
          calls.forEach(([failed, slow], i) => {
            tally.add(failed, slow);
            const last = calls.slice(Math.max(0, i + 1 - size), i + 1);
            expect([tally.calls, tally.failures, tally.slow]).toEqual([
              last.length,
              last.filter(([each]) => each).length,
              last.filter(([, each]) => each).length,
            ]);
          });
        },
      ),
    );
  });

  test('the last ms are counted between 95 % and 100 % of the window', () => {
    const calls = fc.array(fc.tuple(fc.integer({ min: 0, max: 400 }), fc.boolean(), fc.boolean()), {
      maxLength: 60,
    });
    fc.assert(
      fc.property(
        fc.integer({ min: 20, max: 1_000 }),
        fc.double({ min: -1e6, max: 1e9, noNaN: true }),
        calls,
        (windowMs, origin, steps) => {
          const tally = new TimeTally(windowMs);
          const log: { at: number; failed: boolean; slow: boolean }[] = [];
          let now = Math.floor(origin);
          const within = (ms: number): typeof log => log.filter(({ at }) => at > now - ms);
          for (const [ms, failed, slow] of steps) {
            now += ms;
            tally.add(failed, slow, now);
            log.push({ at: now, failed, slow });
            // The ms at the very edge may fall on either side of it.
            const [least, most] = [within(windowMs * 0.95 - 0.01), within(windowMs + 0.01)];
            const count = (of: typeof log, key: 'failed' | 'slow'): number =>
              of.filter((each) => each[key]).length;
            expect(tally.calls).toBeGreaterThanOrEqual(least.length);
            expect(tally.calls).toBeLessThanOrEqual(most.length);
            expect(tally.failures).toBeGreaterThanOrEqual(count(least, 'failed'));
            expect(tally.failures).toBeLessThanOrEqual(count(most, 'failed'));
            expect(tally.slow).toBeGreaterThanOrEqual(count(least, 'slow'));
            expect(tally.slow).toBeLessThanOrEqual(count(most, 'slow'));
          }
        },
      ),
    );
  });

  test('errors of the library stay recognisable through a breaker', async () => {
    const { breaker } = new Subject({});
    const error = new CoordinationError('QUEUE_FULL', 'full');
    await expect(breaker.execute(() => Promise.reject(error))).rejects.toBe(error);
  });
});
