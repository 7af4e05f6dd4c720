/** What the end of a task sets in motion. No recursion: rounds over those that ended in the round before, as many as a call may. */
export const TASK_CASCADE: string = /* sql */ `
-- What one call set in motion so far, and how much more it may.
create type agentmesh.task_effects as (
  at bigint,
  room int,
  edges int,
  affected int,
  scheduled boolean,
  more boolean,
  readied json[],
  ended json[],
  requested json[],
  -- Queues in which something may be claimed now that a limit kept back.
  opened text[],
  -- Tasks that ended, whose dependents are still to be told.
  parents bigint[]
);

create function agentmesh.task_effects_v1(p_now bigint, p_room int) returns agentmesh.task_effects language sql immutable as $$
  select row(p_now, least(p_room, 1000), 16000, 0, false, false, '{}', '{}', '{}', '{}', '{}')::agentmesh.task_effects
$$;

-- In plpgsql: it keeps its plan, where a function in SQL that isn't inlined is parsed and planned for each call.
create function agentmesh.task_answer_v1(p_fx agentmesh.task_effects, p_more json) returns text language plpgsql stable as $$
begin
  return json_build_object('at', p_fx.at, 'readied', array_to_json(p_fx.readied), 'ended', array_to_json(p_fx.ended),
    'requested', array_to_json(p_fx.requested), 'opened', p_fx.opened, 'more', p_fx.more or p_fx.scheduled, 'own', p_more)::text;
end $$;

create function agentmesh.task_state_v1(p_state int) returns text language sql immutable as $$
  select (array['waiting', 'scheduled', 'ready', 'claimed', 'completed', 'dead', 'cancelled', 'skipped'])[p_state + 1]
$$;

-- What ended with nothing to keep lets go of all but state, key and digest.
create function agentmesh.task_strip_v1(p_seqs bigint[]) returns void language plpgsql as $$
begin
  update agentmesh.task_bodies b set payload = null, headers = null
  where b.seq = any(p_seqs) and (b.payload is not null or b.headers is not null);
end $$;

-- Ends live tasks, whatever they are doing; their rows are locked. Parents: ids of those whose end caused it. Own: items of the call.
create function agentmesh.task_end_v1(inout p_fx agentmesh.task_effects, p_seqs bigint[], p_tos smallint[], p_reasons text[],
  p_parents text[], p_own boolean)
language plpgsql as $$
declare
  v_pos bigint := agentmesh.task_pos_v1();
  v_seqs bigint[];
  v_waiting bigint[];
  v_bare bigint[];
  v_ended json[];
  v_count int;
begin
  with u as (
    select u.* from unnest(p_seqs, p_tos, p_reasons, p_parents) with ordinality u(seq, state, reason, parent, ord)
  ), d as (
    delete from agentmesh.tasks t using u where t.seq = any(array[u.seq])
    returning t.*, u.state as new_state, u.reason, u.parent, u.ord
  ), e as (
    insert into agentmesh.task_ends (seq, at, token, journal, expires_at, ready_at, lane, attempt, state, crashes, moves, unmet,
      since, aged_ms, error, reason)
    select d.seq, p_fx.at, d.token, v_pos, p_fx.at + (case when d.keep_ms > 0 then d.keep_ms else 60000 end * 1000)::bigint,
      case when d.aged_at is not null then d.ready_at end, d.lane, d.attempt, d.new_state, d.crashes, d.moves, d.state = 0,
      d.since, d.aged_ms, case when d.keep_ms > 0 then d.error end, d.reason
    from d
  ), x as (
    insert into agentmesh.task_expiries (due_at, seqs)
    select p_fx.at + (k.keep * 1000)::bigint, k.seqs from (
      select case when d.keep_ms > 0 then d.keep_ms else 60000 end as keep, array_agg(d.seq) as seqs from d group by 1
    ) k
  ), j as (
    insert into agentmesh.task_journal (pos, at, number, seqs, moves, lanes, attempts, tokens, sessions, reasons, befores,
      d_lanes, d_whats, d_bys)
    select v_pos, p_fx.at, a.n, a.seqs, a.moves, a.lanes, a.attempts, a.tokens, a.sessions, a.reasons, a.befores,
      c.lanes, c.whats, c.bys
    from (
      select count(*)::int as n, array_agg(d.seq order by d.ord) as seqs,
        array_agg((d.state * 16 + d.new_state)::smallint order by d.ord) as moves, array_agg(d.lane order by d.ord) as lanes,
        array_agg(d.attempt order by d.ord) as attempts, array_agg(d.token order by d.ord) as tokens,
        array_agg(d.session order by d.ord) as sessions, array_agg(d.reason order by d.ord) as reasons,
        array_agg(d.journal order by d.ord) as befores
      from d
    ) a, (
      select array_agg(y.lane) as lanes, array_agg(y.what::smallint) as whats, array_agg(y.by) as bys from (
        select g.lane, v.what, sum(v.by) as by from (
          select d.lane, d.state, d.new_state, count(*) as n, sum(coalesce(d.weight, 1)) as w
          from d group by d.lane, d.state, d.new_state
        ) g, lateral (values (g.state::int, -g.n::double precision), (g.new_state::int, g.n),
          (13, case when g.state = 2 then -g.w end)) v(what, by)
        where v.by is not null group by g.lane, v.what
      ) y
    ) c where a.n > 0
  )
  select array_agg(d.seq order by d.ord), array_agg(d.seq) filter (where d.state = 0),
    array_agg(d.seq) filter (where d.keep_ms <= 0),
    array_agg(json_strip_nulls(json_build_object('task', b.id, 'queue', q.name, 'state', agentmesh.task_state_v1(d.new_state),
      'reason', d.reason, 'parent', d.parent)) order by d.ord),
    count(*)
  into v_seqs, v_waiting, v_bare, v_ended, v_count
  from d join agentmesh.task_bodies b on b.seq = any(array[d.seq]) join agentmesh.task_lanes l on l.lane = any(array[d.lane])
  join agentmesh.task_queues q on q.number = any(array[l.queue]);
  if v_count = 0 then
    return;
  end if;
  if v_waiting is not null then
    delete from agentmesh.task_edges e where e.child = any(v_waiting);
  end if;
  if v_bare is not null then
    perform agentmesh.task_strip_v1(v_bare);
  end if;
  p_fx.ended := p_fx.ended || v_ended;
  p_fx.affected := p_fx.affected + v_count;
  p_fx.parents := p_fx.parents || v_seqs;
  if not p_own then
    p_fx.room := p_fx.room - v_count;
  end if;
end $$;

-- Tells the dependents of what has ended, and theirs. What goes beyond the room is written down for the sweep.
create function agentmesh.task_cascade_v1(inout p_fx agentmesh.task_effects)
language plpgsql as $$
declare
  v_children bigint[];
  v_parents bigint[];
  v_policies smallint[];
  v_locked bigint[];
  v_found int;
  v_room int;
begin
  while cardinality(p_fx.parents) > 0 loop
    v_room := least(p_fx.room, p_fx.edges);
    if v_room <= 0 then
      insert into agentmesh.task_frontier (parent)
      select p.seq from unnest(p_fx.parents) with ordinality u(seq, ord)
      join agentmesh.task_ends p on p.seq = any(array[u.seq])
      where exists (select from agentmesh.task_edges e where e.parent = u.seq and (p.state = 4 or e.policy <> 2) offset 0)
      order by u.ord;
      p_fx.more := p_fx.more or found;
      p_fx.parents := '{}';
      return;
    end if;
    -- policy: of the edge; 3 also where the parent has completed.
    select array_agg(x.child order by x.ord, x.child), array_agg(x.parent order by x.ord, x.child),
      array_agg(x.policy order by x.ord, x.child), count(*)
    into v_children, v_parents, v_policies, v_found
    from (
      select e.child, e.parent, case when p.state = 4 then 3::smallint else e.policy end as policy, u.ord
      from unnest(p_fx.parents) with ordinality u(seq, ord)
      join agentmesh.task_ends p on p.seq = any(array[u.seq])
      join agentmesh.task_edges e on e.parent = any(array[u.seq])
      where p.state = 4 or e.policy <> 2
      order by u.ord, e.child limit v_room
    ) x;
    if v_found = 0 then
      p_fx.parents := '{}';
      return;
    end if;
    p_fx.edges := p_fx.edges - v_found;
    if v_found < v_room then
      p_fx.parents := '{}';
    else
      p_fx.parents := p_fx.parents[array_position(p_fx.parents, v_parents[v_found]):];
    end if;
    v_locked := agentmesh.task_lock_reach_v1(v_children, array(
      select u.child from unnest(v_children, v_policies) u(child, policy) where u.policy < 3), p_fx.room);
    -- Those that came while we waited have a later time than the one we began with.
    p_fx.at := greatest(p_fx.at, agentmesh.now_us());
    if exists (select from unnest(v_policies) p(policy) where p.policy < 3) then
      p_fx := agentmesh.task_doom_v1(p_fx, v_children, v_parents, v_policies, v_locked);
    end if;
    p_fx := agentmesh.task_satisfy_v1(p_fx, v_children, v_parents, v_policies);
  end loop;
end $$;

-- Locks these tasks, and those that end when the doomed ones end, all in one order: two cascades that cross, or one and a cancel, wait for
-- each other then and don't stand in each other's way. Answers what is locked.
create function agentmesh.task_lock_reach_v1(p_seqs bigint[], p_doomed bigint[], p_room int) returns bigint[] language plpgsql as $$
begin
  return array(
    select t.seq from agentmesh.tasks t where t.seq = any(array(
      with recursive doom(seq) as (
        select u.seq from unnest(p_doomed) u(seq)
        union
        select e.child from doom d
        cross join lateral (select x.child from agentmesh.task_edges x where x.parent = d.seq and x.policy < 2 offset 0) e
      ), reached as (
        select d.seq from doom d limit 4 * greatest(p_room, 1)
      )
      select r.seq from reached r
      union
      select e.child from reached r
      cross join lateral (select x.child from agentmesh.task_edges x where x.parent = r.seq and x.policy = 3 offset 0) e
      union
      select u.seq from unnest(p_seqs) u(seq)))
    order by t.seq + 0 for update);
end $$;

-- Ends the children of these edges, those of policies 0 and 1, and theirs, generation after generation, as many as there is room for.
create function agentmesh.task_doom_v1(inout p_fx agentmesh.task_effects, p_children bigint[], p_parents bigint[],
  p_policies smallint[], p_locked bigint[])
language plpgsql as $$
declare
  -- As maps: to look a list through for each of a thousand would take a million looks.
  v_locked jsonb := (select jsonb_object_agg(l.seq, true) from unnest(p_locked) l(seq));
  v_ends jsonb;
  v_doomed bigint[];
  v_parents bigint[];
  v_tos smallint[];
  v_reasons text[];
  v_culprits text[];
  v_found int;
begin
  with recursive doom(child, parent, policy) as (
    select u.child, u.parent, u.policy
    from unnest(p_children, p_parents, p_policies) u(child, parent, policy)
    cross join lateral (select from agentmesh.task_edges e where e.parent = u.parent and e.child = u.child offset 0) e
    join agentmesh.tasks t on t.seq = any(array[u.child]) and t.state = 0
    where u.policy < 3
    union
    select e.child, d.child, e.policy
    from doom d
    cross join lateral (select x.child, x.policy from agentmesh.task_edges x where x.parent = d.child and x.policy < 2 offset 0) e
    join agentmesh.tasks t on t.seq = any(array[e.child]) and t.state = 0
  ), found as (
    select d.*, row_number() over () as n from doom d limit least(p_fx.edges, 4 * p_fx.room)
  ), firsts as (
    select distinct on (f.child) f.child, f.parent, f.policy, f.n from found f
    where v_locked ? f.child::text order by f.child, f.n
  ), few as (
    select f.* from firsts f order by f.n limit p_fx.room
  )
  select array_agg(f.child order by f.n), array_agg(f.parent order by f.n), array_agg((6 + f.policy)::smallint order by f.n), count(*),
    jsonb_object_agg(f.child, 6 + f.policy)
  into v_doomed, v_parents, v_tos, v_found, v_ends from few f;
  select array_agg('PARENT_' || upper(agentmesh.task_state_v1(coalesce((v_ends ->> u.parent::text)::int, p.state))) order by u.ord),
    array_agg(b.id order by u.ord)
  into v_reasons, v_culprits
  from unnest(v_parents) with ordinality u(parent, ord)
  left join agentmesh.task_ends p on p.seq = any(array[u.parent]) join agentmesh.task_bodies b on b.seq = any(array[u.parent]);
  if v_found > 0 then
    p_fx := agentmesh.task_end_v1(p_fx, v_doomed, v_tos, v_reasons, v_culprits, false);
    p_fx.edges := p_fx.edges - v_found;
  end if;
end $$;

-- These edges, those of policy 3, are met: who waits for nobody any more is ready, or scheduled.
create function agentmesh.task_satisfy_v1(inout p_fx agentmesh.task_effects, p_children bigint[], p_parents bigint[],
  p_policies smallint[])
language plpgsql as $$
declare
  v_pos bigint;
  v_freed bigint[];
  v_readied json[];
  v_number int;
begin
  with u as (
    select u.* from unnest(p_children, p_parents, p_policies) with ordinality u(child, parent, policy, ord) where u.policy = 3
  ), d as (
    delete from agentmesh.task_edges e using u where e.parent = any(array[u.parent]) and e.child = any(array[u.child]) returning e.child, u.ord
  ), c as (
    select d.child, count(*)::int as n, min(d.ord) as ord from d group by d.child
  ), w as (
    update agentmesh.tasks t set waiting = t.waiting - c.n from c where t.seq = any(array[c.child]) and t.state = 0
    returning t.seq, t.waiting, c.ord
  )
  select array_agg(w.seq order by w.ord) into v_freed from w where w.waiting = 0;
  if v_freed is null then
    return;
  end if;
  v_pos := agentmesh.task_pos_v1();
  with r as (
    update agentmesh.tasks t set
      state = case when t.ready_at > p_fx.at then 1 else 2 end,
      ready_at = greatest(t.ready_at, p_fx.at),
      aged_at = case when t.ready_at > p_fx.at then null else p_fx.at - (coalesce(t.aged_ms, 0) * 1000)::bigint end,
      rank = p_fx.at - (coalesce(t.aged_ms, 0) * 1000)::bigint - b.priority::bigint * q.step_us,
      journal = v_pos
    from unnest(v_freed) with ordinality u(seq, ord)
    join agentmesh.tasks o on o.seq = any(array[u.seq])
    join agentmesh.task_bodies b on b.seq = any(array[u.seq])
    join agentmesh.task_lanes l on l.lane = any(array[o.lane])
    join agentmesh.task_queues q on q.number = any(array[l.queue])
    where t.seq = any(array[u.seq])
    returning t.seq, t.state, t.lane, t.attempt, t.token, t.weight, o.journal as before, b.id, q.name as queue, u.ord
  ), j as (
    insert into agentmesh.task_journal (pos, at, number, seqs, moves, lanes, attempts, tokens, befores, d_lanes, d_whats, d_bys)
    select v_pos, p_fx.at, a.n, a.seqs, a.moves, a.lanes, a.attempts, a.tokens, a.befores, c.lanes, c.whats, c.bys
    from (
      select count(*)::int as n, array_agg(r.seq order by r.ord) as seqs, array_agg(r.state::smallint order by r.ord) as moves,
        array_agg(r.lane order by r.ord) as lanes, array_agg(r.attempt order by r.ord) as attempts,
        array_agg(r.token order by r.ord) as tokens, array_agg(r.before order by r.ord) as befores
      from r
    ) a, (
      select array_agg(y.lane) as lanes, array_agg(y.what::smallint) as whats, array_agg(y.by) as bys from (
        select g.lane, v.what, v.by from (
          select r.lane, r.state, count(*) as n, sum(coalesce(r.weight, 1)) as w from r group by r.lane, r.state
        ) g, lateral (values (0, -g.n::double precision), (g.state::int, g.n), (13, case when g.state = 2 then g.w end)) v(what, by)
        where v.by is not null
      ) y
    ) c
  )
  select array_agg(json_build_object('task', r.id, 'queue', r.queue) order by r.ord) filter (where r.state = 2),
    count(*) filter (where r.state = 2), p_fx.scheduled or bool_or(r.state = 1)
  into v_readied, v_number, p_fx.scheduled from r;
  p_fx.readied := p_fx.readied || coalesce(v_readied, '{}');
  p_fx.room := p_fx.room - v_number;
end $$;
`;
