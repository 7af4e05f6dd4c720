import type { BackendTime, SessionNumber, Token } from '../../../core/ports/words.ts';
import type { Transition } from '../../../core/ports/tasks.ts';
import { fromStored } from './text.ts';
import { stateOf } from './states.ts';

/** Characters an id may share with the one before it: more would need a character beyond ASCII to say so. */
const MOST_SHARED = 90;
const SHARED_BASE = 35;

/** Ids as the log keeps those of new tasks: each without what it shares with the one before it. */
export function toItems(ids: readonly string[]): string {
  let text = '';
  let last = '';
  let prefix = '';
  for (const [i, id] of ids.entries()) {
    // Ids that are made one after another mostly share as much as the two before them did.
    const { length } = prefix;
    if (length === 0 || !id.startsWith(prefix) || id.charCodeAt(length) === last.charCodeAt(length))
      prefix = i === 0 ? '' : id.slice(0, sharedWith(last, id));
    if (i > 0) text += '\u001e';
    const shared = prefix.length;
    text += shared < 3 ? id : `\u001c${String.fromCharCode(SHARED_BASE + shared)}${id.slice(shared)}`;
    last = id;
  }
  return text;
}

function sharedWith(a: string, b: string): number {
  const most = Math.min(a.length, b.length, MOST_SHARED);
  let n = 0;
  // Beyond ASCII a character isn't a byte, and the store counts bytes.
  while (n < most && a.charCodeAt(n) === b.charCodeAt(n) && a.charCodeAt(n) < 128) n += 1;
  return n;
}

/** The transitions of one entry of the log. */
export function transitionsOf(
  at: string,
  text: string,
): readonly (Transition & { readonly queue: string })[] {
  const found: (Transition & { readonly queue: string })[] = [];
  for (const run of text.split('\n')) {
    const cut = run.indexOf('\u001d');
    const [from, to, attempt, session, queue, reason, first] = run.slice(0, cut).split('\u001f') as [
      string,
      string,
      string,
      string,
      string,
      string,
      string,
    ];
    let id = '';
    let token = Number(first);
    for (const item of run.slice(cut + 1).split('\u001e')) {
      const end = item.indexOf('\u001f');
      const own = end < 0 ? item : item.slice(0, end);
      id = own.startsWith('\u001c') ? id.slice(0, own.charCodeAt(1) - SHARED_BASE) + own.slice(2) : own;
      if (end >= 0) token = Number(item.slice(end + 1));
      found.push({
        task: fromStored(id),
        at: Number(at) as BackendTime,
        from: from === 'n' ? 'new' : stateOf(from),
        to: stateOf(to),
        attempt: Number(attempt),
        token: (from === 'n' ? 0 : token) as Token,
        ...(session === '' ? {} : { session: Number(session) as SessionNumber }),
        ...(reason === '' ? {} : { reason: fromStored(reason) }),
        queue: fromStored(queue),
      });
      token += 1;
    }
  }
  return found;
}
