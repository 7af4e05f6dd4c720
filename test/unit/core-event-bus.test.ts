import { describe, expect, test, vi } from 'vitest';
import { EventBus } from '../../src/core/event-bus.ts';
import type { CoordinationEvent } from '../../src/core/events.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

const readied = { taskId: 't', queue: 'q' };
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('isolation (G5)', () => {
  test('G5: a listener that throws reaches neither the emitter nor the next listener', () => {
    const bus = new EventBus();
    const heard: string[] = [];
    const failures: unknown[] = [];
    bus.on('listener:failed', (failure) => void failures.push(failure));
    bus.on('task:readied', () => {
      throw new Error('first');
    });
    bus.on('task:readied', () => void heard.push('second'));
    bus.emit('task:readied', readied);
    expect(heard).toEqual(['second']);
    expect(failures).toEqual([{ event: 'task:readied', message: 'first' }]);
  });

  test('G5: a rejection of an async listener is reported and not unhandled', async () => {
    const bus = new EventBus();
    const failures: unknown[] = [];
    const unhandled = vi.fn();
    process.on('unhandledRejection', unhandled);
    bus.on('listener:failed', (failure) => void failures.push(failure));
    bus.on('task:readied', () => Promise.reject(new Error('later')));
    bus.emit('task:readied', readied);
    await settled();
    process.off('unhandledRejection', unhandled);
    expect(failures).toEqual([{ event: 'task:readied', message: 'later' }]);
    expect(unhandled).not.toHaveBeenCalled();
  });

  test('G5: a thenable without catch, and one whose then throws, disturb nobody', async () => {
    const bus = new EventBus();
    const failures: unknown[] = [];
    bus.on('listener:failed', (failure) => void failures.push(failure));
    const thenable = {
      then(_: unknown, reject: (error: Error) => void): void {
        reject(new Error('thenable'));
      },
    };
    bus.on('task:readied', () => thenable as unknown as Promise<void>);
    bus.on('task:readied', () => {
      const trap = {
        get then(): never {
          throw new Error('getter');
        },
      };
      return trap;
    });
    bus.emit('task:readied', readied);
    await settled();
    expect(failures).toEqual([
      { event: 'task:readied', message: 'thenable' },
      { event: 'task:readied', message: 'getter' },
    ]);
  });

  test('G5: a failing listener of listener:failed is not reported to itself', () => {
    const bus = new EventBus();
    const calls = vi.fn(() => {
      throw new Error('again');
    });
    bus.on('listener:failed', calls);
    bus.on('task:readied', () => {
      throw new Error('once');
    });
    bus.emit('task:readied', readied);
    expect(calls).toHaveBeenCalledTimes(1);
  });

  test.each([
    ['a string', 'text', '"text"'],
    ['undefined', undefined, 'undefined'],
    ['an object', { a: 1 }, 'an object'],
  ])('G5: %s that is thrown is described', (_, thrown, message) => {
    const bus = new EventBus();
    const failures: unknown[] = [];
    bus.on('listener:failed', (failure) => void failures.push(failure));
    bus.on('task:readied', () => {
      throw thrown;
    });
    bus.emit('task:readied', readied);
    expect(failures).toEqual([{ event: 'task:readied', message }]);
  });

  test('G5: a tap, a filter and a debug logger that throw disturb nobody', () => {
    const bus = new EventBus({
      debug: true,
      logger: {
        debug: () => {
          throw new Error('logger');
        },
        info: () => undefined,
        warn: () => undefined,
        error: () => undefined,
      },
    });
    const heard = vi.fn();
    bus.tap(() => {
      throw new Error('tap');
    });
    bus.onFiltered(
      'task:readied',
      () => {
        throw new Error('filter');
      },
      () => undefined,
    );
    bus.on('task:readied', heard);
    expect(() => bus.emit('task:readied', readied)).not.toThrow();
    expect(heard).toHaveBeenCalledTimes(1);
  });

  test('endless recursion ends in a report, not in the emitter', () => {
    const bus = new EventBus();
    bus.on('task:readied', () => bus.emit('task:readied', readied));
    expect(() => bus.emit('task:readied', readied)).not.toThrow();
  });
});

