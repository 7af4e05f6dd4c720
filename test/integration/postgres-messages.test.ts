import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { expect, inject, test } from 'vitest';
import { postgres } from '../../src/backends/postgres/postgres.ts';
import type { Hint } from '../../src/core/ports/backend.ts';
import type {
  Delivery,
  MailboxSettings,
  Membership,
  MessageSettlement,
  NewMessage,
} from '../../src/core/ports/messages.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { REPORT } from '../../src/testing/suites/caller.ts';
import { newMessage } from '../../src/testing/suites/messages/harness.ts';
import { cutOff, LONG_MS, mesh, open, Peer } from '../support/postgres-peers.ts';
import { scratchSchema, sql } from '../support/postgres-scratch.ts';

/** Names its sender and its place among those of this sender. */
function numbered(from: string, n: number, more: Partial<NewMessage> = {}): NewMessage {
  return newMessage({ id: `${from}-${n}`, from, to: 'r', payload: { from, n }, ...more });
}

function numberOf({ message }: Delivery): { readonly from: string; readonly n: number } {
  return message.payload as { readonly from: string; readonly n: number };
}

test('M1: what a killed process had in hand is handed over, in order, when its session is over', async () => {
  const { sender, heir, boot, schema } = await mesh('sender', 'heir');
  const victim = await boot('victim', 800);
  await victim.join('r');
  await heir.join('r');
  await sender.publish(Array.from({ length: 60 }, (_, n) => numbered('s', n)));
  const held = await victim.receive('r', 25);
  expect(held).toHaveLength(25);
  expect(await cutOff(schema, 'victim')).toBeGreaterThan(0);
  expect(await heir.receive('r'), 'nothing overtakes what the victim holds').toEqual([]);
  await sleep(900);
  const taken = await heir.receive('r');
  expect(taken.map(numberOf).map(({ n }) => n)).toEqual(Array.from({ length: 60 }, (_, n) => n));
  expect(taken.map(({ delivery }) => delivery)).toEqual([...Array(25).fill(2), ...Array(35).fill(1)]);
  // It comes back, too late: its session is over, and what it settles isn't current.
  const late = await victim.backend.messages.settle(
    victim.next(),
    held.map((delivery) => ({ delivery, as: 'ack' })),
  );
  expect(late.settled).toEqual(held.map(() => false));
  expect(await heir.settle(taken.map((delivery) => ({ delivery, as: 'ack' })))).toEqual(
    taken.map(() => true),
  );
  expect(await sender.totals()).toMatchObject({ published: 60, delivered: 60, waiting: 0, handling: 0 });
});

test('M1: while connections are cut again and again, nothing is lost, counted twice or out of order', async () => {
  const { sender, first, second, schema } = await mesh('sender', 'first', 'second');
  const random = createRandom('cuts');
  const total = 400;
  await first.join('r');
  await second.join('r');
  const acked: string[] = [];
  let sent = 0;
  let done = false;
  const send = async (): Promise<void> => {
    while (sent < total) {
      const batch = Array.from({ length: 8 }, () => numbered(`s${sent % 3}`, sent++));
      await sender.publish(batch);
    }
  };
  const take = async (peer: Peer): Promise<void> => {
    while (acked.length < total) {
      const deliveries = await peer.receive('r', 7);
      const settled = await peer.settle(deliveries.map((delivery) => ({ delivery, as: 'ack' })));
      deliveries.forEach((delivery, i) => {
        if (settled[i] === true) acked.push(delivery.message.id);
      });
      if (deliveries.length === 0) await sleep(2);
    }
  };
  const cut = async (): Promise<void> => {
    while (!done) {
      await cutOff(schema, ['sender', 'first', 'second'][Math.floor(random.next() * 3)] as string);
      await sleep(15);
    }
  };
  const cutting = cut();
  await Promise.all([send(), take(first), take(second)]).finally(() => {
    done = true;
  });
  await cutting;
  expect(sender.repeated + first.repeated + second.repeated, 'calls that were cut').toBeGreaterThan(3);
  expect(new Set(acked).size, 'acknowledged once each').toBe(acked.length);
  expect(await sender.totals()).toEqual({
    published: total,
    delivered: total,
    dropped: 0,
    expired: 0,
    dead: 0,
    waiting: 0,
    handling: 0,
  });
});

