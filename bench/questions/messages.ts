import { promise as fastq } from 'fastq';
import { defineQuestion, type Scale } from '../harness/question.ts';
import { EventBus, MessageRouter } from '../ours.ts';

/** Sends in bites of 1,000 to one receiver; ns from the first send to the last handler, each. */
async function flood(
  scale: Scale,
  send: (payload: { readonly n: number }) => Promise<unknown>,
  received: () => number,
): Promise<number> {
  const run = async (n: number): Promise<void> => {
    const goal = received() + n;
    for (let i = 0; i < n; i += 1_000) {
      const sends: Promise<unknown>[] = [];
      for (let k = i; k < Math.min(n, i + 1_000); k++) sends.push(send({ n: k }));
      await Promise.all(sends);
    }
    for (let turns = 0; received() < goal; turns++) {
      if (turns > 10_000) throw new Error(`only ${received() - goal + n} of ${n} arrived`);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  await run(scale.of(50_000));
  const n = scale.of(500_000);
  const from = performance.now();
  await run(n);
  return ((performance.now() - from) * 1e6) / n;
}

async function ours(scale: Scale, delivery: 'at-least-once' | 'at-most-once'): Promise<number> {
  const router = new MessageRouter({ maxLength: 1_000_000 }, new EventBus());
  let count = 0;
  let last = -1;
  let misordered = 0;
  router.subscribe<{ readonly n: number }>('receiver', (message) => {
    const { n } = message.payload;
    if (n !== last + 1 && n !== 0) misordered += 1;
    last = n;
    count += 1;
  });
  const value = await flood(
    scale,
    (payload) => router.send('sender', 'receiver', payload, { delivery }),
    () => count,
  );
  if (misordered > 0) throw new Error(`${misordered} messages out of order`);
  return value;
}

export const messages = defineQuestion({
  name: 'messages',
  asks: 'what does a message cost, from send to its handler? (one receiver, order kept)',
  metrics: [
    { name: 'at least once', unit: 'ns' },
    { name: 'at most once', unit: 'ns' },
  ],
  contestants: {
    agentmesh: {
      note: 'acknowledged, redelivered, deduplicated, bounded, expiring, events',
      async run(scale) {
        return {
          'at least once': await ours(scale, 'at-least-once'),
          'at most once': await ours(scale, 'at-most-once'),
        };
      },
    },
    'fastq, one at a time': {
      note: 'a queue of one function: no mailbox, ids, expiry, redelivery',
      async run(scale) {
        let count = 0;
        const queue = fastq(async () => {
          count += 1;
        }, 1);
        const value = await flood(
          scale,
          (payload) => queue.push(payload),
          () => count,
        );
        return { 'at least once': value, 'at most once': value };
      },
    },
    'copies each message': {
      async run(scale) {
        let count = 0;
        let tail: Promise<unknown> = Promise.resolve();
        const seen = new Set<string>();
        const value = await flood(
          scale,
          (payload) => {
            const message = structuredClone({ id: crypto.randomUUID(), payload, at: new Date() });
            seen.add(message.id);
            tail = tail.then(() => {
              count += 1;
            });
            return tail;
          },
          () => count,
        );
        return { 'at least once': value };
      },
    },
  },
  control: {
    contestant: 'copies each message',
    metric: 'at least once',
    by: 1.3,
    why: 'structuredClone and a promise chain a message',
  },
  goals: [{ text: '≥ 1 M messages/s to one receiver, order kept', metric: 'at least once', value: 1_000 }],
});
