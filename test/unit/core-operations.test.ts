import { describe, expect, test } from 'vitest';
import { CoordinationError } from '../../src/core/errors.ts';
import { createOperations, type OwnedOperations } from '../../src/core/operations.ts';
import type { Operation, SessionNumber } from '../../src/core/ports/words.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { createTestClock, type TestClock } from '../../src/testing/test-clock.ts';

function create(maxInFlight: number, giveUpMs?: number): { clock: TestClock; operations: OwnedOperations } {
  const clock = createTestClock();
  const runtime = createRuntime({ clock, random: createRandom(1) });
  const options = giveUpMs === undefined ? { maxInFlight } : { maxInFlight, giveUpMs };
  return { clock, operations: createOperations(1 as SessionNumber, runtime, options) };
}
const lost = (): CoordinationError => new CoordinationError('OUTCOME_UNKNOWN', 'reply lost');
const expired = (): CoordinationError => new CoordinationError('SESSION_EXPIRED', 'over');
const away = (): CoordinationError => new CoordinationError('BACKEND_UNAVAILABLE', 'away');

describe('answers that are there', () => {
  test('come back without a promise, numbered from 1', () => {
    const { operations } = create(2);
    expect(operations.run((op) => op)).toEqual({ session: 1, sequence: 1 });
    expect(operations.run((op) => op.sequence)).toBe(2);
    expect(operations.session).toBe(1);
  });

  test('a refusal is thrown in place and uses up its number', () => {
    const { operations } = create(2);
    const refusal = new CoordinationError('STOPPED', 'x');
    expect(() =>
      operations.run(() => {
        throw refusal;
      }),
    ).toThrow(refusal);
    expect(operations.run((op) => op.sequence)).toBe(2);
  });
});

describe('the window (G1)', () => {
  test('G1: no more than maxInFlight operations are under way, the others wait in order', async () => {
    const { clock, operations } = create(2);
    const sent: number[] = [];
    const answers: (() => void)[] = [];
    const call = (name: number): Promise<number> =>
      Promise.resolve(
        operations.run(() => {
          sent.push(name);
          return new Promise<number>((resolve) => answers.push(() => resolve(name)));
        }),
      );
    const results = Promise.all([1, 2, 3, 4, 5].map(call));
    await clock.settle();
    expect(sent).toEqual([1, 2]);
    answers[0]?.();
    await clock.settle();
    expect(sent).toEqual([1, 2, 3]);
    answers[2]?.(); // 3, while 2 is open: 4 would be two beyond it
    await clock.settle();
    expect(sent).toEqual([1, 2, 3]);
    answers[1]?.();
    await clock.settle();
    expect(sent).toEqual([1, 2, 3, 4, 5]);
    answers[3]?.();
    answers[4]?.();
    expect(await results).toEqual([1, 2, 3, 4, 5]);
  });

  test('G1: one that waited and is answered at once makes room for the next', async () => {
    const { clock, operations } = create(1);
    let release: () => void = () => undefined;
    const first = operations.run(() => new Promise<void>((resolve) => (release = resolve)));
    const order: number[] = [];
    const others = [1, 2, 3].map((n) => operations.run(() => void order.push(n)));
    expect(order).toEqual([]);
    release();
    await clock.settle();
    expect(order).toEqual([1, 2, 3]);
    await Promise.all([first, ...others]);
  });

  test('G1: one that waited and is refused rejects and does not hold up the next', async () => {
    const { operations } = create(1);
    let release: () => void = () => undefined;
    const first = operations.run(() => new Promise<void>((resolve) => (release = resolve)));
    const refused = operations.run(() => {
      throw new CoordinationError('STOPPED', 'x');
    });
    const next = operations.run((op) => op.sequence);
    release();
    await first;
    await expect(refused).rejects.toMatchObject({ code: 'STOPPED' });
    await expect(next).resolves.toBe(3);
  });
});