test('M1: two processes share an address; each sender’s messages are done in order, whatever is given back', async () => {
  const { sender, first, second } = await mesh('sender', 'first', 'second');
  const random = createRandom('order');
  await first.join('r');
  await second.join('r');
  const senders = ['a', 'b', 'c', 'd', 'e'];
  const each = 40;
  const done = new Map<string, number[]>(senders.map((from) => [from, []]));
  const holding = new Map<string, string>();
  const redelivered = new Set<string>();
  let left = senders.length * each;
  const send = async (): Promise<void> => {
    for (let n = 0; n < each; n += 4)
      await sender.publish(
        senders.flatMap((from) =>
          [0, 1, 2, 3].map((i) => numbered(from, n + i, { priority: 1 + ((n + i) % 3) })),
        ),
      );
  };
  const take = async (peer: Peer): Promise<void> => {
    while (left > 0) {
      const deliveries = await peer.receive('r', 1 + Math.floor(random.next() * 9));
      for (const delivery of deliveries) {
        const { from } = numberOf(delivery);
        expect(holding.get(from) ?? peer.name, `${from} in one hand at a time`).toBe(peer.name);
        holding.set(from, peer.name);
        if (delivery.delivery > 1) redelivered.add(delivery.message.id);
      }
      for (const from of senders) {
        const numbers = deliveries
          .map(numberOf)
          .filter((one) => one.from === from)
          .map(({ n }) => n);
        expect(numbers, 'in order within an answer').toEqual(numbers.toSorted((a, b) => a - b));
      }
      await sleep(random.next() * 4);
      const items = deliveries.map((delivery): MessageSettlement => {
        const chance = random.next();
        if (chance < 0.6) return { delivery, as: 'ack' };
        if (chance < 0.8) return { delivery, as: 'release' };
        return { delivery, as: 'retry', delayMs: chance < 0.9 ? 0 : 3 };
      });
      // From the moment the answer is under way another may hold them.
      for (const { from } of deliveries.map(numberOf)) holding.delete(from);
      for (const item of items) {
        if (item.as !== 'ack') continue;
        const { from, n } = numberOf(item.delivery as Delivery);
        done.get(from)?.push(n);
        left -= 1;
      }
      expect(await peer.settle(items)).toEqual(items.map(() => true));
      if (deliveries.length === 0) await sleep(2);
    }
  };
  await Promise.all([send(), take(first), take(second)]);
  for (const [from, numbers] of done)
    expect(
      numbers.toSorted((a, b) => a - b),
      `all of ${from}, once`,
    ).toEqual(Array.from({ length: each }, (_, n) => n));
  expect(redelivered.size).toBeGreaterThan(20);
  expect(await sender.totals()).toMatchObject({ published: 200, delivered: 200, waiting: 0, handling: 0 });
});

