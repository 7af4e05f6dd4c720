import { describe, expect, test } from 'vitest';
import { type Backend, type Hint, type Lease, memory } from '../../src/index.ts';
import { CoordinationError } from '../../src/core/errors.ts';
import type { Sessions } from '../../src/core/ports/sessions.ts';
import type { Awaitable, SessionNumber } from '../../src/core/ports/words.ts';
import { networked } from '../../src/testing/networked.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';
import { gate } from '../support/mesh.ts';
import { createMesh, type MeshOptions } from '../support/started-mesh.ts';

/** G2: one session is the single lease that carries everything; somebody has to keep it. */

const clock = createTestClock();
let seed = 0;
async function start(options: MeshOptions = {}) {
  const { mesh, events } = createMesh({ clock, seed: ++seed, ...options });
  const errors: string[] = [];
  events.on('system:error', ({ part, code }) => void errors.push(`${part} ${code}`));
  await mesh.initialize();
  return { mesh, events, errors };
}

/** A shared backend whose sessions answer as they are told. */
function trickyBackend() {
  const inner = memory({ shared: true });
  const calls = { open: 0, beat: 0, close: 0 };
  /** What a mesh has ended. */
  const closed: unknown[] = [];
  type Answer = (...args: never[]) => unknown;
  const answers: { beat?: Answer; open?: Answer } = {};
  const sessions = new Proxy(inner.sessions, {
    get(target, key: 'open' | 'beat' | 'close') {
      const member: unknown = Reflect.get(target, key, target);
      if (typeof member !== 'function') return member;
      return (...args: unknown[]) => {
        calls[key] += 1;
        if (key === 'close') closed.push(args[0]);
        const told = key === 'close' ? undefined : answers[key];
        return Reflect.apply(told ?? member, target, args) as unknown;
      };
    },
  });
  const listeners = new Set<{
    readonly interest: readonly Hint[];
    readonly listener: (hint: Hint) => void;
  }>();
  const backend: Backend = {
    ...inner,
    sessions,
    onHint: (interest, listener) => {
      const heard = { interest, listener };
      listeners.add(heard);
      const subscription = inner.onHint(interest, listener);
      return {
        [Symbol.dispose]: () => {
          listeners.delete(heard);
          subscription[Symbol.dispose]();
        },
      };
    },
  };
  /** Tells those who want to know. */
  const hint = (about: 'orders' | 'reconnected'): void => {
    for (const { interest, listener } of listeners)
      if (interest.some((wanted) => wanted.about === about)) listener({ about });
  };
  return { backend, inner, calls, closed, answers, hint, listeners };
}

const away = (): never => {
  throw new CoordinationError('BACKEND_UNAVAILABLE', 'away');
};

function lossOf(lease: Lease): string | undefined {
  return lease.signal.aborted ? (lease.signal.reason as CoordinationError).code : undefined;
}

