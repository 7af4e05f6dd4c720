import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterEach, describe, expect, inject, test } from 'vitest';
import type { RedisStore } from '../../src/backends/redis/connection.ts';
import { RedisMessageTransport } from '../../src/backends/redis/messages/redis-message-transport.ts';
import { createRedis } from '../../src/backends/redis/redis.ts';
import type {
  Delivery,
  MailboxSettings,
  Membership,
  MessageCounts,
  MessageSettlement,
  MessageTransport,
  NewMessage,
} from '../../src/core/ports/messages.ts';
import type { Operation, SessionNumber } from '../../src/core/ports/words.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { REPORT } from '../../src/testing/suites/caller.ts';
import { newMessage } from '../../src/testing/suites/messages/harness.ts';
import { startRedis } from '../support/servers/redis-server.ts';

const ROOMY: MailboxSettings = { maxLength: 100_000, overflow: 'refuse' };

/** A process of its own on a real server: its own connections, its own session. */
class Client {
  readonly transport: MessageTransport;
  readonly session: SessionNumber;
  readonly stop: () => Promise<void>;
  #sequence = 0;

  constructor(transport: MessageTransport, session: SessionNumber, stop: () => Promise<void>) {
    this.transport = transport;
    this.session = session;
    this.stop = stop;
  }

  op(): Operation {
    this.#sequence += 1;
    return { session: this.session, sequence: this.#sequence };
  }

  async join(address: string, membership: Partial<Membership> = {}): Promise<void> {
    await this.transport.subscribe(this.op(), [
      { address, topics: [], listening: true, mailbox: ROOMY, keepMs: 60_000, ...membership },
    ]);
  }

  publish(messages: readonly NewMessage[]): ReturnType<typeof publishAgain> {
    return publishAgain(this, this.op(), messages);
  }

  async receive(address: string, limit = 50, ackWithinMs = 60_000): Promise<readonly Delivery[]> {
    const addresses = [{ address, limit }];
    const op = this.op();
    return (await again(async () => this.transport.receive(op, { addresses, ackWithinMs }))).deliveries;
  }

  async settle(items: readonly MessageSettlement[]): Promise<readonly boolean[]> {
    return items.length === 0 ? [] : (await this.answered(items)).settled;
  }

  /** What settling them is answered with: several processes tell their order by its time, for answers may cross. */
  answered(items: readonly MessageSettlement[]): Promise<Awaited<ReturnType<MessageTransport['settle']>>> {
    const op = this.op();
    return again(async () => this.transport.settle(op, items));
  }

  async ack(deliveries: readonly Delivery[]): Promise<void> {
    const settled = await this.settle(deliveries.map((delivery) => ({ delivery, as: 'ack' })));
    expect(settled.every(Boolean)).toBe(true);
  }

  async totals(): Promise<MessageCounts> {
    return (await again(async () => this.transport.list({}, { limit: 1 }))).totals;
  }
}

/** The same call with the same operation until it is answered, as core does it. */
async function again<T>(call: () => Promise<T>): Promise<T> {
  for (const end = performance.now() + 20_000; ; ) {
    try {
      return await call();
    } catch (error) {
      const { code } = error as { readonly code?: string };
      if ((code !== 'OUTCOME_UNKNOWN' && code !== 'BACKEND_UNAVAILABLE') || performance.now() > end)
        throw error;
      await sleep(20);
    }
  }
}

function publishAgain(
  { transport }: Client,
  op: Operation,
  messages: readonly NewMessage[],
): Promise<Awaited<ReturnType<MessageTransport['publish']>>> {
  return again(async () => transport.publish(op, messages, ROOMY));
}

/** Processes on one mesh; ended after the test. */
class Mesh {
  readonly url: string;
  readonly name: string = randomBytes(6).toString('hex');
  readonly #clients: Client[] = [];

  constructor(url: string = inject('redisUrl')) {
    this.url = url;
  }

