import type {
  Delivery,
  Lost,
  MailboxSettings,
  MailboxView,
  Membership,
  MessageCounts,
  MessageSettlement,
  MessageTransport,
  NewMessage,
  PublishResult,
  Wanted,
} from '../../../core/ports/messages.ts';
import type {
  BackendTime,
  Cursor,
  Operation,
  Page,
  PageRequest,
  Stamped,
} from '../../../core/ports/words.ts';
import type { RedisStore } from '../connection.ts';
import { defineScript, type Script } from '../scripts.ts';
import { addMessages, readLetter } from './letter-text.ts';
import { LIST, REVISE } from './lua/dead.ts';
import { PUBLISH } from './lua/publish.ts';
import { RECEIVE } from './lua/receive.ts';
import { SETTLE } from './lua/settle.ts';
import { SUBSCRIBE } from './lua/subscribe.ts';
import { SWEEP } from './lua/sweep.ts';

const SCRIPTS = {
  subscribe: defineScript('messages-subscribe', SUBSCRIBE),
  publish: defineScript('messages-publish', PUBLISH),
  receive: defineScript('messages-receive', RECEIVE),
  settle: defineScript('messages-settle', SETTLE),
  sweep: defineScript('messages-sweep', SWEEP),
  revise: defineScript('messages-revise', REVISE),
  list: defineScript('messages-list', LIST),
} as const;

/** Most items of one script. */
const BATCH = 250;
/** Longest duration in µs that the server's numbers hold beside its time. */
const MAX_US = 2 ** 52;
const COUNTS = ['published', 'delivered', 'dropped', 'expired', 'dead', 'waiting', 'handling'] as const;

const PUBLISHED: PublishResult = Object.freeze({ status: 'published', receivers: 1 });
const DUPLICATE: PublishResult = Object.freeze({ status: 'duplicate' });
const NO_RECEIVER: PublishResult = Object.freeze({ status: 'no-receiver' });

/** `session.sequence.mailbox.message`: of each delivery another one. */
const RECEIPT = /^\d{1,16}(\.\d{1,15}){3}$/;

type Argument = string | number;
/** A loss as the scripts tell it. */
type LostText = readonly [from: string, address: string, count: number, reason: Lost['reason']];
/** What a script tells of one message of a batch. */
type Detail = readonly [index: number, receivers: number] | readonly [index: number, ...lost: LostText];

/**
 * Messages in Redis. Each method is one script, so it is atomic and sees one snapshot of the members (M3); what is too much for one
 * goes on in further scripts under the same operation, and nobody publishes or subscribes in between.
 */
export class RedisMessageTransport implements MessageTransport {
  readonly #store: RedisStore;

  constructor(store: RedisStore) {
    this.#store = store;
  }

  async subscribe(
    op: Operation,
    changes: readonly Membership[],
  ): Promise<Stamped & { readonly lost: readonly Lost[] }> {
    const [at, , details] = await this.#inParts(SCRIPTS.subscribe, op, changes, [], addChanges);
    const lost = JSON.parse(`[${details}]`) as readonly (readonly [number, ...LostText])[];
    return { at: timeOf(at), lost: lost.map(([, ...entry]) => toLost(entry)) };
  }

