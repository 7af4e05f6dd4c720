import { andThen, handled, isPromise } from '../core/awaitable.ts';
import { BoundedSet, MOST_DEPARTED } from '../core/bounded-set.ts';
import { checkArray, checkFunction, checkId, checkInteger, invalid } from '../core/check.ts';
import { CoordinationError, describe } from '../core/errors.ts';
import { checkOptions } from '../core/options.ts';
import type { Lost, MailboxSettings } from '../core/ports/messages.ts';
import type { Ids } from '../core/ports/runtime.ts';
import type { Awaitable } from '../core/ports/words.ts';
import { EVERYBODY } from './addresses.ts';
import type { Consumer, Subscriber } from './consumer.ts';
import type { DeliveryPump } from './delivery-pump.ts';
import type { Outbox } from './outbox.ts';
import type { MessageHandler, SubscribeOptions, Subscription } from './types.ts';

const KEYS = ['topics', 'group', 'concurrency', 'maxLength', 'overflow', 'node'] as const;
const OVERFLOWS: readonly unknown[] = ['refuse', 'drop-oldest', 'drop-newest'];

/** What an agent's subscriptions ask for together. */
interface Agent {
  readonly consumer: Consumer;
  readonly subscribers: readonly Subscriber[];
  readonly mailbox: MailboxSettings;
}

