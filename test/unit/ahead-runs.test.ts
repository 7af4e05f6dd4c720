import { expect, test } from 'vitest';
import type { Run } from '../../src/scheduler/agent.ts';
import { AheadRuns } from '../../src/scheduler/ahead-runs.ts';
import { createTestClock } from '../../src/testing/test-clock.ts';

function world(maxBatch = 250, prefetch = 0) {
  const clock = createTestClock();
  const back: Run[] = [];
  const ahead = new AheadRuns({ clock, maxBatch, prefetch, giveBack: (runs) => back.push(...runs) });
  /** A claim that took 2 ms and brought so many, begun at `perMs`. */
  const round = (count: number, perMs: number, durationMs: number): void => {
    const sentAt = clock.mono();
    clock.tick(2);
    ahead.answered(sentAt);
    for (let i = 0; i < count; i++) ahead.add({ i, started: true } as unknown as Run);
    clock.tick(count / perMs);
    while (ahead.size > 0) {
      ahead.shift();
      ahead.begun();
      ahead.ended(durationMs);
    }
  };
  return { clock, ahead, back, round };
}

test('before anything has ended nothing is claimed ahead, nor where tasks take longer than a round trip', () => {
  const { ahead, round } = world();
  expect(ahead.room).toBe(0);
  for (let i = 0; i < 20; i++) round(4, 10, 200);
  expect(ahead.room).toBe(0);
});

test('of quick tasks as many as are begun while the next claim is on its way, and no more than 5 ms of work', () => {
  const { ahead, round } = world();
  for (let i = 0; i < 30; i++) round(20, 20, 0.05);
  expect(ahead.room).toBeGreaterThanOrEqual(40);
  expect(ahead.room).toBeLessThanOrEqual(100);
});

test('never more than a claim may have', () => {
  const { ahead, round } = world(25);
  for (let i = 0; i < 30; i++) round(20, 20, 0.05);
  expect(ahead.room).toBe(25);
});

test('of quick tasks a batch is here and another on its way, and no third', () => {
  const { ahead, round } = world();
  for (let i = 0; i < 30; i++) round(20, 20, 0.05);
  const batch = ahead.room;
  for (let i = 0; i < batch; i++) ahead.add({ i, started: true } as unknown as Run);
  expect([ahead.room, ahead.soon]).toEqual([batch, batch]);
  for (let i = 0; i < batch; i++) ahead.add({ i, started: true } as unknown as Run);
  expect([ahead.room, ahead.soon]).toEqual([-2 * batch, 0]);
});

test('what waits too long goes back, and nothing is claimed ahead until tasks are known to be quick again', () => {
  const { clock, ahead, back, round } = world();
  for (let i = 0; i < 30; i++) round(20, 20, 0.05);
  const runs = [{ started: true }, { started: true }] as unknown as Run[];
  for (const run of runs) ahead.add(run);
  clock.tick(20);
  expect(back).toEqual([]);
  clock.tick(10);
  expect(back).toEqual(runs);
  expect([ahead.size, ahead.room]).toEqual([0, 0]);
});

test('one that is ended otherwise leaves; the others keep their order', () => {
  const { ahead } = world();
  const runs = [1, 2, 3].map((i) => ({ i })) as unknown as Run[];
  for (const run of runs) ahead.add(run);
  ahead.remove(runs[1] as Run);
  expect([...ahead]).toEqual([runs[0], runs[2]]);
  expect([ahead.shift(), ahead.shift(), ahead.shift()]).toEqual([runs[0], runs[2], undefined]);
});

test('with a prefetch so many are wanted in any case; unstarted ones stay, for whoever has room may take them', () => {
  const { clock, ahead, back } = world(250, 8);
  expect([ahead.room, ahead.quick]).toEqual([8, 0]);
  const started = { started: true } as unknown as Run;
  const unstarted = { started: false } as unknown as Run;
  ahead.add(unstarted);
  ahead.add(started);
  clock.tick(1_000);
  expect([back, [...ahead]]).toEqual([[started], [unstarted]]);
});
