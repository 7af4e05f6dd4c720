import { PINNED } from './pinned.ts';

/** Chores, each bounded. One session at a time does them. */
export const TASK_SWEEP: string = /* sql */ `
-- Forgets ended tasks whose rows are locked, or that nobody else can be about to change. How they ended stays known for a while.
create function agentmesh.task_prune_v1(p_now bigint, p_seqs bigint[]) returns int language plpgsql as $$
declare
  v_seqs bigint[];
  v_ids text[];
  v_states smallint[];
  v_journals bigint[];
  v_lanes int[];
begin
  with d as (
    delete from agentmesh.task_ends e where e.seq = any(p_seqs) returning e.seq, e.state, e.lane, e.journal
  )
  select array_agg(d.seq), array_agg(b.id), array_agg(d.state), array_agg(d.lane), array_agg(d.journal)
  into v_seqs, v_ids, v_states, v_lanes, v_journals
  from d join agentmesh.task_bodies b on b.seq = any(array[d.seq]);
  if v_seqs is null then
    return 0;
  end if;
  delete from agentmesh.task_keys k where k.seq = any(v_seqs);
  -- A tree stays whole.
  update agentmesh.task_bodies b set under = p.under
  from agentmesh.task_bodies p where p.seq = any(v_seqs) and b.under = p.id;
  insert into agentmesh.task_forgotten as f (id, state, seq, journal)
  select u.id, u.state, u.seq, u.journal from unnest(v_ids, v_states, v_seqs, v_journals) u(id, state, seq, journal) order by u.id
  on conflict (id) do update set state = excluded.state, number = nextval('agentmesh.task_forgotten_number'), seq = excluded.seq,
    journal = excluded.journal;
  -- Who still waits for one of them waits for its id.
  perform from agentmesh.task_bodies b where b.seq = any(v_seqs) order by b.id || '' for update;
  delete from agentmesh.task_bodies b where b.seq = any(v_seqs)
    and not exists (select from agentmesh.task_edges e where e.parent = any(array[b.seq]));
  update agentmesh.task_bodies b set enqueued_at = null, payload = null, headers = null, settings = null, key = null, parent = null,
    under = null, depends = null, digest = null where b.seq = any(v_seqs);
  perform agentmesh.task_count_v1(p_now, array_agg(x.lane), array_agg(x.what), array_agg(x.by)) from (
    select g.lane, v.what, v.by from (
      select u.lane, u.state, count(*)::double precision as n from unnest(v_lanes, v_states) u(lane, state) group by u.lane, u.state
    ) g, lateral (values (g.state::int, -g.n), (9, g.n)) v(what, by)
  ) x;
  return cardinality(v_seqs);
end $$;

-- What is over its time by now, at most so much.
create function agentmesh.task_expire_v1(p_now bigint, p_limit int) returns int language plpgsql as $$
declare
  r record;
  v_pruned int := 0;
  v_looked int := 0;
begin
  for r in
    select x.ctid as place, x.due_at, x.seqs from agentmesh.task_expiries x where x.due_at <= p_now order by x.due_at limit p_limit
  loop
    exit when v_looked >= p_limit;
    if cardinality(r.seqs) > p_limit - v_looked then
      update agentmesh.task_expiries x set seqs = r.seqs[p_limit - v_looked + 1:] where x.ctid = r.place;
      r.seqs := r.seqs[1:p_limit - v_looked];
    else
      delete from agentmesh.task_expiries x where x.ctid = r.place;
    end if;
    v_looked := v_looked + cardinality(r.seqs);
    v_pruned := v_pruned + agentmesh.task_prune_v1(p_now, array(
      select e.seq from agentmesh.task_ends e where e.seq = any(r.seqs) and e.expires_at <= p_now order by e.seq + 0 for update));
  end loop;
  return v_pruned;
end $$;

-- Makes ready what is due.
create function agentmesh.task_promote_v1(inout p_fx agentmesh.task_effects) language plpgsql as $$
declare
  v_pos bigint;
  v_seqs bigint[] := array(
    select t.seq from agentmesh.tasks t where t.state = 1 and t.ready_at <= p_fx.at
    order by t.ready_at, t.seq limit p_fx.room for update skip locked);
  v_readied json[];
  v_number int;
begin
  if cardinality(v_seqs) = 0 then
    return;
  end if;
  v_pos := agentmesh.task_pos_v1();
  with r as (
    update agentmesh.tasks t set state = 2,
      aged_at = coalesce(t.aged_at, t.ready_at - (coalesce(t.aged_ms, 0) * 1000)::bigint),
      rank = coalesce(t.aged_at, t.ready_at - (coalesce(t.aged_ms, 0) * 1000)::bigint) - b.priority::bigint * q.step_us,
      journal = v_pos
    from unnest(v_seqs) u(seq) join agentmesh.tasks o on o.seq = any(array[u.seq])
    join agentmesh.task_bodies b on b.seq = any(array[u.seq])
    join agentmesh.task_lanes l on l.lane = any(array[o.lane]) join agentmesh.task_queues q on q.number = any(array[l.queue])
    where t.seq = any(array[u.seq])
    returning t.seq, t.lane, t.attempt, t.token, t.weight, o.journal as before, b.id, q.name as queue, t.ready_at
  ), j as (
    insert into agentmesh.task_journal (pos, at, number, seqs, moves, lanes, attempts, tokens, befores, d_lanes, d_whats, d_bys)
    select v_pos, p_fx.at, a.n, a.seqs, array[18::smallint], a.lanes, a.attempts, a.tokens, a.befores, c.lanes, c.whats, c.bys
    from (
      select count(*)::int as n, array_agg(r.seq order by r.ready_at, r.seq) as seqs,
        array_agg(r.lane order by r.ready_at, r.seq) as lanes, array_agg(r.attempt order by r.ready_at, r.seq) as attempts,
        array_agg(r.token order by r.ready_at, r.seq) as tokens, array_agg(r.before order by r.ready_at, r.seq) as befores
      from r
    ) a, (
      select array_agg(g.lane) as lanes, array_agg(v.what::smallint) as whats, array_agg(v.by) as bys from (
        select r.lane, count(*) as n, sum(coalesce(r.weight, 1)) as w from r group by r.lane
      ) g, lateral (values (1, -g.n::double precision), (2, g.n), (13, g.w)) v(what, by)
    ) c where a.n > 0
  )
  select array_agg(json_build_object('task', r.id, 'queue', r.queue) order by r.ready_at, r.seq), count(*)
  into v_readied, v_number from r;
  p_fx.readied := p_fx.readied || coalesce(v_readied, '{}');
  p_fx.room := p_fx.room - v_number;
end $$;

-- What others left to be done.
create function agentmesh.task_drain_v1(inout p_fx agentmesh.task_effects) language plpgsql as $$
declare
  f agentmesh.task_frontier;
  v_parents bigint[];
begin
  while p_fx.room > 0 and p_fx.edges > 0 loop
    with d as (
      delete from agentmesh.task_frontier y using (
        select x.number from agentmesh.task_frontier x where x.parent is not null order by x.number limit 500
      ) o where y.number = o.number returning y.number, y.parent
    )
    select array_agg(d.parent order by d.number) into v_parents from d;
    if v_parents is not null then
      p_fx.parents := p_fx.parents || v_parents;
      p_fx := agentmesh.task_cascade_v1(p_fx);
      continue;
    end if;
    delete from agentmesh.task_frontier x where x.number = (
      select y.number from agentmesh.task_frontier y where y.root is not null order by y.number limit 1)
    returning * into f;
    exit when f.number is null;
    p_fx := agentmesh.task_walk_v1(p_fx, f.root, f.behind, f.walk, f.reason, f.revoke);
    p_fx := agentmesh.task_cascade_v1(p_fx);
  end loop;
end $$;

-- Lanes for single agents, groups and wishes that no task is of any more; history and forgotten ends beyond what is to be kept.
create function agentmesh.task_trim_v1(p_now bigint, p_history_us bigint, p_limit int) returns void language plpgsql as $$
declare
  v_top bigint;
begin
  select max(f.number) into v_top from agentmesh.task_forgotten f;
  delete from agentmesh.task_forgotten f where f.number in (
    select x.number from agentmesh.task_forgotten x where x.number < v_top - 75000 order by x.number limit p_limit);
  delete from agentmesh.task_journal j where j.pos in (
    select x.pos from (select y.pos, y.at, y.xid from agentmesh.task_journal y order by y.pos limit p_limit) x
    where x.at < p_now - p_history_us and x.xid < coalesce((select h.xid from agentmesh.task_horizon h), '0'::xid8));
  -- Now and then.
  if p_now / 1000000 % 30 < 2 and pg_try_advisory_xact_lock(hashtextextended('agentmesh.task_lanes', 1)) then
    with spent as (
      select c.lane from agentmesh.task_counts c join agentmesh.task_lanes l on l.lane = any(array[c.lane])
      where c.what < 8 and (l.agent is not null or l.grp is not null or l.placement is not null)
      group by c.lane having sum(abs(c.value)) = 0 limit 100
    ), d as (
      delete from agentmesh.task_lanes l using spent s where l.lane = any(array[s.lane])
        and l.created < coalesce((select h.xid from agentmesh.task_horizon h), '0'::xid8)
        and not exists (
          select from agentmesh.task_journal j where j.xid >= coalesce((select h.xid from agentmesh.task_horizon h), '0'::xid8)
            and l.lane = any(j.d_lanes))
        and not exists (select from agentmesh.tasks t where t.state = 2 and t.lane = l.lane)
      returning l.lane, l.queue
    ), k as (
      delete from agentmesh.task_counts c using d where c.lane = d.lane returning d.queue, c.what, c.value
    )
    insert into agentmesh.task_counts as c (lane, what, value)
    select -k.queue, k.what, sum(k.value) from k where k.value <> 0 group by k.queue, k.what
    on conflict (lane, what) do update set value = c.value + excluded.value;
  end if;
end $$;

create function agentmesh.task_sweep_v1(p_session bigint, p_sequence bigint, p_limit int, p_history_us bigint)
returns text language plpgsql
${PINNED} as $$
declare
  v_answer text := agentmesh.op_begin_v1(p_session, p_sequence);
  v_fx agentmesh.task_effects;
  v_now bigint;
  v_due bigint[];
  v_dead int;
  v_pruned int := 0;
  v_next double precision;
begin
  if v_answer is not null then
    return v_answer;
  end if;
  v_now := agentmesh.now_us();
  v_fx := agentmesh.task_effects_v1(v_now, p_limit);
  if pg_try_advisory_xact_lock(hashtextextended('agentmesh.task_sweep', 1)) then
    v_fx := agentmesh.task_promote_v1(v_fx);
    if v_fx.room > 0 then
      v_due := array(
        select t.seq from agentmesh.tasks t where t.deadline_at <= v_now and t.deadline_at is not null and t.state <> 3
        order by t.deadline_at limit v_fx.room for update skip locked);
      if cardinality(v_due) > 0 then
        perform agentmesh.task_lock_reach_v1(v_due, v_due, v_fx.room);
        v_fx := agentmesh.task_end_v1(v_fx, v_due, array_fill(5::smallint, array[cardinality(v_due)]),
          array_fill('DEADLINE'::text, array[cardinality(v_due)]), null, false);
      end if;
    end if;
    v_fx := agentmesh.task_cascade_v1(v_fx);
    v_fx := agentmesh.task_drain_v1(v_fx);
    v_pruned := agentmesh.task_expire_v1(v_now, p_limit);
    perform agentmesh.task_roll_up_v1();
    perform agentmesh.task_trim_v1(v_now, p_history_us, p_limit);
    delete from agentmesh.task_holders h where h.session <> p_session and not exists (
      select from agentmesh.sessions s where s.number = h.session and s.expires_at > v_now - 600000000)
      and not exists (select from agentmesh.tasks t where t.state = 3 and t.session = h.session);
    v_next := case when exists (select from agentmesh.task_frontier) then 0 else (least(
      (select min(t.ready_at) from agentmesh.tasks t where t.state = 1),
      (select min(t.deadline_at) from agentmesh.tasks t where t.deadline_at is not null and t.state <> 3),
      (select min(x.due_at) from agentmesh.task_expiries x)) - v_now) / 1000.0 end;
    if v_next < 0 then
      v_next := 0;
    end if;
  else
    v_next := 200;
  end if;
  -- The claims of others are to be found when their leases are over; those of dead sessions are told of each second until somebody has them.
  v_next := least(v_next, (
    select min(case when s.closed_at is null and s.expires_at > v_now then (s.expires_at - v_now) / 1000.0 + 1 else 1000 end)
    from agentmesh.task_holders h left join agentmesh.sessions s on s.number = h.session
    where h.session <> p_session and exists (select from agentmesh.tasks t where t.state = 3 and t.session = h.session)));
  v_fx.more := coalesce(v_next = 0, false);
  v_fx.scheduled := false;
  v_answer := agentmesh.task_answer_v1(v_fx, json_build_object('pruned', v_pruned,
    'deadSessions', cardinality(agentmesh.task_dead_v1()), 'nextInMs', v_next));
  perform agentmesh.op_end_v1(p_session, p_sequence, v_answer);
  return v_answer;
end $$;
`;
