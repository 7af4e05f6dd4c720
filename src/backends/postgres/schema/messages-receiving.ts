import { MESSAGE_PLANS } from './messages-boxes.ts';

/** Handing out. */
export const MESSAGE_RECEIVING: string = /* sql */ `
-- Takes up to "p_limit" letters for one member out of one locked mailbox, in the order in which heads of lanes would be drawn one by one:
-- by the largest rank that came before in the lane.
create function agentmesh.message_take_v1(
  p_box bigint, p_address int, p_member bigint, p_flight bigint, p_limit int, p_single boolean, p_now bigint,
  p_session bigint, p_deadline bigint
) returns agentmesh.message_delivery[] language plpgsql as $$
declare
  v_taken agentmesh.message_delivery[] := '{}';
  v_chunk agentmesh.message_delivery[];
  v_left int := p_limit;
  v_marks bigint[];
  v_expired boolean;
  v_cut bigint;
  v_ranks bigint[];
begin
  loop
    select array(
      select l.rank from unnest(c.marks) m (rank) cross join lateral (
        select l.rank from agentmesh.message_lanes l
        where l.box = p_box and l.rank >= m.rank and l.rank < ((m.rank >> 48) + 1) << 48 order by l.rank limit 1) l)
    into v_marks
    from agentmesh.message_counts c where c.box = p_box order by c.version desc limit 1;

    exit when coalesce(v_marks, '{}') = '{}';

    with head as materialized (
      select h.lane, h.rank, h.queued from unnest(v_marks) m (rank) cross join lateral (
        select l.lane, l.rank, l.queued from agentmesh.message_lanes l
        where l.box = p_box and l.rank >= m.rank and l.rank < ((m.rank >> 48) + 1) << 48
          and not l.stalled and l.not_before <= p_now and (l.held = 0 or (not p_single and l.member = p_member))
        order by l.rank limit v_left) h
      order by h.rank limit v_left
    ), depth as materialized (
      select greatest(8, 2 * v_left / greatest(1, count(*)))::int as depth from head
    ), fetched as materialized (
      select h.lane, h.queued, t.seq, t.rank, t.priority, t.delivery, t.at_most_once, t.sent_at, t.life, t.expires_at,
        t.sender, t.id, t.body,
        max(t.rank) over (partition by h.lane order by t.seq) as path,
        count(*) over (partition by h.lane) as n,
        count(*) filter (where not t.at_most_once) over (partition by h.lane) as kept,
        count(*) filter (where not t.at_most_once) over (
          partition by h.lane order by t.seq rows between unbounded preceding and 1 preceding) as before
      from head h cross join lateral (
        select t.* from agentmesh.message_letters t
        where t.box = p_box and t.lane = h.lane and t.seq >= (h.rank & 281474976710655)
        order by t.seq limit (select d.depth from depth d)) t
    ), cut as materialized (
      -- Lanes of which not all was fetched: what comes after their last letter here is not known to be next.
      select min(c.path) as path from (
        select max(f.path) as path from fetched f where f.queued > f.n and not (p_single and f.kept > 0) group by f.lane) c
    ), chosen as (
      select f.* from fetched f, cut c
      where (not p_single or f.before = 0) and (c.path is null or f.path <= c.path)
      order by f.path, f.seq limit v_left
    )
    select
      (select array_agg(row(p_address, p_box, p_flight, c.lane, c.seq, c.delivery, c.sent_at, c.priority, c.life, c.at_most_once,
        c.sender, c.id, c.body)::agentmesh.message_delivery) from chosen c),
      (select bool_or(f.expires_at <= p_now) from fetched f),
      (select c.path from cut c)
    into v_chunk, v_expired, v_cut;

    if v_expired then
      perform agentmesh.message_miss_v1(array_agg(l.box), 'expired', array_agg(l.sender), array_agg(l.count))
      from agentmesh.message_clear_v1(array[p_box], true, p_now) l;
      continue;
    end if;
    exit when v_chunk is null;

    if exists (select from unnest(v_chunk) d where d.at_most_once) then
      delete from agentmesh.message_letters t where t.ctid = any (array(
        select t.ctid from unnest(v_chunk) d cross join lateral (
          select t.ctid from agentmesh.message_letters t
          where t.box = p_box and t.lane = d.lane and t.seq = d.seq offset 0) t
        where d.at_most_once));
    end if;
    with taken as materialized (
      select d.lane, count(*)::int as n, count(*) filter (where not d.at_most_once)::int as kept, max(d.seq) as last
      from unnest(v_chunk) d group by 1
    ), former as materialized (
      select t.n, t.kept, t.last, l.ctid as place, l.* from taken t cross join lateral (
        select l.ctid, l.* from agentmesh.message_lanes l
        where l.box = p_box and l.lane = t.lane order by l.version desc limit 1) l
    ), latter as materialized (
      select f.*, t.rank as next from former f left join lateral (
        select t.rank from agentmesh.message_letters t
        where t.box = p_box and t.lane = f.lane and t.seq > f.last order by t.seq limit 1) t on f.queued > f.n
    ), removed as (
      delete from agentmesh.message_lanes l where l.ctid = any (array(select f.place from former f))
    ), added as (
      insert into agentmesh.message_lanes (box, lane, version, rank, tail, queued, held, member, single)
      select p_box, l.lane, l.version + 1, l.next, l.tail, l.queued - l.n, l.held + l.kept,
        case when l.held + l.kept > 0 then p_member end, l.held + l.kept > 0 and p_single
      from latter l where l.queued > l.n or l.held + l.kept > 0
    )
    select array_agg(l.next) filter (where l.next is not null) into v_ranks from latter l;
    perform agentmesh.message_tally_v1(p_box,
      array[0, count(*) filter (where d.at_most_once), 0, 0, 0, -count(*), count(*) filter (where not d.at_most_once)],
      coalesce(v_ranks, '{}'), 0, v_marks)
    from unnest(v_chunk) d;

    v_taken := v_taken || v_chunk;
    v_left := v_left - cardinality(v_chunk);
    exit when v_left = 0 or v_cut is null;
  end loop;

  insert into agentmesh.message_flights (box, id, session, member, deadline, lanes, seqs)
  select p_box, p_flight, p_session, p_member, p_deadline, array_agg(d.lane order by d.n), array_agg(d.seq order by d.n)
  from unnest(v_taken) with ordinality
    d (address, box, flight, lane, seq, delivery, sent_at, priority, life, at_most_once, sender, id, body, n)
  where not d.at_most_once having count(*) > 0;
  return v_taken;
end $$;

-- What the same call handed out before. Letters in hand are still there; those at most once are in the answer.
create function agentmesh.message_received_v1(p_answer text) returns setof agentmesh.message_delivery language plpgsql as $$
#variable_conflict use_column
begin
  return query
    with flown as (
      select row_number() over (order by w.n, e.n) as n, w.address, f.box, f.id as flight, e.lane, e.seq, t.delivery, t.sent_at, t.priority,
        t.life, false as at_most_once, t.sender, t.id, t.body
      from json_array_elements(p_answer::json -> 'flights') with ordinality j (flight, n)
      cross join lateral (
        select (j.flight ->> 0)::int as address, (j.flight ->> 1)::bigint as box, (j.flight ->> 2)::bigint as id, j.n) w
      cross join lateral (select f.* from agentmesh.message_flights f where f.box = w.box and f.id = w.id offset 0) f
      cross join lateral unnest(f.lanes, f.seqs) with ordinality e (lane, seq, n)
      cross join lateral (
        select t.* from agentmesh.message_letters t where t.box = f.box and t.lane = e.lane and t.seq = e.seq offset 0) t
    ), gone as (
      -- The place among all, and so how many of the others come before.
      select (g.item -> 'n')::text::bigint - row_number() over (order by g.n) as before, g.n,
        json_populate_record(null::agentmesh.message_delivery, g.item -> 'd') as d
      from json_array_elements(p_answer::json -> 'gone') with ordinality g (item, n)
    )
    select a.address, a.box, a.flight, a.lane, a.seq, a.delivery, a.sent_at, a.priority, a.life, a.at_most_once, a.sender, a.id, a.body
    from (
      select f.n as place, 1 as half, 0::bigint as n2, f.address, f.box, f.flight, f.lane, f.seq, f.delivery, f.sent_at, f.priority,
        f.life, f.at_most_once, f.sender, f.id, f.body from flown f
      union all
      select g.before, 2, g.n, (g.d).* from gone g) a
    order by a.place, a.half, a.n2;
end $$;

-- The first row of an answer: what it says beside its deliveries.
create function agentmesh.message_head_v1(p_answer text) returns agentmesh.message_delivery language sql immutable as $$
  select row(0, null, null, null, null, null, null, null, null, null, null, null, p_answer)::agentmesh.message_delivery
$$;

create function agentmesh.message_receive_v1(
  p_session bigint, p_sequence bigint, p_addresses text[], p_limits int[], p_single boolean[], p_ack_us bigint
) returns setof agentmesh.message_delivery language plpgsql ${MESSAGE_PLANS} as $$
declare
  v_answer text;
  v_now bigint;
  v_boxes bigint[];
  v_sources record;
  v_taken agentmesh.message_delivery[] := '{}';
  v_chunk agentmesh.message_delivery[];
  v_flights json[] := '{}';
  v_flight bigint;
  v_of int := 0;
  v_left int;
  v_missed json;
  v_next bigint;
  v_locked boolean := false;
begin
  v_answer := agentmesh.op_begin_v1(p_session, p_sequence);
  if v_answer is not null then
    return query select (agentmesh.message_head_v1(v_answer)).*;
    return query select d.* from agentmesh.message_received_v1(v_answer) d;
    return;
  end if;
  v_now := agentmesh.now_us();
  v_boxes := array(
    select distinct p.box from unnest(p_addresses) w (address)
    cross join lateral (
      select m.id from agentmesh.message_members m where m.session = p_session and m.address = w.address offset 0) m
    cross join lateral (
      select p.box from agentmesh.message_places p
      where p.member = m.id and (p.place = 0 or p.grouped) offset 0) p);
  if exists (
    select from unnest(v_boxes) w (box) cross join lateral (
      select c.* from agentmesh.message_counts c where c.box = w.box order by c.version desc limit 1) c
    where c.waiting > 0 or c.handling > 0 or c.missed
  ) then
    perform agentmesh.message_lock_v1(v_boxes);
    v_locked := true;
    -- Time may have passed while others had the locks.
    v_now := agentmesh.now_us();
  end if;
  -- Mailboxes before members, as whoever changes a membership does it.
  update agentmesh.message_members m set turn = m.turn + 1
  where m.session = p_session and m.address = any (p_addresses)
    and exists (select from agentmesh.message_places p where p.member = m.id and p.grouped);
  if v_locked then
    perform agentmesh.message_reclaim_v1(array_agg(w.box), v_now) from unnest(v_boxes) w (box)
    cross join lateral (
      select c.handling from agentmesh.message_counts c where c.box = w.box order by c.version desc limit 1) c
    where c.handling > 0 having count(*) > 0;
    for v_sources in
      select w.n::int as n, w.address_limit, w.single, m.id as member, p.box
      from unnest(p_addresses, p_limits, p_single) with ordinality w (address, address_limit, single, n)
      cross join lateral (
        select m.id, m.turn from agentmesh.message_members m
        where m.session = p_session and m.address = w.address offset 0) m
      cross join lateral (
        select p.box, row_number() over (order by p.place) - 1 as place, count(*) over () as places
        from agentmesh.message_places p where p.member = m.id and (p.place = 0 or p.grouped) offset 0) p
      where p.box = any (v_boxes)
      order by w.n, (p.place - m.turn % p.places + p.places) % p.places
    loop
      if v_of <> v_sources.n then
        v_of := v_sources.n;
        v_left := v_sources.address_limit;
      end if;
      continue when v_left <= 0;
      v_flight := nextval('agentmesh.message_flight_ids');
      v_chunk := agentmesh.message_take_v1(v_sources.box, v_sources.n, v_sources.member, v_flight, v_left, v_sources.single, v_now,
        p_session, v_now + p_ack_us);
      continue when v_chunk = '{}';
      v_left := v_left - cardinality(v_chunk);
      v_taken := v_taken || v_chunk;
      v_flights := v_flights || json_build_array(v_sources.n, v_sources.box, v_flight);
    end loop;
    select json_agg(json_build_array(m.sender, m.address, m.count, m.reason)) into v_missed
    from (
      select array_agg(w.box) as boxes from unnest(v_boxes) w (box) cross join lateral (
        select c.missed from agentmesh.message_counts c where c.box = w.box order by c.version desc limit 1) c
      where c.missed) b
    cross join lateral (select m.* from agentmesh.message_missed_v1(b.boxes) m where b.boxes is not null) m;
    select min(l.not_before) into v_next from unnest(v_boxes) w (box) cross join lateral (
      select l.not_before from agentmesh.message_lanes l
      where l.box = w.box and l.not_before > 0 and l.not_before > v_now order by l.not_before limit 1) l;
  end if;
  v_answer := json_build_object('at', v_now, 'next', v_next, 'missed', coalesce(v_missed, '[]'), 'flights', array_to_json(v_flights),
    'gone', coalesce((
      select json_agg(json_build_object('n', d.n, 'd', row_to_json(d.d))) from (
        select row_number() over () as n, d from unnest(v_taken) d) d
      where (d.d).at_most_once), '[]'))::text;
  perform agentmesh.op_end_v1(p_session, p_sequence, v_answer);
  return query select (agentmesh.message_head_v1(v_answer)).*;
  return query select d.* from unnest(v_taken) d;
end $$;
`;
