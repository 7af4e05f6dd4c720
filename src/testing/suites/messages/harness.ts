import assert from 'node:assert/strict';
import type {
  Delivery,
  MailboxSettings,
  Membership,
  MessageCounts,
  MessageTransport,
  NewMessage,
  PublishResult,
} from '../../../core/ports/messages.ts';
import { type Caller, openCaller, withEnvironment } from '../caller.ts';
import type { SuiteEnvironment, SuiteOptions } from '../suite.ts';

export const ROOMY: MailboxSettings = { maxLength: 1_000, overflow: 'refuse' };

/** What a test says of a message; the rest is filled in. */
export type Spec = Partial<NewMessage> & Pick<NewMessage, 'id'>;

type How =
  | { readonly as: 'ack' | 'release' | 'drop' }
  | { readonly as: 'retry'; readonly delayMs: number }
  | { readonly as: 'bury'; readonly reason: string };

/** A transport under test, used as one process. */
export class MessageHarness {
  readonly env: SuiteEnvironment;
  readonly store: MessageTransport;
  readonly caller: Caller;

  constructor(env: SuiteEnvironment, store: MessageTransport, caller: Caller) {
    this.env = env;
    this.store = store;
    this.caller = caller;
  }

  /** Another process on the same backend. */
  async other(boot: string, leaseMs?: number): Promise<MessageHarness> {
    return new MessageHarness(this.env, this.store, await openCaller(this.env, boot, leaseMs));
  }

  async join(address: string, membership: Partial<Membership> = {}): Promise<void> {
    await this.store.subscribe(this.caller.op(), [
      { address, topics: [], listening: true, mailbox: ROOMY, keepMs: 60_000, ...membership },
    ]);
  }

  async publish(...specs: readonly Spec[]): Promise<readonly PublishResult[]> {
    const { results } = await this.store.publish(
      this.caller.op(),
      specs.map((spec) => newMessage(spec)),
      ROOMY,
    );
    assert.equal(results.length, specs.length);
    return results;
  }

  async receive(
    address: string,
    options: { readonly limit?: number; readonly ackWithinMs?: number; readonly onePerKey?: boolean } = {},
  ): Promise<readonly Delivery[]> {
    const { limit = 100, ackWithinMs = 60_000, onePerKey = false } = options;
    const { deliveries } = await this.store.receive(this.caller.op(), {
      addresses: [{ address, limit, onePerKey }],
      ackWithinMs,
    });
    assert.ok(deliveries.length <= limit);
    for (const delivery of deliveries) assert.equal(delivery.address, address);
    return deliveries;
  }

  /** Receives and names the messages, without settling them. */
  async ids(
    address: string,
    options: { readonly limit?: number; readonly onePerKey?: boolean } = {},
  ): Promise<string[]> {
    return idsOf(await this.receive(address, options));
  }

  /** Receives, acknowledges and names the messages. */
  async take(address: string, limit?: number): Promise<string[]> {
    const deliveries = await this.receive(address, limit === undefined ? {} : { limit });
    await this.settle(deliveries, { as: 'ack' });
    return idsOf(deliveries);
  }

  /** Settles all alike, and asserts that all were current. */
  async settle(deliveries: readonly Delivery[], how: How): Promise<void> {
    assert.deepEqual(
      await this.settled(deliveries, how),
      deliveries.map(() => true),
    );
  }

  async settled(deliveries: readonly Delivery[], how: How): Promise<readonly boolean[]> {
    if (deliveries.length === 0) return [];
    const items = deliveries.map((delivery) => ({ delivery, ...how }));
    return (await this.store.settle(this.caller.op(), items)).settled;
  }

  async totals(): Promise<MessageCounts> {
    return (await this.store.list({}, { limit: 1 })).totals;
  }

  /** Asserts the counters that are named, that the others are 0, and that everything published is somewhere (M0, M1). */
  async assertTotals(expected: Partial<MessageCounts>): Promise<void> {
    const totals = await this.totals();
    const zero = { published: 0, delivered: 0, dropped: 0, expired: 0, dead: 0, waiting: 0, handling: 0 };
    assert.deepEqual(totals, { ...zero, ...expected });
    const { published, delivered, dropped, expired, dead, waiting, handling } = totals;
    assert.equal(published, delivered + dropped + expired + dead + waiting + handling);
  }
}

export function newMessage(spec: Spec): NewMessage {
  const from = spec.from ?? 'sender';
  return {
    dedupe: false,
    class: 'm1',
    from,
    to: 'receiver',
    topic: false,
    orderKey: from,
    n: 0,
    payload: { id: spec.id },
    priority: 2,
    expiresInMs: undefined,
    replyTo: undefined,
    correlation: undefined,
    ...spec,
  };
}

export function idsOf(deliveries: readonly Delivery[]): string[] {
  return deliveries.map(({ message }) => message.id);
}

export type MessageTest = (name: string, body: (harness: MessageHarness) => Promise<void>) => void;

/** Registers tests that each get a transport of their own. */
export function messageTest(options: SuiteOptions): MessageTest {
  return (name, body) =>
    options.test(`messages: ${name}`, () =>
      withEnvironment(options.create, async (env) => {
        const { messages } = env.backend;
        assert.ok(messages !== undefined, 'the backend has messages');
        await body(new MessageHarness(env, messages, await openCaller(env)));
      }),
    );
}