describe('on, once and off', () => {
  test('listeners run synchronously in the order they were added', () => {
    const bus = new EventBus();
    const heard: number[] = [];
    for (const n of [1, 2, 3]) bus.on('task:readied', () => void heard.push(n));
    bus.emit('task:readied', readied);
    expect(heard).toEqual([1, 2, 3]);
  });

  test('a listener added during an emission hears from the next one on', () => {
    const bus = new EventBus();
    const late = vi.fn();
    bus.once('task:readied', () => void bus.on('task:readied', late));
    bus.emit('task:readied', readied);
    expect(late).not.toHaveBeenCalled();
    bus.emit('task:readied', readied);
    expect(late).toHaveBeenCalledTimes(1);
  });

  test('a listener that removes itself does not make the next one miss the event', () => {
    const bus = new EventBus();
    const next = vi.fn();
    const subscription: Disposable = bus.on('task:readied', () => subscription[Symbol.dispose]());
    bus.on('task:readied', next);
    bus.emit('task:readied', readied);
    bus.emit('task:readied', readied);
    expect(next).toHaveBeenCalledTimes(2);
  });

  test('once is once, also when an earlier listener emits the event again', () => {
    const bus = new EventBus();
    const once = vi.fn();
    let depth = 0;
    bus.on('task:readied', () => {
      if (depth++ === 0) bus.emit('task:readied', readied);
    });
    bus.once('task:readied', once);
    bus.emit('task:readied', readied);
    expect(once).toHaveBeenCalledTimes(1);
  });

  test('off removes one registration, of once and onFiltered too; unknown ones are ignored', () => {
    const bus = new EventBus();
    const listener = vi.fn();
    bus.on('task:readied', listener);
    bus.on('task:readied', listener);
    bus.off('task:readied', listener);
    bus.emit('task:readied', readied);
    expect(listener).toHaveBeenCalledTimes(1);
    bus.off('task:readied', listener);
    bus.once('task:readied', listener);
    bus.off('task:readied', listener);
    bus.onFiltered('task:readied', () => true, listener);
    bus.off('task:readied', listener);
    bus.off('task:readied', listener);
    bus.off('task:completed', listener);
    bus.emit('task:readied', readied);
    expect(listener).toHaveBeenCalledTimes(1);
  });

  test('disposing twice does not remove another registration of the same function', () => {
    const bus = new EventBus();
    const listener = vi.fn();
    const first = bus.on('task:readied', listener);
    bus.on('task:readied', listener);
    first[Symbol.dispose]();
    first[Symbol.dispose]();
    bus.emit('task:readied', readied);
    expect(listener).toHaveBeenCalledTimes(1);
  });

  test('a signal ends it; an aborted one never begins it; off leaves nothing on the signal', () => {
    const bus = new EventBus();
    const listener = vi.fn();
    const controller = new AbortController();
    const removed = vi.spyOn(controller.signal, 'removeEventListener');
    bus.on('task:readied', listener, { signal: controller.signal });
    bus.off('task:readied', listener);
    expect(removed).toHaveBeenCalled();
    bus.on('task:readied', listener, { signal: controller.signal });
    controller.abort();
    bus.on('task:readied', listener, { signal: AbortSignal.abort() })[Symbol.dispose]();
    bus.emit('task:readied', readied);
    expect(listener).not.toHaveBeenCalled();
  });

  test('removeAllListeners of one event, and of all with the taps', () => {
    const bus = new EventBus();
    const one = vi.fn();
    const other = vi.fn();
    const tap = vi.fn();
    bus.on('task:readied', one);
    bus.on('queue:paused', other);
    bus.tap(tap);
    bus.removeAllListeners('task:readied');
    bus.emit('task:readied', readied);
    bus.emit('queue:paused', { queue: 'q' });
    expect([one.mock.calls.length, other.mock.calls.length, tap.mock.calls.length]).toEqual([0, 1, 2]);
    bus.removeAllListeners();
    bus.emit('queue:paused', { queue: 'q' });
    expect([other.mock.calls.length, tap.mock.calls.length]).toEqual([1, 2]);
    expect(bus.wants('queue:paused')).toBe(false);
  });

  test('names are names: __proto__, constructor and custom ones', () => {
    const bus = new EventBus();
    const listener = vi.fn();
    for (const name of ['custom:__proto__', 'custom:x'] as const) bus.on(name, listener);
    bus.on('__proto__' as 'custom:x', listener);
    bus.emit('constructor' as 'custom:x', 1);
    bus.emit('__proto__' as 'custom:x', 2);
    bus.emit('custom:__proto__', 3);
    expect(listener.mock.calls).toEqual([[2], [3]]);
    expect(Object.keys(bus.getEventStats()).toSorted()).toEqual([
      '__proto__',
      'constructor',
      'custom:__proto__',
      'custom:x',
    ]);
  });

  test.each([
    ['on', (bus: EventBus) => bus.on('task:readied', 'x' as never)],
    ['on without a name', (bus: EventBus) => bus.on(undefined as never, () => undefined)],
    ['once', (bus: EventBus) => bus.once('task:readied', null as never)],
    ['onFiltered', (bus: EventBus) => bus.onFiltered('task:readied', 1 as never, () => undefined)],
    ['tap', (bus: EventBus) => bus.tap({} as never)],
    ['stream, capacity 0', (bus: EventBus) => bus.stream({ capacity: 0 })],
    ['stream, capacity NaN', (bus: EventBus) => bus.stream({ capacity: Number.NaN })],
    ['waitFor, NaN', (bus: EventBus) => void bus.waitFor('task:readied', Number.NaN)],
    ['waitFor, negative', (bus: EventBus) => void bus.waitFor('task:readied', -1)],
  ])('bad arguments are refused: %s', (_, call) => {
    expect(() => call(new EventBus())).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  });
});

