import { PINNED } from './pinned.ts';

/** What there is to see. */
export const TASK_READ: string = /* sql */ `
-- A page of tasks in order of enqueue, or against it, that match a filter: those behind a seq, at most so many, after a look at so many at
-- most. Among: of these only. Next: the seq to go on behind; null: that was all.
create function agentmesh.task_page_v1(f json, p_among bigint[], p_after bigint, p_limit int, p_budget int, p_newest boolean,
  out seqs bigint[], out next bigint, out scanned int)
language plpgsql as $$
declare
  v_states int[] := (select array_agg(array_position(
    array['waiting', 'scheduled', 'ready', 'claimed', 'completed', 'dead', 'cancelled', 'skipped'], s.name) - 1)
    from json_array_elements_text(case when f -> 'state' is null then '[]' else f -> 'state' end) s(name));
  v_source text;
  v_order text := case when p_newest then 'desc' else 'asc' end;
  v_behind text := case when p_newest then '<' else '>' end;
  v_after bigint := coalesce(p_after, case when p_newest then 9223372036854775807 else 0 end);
  v_last bigint;
  v_count int;
  v_where text := '';
begin
  v_source := case
    -- What offset 0 keeps apart is found first, not by reading everything in order until it comes.
    when p_among is not null then 'select u.seq from unnest($6) u(seq) offset 0'
    when f -> 'ids' is not null then
      'select distinct b.seq from json_array_elements_text($1 -> ''ids'') i(id) join agentmesh.task_bodies b on b.id = i.id offset 0'
    when f ->> 'key' is not null then 'select k.seq from agentmesh.task_keys k where k.key = $1 ->> ''key'''
    when v_states <@ array[5, 6, 7] then 'select e.seq from agentmesh.task_ends e where e.state = any($2) and e.state <> 4'
    when v_states = array[3] then 'select t.seq from agentmesh.tasks t where t.state = 3'
    when v_states = array[1] then 'select t.seq from agentmesh.tasks t where t.state = 1'
    when f ->> 'errorSignature' is not null then
      'select e.seq from agentmesh.task_ends e where e.signature = $1 ->> ''errorSignature'' and e.signature is not null'
    else 'select b.seq from agentmesh.task_bodies b where b.enqueued_at is not null' end;
  v_where := concat(
    case when v_states is not null then ' and coalesce(t.state, e.state) = any($2)' end,
    case when f ->> 'queue' is not null then ' and q.name = $1 ->> ''queue''' end,
    case when f ->> 'type' is not null then ' and l.type = $1 ->> ''type''' end,
    case when f ->> 'agent' is not null then ' and l.agent = $1 ->> ''agent''' end,
    case when f ->> 'group' is not null then ' and l.grp = $1 ->> ''group''' end,
    case when f ->> 'key' is not null then ' and b.key = $1 ->> ''key''' end,
    case when f ->> 'parent' is not null then ' and b.parent = $1 ->> ''parent''' end,
    case when f -> 'ids' is not null and p_among is not null then ' and b.id = any(array(select json_array_elements_text($1 -> ''ids'')))' end,
    case when f ->> 'errorSignature' is not null then ' and e.signature = $1 ->> ''errorSignature''' end,
    case when f ->> 'errorText' is not null then ' and position(case when left(coalesce(t.error, e.error), 1) = ''"''
      then $1 ->> ''errorQuoted'' else $1 ->> ''errorText'' end in coalesce(t.error, e.error)) > 0' end,
    case when f ->> 'olderThanMs' is not null
      then ' and agentmesh.now_us() - b.enqueued_at > ($1 ->> ''olderThanMs'')::float8 * 1000' end);
  execute format(
    'select array_agg(x.seq order by x.n), max(x.n), count(*) from (
      select s.seq, s.n from (
        select s.seq, row_number() over (order by s.seq %1$s) as n from (
          select s.seq from (%2$s) s where s.seq %3$s $3 order by s.seq %1$s limit $4
        ) s
      ) s
      join agentmesh.task_bodies b on b.seq = s.seq and b.enqueued_at is not null
      left join agentmesh.tasks t on t.seq = s.seq
      left join agentmesh.task_ends e on e.seq = s.seq
      join agentmesh.task_lanes l on l.lane = coalesce(t.lane, e.lane)
      join agentmesh.task_queues q on q.number = l.queue
      where true %4$s
      order by s.seq %1$s limit $5
    ) x', v_order, v_source, v_behind, v_where)
  into seqs, scanned, v_count using f, v_states, v_after, p_budget, p_limit + 1, p_among;
  seqs := coalesce(seqs, '{}');
  if v_count > p_limit then
    seqs := seqs[1:p_limit];
    next := seqs[p_limit];
    scanned := scanned - 1;
    return;
  end if;
  -- Was that all, or all that it was to look at?
  execute format('select max(x.n), max(x.seq) filter (where x.n = x.top) from (
      select s.seq, row_number() over (order by s.seq %1$s) as n, count(*) over () as top from (
        select s.seq from (%2$s) s where s.seq %3$s $3 order by s.seq %1$s limit $4 + 1
      ) s
    ) x', v_order, v_source, v_behind)
  into scanned, v_last using f, v_states, v_after, p_budget, p_limit, p_among;
  scanned := coalesce(scanned, 0);
  if scanned > p_budget then
    scanned := p_budget;
    execute format('select s.seq from (%2$s) s where s.seq %3$s $3 order by s.seq %1$s offset $4 - 1 limit 1',
      v_order, v_source, v_behind)
    into next using f, v_states, v_after, p_budget, p_limit, p_among;
  end if;
end $$;

-- Tasks as people see them, in the order of the list; null for those that are not there.
create function agentmesh.task_records_v1(p_seqs bigint[], p_full boolean) returns text language plpgsql stable as $$
begin
  return (select '[' || string_agg(case when b.seq is null then 'null' else concat(
    '{"id":', to_json(b.id), ',"state":"', agentmesh.task_state_v1(coalesce(t.state, e.state)), '","token":', coalesce(t.token, e.token),
    ',"attempt":', coalesce(t.attempt, e.attempt), ',"crashes":', coalesce(t.crashes, e.crashes),
    ',"moves":', coalesce(t.moves, e.moves), ',"enqueuedAt":', b.enqueued_at,
    ',"readyAt":', case when t.seq is null then coalesce(e.ready_at, 0) when t.aged_at is null then 0 else t.ready_at end,
    ',"started":', coalesce(t.started, false)::text,
    ',"queue":', to_json(q.name), ',"type":', to_json(l.type), ',"priority":', b.priority, ',"capabilities":', l.capabilities,
    ',"weight":', coalesce(b.weight, 1),
    ',"placement":' || to_json(l.placement)::text, ',"key":' || to_json(b.key)::text, ',"headers":' || b.headers,
    ',"group":' || to_json(l.grp)::text, ',"agent":' || to_json(l.agent)::text, ',"parent":' || to_json(b.parent)::text,
    ',"settings":' || b.settings, case when p_full then ',"payload":' || b.payload end,
    case when p_full then ',"result":' || e.result end, case when p_full then ',"error":' || coalesce(t.error, e.error) end,
    case when t.state = 3 then ',"session":' || t.session end, case when t.state = 1 then ',"runAt":' || t.ready_at end,
    ',"endedAt":' || e.at,
    ',"deadlineAt":' || (coalesce(t.since, e.since, b.enqueued_at) + ceil(b.deadline_ms * 1000)::bigint),
    ',"cancelRequested":' || to_json(t.cancelling)::text, ',"reason":' || to_json(e.reason)::text,
    ',"errorSignature":' || to_json(e.signature)::text,
    ',"waitingCount":', case when t.state = 0 then t.waiting else 0 end,
    case when t.state = 0 then ',"waitingFor":' || (
      select json_agg(p.id order by p.place)::text from (
        select p.id, x.place from agentmesh.task_edges x join agentmesh.task_bodies p on p.seq = x.parent
        where x.child = t.seq order by x.place limit 20
      ) p
    ) end, '}') end, ',' order by u.ord) || ']'
  from unnest(p_seqs) with ordinality u(seq, ord)
  left join agentmesh.task_bodies b on b.seq = any(array[u.seq]) and b.enqueued_at is not null
  left join agentmesh.tasks t on t.seq = any(array[b.seq])
  left join agentmesh.task_ends e on e.seq = any(array[b.seq])
  left join agentmesh.task_lanes l on l.lane = any(array[coalesce(t.lane, e.lane)])
  left join agentmesh.task_queues q on q.number = any(array[l.queue]));
end $$;

-- In plpgsql, as everything that is asked often: it keeps its plan.
create function agentmesh.task_get_v1(p_delimiter text, p_ids text) returns text language plpgsql
${PINNED} as $$
begin
  return agentmesh.task_records_v1((
    select array_agg(coalesce(b.seq, 0) order by u.ord)
    from unnest(string_to_array(p_ids, p_delimiter)) with ordinality u(id, ord)
    left join agentmesh.task_bodies b on b.id = any(array[u.id])), true);
end $$;

create function agentmesh.task_list_v1(p_filter json, p_after bigint, p_limit int, p_budget int) returns text language plpgsql
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
  v_page record;
begin
  select * into v_page from agentmesh.task_page_v1(p_filter, null, p_after, p_limit, p_budget, true);
  return '{"at":' || agentmesh.now_us() || ',"scanned":' || v_page.scanned || ',"next":' || coalesce(v_page.next::text, 'null')
    || ',"items":' || coalesce(agentmesh.task_records_v1(v_page.seqs, false), '[]') || '}';
end $$;

-- The latest ends first, behind an end.
create function agentmesh.task_list_ended_v1(p_filter json, p_at bigint, p_seq bigint, p_limit int, p_budget int) returns text
language plpgsql
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_sort = off as $$
declare
  r record;
  v_seqs bigint[] := '{}';
  v_batch bigint[];
  v_ats bigint[];
  v_match bigint[];
  v_at bigint := coalesce(p_at, 9223372036854775807);
  v_seq bigint := coalesce(p_seq, 0);
  v_scanned int := 0;
  v_next text;
begin
  loop
    select array_agg(x.seq), array_agg(x.at) into v_batch, v_ats from (
      select e.seq, e.at from agentmesh.task_ends e where (e.at, e.seq) < (v_at, v_seq) order by e.at desc, e.seq desc limit 500
    ) x;
    exit when v_batch is null;
    select p.seqs into v_match from agentmesh.task_page_v1(p_filter, v_batch, null, 500, 500, true) p;
    for i in 1 .. cardinality(v_batch) loop
      if cardinality(v_seqs) >= p_limit or v_scanned >= p_budget then
        v_next := '"' || v_at || ':' || v_seq || '"';
        exit;
      end if;
      v_scanned := v_scanned + 1;
      v_at := v_ats[i];
      v_seq := v_batch[i];
      if v_batch[i] = any(v_match) then
        v_seqs := v_seqs || v_batch[i];
      end if;
    end loop;
    exit when v_next is not null;
  end loop;
  return '{"at":' || agentmesh.now_us() || ',"scanned":' || v_scanned || ',"next":' || coalesce(v_next, 'null')
    || ',"items":' || coalesce(agentmesh.task_records_v1(v_seqs, false), '[]') || '}';
end $$;

-- The ready ones in the order of claims, behind a place; of each lane and priority at most so many, those before the place included.
create function agentmesh.task_list_queue_v1(p_filter json, p_rank bigint, p_seq bigint, p_limit int, p_each int) returns text
language plpgsql
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
  v_seqs bigint[];
  v_ranks bigint[];
  v_match bigint[];
  v_next text;
begin
  select array_agg(x.seq order by x.rank, x.seq), array_agg(x.rank order by x.rank, x.seq) into v_seqs, v_ranks from (
    select h.seq, h.rank from agentmesh.task_lanes l join agentmesh.task_queues q on q.number = l.queue
    cross join lateral (
      select t.seq, t.rank from agentmesh.tasks t
      where p_each is null and t.state = 2 and t.lane = l.lane
        and (t.rank, t.seq) > (coalesce(p_rank, -9223372036854775808), coalesce(p_seq, 0))
      order by t.rank, t.seq limit p_limit + 1
    ) h
    where p_filter ->> 'queue' is null or q.name = p_filter ->> 'queue'
    union all
    select k.seq, k.rank from (
      select h.seq, h.rank, row_number() over (partition by l.lane, b.priority order by h.rank, h.seq) as n
      from agentmesh.task_lanes l join agentmesh.task_queues q on q.number = l.queue
      cross join lateral (
        select t.seq, t.rank from agentmesh.tasks t
        where p_each is not null and t.state = 2 and t.lane = l.lane order by t.rank, t.seq limit 20000
      ) h join agentmesh.task_bodies b on b.seq = h.seq
      where p_filter ->> 'queue' is null or q.name = p_filter ->> 'queue'
    ) k
    where k.n <= p_each and (k.rank, k.seq) > (coalesce(p_rank, -9223372036854775808), coalesce(p_seq, 0))
    order by 2, 1 limit p_limit + 1
  ) x;
  if cardinality(v_seqs) > p_limit then
    v_next := '"' || v_ranks[p_limit] || ':' || v_seqs[p_limit] || '"';
    v_seqs := v_seqs[1:p_limit];
  end if;
  if cardinality(v_seqs) > 0 then
    select p.seqs into v_match from agentmesh.task_page_v1(p_filter, v_seqs, null, p_limit, p_limit, true) p;
  end if;
  return '{"at":' || agentmesh.now_us() || ',"scanned":' || coalesce(cardinality(v_seqs), 0) || ',"next":' || coalesce(v_next, 'null')
    || ',"items":' || coalesce(agentmesh.task_records_v1(
      array(select u.seq from unnest(v_seqs) with ordinality u(seq, ord) where u.seq = any(v_match) order by u.ord), false), '[]') || '}';
end $$;

-- What a row of the journal says, a row each task.
create function agentmesh.task_entries_v1(j agentmesh.task_journal)
returns table (seq bigint, place int, move int, lane int, attempt int, token bigint, session bigint, reason text, before bigint)
language sql immutable as $$
  select case when cardinality(j.seqs) = j.number then j.seqs[i] else j.seqs[1] + i - 1 end, i,
    (case when cardinality(j.moves) = j.number then j.moves[i] else j.moves[1] end)::int,
    case when cardinality(j.lanes) = j.number then j.lanes[i] else j.lanes[1] end,
    coalesce(case when cardinality(j.attempts) = j.number then j.attempts[i] else j.attempts[1] end, 0),
    coalesce(case when cardinality(j.tokens) = j.number then j.tokens[i] else j.tokens[1] + i - 1 end, 0),
    case when cardinality(j.sessions) = j.number then j.sessions[i] else j.sessions[1] end,
    case when cardinality(j.reasons) = j.number then j.reasons[i] else j.reasons[1] end,
    coalesce(case when cardinality(j.befores) = j.number then j.befores[i] else j.befores[1] end, 0)
  from generate_series(1, j.number) i
$$;

create function agentmesh.task_transition_v1(p_id text, p_at bigint, p_move int, p_attempt int, p_token bigint, p_session bigint,
  p_reason text)
returns json language plpgsql stable as $$
begin
  return json_strip_nulls(json_build_object('task', p_id, 'at', p_at,
    'from', coalesce(agentmesh.task_state_v1(nullif(p_move / 16, 8)), 'new'), 'to', agentmesh.task_state_v1(p_move % 16),
    'attempt', p_attempt, 'token', p_token, 'session', p_session, 'reason', p_reason));
end $$;

-- The transitions of one task, oldest first, from this one on.
create function agentmesh.task_history_of_v1(p_id text, p_from int, p_limit int) returns text language plpgsql as $$
declare
  v_seq bigint;
  v_pos bigint;
  j agentmesh.task_journal;
  r record;
  v_all json[] := '{}';
  v_count int;
begin
  select b.seq, coalesce(t.journal, e.journal) into v_seq, v_pos
  from agentmesh.task_bodies b left join agentmesh.tasks t on t.seq = b.seq left join agentmesh.task_ends e on e.seq = b.seq
  where b.id = p_id and b.enqueued_at is not null;
  if not found then
    select f.seq, f.journal into v_seq, v_pos from agentmesh.task_forgotten f where f.id = p_id;
  end if;
  while v_pos > 0 loop
    select * into j from agentmesh.task_journal x where x.pos = v_pos;
    exit when not found;
    select e.* into r from agentmesh.task_entries_v1(j) e where e.seq = v_seq;
    exit when not found;
    v_all := v_all || agentmesh.task_transition_v1(p_id, j.at, r.move, r.attempt, r.token, r.session, r.reason);
    v_pos := r.before;
  end loop;
  v_count := cardinality(v_all);
  return json_build_object('at', agentmesh.now_us(), 'scanned', greatest(0, least(p_limit, v_count - p_from)),
    'next', case when p_from + p_limit < v_count then p_from + p_limit end,
    'items', coalesce((
      select json_agg(v_all[v_count - i + 1] order by i) from generate_series(p_from + 1, least(p_from + p_limit, v_count)) i
    ), '[]'::json))::text;
end $$;

-- Transitions of all tasks in order of the journal's numbers, behind a place: a row and a task in it. Numbers are given out before their
-- transactions commit, so a row may come to be seen after others of greater numbers were read. Seen: what was visible when the rows up to
-- the place were read, as [first transaction that was to come, one that began later than all that had a number then, those that were
-- under way]. Whatever these have committed since comes first, then what is behind the place; numbers that nobody commits are never
-- waited for. Late: what was visible when such a look behind began that one page didn't end, and how far it came.
-- One snapshot for all statements: stable.
create function agentmesh.task_history_v1(p_queue text, p_pos bigint, p_place int, p_seen bigint[], p_late_pos bigint, p_late_place int,
  p_late bigint[], p_limit int, p_budget int)
returns text language plpgsql stable
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
  v_snapshot constant pg_snapshot := pg_current_snapshot();
  -- Whoever has a number has a transaction's number before; later than all of them is ours.
  v_now constant bigint[] := array[pg_snapshot_xmax(v_snapshot)::text::bigint, pg_current_xact_id()::text::bigint]
    || array(select x::text::bigint from pg_snapshot_xip(v_snapshot) x);
  v_lanes int[];
  v_seen bigint[] := p_seen;
  v_late bigint[] := p_late;
  v_late_pos bigint := p_late_pos;
  v_late_place int := p_late_place;
  v_pos bigint := p_pos;
  v_place int := p_place;
  v_items json[] := '{}';
  v_page record;
  v_scanned int := 0;
  v_full boolean := false;
  v_rows int := 0;
  j agentmesh.task_journal;
begin
  if p_queue is not null then
    v_lanes := array(
      select l.lane from agentmesh.task_lanes l join agentmesh.task_queues q on q.number = l.queue where q.name = p_queue);
  end if;
  while cardinality(v_seen) > 0 and v_seen is distinct from v_now loop
    v_late := coalesce(v_late, v_now);
    for j in
      select x.* from (
        select y.* from agentmesh.task_journal y where y.xid = any(v_seen[3:]::text[]::xid8[])
        union all
        select y.* from agentmesh.task_journal y where y.xid >= v_seen[1]::text::xid8 and y.xid < v_seen[2]::text::xid8
      ) x
      where x.pos <= v_pos and (x.pos > v_late_pos or (x.pos = v_late_pos and v_late_place > 0))
        and x.xid < v_late[1]::text::xid8 and not x.xid = any(v_late[3:]::text[]::xid8[])
      order by x.pos
    loop
      select * into v_page from agentmesh.task_history_row_v1(j, case when j.pos = v_late_pos then v_late_place else 0 end, v_lanes,
        p_limit - cardinality(v_items), p_budget - v_scanned);
      v_items := v_items || v_page.items;
      v_scanned := v_scanned + v_page.scanned;
      v_full := v_page.place is not null;
      if not v_full or v_page.place > 0 then
        v_late_pos := j.pos;
        v_late_place := coalesce(v_page.place, 0);
      end if;
      exit when v_full;
    end loop;
    exit when v_full;
    v_seen := v_late;
    v_late := null;
    v_late_pos := -1;
    v_late_place := 0;
  end loop;
  if not v_full then
    for j in
      select x.* from agentmesh.task_journal x where x.pos > v_pos or (x.pos = v_pos and v_place > 0) order by x.pos limit 20000
    loop
      select * into v_page from agentmesh.task_history_row_v1(j, case when j.pos = v_pos then v_place else 0 end, v_lanes,
        p_limit - cardinality(v_items), p_budget - v_scanned);
      v_items := v_items || v_page.items;
      v_scanned := v_scanned + v_page.scanned;
      v_full := v_page.place is not null;
      if not v_full or v_page.place > 0 then
        v_pos := j.pos;
        v_place := coalesce(v_page.place, 0);
      end if;
      exit when v_full;
      v_rows := v_rows + 1;
    end loop;
    v_seen := v_now;
  end if;
  return json_build_object('at', agentmesh.now_us(), 'scanned', v_scanned, 'items', array_to_json(v_items),
    'next', case when v_full or v_rows = 20000 then
      json_build_array(v_pos, v_place, v_seen, v_late_pos, v_late_place, v_late) end)::text;
end $$;

-- The transitions of one row behind a place in it, at most so many, after a look at so many. Place: the last one looked at; null: that was all.
create function agentmesh.task_history_row_v1(j agentmesh.task_journal, p_place int, p_lanes int[], p_limit int, p_budget int,
  out items json[], out scanned int, out place int)
language plpgsql stable as $$
declare
  r record;
begin
  items := '{}';
  scanned := 0;
  for r in
    select e.*, coalesce(b.id, f.id) as id from agentmesh.task_entries_v1(j) e
    left join agentmesh.task_bodies b on b.seq = e.seq left join agentmesh.task_forgotten f on f.seq = e.seq
    where e.place > p_place order by e.place
  loop
    if cardinality(items) >= p_limit or scanned >= p_budget then
      place := r.place - 1;
      return;
    end if;
    scanned := scanned + 1;
    if r.id is not null and (p_lanes is null or r.lane = any(p_lanes)) then
      items := items || agentmesh.task_transition_v1(r.id, j.at, r.move, r.attempt, r.token, r.session, r.reason);
    end if;
  end loop;
end $$;

-- Counters of queues: of those named, or of all.
create function agentmesh.task_queues_v1(p_names text[]) returns text language plpgsql stable
${PINNED} as $$
declare
  -- As a map: to look a list through for each queue would take as many looks as there are queues, squared.
  v_counters jsonb;
begin
  select jsonb_object_agg(x.queue, x.counters) into v_counters from (
    select s.queue, jsonb_object_agg(s.what, s.value) as counters from (
      select coalesce(l.queue, -c.lane) as queue, c.what, sum(c.value) as value
      from agentmesh.task_counters_v1(null) c left join agentmesh.task_lanes l on l.lane = any(array[c.lane])
      group by 1, 2
    ) s group by s.queue
  ) x;
  return (
    select json_build_object('at', agentmesh.now_us(), 'queues', coalesce(json_agg(json_build_array(
      q.name, q.settings::json, q.revision,
      (select json_agg(coalesce(v_counters -> q.number::text -> g.what::text, '0') order by g.what) from generate_series(0, 13) g(what)),
      (select min(h.ready_at) from agentmesh.task_lanes l cross join lateral (
        select t.ready_at from agentmesh.tasks t where t.state = 2 and t.lane = l.lane order by t.rank, t.seq limit 1
      ) h where l.queue = q.number)) order by q.number), '[]'::json))::text
    from agentmesh.task_queues q where p_names is null or q.name = any(p_names));
end $$;
`;
