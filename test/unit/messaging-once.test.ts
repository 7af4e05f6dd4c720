import { expect, test } from 'vitest';
import type { Envelope } from '../../src/messaging/types.ts';
import { createMessagingMesh } from '../support/messaging-mesh.ts';
import { createRouterWorld, expectConserved } from '../support/messaging.ts';

const MINUTE_MS = 60_000;

test('M1: an id that the sender gave counts once for ten minutes, and a duplicate does not prolong them', async () => {
  const { router, clock } = createRouterWorld({ messageTimeout: 60 * MINUTE_MS });
  let got = 0;
  router.subscribe('b', () => void (got += 1));
  await router.send('a', 'b', 1, { id: 'order-7' });
  for (const minutes of [1, 4, 4.9]) {
    await clock.advance(minutes * MINUTE_MS);
    await router.send('a', 'b', 1, { id: 'order-7' });
    await clock.settle();
    expect(got, `after ${clock.mono()} ms`).toBe(1);
  }
  await clock.advance(0.2 * MINUTE_MS);
  await router.send('a', 'b', 1, { id: 'order-7' });
  await clock.settle();
  expect(got).toBe(2);
  expect(await expectConserved(router)).toMatchObject({ published: 2, delivered: 2 });
  await router.shutdown();
});

test('M2: a second reply never goes out, not even when its request was delivered again', async () => {
  const mesh = await createMessagingMesh();
  const here = await mesh.router('here');
  const there = await mesh.router('there');
  const asked: Envelope[] = [];
  const replies: boolean[] = [];
  there.subscribe('b', async (message) => {
    asked.push(message);
    if (asked.length > 1) return;
    replies.push(await message.reply('first'));
    throw new Error('after its reply');
  });
  const reply = here.request('a', 'b', 1);
  await mesh.clock.advance(10_000);
  expect(await reply).toBe('first');
  expect(asked).toHaveLength(2);
  const { published } = await there.stats();
  replies.push((await asked[0]?.reply('second')) ?? true);
  await mesh.clock.advance(10_000);
  expect(replies).toEqual([true, false]);
  expect((await there.stats()).published).toBe(published);
  expect(await here.stats()).toMatchObject({ pendingRequests: 0, lateReplies: 0 });
  expect((await there.stats()).lateReplies).toBe(1);
  await mesh.until(Promise.all([here.shutdown(), there.shutdown()]));
});