  async client(
    leaseMs = 60_000,
    wrap: (store: RedisStore) => RedisStore = (store) => store,
  ): Promise<Client> {
    const runtime = createRuntime();
    const backend = createRedis(
      { url: this.url, prefix: 'agentmesh-test', mesh: this.name },
      { ports: (store) => ({ messages: new RedisMessageTransport(wrap(store)) }) },
    );
    await backend.start(runtime);
    const { session } = await backend.sessions.open({
      boot: runtime.ids.next(),
      leaseMs,
      writer: 1,
      report: REPORT,
    });
    const client = new Client(backend.messages, session, () => backend.stop());
    this.#clients.push(client);
    return client;
  }

  /** Keys of messages. */
  async keys(): Promise<string[]> {
    const redis = new Redis(this.url);
    try {
      const prefix = `agentmesh-test:{${this.name}}:`;
      return (await redis.keys(`agentmesh-test:{${this.name}}:m:*`))
        .map((key) => key.slice(prefix.length))
        .toSorted();
    } finally {
      redis.disconnect();
    }
  }

  async end(): Promise<void> {
    for (const client of this.#clients) await client.stop();
    const redis = new Redis(this.url);
    const keys = await redis.keys(`agentmesh-test:{${this.name}}:*`);
    if (keys.length > 0) await redis.unlink(...keys);
    redis.disconnect();
  }
}

function checkSum({ published, delivered, dropped, expired, dead, waiting, handling }: MessageCounts): void {
  expect(delivered + dropped + expired + dead + waiting + handling, 'M0, M1: everything is somewhere').toBe(
    published,
  );
}

function letters(count: number, spec: (index: number) => Partial<NewMessage>): NewMessage[] {
  return Array.from({ length: count }, (_, index) => newMessage({ id: `m${index}`, ...spec(index) }));
}

describe('several processes on one server', () => {
  let mesh: Mesh;
  afterEach(() => mesh.end());

  test('M1: what a receiver had when its session ran out is handed to another, in order, and its late acknowledgement refused', async () => {
    mesh = new Mesh();
    const [sender, dying, heir] = [await mesh.client(), await mesh.client(700), await mesh.client()];
    await dying.join('r');
    await sender.publish(letters(40, () => ({ to: 'r' })));
    const late = await dying.receive('r', 25);
    expect(late.length).toBe(25);
    await heir.join('r');
    expect(await heir.receive('r'), 'nothing of this order key while another has some of it').toEqual([]);
    await sleep(800);
    const taken = await heir.receive('r', 100);
    expect(taken.map(({ message, delivery }) => [message.id, delivery])).toEqual(
      Array.from({ length: 40 }, (_, index) => [`m${index}`, index < 25 ? 2 : 1]),
    );
    expect(await dying.settle(late.map((delivery) => ({ delivery, as: 'ack' })))).not.toContain(true);
    await heir.ack(taken);
    expect(await sender.totals()).toMatchObject({ published: 40, delivered: 40, waiting: 0, handling: 0 });
  });

  test('M1: order per pair holds and nothing is lost or doubled under random retries, releases and deaths', async () => {
    mesh = new Mesh();
    const random = createRandom(`chaos ${process.env['FC_SEED']}`);
    const senders = ['s0', 's1', 's2', 's3'];
    const each = 60;
    const publisher = await mesh.client();
    const acked = new Map<string, { at: number; payload: unknown }[]>(senders.map((from) => [from, []]));
    let redelivered = 0;
    let deaths = 0;
    const sent = (async () => {
      for (let n = 0; n < each; n += 5) {
        const batch = senders.flatMap((from) =>
          letters(5, (index) => ({ id: `${from}:${n + index}`, to: 'r', from, payload: n + index })),
        );
        await publisher.publish(batch);
      }
    })();
    const done = (): boolean => [...acked.values()].every((list) => list.length === each);
    const receive = async (number: number): Promise<void> => {
      let client = await mesh.client();
      await client.join('r');
      for (const end = performance.now() + 45_000; !done() && performance.now() < end; ) {
        const deliveries = await client.receive('r', 1 + Math.floor(random.next() * 8), 400);
        redelivered += deliveries.filter(({ delivery }) => delivery > 1).length;
        if (number < 2 && deliveries.length > 0 && deaths < 6 && random.next() < 0.1) {
          // Dies with these in hand: nobody settles them.
          deaths += 1;
          await client.stop();
          client = await mesh.client();
          await client.join('r');
          continue;
        }
        const items: MessageSettlement[] = [];
        const stopped = new Set<string>();
        for (const delivery of deliveries) {
          const { orderKey } = delivery.message;
          const fate = random.next();
          if (stopped.has(orderKey)) items.push({ delivery, as: 'release' });
          else if (fate < 0.7) items.push({ delivery, as: 'ack' });
          else {
            stopped.add(orderKey);
            items.push(
              fate < 0.85
                ? { delivery, as: 'retry', delayMs: fate < 0.8 ? 0 : 30 }
                : { delivery, as: 'release' },
            );
          }
        }
        if (items.length === 0) {
          await sleep(5);
          continue;
        }
        const { at, settled } = await client.answered(items);
        items.forEach(({ delivery, as }, index) => {
          if (as !== 'ack' || settled[index] !== true) return;
          const { from, payload } = (delivery as Delivery).message;
          acked.get(from)?.push({ at, payload });
        });
      }
    };
    await Promise.all([sent, ...[0, 1, 2].map(receive)]);
    const inOrder = Array.from({ length: each }, (_, index) => index);
    for (const from of senders) {
      const order = acked.get(from)?.toSorted((a, b) => a.at - b.at);
      expect(
        order?.map(({ payload }) => payload),
        `seed ${process.env['FC_SEED']}`,
      ).toEqual(inOrder);
    }
    expect(redelivered).toBeGreaterThan(20);
    expect(await publisher.totals()).toMatchObject({
      published: 240,
      delivered: 240,
      waiting: 0,
      handling: 0,
    });
  });

  test('M0, M1: counts are exact at every moment while four publish and four receive', async () => {
    mesh = new Mesh();
    const watcher = await mesh.client();
    const groups = [{ topic: 'jobs', group: 'workers' }];
    const receivers = await Promise.all([0, 1, 2, 3].map(() => mesh.client()));
    for (const [index, receiver] of receivers.entries())
      await receiver.join(`r${index}`, {
        topics: groups,
        mailbox: { maxLength: 300, overflow: 'drop-oldest' },
      });
    let publishing = 4;
    const publish = async (number: number): Promise<void> => {
      const client = await mesh.client();
      for (let n = 0; n < 20; n++) {
        const batch = letters(25, (index) => ({
          from: `s${number}`,
          id: `${number}:${n}:${index}`,
          class: index % 5 === 0 ? 'm0' : 'm1',
          ...(index % 3 === 0 ? { to: 'jobs', topic: true } : { to: `r${index % 4}` }),
          ...(index % 7 === 0 ? { expiresInMs: 5 } : {}),
        }));
        await client.publish(batch);
      }
      publishing -= 1;
    };
    const got = new Map<string, number>();
    const shared = [0, 0, 0, 0];
    const receive = async (client: Client, index: number): Promise<void> => {
      for (let empty = 0; empty < 3 || publishing > 0; ) {
        const deliveries = await client.receive(`r${index}`, 20);
        empty = deliveries.length === 0 ? empty + 1 : 0;
        const handled = deliveries.filter(({ message }) => message.class === 'm1');
        for (const { message } of deliveries) {
          const key = `${message.topic} ${message.id}`;
          got.set(key, (got.get(key) ?? 0) + 1);
          if (message.topic) shared[index] = (shared[index] ?? 0) + 1;
        }
        await client.settle(handled.map((delivery, at) => ({ delivery, as: at % 9 === 8 ? 'drop' : 'ack' })));
      }
    };
    let looks = 0;
    const watch = async (): Promise<void> => {
      while (publishing > 0) {
        checkSum(await watcher.totals());
        looks += 1;
      }
    };
    await Promise.all([...[0, 1, 2, 3].map(publish), ...receivers.map(receive), watch()]);
    await watcher.transport.sweep(watcher.op(), 100);
    const totals = await watcher.totals();
    checkSum(totals);
    expect(looks).toBeGreaterThan(5);
    // 680 topic copies, one a group; the rest direct.
    expect(totals).toMatchObject({ published: 2_000, waiting: 0, handling: 0 });
    expect(
      [...got.values()].every((times) => times === 1),
      'nothing twice',
    ).toBe(true);
    expect(shared.filter((count) => count > 0).length, 'members of a group share').toBeGreaterThan(1);
  });

  test('M3: a fan-out larger than a script reaches each member once and in order, though its sender dies in the middle', async () => {
    mesh = new Mesh();
    const [members, other] = [await mesh.client(), await mesh.client()];
    const count = 700;
    const names = Array.from({ length: count }, (_, index) => `member ${index}`);
    await members.transport.subscribe(
      members.op(),
      names.map((address) => ({
        address,
        topics: [{ topic: 'news' }],
        listening: true,
        mailbox: ROOMY,
        keepMs: 60_000,
      })),
    );
    let calls = 0;
    const dying = await mesh.client(60_000, (store) => {
      const cut = Object.create(store) as RedisStore;
      cut.run = (...call: Parameters<RedisStore['run']>) => {
        calls += 1;
        return calls > 1 ? Promise.reject(new Error('dead')) : store.run(...call);
      };
      return cut;
    });
    const [first, second] = letters(2, () => ({ to: 'news', topic: true, payload: 'z'.repeat(500) })) as [
      NewMessage,
      NewMessage,
    ];
    await expect(dying.transport.publish(dying.op(), [first], ROOMY)).rejects.toThrow('dead');
    expect(calls).toBe(2);
    const { results } = await other.publish([second]);
    expect(results).toEqual([{ status: 'published', receivers: count }]);
    for (let at = 0; at < count; at += 50) {
      const addresses = names.slice(at, at + 50).map((address) => ({ address, limit: 5 }));
      const { deliveries } = await members.transport.receive(members.op(), {
        addresses,
        ackWithinMs: 60_000,
      });
      expect(deliveries.map(({ address, message }) => [address, message.id])).toEqual(
        addresses.flatMap(({ address }) => [
          [address, 'm0'],
          [address, 'm1'],
        ]),
      );
      await members.ack(deliveries);
    }
    const totals = await other.totals();
    checkSum(totals);
    expect(totals).toMatchObject({ published: 2 * count, delivered: 2 * count });
    expect(
      (await mesh.keys()).filter((key) => /^m:(B|d|w|h|f|k|l):/.test(key)),
      'no text is left',
    ).toEqual([]);
  });

  test('batches beyond a script are carried out once, in order, under one operation', async () => {
    mesh = new Mesh();
    const client = await mesh.client();
    await client.join('r');
    const op = client.op();
    const batch = letters(700, (index) => ({ to: 'r', id: `m${index}` }));
    const first = await publishAgain(client, op, batch);
    expect(await publishAgain(client, op, batch)).toEqual(first);
    const deliveries: Delivery[] = [];
    while (deliveries.length < 700) deliveries.push(...(await client.receive('r', 1_000)));
    expect(deliveries.map(({ message }) => message.id)).toEqual(batch.map(({ id }) => id));
    const settle = client.op();
    const items = deliveries.map((delivery) => ({ delivery, as: 'ack' as const }));
    const answer = await client.transport.settle(settle, items);
    expect(answer.settled).toEqual(items.map(() => true));
    expect(await client.transport.settle(settle, items)).toEqual(answer);
    expect(await client.totals()).toMatchObject({ published: 700, delivered: 700 });
  });

  test('leaving drops what waits and what is in hand, however much that is, and nothing is left', async () => {
    mesh = new Mesh();
    const client = await mesh.client();
    await client.join('r', { topics: [{ topic: 'jobs', group: 'workers' }] });
    for (let n = 0; n < 3; n++)
      await client.publish(
        letters(250, (index) => ({ to: 'r', from: `s${index % 7}`, id: `${n}:${index}` })),
      );
    await client.publish(letters(300, () => ({ to: 'jobs', topic: true })));
    // The group's mailbox has its turn first.
    await client.ack(await client.receive('r', 250));
    const held = await client.receive('r', 250);
    expect(held.every(({ message }) => !message.topic)).toBe(true);
    const { lost } = await client.transport.subscribe(client.op(), [
      { address: 'r', topics: [], listening: false, mailbox: 'leave', keepMs: 0 },
    ]);
    expect(lost.reduce((sum, { count }) => sum + count, 0)).toBe(800);
    expect(await client.settle(held.map((delivery) => ({ delivery, as: 'ack' })))).not.toContain(true);
    const totals = await client.totals();
    checkSum(totals);
    expect(totals).toMatchObject({ published: 1_050, delivered: 250, dropped: 800, waiting: 0, handling: 0 });
    await client.transport.sweep(client.op(), 100);
    expect(await mesh.keys()).toEqual(['m:c', 'm:x']);
  });

  test('keys are gone when everything is settled and everybody has left', async () => {
    mesh = new Mesh();
    const [a, b] = [await mesh.client(), await mesh.client()];
    await a.join('a', { topics: [{ topic: 'news' }, { topic: 'jobs', group: 'g' }] });
    await b.join('b', { topics: [{ topic: 'news' }, { topic: 'jobs', group: 'g' }] });
    const specs = (index: number): Partial<NewMessage> => ({
      from: `s${index % 40}`,
      payload: 'x'.repeat(index * 10),
      expiresInMs: index % 2 === 0 ? 60_000 : undefined,
      ...(index % 3 === 0
        ? { to: 'news', topic: true }
        : index % 3 === 1
          ? { to: 'jobs', topic: true }
          : { to: 'a' }),
    });
    await a.publish([...letters(200, specs), ...letters(20, () => ({ to: 'stranger', expiresInMs: 1 }))]);
    const [mine, theirs] = [await a.receive('a', 250), await b.receive('b', 250)];
    await a.settle(
      mine.map((delivery, index) => ({ delivery, as: index % 5 === 0 ? 'retry' : 'ack', delayMs: 0 })),
    );
    await b.ack(theirs);
    await a.ack(await a.receive('a', 250));
    await b.ack(await b.receive('b', 250));
    const leaving = { topics: [], listening: false, mailbox: 'leave', keepMs: 0 } as const;
    await a.transport.subscribe(a.op(), [{ ...leaving, address: 'a' }]);
    await b.transport.subscribe(b.op(), [{ ...leaving, address: 'b' }]);
    await sleep(5);
    await a.transport.sweep(a.op(), 100);
    const totals = await a.totals();
    checkSum(totals);
    expect(totals).toMatchObject({ waiting: 0, handling: 0, expired: 20 });
    expect(await mesh.keys()).toEqual(['m:c', 'm:x']);
  });
});

describe('a server that is killed', () => {
  test('T1, M1: with appendfsync always nothing acknowledged is lost or doubled over kill -9 and restart', async () => {
    const server = await startRedis({ durable: true });
    const mesh = new Mesh(server.url);
    try {
      const [sender, receiver] = [await mesh.client(), await mesh.client()];
      await receiver.join('r', { mailbox: ROOMY });
      const acknowledged: string[] = [];
      const got: string[] = [];
      let publishing = true;
      const publish = async (): Promise<void> => {
        for (let n = 0; n < 60; n++) {
          const batch = letters(10, (index) => ({ to: 'r', id: `${n}:${index}` }));
          await sender.publish(batch);
          acknowledged.push(...batch.map(({ id }) => id));
        }
        publishing = false;
      };
      const receive = async (): Promise<void> => {
        for (const end = performance.now() + 60_000; performance.now() < end; ) {
          const deliveries = await receiver.receive('r', 30);
          const settled = await receiver.settle(deliveries.map((delivery) => ({ delivery, as: 'ack' })));
          deliveries.forEach(({ message }, index) => {
            if (settled[index] === true) got.push(message.id);
          });
          if (deliveries.length === 0 && !publishing) return;
        }
      };
      const kill = async (): Promise<number> => {
        let kills = 0;
        while (publishing && kills < 4) {
          await sleep(60);
          await server.kill9();
          await server.start();
          kills += 1;
        }
        return kills;
      };
      const [, , kills] = await Promise.all([publish(), receive(), kill()]);
      expect(kills).toBeGreaterThan(0);
      expect(got, 'each once, in the order in which they were sent').toEqual(acknowledged);
      const totals = await sender.totals();
      checkSum(totals);
      expect(totals).toMatchObject({ published: 600, delivered: 600, waiting: 0, handling: 0 });
      await mesh.end();
    } finally {
      await server.stop();
    }
  }, 90_000);
});
