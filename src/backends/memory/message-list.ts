import type { MailboxView } from '../../core/ports/messages.ts';
import type { Cursor, PageRequest } from '../../core/ports/words.ts';
import type { Stored } from './message-lane.ts';
import type { Mailbox } from './message-mailbox.ts';

interface Letter {
  readonly stored: Stored;
  readonly reason?: string;
}

/** Where a page begins: a mailbox, and the messages in it that earlier pages had. */
interface Place {
  readonly ordinal: number;
  readonly sequence: number;
}

/** One page of mailboxes in order of age. With messages, `limit` counts these, and mailboxes without any are left out. */
export function listMailboxes(
  mailboxes: readonly Mailbox[],
  which: 'waiting' | 'dead' | undefined,
  page: PageRequest,
): { readonly items: readonly MailboxView[]; readonly next: Cursor | undefined; readonly scanned: number } {
  const from = parse(page.after);
  const items: MailboxView[] = [];
  let left = page.limit;
  let scanned = 0;
  for (const mailbox of mailboxes) {
    if (mailbox.ordinal < from.ordinal) continue;
    const seen = mailbox.ordinal === from.ordinal ? from.sequence : 0;
    if (which === undefined) {
      if (seen > 0) continue;
      if (left === 0) return { items, next: format({ ordinal: mailbox.ordinal, sequence: 0 }), scanned };
      items.push(viewOf(mailbox, []));
      left -= 1;
      scanned += 1;
      continue;
    }
    const letters = lettersOf(mailbox, which).filter(({ stored }) => stored.sequence > seen);
    if (letters.length === 0) continue;
    const shown = letters.slice(0, left);
    const last = shown.at(-1)?.stored.sequence ?? seen;
    if (shown.length > 0) items.push(viewOf(mailbox, shown));
    left -= shown.length;
    scanned += shown.length;
    if (shown.length < letters.length)
      return { items, next: format({ ordinal: mailbox.ordinal, sequence: last }), scanned };
  }
  return { items, next: undefined, scanned };
}

function lettersOf(mailbox: Mailbox, which: 'waiting' | 'dead'): readonly Letter[] {
  if (which === 'waiting') return mailbox.waiting().map((stored) => ({ stored }));
  return mailbox.dead.toSorted((a, b) => a.stored.sequence - b.stored.sequence);
}

function viewOf(mailbox: Mailbox, letters: readonly Letter[]): MailboxView {
  return {
    address: mailbox.address,
    ...(mailbox.group === undefined ? {} : { group: mailbox.group }),
    ...mailbox.counts,
    messages: letters.map(({ stored, reason }) => ({
      message: stored.message,
      delivery: stored.delivery,
      sentAt: stored.sentAt,
      ...(reason === undefined ? {} : { reason }),
    })),
  };
}

function parse(cursor: Cursor | undefined): Place {
  const [ordinal = 0, sequence = 0] = (cursor ?? '').split('.').map(Number);
  return {
    ordinal: Number.isFinite(ordinal) ? ordinal : 0,
    sequence: Number.isFinite(sequence) ? sequence : 0,
  };
}

function format({ ordinal, sequence }: Place): Cursor {
  return `${ordinal}.${sequence}` as Cursor;
}