test('M0, M1, M3: everything published is somewhere at every moment, while four send and four receive', async () => {
  const world = await mesh('s0', 's1', 's2', 's3', 'r0', 'r1', 'r2', 'r3', 'watcher');
  const senders = [world.s0, world.s1, world.s2, world.s3];
  const receivers = [world.r0, world.r1, world.r2, world.r3];
  const topics: Membership['topics'] = [{ topic: 'news' }, { topic: 'jobs', group: 'workers' }];
  const mailbox = (i: number): MailboxSettings => ({
    maxLength: 30,
    overflow: (['refuse', 'drop-oldest', 'drop-newest'] as const)[i % 3] as MailboxSettings['overflow'],
  });
  for (const [i, peer] of receivers.entries())
    await peer.join(`r${i % 2}`, { topics, mailbox: mailbox(i % 2), keepMs: 0 });
  const random = createRandom('counts');
  const until = performance.now() + 4_000;
  const order = new Map<string, number>();
  let looked = 0;
  let messages = 0;
  const send = async (peer: Peer): Promise<void> => {
    while (performance.now() < until) {
      const batch = Array.from({ length: 1 + Math.floor(random.next() * 10) }, (): NewMessage => {
        messages += 1;
        const to = ['r0', 'r1', 'news', 'jobs'][Math.floor(random.next() * 4)] as string;
        const topic = to === 'news' || to === 'jobs';
        const chance = random.next();
        return numbered(peer.name, messages, {
          to,
          topic,
          class: chance < 0.2 ? 'm0' : 'm1',
          expiresInMs: chance > 0.8 ? 20 : undefined,
        });
      });
      await peer.publish(batch, mailbox(0));
    }
  };
  const receive = async (peer: Peer, address: string): Promise<void> => {
    while (performance.now() < until) {
      const deliveries = await peer.receive(address, 20);
      const items = deliveries.map((delivery): MessageSettlement => {
        const as = ['ack', 'ack', 'ack', 'release', 'bury', 'drop'][Math.floor(random.next() * 6)];
        return { delivery, as, reason: 'test' } as MessageSettlement;
      });
      await peer.settle(items.filter(({ delivery }) => (delivery as Delivery).message.class === 'm1'));
      if (random.next() < 0.05) {
        // Comes and goes, with what it holds.
        await peer.receive(address, 5);
        await peer.leave(address);
        await peer.join(address, { topics, mailbox: mailbox(address === 'r0' ? 0 : 1), keepMs: 0 });
      }
    }
  };
  const watch = async (): Promise<void> => {
    while (performance.now() < until) {
      const { published, delivered, dropped, expired, dead, waiting, handling } =
        await world.watcher.totals();
      expect(delivered + dropped + expired + dead + waiting + handling).toBe(published);
      for (const [name, count] of Object.entries({ published, delivered, expired })) {
        expect(count, `${name} only grows`).toBeGreaterThanOrEqual(order.get(name) ?? 0);
        order.set(name, count);
      }
      looked += 1;
      await world.watcher.call((op) => world.watcher.backend.messages.sweep(op, 100));
      await world.watcher.call((op) =>
        world.watcher.backend.messages.revise(op, {
          set: looked % 2 === 0 ? 'redrive' : 'discard',
          limit: 50,
        }),
      );
    }
  };
  await Promise.all([
    ...senders.map(send),
    ...receivers.map((peer, i) => receive(peer, `r${i % 2}`)),
    watch(),
  ]);
  expect(looked).toBeGreaterThan(10);
  expect(messages).toBeGreaterThan(200);
  const totals = await world.watcher.totals();
  for (const name of ['delivered', 'dropped', 'expired'] as const)
    expect(totals[name], name).toBeGreaterThan(0);
  // What the rows say is what the counters say.
  const [rows] = await sql<{ letters: number; held: number; dead: number; queued: number; inHand: number }>(`
    select (select count(*)::int from ${world.schema}.message_letters) as letters,
      (select coalesce(sum(cardinality(seqs)), 0)::int from ${world.schema}.message_flights) as held,
      (select count(*)::int from ${world.schema}.message_dead) as dead,
      (select coalesce(sum(queued), 0)::int from ${world.schema}.message_lanes) as queued,
      (select coalesce(sum(held), 0)::int from ${world.schema}.message_lanes) as "inHand"`);
  expect(rows).toEqual({
    letters: totals.waiting + totals.handling,
    held: totals.handling,
    dead: totals.dead,
    queued: totals.waiting,
    inHand: totals.handling,
  });
});

test('between order keys the oldest come first, however unevenly long their queues are', async () => {
  const { sender, receiver } = await mesh('sender', 'receiver');
  await receiver.join('r');
  // One key has nearly all, and each of the others one letter now and then.
  const froms = Array.from({ length: 120 }, (_, n) => (n % 12 === 7 ? `rare${n}` : 'busy'));
  await sender.publish(froms.map((from, n) => numbered(from, n)));
  const numbers: number[] = [];
  for (const limit of [30, 1, 50, 100])
    numbers.push(...(await receiver.receive('r', limit)).map((d) => numberOf(d).n));
  expect(numbers).toEqual(froms.map((_, n) => n));
});

