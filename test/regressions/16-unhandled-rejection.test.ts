import { expect, test } from 'vitest';
import { createRouterWorld } from '../support/messaging.ts';

/** Defect 16: an asynchronous handler's rejection was nobody's: the message was lost, and Node ended the process. */

export interface Implementation {
  subscribe(agentId: string, handler: (payload: unknown) => Promise<void>): void;
  send(to: string, payload: unknown): Promise<unknown>;
  settle(): Promise<void>;
}

/** Rejects when a handler's rejection goes unhandled or its message is not delivered again. */
export async function scenario(implementation: Implementation): Promise<void> {
  const unhandled: unknown[] = [];
  const note = (reason: unknown): void => void unhandled.push(reason);
  const others = process.listeners('unhandledRejection');
  process.removeAllListeners('unhandledRejection');
  process.on('unhandledRejection', note);
  try {
    let calls = 0;
    implementation.subscribe('b', async () => {
      calls += 1;
      if (calls === 1) throw new Error('handler failed');
    });
    await implementation.send('b', 'work');
    await implementation.settle();
    await new Promise((resolve) => setImmediate(resolve));
    if (unhandled.length > 0) throw new Error('unhandled', { cause: unhandled[0] });
    expect(calls).toBe(2);
  } finally {
    process.off('unhandledRejection', note);
    for (const listener of others) process.on('unhandledRejection', listener);
  }
}

/** The predecessor's delivery: calls the handler and looks no further. */
function naive(): Implementation {
  let handler: ((payload: unknown) => Promise<void>) | undefined;
  return {
    subscribe: (_agentId, added) => {
      handler = added;
    },
    async send(_to, payload) {
      try {
        void handler?.(payload);
      } catch {
        // Catches what is thrown, not what is rejected.
      }
    },
    settle: () => Promise.resolve(),
  };
}

function ours(): Implementation {
  const { router, clock } = createRouterWorld();
  return {
    subscribe: (agentId, handler) => void router.subscribe(agentId, ({ payload }) => handler(payload)),
    send: (to, payload) => router.send('a', to, payload),
    settle: () => clock.advance(5_000),
  };
}

test('defect 16: a handler that is called and forgotten fails', async () => {
  await expect(scenario(naive())).rejects.toThrow('unhandled');
});

test('defect 16: a rejection is caught, and the message comes again', async () => {
  await expect(scenario(ours())).resolves.toBeUndefined();
});
