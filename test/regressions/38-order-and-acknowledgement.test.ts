import { expect, test } from 'vitest';
import { createRouterWorld } from '../support/messaging.ts';

/**
 * Defect 38, as far as it needs no broker: every agent read everybody's messages, a new agent was given all history, messages of one
 * pair had no order, and a message counted as done whatever its handler answered.
 */

export interface Implementation {
  subscribe(agentId: string, handler: (payload: string) => Promise<void>): void;
  send(from: string, to: string, payload: string): Promise<unknown>;
  /** To all agents there are. */
  broadcast(payload: string): Promise<unknown>;
  settle(): Promise<void>;
}

/** Rejects when one of the four is seen. */
export async function scenario(implementation: Implementation): Promise<void> {
  const got: Record<string, string[]> = { b: [], c: [], late: [] };
  let failures = 1;
  implementation.subscribe('b', async (payload) => {
    if (payload === '1' && failures-- > 0) throw new Error('not yet');
    got['b']?.push(payload);
  });
  implementation.subscribe('c', async (payload) => void got['c']?.push(payload));
  await implementation.broadcast('news');
  for (const payload of ['1', '2', '3']) await implementation.send('a', 'b', payload);
  await implementation.settle();
  implementation.subscribe('late', async (payload) => void got['late']?.push(payload));
  await implementation.settle();
  expect(got).toEqual({ b: ['news', '1', '2', '3'], c: ['news'], late: [] });
}

/** The predecessor's broker: one topic from its beginning for everybody, partitions by message id, an offset that only moves on. */
function naive(): Implementation {
  const partitions: string[][] = [[], []];
  const handlers: { handler: (payload: string) => Promise<void>; offsets: number[] }[] = [];
  let id = 0;
  return {
    subscribe: (_agentId, handler) => void handlers.push({ handler, offsets: [0, 0] }),
    send: async (_from, _to, payload) => partitions[id++ % 2]?.push(payload),
    broadcast: async (payload) => partitions[id++ % 2]?.push(payload),
    async settle() {
      for (const { handler, offsets } of handlers) {
        for (const [index, partition] of partitions.entries()) {
          for (let at = offsets[index] ?? 0; at < partition.length; at++) {
            await handler(partition[at] ?? '').catch(() => undefined);
            offsets[index] = at + 1;
          }
        }
      }
    },
  };
}

function ours(): Implementation {
  const { router, clock } = createRouterWorld();
  return {
    subscribe: (agentId, handler) =>
      void router.subscribe<string>(agentId, ({ payload }) => handler(payload)),
    send: (from, to, payload) => router.send(from, to, payload),
    broadcast: (payload) => router.broadcast('a', payload),
    settle: () => clock.advance(5_000),
  };
}

test('defect 38: one topic for everybody with an offset that only moves on fails', async () => {
  await expect(scenario(naive())).rejects.toThrow('to deeply equal');
});

test('defect 38: mailboxes keep to their agent, their order and their acknowledgement', async () => {
  await expect(scenario(ours())).resolves.toBeUndefined();
});
