import { MESSAGE_PLANS } from './messages-boxes.ts';

/** Joining, leaving, and sessions that end. */
export const MESSAGE_MEMBERSHIP: string = /* sql */ `
-- Removes memberships. Answers with the mailboxes that they took from.
create function agentmesh.message_part_v1(p_members bigint[]) returns bigint[] language plpgsql as $$
declare
  v_boxes bigint[];
begin
  v_boxes := array(
    select distinct p.box from unnest(p_members) w (id) cross join lateral (
      select p.* from agentmesh.message_places p where p.member = w.id and (p.place = 0 or p.grouped) offset 0) p order by 1);
  delete from agentmesh.message_places p where p.member = any (p_members);
  delete from agentmesh.message_members m where m.id = any (p_members);
  return v_boxes;
end $$;

-- Drops what nobody will take: the mailbox of a group without members, and one that keeps nothing while nobody listens.
create function agentmesh.message_forsake_v1(p_boxes bigint[], p_now bigint)
returns table (sender text, address text, count bigint, reason text) language plpgsql as $$
declare
  v_box record;
begin
  for v_box in
    select b.* from (select distinct w from unnest(p_boxes) w) w (id)
    cross join lateral (select b.* from agentmesh.message_boxes b where b.id = w.id offset 0) b order by b.id
  loop
    if v_box.keeps = 2 and not agentmesh.message_heard_v1(v_box.id, p_now) then
      return query select c.sender, v_box.address, c.count, 'no-receiver'
        from agentmesh.message_clear_v1(array[v_box.id], false, p_now) c;
    elsif v_box.group_name <> '' and not exists (select from agentmesh.message_places p where p.box = v_box.id) then
      return query select c.sender, v_box.address, c.count, 'left'
        from agentmesh.message_clear_v1(array[v_box.id], false, p_now) c;
    end if;
  end loop;
end $$;

-- Ends a session's membership of an address. The last to leave takes the mailbox along: what waits and what is in hand is dropped.
create function agentmesh.message_leave_v1(p_session bigint, p_address text, p_now bigint)
returns table (sender text, address text, count bigint, reason text) language plpgsql as $$
declare
  v_former bigint := (select m.id from agentmesh.message_members m where m.session = p_session and m.address = p_address);
  v_box bigint := (select b.id from agentmesh.message_boxes b where b.address = p_address and b.group_name = '');
  v_shared boolean;
  v_boxes bigint[]; v_flights bigint[]; v_lanes bigint[]; v_seqs bigint[]; v_senders text[];
begin
  if v_former is not null then
    return query select f.* from agentmesh.message_forsake_v1(agentmesh.message_part_v1(array[v_former]), p_now) f;
  end if;
  if v_box is null then
    return;
  end if;
  v_shared := exists (
    select from agentmesh.message_members m
    left join lateral (select s.* from agentmesh.sessions s where s.number = m.session offset 0) s on true
    where m.address = p_address and ((s.closed_at is null and s.expires_at > p_now)
      or coalesce(m.gone_until, s.expires_at + m.keep_us, 0) > p_now));
  select array_agg(h.box), array_agg(h.flight), array_agg(h.lane), array_agg(h.seq), array_agg(h.sender)
  into v_boxes, v_flights, v_lanes, v_seqs, v_senders
  from (
    select h.*, t.sender from agentmesh.message_held_v1(array[v_box]) h
    cross join lateral (
      select t.sender from agentmesh.message_letters t where t.box = h.box and t.lane = h.lane and t.seq = h.seq offset 0) t
    where not v_shared or h.session = p_session order by h.flight, h.seq) h;
  if v_boxes is not null then
    perform agentmesh.message_end_v1(v_boxes, v_flights, v_lanes, v_seqs,
      array_fill(case when v_shared then 1 else 4 end::smallint, array[cardinality(v_boxes)]), null, null, p_now);
  end if;
  if v_shared then
    return;
  end if;
  return query
    select w.sender, p_address, count(*), 'left' from unnest(v_seqs, v_senders) w (seq, sender) group by 1 order by min(w.seq);
  return query
    select c.sender, p_address, c.count, 'left' from agentmesh.message_clear_v1(array[v_box], false, p_now) c;
  update agentmesh.message_boxes b set keeps = 0, max_length = null, overflow = null where b.id = v_box;
end $$;

-- "p_changes": objects { a: address, t: [[topic, group]], l: listening, k: 0 leave, 1 settings, 2 none, m: length, o: overflow, u: keep, µs }.
create function agentmesh.message_subscribe_v1(p_session bigint, p_sequence bigint, p_changes json) returns text language plpgsql ${MESSAGE_PLANS} as $$
declare
  v_answer text;
  v_now bigint;
  v_change record;
  v_boxes bigint[];
  v_own bigint;
  v_over bigint[];
  v_member bigint;
  v_taken bigint[];
  v_lost json[] := '{}';
  v_places bigint;
begin
  v_answer := agentmesh.op_begin_v1(p_session, p_sequence);
  if v_answer is not null then
    return v_answer;
  end if;
  -- Topics first, as publishers do: all that somebody takes up or gives up.
  perform pg_advisory_xact_lock(t.key) from (
    select distinct hashtextextended('agentmesh.message_topic ' || t.topic, 0) as key from (
      select t.item ->> 0 as topic from json_array_elements(p_changes) c (item) cross join lateral json_array_elements(c.item -> 't') t (item)
      union all
      select p.topic from (select c.item ->> 'a' as address from json_array_elements(p_changes) c (item)) w
      cross join lateral (select m.id from agentmesh.message_members m where m.address = w.address offset 0) m
      cross join lateral (
        select p.topic from agentmesh.message_places p where p.member = m.id and p.topic is not null offset 0) p) t
    order by 1) t;
  -- All mailboxes in question, made where they aren't there: those of the names and those that were taken from.
  loop
    select agentmesh.message_boxes_v1(array_agg(n.address), array_agg(n.group_name)) into v_boxes from (
      select c.item ->> 'a' as address, '' as group_name from json_array_elements(p_changes) c (item) where (c.item ->> 'k')::int <> 0
      union
      select t.item ->> 0, t.item ->> 1 from json_array_elements(p_changes) c (item)
      cross join json_array_elements(c.item -> 't') t (item) where t.item ->> 1 is not null) n;
    v_boxes := coalesce(v_boxes, '{}');
    v_places := (
      select count(*) from agentmesh.message_lock_v1(v_boxes || array(
        select p.box from (select c.item ->> 'a' as address from json_array_elements(p_changes) c (item)) w
        cross join lateral (select m.id from agentmesh.message_members m where m.address = w.address offset 0) m
        cross join lateral (select p.box from agentmesh.message_places p where p.member = m.id offset 0) p
        union
        select b.id from (select c.item ->> 'a' as address from json_array_elements(p_changes) c (item)) w
        cross join lateral (
          select b.id from agentmesh.message_boxes b where b.address = w.address and b.group_name = '' offset 0) b)) l
      where l.box = any (v_boxes));
    exit when v_places = (select count(distinct b) from unnest(v_boxes) b);
  end loop;
  v_now := agentmesh.now_us();
  for v_change in
    select c.item ->> 'a' as address, c.item -> 't' as topics, (c.item ->> 'l')::boolean as listening, (c.item ->> 'k')::int as keeps,
      (c.item ->> 'm')::bigint as max_length, (c.item ->> 'o')::smallint as overflow, (c.item ->> 'u')::bigint as keep_us
    from json_array_elements(p_changes) with ordinality c (item, n) order by c.n
  loop
    if v_change.keeps = 0 then
      v_lost := v_lost || array(
        select json_build_array(l.sender, l.address, l.count, l.reason)
        from agentmesh.message_leave_v1(p_session, v_change.address, v_now) l);
      continue;
    end if;
    update agentmesh.message_boxes b set keeps = v_change.keeps, max_length = v_change.max_length, overflow = v_change.overflow
    where b.address = v_change.address and b.group_name = '' returning b.id into v_own;
    -- Its former self, and those of dead sessions, whose place it takes.
    v_over := agentmesh.sessions_over_v1(array(
      select m.session from agentmesh.message_members m
      where m.address = v_change.address and m.session <> p_session and not agentmesh.session_alive_v1(m.session)), v_now);
    v_taken := agentmesh.message_part_v1(array(
      select m.id from agentmesh.message_members m where m.address = v_change.address and m.session = p_session));
    -- Who comes back after a crash may join its groups in a later call: what waits there is kept.
    perform agentmesh.message_part_v1(array(
      select m.id from agentmesh.message_members m where m.address = v_change.address and m.session = any (v_over)));
    insert into agentmesh.message_members (session, address, listening, keep_us)
    values (p_session, v_change.address, v_change.listening, v_change.keep_us) returning id into v_member;
    insert into agentmesh.message_places (member, place, box, topic, grouped)
    select v_member, 0, v_own, null, false
    union all
    select v_member, t.n, coalesce(b.id, v_own), t.item ->> 0, b.id is not null
    from json_array_elements(v_change.topics) with ordinality t (item, n)
    left join lateral (
      select b.id from agentmesh.message_boxes b
      where t.item ->> 1 is not null and b.address = t.item ->> 0 and b.group_name = t.item ->> 1 offset 0) b on true;
    v_lost := v_lost || array(
      select json_build_array(l.sender, l.address, l.count, l.reason)
      from agentmesh.message_forsake_v1(v_taken || array(
        select p.box from agentmesh.message_places p where p.member = v_member and (p.place = 0 or p.grouped)), v_now) l);
  end loop;
  v_answer := json_build_object('at', v_now, 'lost', array_to_json(v_lost))::text;
  perform agentmesh.op_end_v1(p_session, p_sequence, v_answer);
  return v_answer;
end $$;

-- A session says good-bye: its memberships end, and what it has in hand goes back. Some of it may have been handled.
create function agentmesh.message_session_closed_v1(p_session bigint) returns void language plpgsql ${MESSAGE_PLANS} as $$
declare
  v_members bigint[];
  v_now bigint;
begin
  v_members := array(select m.id from agentmesh.message_members m where m.session = p_session);
  perform pg_advisory_xact_lock(t.key) from (
    select distinct hashtextextended('agentmesh.message_topic ' || p.topic, 0) as key
    from agentmesh.message_places p where p.member = any (v_members) and p.topic is not null order by 1) t;
  perform agentmesh.message_lock_v1(array(
    select p.box from agentmesh.message_places p where p.member = any (v_members)
    union select f.box from agentmesh.message_flights f where f.session = p_session));
  v_now := agentmesh.now_us();
  perform agentmesh.message_forsake_v1(agentmesh.message_part_v1(v_members), v_now);
  perform agentmesh.message_give_back_v1(p_session, v_now);
end $$;

-- Gives back all that a session has in hand.
create function agentmesh.message_give_back_v1(p_session bigint, p_now bigint) returns bigint[] language plpgsql as $$
declare
  v_boxes bigint[]; v_flights bigint[]; v_lanes bigint[]; v_seqs bigint[];
begin
  select array_agg(h.box), array_agg(h.flight), array_agg(h.lane), array_agg(h.seq)
  into v_boxes, v_flights, v_lanes, v_seqs
  from (
    select f.box, f.id as flight, e.lane, e.seq from agentmesh.message_flights f
    cross join lateral unnest(f.lanes, f.seqs) e (lane, seq) where f.session = p_session order by f.box, f.id, e.seq) h;
  if v_boxes is null then
    return '{}';
  end if;
  return agentmesh.message_end_v1(v_boxes, v_flights, v_lanes, v_seqs,
    array_fill(1::smallint, array[cardinality(v_boxes)]), null, null, p_now);
end $$;
`;