/** Who subscribes here: keeps consumers and the store's memberships in step with it, and remembers which agents were removed. */
export class Subscriptions {
  readonly #pump: DeliveryPump;
  readonly #outbox: Outbox;
  readonly #ids: Ids;
  readonly #settings: {
    readonly mailbox: MailboxSettings;
    readonly concurrency: number;
    readonly keepMs: number;
  };
  readonly #agents = new Map<string, Agent>();
  readonly #byTopic = new Map<string, Set<Consumer>>();
  readonly #removed = new BoundedSet<string>(MOST_DEPARTED);

  constructor(
    pump: DeliveryPump,
    outbox: Outbox,
    ids: Ids,
    settings: { readonly mailbox: MailboxSettings; readonly concurrency: number; readonly keepMs: number },
  ) {
    this.#pump = pump;
    this.#outbox = outbox;
    this.#ids = ids;
    this.#settings = settings;
  }

  /** @throws UNKNOWN_AGENT for one that was removed and not registered again */
  refuseRemoved(agentId: string): void {
    if (this.#removed.size === 0 || !this.#removed.has(agentId)) return;
    throw new CoordinationError('UNKNOWN_AGENT', `Agent ${agentId} was removed`, {
      hint: 'Register it again before it sends or receives.',
    });
  }

  /** @throws INVALID_ARGUMENT, INVALID_OPTION, UNKNOWN_AGENT */
  add<P>(agentId: string, handler: MessageHandler<P>, given: SubscribeOptions | undefined): Subscription {
    checkId(agentId, 'agentId');
    checkFunction(handler, 'handler');
    const options = checkSubscribe(given);
    this.refuseRemoved(agentId);
    const known = this.#agents.get(agentId);
    const subscriber: Subscriber = {
      id: this.#ids.next(),
      handler: handler as MessageHandler,
      topics: options.topics === undefined ? undefined : new Set(options.topics),
      group: options.group,
      concurrency: options.concurrency ?? this.#settings.concurrency,
      node: options.node,
    };
    refuseOtherGroup(agentId, known?.subscribers ?? [], subscriber);
    const mailbox = known?.mailbox ?? this.#settings.mailbox;
    const stored = this.#change({
      consumer: known?.consumer ?? this.#pump.open(agentId),
      subscribers: [...(known?.subscribers ?? []), subscriber],
      mailbox: {
        maxLength: options.maxLength ?? mailbox.maxLength,
        overflow: options.overflow ?? mailbox.overflow,
      },
    });
    return new AgentSubscription(agentId, subscriber.id, stored, (id) => this.remove(agentId, id));
  }

  /** Ends one subscription of an agent, or all. Resolves to whether there was one. */
  async remove(agentId: string, id?: string): Promise<boolean> {
    const known = this.#agents.get(agentId);
    const left = known?.subscribers.filter((subscriber) => id !== undefined && subscriber.id !== id);
    if (known === undefined || left === undefined || left.length === known.subscribers.length) return false;
    await this.#change({ ...known, subscribers: left });
    return true;
  }

  /** An agent that gets broadcasts from now on, subscribed or not. */
  join(agentId: string): Awaitable<void> {
    this.#removed.delete(agentId);
    if (this.#agents.has(agentId)) return;
    return this.#change({
      consumer: this.#pump.open(agentId),
      subscribers: [],
      mailbox: this.#settings.mailbox,
    });
  }

  /** Ends an agent: what is under way is aborted with `reason`, what waits is dropped. */
  leave(agentId: string, reason: Error): Awaitable<readonly Lost[]> {
    this.#removed.add(agentId);
    const known = this.#agents.get(agentId);
    if (known !== undefined) {
      this.#index(known.consumer, known.subscribers, []);
      this.#agents.delete(agentId);
      known.consumer.subscribers = [];
      known.consumer.abort(reason, false);
      this.#pump.forget(known.consumer);
    }
    return this.#outbox.subscribe({
      address: agentId,
      topics: [],
      listening: false,
      mailbox: 'leave',
      keepMs: 0,
    });
  }

  /** Local receivers of a topic. */
  ofTopic(topic: string): Iterable<Consumer> {
    return this.#byTopic.get(topic) ?? [];
  }

  /** Stores all memberships anew: the session that carried them is over. */
  async rejoin(): Promise<void> {
    const agents = [...this.#agents.values()];
    await Promise.all(agents.map(async (agent) => this.#change(agent)));
  }

  /** Tells the store that nobody listens here any more; mailboxes go on. */
  async close(): Promise<void> {
    const agents = [...this.#agents.values()];
    await Promise.all(agents.map(async (agent) => this.#change({ ...agent, subscribers: [] })));
  }

  #change(agent: Agent): Awaitable<void> {
    const { consumer, subscribers, mailbox } = agent;
    // First, because it may be refused: then nothing has changed here.
    const stored = this.#outbox.subscribe({
      address: consumer.address,
      topics: [{ topic: EVERYBODY }, ...topicsOf(subscribers)],
      listening: subscribers.length > 0,
      mailbox,
      keepMs: this.#settings.keepMs,
    });
    this.#index(consumer, this.#agents.get(consumer.address)?.subscribers ?? [], subscribers);
    this.#agents.set(consumer.address, agent);
    consumer.subscribers = subscribers;
    this.#pump.chores.poll();
    return andThen(stored, (lost) => {
      this.#pump.reportLost(lost);
      consumer.ready = true;
      if (subscribers.length > 0) this.#pump.wake(consumer);
    });
  }

  #index(consumer: Consumer, before: readonly Subscriber[], after: readonly Subscriber[]): void {
    for (const topic of localTopics(before)) {
      const members = this.#byTopic.get(topic);
      members?.delete(consumer);
      if (members?.size === 0) this.#byTopic.delete(topic);
    }
    for (const topic of localTopics(after)) {
      const members = this.#byTopic.get(topic);
      if (members === undefined) this.#byTopic.set(topic, new Set([consumer]));
      else members.add(consumer);
    }
  }
}

/** What `subscribe` returns: reads as its id where a text is asked for. */
class AgentSubscription implements Subscription {
  readonly id: string;
  readonly agentId: string;
  readonly ready: Promise<void>;
  readonly #end: (id: string) => Promise<boolean>;

  constructor(agentId: string, id: string, stored: Awaitable<void>, end: (id: string) => Promise<boolean>) {
    this.agentId = agentId;
    this.id = id;
    this.ready = isPromise(stored) ? stored : Promise.resolve();
    handled(this.ready);
    this.#end = end;
  }

  async unsubscribe(): Promise<void> {
    await this.#end(this.id);
  }

  toString(): string {
    return this.id;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.unsubscribe();
  }
}

function topicsOf(subscribers: readonly Subscriber[]): { topic: string; group?: string }[] {
  const groups = new Map<string, string | undefined>();
  for (const { topics, group } of subscribers) for (const topic of topics ?? []) groups.set(topic, group);
  return [...groups].map(([topic, group]) => (group === undefined ? { topic } : { topic, group }));
}

function localTopics(subscribers: readonly Subscriber[]): readonly string[] {
  return subscribers.length === 0 ? [] : [EVERYBODY, ...topicsOf(subscribers).map(({ topic }) => topic)];
}

/** An agent gets a topic's messages once: for itself, or with one group. */
function refuseOtherGroup(agentId: string, known: readonly Subscriber[], added: Subscriber): void {
  for (const topic of added.topics ?? []) {
    const other = known.find(({ topics, group }) => topics?.has(topic) === true && group !== added.group);
    if (other === undefined) continue;
    throw invalid(
      `Agent ${agentId} subscribes to ${topic} ${other.group === undefined ? 'without a group' : `in group ${other.group}`} already`,
    );
  }
}

function checkSubscribe(given: unknown): SubscribeOptions {
  if (given === null) return {};
  const options = checkOptions<SubscribeOptions>('subscribe', given, KEYS);
  const { topics, group, concurrency, maxLength, overflow, node } = options;
  if (topics !== undefined) {
    for (const topic of checkArray(topics, 'topics')) checkId(topic, 'topic');
  }
  if (group !== undefined) checkId(group, 'group');
  if (concurrency !== undefined) checkInteger(concurrency, 'concurrency', 1);
  if (maxLength !== undefined) checkInteger(maxLength, 'maxLength', 1);
  if (overflow !== undefined && !OVERFLOWS.includes(overflow))
    throw invalid(`Expected overflow to be refuse, drop-oldest or drop-newest, got ${describe(overflow)}`);
  if (node !== undefined && (typeof node !== 'string' || node.length === 0))
    throw invalid(`Expected node to be a string, got ${describe(node)}`);
  return options;
}
