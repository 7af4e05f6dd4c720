import { describe, expect, test } from 'vitest';
import { memory } from '../../src/backends/memory/memory.ts';
import type { Backend, Pulse, PulseOptions } from '../../src/core/ports/backend.ts';
import type { Logger } from '../../src/core/ports/runtime.ts';
import type { Sessions } from '../../src/core/ports/sessions.ts';
import type { SessionNumber } from '../../src/core/ports/words.ts';
import type { SessionOptions } from '../../src/manager-options.ts';
import { networked } from '../../src/testing/networked.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { gate } from '../support/mesh.ts';
import { createMesh } from '../support/started-mesh.ts';

/** The session is kept by a thread while the event loop is blocked; here the thread is played, and time too. */

interface Played extends PulseOptions {
  readonly session: SessionNumber;
  /** When the thread renewed the lease, mono ms. */
  renewedAt: number;
  ticks: number;
  /** When it was told of a beat, and how old that was. */
  readonly beaten: (readonly [number, number])[];
  ended: boolean;
}

interface Setup {
  readonly session?: SessionOptions;
  /** In place of the thread. */
  readonly pulse?: Backend['pulse'] | 'none';
  readonly far?: true;
  /** When the thread has ended after it was told to. */
  readonly ending?: Promise<void>;
}

function create({ session, pulse: given, far, ending }: Setup = {}) {
  const clock = createTestClock();
  const inner = memory({ shared: true });
  const threads: Played[] = [];
  const beats: { count: number; answer: ((answer: unknown) => unknown) | undefined } = {
    count: 0,
    answer: undefined,
  };
  const sessions: Sessions = Object.assign(Object.create(inner.sessions) as Sessions, {
    beat: (...args: Parameters<Sessions['beat']>) => {
      beats.count += 1;
      const answer = inner.sessions.beat(...args);
      return beats.answer === undefined ? answer : beats.answer(answer);
    },
    close: inner.sessions.close.bind(inner.sessions),
    open: inner.sessions.open.bind(inner.sessions),
    list: inner.sessions.list.bind(inner.sessions),
  });
  const play = (number: SessionNumber, options: PulseOptions): Pulse => {
    const thread: Played = {
      ...options,
      session: number,
      renewedAt: -Infinity,
      ticks: 0,
      beaten: [],
      ended: false,
    };
    threads.push(thread);
    return {
      tick: () => void (thread.ticks += 1),
      beaten: (agoMs) => void thread.beaten.push([clock.mono(), agoMs]),
      agoMs: () => clock.mono() - thread.renewedAt,
      [Symbol.asyncDispose]: async () => {
        thread.ended = true;
        await ending;
      },
    };
  };
  const plain: Backend = { ...inner, sessions };
  const based = far === undefined ? plain : networked(plain);
  const backend: Backend = given === 'none' ? based : { ...based, pulse: given ?? play };
  const warnings: string[] = [];
  const logger: Logger = {
    debug: () => undefined,
    info: () => undefined,
    warn: (message) => void warnings.push(message),
    error: () => undefined,
  };
  const world = createMesh({ clock, backend, logger, ...(session === undefined ? {} : { session }) });
  const errors = (): readonly string[] => world.named('system:error').map(({ code }) => code);
  return { ...world, clock, inner, threads, beats, warnings, errors };
}

const never = (): Promise<never> => new Promise(() => undefined);

