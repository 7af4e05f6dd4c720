/** Which lanes a claim is to take its tasks from, and in which order. Nothing is locked. */
export const TASK_CHOOSE: string = /* sql */ `
-- How many claims a limited queue has, in all and of each group.
create function agentmesh.task_running_v1(p_queue int) returns table (grp text, running bigint) language sql stable as $$
  select l.grp, count(*) from agentmesh.task_lanes l join agentmesh.tasks t on t.lane = l.lane and t.counted
  where l.queue = p_queue group by l.grp
$$;

-- Whether a queue, or the group of this lane in it, has as many claims as it may, with those that are about to be made.
create function agentmesh.task_is_full_v1(p_queue int, p_lane int, p_taking bigint[]) returns boolean language plpgsql stable as $$
begin
  return coalesce((
    select coalesce(sum(r.running) >= q.max_running, false)
      or (g.grp is not null and coalesce(sum(r.running) filter (where r.grp = g.grp) >= q.max_per_group, false))
    from agentmesh.task_queues q, agentmesh.task_lanes g, (
      select x.grp, x.running from agentmesh.task_running_v1(p_queue) x
      union all
      select l.grp, count(*) from unnest(p_taking) u(seq) join agentmesh.tasks t on t.seq = any(array[u.seq]) and not t.counted
      join agentmesh.task_lanes l on l.lane = any(array[t.lane]) where l.queue = p_queue group by l.grp
    ) r
    where q.number = p_queue and q.limited and g.lane = p_lane
    group by q.number, g.lane), false);
end $$;

-- A lane for each task to take. Queues give one in turn; in each the best comes first: by the turn of its group where groups have shares,
-- then by rank. A task takes a slot of the first offer that serves its lane and has one.
create function agentmesh.task_choose_v1(p_lanes int[], p_queues int[], p_offers varbit[], p_marks bigint[], p_slots int[],
  p_quotas int[], p_turn int, p_limit int, p_closed int[], p_limited int[])
returns int[] language plpgsql as $$
declare
  v_order int[];
  v_each int;
  v_lanes int := cardinality(p_lanes);
  v_slots int[] := p_slots;
  r record;
  v_taken int := 0;
  v_offer int;
  v_quotas int[];
begin
  if p_limited = '{}' and p_closed = '{}' and p_quotas is null and cardinality(p_slots) = 1
    and p_queues[1] = all(p_queues) then
    -- One queue, one offer: the best by rank of all lanes. Few heads of each are looked at first; what is beyond the last head of a lane
    -- that has more isn't in order for sure.
    v_each := greatest(8, 2 * ceil(least(p_limit, p_slots[1])::numeric / v_lanes)::int);
    loop
      v_each := least(v_each, p_limit);
      select array_agg(x.lane order by x.rank, x.seq) into v_order from (
        select u.lane, c.rank, c.seq from unnest(p_lanes, p_marks) u(lane, mark) cross join lateral (
          select t.rank, t.seq from agentmesh.tasks t
          where t.state = 2 and t.lane = u.lane and t.rank >= u.mark order by t.rank, t.seq limit v_each
        ) c
        order by c.rank, c.seq limit least(p_limit, p_slots[1])
      ) x;
      -- A lane of which all heads are among the best may have more that belong there.
      exit when v_each >= least(p_limit, p_slots[1])
        or not exists (select from unnest(v_order) o(lane) group by o.lane having count(*) >= v_each);
      v_each := v_each * 4;
    end loop;
    return coalesce(v_order, '{}');
  end if;

  v_order := '{}';
  for r in
    with heads as (
      select u.lane, u.queue, u.offers, u.ord, c.rank, c.seq, l.grp
      from unnest(p_lanes, p_queues, p_offers, p_marks) with ordinality u(lane, queue, offers, mark, ord)
      join agentmesh.task_lanes l on l.lane = any(array[u.lane])
      cross join lateral (
        select t.rank, t.seq from agentmesh.tasks t
        where t.state = 2 and t.lane = u.lane and t.rank >= u.mark order by t.rank, t.seq limit p_limit
      ) c
      where not u.queue = any(p_closed)
    ), limits as (
      select q.number, q.weighted, q.turn, q.max_running, q.max_per_group,
        (select coalesce(sum(x.running), 0) from agentmesh.task_running_v1(q.number) x) as running
      from agentmesh.task_queues q where q.number = any(p_limited)
    ), groups as (
      select q.number, x.grp, x.running from agentmesh.task_queues q, agentmesh.task_running_v1(q.number) x
      where q.number = any(p_limited) and q.max_per_group is not null and x.grp is not null
    ), ranked as (
      select h.*, i.weighted, i.max_running - i.running as room,
        row_number() over (partition by h.queue, h.grp order by h.rank, h.seq) as in_group,
        case when h.grp is not null then i.max_per_group - coalesce(g.running, 0) end as group_room,
        coalesce(s.turn, i.turn, 0) as turn, coalesce(s.share, 1) as share
      from heads h left join limits i on i.number = h.queue
      left join groups g on g.number = h.queue and g.grp = h.grp
      left join agentmesh.task_groups s on s.queue = h.queue and s.grp = coalesce(h.grp, '') and i.weighted
    ), queued as (
      select k.*, row_number() over (partition by k.queue order by
        case when k.weighted then k.turn + (k.in_group - 1) / k.share else 0 end, k.rank, k.seq) as in_queue
      from ranked k where k.group_room is null or k.in_group <= k.group_room
    )
    select k.lane, k.queue, k.offers, k.in_queue, k.room, k.grp, k.weighted, k.turn + (k.in_group - 1) / k.share as turn, k.share,
      case when p_quotas is not null then p_quotas[k.ord] end as quota
    from queued k
    where (k.room is null or k.in_queue <= k.room)
    order by k.in_queue, (dense_rank() over (order by k.queue) + p_turn) % greatest(1, (select count(distinct x) from unnest(p_queues) x)),
      k.queue
  loop
    exit when v_taken >= p_limit;
    if r.quota is not null then
      if (select count(*) from unnest(v_order) with ordinality o(lane, n) where v_quotas[o.n] = r.queue) >= r.quota then
        continue;
      end if;
    end if;
    v_offer := null;
    for k in 1 .. cardinality(v_slots) loop
      if v_slots[k] > 0 and get_bit(r.offers, k - 1) = 1 then
        v_offer := k;
        exit;
      end if;
    end loop;
    continue when v_offer is null;
    v_slots[v_offer] := v_slots[v_offer] - 1;
    v_order := v_order || r.lane;
    v_quotas := v_quotas || r.queue;
    v_taken := v_taken + 1;
    if r.weighted then
      update agentmesh.task_queues q set turn = r.turn where q.number = r.queue;
      insert into agentmesh.task_groups as g (queue, grp, turn) values (r.queue, coalesce(r.grp, ''), r.turn + 1 / r.share)
      on conflict (queue, grp) do update set turn = excluded.turn;
    end if;
  end loop;
  return v_order;
end $$;

-- A group without ready tasks saves nothing up.
create function agentmesh.task_rest_v1(p_queues int[]) returns void language plpgsql as $$
begin
  update agentmesh.task_groups g set turn = null
  where g.queue = any(p_queues) and g.turn is not null and not exists (
    select from agentmesh.task_lanes l join agentmesh.tasks t on t.lane = l.lane and t.state = 2
    where l.queue = g.queue and coalesce(l.grp, '') = g.grp);
end $$;

-- Tasks pinned to agents of the claimer, locked, by agent: the best first.
create function agentmesh.task_own_v1(p_own int[], p_assigned int, p_closed int[], p_limited int[], p_taking bigint[],
  out seqs bigint[], out places tid[], out befores bigint[], out more boolean)
language plpgsql as $$
declare
  r record;
  v_left int := p_assigned;
  v_place tid;
  v_before bigint;
begin
  seqs := '{}';
  more := false;
  for r in
    select c.seq, l.lane, l.queue, l.queue = any(p_limited) as limited from agentmesh.task_lanes l cross join lateral (
      select t.rank, t.seq from agentmesh.tasks t where t.state = 2 and t.lane = l.lane order by t.rank, t.seq limit p_assigned + 1
    ) c
    where l.lane = any(p_own) and not l.queue = any(p_closed)
    order by l.queue, l.agent, c.rank, c.seq
  loop
    continue when r.limited and agentmesh.task_is_full_v1(r.queue, r.lane, p_taking || seqs);
    if v_left = 0 then
      more := true;
      return;
    end if;
    select t.ctid, t.journal into v_place, v_before from agentmesh.tasks t where t.seq = r.seq and t.state + 0 = 2 for no key update skip locked;
    if found then
      seqs := seqs || r.seq;
      places := places || v_place;
      befores := befores || v_before;
      v_left := v_left - 1;
    end if;
  end loop;
end $$;
`;
