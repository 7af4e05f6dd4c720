/** Requests: granted, queued or refused; and what the store says of them later. */
export const LOCK_ASKING: string = /* sql */ `
-- At most 5 of those who hold what a waiting ticket wants: who is in its way, or else whoever those in front of it wait for.
create function agentmesh.lock_in_the_way_v1(t agentmesh.lock_tickets, p_any boolean) returns json language plpgsql as $$
begin
  return (select json_agg(json_build_object('owner', f.owner, 'agent', f.agent, 'task', f.task))
  from (
    select h.owner, k.agent, k.task
    from unnest(t.resources, t.modes, t.units) with ordinality as i (resource, mode, units, n)
    join agentmesh.lock_holders h on h.resource = i.resource and h.owner <> t.owner
      and h.mode = any (case when p_any then '{0,1,2,3,4,5}'::smallint[] else agentmesh.lock_against_v1(i.mode) end)
    join agentmesh.lock_tickets k on k.id = h.ticket
    where not (p_any or i.mode = 5)
      or not agentmesh.lock_is_open_v1(i.resource, i.mode, i.units, t.owner, t.rank, t.hurry, t.arrival)
    limit 5
  ) f);
end $$;

create function agentmesh.lock_expires_in_ms_v1(t agentmesh.lock_tickets, p_now bigint) returns double precision
language plpgsql as $$
begin
  if t.lease_us is not null then
    return greatest(0, (t.expires_at - p_now) / 1000.0);
  end if;
  return greatest(0, (least(t.expires_at, (
    select s.expires_at from agentmesh.sessions s where s.number = t.session)) - p_now) / 1000.0);
end $$;

-- See lock_version_v1: over all its resources.
create function agentmesh.lock_version_of_v1(t agentmesh.lock_tickets) returns bigint language plpgsql as $$
begin
  return (
    select sum(agentmesh.lock_version_v1(r.changes, i.mode))
    from unnest(t.resources, t.modes) as i (resource, mode) join agentmesh.lock_resources r on r.name = i.resource);
end $$;

-- How a request stands now.
create function agentmesh.lock_answer_v1(p_id text, p_ahead int, p_now bigint) returns json language plpgsql as $$
declare
  t agentmesh.lock_tickets;
  g agentmesh.lock_tickets;
begin
  select * into t from agentmesh.lock_tickets k where k.id = p_id;
  if not found then
    -- It may have been a victim's wait a moment ago.
    return coalesce(
      (select json_build_object('status', 'aborted', 'cycle', v.cycle) from agentmesh.lock_victims v where v.ticket = p_id),
      json_build_object('status', 'lost'));
  end if;
  if t.state = 0 then
    return json_build_object(
      'status', 'waiting', 'id', t.id, 'ahead', p_ahead,
      'version', agentmesh.lock_version_of_v1(t),
      'holders', coalesce(agentmesh.lock_in_the_way_v1(t, false), agentmesh.lock_in_the_way_v1(t, true)));
  end if;
  g := t;
  if t.state = 2 then
    select * into g from agentmesh.lock_tickets k where k.id = t.upgrade;
    if not found then
      return json_build_object('status', 'lost');
    end if;
  end if;
  return json_build_object(
    'status', 'granted', 'id', g.id, 'token', g.tokens[1], 'revoked', g.revoked,
    'tokens', case when t.state = 1 then g.tokens else array(
      select g.tokens[array_position(g.resources, r)] from unnest(t.resources) with ordinality as i (r, n) order by n) end,
    'expiresInMs', agentmesh.lock_expires_in_ms_v1(g, p_now));
end $$;

create function agentmesh.lock_refused_v1(p_why text) returns json language sql immutable as
  $$ select json_build_object('status', 'refused', 'why', p_why) $$;

-- Why a request can't even be queued; null: it can.
create function agentmesh.lock_refusal_v1(
  t agentmesh.lock_tickets, g agentmesh.lock_tickets, p_capacities int[], p_reentrant boolean
) returns json language plpgsql as $$
declare
  v_capacity int;
  v_target smallint;
  k agentmesh.lock_tickets;
begin
  for i in 1..cardinality(t.resources) loop
    select r.capacity into v_capacity from agentmesh.lock_resources r where r.name = t.resources[i];
    continue when v_capacity = p_capacities[i];
    if exists (select from agentmesh.lock_holders h where h.resource = t.resources[i])
      or exists (select from agentmesh.lock_waiters w where w.resource = t.resources[i]) then
      return agentmesh.lock_refused_v1('capacity');
    end if;
    update agentmesh.lock_resources as r set capacity = p_capacities[i] where r.name = t.resources[i];
  end loop;
  for i in 1..cardinality(t.resources) loop
    if t.modes[i] = 5 then
      if t.units[i] + (
        select coalesce(sum(h.units), 0) from agentmesh.lock_holders h
        where h.resource = t.resources[i] and h.mode = 5 and h.owner = t.owner
      ) > p_capacities[i] then
        return agentmesh.lock_refused_v1('capacity');
      end if;
      continue;
    end if;
    v_target := g.modes[array_position(g.resources, t.resources[i])];
    if v_target is not null then
      -- Each would wait for the other to give up what it holds: the later one fails at once.
      if exists (
        select from agentmesh.lock_waiters w
        join agentmesh.lock_tickets u on u.id = w.ticket
        join agentmesh.lock_tickets o on o.id = u.upgrade
        where w.resource = t.resources[i] and w.rank = '-infinity'
          and o.modes[array_position(o.resources, t.resources[i])] = any (agentmesh.lock_against_v1(t.modes[i]))
          and v_target = any (agentmesh.lock_against_v1(w.mode))
      ) then
        return agentmesh.lock_refused_v1('upgrade-conflict');
      end if;
      continue;
    end if;
    -- Intents are taken by the library on the folders above a path: they don't count as holding it already.
    continue when p_reentrant or t.modes[i] < 2;
    select o.* into k
    from agentmesh.lock_holders h join agentmesh.lock_tickets o on o.id = h.ticket
    where h.resource = t.resources[i] and h.mode = any ('{2,3,4}'::smallint[]) and h.owner = t.owner
    order by o.granted_at desc limit 1;
    if found then
      return json_build_object('status', 'refused', 'why', 'reentrant', 'resource', t.resources[i],
        'held', json_build_object('id', k.id, 'token', k.tokens[1]));
    end if;
  end loop;
  return null;
end $$;

-- Counts those whom a newcomer passes; who was passed often enough lets nobody pass any more.
create function agentmesh.lock_pass_v1(t agentmesh.lock_tickets) returns void language plpgsql as $$
declare
  v_passed text[];
begin
  v_passed := array(
    select distinct w.ticket
    from unnest(t.resources, t.modes) as i (resource, mode)
    join agentmesh.lock_waiters w on w.resource = i.resource and (w.rank, w.hurry, w.arrival) > (t.rank, t.hurry, t.arrival)
      and w.mode = any (agentmesh.lock_against_v1(i.mode)));
  if v_passed = '{}' then
    return;
  end if;
  with passed as (
    update agentmesh.lock_tickets as k set overtaken = k.overtaken + 1 where k.id = any (v_passed)
    returning k.id, k.resources, k.rank, k.hurry, k.arrival, k.overtaken, k.max_overtakes
  )
  update agentmesh.lock_waiters as w set barrier = true
  from passed p
  where p.overtaken >= p.max_overtakes and w.resource = any (p.resources)
    and w.rank = p.rank and w.hurry = p.hurry and w.arrival = p.arrival and w.ticket = p.id and not w.barrier;
end $$;

-- Gives a newcomer its key: its place in the order of all. Requests of one batch arrive one after another.
create function agentmesh.lock_place_v1(
  inout t agentmesh.lock_tickets, p_priority double precision, p_step_us double precision, p_now bigint, p_nth int
) language plpgsql as $$
declare
  v_rank double precision;
begin
  select greatest(p_now + p_nth, max(r.arrival) + 1) into t.arrival from agentmesh.lock_resources r where r.name = any (t.resources);
  t.since := p_now;
  t.overtaken := 0;
  t.hurry := -p_priority;
  if t.upgrade is not null then
    t.rank := '-infinity';
    return;
  end if;
  -- Ranks count from a day in 2023: small numbers, exact to a fraction of a µs.
  t.rank := (t.arrival - 1700000000000000) - p_priority * p_step_us;
  select max(w.rank) into v_rank
  from unnest(t.resources, t.modes) as i (resource, mode)
  join agentmesh.lock_waiters w on w.resource = i.resource and w.barrier and w.mode = any (agentmesh.lock_against_v1(i.mode))
  where w.rank >= t.rank;
  if v_rank is not null then
    t.rank := v_rank + greatest(0.001, abs(v_rank) * 4.5e-16);
  end if;
end $$;

-- One request, after those before it in its batch.
create function agentmesh.lock_ask_v1(
  t agentmesh.lock_tickets, p_capacities int[], p_priority double precision, p_step_us double precision, p_wait boolean,
  p_reentrant boolean, p_upgrade_token bigint, p_now bigint, p_nth int, out o_answer json, out o_granted text[]
) language plpgsql as $$
declare
  g agentmesh.lock_tickets;
  v_free boolean := true;
  v_ahead int := 0;
  v_places int := cardinality(t.resources);
begin
  o_granted := '{}';
  if exists (select from agentmesh.lock_tickets k where k.id = t.id) then
    o_answer := agentmesh.lock_answer_v1(t.id, 0, p_now);
    return;
  end if;
  if t.upgrade is not null then
    select * into g from agentmesh.lock_tickets k
    where k.id = t.upgrade and k.state = 1 and k.session = t.session and k.tokens[1] = p_upgrade_token
      and (k.expires_at is null or k.expires_at > p_now);
    if not found then
      o_answer := json_build_object('status', 'lost');
      return;
    end if;
    t.owner := g.owner;
  end if;
  o_answer := agentmesh.lock_refusal_v1(t, g, p_capacities, p_reentrant);
  if o_answer is not null then
    return;
  end if;
  t := agentmesh.lock_place_v1(t, p_priority, p_step_us, p_now, p_nth);
  for i in 1..v_places loop
    v_free := agentmesh.lock_is_open_v1(t.resources[i], t.modes[i], t.units[i], t.owner, t.rank, t.hurry, t.arrival);
    exit when not v_free;
  end loop;
  if not v_free and not p_wait then
    o_answer := agentmesh.lock_refused_v1('busy');
    return;
  end if;
  perform agentmesh.lock_pass_v1(t);
  if not v_free then
    select max(c.ahead) into v_ahead from (
      select (select count(*) from agentmesh.lock_waiters w
        where w.resource = i.resource and (w.rank, w.hurry, w.arrival) < (t.rank, t.hurry, t.arrival)) as ahead
      from unnest(t.resources) as i (resource)) c;
    insert into agentmesh.lock_waiters
      (resource, rank, hurry, arrival, ticket, owner, mode, units, many, special, barrier)
    select i.resource, t.rank, t.hurry, t.arrival, t.id, t.owner, i.mode, i.units, v_places > 1,
      exists (select from agentmesh.lock_holders h
        where h.resource = i.resource and h.mode = any ('{0,1,2,3,4,5}'::smallint[]) and h.owner = t.owner),
      t.max_overtakes <= 0
    from unnest(t.resources, t.modes, t.units) as i (resource, mode, units);
    -- Kept apart by its offset: PostgreSQL 18 loses the array when a subquery is answered in the middle of an assignment to one of its places.
    update agentmesh.lock_resources as r
    set arrival = t.arrival, changes[i.mode + 1] = r.changes[i.mode + 1] + i.before
    from (
      select u.resource, u.mode, (exists (
        select from agentmesh.lock_waiters w
        where w.resource = u.resource and (w.rank, w.hurry, w.arrival) > (t.rank, t.hurry, t.arrival)))::int as before
      from unnest(t.resources, t.modes) as u (resource, mode) offset 0) as i
    where r.name = i.resource;
  end if;
  t.state := 0;
  insert into agentmesh.lock_tickets select (t).*;
  if v_free then
    if t.upgrade is null then
      perform agentmesh.lock_hold_v1(t.id, agentmesh.lock_mint_v1(t.resources, t.modes, p_now), p_now);
    else
      perform agentmesh.lock_convert_v1(t.id, p_now);
    end if;
    if exists (select from agentmesh.lock_waiters w where w.owner = t.owner) then
      o_granted := agentmesh.lock_grant_all_v1(agentmesh.lock_let_own_in_v1(t.owner, t.resources, '{}'), p_now);
    end if;
  end if;
  o_answer := agentmesh.lock_answer_v1(t.id, v_ahead, p_now);
end $$;
`;
