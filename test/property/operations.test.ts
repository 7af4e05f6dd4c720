import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CoordinationError } from '../../src/core/errors.ts';
import { createOperations } from '../../src/core/operations.ts';
import type { Awaitable, Operation, SessionNumber } from '../../src/core/ports/words.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

/** How one attempt of a call goes: answered at once, later, executed with its answer lost, not sent at all, or refused for good. */
type Fate = 'sync' | 'async' | 'lost' | 'away' | 'away-sync' | 'refused';

const SESSION = 7 as SessionNumber;
const lost = (): CoordinationError => new CoordinationError('OUTCOME_UNKNOWN', 'reply lost');
const away = (): CoordinationError => new CoordinationError('BACKEND_UNAVAILABLE', 'away');

/** A store that remembers answers by operation and executes each operation once. */
class Store {
  readonly executed = new Map<number, number>();
  readonly answered = new Set<number>();
  readonly problems: string[] = [];
  readonly #maxInFlight: number;
  #newest = 0;

  constructor(maxInFlight: number) {
    this.#maxInFlight = maxInFlight;
  }

  /** Checks the window when an operation is sent: n only once n − maxInFlight is answered. */
  sent(op: Operation): void {
    if (op.session !== SESSION) this.problems.push(`session ${op.session}`);
    if (op.sequence > this.#newest) {
      if (op.sequence !== this.#newest + 1) this.problems.push(`${op.sequence} after ${this.#newest}`);
      this.#newest = op.sequence;
    }
    for (let n = 1; n <= op.sequence - this.#maxInFlight; n++)
      if (!this.answered.has(n)) this.problems.push(`${op.sequence} was sent while ${n} is not answered`);
  }

  execute(op: Operation, call: number): number {
    const known = this.executed.get(op.sequence);
    if (known !== undefined && known !== call) this.problems.push(`${op.sequence} carries two calls`);
    this.executed.set(op.sequence, call);
    return call * 10;
  }
}

const fate = fc.oneof(
  { weight: 3, arbitrary: fc.constant<Fate>('sync') },
  { weight: 4, arbitrary: fc.constant<Fate>('async') },
  { weight: 3, arbitrary: fc.constantFrom<Fate>('lost', 'away', 'away-sync') },
  { weight: 1, arbitrary: fc.constant<Fate>('refused') },
);
const call = fc.record({
  fates: fc.array(fate, { minLength: 1, maxLength: 4 }),
  delay: fc.integer({ min: 0, max: 50 }),
  startAt: fc.integer({ min: 0, max: 60 }),
});

test('G1: whatever is lost and delayed, each call runs once, in its window, and gets its own answer', async () => {
  let contended = 0;
  let repeated = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.array(call, { minLength: 1, maxLength: 14 }),
      fc.nat(),
      async (maxInFlight, calls, seed) => {
        const clock = createTestClock();
        const runtime = createRuntime({ clock, random: createRandom(seed) });
        const store = new Store(maxInFlight);
        const operations = createOperations(SESSION, runtime, { maxInFlight, giveUpMs: 1_000_000 });
        const outcomes: Promise<string>[] = [];
        let underWay = 0;

        const run = (index: number): void => {
          const { fates, delay } = calls[index] as (typeof calls)[number];
          let attempt = 0;
          let operation: Operation | undefined;
          const answer = (op: Operation, value: () => number): number => {
            store.answered.add(op.sequence);
            underWay -= 1;
            return value();
          };
          const send = (op: Operation): Awaitable<number> => {
            if (operation === undefined) underWay += 1;
            else {
              repeated += 1;
              if (op.sequence !== operation.sequence) store.problems.push('repeated with another operation');
            }
            operation = op;
            store.sent(op);
            const kind = fates[attempt++] ?? 'async';
            if (kind === 'sync') return answer(op, () => store.execute(op, index));
            if (kind === 'away-sync') throw away();
            if (kind === 'refused') {
              return answer(op, () => {
                throw new CoordinationError('STALE_CLAIM', 'refused');
              });
            }
            if (kind !== 'away') store.execute(op, index);
            return new Promise((resolve, reject) => {
              clock.after(delay, () => {
                if (kind === 'lost') reject(lost());
                else if (kind === 'away') reject(away());
                else resolve(answer(op, () => store.execute(op, index)));
              });
            });
          };
          if (underWay >= maxInFlight) contended += 1;
          outcomes.push(
            settle(() => operations.run(send)).then((found) => {
              const expected =
                calls[index]?.fates.slice(0, attempt).at(-1) === 'refused' ? 'STALE_CLAIM' : index * 10;
              return String(found) === String(expected)
                ? 'ok'
                : `call ${index}: ${found} instead of ${expected}`;
            }),
          );
        };
        calls.forEach(({ startAt }, index) => clock.after(startAt, () => run(index)));
        await clock.advance(60_000);
        const settled = await Promise.race([
          Promise.all(outcomes),
          clock.settle().then(() => ['something never settled']),
        ]);
        expect(settled.filter((outcome) => outcome !== 'ok')).toEqual([]);
        expect(store.problems).toEqual([]);
        expect(clock.nextDue()).toBe(Number.POSITIVE_INFINITY);
      },
    ),
  );
  // A test of contention that never was contended would prove nothing.
  expect(contended).toBeGreaterThan(100);
  expect(repeated).toBeGreaterThan(100);
});

/** The value, or the code of the error, as text. */
async function settle(start: () => Awaitable<number>): Promise<string> {
  try {
    return String(await start());
  } catch (error) {
    return (error as CoordinationError).code ?? String(error);
  }
}