describe('onFiltered and waitFor', () => {
  test('onFiltered hears only what the filter lets through', () => {
    const bus = new EventBus();
    const heard = vi.fn();
    bus.onFiltered('task:readied', (payload) => payload.queue === 'b', heard);
    for (const queue of ['a', 'b', 'c']) bus.emit('task:readied', { taskId: 't', queue });
    expect(heard.mock.calls).toEqual([[{ taskId: 't', queue: 'b' }]]);
  });

  test('waitFor resolves with the next payload for which `where` holds, and leaves nothing behind', async () => {
    const clock = createTestClock();
    const bus = new EventBus({ clock });
    const waiting = bus.waitFor('task:readied', {
      timeoutMs: 100,
      where: (payload) => payload.queue === 'b',
    });
    for (const queue of ['a', 'b']) bus.emit('task:readied', { taskId: queue, queue });
    await expect(waiting).resolves.toEqual({ taskId: 'b', queue: 'b' });
    expect(bus.wants('task:readied')).toBe(false);
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
  });

  test('waitFor times out with TIMEOUT and leaves nothing behind', async () => {
    const clock = createTestClock();
    const bus = new EventBus({ clock });
    const waiting = expect(bus.waitFor('task:readied', 100)).rejects.toMatchObject({ code: 'TIMEOUT' });
    clock.tick(99);
    expect(bus.wants('task:readied')).toBe(true);
    clock.tick(1);
    await waiting;
    expect(bus.wants('task:readied')).toBe(false);
  });

  test('waitFor rejects with the reason of an abort, before and during', async () => {
    const clock = createTestClock();
    const bus = new EventBus({ clock });
    const reason = new Error('enough');
    await expect(bus.waitFor('task:readied', { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const waiting = expect(
      bus.waitFor('task:readied', { signal: controller.signal, timeoutMs: 50 }),
    ).rejects.toBe(reason);
    controller.abort(reason);
    await waiting;
    expect(bus.wants('task:readied')).toBe(false);
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
  });

  test('a `where` that throws counts as a failed listener and goes on waiting', async () => {
    const bus = new EventBus();
    const failures = vi.fn();
    bus.on('listener:failed', failures);
    let calls = 0;
    const waiting = bus.waitFor('task:readied', {
      where: () => {
        if (calls++ === 0) throw new Error('where');
        return true;
      },
    });
    bus.emit('task:readied', readied);
    bus.emit('task:readied', readied);
    await expect(waiting).resolves.toEqual(readied);
    expect(failures).toHaveBeenCalledTimes(1);
  });
});

test('names of one’s own are waited for and filtered like any other', async () => {
  const bus = new EventBus();
  const seen: unknown[] = [];
  bus.onFiltered(
    'custom:deploy',
    (payload) => payload !== 1,
    (payload) => void seen.push(payload),
  );
  const second = bus.waitFor('custom:deploy', { where: (payload) => payload === 2 });
  bus.emit('custom:deploy', 1);
  bus.emit('custom:deploy', 2);
  expect(await second).toBe(2);
  expect(seen).toEqual([2]);
});

describe('tap and stream', () => {
  test('a tap sees everything in order of emission, with the wall time', () => {
    const clock = createTestClock(1_000);
    const bus = new EventBus({ clock });
    const seen: CoordinationEvent[] = [];
    const tap = bus.tap((event) => void seen.push(event));
    bus.emit('queue:paused', { queue: 'a' });
    clock.tick(5);
    bus.emit('queue:resumed', { queue: 'a' });
    bus.emit('custom:mine', 1);
    tap[Symbol.dispose]();
    bus.emit('queue:paused', { queue: 'b' });
    expect(seen).toEqual([
      { name: 'queue:paused', at: 1_000, payload: { queue: 'a' } },
      { name: 'queue:resumed', at: 1_005, payload: { queue: 'a' } },
      { name: 'custom:mine', at: 1_005, payload: 1 },
    ]);
  });

  test('one of two taps with the same function is disposed alone', () => {
    const bus = new EventBus();
    const tap = vi.fn();
    const first = bus.tap(tap);
    bus.tap(tap);
    first[Symbol.dispose]();
    bus.emit('queue:paused', { queue: 'a' });
    expect(tap).toHaveBeenCalledTimes(1);
  });

  const pause = (bus: EventBus, queue: number): void => bus.emit('queue:paused', { queue: String(queue) });
  const queueOf = (event: CoordinationEvent): number =>
    Number((event.payload as { readonly queue: string }).queue);

  test('a reader that keeps up loses nothing', async () => {
    const bus = new EventBus();
    const stream = bus.stream({ capacity: 4 });
    const seen: number[] = [];
    const reading = (async () => {
      for await (const event of stream) {
        seen.push(queueOf(event));
        if (seen.length === 10) break;
      }
    })();
    for (let i = 0; i < 10; i++) {
      pause(bus, i);
      await settled();
    }
    await reading;
    expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(stream.dropped).toBe(0);
    expect(bus.wants('queue:paused')).toBe(false);
  });

  test('a slow reader loses the oldest, and they are counted', async () => {
    const bus = new EventBus();
    const controller = new AbortController();
    const stream = bus.stream({ capacity: 3, signal: controller.signal });
    for (let i = 0; i < 10; i++) pause(bus, i);
    expect(stream.dropped).toBe(7);
    controller.abort();
    pause(bus, 99);
    const seen: number[] = [];
    for await (const event of stream) seen.push(queueOf(event));
    expect(seen).toEqual([7, 8, 9]);
    expect(bus.wants('queue:paused')).toBe(false);
  });

  test('two reads under way at once both get an event; an abort ends both', async () => {
    const bus = new EventBus();
    const controller = new AbortController();
    const reader = bus.stream({ signal: controller.signal })[Symbol.asyncIterator]();
    const reads = [reader.next(), reader.next()];
    pause(bus, 1);
    pause(bus, 2);
    const got = await Promise.all(reads);
    expect(got.map((result) => queueOf(result.value as CoordinationEvent))).toEqual([1, 2]);
    const last = [reader.next(), reader.next()];
    controller.abort();
    expect(await Promise.all(last)).toEqual([
      { done: true, value: undefined },
      { done: true, value: undefined },
    ]);
  });

  test('a stream of an aborted signal ends at once and holds nothing', async () => {
    const bus = new EventBus();
    const stream = bus.stream({ signal: AbortSignal.abort() });
    expect(bus.wants('queue:paused')).toBe(false);
    for await (const event of stream) expect.unreachable(event.name);
    expect(stream.dropped).toBe(0);
  });
});

describe('statistics and debug', () => {
  test('every occurrence is counted once, through emit or through wants', () => {
    const bus = new EventBus();
    const report = (): void => {
      if (bus.wants('task:readied')) bus.emit('task:readied', readied);
    };
    report();
    report();
    const listener = bus.on('task:readied', () => undefined);
    report();
    expect(bus.getEventStats()).toEqual({ 'task:readied': { count: 3, listeners: 1 } });
    listener[Symbol.dispose]();
    bus.resetStats();
    expect(bus.getEventStats()).toEqual({});
  });

  test('lastAt is kept while a tap is there', () => {
    const clock = createTestClock(7);
    const bus = new EventBus({ clock });
    const tap = bus.tap(() => undefined);
    bus.emit('queue:paused', { queue: 'a' });
    expect(bus.getEventStats()).toEqual({ 'queue:paused': { count: 1, listeners: 0, lastAt: 7 } });
    tap[Symbol.dispose]();
    expect(bus.wants('queue:paused')).toBe(false);
  });

  test('names that were opened before a tap was added are wanted from then on', () => {
    const bus = new EventBus();
    expect(bus.wants('queue:paused')).toBe(false);
    using _ = bus.tap(() => undefined);
    expect(bus.wants('queue:paused')).toBe(true);
    expect(bus.wants('queue:resumed')).toBe(true);
  });

  test('debug logs every event', () => {
    const debug = vi.fn();
    const logger = { debug, info: vi.fn(), warn: vi.fn(), error: vi.fn() };
    const bus = new EventBus({ debug: true, logger });
    bus.emit('queue:paused', { queue: 'a' });
    expect(debug.mock.calls).toEqual([['queue:paused', { queue: 'a' }]]);
    expect(new EventBus(true).wants('queue:paused')).toBe(true);
  });
});

describe('a closed bus', () => {
  test('G6: what waits for an event is refused, now and later, and its timer is gone', async () => {
    const clock = createTestClock();
    const bus = new EventBus({ clock });
    const waiting = bus.waitFor('queue:paused', 60_000).catch((error: unknown) => error);
    expect(clock.nextDue()).toBeLessThan(Number.POSITIVE_INFINITY);
    bus.close();
    bus.close();
    expect(await waiting).toMatchObject({ code: 'STOPPED' });
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
    await expect(bus.waitFor('queue:paused', 60_000)).rejects.toMatchObject({ code: 'STOPPED' });
  });

  test('a wait that was refused leaves nothing behind', async () => {
    const bus = new EventBus();
    await expect(bus.waitFor(undefined as never)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    const waiting = bus.waitFor('queue:paused').catch((error: unknown) => error);
    bus.close();
    expect(await waiting).toMatchObject({ code: 'STOPPED' });
  });

  test('streams end after what they have kept; listeners stay', async () => {
    const bus = new EventBus();
    const stream = bus.stream();
    const heard = vi.fn();
    bus.on('queue:paused', heard);
    bus.emit('queue:paused', { queue: 'a' });
    bus.close();
    bus.emit('queue:paused', { queue: 'b' });
    const read: unknown[] = [];
    for await (const event of stream) read.push(event.payload);
    expect(read).toEqual([{ queue: 'a' }]);
    expect(heard).toHaveBeenCalledTimes(2);
    for await (const event of bus.stream()) read.push(event);
    expect(read).toHaveLength(1);
  });
});
