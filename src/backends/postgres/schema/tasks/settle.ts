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
  v_fx := agentmesh.task_effects_v1(v_now, 1000);

  if p_kinds = 'c' then
    select e.settled, e.lanes, e.bare into v_settled, v_lanes, v_bare
    from agentmesh.task_complete_v1(v_now, v_seqs, p_tokens, string_to_array(p_texts, p_delimiter, p_null)) e;
    if v_bare is not null then
      perform agentmesh.task_strip_v1(v_bare);
    end if;
    if v_settled = p_number then
      v_codes := repeat('4', p_number);
    end if;
    if v_settled > 0 then
      v_parents := v_seqs;
    end if;
  else
    select e.lanes, e.fx into v_mixed
    from agentmesh.task_settle_mixed_v1(v_fx, v_seqs, p_tokens, string_to_array(p_kinds, null),
      string_to_array(p_texts, p_delimiter, p_null), p_delays, string_to_array(p_reasons, p_delimiter, p_null),
      string_to_array(p_signatures, p_delimiter, p_null), p_refunds, string_to_array(p_agents, p_delimiter, p_null)) e;
    v_lanes := v_mixed.lanes;
    v_fx := v_mixed.fx;
    v_parents := v_fx.parents;
  end if;
  if v_parents is not null and cardinality(v_parents) > 0 then
    v_fx.parents := array(
      select u.seq from unnest(v_parents) with ordinality u(seq, ord)
      where exists (select from agentmesh.task_edges e where e.parent = u.seq offset 0)
        and exists (select from agentmesh.task_ends e where e.seq = u.seq offset 0)
      order by u.ord);
  end if;
  if v_codes is null then
    select s.codes, s.extras into v_codes, v_extras
    from agentmesh.task_settled_v1(v_now, v_seqs, p_tokens, p_sessions, p_ids, p_delimiter) s;
  end if;
  if cardinality(v_fx.parents) > 0 then
    v_fx := agentmesh.task_cascade_v1(v_fx);
  end if;
  if v_lanes is not null and exists (select from agentmesh.task_queues q where q.limited) then
    v_fx.opened := agentmesh.task_opened_v1(v_lanes);
  end if;
  v_answer := agentmesh.task_answer_v1(v_fx, json_build_object('codes', v_codes, 'extras', v_extras));
  perform agentmesh.op_end_v1(p_session, p_sequence, v_answer);
  return v_answer;
end $$;

-- Ends those of these claims that are current. Lanes: one a task.
create function agentmesh.task_complete_v1(p_now bigint, p_seqs bigint[], p_tokens bigint[], p_results text[],
  out settled int, out lanes int[], out bare bigint[])
language plpgsql as $$
declare
  v_pos bigint := nextval('agentmesh.task_pos');
  v_keep bigint;
  v_row agentmesh.tasks;
begin
  if cardinality(p_seqs) = 1 then
    -- Plain statements, one after another: to set a large one up takes longer than to carry these out.
    delete from agentmesh.tasks x where x.seq = p_seqs[1] and x.token = p_tokens[1] and x.state + 0 = 3 returning * into v_row;
    if not found then
      settled := 0;
      return;
    end if;
    v_keep := (case when v_row.keep_ms > 0 then v_row.keep_ms else 60000 end * 1000)::bigint;
    insert into agentmesh.task_ends (seq, at, token, journal, expires_at, ready_at, lane, attempt, state, crashes, moves, since,
      aged_ms, result, error)
    values (v_row.seq, p_now, v_row.token, v_pos, p_now + v_keep, v_row.ready_at, v_row.lane, v_row.attempt, 4, v_row.crashes, v_row.moves, v_row.since, v_row.aged_ms,
      case when v_row.keep_ms > 0 then p_results[1] end, case when v_row.keep_ms > 0 then v_row.error end);
    insert into agentmesh.task_expiries (due_at, seqs) values (p_now + v_keep, p_seqs);
    insert into agentmesh.task_journal (pos, at, number, seqs, moves, lanes, attempts, tokens, sessions, befores,
      d_lanes, d_whats, d_bys)
    values (v_pos, p_now, 1, p_seqs, array[52], array[v_row.lane], array[v_row.attempt], p_tokens, array[v_row.session], array[v_row.journal],
      array[v_row.lane, v_row.lane], array[3, 4], array[-1, 1]);
    settled := 1;
    lanes := array[v_row.lane];
    bare := case when v_row.keep_ms <= 0 then p_seqs end;
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
  ), a as materialized (
    select count(*)::int as n, array_agg(d.seq) as seqs, min(d.seq - d.ord) as low_seq, max(d.seq - d.ord) as high_seq,
      min(d.lane) as low_lane, max(d.lane) as high_lane, array_agg(d.lane) as lanes,
      min(d.attempt) as low_attempt, max(d.attempt) as high_attempt, array_agg(d.attempt) as attempts,
      min(d.token - d.ord) as low_token, max(d.token - d.ord) as high_token, array_agg(d.token) as tokens,
      min(d.session) as low_session, max(d.session) as high_session, array_agg(d.session) as sessions,
      min(d.journal) as low_before, max(d.journal) as high_before, array_agg(d.journal) as befores,
      min(d.keep_ms) as low_keep, max(d.keep_ms) as high_keep, array_agg(d.seq) filter (where d.keep_ms <= 0) as bare,
      max(d.ord) as high_ord
    from (select * from d order by d.ord) d
  ), x as (
    insert into agentmesh.task_expiries (due_at, seqs)
    select p_now + (a.low_keep * 1000)::bigint, a.seqs from a where a.n > 0 and a.low_keep = a.high_keep and a.low_keep > 0
    union all
    select p_now + (k.keep * 1000)::bigint, k.seqs from (
      select case when d.keep_ms > 0 then d.keep_ms else 60000 end as keep, array_agg(d.seq) as seqs
      from a, d where a.low_keep <> a.high_keep or a.low_keep <= 0 group by 1
    ) k
  ), j as (
    insert into agentmesh.task_journal (pos, at, number, seqs, moves, lanes, attempts, tokens, sessions, befores,
      d_lanes, d_whats, d_bys)
    select v_pos, p_now, a.n,
      case when a.low_seq = a.high_seq and a.n = a.high_ord then array[a.low_seq + 1] else a.seqs end, array[52::smallint],
      case when a.low_lane = a.high_lane then array[a.low_lane] else a.lanes end,
      case when a.low_attempt = a.high_attempt then array[a.low_attempt] else a.attempts end,
      case when a.low_token = a.high_token and a.n = a.high_ord then array[a.low_token + 1] else a.tokens end,
      case when a.low_session = a.high_session then array[a.low_session] else a.sessions end,
      case when a.low_before = a.high_before then array[a.low_before] else a.befores end,
      c.lanes, c.whats, c.bys
    from a, (
      select array_agg(g.lane) as lanes, array_agg(v.what::smallint) as whats, array_agg(v.by) as bys from (
        select d.lane, count(*) as n from d group by d.lane
      ) g, lateral (values (3, -g.n::double precision), (4, g.n)) v(what, by)
    ) c where a.n > 0
  )
  select a.n, a.lanes, a.bare into settled, lanes, bare from a;
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
create function agentmesh.task_opened_v1(p_lanes int[]) returns text[] language sql stable as $$
  select array(
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
        where l.queue = q.number and l.grp = f.grp)))
$$;
`;