describe('a session on a shared backend', () => {
  test('G2: beats keep it for hours: tasks, locks and subscriptions go on, and health says so', async () => {
    const { backend, calls } = trickyBackend();
    const { mesh, errors } = await start({ backend });
    mesh.registerAgent({ id: 'a', handler: () => 'done' });
    const got: unknown[] = [];
    mesh.subscribe('b', ({ payload }) => void got.push(payload));
    const lease = await mesh.acquire('db');
    await clock.advance(3_600_000);
    const running = mesh.runTask({ type: 'x' });
    await mesh.sendMessage('a', 'b', 1);
    await clock.settle();
    expect(await running).toBe('done');
    expect(got).toEqual([1]);
    expect(lossOf(lease)).toBeUndefined();
    await expect(mesh.locks.tryAcquire('db')).resolves.toBeUndefined();
    expect(calls).toEqual({ open: 1, beat: 360, close: 0 });
    expect((await mesh.getHealthStatus()).components['session']).toMatchObject({ healthy: true });
    expect(errors).toEqual([]);
  });

  test('G2: the lease is renewed at a third, and the report says who is there', async () => {
    const { backend, inner, calls } = trickyBackend();
    const { mesh } = await start({ backend });
    mesh.registerAgent({ id: 'a', capabilities: ['c'], maxConcurrentTasks: 3, handler: () => 1 });
    await clock.advance(9_990);
    expect(calls.beat).toBe(0);
    await clock.advance(20);
    expect(calls.beat).toBe(1);
    const [known] = inner.sessions.list({ limit: 10 }).items;
    expect(known?.report).toMatchObject({
      pid: process.pid,
      load: { running: 0, slots: 3 },
      agents: [{ id: 'a', capabilities: ['c'], slots: 3, draining: false }],
    });
  });

  test('a lease that ran out unseen: locks are lost, then everything works in a new session', async () => {
    const { backend, inner, calls } = trickyBackend();
    const { mesh, errors } = await start({ backend });
    mesh.registerAgent({ id: 'a', handler: () => 'done' });
    const got: unknown[] = [];
    mesh.subscribe('b', ({ payload }) => void got.push(payload));
    mesh.subscribe('answers', async (message) => {
      if (message.payload !== 'all') await message.reply('pong');
    });
    const pong = mesh.request('a', 'answers', 1);
    await clock.settle();
    expect(await pong).toBe('pong');
    const lease = await mesh.acquire('db');
    const [before] = inner.sessions.list({ limit: 10 }).items;
    // As a loop that was blocked for longer than the lease finds it.
    inner.sessions.close(before?.session as never);
    const sent = mesh.sendMessage('a', 'b', 'meanwhile');
    await clock.settle();
    await expect(sent).resolves.toBeTypeOf('string');
    expect(lossOf(lease)).toMatch(/LEASE_LOST|SESSION_EXPIRED/);
    expect(calls.open).toBe(2);
    expect(errors).toEqual(['session SESSION_EXPIRED']);
    const running = mesh.runTask({ type: 'x' });
    const asked = mesh.request('a', 'answers', 2);
    await mesh.sendMessage('a', 'b', 'later');
    const { receivers } = await mesh.broadcast('somebody', 'all');
    await clock.settle();
    expect(await running).toBe('done');
    expect(await asked).toBe('pong');
    expect(got).toEqual(['meanwhile', 'later', 'all']);
    expect(receivers).toBe(3);
    await expect(mesh.acquire('db', { timeoutMs: 10 })).resolves.toBeDefined();
    expect((await mesh.getHealthStatus()).healthy).toBe(true);
  });

  test('the beat finds that it has run out, without anybody calling anything', async () => {
    const { backend, inner, calls } = trickyBackend();
    const { mesh } = await start({ backend });
    const lease = await mesh.acquire('db');
    inner.sessions.close(inner.sessions.list({ limit: 1 }).items[0]?.session as never);
    await clock.advance(10_000);
    expect(calls.open).toBe(2);
    expect(lossOf(lease)).toMatch(/LEASE_LOST|SESSION_EXPIRED/);
  });

  test('no beat answered for two thirds: locks are given up before the store may pass them on; health says why; then it heals', async () => {
    const { backend, inner, calls, answers } = trickyBackend();
    const { mesh, errors } = await start({ backend });
    const close = inner.sessions.close.bind(inner.sessions);
    const [former] = inner.sessions.list({ limit: 1 }).items;
    const lease = await mesh.acquire('db');
    answers.beat = away;
    answers.open = away;
    await clock.advance(11_000);
    expect((await mesh.getHealthStatus()).components['session']).toMatchObject({
      healthy: false,
      error: expect.stringMatching(
        /^its beat failed with BACKEND_UNAVAILABLE; 9000 ms of its lease are left$/,
      ),
    });
    expect(lossOf(lease)).toBeUndefined();
    // As a store that is out of reach: it tells nobody of what ended.
    inner.sessions.close = () => ({ at: 0 as never });
    await clock.advance(9_001);
    expect(lossOf(lease)).toMatch(/LEASE_LOST|SESSION_EXPIRED/);
    inner.sessions.close = close;
    inner.sessions.close(former?.session as never);
    expect((await mesh.getHealthStatus()).error).toBe(
      'session: it is lost, and a new one could not be opened: BACKEND_UNAVAILABLE',
    );
    delete answers.beat;
    delete answers.open;
    await clock.advance(1_100);
    expect((await mesh.getHealthStatus()).healthy).toBe(true);
    expect(errors).toEqual(['session SESSION_EXPIRED']);
    // The former session keeps nothing for anybody.
    expect(inner.sessions.list({ limit: 10, state: 'alive' }).items).toHaveLength(1);
    expect(calls.close).toBe(1);
    await expect(mesh.locks.tryAcquire('db')).resolves.toBeDefined();
  });

  test('L2: what is asked for after the session was given up is not granted in it: nobody would hear of its end', async () => {
    const { backend, inner, answers } = trickyBackend();
    const { mesh } = await start({ backend: networked<Backend>(backend) });
    const { mesh: other } = await start({ backend: inner });
    const close = inner.sessions.close.bind(inner.sessions);
    // Sessions alone are out of reach: the store keeps the one there is until its lease has run out.
    answers.beat = away;
    answers.open = away;
    inner.sessions.close = () => ({ at: 0 as never });
    await clock.advance(20_100);
    inner.sessions.close = close;
    let lease: Lease | undefined;
    const asked = mesh.acquire('db').then((granted) => {
      lease = granted;
    });
    await clock.advance(500);
    expect(lease).toBeUndefined();
    delete answers.beat;
    delete answers.open;
    await clock.advance(1_100);
    await asked;
    // The end of the former session takes nothing away from it.
    await clock.advance(20_000);
    expect(lossOf(lease as unknown as Lease)).toBeUndefined();
    expect(await other.locks.tryAcquire('db')).toBeUndefined();
  });

  test('L4: a lock says that it is not held any more as soon as its process runs again after a pause, before any timer does', async () => {
    let pausedMs = 0;
    const paused = { ...clock, mono: () => clock.mono() + pausedMs };
    const { mesh } = await start({ backend: trickyBackend().backend, clock: paused });
    const lease = await mesh.acquire('db');
    expect(lease.expiresInMs).toBe(Number.POSITIVE_INFINITY);
    pausedMs = 19_900;
    expect(lease.expiresInMs).toBe(Number.POSITIVE_INFINITY);
    pausedMs = 20_100;
    expect(lossOf(lease)).toBeUndefined();
    expect(lease.expiresInMs).toBe(0);
  });

  test('a beat that never answers counts as one that failed', async () => {
    const { backend, answers } = trickyBackend();
    const { mesh, errors } = await start({ backend });
    answers.beat = () => new Promise(() => undefined);
    await clock.advance(20_100);
    expect(errors).toEqual(['session SESSION_EXPIRED']);
    delete answers.beat;
    await clock.advance(10_000);
    expect((await mesh.getHealthStatus()).healthy).toBe(true);
  });

  test('what is asked for while there is no session waits for the next one, and is refused in the end', async () => {
    const { backend, inner, answers } = trickyBackend();
    const { mesh } = await start({ backend });
    answers.open = () => Promise.reject(new CoordinationError('BACKEND_UNAVAILABLE', 'away'));
    inner.sessions.close(inner.sessions.list({ limit: 1 }).items[0]?.session as never);
    const early = mesh.sendMessage('a', 'b', 1).then(
      () => 'sent',
      (error: CoordinationError) => error.code,
    );
    await clock.advance(29_900);
    const late = mesh.sendMessage('a', 'b', 2).then(() => 'sent');
    await clock.advance(200);
    expect(await early).toBe('BACKEND_UNAVAILABLE');
    delete answers.open;
    await clock.advance(1_100);
    expect(await late).toBe('sent');
  });

  test('G6: shutdown while no new session can be opened: who waits for one hears so at once, and no timer is left', async () => {
    const { backend, inner, answers } = trickyBackend();
    const { mesh } = await start({ backend });
    answers.open = () => new Promise(() => undefined);
    inner.sessions.close(inner.sessions.list({ limit: 1 }).items[0]?.session as never);
    const waiting = mesh.sendMessage('a', 'b', 1).then(
      () => 'sent',
      (error: CoordinationError) => error.code,
    );
    await clock.settle();
    const down = mesh.shutdown();
    await clock.advance(10_000);
    await down;
    expect(await Promise.race([waiting, Promise.resolve('it waits')])).toBe('STOPPED');
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
  });

  test('G6: shutdown between two tries to open a new session: there is no third', async () => {
    const { backend, inner, answers, calls } = trickyBackend();
    const { mesh } = await start({ backend });
    answers.open = away;
    inner.sessions.close(inner.sessions.list({ limit: 1 }).items[0]?.session as never);
    mesh.sendMessage('a', 'b', 1).catch(() => undefined);
    await clock.advance(500);
    expect(calls.open).toBe(2);
    delete answers.open;
    const down = mesh.shutdown();
    await clock.settle();
    await down;
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
    await clock.advance(10_000);
    expect(calls.open).toBe(2);
  });

  test('an answer that an earlier beat gets late takes nothing away from what a later one has won', async () => {
    const { backend, inner, answers, hint } = trickyBackend();
    const { mesh } = await start({ backend });
    const [known] = inner.sessions.list({ limit: 1 }).items;
    const { session, report } = known ?? expect.fail('there is no session');
    const late = gate<unknown>();
    answers.beat = () => late.promise;
    await clock.advance(10_010);
    answers.beat = () => inner.sessions.beat(session, report);
    await clock.advance(4_990);
    hint('reconnected');
    await clock.settle();
    late.open(inner.sessions.beat(session, report));
    await clock.settle();
    expect((await mesh.getHealthStatus()).components['session']?.metrics).toEqual({ leftMs: 20_000 });
  });

  test('an answer that a beat of a former session gets late changes nothing: neither orders nor time for the next one', async () => {
    const { backend, inner, answers, calls } = trickyBackend();
    const { mesh, errors } = await start({ backend });
    mesh.registerAgent({ id: 'a', handler: () => new Promise(() => undefined) });
    const late = gate<unknown>();
    answers.beat = () => late.promise;
    await clock.advance(10_010);
    inner.sessions.close(inner.sessions.list({ limit: 1 }).items[0]?.session as never);
    // The next session begins here.
    const lease = await mesh.acquire('db');
    expect(calls).toMatchObject({ open: 2, beat: 1 });
    const task = await mesh.submitTask({ type: 'x' });
    task.result().catch(() => undefined);
    await clock.advance(5_000);
    const [record] = inner.tasks.get([task.id]);
    answers.beat = away;
    answers.open = away;
    const order = { kind: 'cancel', task: task.id, token: record?.token, reason: 'told too late' };
    late.open({ at: 0, status: 'alive', expiresAt: 0, orders: [order] });
    await clock.settle();
    expect(mesh.tasks.getSchedulingMetrics().running).toBe(1);
    // No beat of the session that holds the lock was ever answered: its time is over two thirds of a lease after its beginning.
    await clock.advance(14_900);
    expect(lossOf(lease)).toBeUndefined();
    await clock.advance(200);
    expect(lossOf(lease)).toMatch(/LEASE_LOST|SESSION_EXPIRED/);
    expect(errors).toEqual(['session SESSION_EXPIRED', 'session SESSION_EXPIRED']);
  });

  test('a beat that failed is tried again after a second, not at the next third', async () => {
    const { backend, calls, answers } = trickyBackend();
    const { mesh, errors } = await start({ backend });
    answers.beat = away;
    await clock.advance(10_010);
    expect(calls.beat).toBe(1);
    delete answers.beat;
    await clock.advance(980);
    expect(calls.beat).toBe(1);
    await clock.advance(20);
    expect(calls.beat).toBe(2);
    expect((await mesh.getHealthStatus()).components['session']).toMatchObject({ healthy: true });
    // It is the beat from which the next third counts.
    await clock.advance(9_900);
    expect(calls.beat).toBe(2);
    await clock.advance(200);
    expect(calls.beat).toBe(3);
    expect(errors).toEqual([]);
  });

  test('G2: one beat that failed is not the end of a short lease', async () => {
    const { backend, calls, answers } = trickyBackend();
    const { errors } = await start({ backend, session: { leaseMs: 1_000 } });
    answers.beat = away;
    await clock.advance(340);
    expect(calls.beat).toBe(1);
    delete answers.beat;
    await clock.advance(2_000);
    expect(calls.beat).toBeGreaterThan(4);
    expect(errors).toEqual([]);
  });

  test.each([
    ['that it is alive', 1],
    ['that it is over', 2],
  ] as const)('G2: an answer that came while the loop was blocked counts: %s', async (_, opens) => {
    const { backend, inner, calls, answers } = trickyBackend();
    const { errors } = await start({ backend, session: { leaseMs: 1_000 } });
    const read = gate();
    answers.beat = async (...args: Parameters<Sessions['beat']>) => {
      const answer = await inner.sessions.beat(...args);
      await read.promise;
      delete answers.beat;
      return opens > 1 ? { at: answer.at, status: 'expired' } : answer;
    };
    await clock.advance(340);
    read.open();
    clock.tick(400);
    await clock.advance(1_000);
    expect(errors).toHaveLength(opens - 1);
    expect(calls).toMatchObject({ open: opens, close: 0 });
  });

  type Opening = Parameters<Sessions['open']>[0];
  /** Answers as the store does, which does it at once; the answer is so long on its way, ms. */
  const slow =
    <A extends unknown[], R>(ms: number, call: (...args: A) => Awaitable<R>) =>
    async (...args: A): Promise<R> => {
      const answer = await call(...args);
      await new Promise<void>((resolve) => void clock.after(ms, resolve));
      return answer;
    };

  test.each([
    ['a third of the lease', 300, 150],
    ['half of the lease', 500, 150],
    ['almost all of the lease', 950, 30],
  ])('G2: a session whose opening takes %s is kept', async (_, openMs, beatMs) => {
    const { backend, inner, calls, answers } = trickyBackend();
    answers.open = slow(openMs, (request: Opening) => inner.sessions.open(request));
    answers.beat = slow(beatMs, (...args: Parameters<Sessions['beat']>) => inner.sessions.beat(...args));
    const { mesh, events } = createMesh({ clock, seed: ++seed, backend, session: { leaseMs: 1_000 } });
    const expired: unknown[] = [];
    events.on('session:expired', (payload) => expired.push(payload));
    const started = mesh.initialize();
    await clock.advance(openMs + beatMs + 10);
    await started;
    const lease = await mesh.acquire('db');
    await clock.advance(5_000);
    expect(expired).toEqual([]);
    expect(calls).toMatchObject({ open: 1, close: 0 });
    expect(lossOf(lease)).toBeUndefined();
  });

  test.each([
    ['the lease is over', 1_050, undefined, 1_060],
    ['no beat is answered', 500, () => new Promise(() => undefined), 1_180],
  ] as const)(
    'G2: a session whose opening takes so long that %s gives way to another',
    async (_, openMs, beat, byMs) => {
      const { backend, inner, calls, answers } = trickyBackend();
      const { mesh, errors } = await start({ backend, session: { leaseMs: 1_000 } });
      answers.open = (request: Opening) => {
        delete answers.open;
        return slow(openMs, () => inner.sessions.open(request))();
      };
      inner.sessions.close(inner.sessions.list({ limit: 1 }).items[0]?.session as never);
      if (beat !== undefined) answers.beat = beat;
      mesh.sendMessage('a', 'b', 1).catch(() => undefined);
      await clock.advance(byMs);
      delete answers.beat;
      expect(calls.open).toBe(3);
      await clock.advance(2_000);
      expect(calls.open).toBe(3);
      expect(errors.filter((error) => error.startsWith('session'))).toHaveLength(2);
      expect(inner.sessions.list({ limit: 10, state: 'alive' }).items).toHaveLength(1);
    },
  );

  test.each([
    ['is being opened', 400, () => new Promise(() => undefined), 0],
    ['is being renewed', 510, () => new Promise(() => undefined), 1],
    ['could not be renewed', 510, async () => away(), 1],
  ] as const)(
    'G6: shutdown while a session that is long in opening %s: it is ended, and no timer is left',
    async (_, afterMs, beat, beats) => {
      const { backend, inner, answers, calls, closed } = trickyBackend();
      const { mesh } = await start({ backend, session: { leaseMs: 1_000 } });
      const opened: SessionNumber[] = [];
      const answer = gate();
      answers.open = async (request: Opening) => {
        const { session, ...others } = await inner.sessions.open(request);
        opened.push(session);
        await answer.promise;
        return { session, ...others };
      };
      answers.beat = beat;
      inner.sessions.close(inner.sessions.list({ limit: 1 }).items[0]?.session as never);
      mesh.sendMessage('a', 'b', 1).catch(() => undefined);
      await clock.advance(400);
      if (afterMs > 400) answer.open();
      await clock.advance(afterMs - 400);
      expect(calls.beat).toBe(beats);
      const down = mesh.shutdown();
      await clock.advance(100);
      await down;
      answer.open();
      await clock.settle();
      expect(calls.beat).toBe(beats);
      expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
      // One that nobody could hear of is left to its lease.
      if (beats === 0) expect(closed).toEqual(opened);
    },
  );

  test.each(['orders', 'reconnected'] as const)(
    'a hint of %s is answered by a beat at once',
    async (about) => {
      const { backend, calls, hint, listeners } = trickyBackend();
      const { mesh } = await start({ backend });
      await clock.advance(3_000);
      expect(calls.beat).toBe(0);
      hint(about);
      expect(calls.beat).toBe(1);
      const down = mesh.shutdown();
      await clock.advance(100);
      await down;
      expect(listeners.size).toBe(0);
      expect(calls.beat).toBe(1);
    },
  );

  test('G6: a session whose opening is answered after the end is ended in the store, the first one and a later one', async () => {
    for (const isFirst of [true, false]) {
      const { backend, inner, answers, closed } = trickyBackend();
      const open = gate();
      const { mesh } = createMesh({ clock, seed: ++seed, backend });
      const opened: SessionNumber[] = [];
      // The store has opened it at once; the answer takes its time.
      const openLate = async (request: Parameters<Sessions['open']>[0]): Promise<unknown> => {
        const answer = await inner.sessions.open(request);
        opened.push(answer.session);
        await open.promise;
        return answer;
      };
      if (isFirst) answers.open = openLate;
      const started = mesh.initialize().catch((error: CoordinationError) => error.code);
      await clock.settle();
      if (!isFirst) {
        await started;
        answers.open = openLate;
        inner.sessions.close(inner.sessions.list({ limit: 1 }).items[0]?.session as never);
        mesh.sendMessage('a', 'b', 1).catch(() => undefined);
        await clock.settle();
      }
      const down = mesh.shutdown();
      await clock.advance(isFirst ? 100 : 10_000);
      open.open();
      await clock.advance(10_000);
      await down;
      if (isFirst) expect(await started).toBe('STOPPED');
      expect(opened).toHaveLength(1);
      expect(closed).toEqual(opened);
      expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
    }
  });

  test('G6: a try to open a new session that fails after the end is the last one', async () => {
    const { backend, inner, answers, calls } = trickyBackend();
    const { mesh } = await start({ backend });
    const open = gate<never>();
    answers.open = () => open.promise;
    inner.sessions.close(inner.sessions.list({ limit: 1 }).items[0]?.session as never);
    mesh.sendMessage('a', 'b', 1).catch(() => undefined);
    await clock.settle();
    const down = mesh.shutdown();
    await clock.advance(10_000);
    await down;
    expect(calls.open).toBe(2);
    open.fail(new CoordinationError('BACKEND_UNAVAILABLE', 'away'));
    await clock.settle();
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
    await clock.advance(10_000);
    expect(calls.open).toBe(2);
  });

  test('M2: answers from another process are heard in the next session too', async () => {
    const { backend, inner } = trickyBackend();
    const { mesh: here } = await start({ backend });
    const { mesh: there } = await start({ backend });
    there.subscribe('b', (message) => message.reply(`got ${message.payload as string}`));
    const ask = async (text: string): Promise<unknown> => {
      const reply = here.request('a', 'b', text, { timeoutMs: 5_000 }).catch(({ code }) => code as unknown);
      await clock.advance(6_000);
      return reply;
    };
    expect(await ask('one')).toBe('got one');
    const mine = inner.sessions.list({ limit: 10 }).items[0]?.session;
    inner.sessions.close(mine as never);
    await clock.advance(11_000);
    expect(inner.sessions.list({ limit: 10, state: 'alive' }).items).toHaveLength(2);
    expect(await ask('two')).toBe('got two');
  });

  test('calls that come while the store ends the session find one new session, not two', async () => {
    const { backend, inner, answers, calls } = trickyBackend();
    const { mesh } = await start({ backend });
    const close = inner.sessions.close.bind(inner.sessions);
    const sent: Promise<string>[] = [];
    inner.sessions.close = (session) => {
      inner.sessions.close = close;
      const answer = close(session);
      sent.push(mesh.sendMessage('a', 'b', 1));
      return answer;
    };
    answers.beat = away;
    await clock.advance(20_100);
    expect(calls.open).toBe(2);
    await expect(sent[0]).resolves.toBeTypeOf('string');
    expect(inner.sessions.list({ limit: 10, state: 'alive' }).items).toHaveLength(1);
  });

  test('an answer to open that was lost is asked for again with the same boot', async () => {
    const { backend, inner, answers, calls } = trickyBackend();
    answers.open = () => {
      delete answers.open;
      throw new CoordinationError('OUTCOME_UNKNOWN', 'cut');
    };
    await start({ backend });
    expect(calls.open).toBe(2);
    expect(inner.sessions.list({ limit: 10 }).items).toHaveLength(1);
  });

  test('shutdown ends it: what it carries is free at once, and nothing beats any more', async () => {
    const { backend, inner, calls } = trickyBackend();
    const { mesh } = await start({ backend });
    const other = await start({ backend });
    const down = mesh.shutdown();
    await clock.advance(100);
    await down;
    expect(calls.close).toBe(1);
    expect(inner.sessions.list({ limit: 10, state: 'alive' }).items).toHaveLength(1);
    const { beat } = calls;
    await clock.advance(10_000);
    expect(calls.beat - beat).toBe(1);
    expect((await other.mesh.getHealthStatus()).healthy).toBe(true);
  });
});

