/** How letters leave a mailbox, or go back into it. The caller holds the locks of the mailboxes. */
export const MESSAGE_ENDING: string = /* sql */ `
-- Every letter in hand of these mailboxes.
create function agentmesh.message_held_v1(p_boxes bigint[])
returns table (box bigint, flight bigint, session bigint, deadline bigint, lane bigint, seq bigint) language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
    select f.box, f.id, f.session, f.deadline, e.lane, e.seq
    from (select distinct b from unnest(p_boxes) b) w
    cross join lateral (
      select c.low_flight from agentmesh.message_counts c where c.box = w.b order by c.version desc limit 1) c
    cross join lateral (
      select f.* from agentmesh.message_flights f where f.box = w.b and f.id >= c.low_flight offset 0) f
    cross join lateral unnest(f.lanes, f.seqs) e (lane, seq);
end $$;

-- Ends deliveries: "p_how" 0 ack, 1 retry, 2 release, 3 bury, 4 drop. All are in hand, each is named once, in the order in which they
-- apply. "p_until": not before this time. Answers with the mailboxes that can go on because of it.
create function agentmesh.message_end_v1(
  p_boxes bigint[], p_flights bigint[], p_lanes bigint[], p_seqs bigint[], p_how smallint[], p_until bigint[], p_reasons text[],
  p_now bigint
) returns bigint[] language plpgsql as $$
declare
  v_readied bigint[];
  v_ranks bigint[];
  v_counted bigint; -- a query in WITH is only carried out as far as it is asked for
begin
  if 3 = any (p_how) then
    insert into agentmesh.message_dead (box, lane, seq, priority, delivery, sent_at, life, sender, id, body, reason)
    select w.box, w.lane, w.seq, t.priority, t.delivery, t.sent_at, t.life, t.sender, t.id, t.body, w.reason
    from unnest(p_boxes, p_lanes, p_seqs, p_how, p_reasons) with ordinality w (box, lane, seq, how, reason, n)
    cross join lateral (
      select t.* from agentmesh.message_letters t
      where t.box = w.box and t.lane = w.lane and t.seq = w.seq offset 0) t
    where w.how = 3 order by w.n;
  end if;
  if 1 = any (p_how) then
    update agentmesh.message_letters t set delivery = t.delivery + 1
    where t.ctid = any (array(
      select t.ctid from unnest(p_boxes, p_lanes, p_seqs, p_how) w (box, lane, seq, how)
      cross join lateral (
        select t.ctid from agentmesh.message_letters t
        where t.box = w.box and t.lane = w.lane and t.seq = w.seq offset 0) t
      where w.how = 1));
  end if;
  -- Those given back, for their levels.
  if 1 = any (p_how) or 2 = any (p_how) then
    v_ranks := array(
      select t.rank from unnest(p_boxes, p_lanes, p_seqs, p_how) with ordinality w (box, lane, seq, how, n)
      left join lateral (
        select t.rank from agentmesh.message_letters t
        where w.how in (1, 2) and t.box = w.box and t.lane = w.lane and t.seq = w.seq offset 0) t on true
      order by w.n);
  end if;
  delete from agentmesh.message_letters t
  where t.ctid = any (array(
    select t.ctid from unnest(p_boxes, p_lanes, p_seqs, p_how) w (box, lane, seq, how)
    cross join lateral (
      select t.ctid from agentmesh.message_letters t
      where t.box = w.box and t.lane = w.lane and t.seq = w.seq offset 0) t
    where w.how not in (1, 2)));

  with gone as materialized (
    select distinct w.box, w.flight from unnest(p_boxes, p_flights) w (box, flight)
  ), former as materialized (
    select f.ctid as place, f.* from gone g cross join lateral (
      select f.ctid, f.* from agentmesh.message_flights f where f.box = g.box and f.id = g.flight offset 0) f
  ), entry as materialized (
    select f.box, f.id, e.lane, e.seq, e.n
    from former f cross join lateral unnest(f.lanes, f.seqs) with ordinality e (lane, seq, n)
  ), rest as materialized (
    select e.box, e.id, array_agg(e.lane order by e.n) as lanes, array_agg(e.seq order by e.n) as seqs
    from entry e left join unnest(p_boxes, p_flights, p_seqs) w (box, flight, seq)
      on w.box = e.box and w.flight = e.id and w.seq = e.seq
    where w.seq is null group by 1, 2
  ), emptied as (
    delete from agentmesh.message_flights f
    where f.ctid = any (array(select f.place from former f left join rest r on r.box = f.box and r.id = f.id where r.id is null))
  )
  update agentmesh.message_flights f
  set lanes = (select r.lanes from rest r where r.box = f.box and r.id = f.id),
    seqs = (select r.seqs from rest r where r.box = f.box and r.id = f.id)
  where f.ctid = any (array(select f.place from former f join rest r on r.box = f.box and r.id = f.id));

  with back as materialized (
    select w.box, w.lane, count(*)::int as n, count(*) filter (where w.how in (1, 2))::int as n_back,
      min(w.seq) filter (where w.how in (1, 2)) as seq_back,
      min(-(r.rank >> 48)) as level_back,
      (array_agg(r.rank order by w.seq) filter (where w.how in (1, 2)))[1] as rank_back,
      (array_agg(w.until order by w.n desc) filter (where w.until is not null))[1] as until
    from unnest(p_boxes, p_lanes, p_seqs, p_how, p_until) with ordinality w (box, lane, seq, how, until, n)
    left join unnest(v_ranks) with ordinality r (rank, n) on r.n = w.n
    group by 1, 2
  ), former as materialized (
    select b.*, l.ctid as place, l.version, l.rank, l.tail, l.queued, l.held, l.member, l.single, l.stalled, l.not_before
    from back b cross join lateral (
      select l.ctid, l.* from agentmesh.message_lanes l
      where l.box = b.box and l.lane = b.lane order by l.version desc limit 1) l
  ), latter as materialized (
    select f.box, f.lane, f.version + 1 as version,
      case when f.n_back = 0 then f.rank
        when f.rank is null or f.seq_back < (f.rank & 281474976710655) then f.rank_back else f.rank end as rank,
      case when f.n_back = 0 then f.tail when f.queued = 0 then f.level_back else least(f.tail, f.level_back) end as tail,
      f.queued + f.n_back as queued, f.held - f.n as held,
      case when f.held > f.n then f.member end as member,
      f.single, f.held > f.n and (f.stalled or f.n_back > 0) as stalled,
      coalesce(f.until, f.not_before) as not_before,
      f.stalled or f.n_back > 0 or f.single as waited
    from former f
  ), removed as (
    delete from agentmesh.message_lanes l where l.ctid = any (array(select f.place from former f))
  ), added as (
    insert into agentmesh.message_lanes (box, lane, version, rank, tail, queued, held, member, single, stalled, not_before)
    select l.box, l.lane, l.version, l.rank, l.tail, l.queued, l.held, l.member, l.single and l.held > 0, l.stalled, l.not_before
    from latter l where l.queued > 0 or l.held > 0 or l.not_before > p_now
  ), counted as materialized (
    select agentmesh.message_tally_v1(w.box, array[0, count(*) filter (where w.how = 0), count(*) filter (where w.how = 4), 0,
      count(*) filter (where w.how = 3), count(*) filter (where w.how in (1, 2)), -count(*)],
      (select coalesce(array_agg(l.rank), '{}') from latter l where l.box = w.box and l.rank is not null),
      p_flight => coalesce((
        select f.id from (
          select c.low_flight from agentmesh.message_counts c where c.box = w.box order by c.version desc limit 1) c
        cross join lateral (
          select f.id from agentmesh.message_flights f
          where f.box = w.box and f.id >= c.low_flight order by f.id limit 1) f), max(w.flight) + 1)) as box
    from unnest(p_boxes, p_flights, p_how) w (box, flight, how) group by w.box
  )
  select (select count(c.box) from counted c), (
    select array_agg(distinct l.box) from latter l
    where l.held = 0 and l.queued > 0 and l.not_before <= p_now
      and (l.waited or (select count(distinct p.member) from agentmesh.message_places p where p.box = l.box) > 1))
  into v_counted, v_readied;

  if 3 = any (p_how) then
    perform agentmesh.message_trim_dead_v1(array(
      select distinct w.box from unnest(p_boxes, p_how) w (box, how) where w.how = 3));
  end if;
  return coalesce(v_readied, '{}');
end $$;

-- A mailbox keeps 1,000 dead letters, or as many as it may hold messages if that is more: the oldest go.
create function agentmesh.message_trim_dead_v1(p_boxes bigint[]) returns void language plpgsql as $$
declare
  r record;
begin
  for r in
    select w.b as box, c.dead - greatest(1000, case when b.keeps = 1 then b.max_length end) as surplus
    from unnest(p_boxes) w (b)
    cross join lateral (select b.* from agentmesh.message_boxes b where b.id = w.b offset 0) b
    cross join lateral (
      select c.dead from agentmesh.message_counts c where c.box = w.b order by c.version desc limit 1) c
  loop
    continue when r.surplus <= 0;
    delete from agentmesh.message_dead d where d.ctid = any (array(
      select d.ctid from agentmesh.message_dead d where d.box = r.box order by d.place limit r.surplus));
    perform agentmesh.message_tally_v1(r.box, array[0, 0, r.surplus, 0, -r.surplus, 0, 0]);
  end loop;
end $$;

-- Gives back what was not acknowledged in time, and what those have in hand whose session is over.
create function agentmesh.message_reclaim_v1(p_boxes bigint[], p_now bigint) returns bigint[] language plpgsql as $$
declare
  v_boxes bigint[]; v_flights bigint[]; v_lanes bigint[]; v_seqs bigint[];
begin
  select array_agg(h.box), array_agg(h.flight), array_agg(h.lane), array_agg(h.seq)
  into v_boxes, v_flights, v_lanes, v_seqs
  from (
    select h.* from agentmesh.message_held_v1(p_boxes) h
    left join lateral (
      select s.number from agentmesh.sessions s
      where s.number = h.session and s.closed_at is null and s.expires_at > p_now offset 0) s on true
    where h.deadline <= p_now or s.number is null
    order by h.box, h.flight, h.seq) h;
  if v_boxes is null then
    return '{}';
  end if;
  return agentmesh.message_end_v1(v_boxes, v_flights, v_lanes, v_seqs,
    array_fill(1::smallint, array[cardinality(v_boxes)]), null, null, p_now);
end $$;

-- Takes out waiting letters, as dropped or as expired.
create function agentmesh.message_remove_v1(p_boxes bigint[], p_lanes bigint[], p_seqs bigint[], p_expired boolean, p_now bigint)
returns void language plpgsql as $$
declare
  v_counted bigint;
begin
  delete from agentmesh.message_letters t where t.ctid = any (array(
    select t.ctid from unnest(p_boxes, p_lanes, p_seqs) w (box, lane, seq)
    cross join lateral (
      select t.ctid from agentmesh.message_letters t
      where t.box = w.box and t.lane = w.lane and t.seq = w.seq offset 0) t));
  with gone as materialized (
    select w.box, w.lane, count(*)::int as n from unnest(p_boxes, p_lanes) w (box, lane) group by 1, 2
  ), held as materialized (
    select h.box, h.seq from agentmesh.message_held_v1(p_boxes) h
  ), former as materialized (
    select g.n, l.ctid as place, l.* from gone g cross join lateral (
      select l.ctid, l.* from agentmesh.message_lanes l
      where l.box = g.box and l.lane = g.lane order by l.version desc limit 1) l
  ), latter as materialized (
    select f.*, t.rank as next from former f left join lateral (
      select t.rank from agentmesh.message_letters t
      where t.box = f.box and t.lane = f.lane and t.seq >= (f.rank & 281474976710655)
        and (f.held = 0 or not f.stalled or (t.box, t.seq) not in (select h.box, h.seq from held h))
      order by t.seq limit 1) t on f.queued > f.n
  ), removed as (
    delete from agentmesh.message_lanes l where l.ctid = any (array(select f.place from former f))
  ), added as (
    insert into agentmesh.message_lanes (box, lane, version, rank, tail, queued, held, member, single, stalled, not_before)
    select l.box, l.lane, l.version + 1, l.next, l.tail, l.queued - l.n, l.held, l.member, l.single, l.stalled, l.not_before
    from latter l where l.queued > l.n or l.held > 0 or l.not_before > p_now
  )
  select count(agentmesh.message_tally_v1(w.box, array[0, 0,
    case when p_expired then 0 else w.n end, case when p_expired then w.n else 0 end, 0, -w.n, 0]::bigint[],
    (select coalesce(array_agg(l.next), '{}') from latter l where l.box = w.box and l.next is not null)))
  into v_counted
  from (select g.box, sum(g.n) as n from gone g group by 1) w;
end $$;

-- Ends what waits in these mailboxes: what has expired ("p_most" of it; null: without bounds), or all of it. Answers with the losses.
create function agentmesh.message_clear_v1(p_boxes bigint[], p_expired boolean, p_now bigint, p_most bigint default null)
returns table (box bigint, sender text, count bigint) language plpgsql as $$
declare
  v_boxes bigint[]; v_lanes bigint[]; v_seqs bigint[]; v_senders text[];
begin
  if p_expired then
    select array_agg(t.box), array_agg(t.lane), array_agg(t.seq), array_agg(t.sender)
    into v_boxes, v_lanes, v_seqs, v_senders
    from (
      select t.* from (
        select t.* from agentmesh.message_letters t where t.expires_at <= p_now and t.box = any (p_boxes) offset 0) t
      where (t.box, t.seq) not in (select h.box, h.seq from agentmesh.message_held_v1(p_boxes) h) limit p_most) t;
  else
    select array_agg(t.box), array_agg(t.lane), array_agg(t.seq), array_agg(t.sender)
    into v_boxes, v_lanes, v_seqs, v_senders
    from (select distinct b from unnest(p_boxes) b) w
    cross join lateral (select t.* from agentmesh.message_letters t where t.box = w.b offset 0) t
    where (t.box, t.seq) not in (select h.box, h.seq from agentmesh.message_held_v1(p_boxes) h);
  end if;
  if v_boxes is null then
    return;
  end if;
  perform agentmesh.message_remove_v1(v_boxes, v_lanes, v_seqs, p_expired, p_now);
  return query
    select w.box, w.sender, count(*) from unnest(v_boxes, v_seqs, v_senders) w (box, seq, sender)
    group by 1, 2 order by 1, min(w.seq);
end $$;
`;
