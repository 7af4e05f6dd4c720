import { expect, test } from 'vitest';
import { CoordinationError } from '../../src/core/errors.ts';
import type { Operations } from '../../src/core/operations.ts';
import type { Membership, MessageTransport, NewMessage } from '../../src/core/ports/messages.ts';
import type { SessionNumber } from '../../src/core/ports/words.ts';
import { Outbox } from '../../src/messaging/outbox.ts';
import { newMessage, ROOMY } from '../../src/testing/suites/messages/harness.ts';

const operations: Operations = {
  session: 1 as SessionNumber,
  run: (send) => send({ session: 1 as SessionNumber, sequence: 1 }),
};
const member: Membership = { address: 'b', topics: [], listening: true, mailbox: ROOMY, keepMs: 0 };

/** A transport that answers when told, and what was sent to it. */
function slowTransport(): {
  readonly outbox: Outbox;
  readonly calls: string[][];
  /** Answers the call under way, or fails it. */
  answer(error?: Error): Promise<void>;
} {
  const calls: string[][] = [];
  const open: { resolve: (value: unknown) => void; reject: (error: Error) => void; answer: unknown }[] = [];
  const call = (names: string[], answer: unknown): Promise<never> => {
    calls.push(names);
    expect(open, 'one call at a time').toHaveLength(0);
    return new Promise((resolve, reject) => open.push({ resolve: resolve as never, reject, answer }));
  };
  const transport = {
    publish: (_op: unknown, messages: readonly NewMessage[]) =>
      call(
        messages.map(({ id }) => id),
        { results: messages.map(({ id }) => ({ status: 'full', address: id })) },
      ),
    subscribe: (_op: unknown, changes: readonly Membership[]) =>
      call(
        changes.map(({ address }) => `join ${address}`),
        { lost: [] },
      ),
  } as unknown as MessageTransport;
  return {
    outbox: new Outbox(transport, operations, { maxBatch: 3, defaults: ROOMY }),
    calls,
    async answer(error) {
      const under = open.shift();
      if (error === undefined) under?.resolve(under.answer);
      else under?.reject(error);
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

test('one call at a time, in the order given, the rest in batches, each answered for itself', async () => {
  const { outbox, calls, answer } = slowTransport();
  const publish = async (id: string): Promise<unknown> => outbox.publish(newMessage({ id }));
  const answers = ['1', '2', '3', '4', '5'].map((id) => publish(id));
  const joined = Promise.resolve(outbox.subscribe(member));
  const after = publish('6');
  for (let i = 0; i < 5; i++) await answer();
  expect(calls).toEqual([['1'], ['2', '3', '4'], ['5'], ['join b'], ['6']]);
  expect(await Promise.all([...answers, after])).toEqual(
    ['1', '2', '3', '4', '5', '6'].map((address) => ({ status: 'full', address })),
  );
  expect(await joined).toEqual([]);
});

test('a failed call fails its messages only', async () => {
  const { outbox, answer } = slowTransport();
  const outcome = async (id: string): Promise<unknown> =>
    Promise.resolve(outbox.publish(newMessage({ id }))).then(
      () => 'ok',
      (error: Error) => error.message,
    );
  const outcomes = ['1', '2', '3', '4', '5'].map((id) => outcome(id));
  await answer(new Error('first'));
  await answer(new Error('batch'));
  await answer();
  expect(await Promise.all(outcomes)).toEqual(['first', 'batch', 'batch', 'batch', 'ok']);
});

test('close rejects what hasn’t been sent', async () => {
  const { outbox, answer } = slowTransport();
  const sent = Promise.resolve(outbox.publish(newMessage({ id: '1' })));
  const waiting = expect(Promise.resolve(outbox.publish(newMessage({ id: '2' })))).rejects.toMatchObject({
    code: 'STOPPED',
  });
  outbox.close(new CoordinationError('STOPPED', 'stopped'));
  await waiting;
  await answer();
  expect(await sent).toMatchObject({ address: '1' });
});
