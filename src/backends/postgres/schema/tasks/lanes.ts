/** Lanes and queues: made when the first task of their kind comes, read by whoever claims. */
export const TASK_LANES: string = /* sql */ `
create function agentmesh.task_lane_digest_v1(p_queue int, p_type text, p_capabilities text, p_placement text, p_agent text,
  p_group text)
returns bytea language sql immutable as $$
  select sha256(convert_to(json_build_array(p_queue, p_type, p_capabilities, p_placement, p_agent, p_group)::text, 'UTF8'))
$$;

-- The lanes of these kinds, made where they are missing, and their queues' numbers, in order.
create function agentmesh.task_lanes_v1(p_queues text[], p_types text[], p_capabilities text[], p_placements text[],
  p_agents text[], p_groups text[])
returns table (lane int, queue int) language plpgsql as $$
begin
  if not exists (select from agentmesh.uptime) then
    perform agentmesh.pass_lost_numbers_v1();
  end if;
  insert into agentmesh.task_queues (name)
  select distinct u.name from unnest(p_queues) u(name)
  where not exists (select from agentmesh.task_queues q where q.name = u.name offset 0)
  order by 1 on conflict do nothing;
  insert into agentmesh.task_lanes (digest, queue, type, capabilities, placement, agent, grp)
  select distinct on (1)
    agentmesh.task_lane_digest_v1(q.number, u.type, u.capabilities, u.placement, u.agent, u.grp),
    q.number, u.type, u.capabilities, u.placement, u.agent, u.grp
  from unnest(p_queues, p_types, p_capabilities, p_placements, p_agents, p_groups)
    u(queue, type, capabilities, placement, agent, grp)
  join agentmesh.task_queues q on q.name = u.queue
  where not exists (
    select from agentmesh.task_lanes l
    where l.digest = agentmesh.task_lane_digest_v1(q.number, u.type, u.capabilities, u.placement, u.agent, u.grp))
  order by 1 on conflict do nothing;
  return query
    select l.lane, l.queue
    from unnest(p_queues, p_types, p_capabilities, p_placements, p_agents, p_groups)
      with ordinality u(queue, type, capabilities, placement, agent, grp, ord)
    join agentmesh.task_queues q on q.name = u.queue
    join agentmesh.task_lanes l
      on l.digest = agentmesh.task_lane_digest_v1(q.number, u.type, u.capabilities, u.placement, u.agent, u.grp)
    order by u.ord;
end $$;

-- The lane of tasks like those of this one, for this agent; null: for any.
create function agentmesh.task_lane_for_v1(p_lane int, p_agent text) returns int language sql as $$
  select x.lane from agentmesh.task_lanes l join agentmesh.task_queues q on q.number = any(array[l.queue]),
    agentmesh.task_lanes_v1(array[q.name], array[l.type], array[l.capabilities], array[l.placement], array[p_agent], array[l.grp]) x
  where l.lane = p_lane
$$;

-- Lanes that may be unknown to whoever knew all that were there at the horizon of this uptime, and the next horizon: transactions that were
-- under way may still bring some. A server that came back counts transactions from where it was.
create function agentmesh.task_lanes_since_v1(p_uptime bigint, p_horizon text) returns text language sql as $$
  select json_build_object(
    'uptime', (select u.began from agentmesh.uptime u),
    'horizon', pg_snapshot_xmin(pg_current_snapshot())::text,
    'lanes', coalesce((
      select json_agg(json_build_array(l.lane, l.queue, q.name, l.type, l.capabilities::json, l.placement, l.agent, l.grp,
        l.created >= pg_snapshot_xmin(pg_current_snapshot())))
      from agentmesh.task_lanes l join agentmesh.task_queues q on q.number = any(array[l.queue])
      where l.created >= case
        when exists (select from agentmesh.uptime u where u.began = p_uptime) then p_horizon::xid8 else '0'::xid8 end), '[]'::json))::text
$$;
`;
