import { expect, test } from 'vitest';
import { HintChannel } from '../../src/backends/postgres/hint-channel.ts';
import { HintListeners } from '../../src/core/hint-listeners.ts';
import { createTestRuntime } from '../../src/testing/test-runtime.ts';

async function world() {
  const runtime = createTestRuntime();
  const sent: (readonly [atMs: number, payloads: number])[] = [];
  const from = runtime.clock.mono();
  const channel = new HintChannel({
    runtime,
    listeners: new HintListeners(),
    notify: async (_, payloads) => void sent.push([runtime.clock.mono() - from, payloads.length]),
    connect: undefined,
    commandTimeoutMs: 1_000,
    onState: () => undefined,
  });
  await channel.start('am');
  const say = (queue: string): void => channel.send([{ about: 'tasks', queue }], false);
  return { clock: runtime.clock, channel, sent, say };
}

test('after a pause hints go out at once, those of one turn together; then every 3 ms at most', async () => {
  const { clock, sent, say } = await world();
  say('a');
  say('b');
  await clock.settle();
  expect(sent).toEqual([[0, 1]]);
  for (let ms = 1; ms <= 7; ms++) {
    await clock.advance(1);
    say('a');
  }
  await clock.settle();
  expect(sent.map(([atMs]) => atMs)).toEqual([0, 3, 6]);
  await clock.advance(100);
  say('a');
  await clock.settle();
  expect(sent.map(([atMs]) => atMs)).toEqual([0, 3, 6, 9, 107]);
});

test('a channel that was stopped in between says nothing', async () => {
  const { clock, channel, sent, say } = await world();
  say('a');
  channel.stop();
  await clock.advance(100);
  expect(sent).toEqual([]);
});
