/**
 * Taking the rows of resources. Always in the order of names, so that no two calls wait for each other; and always all rows that a decision may
 * touch: granting a waiter for several resources changes the queues of the others too.
 */
export const LOCK_SEIZING: string = /* sql */ `
-- These resources, and all that are tied to them by waits for several.
create function agentmesh.lock_reach_v1(p_names text[]) returns text[] language plpgsql as $$
begin
  return array(
    with recursive reach (name) as (
      select unnest(p_names) collate "C"
      union
      select unnest(t.resources) collate "C"
      from reach r
      join agentmesh.lock_waiters w on w.resource = r.name and w.many
      join agentmesh.lock_tickets t on t.id = w.ticket
    )
    select name from reach order by name);
end $$;

create function agentmesh.lock_rows_v1(p_names text[], p_new boolean) returns void language plpgsql as $$
begin
  if p_new then
    insert into agentmesh.lock_resources as r (name, token)
    select n.name, greatest(agentmesh.now_us(), f.token + 1)
    from (select distinct u collate "C" as name from unnest(p_names) u) n, agentmesh.lock_floor f order by n.name
    on conflict (name) do update set token = greatest(r.token + 1, excluded.token);
  else
    perform from agentmesh.lock_resources r where r.name = any (p_names) order by r.name for update;
  end if;
end $$;

-- Forgets some rows of resources that nobody has held or wanted for a day, going round by name; the floor keeps their tokens.
create function agentmesh.lock_tidy_v1() returns void language plpgsql as $$
declare
  v_before bigint := agentmesh.now_us() - 86400000000;
  v_walked text;
  v_names text[];
  v_token bigint;
begin
  select f.walked into v_walked from agentmesh.lock_floor f for update skip locked;
  if not found then
    return;
  end if;
  v_names := array(select r.name from agentmesh.lock_resources r where r.name > v_walked order by r.name limit 200);
  v_walked := coalesce(v_names[200], '');
  v_names := array(
    select r.name from agentmesh.lock_resources r
    where r.name = any (v_names) and r.token < v_before order by r.name for update skip locked);
  -- Only now that the rows are locked nobody comes any more.
  with gone as (
    delete from agentmesh.lock_resources r
    where r.name = any (v_names)
      and not exists (select from agentmesh.lock_holders h where h.resource = r.name)
      and not exists (select from agentmesh.lock_waiters w where w.resource = r.name)
    returning r.token
  )
  select max(g.token) into v_token from gone g;
  update agentmesh.lock_floor as f set walked = v_walked, token = greatest(f.token, v_token);
end $$;

-- Locks the rows of these resources and of all that are tied to them. New: makes missing ones, and mints a token for each.
create function agentmesh.lock_seize_v1(p_names text[], p_new boolean) returns void language plpgsql as $$
declare
  v_names text[];
begin
  if not exists (select from agentmesh.lock_waiters w where w.resource = any (p_names) and w.many) then
    perform agentmesh.lock_rows_v1(p_names, p_new);
    if not exists (select from agentmesh.lock_waiters w where w.resource = any (p_names) and w.many)
      or agentmesh.lock_reach_v1(p_names) <@ p_names then
      return;
    end if;
    -- A tie came up while this waited for a row: what is locked can't be given back, so the call is begun anew.
    raise exception 'Waits changed meanwhile' using errcode = '40001';
  end if;
  v_names := agentmesh.lock_reach_v1(p_names);
  -- What is tied may change while this waits for a row. Then the rows are given back, and more are taken, in order.
  for v_try in 1..100 loop
    begin
      perform agentmesh.lock_rows_v1(v_names, p_new);
      if agentmesh.lock_reach_v1(p_names) <@ v_names then
        return;
      end if;
      v_names := agentmesh.lock_reach_v1(p_names);
      raise exception using errcode = 'AM409';
    exception when sqlstate 'AM409' then
      null;
    end;
  end loop;
  raise exception 'Waits kept changing' using errcode = '40001';
end $$;

-- Sessions that have tickets and are over; from one to the next by the index, so that many tickets of few sessions cost little.
create function agentmesh.lock_dead_sessions_v1(p_now bigint) returns bigint[] language plpgsql as $$
begin
  return array(
    with recursive known (number) as (
      (select t.session from agentmesh.lock_tickets t order by t.session limit 1)
      union all
      select (select t.session from agentmesh.lock_tickets t where t.session > k.number order by t.session limit 1)
      from known k where k.number is not null
    )
    select k.number from known k
    where k.number is not null and not exists (
      select from agentmesh.sessions s where s.number = k.number and s.closed_at is null and s.expires_at > p_now));
end $$;

-- Locks the rows, and ends what is over there without having been given back: of sessions that ended, of leases that ran out; and some more
-- of that, wherever it is. Returns the requests that were granted by it, and where something was lost.
create function agentmesh.lock_enter_v1(
  p_names text[], p_new boolean, out o_now bigint, out o_granted text[], out o_lost text[]
) language plpgsql as $$
declare
  v_sessions bigint[];
  v_dead text[];
begin
  o_granted := '{}';
  o_lost := '{}';
  o_now := agentmesh.now_us();
  v_sessions := agentmesh.lock_dead_sessions_v1(o_now);
  if v_sessions = '{}' and not exists (select from agentmesh.lock_tickets t where t.expires_at <= o_now) then
    perform agentmesh.lock_seize_v1(p_names, p_new);
    o_now := agentmesh.now_us();
    return;
  end if;
  -- A beat that is under way may still save one: while its row is locked nothing is decided, afterwards no beat can.
  v_sessions := agentmesh.sessions_over_v1(v_sessions, o_now);
  v_dead := array(
    (select t.id from agentmesh.lock_tickets t where t.session = any (v_sessions) and t.resources && p_names)
    union
    (select t.id from agentmesh.lock_tickets t where t.expires_at <= o_now and t.resources && p_names)
    union
    (select t.id from agentmesh.lock_tickets t where t.session = any (v_sessions) limit 100)
    union
    (select t.id from agentmesh.lock_tickets t where t.expires_at <= o_now limit 100));
  perform agentmesh.lock_seize_v1(
    p_names || array(select unnest(t.resources) from agentmesh.lock_tickets t where t.id = any (v_dead)), p_new);
  o_now := agentmesh.now_us();
  -- A lease may have been renewed while this waited for the rows.
  select coalesce(array_agg(t.id order by t.id), '{}'), coalesce(array_agg(distinct t.resources[1]), '{}') into v_dead, o_lost
  from agentmesh.lock_tickets t
  where t.id = any (v_dead) and (t.session = any (v_sessions) or t.expires_at <= o_now);
  o_granted := agentmesh.lock_end_all_v1(v_dead, o_now);
end $$;
`;
