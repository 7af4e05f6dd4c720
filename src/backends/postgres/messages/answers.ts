import type { Lost, NewMessage, PublishResult } from '../../../core/ports/messages.ts';
import type { BackendTime } from '../../../core/ports/words.ts';

/** A loss as statements answer it: sender, address, count, reason. */
export type LossText = readonly [string, string, number, Lost['reason']];

export interface SubscribeText {
  readonly at: BackendTime;
  readonly lost: readonly LossText[];
}

/** `odd`: messages that weren't just published to one receiver. */
export interface PublishText {
  readonly at: BackendTime;
  readonly odd: readonly {
    readonly i: number;
    /** 0 published, 1 duplicate, 2 no receiver, 3 full */
    readonly s: number;
    readonly n: number | null;
    readonly l: readonly LossText[] | null;
  }[];
}

export interface ReceiveText {
  readonly at: BackendTime;
  /** Backend time, µs. */
  readonly next: number | null;
  readonly missed: readonly LossText[];
}

export interface SettleText {
  readonly at: BackendTime;
  /** Places of the items whose receipt was not current. */
  readonly stale: readonly number[];
  readonly readied: readonly string[];
}

export interface SweepText {
  readonly at: BackendTime;
  readonly lost: readonly LossText[];
  readonly readied: readonly string[];
  /** µs */
  readonly next: number | null;
}

export interface ReviseText {
  readonly at: BackendTime;
  readonly changed: number;
  readonly more: boolean;
  readonly lost: readonly LossText[];
  readonly readied: readonly string[];
}

const PUBLISHED: PublishResult = Object.freeze({ status: 'published', receivers: 1 });

export function lostOf(losses: readonly LossText[]): Lost[] {
  return losses.map(([from, address, count, reason]) => ({ from, address, count, reason }));
}

export function resultsOf(messages: readonly NewMessage[], { odd }: PublishText): PublishResult[] {
  const results = messages.map(() => PUBLISHED);
  for (const { i, s, n, l } of odd) results[i] = resultOf(messages[i] as NewMessage, s, n, l);
  return results;
}

function resultOf(
  message: NewMessage,
  status: number,
  receivers: number | null,
  losses: readonly LossText[] | null,
): PublishResult {
  switch (status) {
    case 1:
      return { status: 'duplicate' };
    case 2:
      return { status: 'no-receiver' };
    case 3:
      return { status: 'full', address: message.to };
    default:
      return {
        status: 'published',
        receivers: receivers ?? 1,
        ...(losses === null ? {} : { lost: lostOf(losses) }),
      };
  }
}
