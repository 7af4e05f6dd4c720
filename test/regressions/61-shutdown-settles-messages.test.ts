import { expect, test } from 'vitest';
import { createRouterWorld } from '../support/messaging.ts';

/** Defect 61, for messages: clearing left promises unsettled for ever. Here `shutdown` with sends, requests and loops under way. */

export interface Implementation {
  /** Begins a request nobody answers. */
  request(): Promise<unknown>;
  /** Begins to read messages of an agent that gets none. */
  read(): Promise<unknown>;
  stop(): Promise<void>;
  settle(): Promise<void>;
}

/** Rejects when a promise that was given out is still pending after the stop. */
export async function scenario(implementation: Implementation): Promise<void> {
  let pending = 0;
  for (const promise of [implementation.request(), implementation.request(), implementation.read()]) {
    pending += 1;
    const settled = (): void => void (pending -= 1);
    promise.then(settled, settled);
  }
  await implementation.settle();
  await implementation.stop();
  await implementation.settle();
  if (pending > 0) throw new Error(`${pending} promises are pending for ever`);
}

/** What p-queue's `clear` does: forgets who waits. */
function naive(): Implementation {
  const waiting: (() => void)[] = [];
  const wait = (): Promise<unknown> => new Promise<void>((resolve) => waiting.push(resolve));
  return {
    request: wait,
    read: wait,
    async stop() {
      waiting.length = 0;
    },
    settle: () => new Promise((resolve) => setImmediate(resolve)),
  };
}

function ours(): Implementation {
  const { router, clock } = createRouterWorld();
  return {
    request: () => router.request('a', 'b', 1, { timeoutMs: 1e9 }),
    read: async () => {
      for await (const message of router.messages('c')) message.ack();
    },
    stop: () => router.shutdown(),
    settle: () => clock.settle(),
  };
}

test('defect 61: forgetting who waits fails', async () => {
  await expect(scenario(naive())).rejects.toThrow('pending for ever');
});

test('defect 61: shutdown settles everything that was given out', async () => {
  await expect(scenario(ours())).resolves.toBeUndefined();
});
