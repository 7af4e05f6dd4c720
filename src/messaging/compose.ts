import { checkId, checkMs, checkPriority, checkRecord, checkSignal, invalid } from '../core/check.ts';
import { describe } from '../core/errors.ts';
import { checkJson, PAYLOAD_LIMITS } from '../core/json.ts';
import { checkOptions } from '../core/options.ts';
import type { NewMessage } from '../core/ports/messages.ts';
import type { Ids } from '../core/ports/runtime.ts';
import type { InboundRequest } from './inbound-requests.ts';
import type { BroadcastOptions, RequestOptions, SendOptions } from './types.ts';

const SEND_KEYS = ['delivery', 'priority', 'expiresInMs', 'key', 'id', 'signal'] as const;
const BROADCAST_KEYS = [...SEND_KEYS, 'topic'] as const;
const REQUEST_KEYS = ['delivery', 'priority', 'key', 'signal', 'timeoutMs', 'node'] as const;
const NO_OPTIONS: SendOptions = Object.freeze({});

export type MessageKind = 'send' | 'broadcast' | 'request';

/** Makes messages of what senders give, checked and normalised. */
export class Composer {
  readonly #ids: Ids;
  readonly #keepMs: number | undefined;

  /** @param keepMs default expiry; `Infinity`: never */
  constructor(ids: Ids, keepMs: number) {
    this.#ids = ids;
    this.#keepMs = keepMs === Number.POSITIVE_INFINITY ? undefined : keepMs;
  }

  /** A topic is the caller's to check. @throws INVALID_ARGUMENT, INVALID_OPTION; the reason of an aborted signal */
  message(
    kind: MessageKind,
    from: string,
    to: string,
    payload: unknown,
    given: SendOptions | undefined,
  ): NewMessage {
    checkId(from, 'the sender');
    if (kind !== 'broadcast') checkId(to, 'the receiver');
    const data = payload === undefined ? null : payload;
    checkJson(data, 'payload', PAYLOAD_LIMITS);
    const options = given === undefined ? NO_OPTIONS : checkSend(kind, given);
    checkSignal(options.signal, 'signal')?.throwIfAborted();
    return {
      id: options.id === undefined ? this.#ids.next() : checkId(options.id, 'id'),
      dedupe: options.id !== undefined,
      class: checkDelivery(options.delivery),
      from,
      to,
      topic: kind === 'broadcast',
      orderKey: options.key === undefined ? from : `${from}\u0001${checkId(options.key, 'key')}`,
      n: 0,
      payload: data,
      priority: checkPriority(options.priority),
      expiresInMs:
        options.expiresInMs === undefined ? this.#keepMs : checkMs(options.expiresInMs, 'expiresInMs'),
      replyTo: undefined,
      correlation: undefined,
    };
  }

  /** A reply to a request of another router; its payload is checked. */
  reply(request: InboundRequest, payload: unknown): NewMessage {
    return {
      id: this.#ids.next(),
      dedupe: false,
      class: 'm1',
      from: request.to,
      to: request.replyTo,
      topic: false,
      orderKey: request.to,
      n: 0,
      payload,
      priority: 2,
      expiresInMs: this.#keepMs,
      replyTo: undefined,
      correlation: request.id,
    };
  }
}

/** A request's own options. @throws INVALID_ARGUMENT */
export function checkRequest(
  options: RequestOptions | undefined,
  timeoutMs: number,
): {
  readonly timeoutMs: number;
  readonly node: string | undefined;
} {
  if (options === undefined) return { timeoutMs, node: undefined };
  const given = checkRecord(options, 'options');
  return {
    timeoutMs: given.timeoutMs === undefined ? timeoutMs : checkTimeout(given.timeoutMs),
    // Nodes are made by the library and longer than ids may be.
    node: given.node === undefined ? undefined : checkNode(given.node),
  };
}

function checkTimeout(value: unknown): number {
  return value === Number.POSITIVE_INFINITY ? value : checkMs(value, 'timeoutMs');
}

function checkNode(value: unknown): string {
  if (typeof value !== 'string' || value.length === 0)
    throw invalid(`Expected node to be a string, got ${describe(value)}`);
  return value;
}

function checkSend(kind: MessageKind, given: unknown): SendOptions {
  if (given === null) return NO_OPTIONS;
  const known = kind === 'send' ? SEND_KEYS : kind === 'broadcast' ? BROADCAST_KEYS : REQUEST_KEYS;
  return checkOptions<SendOptions & BroadcastOptions & RequestOptions>(kind, given, known);
}

function checkDelivery(value: unknown): 'm0' | 'm1' {
  if (value === undefined || value === 'at-least-once') return 'm1';
  if (value === 'at-most-once') return 'm0';
  throw invalid(`Expected delivery to be 'at-least-once' or 'at-most-once', got ${describe(value)}`);
}
