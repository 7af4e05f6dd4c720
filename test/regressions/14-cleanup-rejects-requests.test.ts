import { expect, test } from 'vitest';
import { createRouterWorld } from '../support/messaging.ts';

/** Defect 14: the cleanup that ran every 60 s rejected every pending request, due or not. */

export interface Implementation {
  /** Asks agent `b`; the promise settles with its answer. */
  ask(timeoutMs: number): Promise<unknown>;
  /** Agent `b` answers everything it was asked. */
  answerAll(): Promise<void>;
  cleanUp(): Promise<void>;
  pass(ms: number): Promise<void>;
}

/** Rejects when cleaning up settles a request whose time is not over, or an answer after a cleanup is lost. */
export async function scenario(implementation: Implementation): Promise<void> {
  const reply = implementation.ask(300_000);
  reply.catch(() => undefined);
  for (let minute = 0; minute < 3; minute++) {
    await implementation.pass(60_000);
    await implementation.cleanUp();
  }
  await implementation.answerAll();
  expect(await reply).toBe('answer');
}

/** The predecessor's bookkeeping: one map, emptied by the cleanup. */
function naive(): Implementation {
  const pending = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  return {
    ask: () => new Promise((resolve, reject) => pending.set(pending.size, { resolve, reject })),
    async answerAll() {
      for (const { resolve } of pending.values()) resolve('answer');
    },
    async cleanUp() {
      for (const [id, { reject }] of pending) {
        pending.delete(id);
        reject(new Error('Response timeout during cleanup'));
      }
    },
    pass: () => Promise.resolve(),
  };
}

function ours(): Implementation {
  const { router, clock } = createRouterWorld();
  const asked: string[] = [];
  router.subscribe('b', ({ id }) => void asked.push(id));
  return {
    ask: (timeoutMs) => router.sendWithResponse('a', 'b', 'question', timeoutMs),
    async answerAll() {
      for (const id of asked) await router.sendResponse(id, 'answer');
    },
    cleanUp: () => router.performMaintenance(),
    pass: (ms) => clock.advance(ms),
  };
}

test('defect 14: a cleanup that rejects what is pending fails', async () => {
  await expect(scenario(naive())).rejects.toThrow('cleanup');
});

test('defect 14: maintenance touches no request that isn’t due', async () => {
  await expect(scenario(ours())).resolves.toBeUndefined();
});
