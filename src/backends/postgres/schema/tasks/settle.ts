import { PINNED } from './pinned.ts';

/** How attempts end. At least two statements: one that ends a task and looks for its dependents at once misses those that come meanwhile. */
export const TASK_SETTLE: string = /* sql */ `
-- The claims' tasks by seq, 0: to be found by id. Kinds: c complete · r retry · b bury · x cancel · l release. Texts: result or error. A
-- list of one element holds for all. Agents: = and whom a task that goes
-- back is for, - for anybody.
create function agentmesh.task_settle_v1(p_session bigint, p_sequence bigint, p_number int, p_delimiter text, p_null text,
  p_seqs bigint[], p_ids text, p_tokens bigint[], p_sessions bigint[], p_kinds text, p_texts text, p_delays double precision[],
  p_reasons text, p_signatures text, p_refunds boolean[], p_agents text)
returns text language plpgsql
${PINNED} as $$
declare
  v_answer text := agentmesh.op_begin_v1(p_session, p_sequence, true);
  v_now bigint;
  v_seqs bigint[] := p_seqs;
  v_fx agentmesh.task_effects;
  v_codes text;
  v_extras json;
  v_settled int;
  v_lanes int[];
  v_bare bigint[];
  v_parents bigint[];
  v_mixed record;
  -- Nothing but these tasks is concerned.
  v_is_plain boolean := false;
begin
  if v_answer is not null then
    return v_answer;
  end if;
  if p_agents is not null then
    perform pg_advisory_xact_lock_shared(hashtextextended('agentmesh.task_lanes', 1));
  end if;
  v_now := agentmesh.now_us();
  if 0 = any(v_seqs) then
    select array_agg(coalesce(nullif(u.seq, 0), b.seq, 0) order by u.ord) into v_seqs
    from unnest(p_seqs, string_to_array(p_ids, p_delimiter)) with ordinality u(seq, id, ord)
    left join agentmesh.task_bodies b on b.id = any(array[u.id]) and u.seq = 0;
  end if;

  if p_kinds = 'c' then
    select e.settled, e.lanes, e.bare into v_settled, v_lanes, v_bare
    from agentmesh.task_complete_v1(v_now, v_seqs, p_tokens, string_to_array(p_texts, p_delimiter, p_null)) e;
    if v_bare is not null then
      perform agentmesh.task_strip_v1(v_bare);
    end if;
    if v_settled = p_number then
      v_codes := repeat('4', p_number);
    end if;
    if v_settled > 0 and exists (select from agentmesh.task_edges e where e.parent = any(v_seqs)) then
      v_parents := v_seqs;
    end if;
    v_is_plain := v_parents is null;
    if not v_is_plain then
      v_fx := agentmesh.task_effects_v1(v_now, 1000);
    end if;
  else
    v_fx := agentmesh.task_effects_v1(v_now, 1000);
    select e.lanes, e.fx into v_mixed
    from agentmesh.task_settle_mixed_v1(v_fx, v_seqs, p_tokens, string_to_array(p_kinds, null),
      string_to_array(p_texts, p_delimiter, p_null), p_delays, string_to_array(p_reasons, p_delimiter, p_null),
      string_to_array(p_signatures, p_delimiter, p_null), p_refunds, string_to_array(p_agents, p_delimiter, p_null)) e;
    v_lanes := v_mixed.lanes;
    v_fx := v_mixed.fx;
    v_parents := v_fx.parents;
  end if;
  if cardinality(v_parents) > 0 then
    v_fx.parents := array(
      select u.seq from unnest(v_parents) with ordinality u(seq, ord)
      where exists (select from agentmesh.task_edges e where e.parent = u.seq offset 0)
      order by u.ord);
  end if;
  if v_codes is null then
    select s.codes, s.extras into v_codes, v_extras
    from agentmesh.task_settled_v1(v_now, v_seqs, p_tokens, p_sessions, p_ids, p_delimiter) s;
  end if;
  if not v_is_plain then
    v_fx := agentmesh.task_cascade_v1(v_fx);
  end if;
  if v_lanes is not null and exists (select from agentmesh.task_queues q where q.limited) then
    if v_is_plain then
      v_fx := agentmesh.task_effects_v1(v_now, 1000);
      v_is_plain := false;
    end if;
    v_fx.opened := agentmesh.task_opened_v1(v_lanes);
  end if;
  if v_is_plain then
    v_answer := '{"at":' || v_now || ',"readied":[],"ended":[],"requested":[],"opened":[],"more":false,"own":{"codes":"' || v_codes
      || '","extras":' || coalesce(v_extras::text, 'null') || '}}';
  else
    v_answer := agentmesh.task_answer_v1(v_fx, json_build_object('codes', v_codes, 'extras', v_extras));
  end if;
  perform agentmesh.op_end_v1(p_session, p_sequence, v_answer);
  return v_answer;
end $$;

-- Ends those of these claims that are current. Lanes: one a task.
create function agentmesh.task_complete_v1(p_now bigint, p_seqs bigint[], p_tokens bigint[], p_results text[],
  out settled int, out lanes int[], out bare bigint[])
language plpgsql as $$
declare
  v_pos bigint := agentmesh.task_pos_v1();
  v_keep bigint;
  v_keep_ms double precision;
  v_session bigint;
  v_lane int;
  v_attempt int;
  v_before bigint;
  v_seqs bigint[];
  v_lanes int[];
  v_attempts int[];
  v_tokens bigint[];
  v_sessions bigint[];
  v_befores bigint[];
  v_keeps double precision[];
  -- Seqs, or tokens, go on by 1 in the order of the list.
  v_is_row boolean;
  v_are_rows boolean;
  v_d_lanes int[];
  v_whats smallint[];
  v_bys double precision[];
begin
  if cardinality(p_seqs) = 1 then
    -- Plain statements, one after another: to set a large one up takes longer than to carry these out.
    with d as (
      delete from agentmesh.tasks x where x.seq = p_seqs[1] and x.token = p_tokens[1] and x.state + 0 = 3
      returning x.*, (case when x.keep_ms > 0 then x.keep_ms else 60000 end * 1000)::bigint as keep
    ), e as (
      insert into agentmesh.task_ends (seq, at, token, journal, expires_at, ready_at, lane, attempt, state, crashes, moves, since,
        aged_ms, result, error)
      select d.seq, p_now, d.token, v_pos, p_now + d.keep, d.ready_at, d.lane, d.attempt, 4, d.crashes, d.moves, d.since, d.aged_ms,
        case when d.keep_ms > 0 then p_results[1] end, case when d.keep_ms > 0 then d.error end
      from d
    )
    select d.keep, d.keep_ms, d.session, d.lane, d.attempt, d.journal into v_keep, v_keep_ms, v_session, v_lane, v_attempt, v_before
    from d;
    if not found then
      settled := 0;
      return;
    end if;
    insert into agentmesh.task_expiries (due_at, seqs) values (p_now + v_keep, p_seqs);
    insert into agentmesh.task_journal (pos, at, number, seqs, moves, lanes, attempts, tokens, sessions, befores,
      d_lanes, d_whats, d_bys)
    values (v_pos, p_now, 1, p_seqs, array[52], array[v_lane], array[v_attempt], p_tokens, array[v_session], array[v_before],
      array[v_lane, v_lane], array[3, 4], array[-1, 1]);
    settled := 1;
    lanes := array[v_lane];
    bare := case when v_keep_ms <= 0 then p_seqs end;
    return;
  end if;
  with u as materialized (
    select u.seq, coalesce(u.token, p_tokens[1] + u.ord - 1) as token,
      case when cardinality(p_results) = 1 then p_results[1] else u.result end as result, u.ord
    from unnest(p_seqs, case when cardinality(p_tokens) > 1 or cardinality(p_seqs) = 1 then p_tokens end, p_results)
      with ordinality u(seq, token, result, ord)
    where u.seq is not null
  ), d as (
    -- The sum keeps the planner from the index of claims.
    delete from agentmesh.tasks t using u where t.seq = any(array[u.seq]) and t.token = u.token and t.state + 0 = 3
    returning t.seq, t.token, t.session, t.lane, t.attempt, t.journal, t.ready_at, t.crashes, t.moves, t.since, t.aged_ms, t.keep_ms,
      t.error, u.result, u.ord
  ), e as (
    insert into agentmesh.task_ends (seq, at, token, journal, expires_at, ready_at, lane, attempt, state, crashes, moves, since,
      aged_ms, result, error)
    select d.seq, p_now, d.token, v_pos, p_now + (case when d.keep_ms > 0 then d.keep_ms else 60000 end * 1000)::bigint, d.ready_at,
      d.lane, d.attempt, 4, d.crashes, d.moves, d.since, d.aged_ms,
      case when d.keep_ms > 0 then d.result end, case when d.keep_ms > 0 then d.error end
    from d
  )
  select count(*)::int, array_agg(d.seq), array_agg(d.lane), array_agg(d.attempt), array_agg(d.token), array_agg(d.session),
    array_agg(d.journal), array_agg(d.keep_ms), min(d.seq - d.ord) = max(d.seq - d.ord) and count(*) = max(d.ord),
    min(d.token - d.ord) = max(d.token - d.ord) and count(*) = max(d.ord)
  into settled, v_seqs, lanes, v_attempts, v_tokens, v_sessions, v_befores, v_keeps, v_is_row, v_are_rows
  from (select * from d order by d.ord) d;
  -- Plain statements from here on: what every batch would set up and few need is a statement of its own.
  if settled = 0 then
    return;
  end if;
  if v_keeps[1] = all(v_keeps) and v_keeps[1] > 0 then
    insert into agentmesh.task_expiries (due_at, seqs) values (p_now + (v_keeps[1] * 1000)::bigint, v_seqs);
  else
    insert into agentmesh.task_expiries (due_at, seqs)
    select p_now + (k.keep * 1000)::bigint, k.seqs from (
      select case when u.keep > 0 then u.keep else 60000 end as keep, array_agg(u.seq) as seqs
      from unnest(v_seqs, v_keeps) u(seq, keep) group by 1
    ) k;
    bare := (select array_agg(u.seq) from unnest(v_seqs, v_keeps) u(seq, keep) where u.keep <= 0);
  end if;
  if lanes[1] = all(lanes) then
    v_lanes := lanes[1:1];
    v_d_lanes := array[lanes[1], lanes[1]];
    v_whats := array[3, 4];
    v_bys := array[-settled, settled];
  else
    v_lanes := lanes;
    select array_agg(g.lane), array_agg(v.what::smallint), array_agg(v.by) into v_d_lanes, v_whats, v_bys from (
      select u.lane, count(*) as n from unnest(lanes) u(lane) group by u.lane
    ) g, lateral (values (3, -g.n::double precision), (4, g.n)) v(what, by);
  end if;
  insert into agentmesh.task_journal (pos, at, number, seqs, moves, lanes, attempts, tokens, sessions, befores,
    d_lanes, d_whats, d_bys)
  values (v_pos, p_now, settled, case when v_is_row then v_seqs[1:1] else v_seqs end, array[52], v_lanes,
    case when v_attempts[1] = all(v_attempts) then v_attempts[1:1] else v_attempts end,
    case when v_are_rows then v_tokens[1:1] else v_tokens end,
    case when v_sessions[1] = all(v_sessions) then v_sessions[1:1] else v_sessions end,
    case when v_befores[1] = all(v_befores) then v_befores[1:1] else v_befores end, v_d_lanes, v_whats, v_bys);
end $$;

-- What became of claims that were settled just now or before, as codes: the state's number, s stale, g gone.
create function agentmesh.task_settled_v1(p_now bigint, p_seqs bigint[], p_tokens bigint[], p_sessions bigint[], p_ids text,
  p_delimiter text, out codes text, out extras json)
language plpgsql as $$
declare
  v_stale int[];
begin
  -- A forgotten task may have been followed by another of its id.
  with u as (
    select u.*, coalesce(u.token, p_tokens[1] + u.ord - 1) as current, coalesce(u.session, p_sessions[1]) as holder
    from unnest(p_seqs, case when cardinality(p_tokens) > 1 or cardinality(p_seqs) = 1 then p_tokens end, p_sessions,
      string_to_array(p_ids, p_delimiter)) with ordinality u(seq, token, session, id, ord)
    where u.seq is not null
  ), s as (
    select u.ord, u.current, u.holder, coalesce(t.state, e.state, t2.state, e2.state) as state,
      coalesce(t.token, e.token, t2.token, e2.token) as token, coalesce(t.lane, e.lane, t2.lane, e2.lane) as lane
    from u left join agentmesh.tasks t on t.seq = any(array[u.seq]) left join agentmesh.task_ends e on e.seq = any(array[u.seq])
    left join agentmesh.task_bodies b on t.seq is null and e.seq is null and b.id = any(array[u.id])
    left join agentmesh.tasks t2 on t2.seq = any(array[b.seq]) left join agentmesh.task_ends e2 on e2.seq = any(array[b.seq])
  ), k as (
    delete from agentmesh.task_taken k using s where k.session = s.holder and k.token = s.current and s.token <> s.current
  )
  select string_agg(case when s.state is null then 'g' when s.token <> s.current then 's' else s.state::text end, '' order by s.ord),
    json_agg(json_build_array(agentmesh.task_state_v1(s.state), s.token) order by s.ord) filter (where s.token <> s.current),
    array_agg(s.lane) filter (where s.token <> s.current)
  into codes, extras, v_stale from s;
  if v_stale is not null then
    perform agentmesh.task_count_v1(p_now, array_agg(x.lane), array_agg(11), array_agg(x.n))
    from (select l.lane, count(*)::double precision as n from unnest(v_stale) l(lane) group by l.lane) x;
  end if;
end $$;

-- Queues in which the end of these claims, one lane each, made room below a limit that keeps something back.
create function agentmesh.task_opened_v1(p_lanes int[]) returns text[] language plpgsql stable as $$
begin
  return array(
    select distinct q.name from (
      select l.queue, l.grp, count(*) as freed, sum(count(*)) over (partition by l.queue) as freed_all
      from unnest(p_lanes) u(lane) join agentmesh.task_lanes l on l.lane = any(array[u.lane]) group by l.queue, l.grp
    ) f
    join agentmesh.task_queues q on q.number = any(array[f.queue]) and q.limited
    cross join lateral (
      select coalesce(sum(r.running), 0) as running,
        coalesce(sum(r.running) filter (where r.grp = f.grp), 0) as in_group
      from agentmesh.task_running_v1(q.number) r
    ) n
    where (n.running < q.max_running and n.running + f.freed_all >= q.max_running and exists (
        select from agentmesh.task_lanes l join agentmesh.tasks t on t.lane = l.lane and t.state = 2 where l.queue = q.number))
      or (f.grp is not null and n.in_group < q.max_per_group and n.in_group + f.freed >= q.max_per_group and exists (
        select from agentmesh.task_lanes l join agentmesh.tasks t on t.lane = l.lane and t.state = 2
        where l.queue = q.number and l.grp = f.grp)));
end $$;
`;
