import type { Hint } from '../../../core/ports/backend.ts';
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
import type { Operation, Page, PageRequest, Stamped } from '../../../core/ports/words.ts';
import type { Database } from '../database.ts';
import {
  lostOf,
  type PublishText,
  type ReceiveText,
  resultsOf,
  type ReviseText,
  type SettleText,
  type SubscribeText,
  type SweepText,
} from './answers.ts';
import { bodyOf, type DeliveryRow, deliveryOf, receiptOf, toUs } from './letters.ts';
import { listMailboxes } from './list-mailboxes.ts';

const OVERFLOW: Readonly<Record<MailboxSettings['overflow'], number>> = {
  refuse: 0,
  'drop-oldest': 1,
  'drop-newest': 2,
};
const HOW: Readonly<Record<MessageSettlement['as'], number>> = {
  ack: 0,
  retry: 1,
  release: 2,
  bury: 3,
  drop: 4,
};
const TOPIC = 1;
const DEDUPE = 2;
const AT_MOST_ONCE = 4;

interface AnswerRow {
  readonly answer: string;
}

/** Messages in PostgreSQL. Each call is one statement; a mailbox is worked on by one transaction at a time. */
export class PostgresMessageTransport implements MessageTransport {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  async subscribe(
    op: Operation,
    changes: readonly Membership[],
  ): Promise<Stamped & { readonly lost: readonly Lost[] }> {
    const rows = await this.#db.write<AnswerRow>(
      'select agentmesh.message_subscribe_v1($1, $2, $3) as answer',
      [op.session, op.sequence, JSON.stringify(changes.map(changeOf))],
    );
    const { at, lost } = JSON.parse(answerIn(rows)) as SubscribeText;
    // Who shared an address with one that left gets what that had in hand.
    this.#tell(changes.filter(({ mailbox }) => mailbox === 'leave').map(({ address }) => address));
    return { at, lost: lostOf(lost) };
  }

  async publish(
    op: Operation,
    messages: readonly NewMessage[],
    defaults: MailboxSettings,
  ): Promise<Stamped & { readonly results: readonly PublishResult[] }> {
    const rows = await this.#db.write<AnswerRow & { readonly told: readonly string[] | null }>(
      'select * from agentmesh.message_publish_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)',
      [
        op.session,
        op.sequence,
        messages.map(({ id }) => id),
        messages.map(({ from }) => from),
        messages.map(({ to }) => to),
        messages.map(kindOf),
        messages.map(({ orderKey }) => orderKey),
        messages.map(({ priority }) => priority),
        messages.map(({ expiresInMs }) => (expiresInMs === undefined ? null : toUs(expiresInMs))),
        messages.map(bodyOf),
        lengthOf(defaults),
        OVERFLOW[defaults.overflow],
      ],
    );
    const text = JSON.parse(answerIn(rows)) as PublishText;
    const results = resultsOf(messages, text);
    const named = messages.filter(({ topic }, i) => !topic && results[i]?.status === 'published');
    this.#tell([...named.map(({ to }) => to), ...(rows[0]?.told ?? [])]);
    return { at: text.at, results };
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
    const { addresses, ackWithinMs } = request;
    const [head, ...rows] = await this.#db.write<DeliveryRow>(
      'select * from agentmesh.message_receive_v1($1, $2, $3, $4, $5, $6)',
      [
        op.session,
        op.sequence,
        addresses.map(({ address }) => address),
        addresses.map(({ limit }) => limit),
        addresses.map(({ onePerKey }) => onePerKey === true),
        toUs(ackWithinMs),
      ],
    );
    const { at, next, missed } = JSON.parse((head as DeliveryRow).body) as ReceiveText;
    return {
      at,
      deliveries: rows.map((row) => deliveryOf(row, (addresses[row.address - 1] as Wanted).address)),
      missed: lostOf(missed),
      nextInMs: next === null ? Number.POSITIVE_INFINITY : Math.max(0, (next - at) / 1_000),
    };
  }

  async settle(
    op: Operation,
    items: readonly MessageSettlement[],
  ): Promise<Stamped & { readonly settled: readonly boolean[]; readonly readied: readonly string[] }> {
    const receipts = items.map(({ delivery }) => receiptOf(delivery));
    const rows = await this.#db.write<AnswerRow>(
      'select agentmesh.message_settle_v1($1, $2, $3, $4, $5, $6, $7, $8) as answer',
      [
        op.session,
        op.sequence,
        receipts.map(({ box }) => box),
        receipts.map(({ flight }) => flight),
        receipts.map(({ seq }) => seq),
        items.map(({ as }) => HOW[as]),
        items.map((item) => (item.as === 'retry' ? toUs(item.delayMs) : 0)),
        items.map((item) => (item.as === 'bury' ? JSON.stringify(item.reason) : null)),
      ],
    );
    const { at, stale, readied } = JSON.parse(answerIn(rows)) as SettleText;
    const settled = items.map(() => true);
    for (const place of stale) settled[place] = false;
    this.#tell(readied);
    return { at, settled, readied };
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
    const rows = await this.#db.write<AnswerRow>('select agentmesh.message_sweep_v1($1, $2, $3) as answer', [
      op.session,
      op.sequence,
      limit,
    ]);
    const { at, lost, readied, next } = JSON.parse(answerIn(rows)) as SweepText;
    this.#tell(readied);
    return {
      at,
      lost: lostOf(lost),
      readied,
      nextInMs: next === null ? Number.POSITIVE_INFINITY : next / 1_000,
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
    const rows = await this.#db.write<AnswerRow>(
      'select agentmesh.message_revise_v1($1, $2, $3, $4, $5, $6) as answer',
      [
        op.session,
        op.sequence,
        request.set === 'redrive',
        request.address ?? null,
        request.ids ?? null,
        request.limit,
      ],
    );
    const { at, changed, more, lost, readied } = JSON.parse(answerIn(rows)) as ReviseText;
    this.#tell(readied);
    return { at, changed, more, lost: lostOf(lost), readied };
  }

  list(
    filter: { readonly address?: string; readonly messages?: 'waiting' | 'dead' },
    page: PageRequest,
  ): Promise<Page<MailboxView> & { readonly totals: MessageCounts }> {
    return listMailboxes(this.#db, filter, page);
  }

  /** Wakes who listens at these addresses. */
  #tell(addresses: readonly string[]): void {
    if (addresses.length === 0) return;
    this.#db.hint([...new Set(addresses)].map((address): Hint => ({ about: 'messages', address })));
  }
}

function answerIn(rows: readonly AnswerRow[]): string {
  return (rows[0] as AnswerRow).answer;
}

function kindOf({ topic, dedupe, class: promise }: NewMessage): number {
  return (topic ? TOPIC : 0) + (dedupe ? DEDUPE : 0) + (promise === 'm0' ? AT_MOST_ONCE : 0);
}

function lengthOf({ maxLength }: MailboxSettings): number {
  return Math.min(maxLength, Number.MAX_SAFE_INTEGER);
}

function changeOf({ address, topics, listening, mailbox, keepMs }: Membership): object {
  const change = {
    a: address,
    t: topics.map(({ topic, group }) => [topic, group ?? null]),
    l: listening,
    u: toUs(keepMs),
  };
  if (mailbox === 'leave') return { ...change, k: 0 };
  if (mailbox === 'none') return { ...change, k: 2 };
  return { ...change, k: 1, m: lengthOf(mailbox), o: OVERFLOW[mailbox.overflow] };
}