describe('orders of the store', () => {
  test('a task that runs in one manager is cancelled through another: told at once, by a hint', async () => {
    const { backend } = trickyBackend();
    const { mesh: here } = await start({ backend });
    const { mesh: there } = await start({ backend });
    const reasons: unknown[] = [];
    there.registerAgent({
      id: 'b',
      handler: ({ signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => {
            reasons.push(signal.reason);
            reject(signal.reason as Error);
          });
        }),
    });
    const task = await here.submitTask({ type: 'x' });
    const result = task.result().catch((error: CoordinationError) => error.code);
    await clock.advance(1_100);
    expect(there.tasks.getSchedulingMetrics().running).toBe(1);
    await here.cancelTask(task.id, 'enough');
    await clock.advance(10);
    expect(await result).toBe('TASK_CANCELLED');
    expect(reasons).toEqual([expect.objectContaining({ code: 'TASK_CANCELLED' })]);
    expect(there.tasks.getSchedulingMetrics().running).toBe(0);
  });

  test('what a beat brings back is obeyed', async () => {
    const { backend, inner, answers } = trickyBackend();
    const { mesh } = await start({ backend });
    const stopped: unknown[] = [];
    mesh.registerAgent({
      id: 'a',
      handler: ({ signal }) =>
        new Promise((resolve) => {
          signal.addEventListener('abort', () => {
            stopped.push((signal.reason as CoordinationError).code);
            resolve(undefined);
          });
        }),
    });
    const task = await mesh.submitTask({ type: 'x' });
    task.result().catch(() => undefined);
    await clock.settle();
    const [record] = inner.tasks.get([task.id]);
    const order = { kind: 'cancel', task: task.id, token: record?.token, reason: 'told by a beat' };
    answers.beat = () => ({ at: 0, status: 'alive', expiresAt: 0, orders: [order] });
    await clock.advance(9_990);
    expect(stopped).toEqual([]);
    await clock.advance(20);
    expect(stopped).toEqual(['TASK_CANCELLED']);
  });

  test('a claim that another session took over is dropped: its handler is told, and its result is not stored', async () => {
    const { backend, inner } = trickyBackend();
    const { mesh } = await start({ backend });
    const open = gate();
    let told: unknown;
    mesh.registerAgent({
      id: 'a',
      handler: async ({ signal }) => {
        await open.promise;
        told = signal.reason;
      },
    });
    const task = await mesh.submitTask({ type: 'x' });
    await clock.settle();
    mesh.tasks.obey([{ kind: 'taken', task: task.id, token: 1 as never }]);
    expect(mesh.tasks.getSchedulingMetrics().running).toBe(1);
    const [record] = inner.tasks.get([task.id]);
    mesh.tasks.obey([{ kind: 'taken', task: task.id, token: record?.token as never }]);
    open.open();
    await clock.settle();
    expect(told).toMatchObject({ message: expect.stringContaining('taken') });
    expect(mesh.tasks.getSchedulingMetrics().running).toBe(0);
    expect((await task.status()).status).toBe('running');
  });
});

test('G2: what comes between the end of a session and the next one, single calls too, is carried out in the next one', async () => {
  const backend = memory({ shared: true });
  const { mesh } = await start({ backend });
  mesh.registerAgent({ id: 'a', handler: () => 'done' });
  const sessions = backend.sessions;
  for (const { session } of (await sessions?.list({ limit: 10 }))?.items ?? [])
    await sessions?.close(session);
  const one = mesh.runTask({ type: 't' });
  const many = mesh.submitTasks([{ type: 't' }, { type: 't' }]);
  const lock = mesh.acquire('r');
  await clock.advance(40_000);
  expect(await one).toBe('done');
  expect(await Promise.all((await many).map((handle) => handle.result()))).toEqual(['done', 'done']);
  await (await lock).release();
});