describe('a session with a thread', () => {
  test('one is started for each session, at a third of the lease, and ended with it', async () => {
    const { mesh, clock, inner, threads, down } = create({ session: { leaseMs: 9_000, stuckMs: 5_000 } });
    await mesh.initialize();
    const [first] = threads;
    expect(threads).toMatchObject([{ everyMs: 3_000, stuckMs: 5_000, ended: false }]);
    expect(inner.sessions.list({ limit: 1 }).items[0]?.session).toBe(first?.session);
    inner.sessions.close(first?.session as SessionNumber);
    await clock.advance(3_000);
    expect(threads).toMatchObject([{ ended: true }, { ended: false }]);
    expect(threads[1]?.session).not.toBe(first?.session);
    await down();
    expect(threads).toMatchObject([{ ended: true }, { ended: true }]);
  });

  test('shutdown waits until the thread has ended, but not for ever', async () => {
    for (const isStuck of [false, true]) {
      const ending = gate();
      const { mesh, clock } = create({ ending: ending.promise });
      await mesh.initialize();
      let over = false;
      const down = mesh.shutdown().then(() => (over = true));
      await clock.advance(100);
      expect(over).toBe(false);
      if (isStuck) await clock.advance(60_000);
      else ending.open();
      await down;
      expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
    }
  });

  test('no beat was answered for two thirds, but the thread renewed: it is kept, and a beat is sent', async () => {
    const { mesh, clock, threads, beats, errors } = create();
    await mesh.initialize();
    const lease = await mesh.acquire('db');
    beats.answer = never;
    await clock.advance(15_000);
    (threads[0] as Played).renewedAt = clock.mono();
    await clock.advance(4_900);
    const { count } = beats;
    await clock.advance(200);
    expect(beats.count).toBe(count + 1);
    expect(lease.signal.aborted).toBe(false);
    expect(errors()).toEqual([]);
    expect((await mesh.getHealthStatus()).components['session']).toMatchObject({ healthy: true });
    // It counts from its renewal: two thirds of a lease after that it is over.
    await clock.advance(35_000 - clock.mono() - 100);
    expect(lease.signal.aborted).toBe(false);
    await clock.advance(200);
    expect(lease.signal.aborted).toBe(true);
    expect(errors()).toEqual(['SESSION_EXPIRED']);
  });

  test('the thread renewed too long ago: it is lost, as without one', async () => {
    const { mesh, clock, threads, beats, errors } = create();
    await mesh.initialize();
    (threads[0] as Played).renewedAt = clock.mono() - 1;
    beats.answer = never;
    await clock.advance(20_100);
    expect(errors()).toEqual(['SESSION_EXPIRED']);
  });

  test('kept by the thread it goes on by beats alone once they are answered', async () => {
    const { mesh, clock, threads, beats, errors } = create();
    await mesh.initialize();
    beats.answer = never;
    await clock.advance(19_000);
    (threads[0] as Played).renewedAt = clock.mono();
    await clock.advance(2_000);
    beats.answer = undefined;
    await clock.advance(600_000);
    expect(errors()).toEqual([]);
  });

  test('the thread hears of beats that were answered, and how old they are', async () => {
    const { mesh, clock, threads, beats } = create({ session: { leaseMs: 9_000 } });
    await mesh.initialize();
    const [thread] = threads as [Played];
    await clock.advance(3_010);
    expect(thread.beaten).toEqual([[3_000, 0]]);
    beats.answer = (answer) => new Promise((resolve) => void clock.after(100, () => resolve(answer), true));
    await clock.advance(3_200);
    expect(thread.beaten[1]).toEqual([6_100, 100]);
    beats.answer = never;
    await clock.advance(3_000);
    expect(thread.beaten).toHaveLength(2);
  });

  test('its loop is reported to the thread four times in the time after which that gives it up', async () => {
    const { mesh, clock, threads } = create({ session: { leaseMs: 3_600_000, stuckMs: 1_000 } });
    await mesh.initialize();
    const [thread] = threads as [Played];
    await clock.advance(1_000);
    expect(thread.ticks).toBe(4);
    await clock.advance(60_000);
    expect(thread.ticks).toBe(244);
  });

  test('a process that the store doesn’t hear of any more is given up by its thread too', async () => {
    const { mesh, clock, threads, beats } = create({ session: { leaseMs: 3_000, stuckMs: 10_000 } });
    await mesh.initialize();
    const [thread] = threads as [Played];
    await clock.advance(5_000);
    beats.answer = () => {
      thread.renewedAt = clock.mono();
      return never();
    };
    await clock.advance(9_000);
    const { ticks } = thread;
    expect(ticks).toBeGreaterThan(4);
    await clock.advance(60_000);
    expect(thread.ticks - ticks).toBeLessThanOrEqual(1);
    beats.answer = undefined;
    await clock.advance(10_000);
    expect(thread.ticks - ticks).toBeGreaterThanOrEqual(3);
  });
});

describe('a session without a thread', () => {
  test('on the main thread by choice: none is started, and nobody is warned', async () => {
    const { mesh, threads, warnings } = create({ session: { thread: 'main' }, far: true });
    await mesh.initialize();
    expect(threads).toEqual([]);
    expect(warnings).toEqual([]);
  });

  test.each([
    ['a network backend has none', 'none' as const],
    ['it can’t cross threads', () => undefined],
  ])('%s: it is said once, and beats keep it', async (_, pulse) => {
    const { mesh, clock, warnings, errors } = create({ pulse, far: true });
    await mesh.initialize();
    await clock.advance(100_000);
    expect(warnings).toEqual([
      'The lease is renewed by the event loop only: handlers that block it may lose it',
    ]);
    expect(errors()).toEqual([]);
  });

  test('a backend in this process needs none', async () => {
    const { mesh, warnings } = create({ pulse: 'none' });
    await mesh.initialize();
    expect(warnings).toEqual([]);
  });

  test('a process that may start no thread starts all the same, and says why', async () => {
    const pulse = (): never => {
      throw Object.assign(new Error('secret'), { code: 'ERR_ACCESS_DENIED' });
    };
    const { mesh, clock, warnings, errors } = create({ pulse, far: true });
    await mesh.initialize();
    await clock.advance(100_000);
    expect(warnings).toEqual([
      'The lease is renewed by the event loop only, for its thread has failed with ERR_ACCESS_DENIED: handlers that block it may lose it',
    ]);
    expect(errors()).toEqual([]);
  });

  test('a thread that dies is told of, unless its session is over', async () => {
    const { mesh, clock, inner, threads, warnings } = create();
    await mesh.initialize();
    const [first] = threads as [Played];
    inner.sessions.close(first.session);
    await clock.advance(10_000);
    first.failed('ERR_LATE');
    expect(warnings.filter((text) => text.includes('ERR_LATE'))).toEqual([]);
    threads[1]?.failed('ERR_MODULE_NOT_FOUND');
    expect(warnings.filter((text) => text.includes('ERR_MODULE_NOT_FOUND'))).toHaveLength(1);
  });
});