test('M1: only who has a delivery in hand settles it', async () => {
  const { sender, holder, other } = await mesh('sender', 'holder', 'other');
  await holder.join('r');
  await other.join('r');
  await sender.publish([numbered('s', 1)]);
  const [delivery] = (await holder.receive('r')) as [Delivery];
  const [box, flight] = delivery.receipt.split('.');
  expect(await other.settle([{ delivery, as: 'ack' }])).toEqual([false]);
  for (const receipt of [
    '',
    'nothing',
    `${box}.${flight}.999`,
    `${box}.0.1`,
    '1e3.1.1',
    `${delivery.receipt}.1`,
  ])
    expect(await holder.settle([{ delivery: { address: 'r', receipt }, as: 'ack' }]), receipt).toEqual([
      false,
    ]);
  expect(
    await holder.settle([
      { delivery, as: 'ack' },
      { delivery, as: 'retry', delayMs: 0 },
    ]),
    'the first settlement of two counts',
  ).toEqual([true, false]);
  expect(await sender.totals()).toMatchObject({ published: 1, delivered: 1, waiting: 0, handling: 0 });
});

test('M1: the members of a group share its messages, each sender’s in order', async () => {
  const { sender, one, two, three } = await mesh('sender', 'one', 'two', 'three');
  const members = [one, two, three];
  for (const peer of members) await peer.join(peer.name, { topics: [{ topic: 'jobs', group: 'workers' }] });
  const total = 240;
  const done: { readonly by: string; readonly from: string; readonly n: number }[] = [];
  const send = async (): Promise<void> => {
    for (let n = 0; n < total; n += 12)
      await sender.publish(
        Array.from({ length: 12 }, (_, i) => numbered(`s${(n + i) % 6}`, n + i, { to: 'jobs', topic: true })),
      );
  };
  const work = async (peer: Peer): Promise<void> => {
    while (done.length < total) {
      const deliveries = await peer.receive(peer.name, 5);
      await sleep(2);
      done.push(...deliveries.map((delivery) => ({ by: peer.name, ...numberOf(delivery) })));
      await peer.settle(deliveries.map((delivery) => ({ delivery, as: 'ack' })));
    }
  };
  await Promise.all([send(), ...members.map(work)]);
  expect(new Set(done.map(({ n }) => n)).size).toBe(total);
  expect(done).toHaveLength(total);
  for (let i = 0; i < 6; i++) {
    const numbers = done.filter(({ from }) => from === `s${i}`).map(({ n }) => n);
    expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
  }
  for (const peer of members)
    expect(done.filter(({ by }) => by === peer.name).length).toBeGreaterThan(total / 20);
});

/** Begins to publish on a connection of the test's own, and leaves the transaction open. */
async function publishSlowly(schema: string, peer: Peer, id: string): Promise<{ commit(): Promise<void> }> {
  const client = new pg.Client({ connectionString: inject('postgresUrl') });
  await client.connect();
  const { session, sequence } = peer.next();
  await client.query('begin');
  await client.query(
    `select ${schema}.message_publish_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 1000, 0::smallint)`,
    [session, sequence, [id], ['slow'], ['r'], [0], ['shared'], [2], [null], ['{}']],
  );
  return {
    commit: async () => {
      await client.query('commit');
      await client.end();
    },
  };
}

test('M1: two that publish to one address at once are stored in the order in which they commit', async () => {
  const { slow, quick, receiver, schema } = await mesh('slow', 'quick', 'receiver');
  await receiver.join('r');
  const transaction = await publishSlowly(schema, slow, 'first');
  const second = quick.publish([newMessage({ id: 'second', to: 'r', orderKey: 'shared' })]);
  const before = await Promise.race([second.then(() => 'stored'), sleep(150).then(() => 'waits')]);
  const elsewhere = await Promise.race([
    receiver.publish([newMessage({ id: 'other', to: 'elsewhere' })]).then(() => 'stored'),
    sleep(2_000).then(() => 'waits'),
  ]);
  await transaction.commit();
  await second;
  expect([before, elsewhere], 'only this address waits').toEqual(['waits', 'stored']);
  expect((await receiver.receive('r')).map(({ message }) => message.id)).toEqual(['first', 'second']);
});

