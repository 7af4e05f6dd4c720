import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { redis, type RedisBackend } from '../../../src/backends/redis/redis.ts';
import { EMPTY_REPORT } from '../../../src/core/empty-report.ts';
import { isCoordinationError } from '../../../src/core/errors.ts';
import type {
  CycleEdge,
  Grant,
  LockAnswer,
  LockItem,
  LockStore,
  WaitRef,
} from '../../../src/core/ports/locks.ts';
import type { Operation, SessionNumber } from '../../../src/core/ports/words.ts';
import { createRuntime } from '../../../src/core/runtime/runtime.ts';
import { requestOf, type Wish } from '../../../src/testing/suites/locks/world.ts';

/** What one process saw of one lock, by the server's clock, µs. */
export interface Held {
  readonly id: string;
  readonly resource: string;
  readonly mode: LockItem['mode'];
  readonly token: number;
  readonly askedAt: number;
  readonly releasedAt: number;
}

export interface Mesh {
  readonly prefix: string;
  readonly mesh: string;
  readonly tag: string;
}

/** A mesh of its own on a server that others use too. */
export function newMesh(): Mesh {
  const mesh = randomBytes(6).toString('hex');
  return { prefix: 'agentmesh-test', mesh, tag: `agentmesh-test:{${mesh}}:` };
}

/** A process that uses the locks of a mesh on a real server, on real time. It asks again about whatever it waits for. */
export class LockProcess implements AsyncDisposable {
  readonly backend: RedisBackend;
  readonly locks: LockStore;
  readonly session: SessionNumber;
  /** Repeated operations whose outcome was unknown. */
  repeated = 0;
  #sequence = 0;
  #next = 0;
  /** The last operations: n goes only once n − 16 is answered. */
  readonly #window: Promise<unknown>[] = [];

  private constructor(backend: RedisBackend, session: SessionNumber) {
    this.backend = backend;
    this.locks = backend.locks;
    this.session = session;
  }

  static async start(url: string, { prefix, mesh }: Mesh, leaseMs = 60_000): Promise<LockProcess> {
    const backend = redis({ url, prefix, mesh, commandTimeoutMs: 2_000 });
    await backend.start(createRuntime());
    const boot = randomBytes(8).toString('hex');
    const { session } = await repeating(() =>
      backend.sessions.open({ boot, leaseMs, writer: 1, report: EMPTY_REPORT }),
    );
    return new LockProcess(backend, session);
  }

  /** Takes locks, waiting as long as it takes. */
  async take(
    items: readonly LockItem[],
    wish: Wish = {},
    pollMs = 5,
  ): Promise<{ grant: Grant; askedAt: number }> {
    this.#next += 1;
    const id = `lock-${this.session}-${this.#next}`;
    const asked = await this.#operation((op) => this.locks.request(op, [requestOf(id, items, wish)]));
    let [answer] = asked.answers as [LockAnswer];
    while (answer.status === 'waiting') {
      await new Promise((resolve) => setTimeout(resolve, pollMs));
      const kept = await repeating(() => this.locks.keep(this.session, [{ id }]));
      [answer] = kept.answers as [LockAnswer];
    }
    assert.equal(answer.status, 'granted', JSON.stringify(answer));
    return { grant: answer, askedAt: asked.at };
  }

  /** Gives locks back. Returns when, by the server's clock. */
  async give({ id, token }: Grant): Promise<number> {
    const { at, ended } = await this.#operation((op) => this.locks.release(op, [{ id, token }]));
    assert.deepEqual(ended, [true], `${id} was held until it was given back`);
    return at;
  }

  abort(wait: WaitRef, cycle: readonly CycleEdge[]): Promise<{ readonly aborted: boolean }> {
    return this.#operation((op) => this.locks.abort(op, wait, cycle, []));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.backend.stop();
  }

  /** One operation, repeated until its outcome is known; no more under way than the store remembers. */
  #operation<T>(call: (op: Operation) => T | Promise<T>): Promise<T> {
    const sequence = this.#sequence++;
    const place = sequence % this.backend.capabilities.maxInFlight;
    const done = (this.#window[place] ?? Promise.resolve()).then(async () => {
      const op = { session: this.session, sequence: sequence + 1 };
      let tries = 0;
      const answer = await repeating(() => {
        tries += 1;
        return call(op);
      });
      this.repeated += tries - 1;
      return answer;
    });
    this.#window[place] = done.catch(() => undefined);
    return done;
  }
}

async function repeating<T>(call: () => T | Promise<T>): Promise<T> {
  for (const end = performance.now() + 20_000; ; ) {
    try {
      return await call();
    } catch (error) {
      const again = isCoordinationError(error) && /OUTCOME_UNKNOWN|BACKEND_UNAVAILABLE/.test(error.code);
      if (!again || performance.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

/** L1, L2: what is wrong with a history. */
export function problemsOf(history: readonly Held[], together: (a: Held, b: Held) => boolean): string[] {
  const problems: string[] = [];
  const byResource = Map.groupBy(history, ({ resource }) => resource);
  for (const [resource, held] of byResource) {
    const inOrder = held.toSorted((a, b) => a.token - b.token);
    const last: Held[] = [];
    for (const next of inOrder) {
      for (const other of last) {
        if (other.token === next.token) problems.push(`${resource}: token ${next.token} twice`);
        if (other.releasedAt > next.token && !together(other, next))
          problems.push(`${resource}: ${next.id} got it while ${other.id} had it`);
      }
      last.push(next);
      if (last.length > 200) last.shift();
    }
    const capacity = held.find(({ mode }) => typeof mode === 'object')?.mode;
    if (typeof capacity !== 'object') continue;
    for (const { token } of inOrder) {
      const units = inOrder.reduce(
        (sum, other) =>
          other.token <= token && other.releasedAt > token && typeof other.mode === 'object'
            ? sum + other.mode.units
            : sum,
        0,
      );
      if (units > capacity.of) problems.push(`${resource}: ${units} units at ${token}`);
    }
  }
  return problems;
}
