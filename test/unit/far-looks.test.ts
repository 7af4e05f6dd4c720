import { expect, test } from 'vitest';
import type { WaitSource } from '../../src/core/waits.ts';
import { FarLooks } from '../../src/resources/far-looks.ts';
import type { OpenDeadlocks } from '../../src/resources/open-deadlocks.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

test('a look at a queue begins in front, whatever the order of the waits here: each wait then finds those before it done', async () => {
  const clock = createTestClock();
  const queue = Array.from({ length: 50 }, (_, i) => `w${i}`);
  const asked: string[] = [];
  const none = { requirements: () => [], abort: () => false };
  const picture: WaitSource = {
    ...none,
    isWaiting: (node) => queue.includes(node),
    waiting: () => queue,
    requirements: (node) => {
      asked.push(node);
      const inFront = ['holder', ...queue.slice(0, queue.indexOf(node))];
      const blockers = inFront.map((other) => ({ node: other, frees: 1 }));
      return [{ by: 'lock', what: 'r', blockers, needs: blockers.length }];
    },
  };
  let isOver = false;
  const here = (): string[] => (isOver ? [] : [...queue, 'elsewhere']);
  const looks = new FarLooks({
    clock,
    sources: () => [{ ...none, isWaiting: () => false, waiting: here, picture: () => picture }],
    open: { check: () => undefined } as unknown as OpenDeadlocks,
    endsWaits: true,
    break: () => true,
    failed: (what, error) => expect.fail(`${what}: ${String(error)}`),
  });
  looks.look();
  await clock.advance(1);
  isOver = true;
  looks.stop();
  expect(asked).toEqual(queue);
});
