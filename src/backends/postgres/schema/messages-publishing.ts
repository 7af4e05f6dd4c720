import { MESSAGE_PLANS } from './messages-boxes.ts';

/** Storing and fanning out. */
export const MESSAGE_PUBLISHING: string = /* sql */ `
-- A loss to be told of, at the message that brought it about.
create type agentmesh.message_loss as (item int, sender text, address text, count bigint, reason text);

-- Puts copies into locked mailboxes; "p_copies" are places in the arrays, in order. "p_anew": copies that come when all that waited before
-- in their lane is as good as dropped; none when it is empty.
create function agentmesh.message_store_v1(
  p_boxes bigint[], p_copies int[], p_ids text[], p_senders text[], p_keys bigint[], p_priorities smallint[], p_at_most_once boolean[],
  p_lives bigint[], p_bodies text[], p_now bigint, p_anew boolean[] default '{}'
) returns void language plpgsql as $$
declare
  v_counted bigint;
begin
  with item as materialized (
    select * from unnest(p_ids, p_senders, p_keys, p_priorities, p_at_most_once, p_lives, p_bodies) with ordinality
      i (id, sender, lane, priority, at_most_once, life, body, n)
  ), box as materialized (
    select w.b as box, c.last_seq, c.version, c.low_version from (select distinct b from unnest(p_boxes) b) w cross join lateral (
      select c.last_seq, c.version, c.low_version from agentmesh.message_counts c where c.box = w.b order by c.version desc limit 1) c
  ), copy as materialized (
    select w.box, i.lane, i.priority, i.at_most_once, i.life, i.sender, i.id, i.body,
      coalesce(w.anew, false) as anew, b.last_seq + row_number() over (partition by w.box order by w.n) as seq
    from unnest(p_boxes, p_copies, p_anew) w (box, n, anew) join item i on i.n = w.n join box b on b.box = w.box
  ), former as materialized (
    select w.box, w.lane, l.ctid as place, l.version, l.rank, l.tail, l.queued, l.held, l.member, l.single, l.stalled, l.not_before
    from (select c.box, c.lane, b.low_version from copy c join box b on b.box = c.box group by 1, 2, 3) w left join lateral (
      select l.ctid, l.* from agentmesh.message_lanes l
      where l.box = w.box and l.lane = w.lane and l.version >= w.low_version order by l.version desc limit 1) l on true
  ), levelled as materialized (
    select c.*, least(min(c.priority) over (partition by c.box, c.lane, c.anew order by c.seq),
      case when f.queued > 0 and not c.anew then f.tail end) as level
    from copy c join former f on f.box = c.box and f.lane = c.lane
  ), inserted as (
    insert into agentmesh.message_letters
      (box, lane, seq, rank, priority, at_most_once, sent_at, life, expires_at, sender, id, body)
    select l.box, l.lane, l.seq, (-l.level::bigint << 48) + l.seq, l.priority, l.at_most_once, p_now, l.life, p_now + l.life,
      l.sender, l.id, l.body
    from levelled l
  ), grown as materialized (
    select f.*, w.n, w.last_level, coalesce(f.rank, w.first_rank) as new_rank from former f join (
      select l.box, l.lane, count(*)::int as n, coalesce(min(l.level) filter (where l.anew), min(l.level))::smallint as last_level,
        (-coalesce(max(l.level) filter (where not l.anew), max(l.level))::bigint << 48) + min(l.seq) as first_rank
      from levelled l group by 1, 2) w on w.box = f.box and w.lane = f.lane
  ), removed as (
    delete from agentmesh.message_lanes l where l.ctid = any (array(select g.place from grown g where g.place is not null))
  ), added as (
    insert into agentmesh.message_lanes (box, lane, version, rank, tail, queued, held, member, single, stalled, not_before)
    -- A lane that comes back must look newer than its former self: the version of the mailbox has passed that.
    select g.box, g.lane, coalesce(g.version + 1, b.version), g.new_rank, g.last_level, coalesce(g.queued, 0) + g.n, coalesce(g.held, 0),
      g.member, coalesce(g.single, false), coalesce(g.stalled, false), coalesce(g.not_before, 0)
    from grown g join box b on b.box = g.box
  )
  select count(agentmesh.message_tally_v1(w.box, array[w.n, 0, 0, 0, 0, w.n, 0],
    (select coalesce(array_agg(g.new_rank), '{}') from grown g where g.box = w.box and g.rank is null), w.last))
  into v_counted
  from (select c.box, count(*) as n, max(c.seq) as last from copy c group by 1) w;
end $$;

-- The oldest waiting letters of a mailbox, in order of arrival.
create function agentmesh.message_oldest_v1(p_box bigint, p_count bigint)
returns table (lane bigint, seq bigint, sender text) language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select t.lane, t.seq, t.sender
    from (
      select l.* from agentmesh.message_lanes l
      where l.box = p_box and l.rank is not null order by l.rank & 281474976710655 limit p_count) l
    cross join lateral (
      select t.lane, t.seq, t.sender from agentmesh.message_letters t
      where t.box = p_box and t.lane = l.lane and t.seq >= (l.rank & 281474976710655)
        and (not l.stalled or t.seq not in (select h.seq from agentmesh.message_held_v1(array[p_box]) h))
      order by t.seq limit p_count) t
    order by t.seq limit p_count;
end $$;

-- Of letters that come to a full mailbox, in order: which of them come when all that waited before in their lane has been dropped, so that
-- nothing is ahead of them. The first "p_room" find room; once one of the others has come, the oldest goes.
create function agentmesh.message_anew_v1(p_box bigint, p_lanes bigint[], p_room bigint) returns boolean[] language plpgsql stable as $$
begin
  return (
    with letter as materialized (
      select i.lane, i.n, lag(i.n) over (partition by i.lane order by i.n) as former
      from unnest(p_lanes) with ordinality i (lane, n)
    ), oldest as materialized (
      select o.lane, max(o.n) as last, count(*) as n from (
        select o.lane, row_number() over (order by o.seq) as n
        from agentmesh.message_oldest_v1(p_box, cardinality(p_lanes) - p_room) o) o
      group by 1
    ), emptied as materialized (
      select o.lane, o.last from oldest o cross join lateral (
        select l.queued from agentmesh.message_lanes l
        where l.box = p_box and l.lane = o.lane order by l.version desc limit 1) l
      where l.queued = o.n
    ), box as materialized (
      select c.waiting from agentmesh.message_counts c where c.box = p_box order by c.version desc limit 1
    ), first as materialized (
      select l.lane, max(l.n) as n from letter l cross join box b left join emptied e on e.lane = l.lane
      where case when l.former is null then l.n - e.last > p_room else l.n - l.former > p_room + b.waiting end
      group by 1
    )
    select array_agg(coalesce(l.n >= f.n, false) order by l.n) from letter l left join first f on f.lane = l.lane);
end $$;

-- What finds no room in one locked mailbox, or nobody who listens. "p_items" come in order.
-- "fate" of each: 0 stored, 1 stored and the oldest dropped for it, 2 dropped, 3 refused, 4 nobody listens.
create function agentmesh.message_admit_v1(
  p_box bigint, p_items int[], p_at_most_once boolean[], p_topic boolean[], p_max bigint, p_overflow smallint, p_now bigint,
  out items int[], out fates int[], out expired agentmesh.message_loss[]) language plpgsql as $$
#variable_conflict use_column
declare
  v_box agentmesh.message_boxes;
  v_room bigint;
  v_max bigint := p_max;
  v_overflow smallint := p_overflow;
  v_keeps boolean;
  v_heard boolean;
  v_unheard boolean[];
begin
  select b.* into v_box from agentmesh.message_boxes b where b.id = p_box;
  if v_box.keeps = 1 then
    v_max := v_box.max_length;
    v_overflow := v_box.overflow;
  end if;
  v_keeps := v_box.keeps <> 2;
  v_heard := agentmesh.message_heard_v1(p_box, p_now);
  v_unheard := array(
    select not v_heard and (w.m0 or (not v_keeps and not w.topic))
    from unnest(p_at_most_once, p_topic) with ordinality w (m0, topic, n) order by w.n);
  select greatest(0, v_max - c.waiting) into v_room
  from agentmesh.message_counts c where c.box = p_box order by c.version desc limit 1;
  if (select count(*) from unnest(v_unheard) u where not u) > v_room then
    select array_agg(row(i.item, l.sender, v_box.address, l.count, 'expired')::agentmesh.message_loss) into expired
    from agentmesh.message_clear_v1(array[p_box], true, p_now) l,
      (select i.item from unnest(p_items, v_unheard) with ordinality i (item, unheard, place)
        where not i.unheard order by i.place offset v_room limit 1) i;
    if expired is not null then
      select greatest(0, v_max - c.waiting) into v_room
      from agentmesh.message_counts c where c.box = p_box order by c.version desc limit 1;
    end if;
  end if;
  expired := coalesce(expired, '{}');
  select array_agg(w.item order by w.place), array_agg(
    case when w.unheard then 4 when w.n <= v_room then 0 when v_overflow = 1 then 1
      when v_overflow = 0 and not w.m0 then 3 else 2 end order by w.place)
  into items, fates
  from (
    select i.item, i.m0, i.unheard, i.place, count(*) filter (where not i.unheard) over (order by i.place) as n
    from unnest(p_items, p_at_most_once, v_unheard) with ordinality i (item, m0, unheard, place)) w;
end $$;

-- "p_kinds": 1 to a topic, 2 its id is the caller's, 4 at most once. Answers with what is not simply published to one receiver, and with
-- addresses to be told beside those that were named.
create function agentmesh.message_publish_v1(
  p_session bigint, p_sequence bigint, p_ids text[], p_senders text[], p_tos text[], p_kinds smallint[], p_keys text[],
  p_priorities smallint[], p_lives bigint[], p_bodies text[], p_max bigint, p_overflow smallint
) returns table (answer text, told text[]) language plpgsql ${MESSAGE_PLANS} as $$
#variable_conflict use_column
declare
  c_window constant bigint := 600000000;
  v_answer text;
  v_now bigint;
  v_special boolean := exists (select from unnest(p_kinds) k where k & 7 <> 0);
  v_topics boolean := exists (select from unnest(p_kinds) k where k & 1 = 1);
  v_again int[] := '{}'; -- duplicates
  v_first int[]; -- the first of each id in this batch
  v_addresses text[];
  v_claimed bigint[];
  v_boxes bigint[];
  v_copies int[];
  v_reach int[]; -- receivers of each item; null: one
  v_refused int[] := '{}';
  v_unheard int[] := '{}';
  v_losses agentmesh.message_loss[] := '{}';
  v_told text[];
  v_trouble bigint[];
begin
  v_answer := agentmesh.op_begin_v1(p_session, p_sequence);
  if v_answer is not null then
    return query select v_answer, null::text[];
    return;
  end if;
  v_now := agentmesh.now_us();
  if v_topics then
    -- Members of a topic stay as they are until the copies are there.
    perform pg_advisory_xact_lock_shared(t.key) from (
      select distinct hashtextextended('agentmesh.message_topic ' || w.place, 0) as key
      from unnest(p_tos, p_kinds) w (place, kind) where w.kind & 1 = 1 order by 1) t;
  end if;
  if v_special and exists (select from unnest(p_kinds) k where k & 2 = 2) then
    with given as materialized (
      select case when w.kind & 1 = 1 then 't' else 'a' end || w.place as place, w.id, min(w.n)::int as first, array_agg(w.n::int) as all
      from unnest(p_tos, p_ids, p_kinds) with ordinality w (place, id, kind, n) where w.kind & 2 = 2 group by 1, 2
    ), fresh as (
      insert into agentmesh.message_ids as m (place, id, seen_at)
      select g.place, g.id, v_now from given g order by 1, 2
      on conflict (place, id) do update set seen_at = excluded.seen_at where m.seen_at <= excluded.seen_at - c_window
      returning m.place, m.id
    ), known as (
      select a.n from given g left join fresh f on f.place = g.place and f.id = g.id cross join lateral unnest(g.all) a (n)
      where f.id is null or a.n <> g.first
    )
    select array(select k.n from known k), array(
      select g.first from given g join fresh f on f.place = g.place and f.id = g.id) into v_again, v_first;
  end if;

  v_addresses := array(
    select distinct w.place from unnest(p_tos, p_kinds) with ordinality w (place, kind, n)
    where w.kind & 1 = 0 and w.n <> all (v_again));
  v_claimed := agentmesh.message_boxes_v1(v_addresses, array_fill(''::text, array[cardinality(v_addresses)]));
  loop
    if not v_topics then
      select array_agg(w.n::int order by w.n), array_agg(a.box order by w.n) into v_copies, v_boxes
      from unnest(p_tos) with ordinality w (place, n) join unnest(v_addresses, v_claimed) a (address, box) on a.address = w.place
      where w.n <> all (v_again);
    else
      with direct as materialized (
        select a.address, a.box from unnest(v_addresses, v_claimed) a (address, box)
      ), topic as materialized (
        select w.topic, p.box, p.grouped, m.address from (
          select distinct w.place as topic from unnest(p_tos, p_kinds) w (place, kind) where w.kind & 1 = 1) w
        cross join lateral (select p.* from agentmesh.message_places p where p.topic = w.topic offset 0) p
        cross join lateral (select m.* from agentmesh.message_members m where m.id = p.member offset 0) m
        left join lateral (select s.* from agentmesh.sessions s where s.number = m.session offset 0) s on true
        where (s.closed_at is null and s.expires_at > v_now) or coalesce(m.gone_until, s.expires_at + m.keep_us, 0) > v_now
      ), copy as materialized (
        select w.n::int as n, d.box from unnest(p_tos, p_kinds) with ordinality w (place, kind, n)
        join direct d on d.address = w.place where w.kind & 1 = 0 and w.n <> all (v_again)
        union all
        select distinct w.n::int, t.box from unnest(p_tos, p_kinds, p_senders) with ordinality w (place, kind, sender, n)
        join topic t on t.topic = w.place
        where w.kind & 1 = 1 and w.n <> all (v_again) and (t.grouped or t.address <> w.sender)
      )
      select array_agg(c.n order by c.n, c.box), array_agg(c.box order by c.n, c.box) into v_copies, v_boxes from copy c;
    end if;
    exit when v_boxes is null;
    exit when (select count(*) from agentmesh.message_lock_v1(v_boxes)) = (select count(distinct b) from unnest(v_boxes) b);
    v_claimed := agentmesh.message_boxes_v1(v_addresses, array_fill(''::text, array[cardinality(v_addresses)]));
  end loop;
  -- Others may have had the locks for a while.
  v_now := agentmesh.now_us();

  if v_topics then
    select array_agg(case when w.kind & 1 = 1 then coalesce(c.n, 0) end order by w.n) into v_reach
    from unnest(p_kinds) with ordinality w (kind, n)
    left join (select c.n as item, count(*)::int as n from unnest(v_copies) c (n) group by 1) c on c.item = w.n;
    perform agentmesh.message_retire_v1(count(*), 0, count(*), 0)
    from unnest(v_reach) with ordinality r (n, item) where r.n = 0 and r.item <> all (v_again) having count(*) > 0;
  end if;

  -- Mailboxes that may not take all of it.
  v_trouble := array(
    select w.box from (
      select c.box, count(*) as n, bool_or(k.kind & 4 = 4) as m0
      from unnest(v_boxes, v_copies) c (box, n) join unnest(p_kinds) with ordinality k (kind, n) on k.n = c.n group by 1) w
    cross join lateral (select b.* from agentmesh.message_boxes b where b.id = w.box offset 0) b
    cross join lateral (
      select c.waiting from agentmesh.message_counts c where c.box = w.box order by c.version desc limit 1) c
    where w.m0 or b.keeps = 2 or c.waiting + w.n > case when b.keeps = 1 then b.max_length else p_max end
    order by 1);
  if v_trouble <> '{}' then
    select s.boxes, s.copies, s.refused, s.unheard, s.losses into v_boxes, v_copies, v_refused, v_unheard, v_losses
    from agentmesh.message_sift_v1(v_trouble, v_boxes, v_copies, p_ids, p_senders, p_tos, p_kinds, p_keys, p_priorities, p_lives,
      p_bodies, p_max, p_overflow, v_now) s;
  end if;
  if v_boxes is not null and v_boxes <> '{}' then
    perform agentmesh.message_store_v1(v_boxes, v_copies, p_ids, p_senders,
      array(select hashtextextended(k.key, 0) from unnest(p_keys) with ordinality k (key, n) order by k.n),
      p_priorities, array(select k.kind & 4 = 4 from unnest(p_kinds) with ordinality k (kind, n) order by k.n),
      p_lives, p_bodies, v_now);
    if v_topics then
      v_told := agentmesh.message_addresses_v1(array(select distinct b from unnest(v_boxes) b));
    end if;
  end if;
  if v_first is not null and v_refused <> '{}' then
    -- What was refused may come again under its id.
    v_refused := v_refused || array(
      select w.n::int from unnest(p_tos, p_ids, p_kinds) with ordinality w (place, id, kind, n)
      join unnest(p_tos, p_ids, p_kinds) with ordinality r (place, id, kind, n)
        on r.place = w.place and r.id = w.id and r.kind & 1 = w.kind & 1 and r.n = any (v_refused) and r.n = any (v_first)
      where w.kind & 2 = 2 and w.n <> r.n and w.n = any (v_again));
    delete from agentmesh.message_ids m where m.ctid = any (array(
      select m.ctid from unnest(p_tos, p_ids, p_kinds) with ordinality w (place, id, kind, n)
      cross join lateral (
        select m.ctid from agentmesh.message_ids m
        where m.place = case when w.kind & 1 = 1 then 't' else 'a' end || w.place and m.id = w.id offset 0) m
      where w.n = any (v_refused) and w.n = any (v_first)));
  end if;

  if v_special or v_trouble <> '{}' then
    v_answer := agentmesh.message_published_v1(v_now, v_again, v_refused, v_unheard, v_reach, v_losses);
  else
    v_answer := '{"at":' || v_now || ',"odd":[]}';
  end if;
  perform agentmesh.op_end_v1(p_session, p_sequence, v_answer);
  return query select v_answer, v_told;
end $$;

-- Mailboxes that are full, or where nobody listens: what can't be stored there is counted and told, and taken out of the copies. Copies for
-- which the oldest go are stored here, so that nothing is dropped before its successor has come.
create function agentmesh.message_sift_v1(
  p_trouble bigint[], p_boxes bigint[], p_copies int[], p_ids text[], p_senders text[], p_tos text[], p_kinds smallint[], p_keys text[],
  p_priorities smallint[], p_lives bigint[], p_bodies text[], p_max bigint, p_overflow smallint, p_now bigint,
  out boxes bigint[], out copies int[], out refused int[], out unheard int[], out losses agentmesh.message_loss[]
) language plpgsql as $$
#variable_conflict use_column
declare
  v_box record;
  v_items int[];
  v_fates int[];
  v_expired agentmesh.message_loss[];
  v_dropped agentmesh.message_loss[];
  v_displaced bigint;
  v_stored int[];
  v_keys bigint[];
  v_lanes bigint[];
  v_seqs bigint[];
begin
  refused := '{}';
  unheard := '{}';
  losses := '{}';
  boxes := array(select c.box from unnest(p_boxes, p_copies) with ordinality c (box, n, place)
    where c.box <> all (p_trouble) order by c.place);
  copies := array(select c.n from unnest(p_boxes, p_copies) with ordinality c (box, n, place)
    where c.box <> all (p_trouble) order by c.place);
  for v_box in
    select c.*, b.address from (
      select c.box, array_agg(c.n order by c.n) as items, array_agg(k.kind & 4 = 4 order by c.n) as m0,
        array_agg(k.kind & 1 = 1 order by c.n) as topic
      from unnest(p_boxes, p_copies) c (box, n) join unnest(p_kinds) with ordinality k (kind, n) on k.n = c.n
      where c.box = any (p_trouble) group by 1) c
    cross join lateral (select b.address from agentmesh.message_boxes b where b.id = c.box offset 0) b
    order by c.box
  loop
    select a.items, a.fates, a.expired into v_items, v_fates, v_expired
    from agentmesh.message_admit_v1(v_box.box, v_box.items, v_box.m0, v_box.topic, p_max, p_overflow, p_now) a;
    losses := losses || v_expired;

    -- Told only for topics: who sends to one address learns it from the answer itself.
    unheard := unheard || array(
      select f.item from unnest(v_items, v_fates, v_box.topic) f (item, fate, topic) where f.fate = 4 and not f.topic);
    refused := refused || array(
      select f.item from unnest(v_items, v_fates, v_box.topic) f (item, fate, topic) where f.fate = 3 and not f.topic);
    v_dropped := array(
      select row(f.item, s.sender, v_box.address, 1, case when f.fate = 4 then 'no-receiver' else 'full' end)::agentmesh.message_loss
      from unnest(v_items, v_fates, v_box.topic) f (item, fate, topic)
      join unnest(p_senders) with ordinality s (sender, n) on s.n = f.item
      where f.fate = 2 or (f.topic and f.fate in (3, 4)) order by f.item);
    losses := losses || v_dropped;
    perform agentmesh.message_tally_v1(v_box.box, array[f.n, 0, f.n, 0, 0, 0, 0]) from (
      select count(*) as n from unnest(v_fates, v_box.topic) f (fate, topic)
      where f.fate in (2, 4) or (f.fate = 3 and f.topic)) f where f.n > 0;
    perform agentmesh.message_miss_v1(array_agg(v_box.box), 'full', array_agg(s.sender), array_agg(1::bigint))
    from unnest(v_items, v_fates, v_box.m0) f (item, fate, m0)
    join unnest(p_senders) with ordinality s (sender, n) on s.n = f.item
    where f.fate = 2 and f.m0 having count(*) > 0;

    v_displaced := (select count(*) from unnest(v_fates) f where f = 1);
    if v_displaced = 0 then
      boxes := boxes || array(select v_box.box from unnest(v_fates) f where f = 0);
      copies := copies || array(select f.item from unnest(v_items, v_fates) f (item, fate) where f.fate = 0 order by 1);
      continue;
    end if;
    v_stored := array(select f.item from unnest(v_items, v_fates) f (item, fate) where f.fate in (0, 1) order by 1);
    v_keys := array(select hashtextextended(k.key, 0) from unnest(p_keys) with ordinality k (key, n) order by k.n);
    perform agentmesh.message_store_v1(array_fill(v_box.box, array[cardinality(v_stored)]), v_stored, p_ids, p_senders, v_keys,
      p_priorities, array(select k.kind & 4 = 4 from unnest(p_kinds) with ordinality k (kind, n) order by k.n), p_lives, p_bodies, p_now,
      case when v_displaced = 1 then '{}' else agentmesh.message_anew_v1(v_box.box,
        array(select v_keys[s.item] from unnest(v_stored) with ordinality s (item, n) order by s.n),
        cardinality(v_stored) - v_displaced) end);
    select array_agg(o.lane), array_agg(o.seq),
      losses || array_agg(row(f.item, o.sender, v_box.address, 1, 'full')::agentmesh.message_loss order by o.n)
    into v_lanes, v_seqs, losses
    from (select row_number() over (order by o.seq) as n, o.* from agentmesh.message_oldest_v1(v_box.box, v_displaced) o) o
    join (select row_number() over (order by f.item) as n, f.item from unnest(v_items, v_fates) f (item, fate) where f.fate = 1) f
      on f.n = o.n;
    perform agentmesh.message_remove_v1(
      array_fill(v_box.box, array[cardinality(v_seqs)]), v_lanes, v_seqs, false, p_now);
  end loop;
end $$;

create function agentmesh.message_retire_v1(p_published bigint, p_delivered bigint, p_dropped bigint, p_expired bigint)
returns void language plpgsql as $$
begin
    insert into agentmesh.message_retired (published, delivered, dropped, expired)
    values (p_published, p_delivered, p_dropped, p_expired);
end $$;

-- Items that differ from "published to one receiver", by their place: s 1 duplicate, 2 no receiver, 3 full; n receivers; l losses.
create function agentmesh.message_published_v1(
  p_now bigint, p_again int[], p_refused int[], p_unheard int[], p_reach int[], p_losses agentmesh.message_loss[]
) returns text language plpgsql as $$
begin
  return (
    select json_build_object('at', p_now, 'odd', coalesce(json_agg(json_build_object('i', o.item - 1, 's', o.status, 'n', o.reach, 'l', o.losses)
      order by o.item), '[]'))::text
    from (
      select coalesce(s.item, r.item, l.item) as item, case when s.status > 0 then s.status when r.n = 0 then 2 else 0 end as status,
        r.n as reach, l.losses
      from (
        select a as item, 1 as status from unnest(p_again) a where a <> all (p_refused)
        union all select a, 3 from unnest(p_refused) a
        union all select a, 2 from unnest(p_unheard) a) s
      full join (select r.n, r.item::int from unnest(p_reach) with ordinality r (n, item) where r.n is not null) r on r.item = s.item
      full join (
        select l.item, json_agg(json_build_array(l.sender, l.address, l.count, l.reason) order by l.n) as losses
        from unnest(p_losses) with ordinality l (item, sender, address, count, reason, n) group by 1) l
        on l.item = coalesce(s.item, r.item)) o);
end $$;
`;