describe('unknown outcomes (G2)', () => {
  test('G2: a lost answer is asked for again with the same operation, with growing pauses', async () => {
    const { clock, operations } = create(2);
    const attempts: { readonly op: Operation; readonly at: number }[] = [];
    const result = operations.run((op) => {
      attempts.push({ op, at: clock.mono() });
      return attempts.length < 6 ? Promise.reject(lost()) : Promise.resolve('done');
    });
    await clock.advance(5_000);
    expect(await result).toBe('done');
    expect(new Set(attempts.map(({ op }) => op.sequence))).toEqual(new Set([1]));
    const pauses = attempts.slice(1).map(({ at }, i) => at - (attempts[i]?.at ?? 0));
    pauses.forEach((pause, i) => {
      expect(pause).toBeGreaterThanOrEqual(Math.min(1_000, 10 * 2 ** i) * 0.5);
      expect(pause).toBeLessThanOrEqual(Math.min(1_000, 10 * 2 ** i) + 1);
    });
  });

  test('G2: an answer that is lost synchronously is repeated too', async () => {
    const { clock, operations } = create(2);
    let attempts = 0;
    const result = operations.run(() => {
      if (attempts++ < 2) throw away();
      return 'done';
    });
    await clock.advance(1_000);
    expect(await result).toBe('done');
    expect(attempts).toBe(3);
  });

  test.each([
    ['whose answer was lost may have been carried out', [lost, expired], 'OUTCOME_UNKNOWN'],
    ['whose answer was lost, and that then did not get through', [lost, away, expired], 'OUTCOME_UNKNOWN'],
    ['that never got through was not carried out', [away, expired], 'SESSION_EXPIRED'],
    ['that the store refuses at once was not carried out', [expired], 'SESSION_EXPIRED'],
  ] as const)('G2: the session runs out: a call %s', async (_, failures, code) => {
    const { clock, operations } = create(2);
    let attempts = 0;
    const result = expect(
      operations.run(() => Promise.reject((failures[attempts++] ?? expired)())),
    ).rejects.toMatchObject({ code });
    await clock.advance(1_000);
    await result;
    expect(attempts).toBe(failures.length);
  });

  test.each([
    ['nothing was ever sent', [away], 'BACKEND_UNAVAILABLE'],
    ['an answer was lost', [lost], 'OUTCOME_UNKNOWN'],
    ['an answer was lost and the backend went away', [lost, away], 'OUTCOME_UNKNOWN'],
  ] as const)('it gives up after giveUpMs; %s', async (_, failures, code) => {
    const { clock, operations } = create(1, 2_000);
    let attempts = 0;
    const result = expect(
      operations.run(() => Promise.reject((failures[attempts++] ?? failures.at(-1) ?? lost)())),
    ).rejects.toMatchObject({ code });
    const next = operations.run((op) => op.sequence);
    await clock.advance(1_900);
    const tried = attempts;
    expect(tried).toBeGreaterThan(5);
    await clock.advance(5_000);
    await result;
    expect(attempts - tried).toBeLessThanOrEqual(2);
    expect(await next).toBe(2);
  });
});

describe('closing (G6)', () => {
  const stopped = new CoordinationError('STOPPED', 'stopped');

  test('G6: what was sent, what pauses and what waits is refused, and no timer is left', async () => {
    const { clock, operations } = create(2);
    let attempts = 0;
    const silent = operations.run(() => new Promise(() => undefined));
    const pausing = operations.run(() => {
      attempts += 1;
      return Promise.reject(away());
    });
    const waiting = operations.run((op) => op.sequence);
    await clock.advance(500);
    expect(operations.underWay()).toBe(3);
    operations.close(stopped);
    for (const call of [silent, pausing, waiting]) await expect(call).rejects.toBe(stopped);
    expect(() => operations.run((op) => op.sequence)).toThrow(stopped);
    expect(operations.underWay()).toBe(0);
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
    const tried = attempts;
    await clock.advance(60_000);
    expect(attempts).toBe(tried);
  });

  test.each([
    ['fails', (fail: (error: Error) => void) => fail(away())],
    ['is lost', (fail: (error: Error) => void) => fail(lost())],
  ])('G6: an answer that %s afterwards is not asked for again', async (_, end) => {
    const { clock, operations } = create(2);
    let attempts = 0;
    let fail: (error: Error) => void = () => undefined;
    const call = operations.run(() => {
      attempts += 1;
      return new Promise((_resolve, reject) => (fail = reject));
    });
    operations.close(stopped);
    await expect(call).rejects.toBe(stopped);
    end(fail);
    await clock.settle();
    expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
    expect(attempts).toBe(1);
  });

  test('G6: with nothing under way, what comes afterwards is refused too', () => {
    const { operations } = create(2);
    expect(operations.run((op) => op.sequence)).toBe(1);
    operations.close(stopped);
    expect(() => operations.run((op) => op.sequence)).toThrow(stopped);
  });

  test('G6: a call that ends its own session while it is sent is refused', async () => {
    const { operations } = create(2);
    const call = operations.run(() => {
      operations.close(stopped);
      return new Promise(() => undefined);
    });
    await expect(call).rejects.toBe(stopped);
  });
});