test('a process learns at once of what another sends to an address or a topic, and of what is given back', async () => {
  const schema = scratchSchema();
  const booted = await Promise.all(
    ['sender', 'receiver'].map(async (name, i) => {
      await sleep(i * 300);
      const backend = postgres({ url: inject('postgresUrl'), schema, connections: 2 });
      open.push(backend);
      await backend.start(createRuntime({ random: createRandom(name) }));
      const { session } = await backend.sessions.open({
        boot: name,
        leaseMs: LONG_MS,
        writer: 1,
        report: REPORT,
      });
      return new Peer(backend, name, session);
    }),
  );
  const [sender, receiver] = booted as [Peer, Peer];
  const heard: Hint[] = [];
  receiver.backend.onHint([{ about: 'messages', address: '*' }], (hint) => heard.push(hint));
  const hears = async (address: string): Promise<void> => {
    await expect
      .poll(() => heard.some((hint) => hint.about === 'messages' && hint.address === address), {
        timeout: 3_000,
      })
      .toBe(true);
    heard.length = 0;
  };
  await receiver.join('r', { topics: [{ topic: 'news' }] });
  await receiver.join('g', { topics: [{ topic: 'jobs', group: 'workers' }] });
  await sender.join('r');
  heard.length = 0;
  await sender.publish([numbered('s', 1)]);
  await hears('r');
  const [delivery] = await sender.receive('r');
  await sender.settle([{ delivery: delivery as Delivery, as: 'release' }]);
  await hears('r');
  await sender.publish([numbered('s', 2, { to: 'news', topic: true })]);
  await hears('r');
  await sender.publish([numbered('s', 3, { to: 'jobs', topic: true })]);
  await hears('g');
});

test('plans made while the tables were small stay good: no call reads more rows than it moves', async () => {
  const { peer, schema } = await mesh('peer');
  await peer.join('r');
  // Each connection has plans of its own: all calls go through one.
  const pool = new pg.Pool({ connectionString: inject('postgresUrl'), max: 1 });
  const backend = postgres({ pool, schema, listen: false });
  open.push(backend);
  await backend.start(createRuntime({ random: createRandom('plans') }));
  const { session } = await backend.sessions.open({
    boot: 'here',
    leaseMs: LONG_MS,
    writer: 1,
    report: REPORT,
  });
  const here = new Peer(backend, 'here', session);
  await here.join('r');
  const measured = async (call: () => Promise<unknown>): Promise<Record<string, number>> => {
    await pool.query('begin');
    await call();
    const { rows } = await pool.query<{ name: string; read: number }>(`
      select relname as name, (coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::int as read
      from pg_stat_xact_user_tables where schemaname = '${schema}' and relname like 'message\\_%'`);
    await pool.query('commit');
    return Object.fromEntries(rows.map(({ name, read }) => [name, read]));
  };
  let n = 0;
  const batch = (length: number): NewMessage[] => Array.from({ length }, () => numbered(`s${++n % 50}`, n));
  const calls = {
    publish: () => here.publish(batch(20)),
    'receive and settle': async () => {
      const deliveries = await here.receive('r', 20);
      expect(deliveries).toHaveLength(20);
      await here.settle(deliveries.map((delivery) => ({ delivery, as: 'ack' })));
    },
  };
  // Small tables first, so that plans are made for these.
  for (let i = 0; i < 10; i++) {
    await calls.publish();
    await calls['receive and settle']();
  }
  for (let i = 0; i < 20; i++) await peer.publish(batch(500));
  for (const [name, call] of Object.entries(calls)) {
    const reads = await measured(call);
    for (const [table, read] of Object.entries(reads))
      expect(read, `${name}: rows of ${table}`).toBeLessThan(1_000);
    expect(Object.keys(reads)).toContain('message_letters');
  }
  await backend.stop();
  await pool.end();
});
