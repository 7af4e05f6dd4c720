/** Claims that end without ending their task, and batches in which some do. */
export const TASK_GIVE_BACK: string = /* sql */ `
-- Claimed tasks, locked, go back to their place: now, or when their delay is over. Lanes: another one for those that have one here.
create function agentmesh.task_give_back_v1(p_now bigint, p_seqs bigint[], p_delays double precision[], p_reasons text[],
  p_refunds boolean[], p_lanes int[])
returns void language plpgsql as $$
declare
  v_pos bigint := agentmesh.task_pos_v1();
begin
  update agentmesh.task_bodies b set priority = coalesce(t.new_priority, b.priority),
    payload = case when t.has_new_payload then t.new_payload else b.payload end,
    digest = case when t.has_new_payload then null else b.digest end
  from agentmesh.tasks t
  where t.seq = any(p_seqs) and b.seq = any(array[t.seq]) and (t.new_priority is not null or t.has_new_payload);
  with r as (
    update agentmesh.tasks t set
      state = case when u.delay > 0 then 1 else 2 end,
      ready_at = p_now + ceil(greatest(u.delay, 0) * 1000)::bigint,
      rank = t.aged_at - b.priority::bigint * q.step_us,
      lane = coalesce(u.lane, t.lane),
      attempt = t.attempt - case when u.refund then 1 else 0 end,
      journal = v_pos, session = null, started = false, adopted = false, counted = false, new_priority = null, new_payload = null,
      has_new_payload = null
    from unnest(p_seqs, p_delays, p_reasons, p_refunds, p_lanes) with ordinality u(seq, delay, reason, refund, lane, ord)
    join agentmesh.tasks o on o.seq = any(array[u.seq])
    join agentmesh.task_bodies b on b.seq = any(array[u.seq])
    join agentmesh.task_lanes l on l.lane = coalesce(u.lane, o.lane)
    join agentmesh.task_queues q on q.number = any(array[l.queue])
    where t.seq = any(array[u.seq])
    returning t.seq, t.state, t.lane, o.lane as old_lane, t.attempt, t.token, o.session, t.weight, o.journal as before, u.reason, u.ord
  )
  insert into agentmesh.task_journal (pos, at, number, seqs, moves, lanes, attempts, tokens, sessions, reasons, befores,
    d_lanes, d_whats, d_bys)
  select v_pos, p_now, a.n, a.seqs, a.moves, a.lanes, a.attempts, a.tokens, a.sessions, a.reasons, a.befores, c.lanes, c.whats, c.bys
  from (
    select count(*)::int as n, array_agg(r.seq order by r.ord) as seqs, array_agg((48 + r.state)::smallint order by r.ord) as moves,
      array_agg(r.lane order by r.ord) as lanes, array_agg(r.attempt order by r.ord) as attempts,
      array_agg(r.token order by r.ord) as tokens, array_agg(r.session order by r.ord) as sessions,
      array_agg(r.reason order by r.ord) as reasons, array_agg(r.before order by r.ord) as befores
    from r
  ) a, (
    select array_agg(v.lane) as lanes, array_agg(v.what::smallint) as whats, array_agg(v.by) as bys from (
      select r.lane, r.old_lane, r.state, count(*) as n, sum(coalesce(r.weight, 1)) as w from r group by r.lane, r.old_lane, r.state
    ) g, lateral (values (g.old_lane, 3, -g.n::double precision), (g.lane, g.state::int, g.n),
      (g.lane, 13, case when g.state = 2 then g.w end), (g.old_lane, 8, case when g.lane <> g.old_lane then -g.n end),
      (g.lane, 8, case when g.lane <> g.old_lane then g.n end)) v(lane, what, by)
    where v.by is not null
  ) c where a.n > 0;
end $$;

-- Ends attempts in all the ways there are; of several for one task the first counts. Lanes: of all tasks whose claim ended.
create function agentmesh.task_settle_mixed_v1(p_fx agentmesh.task_effects, p_seqs bigint[], p_tokens bigint[], p_kinds text[],
  p_texts text[], p_delays double precision[], p_reasons text[], p_signatures text[], p_refunds boolean[], p_agents text[],
  out lanes int[], out fx agentmesh.task_effects)
language plpgsql as $$
declare
  r record;
  v_seqs bigint[];
  v_ords int[];
  v_ending bigint[];
  v_tos smallint[];
  v_reasons text[];
  v_back bigint[];
  v_back_delays double precision[];
  v_back_reasons text[];
  v_back_refunds boolean[];
  v_back_lanes int[];
  v_ended json[] := p_fx.ended;
begin
  fx := p_fx;
  perform agentmesh.task_lock_reach_v1(p_seqs || array(
      select e.child from agentmesh.task_edges e where e.parent = any(p_seqs)), array(
    select u.seq from unnest(p_seqs, p_kinds) u(seq, kind) where coalesce(u.kind, p_kinds[1]) in ('b', 'x') or exists (
      select from agentmesh.tasks t where t.seq = any(array[u.seq]) and t.cancelling is not null)), fx.room);
  fx.at := greatest(fx.at, agentmesh.now_us());
  select array_agg(x.seq), array_agg(x.ord), array_agg(x.lane) into v_seqs, v_ords, lanes from (
    select distinct on (u.seq) u.seq, u.ord::int, t.lane
    from unnest(p_seqs, p_tokens) with ordinality u(seq, token, ord)
    join agentmesh.tasks t on t.seq = any(array[u.seq]) and t.state + 0 = 3
      and t.token = coalesce(u.token, p_tokens[1] + u.ord - 1)
    order by u.seq, u.ord
  ) x;
  if v_seqs is null then
    return;
  end if;
  update agentmesh.tasks t set error = p_texts[x.ord]
  from unnest(v_seqs, v_ords) x(seq, ord)
  where t.seq = any(array[x.seq]) and coalesce(p_kinds[x.ord], p_kinds[1]) in ('r', 'b');
  select
    array_agg(x.seq order by x.ord) filter (where x.to_state is not null),
    array_agg(x.to_state order by x.ord) filter (where x.to_state is not null),
    array_agg(x.reason order by x.ord) filter (where x.to_state is not null),
    array_agg(x.seq order by x.ord) filter (where x.to_state is null),
    array_agg(coalesce(p_delays[x.ord], 0) order by x.ord) filter (where x.to_state is null),
    array_agg(x.reason order by x.ord) filter (where x.to_state is null),
    array_agg(coalesce(p_refunds[x.ord], false) order by x.ord) filter (where x.to_state is null),
    array_agg(x.lane order by x.ord) filter (where x.to_state is null)
  into v_ending, v_tos, v_reasons, v_back, v_back_delays, v_back_reasons, v_back_refunds, v_back_lanes
  from (
    select u.seq, u.ord,
      case k.kind when 'c' then 4 when 'b' then 5 when 'x' then 6 else case when t.cancelling is not null then 6 end end::smallint as to_state,
      case when k.kind in ('r', 'l') and t.cancelling is not null then t.cancelling when k.kind in ('b', 'x', 'l') then p_reasons[u.ord] end
        as reason,
      case when p_agents[u.ord] is not null then
        agentmesh.task_lane_for_v1(t.lane, case when p_agents[u.ord] <> '-' then substr(p_agents[u.ord], 2) end) end as lane
    from unnest(v_seqs, v_ords) u(seq, ord) join agentmesh.tasks t on t.seq = any(array[u.seq])
    cross join lateral (select coalesce(p_kinds[u.ord], p_kinds[1]) as kind) k
  ) x;
  if v_ending is not null then
    fx := agentmesh.task_end_v1(fx, v_ending, v_tos, v_reasons, null, true);
    fx.ended := v_ended;
    update agentmesh.task_ends e set
      result = case when coalesce(p_kinds[x.ord], p_kinds[1]) = 'c' and b.keep_ms > 0 then p_texts[x.ord] end,
      signature = case when coalesce(p_kinds[x.ord], p_kinds[1]) = 'b' then p_signatures[x.ord] end
    from unnest(v_seqs, v_ords) x(seq, ord) join agentmesh.task_bodies b on b.seq = any(array[x.seq])
    where e.seq = any(array[x.seq]) and e.seq = any(v_ending) and coalesce(p_kinds[x.ord], p_kinds[1]) in ('c', 'b');
  end if;
  if v_back is not null then
    perform agentmesh.task_give_back_v1(fx.at, v_back, v_back_delays, v_back_reasons, v_back_refunds, v_back_lanes);
  end if;
end $$;
`;