  async publish(
    op: Operation,
    messages: readonly NewMessage[],
    defaults: MailboxSettings,
  ): Promise<Stamped & { readonly results: readonly PublishResult[] }> {
    const [at, codes = '', details = ''] = await this.#inParts(
      SCRIPTS.publish,
      op,
      messages,
      limitsOf(defaults),
      addMessages,
    );
    const receivers = new Map<number, number>();
    const lost = new Map<number, Lost[]>();
    if (details !== '') readDetails(details, receivers, lost);
    const results = messages.map((message, index): PublishResult => {
      switch (codes[index]) {
        case 'd':
          return DUPLICATE;
        case 'n':
          return NO_RECEIVER;
        case 'f':
          return { status: 'full', address: message.to };
        default: {
          const losses = lost.get(index);
          const count = receivers.get(index) ?? 1;
          if (losses !== undefined) return { status: 'published', receivers: count, lost: losses };
          return count === 1 ? PUBLISHED : { status: 'published', receivers: count };
        }
      }
    });
    return { at: timeOf(at), results };
  }

  async receive(
    op: Operation,
    request: { readonly addresses: readonly Wanted[]; readonly ackWithinMs: number },
  ): Promise<
    Stamped & {
      readonly deliveries: readonly Delivery[];
      readonly missed: readonly Lost[];
      readonly nextInMs: number;
    }
  > {
    const args: Argument[] = [op.session, op.sequence, micros(request.ackWithinMs)];
    for (const { address, limit, onePerKey = false } of request.addresses)
      args.push(address, Math.min(limit, BATCH), onePerKey ? 1 : 0);
    const answer = await this.#store.run(SCRIPTS.receive, args, 'write');
    const [head, ...letters] = answer as [string, ...string[]];
    const [times = '', losses = '', runs = ''] = head.split('\n');
    const [at, next] = times.split(' ').map(Number) as [number, number];
    return {
      at: at as BackendTime,
      deliveries: readDeliveries(`${op.session}.${op.sequence}`, request.addresses, runs, letters),
      missed: losses === '[]' ? [] : (JSON.parse(losses) as readonly LostText[]).map(toLost),
      nextInMs: next < 0 ? Number.POSITIVE_INFINITY : next / 1_000,
    };
  }

  async settle(
    op: Operation,
    items: readonly MessageSettlement[],
  ): Promise<Stamped & { readonly settled: readonly boolean[]; readonly readied: readonly string[] }> {
    const [at, codes = '', readied = '[]'] = await this.#inParts(SCRIPTS.settle, op, items, [], addOutcomes);
    return {
      at: timeOf(at),
      settled: items.map((_, index) => codes[index] === '1'),
      readied: [...new Set(JSON.parse(readied) as string[])],
    };
  }

  async sweep(
    op: Operation,
    limit: number,
  ): Promise<
    Stamped & {
      readonly lost: readonly Lost[];
      readonly readied: readonly string[];
      readonly nextInMs: number;
    }
  > {
    const answer = await this.#store.run(SCRIPTS.sweep, [op.session, op.sequence, limit], 'write');
    const [at, next, lost = '[]', readied = '[]'] = (answer as string).split('\n');
    return {
      at: timeOf(at),
      lost: (JSON.parse(lost) as readonly LostText[]).map(toLost),
      readied: JSON.parse(readied) as string[],
      nextInMs: next === '-1' ? Number.POSITIVE_INFINITY : Number(next) / 1_000,
    };
  }

  async revise(
    op: Operation,
    request: {
      readonly set: 'redrive' | 'discard';
      readonly address?: string;
      readonly ids?: readonly string[];
      readonly limit: number;
    },
  ): Promise<
    Stamped & {
      readonly changed: number;
      readonly more: boolean;
      readonly lost: readonly Lost[];
      readonly readied: readonly string[];
    }
  > {
    const { set, address = '', ids, limit } = request;
    // No id is empty: one that can't be found says that there are none to be found.
    const wanted = ids === undefined ? [] : ids.length === 0 ? [''] : ids;
    const args = [op.session, op.sequence, set, limit, address, ...wanted];
    const answer = await this.#store.run(SCRIPTS.revise, args, 'write');
    const [at, counts = '', lost = '[]', readied = '[]'] = (answer as string).split('\n');
    const [changed, more] = counts.split(' ').map(Number) as [number, number];
    return {
      at: timeOf(at),
      changed,
      more: more === 1,
      lost: (JSON.parse(lost) as readonly LostText[]).map(toLost),
      readied: JSON.parse(readied) as string[],
    };
  }

  async list(
    filter: { readonly address?: string; readonly messages?: 'waiting' | 'dead' },
    page: PageRequest,
  ): Promise<Page<MailboxView> & { readonly totals: MessageCounts }> {
    const place = /^(\d{1,15})\.(\d{1,15})$/.exec(page.after ?? '');
    const args = [
      filter.address ?? '',
      filter.messages ?? '',
      page.limit,
      place?.[1] ?? '0',
      place?.[2] ?? '0',
    ];
    const answer = (await this.#store.run(SCRIPTS.list, args, 'read')) as readonly unknown[];
    const [at, next, scanned] = answer as [string, string, number];
    return {
      at: timeOf(at),
      items: (answer.slice(10) as (readonly (string | number)[])[]).map(toView),
      next: next === '' ? undefined : (next as Cursor),
      scanned,
      totals: toCounts(answer.slice(3, 10) as string[]),
    };
  }

  /**
   * Sends a batch in as many scripts as it takes: each answers how far it came, the last one the whole. A repeated operation goes on where the
   * store says that it stopped. @returns the lines of the answer
   */
  async #inParts<T>(
    script: Script,
    op: Operation,
    items: readonly T[],
    fixed: readonly Argument[],
    add: (items: readonly T[], from: number, to: number, args: Argument[]) => void,
  ): Promise<string[]> {
    for (let offset = 0; ; ) {
      const end = Math.min(items.length, offset + BATCH);
      const args: Argument[] = [op.session, op.sequence, offset, end === items.length ? 1 : 0, ...fixed];
      add(items, offset, end, args);
      const answer = await this.#store.run(script, args, 'write');
      if (typeof answer === 'string') return answer.split('\n');
      [offset] = answer as [number];
    }
  }
}

