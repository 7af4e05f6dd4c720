import type { MailboxView, MessageCounts } from '../../../core/ports/messages.ts';
import type { BackendTime, Cursor, Page, PageRequest } from '../../../core/ports/words.ts';
import type { Database } from '../database.ts';
import { type LetterRow, messageOf } from './letters.ts';

/** Counts as shown: what a dead session has in hand waits again, though nobody has taken it back yet. */
const SHOWN = /* sql */ `
  now as materialized (select agentmesh.now_us() as at),
  orphaned as materialized (
    select f.box, sum(cardinality(f.seqs))::bigint as n from agentmesh.message_flights f
    left join agentmesh.sessions s on s.number = f.session and s.closed_at is null and s.expires_at > (select at from now)
    where s.number is null group by 1
  ),
  shown as (
    select c.box, c.published, c.delivered, c.dropped, c.expired, c.dead,
      c.waiting + coalesce(o.n, 0) as waiting, c.handling - coalesce(o.n, 0) as handling
    from agentmesh.message_counts c left join orphaned o on o.box = c.box
  )`;

const TOTALS = /* sql */ `
  with ${SHOWN}
  select (select at from now) as at, t.*, (
    select coalesce(json_agg(row_to_json(b) order by b.box), '[]')::text from (
      select s.*, b.address, b.group_name as "group" from shown s join agentmesh.message_boxes b on b.id = s.box
      where s.box >= $1 and ($2::text is null or b.address = $2)
        and ($4 = 0 or case when $4 = 1 then s.waiting > 0 else s.dead > 0 end)
      order by s.box limit $3) b) as boxes
  from (
    select coalesce(sum(s.published), 0)::bigint as published, coalesce(sum(s.delivered), 0)::bigint as delivered,
      coalesce(sum(s.dropped), 0)::bigint as dropped, coalesce(sum(s.expired), 0)::bigint as expired,
      coalesce(sum(s.dead), 0)::bigint as dead, coalesce(sum(s.waiting), 0)::bigint as waiting,
      coalesce(sum(s.handling), 0)::bigint as handling
    from (
      select s.published, s.delivered, s.dropped, s.expired, s.dead, s.waiting, s.handling from shown s
      union all
      select r.published, r.delivered, r.dropped, r.expired, 0, 0, 0 from agentmesh.message_retired r) s) t`;

const LETTERS = {
  waiting: /* sql */ `
    with held as materialized (
      select e.box, e.seq from (
        select f.box, unnest(f.seqs) as seq from agentmesh.message_flights f
        join agentmesh.sessions s on s.number = f.session and s.closed_at is null and s.expires_at > agentmesh.now_us()
        where f.box = any ($1)) e
    )
    select t.box, t.seq, t.sender, t.id, t.body, t.priority, t.life, t.at_most_once, t.delivery, t.sent_at, null as reason
    from agentmesh.message_letters t
    where t.box = any ($1) and (t.box > $2 or t.seq > $3) and (t.box, t.seq) not in (select h.box, h.seq from held h)
    order by t.box, t.seq limit $4`,
  dead: /* sql */ `
    select t.box, t.seq, t.sender, t.id, t.body, t.priority, t.life, false as at_most_once, t.delivery, t.sent_at, t.reason
    from agentmesh.message_dead t
    where t.box = any ($1) and (t.box > $2 or t.seq > $3)
    order by t.box, t.seq limit $4`,
} as const;

interface BoxText extends MessageCounts {
  readonly box: number;
  readonly address: string;
  readonly group: string;
}

interface TotalsRow extends MessageCounts {
  readonly at: BackendTime;
  readonly boxes: string;
}

interface Shown extends LetterRow {
  readonly box: number;
  readonly seq: number;
  readonly reason: string | null;
}

/** Where a page begins: a mailbox, and the letters in it that earlier pages had. */
interface Place {
  readonly box: number;
  readonly seq: number;
}

/** One page of mailboxes in order of age. With letters, `limit` counts these, and mailboxes without any are left out. */
export async function listMailboxes(
  db: Database,
  filter: { readonly address?: string; readonly messages?: 'waiting' | 'dead' },
  page: PageRequest,
): Promise<Page<MailboxView> & { readonly totals: MessageCounts }> {
  const from = parse(page.after);
  const which = filter.messages;
  const [row] = await db.read<TotalsRow>(TOTALS, [
    from.box,
    filter.address ?? null,
    page.limit + 1,
    which === undefined ? 0 : which === 'waiting' ? 1 : 2,
  ]);
  const { at, boxes: text, ...counts } = row as TotalsRow;
  const totals = countsOf(counts);
  const boxes = JSON.parse(text) as readonly BoxText[];
  if (which === undefined) {
    const items = boxes.slice(0, page.limit).map((box) => viewOf(box, []));
    const next = boxes[page.limit];
    return {
      at,
      totals,
      items,
      scanned: items.length,
      next: next && format({ box: next.box, seq: 0 }),
    };
  }
  const letters = await db.read<Shown>(LETTERS[which], [
    boxes.map(({ box }) => box),
    from.box,
    from.seq,
    page.limit + 1,
  ]);
  const shown = letters.slice(0, page.limit);
  const items = boxes.flatMap((box) => {
    const mine = shown.filter((letter) => letter.box === box.box);
    return mine.length === 0 ? [] : [viewOf(box, mine)];
  });
  const last = shown.at(-1);
  const more = letters.length > shown.length || (boxes.length > page.limit && last !== undefined);
  return {
    at,
    totals,
    items,
    scanned: shown.length,
    next: more && last !== undefined ? format({ box: last.box, seq: last.seq }) : undefined,
  };
}

function viewOf(box: BoxText, letters: readonly Shown[]): MailboxView {
  return {
    address: box.address,
    ...(box.group === '' ? {} : { group: box.group }),
    ...countsOf(box),
    messages: letters.map((letter) => ({
      message: messageOf(letter, box.address),
      delivery: letter.delivery,
      sentAt: letter.sent_at as BackendTime,
      ...(letter.reason === null ? {} : { reason: JSON.parse(letter.reason) as string }),
    })),
  };
}

function countsOf(counts: MessageCounts): MessageCounts {
  const { published, delivered, dropped, expired, dead, waiting, handling } = counts;
  return { published, delivered, dropped, expired, dead, waiting, handling };
}

function parse(cursor: Cursor | undefined): Place {
  const [box = 0, seq = 0] = (cursor ?? '').split('.').map(Number);
  return { box: Number.isSafeInteger(box) ? box : 0, seq: Number.isSafeInteger(seq) ? seq : 0 };
}

function format({ box, seq }: Place): Cursor {
  return `${box}.${seq}` as Cursor;
}
