/** How grants and waits end or shrink. Each function returns the list of opened tickets that it was given, with those that may go on by it. */
export const LOCK_ENDING: string = /* sql */ `
create function agentmesh.lock_withdraw_v1(t agentmesh.lock_tickets, p_opened text[]) returns text[]
language plpgsql as $$
begin
  for i in 1..cardinality(t.resources) loop
    delete from agentmesh.lock_waiters w
    where w.resource = t.resources[i] and w.rank = t.rank and w.hurry = t.hurry and w.arrival = t.arrival and w.ticket = t.id;
    -- Nothing is in front of those who stood before it.
    update agentmesh.lock_resources as r set changes[t.modes[i] + 1] = r.changes[t.modes[i] + 1] + 1
    where r.name = t.resources[i] and exists (
      select from agentmesh.lock_waiters w
      where w.resource = r.name and (w.rank, w.hurry, w.arrival) > (t.rank, t.hurry, t.arrival));
    p_opened := agentmesh.lock_opened_v1(t.resources[i], p_opened);
  end loop;
  delete from agentmesh.lock_tickets k where k.id = t.id;
  return p_opened;
end $$;

-- Ends a wait or a grant; with a grant, waits to upgrade it.
create function agentmesh.lock_end_v1(t agentmesh.lock_tickets, p_opened text[]) returns text[] language plpgsql as $$
declare
  u agentmesh.lock_tickets;
begin
  if t.state = 0 then
    return agentmesh.lock_withdraw_v1(t, p_opened);
  end if;
  if not exists (select from agentmesh.lock_waiters w where w.resource = any (t.resources)) then
    delete from agentmesh.lock_holders h using unnest(t.resources, t.modes) i (resource, mode)
    where h.resource = i.resource and h.mode = i.mode and h.owner = t.owner and h.ticket = t.id;
    delete from agentmesh.lock_tickets k where k.id in (t.id, t.converted);
    return p_opened;
  end if;
  for u in
    select k.* from agentmesh.lock_tickets k
    where k.state = 0 and k.upgrade = t.id and k.id in (
      select w.ticket from agentmesh.lock_waiters w where w.resource = any (t.resources) and w.rank = '-infinity')
    order by k.id
  loop
    p_opened := agentmesh.lock_withdraw_v1(u, p_opened);
  end loop;
  delete from agentmesh.lock_tickets k where k.id in (t.id, t.converted);
  for i in 1..cardinality(t.resources) loop
    delete from agentmesh.lock_holders h
    where h.resource = t.resources[i] and h.mode = t.modes[i] and h.owner = t.owner and h.ticket = t.id;
    perform agentmesh.lock_moved_v1(t.resources[i], t.modes[i]);
    p_opened := agentmesh.lock_opened_v1(t.resources[i], p_opened);
  end loop;
  return p_opened;
end $$;

-- Ends all these. Waits first: no lock that is given back here may go to one of them. Returns who was granted something by it.
create function agentmesh.lock_end_all_v1(p_ids text[], p_now bigint) returns text[] language plpgsql as $$
declare
  t agentmesh.lock_tickets;
  v_opened text[] := '{}';
begin
  for v_state in 0..1 loop
    for t in select * from agentmesh.lock_tickets k where k.id = any (p_ids) and k.state = v_state order by k.id loop
      -- The wait of an upgrade has ended with its grant.
      continue when not exists (select from agentmesh.lock_tickets k where k.id = t.id);
      v_opened := agentmesh.lock_end_v1(t, v_opened);
    end loop;
  end loop;
  return agentmesh.lock_grant_all_v1(v_opened, p_now);
end $$;

-- Takes the latest upgrade of a grant back: it has the modes and tokens again that it had.
create function agentmesh.lock_revert_v1(u agentmesh.lock_tickets, p_opened text[]) returns text[] language plpgsql as $$
declare
  g agentmesh.lock_tickets;
begin
  select * into g from agentmesh.lock_tickets k where k.id = u.upgrade;
  perform agentmesh.lock_exchange_v1(u, g);
  update agentmesh.lock_tickets as k set converted = null where k.id = g.id;
  delete from agentmesh.lock_tickets k where k.id = u.id;
  for i in 1..cardinality(u.resources) loop
    p_opened := agentmesh.lock_opened_v1(u.resources[i], p_opened);
  end loop;
  return p_opened;
end $$;

-- X and U become S, intents follow.
create function agentmesh.lock_downgrade_v1(t agentmesh.lock_tickets, p_opened text[]) returns text[] language plpgsql as $$
declare
  v_mode smallint;
begin
  delete from agentmesh.lock_tickets k where k.id = t.converted;
  for i in 1..cardinality(t.resources) loop
    v_mode := case t.modes[i] when 1 then 0 when 3 then 2 when 4 then 2 else t.modes[i] end;
    continue when v_mode = t.modes[i];
    update agentmesh.lock_holders as h set mode = v_mode
    where h.resource = t.resources[i] and h.mode = t.modes[i] and h.owner = t.owner and h.ticket = t.id;
    perform agentmesh.lock_moved_v1(t.resources[i], t.modes[i]);
    perform agentmesh.lock_moved_v1(t.resources[i], v_mode);
    t.modes[i] := v_mode;
    p_opened := agentmesh.lock_opened_v1(t.resources[i], p_opened);
  end loop;
  update agentmesh.lock_tickets as k set modes = t.modes, converted = null where k.id = t.id;
  return p_opened;
end $$;

-- Takes these waits out of their queues together: one by one each would look past all that went before it in the same call.
create function agentmesh.lock_withdraw_all_v1(p_ids text[]) returns text[] language plpgsql as $$
declare
  v_opened text[] := '{}';
  v_place record;
begin
  delete from agentmesh.lock_waiters w using agentmesh.lock_tickets t, unnest(t.resources) as i (resource)
  where t.id = any (p_ids) and w.resource = i.resource and w.rank = t.rank and w.hurry = t.hurry and w.arrival = t.arrival
    and w.ticket = t.id;
  for v_place in
    select i.resource, array_agg(distinct i.mode) as modes
    from agentmesh.lock_tickets t, unnest(t.resources, t.modes) as i (resource, mode)
    where t.id = any (p_ids) group by i.resource order by i.resource
  loop
    for i in 1..cardinality(v_place.modes) loop
      perform agentmesh.lock_moved_v1(v_place.resource, v_place.modes[i]);
    end loop;
    v_opened := agentmesh.lock_opened_v1(v_place.resource, v_opened);
  end loop;
  delete from agentmesh.lock_tickets t where t.id = any (p_ids);
  return v_opened;
end $$;

create function agentmesh.lock_release_one_v1(
  p_session bigint, p_id text, p_token bigint, p_down boolean, p_grace_ms double precision, p_reason text, p_now bigint,
  inout p_opened text[], out o_ended boolean, out o_told text
) language plpgsql as $$
declare
  t agentmesh.lock_tickets;
begin
  o_ended := false;
  select * into t from agentmesh.lock_tickets k where k.id = p_id;
  if not found then
    return;
  end if;
  if t.state = 2 then
    o_ended := t.session = p_session and p_token is null;
    if o_ended then
      p_opened := agentmesh.lock_revert_v1(t, p_opened);
    end if;
  elsif p_token is not null and (t.state <> 1 or t.tokens[1] <> p_token) then
    return;
  elsif p_reason is not null then
    o_ended := t.state = 1;
    if not o_ended then
      return;
    end if;
    o_told := t.resources[1];
    if p_grace_ms > 0 then
      update agentmesh.lock_tickets as k
      set revoked = coalesce(k.revoked, p_reason),
        expires_at = least(k.expires_at, p_now + (least(p_grace_ms, 1e12) * 1000)::bigint)
      where k.id = p_id;
    else
      p_opened := agentmesh.lock_end_v1(t, p_opened);
    end if;
  elsif t.session = p_session then
    o_ended := true;
    if not p_down then
      p_opened := agentmesh.lock_end_v1(t, p_opened);
    elsif t.state = 1 then
      p_opened := agentmesh.lock_downgrade_v1(t, p_opened);
    end if;
  end if;
end $$;

-- Who should look: these requests, with their first resources, and whoever waits for the other resources.
create function agentmesh.lock_hints_v1(p_granted text[], p_others text[]) returns json language plpgsql as $$
begin
  if p_granted = '{}' and p_others = '{}' then
    return '[]';
  end if;
  return (
    select coalesce(json_agg(json_build_array(h.resource, h.id)), '[]')
    from (
      select t.resources[1], t.id from agentmesh.lock_tickets t where t.id = any (p_granted)
      union
      select o, null from unnest(p_others) o where o is not null
    ) as h (resource, id));
end $$;

-- Items as columns; a reason takes the grant back.
create function agentmesh.lock_release_v1(
  p_session bigint, p_sequence bigint, p_ids text[], p_tokens bigint[], p_down boolean[], p_graces double precision[],
  p_reasons text[]
) returns text language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_answer text := agentmesh.op_begin_v1(p_session, p_sequence);
  v_now bigint;
  v_buried text[];
  v_lost text[];
  v_told text;
  v_opened text[] := '{}';
  v_granted text[] := '{}';
  v_ended boolean[] := '{}';
  v_once boolean := cardinality(p_ids) = 1 or cardinality(p_ids) = (select count(distinct k) from unnest(p_ids) k);
  v_waits text[] := '{}';
  v_plain text[] := '{}';
  v_converted text[];
  v_ok boolean;
begin
  if v_answer is not null then
    return v_answer;
  end if;
  select e.o_now, e.o_granted, e.o_lost into v_now, v_buried, v_lost
  from agentmesh.lock_enter_v1(
    array(select unnest(t.resources) from agentmesh.lock_tickets t where t.id = any (p_ids)), false) e;
  -- Most are waits, and grants that nobody waits for, and end together. The others go one after another; so do the wait of
  -- an upgrade whose grant ends here, which ends with it, and a grant whose upgrade is taken back here.
  if v_once then
    v_waits := array(
      select k.id from unnest(p_ids, p_tokens, p_down, p_reasons) as k (id, token, down, reason)
      join agentmesh.lock_tickets t on t.id = k.id
      where not k.down and k.reason is null and k.token is null and t.state = 0 and t.session = p_session
        and (t.upgrade is null or t.upgrade <> all (p_ids)));
    if v_waits <> '{}' then
      v_opened := agentmesh.lock_withdraw_all_v1(v_waits);
    end if;
    v_plain := array(
      select k.id from unnest(p_ids, p_tokens, p_down, p_reasons) as k (id, token, down, reason)
      join agentmesh.lock_tickets t on t.id = k.id
      where not k.down and k.reason is null and t.state = 1 and t.session = p_session and (k.token is null or k.token = t.tokens[1])
        and (t.converted is null or t.converted <> all (p_ids))
        and not exists (select from agentmesh.lock_waiters w where w.resource = any (t.resources)));
  end if;
  if v_plain <> '{}' then
    delete from agentmesh.lock_holders h using agentmesh.lock_tickets t, unnest(t.resources, t.modes) i (resource, mode)
    where t.id = any (v_plain) and h.resource = i.resource and h.mode = i.mode and h.owner = t.owner and h.ticket = t.id;
    v_converted := array(
      select t.converted from agentmesh.lock_tickets t where t.id = any (v_plain) and t.converted is not null);
    delete from agentmesh.lock_tickets t where t.id = any (v_plain || v_converted);
  end if;
  v_plain := v_plain || v_waits;
  if v_plain <> '{}' then
    v_ended := array_fill(true, array[cardinality(p_ids)]);
  end if;
  for i in 1..cardinality(p_ids) loop
    exit when cardinality(v_plain) = cardinality(p_ids);
    continue when p_ids[i] = any (v_plain);
    select r.p_opened, r.o_ended, r.o_told into v_opened, v_ok, v_told
    from agentmesh.lock_release_one_v1(
      p_session, p_ids[i], p_tokens[i], p_down[i], p_graces[i], p_reasons[i], v_now, v_opened) r;
    v_ended[i] := v_ok;
    if v_told is not null then
      v_lost := v_lost || v_told;
    end if;
  end loop;
  if v_opened <> '{}' then
    v_granted := agentmesh.lock_grant_all_v1(v_opened, v_now);
  end if;
  v_answer := json_build_object('at', v_now, 'ended', v_ended, 'granted', v_granted,
    'hints', agentmesh.lock_hints_v1(v_buried || v_granted, v_lost))::text;
  perform agentmesh.op_end_v1(p_session, p_sequence, v_answer);
  return v_answer;
end $$;
`;
