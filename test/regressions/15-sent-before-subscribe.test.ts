import { expect, test } from 'vitest';
import { createRouterWorld } from '../support/messaging.ts';

/** Defect 15: a message sent before `subscribe` was never delivered. */

export interface Implementation {
  send(to: string, payload: unknown): Promise<unknown>;
  subscribe(agentId: string, handler: (payload: unknown) => void): void;
  settle(): Promise<void>;
}

/** Rejects when a handler doesn't get what was sent before it subscribed, in order, once. */
export async function scenario(implementation: Implementation): Promise<void> {
  await implementation.send('b', 'early');
  await implementation.send('b', 'later');
  await implementation.settle();
  const got: unknown[] = [];
  implementation.subscribe('b', (payload) => void got.push(payload));
  await implementation.send('b', 'now');
  await implementation.settle();
  expect(got).toEqual(['early', 'later', 'now']);
}

/** The predecessor's queue: messages are handed to the handlers there are when they are sent. */
function naive(): Implementation {
  const handlers = new Map<string, ((payload: unknown) => void)[]>();
  return {
    async send(to, payload) {
      for (const handler of handlers.get(to) ?? []) handler(payload);
    },
    subscribe: (agentId, handler) => void handlers.set(agentId, [...(handlers.get(agentId) ?? []), handler]),
    settle: () => Promise.resolve(),
  };
}

function ours(): Implementation {
  const { router, clock } = createRouterWorld();
  return {
    send: (to, payload) => router.send('a', to, payload),
    subscribe: (agentId, handler) => void router.subscribe(agentId, ({ payload }) => handler(payload)),
    settle: () => clock.settle(),
  };
}

test('defect 15: handing out at send only fails', async () => {
  await expect(scenario(naive())).rejects.toThrow('to deeply equal');
});

test('defect 15: the mailbox keeps what came first', async () => {
  await expect(scenario(ours())).resolves.toBeUndefined();
});
