import { expect, test } from 'vitest';
import { CoordinationError } from '../../src/core/errors.ts';
import { createOperations, ONCE, type OwnedOperations } from '../../src/core/operations.ts';
import type { Operation, SessionNumber } from '../../src/core/ports/words.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { LazyOperations } from '../../src/lazy-operations.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

function opened() {
  const clock = createTestClock();
  const runtime = createRuntime({ clock, random: createRandom(1) });
  const operationsOf = (session: number): OwnedOperations =>
    createOperations(session as SessionNumber, runtime, { maxInFlight: 4 });
  const lazy = new LazyOperations();
  const renewals: number[] = [];
  lazy.use(operationsOf(1));
  lazy.renewBy({
    renew: async (session) => {
      renewals.push(session);
      lazy.use(operationsOf(2));
    },
    opened: () => undefined,
    leftMs: () => Number.POSITIVE_INFINITY,
  });
  return { lazy, renewals, clock };
}

/** A store that knows session 1 no more. */
function refusing(seen: number[]): (op: Operation) => Promise<number> {
  return async ({ session }) => {
    seen.push(session);
    if (session === 1) throw new CoordinationError('SESSION_EXPIRED', 'over');
    return session;
  };
}

test('G1: what a session that is over was refused is carried out in the next one', async () => {
  const { lazy, renewals } = opened();
  const seen: number[] = [];
  expect(await lazy.run(refusing(seen))).toBe(2);
  expect(seen).toEqual([1, 2]);
  expect(renewals).toEqual([1]);
});

test("T11: not in the caller's transaction, which the refusal has broken: it is told why, and there is another session next time", async () => {
  const { lazy, renewals } = opened();
  const seen: number[] = [];
  await expect(lazy.run(refusing(seen), ONCE)).rejects.toMatchObject({ code: 'SESSION_EXPIRED' });
  expect(seen).toEqual([1]);
  expect(renewals).toEqual([1]);
  expect(await lazy.run(refusing(seen), ONCE)).toBe(2);
});

test('G1: what never reached the store before its session was over is carried out in the next one', async () => {
  const { lazy, renewals, clock } = opened();
  const seen: number[] = [];
  const refuse = refusing(seen);
  const answer = lazy.run((op) => {
    if (seen.push(0) > 2) return refuse(op);
    throw new CoordinationError('BACKEND_UNAVAILABLE', 'away');
  });
  await clock.advance(1_000);
  expect(await answer).toBe(2);
  expect(seen).toEqual([0, 0, 0, 1, 0, 2]);
  expect(renewals).toEqual([1]);
});

test('G2: what may have been carried out before its session was over is not sent in the next one', async () => {
  const { lazy, renewals, clock } = opened();
  const seen: number[] = [];
  const refuse = refusing(seen);
  const answer = expect(
    lazy.run((op) => {
      if (seen.length > 0) return refuse(op);
      seen.push(0);
      throw new CoordinationError('OUTCOME_UNKNOWN', 'lost');
    }),
  ).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' });
  await clock.advance(1_000);
  await answer;
  expect(seen).toEqual([0, 1]);
  // There is another one for what comes next.
  expect(renewals).toEqual([1]);
});
