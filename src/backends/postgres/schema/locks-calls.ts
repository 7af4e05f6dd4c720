/**
 * The calls of the port, but for those that end something. Their plans are pinned: tables that are empty now and large a second later, and arrays of
 * any length, make the planner choose scans, or plan anew at each call, which takes longer than the call itself.
 */
export const LOCK_CALLS: string = /* sql */ `
-- Requests and their items as columns; items say by number, from 1, which request they belong to.
create function agentmesh.lock_request_v1(
  p_session bigint, p_sequence bigint,
  p_ids text[], p_owners text[], p_agents text[], p_tasks text[], p_owner_priorities double precision[], p_sinces bigint[],
  p_defeats int[], p_priorities double precision[], p_steps double precision[], p_overtakes int[], p_waits boolean[],
  p_leases double precision[], p_reentrant boolean[], p_upgrades text[], p_upgrade_tokens bigint[],
  p_item_of int[], p_resources text[], p_modes smallint[], p_units int[], p_capacities int[]
) returns text language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_answer text := agentmesh.op_begin_v1(p_session, p_sequence);
  v_now bigint;
  v_granted text[];
  v_lost text[];
  v_more text[];
  v_answers json[];
  v_one json;
  v_slow int[];
  v_expires double precision;
  t agentmesh.lock_tickets;
  ask record;
begin
  if v_answer is not null then
    return v_answer;
  end if;
  select e.o_now, e.o_granted, e.o_lost into v_now, v_granted, v_lost
  from agentmesh.lock_enter_v1(p_resources, true) e;
  -- Most requests are for what nobody holds or wants, and are granted together. The others go one after another.
  v_slow := array(
    select i.request
    from unnest(p_item_of, p_resources, p_units, p_capacities) as i (request, resource, units, capacity)
    join agentmesh.lock_resources r on r.name = i.resource
    where r.capacity <> i.capacity or i.units > i.capacity
    union
    select i.request from unnest(p_item_of, p_resources) as i (request, resource)
    where exists (select from agentmesh.lock_holders h where h.resource = i.resource)
    union
    select i.request from unnest(p_item_of, p_resources) as i (request, resource)
    where exists (select from agentmesh.lock_waiters w where w.resource = i.resource)
    union
    select q.n::int from unnest(p_upgrades) with ordinality as q (upgrade, n) where q.upgrade is not null
    union
    select q.n::int from unnest(p_ids) with ordinality as q (id, n)
    where exists (select from agentmesh.lock_tickets k where k.id = q.id));
  if cardinality(p_ids) > 1 then
    v_slow := v_slow || array(
      select unnest(array_agg(i.request)) from unnest(p_item_of, p_resources) as i (request, resource)
      group by i.resource having count(*) > 1);
    v_slow := v_slow || array(
      select unnest(array_agg(q.n))::int from unnest(p_ids) with ordinality as q (id, n) group by q.id having count(*) > 1);
  end if;
  if v_slow = '{}' or exists (select from generate_series(1, cardinality(p_ids)) n where n <> all (v_slow)) then
    select (s.expires_at - v_now) / 1000.0 into v_expires from agentmesh.sessions s where s.number = p_session;
    with item as (
      select i.request, array_agg(i.resource order by i.n) as resources, array_agg(i.mode order by i.n) as modes,
        array_agg(i.units order by i.n) as units, array_agg(r.token order by i.n) as tokens
      from unnest(p_item_of, p_resources, p_modes, p_units) with ordinality as i (request, resource, mode, units, n)
      join agentmesh.lock_resources r on r.name = i.resource
      where i.request <> all (v_slow)
      group by i.request
    ), held as (
      insert into agentmesh.lock_holders (resource, mode, owner, ticket, units)
      select i.resource, i.mode, p_owners[i.request], p_ids[i.request], i.units
      from unnest(p_item_of, p_resources, p_modes, p_units) as i (request, resource, mode, units)
      where i.request <> all (v_slow)
    ), ticket as (
      insert into agentmesh.lock_tickets (
        id, session, state, owner, agent, task, owner_priority, owner_since, defeats, resources, modes, units, tokens, granted_at,
        lease_us, expires_at)
      select q.id, p_session, 1, q.owner, q.agent, q.task, q.priority, case when q.since = 0 then v_now else q.since end,
        q.defeats, i.resources, i.modes, i.units, i.tokens, v_now, q.lease, v_now + q.lease::bigint
      from unnest(p_ids, p_owners, p_agents, p_tasks, p_owner_priorities, p_sinces, p_defeats, p_leases) with ordinality
        as q (id, owner, agent, task, priority, since, defeats, lease, n)
      join item i on i.request = q.n
    )
    select array_agg(
      case when i.request is null then null else json_build_object(
        'status', 'granted', 'id', q.id, 'token', i.tokens[1], 'tokens', i.tokens,
        'expiresInMs', coalesce(q.lease / 1000, v_expires)) end order by q.n)
    into v_answers
    from unnest(p_ids, p_leases) with ordinality as q (id, lease, n) left join item i on i.request = q.n;
  end if;
  if v_slow <> '{}' then
    for ask in
      select a.*, i.resources, i.modes, i.units, i.capacities
      from unnest(p_ids, p_owners, p_agents, p_tasks, p_owner_priorities, p_sinces, p_defeats, p_priorities, p_steps,
        p_overtakes, p_waits, p_leases, p_reentrant, p_upgrades, p_upgrade_tokens) with ordinality
        as a (id, owner, agent, task, owner_priority, since, defeats, priority, step, overtakes, wait, lease, reentrant, upgrade,
          upgrade_token, n)
      join (
        select k.request, array_agg(k.resource order by k.n) as resources, array_agg(k.mode order by k.n) as modes,
          array_agg(k.units order by k.n) as units, array_agg(k.capacity order by k.n) as capacities
        from unnest(p_item_of, p_resources, p_modes, p_units, p_capacities) with ordinality
          as k (request, resource, mode, units, capacity, n)
        where k.request = any (v_slow)
        group by k.request
      ) i on i.request = a.n
      order by a.n
    loop
      t := null;
      t.id := ask.id;
      t.session := p_session;
      t.owner := ask.owner;
      t.agent := ask.agent;
      t.task := ask.task;
      t.owner_priority := ask.owner_priority;
      t.owner_since := case when ask.since = 0 then v_now else ask.since end;
      t.defeats := ask.defeats;
      t.resources := ask.resources;
      t.modes := ask.modes;
      t.units := ask.units;
      t.lease_us := ask.lease;
      t.upgrade := ask.upgrade;
      t.max_overtakes := ask.overtakes;
      select a.o_answer, a.o_granted into v_one, v_more
      from agentmesh.lock_ask_v1(
        t, ask.capacities, ask.priority, ask.step, ask.wait, ask.reentrant, ask.upgrade_token, v_now, ask.n::int) a;
      v_answers[ask.n] := v_one;
      v_granted := v_granted || v_more;
    end loop;
  end if;
  if p_sequence % 256 = 0 then
    perform agentmesh.lock_tidy_v1();
  end if;
  v_answer := json_build_object('at', v_now, 'answers', to_json(v_answers),
    'hints', agentmesh.lock_hints_v1(v_granted, v_lost))::text;
  perform agentmesh.op_end_v1(p_session, p_sequence, v_answer);
  return v_answer;
end $$;

-- Says how requests stand, and renews leases of their own. Nothing is locked when there is nothing to renew or to end.
create function agentmesh.lock_keep_v1(p_session bigint, p_ids text[], p_tokens bigint[]) returns text language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_now bigint;
  v_names text[];
  v_renewed text[];
  v_ended boolean;
  v_granted text[] := '{}';
  v_lost text[] := '{}';
begin
  v_renewed := array(
    select unnest(t.resources) from agentmesh.lock_tickets t
    where t.id = any (p_ids) and t.session = p_session and t.state = 1 and t.lease_us is not null and t.revoked is null);
  v_names := array(select distinct unnest(t.resources) from agentmesh.lock_tickets t where t.id = any (p_ids));
  v_now := agentmesh.now_us();
  v_ended := exists (select from agentmesh.lock_tickets t where t.expires_at <= v_now)
    or agentmesh.lock_dead_sessions_v1(v_now) <> '{}';
  if v_ended or v_renewed <> '{}' then
    select e.o_now, e.o_granted, e.o_lost into v_now, v_granted, v_lost
    from agentmesh.lock_enter_v1(case when v_ended then v_names else v_renewed end, false) e;
    update agentmesh.lock_tickets as t set expires_at = v_now + t.lease_us::bigint
    from unnest(p_ids, p_tokens) k (id, token)
    where t.id = k.id and t.session = p_session and t.state = 1 and t.lease_us is not null and t.revoked is null
      and t.expires_at > v_now and (k.token is null or k.token = t.tokens[1]);
  end if;
  update agentmesh.lock_victims as v set told = true
  where v.ticket = any (p_ids) and v.session = p_session and not v.told;
  return json_build_object(
    'at', v_now,
    'answers', (
      select json_agg(
        case
          when t.id is null or t.session <> p_session or (t.state = 1 and (k.token <> t.tokens[1] or t.expires_at <= v_now)) then
            case when v.session = p_session then json_build_object('status', 'aborted', 'cycle', v.cycle)
            else json_build_object('status', 'lost') end
          else agentmesh.lock_answer_v1(t.id, 0, v_now)
        end order by k.n)
      from unnest(p_ids, p_tokens) with ordinality as k (id, token, n)
      left join agentmesh.lock_tickets t on t.id = k.id
      left join agentmesh.lock_victims v on v.ticket = k.id and t.id is null),
    'hints', agentmesh.lock_hints_v1(v_granted, v_lost))::text;
end $$;

-- Replaces what a session waits for beside locks.
create function agentmesh.lock_publish_v1(
  p_session bigint, p_waiters text[], p_holders text[], p_bys text[], p_whats text[], p_agents text[]
) returns bigint language plpgsql as $$
begin
  -- Two calls of one session come one after the other.
  perform pg_advisory_xact_lock(hashtextextended('agentmesh.lock_published', p_session));
  delete from agentmesh.lock_published p where p.session = p_session;
  if agentmesh.session_alive_v1(p_session) then
    insert into agentmesh.lock_published (session, ordinal, waiter, holder, by, what, agent)
    select p_session, e.n, e.waiter, e.holder, e.by, e.what, e.agent
    from unnest(p_waiters, p_holders, p_bys, p_whats, p_agents) with ordinality as e (waiter, holder, by, what, agent, n);
  end if;
  return agentmesh.now_us();
end $$;

-- Ends a victim's wait if its version and those of the witnesses are what they were.
create function agentmesh.lock_abort_v1(
  p_session bigint, p_sequence bigint, p_id text, p_version bigint, p_cycle text, p_witnesses text[], p_versions bigint[]
) returns text language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_answer text := agentmesh.op_begin_v1(p_session, p_sequence);
  v_now bigint;
  v_granted text[];
  v_lost text[];
  v_standing boolean;
  t agentmesh.lock_tickets;
begin
  if v_answer is not null then
    return v_answer;
  end if;
  select e.o_now, e.o_granted, e.o_lost into v_now, v_granted, v_lost
  from agentmesh.lock_enter_v1(
    array(select unnest(k.resources) from agentmesh.lock_tickets k where k.id = p_id or k.id = any (p_witnesses)), false) e;
  select bool_and(coalesce((
    select k.state = 0 and s.version = agentmesh.lock_version_of_v1(k)
    from agentmesh.lock_tickets k where k.id = s.id), false))
  into v_standing
  from unnest(p_id || p_witnesses, p_version || p_versions) as s (id, version);
  if v_standing then
    select * into t from agentmesh.lock_tickets k where k.id = p_id;
    insert into agentmesh.lock_victims (ticket, session, version, cycle, aborted_at)
    values (p_id, t.session, p_version, p_cycle, v_now)
    on conflict (ticket) do update
    set session = excluded.session, version = excluded.version, cycle = excluded.cycle, aborted_at = excluded.aborted_at, told = false;
    v_granted := v_granted || agentmesh.lock_grant_all_v1(agentmesh.lock_end_v1(t, '{}'), v_now);
    v_lost := v_lost || t.resources[1];
    delete from agentmesh.lock_victims v where v.ticket in (
      select o.ticket from agentmesh.lock_victims o order by o.aborted_at desc offset 1000 for update skip locked);
  end if;
  v_answer := json_build_object('at', v_now, 'aborted', v_standing,
    'hints', agentmesh.lock_hints_v1(v_granted, v_lost))::text;
  perform agentmesh.op_end_v1(p_session, p_sequence, v_answer);
  return v_answer;
end $$;

-- A session was closed: all that it holds and wants is given back.
create function agentmesh.lock_session_closed_v1(p_session bigint) returns void language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_ids text[];
begin
  v_ids := array(select t.id from agentmesh.lock_tickets t where t.session = p_session);
  if v_ids <> '{}' then
    perform agentmesh.lock_seize_v1(
      array(select unnest(t.resources) from agentmesh.lock_tickets t where t.id = any (v_ids)), false);
    perform agentmesh.lock_end_all_v1(v_ids, agentmesh.now_us());
  end if;
  delete from agentmesh.lock_published p where p.session = p_session;
  delete from agentmesh.lock_victims v where v.session = p_session;
end $$;

-- Victims' waits, until their session has asked about them.
create function agentmesh.lock_orders_v1(p_session bigint) returns setof text language plpgsql as $$
begin
  return query select json_build_object('kind', 'abort-wait', 'wait', json_build_object('id', v.ticket, 'version', v.version),
    'cycle', v.cycle::json)::text
  from agentmesh.lock_victims v where v.session = p_session and not v.told order by v.aborted_at limit 100;
end $$;
`;