function timeOf(text: string | undefined): BackendTime {
  return Number(text) as BackendTime;
}

function micros(ms: number): number {
  return Math.min(MAX_US, Math.max(0, Math.round(ms * 1_000)));
}

function limitsOf({ maxLength, overflow }: MailboxSettings): [number, string] {
  return [Math.min(maxLength, Number.MAX_SAFE_INTEGER), overflow];
}

function addChanges(changes: readonly Membership[], from: number, to: number, args: Argument[]): void {
  for (const { address, topics, listening, mailbox, keepMs } of changes.slice(from, to)) {
    args.push(
      address,
      JSON.stringify(topics.map(({ topic, group = '' }) => [topic, group])),
      listening ? 1 : 0,
      typeof mailbox === 'string' ? mailbox : limitsOf(mailbox).join(' '),
      Math.min(keepMs, MAX_US / 1_000),
    );
  }
}

/** Runs of one flight, one mailbox and one fate: that and how many, then what distinguishes them. */
function addOutcomes(items: readonly MessageSettlement[], from: number, to: number, args: Argument[]): void {
  let run: string | undefined;
  let fate = '';
  let count = 0;
  let numbers = '';
  for (let i = from; i < to; i++) {
    const item = items[i] as MessageSettlement;
    const { receipt } = item.delivery;
    const isOurs = RECEIPT.test(receipt);
    const dot = receipt.lastIndexOf('.');
    const place = isOurs ? receipt.slice(0, dot) : '';
    const outcome = outcomeOf(item);
    if (run !== place || fate !== outcome) {
      if (run !== undefined) args.push(run, fate, count, numbers);
      run = place;
      fate = outcome;
      count = 0;
      numbers = '';
    }
    count += 1;
    if (isOurs) numbers += `${receipt.slice(dot + 1)} `;
  }
  if (run !== undefined) args.push(run, fate, count, numbers);
}

function outcomeOf(item: MessageSettlement): string {
  switch (item.as) {
    case 'ack':
      return 'a';
    case 'drop':
      return 'd';
    case 'retry':
      return `r${micros(item.delayMs)}`;
    case 'bury':
      // As JSON, which escapes what UTF-8 can't say.
      return `b${JSON.stringify(item.reason)}`;
    default:
      return 'l';
  }
}

function toLost([from, address, count, reason]: LostText): Lost {
  return { from, address, count, reason };
}

function readDetails(text: string, receivers: Map<number, number>, lost: Map<number, Lost[]>): void {
  for (const detail of JSON.parse(`[${text}]`) as readonly Detail[]) {
    if (detail.length === 2) {
      receivers.set(detail[0], detail[1]);
      continue;
    }
    const [index, ...entry] = detail;
    const losses = lost.get(index);
    if (losses === undefined) lost.set(index, [toLost(entry)]);
    else losses.push(toLost(entry));
  }
}

/** `runs`: place among the addresses, mailbox, count, then sequence and delivery of each; delivery 0 was at most once. */
function readDeliveries(
  flight: string,
  addresses: readonly Wanted[],
  runs: string,
  letters: readonly string[],
): Delivery[] {
  const deliveries: Delivery[] = [];
  if (letters.length === 0) return deliveries;
  const words = runs.split(' ');
  for (let at = 0; at < words.length; ) {
    const { address } = addresses[Number(words[at])] as Wanted;
    const mailbox = words[at + 1];
    const end = at + 3 + 2 * Number(words[at + 2]);
    for (at += 3; at < end; at += 2) {
      const { message, sentAt } = readLetter(letters[deliveries.length] as string);
      deliveries.push({
        address,
        receipt: `${flight}.${mailbox}.${words[at]}`,
        message,
        delivery: Math.max(1, Number(words[at + 1])),
        sentAt,
      });
    }
  }
  return deliveries;
}

function toCounts(texts: readonly (string | number)[]): MessageCounts {
  const counts = {} as Record<keyof MessageCounts, number>;
  COUNTS.forEach((name, index) => {
    counts[name] = Number(texts[index]);
  });
  return counts;
}

function toView([address, group, ...rest]: readonly (string | number)[]): MailboxView {
  const messages: MailboxView['messages'][number][] = [];
  for (let i = COUNTS.length; i < rest.length; i += 3) {
    const [delivery, reason, letter] = rest.slice(i, i + 3) as [string, string, string];
    const view = { ...readLetter(letter), delivery: Number(delivery) };
    messages.push(reason === '' ? view : { ...view, reason: JSON.parse(reason) as string });
  }
  return {
    address: String(address),
    ...(group === '' ? {} : { group: String(group) }),
    ...toCounts(rest),
    messages,
  };
}
