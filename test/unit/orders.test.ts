import { expect, test } from 'vitest';
import type { Order } from '../../src/core/ports/sessions.ts';
import type { Token } from '../../src/core/ports/words.ts';
import type { Run } from '../../src/scheduler/agent.ts';
import { obeyOrders } from '../../src/scheduler/orders.ts';

function runOf(task: string, token: number): Run {
  return { claim: { task, token: token as Token } } as Run;
}

/** What is done to runs by these orders. */
function obey(orders: readonly Order[], runs: Iterable<Run>): string[] {
  const done: string[] = [];
  obeyOrders(orders, runs, {
    stop: ({ claim }, cause) => done.push(`${cause} ${claim.task} ${claim.token}`),
    drop: ({ claim }) => done.push(`drop ${claim.task} ${claim.token}`),
  });
  return done;
}

test('T4: an order is for one claim: an earlier or later run of the same task is not meant, nor another task', () => {
  const runs = [runOf('a', 1), runOf('a', 3), runOf('b', 2), runOf('a', 2)];
  const cancel: Order = { kind: 'cancel', task: 'a', token: 2 as Token, reason: 'test' };
  expect(obey([cancel], runs)).toEqual(['cancel a 2']);
  expect(obey([{ kind: 'taken', task: 'a', token: 3 as Token }], runs)).toEqual(['drop a 3', 'taken a 3']);
  expect(obey([{ kind: 'taken', task: 'a', token: 4 as Token }, cancel], [runOf('b', 4)])).toEqual([]);
});

test('runs that end by it may leave the list that they are in', () => {
  const runs = new Set([runOf('a', 1), runOf('b', 2)]);
  const left: string[] = [];
  const orders = [...runs].map(({ claim: { task, token } }) => ({ kind: 'taken', task, token }) as const);
  obeyOrders(orders, runs, {
    stop: () => undefined,
    drop: (run) => {
      left.push(run.claim.task);
      runs.clear();
    },
  });
  expect(left).toEqual(['a', 'b']);
});
