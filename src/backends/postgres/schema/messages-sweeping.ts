import { MESSAGE_PLANS } from './messages-boxes.ts';

/** Chores. */
export const MESSAGE_SWEEPING: string = /* sql */ `
-- Sessions that are over, one after the other: says until when their members are kept, and gives back what they had in hand. Then removes
-- the members whose time has come.
create function agentmesh.message_prune_v1(
  p_limit int, p_now bigint, out lost json[], out readied bigint[]
) language plpgsql as $$
#variable_conflict use_column
declare
  v_dead bigint[];
  v_gone bigint[];
  v_topics text[];
  v_boxes bigint[];
  v_session bigint;
  v_members bigint[];
begin
  lost := '{}';
  readied := '{}';
  v_dead := array(
    select d.session from (
      select m.session from agentmesh.message_members m where m.gone_until is null
      union select f.session from agentmesh.message_flights f) d
    left join lateral (
      select s.* from agentmesh.sessions s where s.number = d.session offset 0) s on true
    where s.number is null or s.closed_at is not null or s.expires_at <= p_now
    order by s.expires_at nulls first, d.session limit p_limit);
  v_dead := agentmesh.sessions_over_v1(v_dead, p_now);
  v_gone := array(
    select m.id from agentmesh.message_members m where m.gone_until <= p_now order by m.id limit p_limit);
  if v_dead = '{}' and v_gone = '{}' then
    return;
  end if;
  v_members := v_gone || array(select m.id from agentmesh.message_members m where m.session = any (v_dead));
  perform pg_advisory_xact_lock(t.key) from (
    select distinct hashtextextended('agentmesh.message_topic ' || p.topic, 0) as key
    from agentmesh.message_places p where p.member = any (v_members) and p.topic is not null order by 1) t;
  perform agentmesh.message_lock_v1(array(
    select p.box from agentmesh.message_places p where p.member = any (v_members)
    union select f.box from agentmesh.message_flights f where f.session = any (v_dead)));
  foreach v_session in array v_dead loop
    with dead as (
      update agentmesh.message_members m
      set gone_until = coalesce((select s.expires_at from agentmesh.sessions s where s.number = m.session), p_now) + m.keep_us
      where m.session = v_session and m.gone_until is null returning m.id, m.gone_until
    ), place as (
      select p.box from dead d cross join lateral (
        select p.box from agentmesh.message_places p
        where p.member = d.id and (p.place = 0 or p.grouped) offset 0) p
    )
    select array(select distinct p.box from place p), array(select d.id from dead d where d.gone_until <= p_now)
    into v_boxes, v_members;
    perform agentmesh.message_part_v1(v_members);
    -- Those that are kept listen no more.
    lost := lost || array(
      select json_build_array(f.sender, f.address, f.count, f.reason) from agentmesh.message_forsake_v1(v_boxes, p_now) f);
    readied := readied || agentmesh.message_give_back_v1(v_session, p_now);
  end loop;
  lost := lost || array(
    select json_build_array(f.sender, f.address, f.count, f.reason)
    from agentmesh.message_forsake_v1(agentmesh.message_part_v1(v_gone), p_now) f);
end $$;

-- Forgets mailboxes with nothing in them and nobody at them, a stretch of them in each call; their counts are added up elsewhere.
create function agentmesh.message_forget_v1(p_limit int) returns void language plpgsql as $$
declare
  v_from bigint := (select r.position from agentmesh.message_round r);
  v_seen bigint[];
  v_idle bigint[];
begin
  v_seen := array(select b.id from agentmesh.message_boxes b where b.id > v_from order by b.id limit p_limit);
  v_idle := agentmesh.message_lock_idle_v1(array(
    select w.b from unnest(v_seen) w (b) cross join lateral (
      select c.* from agentmesh.message_counts c where c.box = w.b order by c.version desc limit 1) c
    where c.waiting + c.handling + c.dead = 0 and not exists (select from agentmesh.message_places p where p.box = w.b)));
  v_idle := array(
    select w.b from unnest(v_idle) w (b) cross join lateral (
      select c.* from agentmesh.message_counts c where c.box = w.b order by c.version desc limit 1) c
    where c.waiting + c.handling + c.dead = 0 and not exists (select from agentmesh.message_places p where p.box = w.b));
  if v_idle <> '{}' then
    insert into agentmesh.message_retired (published, delivered, dropped, expired)
    select sum(c.published), sum(c.delivered), sum(c.dropped), sum(c.expired)
    from agentmesh.message_counts c where c.box = any (v_idle);
    delete from agentmesh.message_lanes l where l.box = any (v_idle);
    delete from agentmesh.message_missed m where m.box = any (v_idle);
    delete from agentmesh.message_counts c where c.box = any (v_idle);
    delete from agentmesh.message_boxes b where b.id = any (v_idle);
  end if;
  if (select count(*) from (select from agentmesh.message_retired limit 2) r) > 1 then
    with gone as (delete from agentmesh.message_retired r returning r.*)
    insert into agentmesh.message_retired (published, delivered, dropped, expired)
    select sum(g.published), sum(g.delivered), sum(g.dropped), sum(g.expired) from gone g;
  end if;
  if v_from <> 0 or cardinality(v_seen) = p_limit then
    update agentmesh.message_round r set position = case when cardinality(v_seen) = p_limit then v_seen[p_limit] else 0 end;
  end if;
end $$;

create function agentmesh.message_sweep_v1(p_session bigint, p_sequence bigint, p_limit int) returns text
language plpgsql ${MESSAGE_PLANS} as $$
declare
  c_letters constant bigint := 10000; -- expire in one call; the rest in the next
  v_answer text;
  v_now bigint;
  v_boxes bigint[];
  v_due bigint[];
  v_readied bigint[] := '{}';
  v_lost json[] := '{}';
  v_expired json[];
  v_ended bigint := 0;
  v_next bigint;
begin
  v_answer := agentmesh.op_begin_v1(p_session, p_sequence);
  if v_answer is not null then
    return v_answer;
  end if;
  v_now := agentmesh.now_us();
  -- One at a time; whoever comes meanwhile has nothing to do.
  if pg_try_advisory_xact_lock(hashtextextended('agentmesh.message_sweep', 0)) then
    select p.lost, p.readied into v_lost, v_readied from agentmesh.message_prune_v1(p_limit, v_now) p;
    -- Deliveries out of time or of dead sessions; what expired; order keys whose delay is over; losses nobody was told of.
    v_boxes := array(
      select w.box from (
        select f.box from agentmesh.message_flights f
        left join lateral (
          select s.number from agentmesh.sessions s
          where s.number = f.session and s.closed_at is null and s.expires_at > v_now offset 0) s on true
        where f.deadline <= v_now or s.number is null
        union select t.box from (
          select t.box from agentmesh.message_letters t where t.expires_at <= v_now order by t.expires_at limit 2 * c_letters) t
        union select l.box from agentmesh.message_lanes l where l.not_before > 0 and l.not_before <= v_now
        union select m.box from agentmesh.message_missed m) w
      limit p_limit);
    -- Those of the dead are locked: whoever waited for others besides might do so in a circle.
    v_boxes := agentmesh.message_lock_idle_v1(v_boxes);
    if v_boxes <> '{}' then
      v_readied := v_readied || agentmesh.message_reclaim_v1(v_boxes, v_now);
      select v_lost || array_agg(json_build_array(l.sender, b.address, l.count, 'expired')), sum(l.count) into v_expired, v_ended
      from agentmesh.message_clear_v1(v_boxes, true, v_now, c_letters) l
      cross join lateral (select b.address from agentmesh.message_boxes b where b.id = l.box offset 0) b;
      if v_ended > 0 then
        v_lost := v_expired;
      end if;
      with due as (
        update agentmesh.message_lanes l set not_before = 0, version = l.version + 1
        where l.ctid = any (array(
          select l.ctid from unnest(v_boxes) w (box) cross join lateral (
            select l.ctid from agentmesh.message_lanes l
            where l.box = w.box and l.not_before > 0 and l.not_before <= v_now offset 0) l))
        returning l.*
      ) select array_agg(distinct d.box) filter (where d.held = 0 and d.queued > 0) into v_due from due d;
      delete from agentmesh.message_lanes l
      where l.box = any (v_boxes) and l.queued = 0 and l.held = 0 and l.not_before = 0;
      v_readied := v_readied || coalesce(v_due, '{}');
      v_lost := v_lost || array(
        select json_build_array(m.sender, m.address, m.count, m.reason) from agentmesh.message_missed_v1(v_boxes) m);
    end if;
    perform agentmesh.message_forget_v1(p_limit);
    -- Last, for publishers take ids before mailboxes: nothing is waited for any more.
    delete from agentmesh.message_ids m where m.ctid = any (array(
      select m.ctid from agentmesh.message_ids m where m.seen_at <= v_now - 600000000 order by m.seen_at limit 10000
      for update skip locked));
  end if;
  if exists (select from (select from agentmesh.message_letters t order by t.box desc, t.lane desc, t.seq desc limit 1) t) then
    v_next := least(1000000, greatest(1000, coalesce((select min(f.deadline) from agentmesh.message_flights f), v_now + 1000000) - v_now));
    if v_ended = c_letters then
      v_next := 1000;
    end if;
  end if;
  v_answer := json_build_object('at', v_now, 'lost', array_to_json(v_lost), 'readied', agentmesh.message_addresses_v1(v_readied),
    'next', v_next)::text;
  perform agentmesh.op_end_v1(p_session, p_sequence, v_answer);
  return v_answer;
end $$;
`;
