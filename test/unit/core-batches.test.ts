import { expect, test } from 'vitest';
import { MAX_CALL_BYTES } from '../../src/core/call-size.ts';
import { Batches } from '../../src/core/batches.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

function world(options: { readonly maxBatch?: number; readonly maxFlights?: number } = {}) {
  const clock = createTestClock();
  const sent: { readonly items: readonly number[]; readonly land: () => void }[] = [];
  const batches = new Batches<number>({
    clock,
    maxBatch: options.maxBatch ?? 100,
    maxFlights: options.maxFlights ?? 1,
    send: (items) => new Promise((land) => sent.push({ items, land })),
  });
  return { clock, sent, batches, itemsSent: () => sent.map(({ items }) => items) };
}

test('what is added in one turn shares a call', async () => {
  const { clock, batches, itemsSent } = world();
  for (const item of [1, 2, 3]) batches.add(item);
  expect(itemsSent()).toEqual([]);
  await clock.settle();
  expect(itemsSent()).toEqual([[1, 2, 3]]);
});

test('while as many calls as may be are under way the next batch gathers, and goes when one lands', async () => {
  const { clock, sent, batches, itemsSent } = world({ maxFlights: 2 });
  for (const item of [1, 2, 3, 4]) {
    batches.add(item);
    await clock.settle();
  }
  expect(itemsSent()).toEqual([[1], [2]]);
  expect(batches.waiting).toBe(2);
  sent[1]?.land();
  await clock.settle();
  expect(itemsSent()).toEqual([[1], [2], [3, 4]]);
});

test('no call has more items than one may have, and none is left behind or sent twice', async () => {
  const { clock, sent, batches, itemsSent } = world({ maxBatch: 3 });
  for (let item = 0; item < 8; item++) batches.add(item);
  for (let call = 0; call < 3; call++) {
    await clock.settle();
    sent[call]?.land();
  }
  await clock.settle();
  expect(itemsSent()).toEqual([
    [0, 1, 2],
    [3, 4, 5],
    [6, 7],
  ]);
});

test('no call has more text than one may have, in order; what is larger by itself goes alone', async () => {
  const clock = createTestClock();
  const sent: (readonly number[])[] = [];
  const send = async (items: readonly number[]): Promise<void> => void sent.push(items);
  const batches = new Batches<number>({ clock, maxBatch: 4, maxFlights: 1, bytesOf: (bytes) => bytes, send });
  const half = MAX_CALL_BYTES / 2;
  const items = [half, half, 1, 2 * MAX_CALL_BYTES, half + 1, half, 1, 1, 1, 1, 1];
  for (const item of items) batches.add(item);
  await clock.settle();
  await batches.untilIdle();
  expect(sent).toEqual([[half, half], [1], [2 * MAX_CALL_BYTES], [half + 1], [half, 1, 1, 1], [1, 1]]);
});

test('flush sends now, but no more calls than may be under way', async () => {
  const { batches, itemsSent } = world();
  batches.add(1);
  batches.flush();
  batches.add(2);
  batches.flush();
  expect(itemsSent()).toEqual([[1]]);
});

test('untilIdle resolves when nothing waits and nothing is under way', async () => {
  const { clock, sent, batches } = world();
  await batches.untilIdle();
  batches.add(1);
  let idle = false;
  void batches.untilIdle().then(() => {
    idle = true;
  });
  await clock.settle();
  batches.add(2);
  sent[0]?.land();
  await clock.settle();
  expect(idle).toBe(false);
  sent[1]?.land();
  await clock.settle();
  expect(idle).toBe(true);
});
