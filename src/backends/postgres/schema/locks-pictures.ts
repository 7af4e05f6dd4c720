/** Pictures of the locks: one statement each, so one moment. Who isn't alive holds and wants nothing. Rows are flat: who asked puts them together. */
export const LOCK_PICTURES: string = /* sql */ `
-- Everything contended, or what can be reached from one owner by its waits.
create function agentmesh.lock_snapshot_v1(p_around text)
returns table (at bigint, resources json, holders json, waiters json, owners json, edges json) language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
begin
  return query
  with recursive moment as materialized (select agentmesh.now_us() as now),
  edge as materialized (
    select p.session, p.ordinal, p.waiter, p.holder, p.by, p.what, p.agent
    from agentmesh.lock_published p
    join agentmesh.sessions s on s.number = p.session and s.closed_at is null and s.expires_at > (select now from moment)
  ),
  reach (kind, name) as (
    select 'owner', p_around collate "C" where p_around is not null
    union
    select x.kind, x.name from reach r cross join lateral (
      select 'resource' as kind, w.resource as name from agentmesh.lock_waiters w where r.kind = 'owner' and w.owner = r.name
      union all
      select 'owner', e.holder from edge e where r.kind = 'owner' and e.waiter = r.name
      union all
      select 'owner', h.owner from agentmesh.lock_holders h where r.kind = 'resource' and h.resource = r.name
      union all
      select 'owner', w.owner from agentmesh.lock_waiters w where r.kind = 'resource' and w.resource = r.name
    ) x
  ),
  wanted as materialized (
    select r.name from reach r where r.kind = 'resource'
    union
    select w.resource from agentmesh.lock_waiters w where p_around is null
  ),
  resource as materialized (
    select r.name, r.capacity from wanted n join agentmesh.lock_resources r on r.name = n.name
  ),
  waiter as materialized (
    select w.resource, w.rank, w.hurry, w.arrival, w.mode, w.units, t.id, t.owner, t.agent, t.task, t.owner_priority,
      t.owner_since, t.defeats, t.upgrade,
      case when w.many then (
        select sum(agentmesh.lock_version_v1(k.changes, i.mode))
        from unnest(t.resources, t.modes) as i (resource, mode) join agentmesh.lock_resources k on k.name = i.resource)
      else agentmesh.lock_version_v1(r.changes, w.mode) end as version
    from wanted n
    join agentmesh.lock_resources r on r.name = n.name
    join agentmesh.lock_waiters w on w.resource = n.name
    join agentmesh.lock_tickets t on t.id = w.ticket
    join agentmesh.sessions s on s.number = t.session and s.closed_at is null and s.expires_at > (select now from moment)
  ),
  holder as materialized (
    select h.resource, h.mode, h.units, t.id, t.owner, t.agent, t.task, t.owner_priority, t.owner_since, t.defeats, t.granted_at,
      t.tokens[1] as token
    from wanted n
    join agentmesh.lock_holders h on h.resource = n.name
    join agentmesh.lock_tickets t on t.id = h.ticket and (t.expires_at is null or t.expires_at > (select now from moment))
    join agentmesh.sessions s on s.number = t.session and s.closed_at is null and s.expires_at > (select now from moment)
  ),
  owner as materialized (
    select distinct on (o.owner) o.* from (
      select w.owner, w.agent, w.task, w.owner_priority, w.owner_since, w.defeats, 0 as held from waiter w
      union all
      select h.owner, h.agent, h.task, h.owner_priority, h.owner_since, h.defeats, 1 from holder h
    ) o order by o.owner, o.held, o.owner_since
  )
  select
    (select m.now from moment m),
    (select json_agg(json_build_array(r.name, r.capacity) order by r.name) from resource r),
    (select json_agg(json_build_array(h.resource, h.mode, h.units, h.owner, h.id, h.token) order by h.granted_at desc, h.id)
      from holder h),
    (select json_agg(json_build_array(w.resource, w.mode, w.units, w.owner, w.id, w.upgrade, w.version)
      order by w.rank, w.hurry, w.arrival) from waiter w),
    (select json_agg(json_build_array(o.owner, o.agent, o.task, o.owner_priority, o.owner_since, o.defeats)) from owner o),
    (select json_agg(json_build_array(e.waiter, e.holder, e.by, e.what, e.agent) order by e.session, e.ordinal) from edge e);
end $$;

-- Held and contended resources, longest queue first.
create function agentmesh.lock_list_v1(
  p_resource text, p_prefix text, p_agent text, p_contended boolean, p_budget int, p_limit int, p_after int
) returns table (at bigint, scanned bigint, rows json) language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
begin
  return query
  with moment as materialized (select agentmesh.now_us() as now),
  candidate as materialized (
    select c.resource from (
      select h.resource from agentmesh.lock_holders h
      where (p_resource is null or h.resource = p_resource)
        and (p_prefix is null or (h.resource >= p_prefix and starts_with(h.resource, p_prefix)))
      union
      select w.resource from agentmesh.lock_waiters w
      where (p_resource is null or w.resource = p_resource)
        and (p_prefix is null or (w.resource >= p_prefix and starts_with(w.resource, p_prefix)))
    ) c limit p_budget
  ),
  holder as materialized (
    select h.resource, h.mode, h.units, t.id, t.owner, t.agent, t.task, t.owner_priority, t.owner_since, t.defeats, t.granted_at,
      t.tokens[1] as token, t.tokens[array_position(t.resources, h.resource::text)] as own_token,
      (least(t.expires_at, case when t.lease_us is null then s.expires_at end) - m.now) / 1000.0 as expires_in_ms
    from moment m cross join candidate c
    join agentmesh.lock_holders h on h.resource = c.resource
    join agentmesh.lock_tickets t on t.id = h.ticket and (t.expires_at is null or t.expires_at > m.now)
    join agentmesh.sessions s on s.number = t.session and s.closed_at is null and s.expires_at > m.now
  ),
  waiter as materialized (
    select w.resource, t.agent, t.since
    from moment m cross join candidate c
    join agentmesh.lock_waiters w on w.resource = c.resource
    join agentmesh.lock_tickets t on t.id = w.ticket
    join agentmesh.sessions s on s.number = t.session and s.closed_at is null and s.expires_at > m.now
  ),
  known as materialized (
    select k.resource, sum(k.waits) as waiting, min(k.since) as since, bool_or(k.agent = p_agent) as by_agent
    from (
      select h.resource, h.agent, 0 as waits, null::bigint as since from holder h
      union all
      select w.resource, w.agent, 1, w.since from waiter w
    ) k group by k.resource
  ),
  page as materialized (
    select k.resource, k.waiting, k.since from known k
    where (k.waiting > 0 or not p_contended) and (p_agent is null or k.by_agent)
    order by k.waiting desc, k.resource limit p_limit + 1 offset p_after
  )
  select
    (select m.now from moment m),
    (select count(*) from candidate),
    (select json_agg(json_build_array(r.resource, r.waiting, (m.now - coalesce(r.since, m.now)) / 1000.0, k.capacity, (
        select json_agg(json_build_array(h.mode, h.units, h.id, h.token, h.own_token, h.owner, h.agent, h.task,
          h.owner_priority, h.owner_since, h.defeats, (m.now - h.granted_at) / 1000.0, h.expires_in_ms)
          order by h.granted_at desc, h.id)
        from holder h where h.resource = r.resource)) order by r.waiting desc, r.resource)
      from moment m cross join page r join agentmesh.lock_resources k on k.name = r.resource);
end $$;
`;
