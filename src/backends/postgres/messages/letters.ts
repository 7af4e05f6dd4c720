import type { Delivery, DeliveryRef, NewMessage } from '../../../core/ports/messages.ts';
import type { BackendTime } from '../../../core/ports/words.ts';

/** Longest durations that are told from each other, µs: 250 years, so that sums stay within a bigint and a double. */
const MAX_US = 8e15;

/** What a letter's text holds: the payload, and whatever differs from what its other columns say. */
interface Body {
  /** Set when it isn't the address of the mailbox: a topic. */
  readonly to?: string;
  /** Set when it isn't the sender. */
  readonly orderKey?: string;
  readonly dedupe?: true;
  readonly n?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly replyTo?: string;
  readonly correlation?: string;
  readonly payload?: unknown;
}

/** A letter as statements answer it. */
export interface LetterRow {
  readonly sender: string;
  readonly id: string;
  readonly body: string;
  readonly priority: number;
  /** µs */
  readonly life: number | null;
  readonly at_most_once: boolean;
  readonly delivery: number;
  readonly sent_at: number;
}

/** A letter that was handed out. */
export interface DeliveryRow extends LetterRow {
  /** Which of the addresses asked for, from 1; 0 in the row that holds the answer's other facts in its body. */
  readonly address: number;
  readonly box: number;
  readonly flight: number;
  readonly seq: number;
}

/** The part of a message that has no column of its own. */
export function bodyOf(message: NewMessage): string {
  const { to, topic, orderKey, from, dedupe, n, headers, replyTo, correlation, payload } = message;
  const body: Body = {
    ...(topic ? { to } : {}),
    ...(orderKey === from ? {} : { orderKey }),
    ...(dedupe ? { dedupe } : {}),
    ...(n === 0 ? {} : { n }),
    ...(headers === undefined ? {} : { headers }),
    ...(replyTo === undefined ? {} : { replyTo }),
    ...(correlation === undefined ? {} : { correlation }),
    ...(payload === undefined ? {} : { payload }),
  };
  return JSON.stringify(body);
}

/** @param address of the mailbox it lies in */
export function messageOf(row: LetterRow, address: string): NewMessage {
  const { sender: from, id, priority, life } = row;
  const { to, orderKey, dedupe, n, headers, replyTo, correlation, payload } = JSON.parse(row.body) as Body;
  return {
    id,
    dedupe: dedupe === true,
    class: row.at_most_once ? 'm0' : 'm1',
    from,
    to: to ?? address,
    topic: to !== undefined,
    orderKey: orderKey ?? from,
    n: n ?? 0,
    payload,
    ...(headers === undefined ? {} : { headers }),
    priority,
    expiresInMs: life === null ? undefined : life / 1_000,
    replyTo,
    correlation,
  };
}

export function deliveryOf(row: DeliveryRow, address: string): Delivery {
  return {
    address,
    receipt: `${row.box}.${row.flight}.${row.seq}`,
    message: messageOf(row, address),
    delivery: row.delivery,
    sentAt: row.sent_at as BackendTime,
  };
}

/** What names a delivery in the store. */
export interface Receipt {
  readonly box: number;
  readonly flight: number;
  readonly seq: number;
}

/** Names no delivery. */
const NOBODYS: Receipt = { box: 0, flight: 0, seq: 0 };

export function receiptOf({ receipt }: DeliveryRef): Receipt {
  const parts = /^(\d{1,15})\.(\d{1,15})\.(\d{1,15})$/.exec(receipt);
  if (parts === null) return NOBODYS;
  return { box: Number(parts[1]), flight: Number(parts[2]), seq: Number(parts[3]) };
}

/** A duration as the statements take it. */
export function toUs(ms: number): number {
  return Math.min(MAX_US, Math.round(ms * 1_000));
}
