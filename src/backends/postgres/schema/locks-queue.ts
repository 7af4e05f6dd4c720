/**
 * The queue of a resource. A waiting place is open when neither a holder nor a waiter in front of it stands in its way; a ticket is granted when
 * all its places are. All of this is called with the rows of the resources locked.
 */
export const LOCK_QUEUE: string = /* sql */ `
create function agentmesh.lock_is_open_v1(
  p_resource text, p_mode smallint, p_units int, p_owner text,
  p_rank double precision, p_hurry double precision, p_arrival bigint
) returns boolean language plpgsql as $$
begin
  if p_mode = 5 then
    return p_units
      + (select coalesce(sum(h.units), 0) from agentmesh.lock_holders h where h.resource = p_resource)
      + (select coalesce(sum(w.units), 0) from agentmesh.lock_waiters w
         where w.resource = p_resource and (w.rank, w.hurry, w.arrival) < (p_rank, p_hurry, p_arrival))
      <= (select r.capacity from agentmesh.lock_resources r where r.name = p_resource);
  end if;
  if exists (
    select from agentmesh.lock_holders h
    where h.resource = p_resource and h.mode = any (agentmesh.lock_covering_v1(p_mode)) and h.owner = p_owner
  ) then
    return true;
  end if;
  if exists (
    select from agentmesh.lock_holders h
    where h.resource = p_resource and h.mode = any (agentmesh.lock_against_v1(p_mode)) and h.owner <> p_owner
  ) then
    return false;
  end if;
  return not exists (
    select from agentmesh.lock_waiters w
    where w.resource = p_resource and (w.rank, w.hurry, w.arrival) < (p_rank, p_hurry, p_arrival)
      and w.mode = any (agentmesh.lock_against_v1(p_mode)));
end $$;

create function agentmesh.lock_all_open_v1(p_ticket text) returns boolean language plpgsql as $$
declare
  t agentmesh.lock_tickets;
begin
  select * into t from agentmesh.lock_tickets k where k.id = p_ticket;
  for i in 1..cardinality(t.resources) loop
    if not agentmesh.lock_is_open_v1(t.resources[i], t.modes[i], t.units[i], t.owner, t.rank, t.hurry, t.arrival) then
      return false;
    end if;
  end loop;
  return true;
end $$;

-- Adds the waiters of a resource that may go on, in the order of the queue, from its head as far as anything can be open.
create function agentmesh.lock_opened_v1(p_resource text, p_opened text[]) returns text[] language plpgsql as $$
declare
  w agentmesh.lock_waiters;
  v_special boolean;
  v_taken int;
  v_free int;
  v_open boolean;
begin
  if not exists (select from agentmesh.lock_waiters k where k.resource = p_resource) then
    return p_opened;
  end if;
  v_special := exists (select from agentmesh.lock_waiters k where k.resource = p_resource and k.special);
  select coalesce(bit_or(1 << m), 0) into v_taken from generate_series(0, 4) m
  where exists (select from agentmesh.lock_holders h where h.resource = p_resource and h.mode = m::smallint);
  for w in
    select * from agentmesh.lock_waiters k where k.resource = p_resource order by k.rank, k.hurry, k.arrival
  loop
    -- Behind something exclusive nothing is open, but for owners that hold the resource.
    exit when v_taken & 16 <> 0 and not v_special;
    if w.mode = 5 then
      if v_free is null then
        select r.capacity - (
          select coalesce(sum(h.units), 0) from agentmesh.lock_holders h where h.resource = p_resource)
        into v_free from agentmesh.lock_resources r where r.name = p_resource;
      end if;
      v_free := v_free - w.units;
      exit when v_free < 0;
      v_open := true;
    elsif w.special then
      v_open := agentmesh.lock_is_open_v1(p_resource, w.mode, w.units, w.owner, w.rank, w.hurry, w.arrival);
    else
      v_open := agentmesh.lock_conflicts_v1(w.mode) & v_taken = 0;
    end if;
    v_taken := v_taken | (1 << w.mode);
    if v_open and w.ticket <> all (p_opened) and (not w.many or agentmesh.lock_all_open_v1(w.ticket)) then
      p_opened := p_opened || w.ticket;
    end if;
  end loop;
  return p_opened;
end $$;

-- A token above all earlier ones of these resources, for somebody who comes to hold them in these modes.
create function agentmesh.lock_mint_v1(p_resources text[], p_modes smallint[], p_now bigint) returns bigint language plpgsql as $$
declare
  v_token bigint;
begin
  select greatest(p_now, max(r.token) + 1) into v_token from agentmesh.lock_resources r where r.name = any (p_resources);
  update agentmesh.lock_resources as r set token = v_token, changes[i.mode + 1] = r.changes[i.mode + 1] + 1
  from unnest(p_resources, p_modes) as i (resource, mode) where r.name = i.resource;
  return v_token;
end $$;

-- Somebody in this mode came or went. 6: an owner came to hold what it waits for too.
create function agentmesh.lock_moved_v1(p_resource text, p_mode int) returns void language plpgsql as $$
begin
  update agentmesh.lock_resources as r set changes[p_mode + 1] = r.changes[p_mode + 1] + 1
  where r.name = p_resource and exists (select from agentmesh.lock_waiters w where w.resource = r.name);
end $$;

-- A grant of what its owner holds already carries the same token: a new one would make the owner's own writes look old.
create function agentmesh.lock_token_v1(p_resource text, p_mode smallint, p_owner text, p_token bigint) returns bigint
language plpgsql as $$
begin
  if not exists (
    select from agentmesh.lock_holders h
    where h.resource = p_resource and h.mode = any (agentmesh.lock_covering_v1(p_mode)) and h.owner = p_owner
  ) then
    return p_token;
  end if;
  return (
    select t.tokens[array_position(t.resources, p_resource)]
    from agentmesh.lock_holders h join agentmesh.lock_tickets t on t.id = h.ticket
    where h.resource = p_resource and h.mode = any ('{0,1,2,3,4}'::smallint[]) and h.owner = p_owner
    order by t.granted_at desc limit 1);
end $$;

-- What an owner has come to hold is not in the way of its other waits: the newest of them first.
create function agentmesh.lock_let_own_in_v1(p_owner text, p_resources text[], p_opened text[]) returns text[]
language plpgsql as $$
declare
  w agentmesh.lock_waiters;
begin
  for w in
    select * from agentmesh.lock_waiters k
    where k.owner = p_owner and k.resource = any (p_resources) order by k.arrival desc, k.resource
  loop
    update agentmesh.lock_waiters as k set special = true
    where k.resource = w.resource and k.rank = w.rank and k.hurry = w.hurry and k.arrival = w.arrival and k.ticket = w.ticket
      and not k.special;
    perform agentmesh.lock_moved_v1(w.resource, 6);
    p_opened := agentmesh.lock_opened_v1(w.resource, p_opened);
  end loop;
  return p_opened;
end $$;

-- The grant goes on in the new modes, with new tokens; the upgrade keeps what was before, so that it can be taken back.
create function agentmesh.lock_convert_v1(p_upgrade text, p_now bigint) returns void language plpgsql as $$
declare
  u agentmesh.lock_tickets;
  g agentmesh.lock_tickets;
  v_token bigint;
begin
  select * into u from agentmesh.lock_tickets t where t.id = p_upgrade;
  select * into g from agentmesh.lock_tickets t where t.id = u.upgrade;
  v_token := agentmesh.lock_mint_v1(u.resources, u.modes, p_now);
  u.tokens := array_fill(v_token, array[cardinality(u.resources)]);
  perform agentmesh.lock_exchange_v1(u, g);
  delete from agentmesh.lock_tickets t where t.id = g.converted;
  update agentmesh.lock_tickets as t set converted = u.id where t.id = g.id;
  update agentmesh.lock_tickets as t set state = 2 where t.id = u.id;
end $$;

-- Changes what a grant has for what an upgrade of it has, at the resources of the upgrade.
create function agentmesh.lock_exchange_v1(u agentmesh.lock_tickets, g agentmesh.lock_tickets) returns void
language plpgsql as $$
declare
  n int;
  v_mode smallint;
  v_token bigint;
begin
  for i in 1..cardinality(u.resources) loop
    n := array_position(g.resources, u.resources[i]);
    continue when n is null;
    v_mode := g.modes[n];
    v_token := g.tokens[n];
    if v_mode <> u.modes[i] then
      update agentmesh.lock_holders as h set mode = u.modes[i]
      where h.resource = u.resources[i] and h.mode = v_mode and h.owner = g.owner and h.ticket = g.id;
      perform agentmesh.lock_moved_v1(u.resources[i], v_mode);
      perform agentmesh.lock_moved_v1(u.resources[i], u.modes[i]);
    end if;
    g.modes[n] := u.modes[i];
    g.tokens[n] := u.tokens[i];
    u.modes[i] := v_mode;
    u.tokens[i] := v_token;
  end loop;
  update agentmesh.lock_tickets as t set modes = g.modes, tokens = g.tokens where t.id = g.id;
  update agentmesh.lock_tickets as t set modes = u.modes, tokens = u.tokens where t.id = u.id;
end $$;

-- Gives a ticket that is in no queue any more all its places.
create function agentmesh.lock_hold_v1(p_ticket text, p_token bigint, p_now bigint) returns void language plpgsql as $$
declare
  t agentmesh.lock_tickets;
begin
  select * into t from agentmesh.lock_tickets k where k.id = p_ticket;
  t.tokens := array(
    select agentmesh.lock_token_v1(i.resource, i.mode, t.owner, p_token)
    from unnest(t.resources, t.modes) with ordinality as i (resource, mode, n) order by i.n);
  insert into agentmesh.lock_holders (resource, mode, owner, ticket, units)
  select i.resource, i.mode, t.owner, t.id, i.units from unnest(t.resources, t.modes, t.units) as i (resource, mode, units);
  update agentmesh.lock_tickets as k
  set state = 1, tokens = t.tokens, granted_at = p_now, expires_at = p_now + k.lease_us::bigint
  where k.id = t.id;
end $$;

-- Grants what became open, in the order in which it was found.
create function agentmesh.lock_grant_all_v1(p_opened text[], p_now bigint) returns text[] language plpgsql as $$
declare
  t agentmesh.lock_tickets;
  v_granted text[] := '{}';
  i int := 1;
begin
  -- It grows while it is worked off.
  while i <= cardinality(p_opened) loop
    select * into t from agentmesh.lock_tickets k where k.id = p_opened[i] and k.state = 0;
    i := i + 1;
    continue when not found;
    -- What its owner held may have been given back since: then it waits on, and may be found open again.
    if exists (
      select from agentmesh.lock_waiters w
      where w.resource = any (t.resources) and w.rank = t.rank and w.hurry = t.hurry and w.arrival = t.arrival
        and w.ticket = t.id and w.special
    ) and not agentmesh.lock_all_open_v1(t.id) then
      p_opened[i - 1] := '';
      continue;
    end if;
    delete from agentmesh.lock_waiters w
    where w.resource = any (t.resources) and w.rank = t.rank and w.hurry = t.hurry and w.arrival = t.arrival and w.ticket = t.id;
    if t.upgrade is null then
      perform agentmesh.lock_hold_v1(t.id, agentmesh.lock_mint_v1(t.resources, t.modes, p_now), p_now);
    else
      perform agentmesh.lock_convert_v1(t.id, p_now);
    end if;
    v_granted := v_granted || t.id;
    p_opened := agentmesh.lock_let_own_in_v1(t.owner, t.resources, p_opened);
  end loop;
  return v_granted;
end $$;
`;
