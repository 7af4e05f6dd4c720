import type { NewMessage } from '../../../core/ports/messages.ts';
import type { BackendTime } from '../../../core/ports/words.ts';

/*
 * A letter is one text: `sentAt expiresInMs|- priority from LF orderKey LF id LF JSON`, order key empty when it is the sender. The scripts read what
 * stands before the JSON, which they keep as it is: `[to, flags, n, replyTo, correlation, headers, payload]`. None of these names has a LF.
 */

const M1 = 1;
const TOPIC = 2;
const DEDUPE = 4;

/** What a publishing script takes of messages from one place to another: runs of a head of seven arguments, then a text of each. */
export function addMessages(
  messages: readonly NewMessage[],
  from: number,
  to: number,
  into: (string | number)[],
): void {
  for (let first = from; first < to; ) {
    const head = messages[first] as NewMessage;
    let end = first + 1;
    while (end < to && isAlike(head, messages[end] as NewMessage)) end += 1;
    const { priority, expiresInMs } = head;
    const key = head.orderKey === head.from ? '' : head.orderKey;
    into.push(end - first, flagsOf(head), priority, expiresInMs ?? '-', head.to, head.from, key);
    for (; first < end; first++) into.push(textOf(messages[first] as NewMessage));
  }
}

function isAlike(a: NewMessage, b: NewMessage): boolean {
  return (
    a.to === b.to &&
    a.from === b.from &&
    a.orderKey === b.orderKey &&
    a.priority === b.priority &&
    a.expiresInMs === b.expiresInMs &&
    a.class === b.class &&
    a.topic === b.topic &&
    a.dedupe === b.dedupe
  );
}

function flagsOf(message: NewMessage): number {
  return (message.class === 'm1' ? M1 : 0) + (message.topic ? TOPIC : 0) + (message.dedupe ? DEDUPE : 0);
}

function textOf(message: NewMessage): string {
  const { id, to, payload, n, replyTo, correlation, headers } = message;
  const rest: unknown[] = [to, flagsOf(message), n, replyTo, correlation, headers];
  // JSON has no `undefined`: then there is no seventh.
  if (payload !== undefined) rest.push(payload);
  return `${id}\n${JSON.stringify(rest)}`;
}

/** A message as it was sent, and when. */
export interface Letter {
  readonly message: NewMessage;
  readonly sentAt: BackendTime;
}

type Rest = readonly [
  to: string,
  flags: number,
  n: number,
  replyTo: string | null,
  correlation: string | null,
  headers: Readonly<Record<string, string>> | null,
  payload?: unknown,
];

export function readLetter(text: string): Letter {
  const afterTime = text.indexOf(' ');
  const afterExpiry = text.indexOf(' ', afterTime + 1);
  const afterPriority = text.indexOf(' ', afterExpiry + 1);
  const afterFrom = text.indexOf('\n', afterPriority + 1);
  const afterKey = text.indexOf('\n', afterFrom + 1);
  const afterId = text.indexOf('\n', afterKey + 1);
  const expiry = text.slice(afterTime + 1, afterExpiry);
  const from = text.slice(afterPriority + 1, afterFrom);
  const [to, flags, n, replyTo, correlation, headers, payload] = JSON.parse(text.slice(afterId + 1)) as Rest;
  const message: NewMessage = {
    id: text.slice(afterKey + 1, afterId),
    dedupe: (flags & DEDUPE) !== 0,
    class: (flags & M1) !== 0 ? 'm1' : 'm0',
    from,
    to,
    topic: (flags & TOPIC) !== 0,
    orderKey: afterKey === afterFrom + 1 ? from : text.slice(afterFrom + 1, afterKey),
    n,
    payload,
    priority: Number(text.slice(afterExpiry + 1, afterPriority)),
    expiresInMs: expiry === '-' ? undefined : Number(expiry),
    replyTo: replyTo ?? undefined,
    correlation: correlation ?? undefined,
  };
  return {
    message: headers === null ? message : { ...message, headers },
    sentAt: Number(text.slice(0, afterTime)) as BackendTime,
  };
}
