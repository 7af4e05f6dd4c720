import { PINNED } from './pinned.ts';

/** A claim as the client reads it: of its row `u` of `tasks` and `b` of `task_bodies`. */
const CLAIM_TEXT = /* sql */ `concat('[', u.seq, ',', u.lane, ',', u.attempt, ',', b.enqueued_at, ',', u.ready_at, ',',
    b.priority, ',', to_json(b.id), ',', coalesce(b.payload, 'null'),
    case when b.payload is null or u.crashes > 0 or u.moves > 0 or b.weight is not null or u.deadline_at is not null
        or coalesce(b.headers, b.settings, b.key, b.parent, u.error) is not null
      then concat(',{"u":', case when b.payload is null then 1 else 0 end, ',"h":' || b.headers, ',"s":' || b.settings,
        ',"k":' || to_json(b.key)::text, ',"p":' || to_json(b.parent)::text, ',"e":' || u.error, ',"w":' || b.weight,
        ',"d":' || u.deadline_at, ',"c":' || u.crashes, ',"m":' || u.moves, '}') end, ']')`;

/**
 * Claims. First it is found out, without locks, how many to take of each lane; then these are locked, lane by lane, passing over what
 * others have locked, so that claimers don't wait for each other.
 */
export const TASK_CLAIM: string = /* sql */ `
-- The tasks of a row of the journal as claims, in its order: of each [seq, lane, attempt, enqueued, ready, priority, id, payload, extras].
-- The tokens go on by 1 from the first. States are read as they are now, so that a repeated claim gets what it got; what somebody else has
-- claimed since then is not started under this claim.
create function agentmesh.task_claims_v1(p_seqs bigint[], p_attempts int[], p_token bigint) returns text language plpgsql stable as $$
begin
  return (select '[' || string_agg(
    '[' || u.seq || ',' || coalesce(t.lane, e.lane, 0) || ',' || coalesce(a.attempt, p_attempts[1]) || ','
      || coalesce(b.enqueued_at, 0) || ',' || coalesce(t.ready_at, e.ready_at, 0) || ',' || coalesce(b.priority, 0) || ','
      || coalesce(to_json(b.id)::text, '""') || ',' || coalesce(b.payload, 'null')
      || case when b.payload is null or t.seq is null or t.crashes > 0 or t.moves > 0 or t.adopted
          or coalesce(b.headers, b.settings, b.key, b.parent, t.error) is not null
          or b.weight is not null or t.deadline_at is not null
        then concat(',{"u":', case when b.payload is null then 1 else 0 end, ',"h":' || b.headers, ',"s":' || b.settings,
          ',"k":' || to_json(b.key)::text, ',"p":' || to_json(b.parent)::text, ',"e":' || coalesce(t.error, e.error),
          ',"w":' || b.weight, ',"d":' || t.deadline_at, ',"c":' || coalesce(t.crashes, e.crashes),
          ',"m":' || coalesce(t.moves, e.moves), ',"x":' || b.max_crashes, case when t.started and t.token = p_token + u.ord - 1 then ',"t":1' end, '}')
        else '' end || ']', ',' order by u.ord) || ']'
  from unnest(p_seqs) with ordinality u(seq, ord)
  left join unnest(p_attempts) with ordinality a(attempt, ord) on a.ord = u.ord and cardinality(p_attempts) > 1
  left join agentmesh.tasks t on t.seq = any(array[u.seq])
  left join agentmesh.task_ends e on e.seq = any(array[u.seq]) and t.seq is null
  left join agentmesh.task_bodies b on b.seq = any(array[u.seq]));
end $$;

-- The claims that an operation made before.
create function agentmesh.task_claimed_v1(p_answer text) returns text language plpgsql as $$
declare
  v_pos bigint := (p_answer::json ->> 'pos')::bigint;
  j agentmesh.task_journal;
begin
  if v_pos is null then
    return p_answer;
  end if;
  select * into j from agentmesh.task_journal x where x.pos = v_pos;
  return left(p_answer, -1) || ',"claims":' || agentmesh.task_claims_v1(
    case when cardinality(j.seqs) = j.number then j.seqs else array(select generate_series(j.seqs[1], j.seqs[1] + j.number - 1)) end,
    j.attempts, j.tokens[1]) || '}';
end $$;

-- Lanes with the number of their queue, offers that serve them as bits, and the rank below which nothing is to be expected; queues with
-- how many they may give at most. Own: lanes of agents hosted here.
create function agentmesh.task_claim_v1(p_session bigint, p_sequence bigint, p_uptime bigint, p_horizon text, p_fresh int[],
  p_lanes int[], p_queues int[], p_offers varbit[], p_marks bigint[], p_slots int[], p_quotas int[], p_turn int,
  p_limit int, p_start int, p_own int[], p_assigned int)
returns text language plpgsql
${PINNED} as $$
declare
  v_answer text := agentmesh.op_begin_v1(p_session, p_sequence);
  v_begun timestamptz := clock_timestamp();
  v_now bigint;
  v_closed int[];
  v_limited int[];
  -- Lanes of limited queues.
  v_counted int[];
  v_order int[];
  v_seqs bigint[] := '{}';
  v_places tid[];
  v_befores bigint[];
  v_taken record;
  v_lane int;
  v_wanted int;
  v_mark bigint;
  v_more boolean := false;
  v_by_offers int;
  v_rank bigint;
  v_ranks text;
  v_marks bigint[] := p_marks;
  v_lowest constant bigint := -9000000000000000000;
  v_cost int;
begin
  if v_answer is not null then
    return agentmesh.task_claimed_v1(v_answer);
  end if;
  -- Lanes that the caller doesn't know: it learns them first.
  if exists (select from agentmesh.task_lanes l where l.created >= p_horizon::xid8 and not l.lane = any(p_fresh))
    or not exists (select from agentmesh.uptime u where u.began = p_uptime) then
    return '{"fresh":true}';
  end if;
  -- Whoever changes a queue's settings waits for claims under way, and they for him.
  perform pg_advisory_xact_lock_shared(hashtextextended('agentmesh.task_queues', 1));
  select array_agg(q.number) filter (where q.paused), array_agg(q.number order by q.number) filter (where q.limited and not q.paused)
  into v_closed, v_limited from agentmesh.task_queues q
  where (q.paused or q.limited) and (q.number = any(p_queues) or q.number = any(array(
    select l.queue from agentmesh.task_lanes l where l.lane = any(p_own))));
  if not exists (select from agentmesh.task_holders h where h.session = p_session) then
    insert into agentmesh.task_holders values (p_session) on conflict do nothing;
  end if;
  if v_limited is not null then
    -- One claim after another, or two would both take the last place below a limit.
    perform from agentmesh.task_queues q where q.number = any(v_limited) order by q.number for no key update;
    v_counted := array(select l.lane from agentmesh.task_lanes l where l.queue = any(v_limited));
  end if;

  loop
    exit when p_limit <= 0 or cardinality(p_lanes) = 0;
    if v_closed is null and v_limited is null and cardinality(p_lanes) = 1 then
      v_lane := p_lanes[1];
      v_mark := v_marks[1];
      v_wanted := p_slots[1];
      if cardinality(p_slots) > 1 then
        v_wanted := (select sum(s) from unnest(p_slots) s);
      end if;
      v_wanted := least(p_limit, v_wanted, p_quotas[1]);
      select coalesce(array_agg(c.seq), '{}'), array_agg(c.place), array_agg(c.journal), max(c.rank)
      into v_seqs, v_places, v_befores, v_rank from (
        select t.seq, t.ctid as place, t.journal, t.rank from agentmesh.tasks t
        where t.state = 2 and t.lane = v_lane and t.rank >= v_mark
        order by t.rank, t.seq limit v_wanted for no key update skip locked
      ) c;
      v_ranks := '"' || v_lane || '":' || v_rank;
      v_more := cardinality(v_seqs) >= v_wanted and exists (
        select from agentmesh.tasks t where t.state = 2 and t.lane = v_lane
          and (t.rank, t.seq) > (coalesce(v_rank, v_mark), coalesce(v_seqs[cardinality(v_seqs)], 0)));
    else
      v_order := agentmesh.task_choose_v1(p_lanes, p_queues, p_offers, v_marks, p_slots, p_quotas, p_turn, p_limit,
        coalesce(v_closed, '{}'), coalesce(v_limited, '{}'));
      if cardinality(v_order) > 0 then
        select k.seqs, k.places, k.befores, k.ranks into v_seqs, v_places, v_befores, v_ranks from agentmesh.task_lock_v1(v_order, p_lanes, v_marks) k;
      end if;
    end if;
    -- Nothing above the marks: then once more from the beginning.
    exit when cardinality(v_seqs) > 0 or v_lowest = all(v_marks);
    v_marks := array_fill(v_lowest, array[cardinality(p_lanes)]);
  end loop;
  v_by_offers := cardinality(v_seqs);
  if p_assigned > 0 and cardinality(p_own) > 0 then
    select v_seqs || o.seqs, v_places || o.places, v_befores || o.befores, v_more or o.more
    into v_seqs, v_places, v_befores, v_more
    from agentmesh.task_own_v1(p_own, p_assigned, coalesce(v_closed, '{}'), coalesce(v_limited, '{}'), v_seqs) o;
  end if;
  v_cost := (extract(epoch from clock_timestamp() - v_begun) * 1e6)::int;
  -- After the look: whatever made these tasks ready has an earlier time.
  v_now := agentmesh.now_us();
  select * into v_taken from agentmesh.task_take_v1(p_session, v_now, v_seqs, v_places, v_befores, v_by_offers, p_start,
    v_counted);
  if v_limited is not null then
    perform agentmesh.task_rest_v1(v_limited);
  end if;
  if v_order is not null and not v_more then
    select bool_or(exists (
      select from agentmesh.tasks t where t.state = 2 and t.lane = u.lane and t.rank >= u.mark
        and not u.queue = any(coalesce(v_closed, '{}'))
        and not (v_limited is not null and agentmesh.task_is_full_v1(u.queue, u.lane, '{}'))))
    into v_more from unnest(p_lanes, p_queues, v_marks) u(lane, queue, mark);
  end if;
  v_answer := '{"at":' || v_now || ',"more":' || coalesce(v_more, false)::text || ',"cost":' || v_cost
    || ',"ranks":{' || coalesce(v_ranks, '') || '}' || coalesce(',' || v_taken.head, '') || '}';
  perform agentmesh.op_end_v1(p_session, p_sequence, v_answer);
  return case when v_taken.claims is null then v_answer else left(v_answer, -1) || ',"claims":[' || v_taken.claims || ']}' end;
end $$;

-- Gives locked ready tasks to a session: the beginning of the answer, and the claims; null: there are none. Places are where their rows lie
-- now, which nobody changes while they are locked; befores are the journal's rows of their last transitions. Counted:
-- lanes of limited queues.
create function agentmesh.task_take_v1(p_session bigint, p_now bigint, p_seqs bigint[], p_places tid[], p_befores bigint[],
  p_by_offers int, p_start int, p_counted int[], out head text, out claims text)
language plpgsql as $$
declare
  v_number int := cardinality(p_seqs);
  v_pos bigint;
  v_token bigint;
  v_started int := least(p_start, p_by_offers);
  v_lane int;
  v_attempt int;
  v_weight double precision;
  v_lanes int[];
  v_attempts int[];
  v_weights double precision[];
  v_is_row boolean;
  v_d_lanes int[];
  v_whats smallint[];
  v_bys double precision[];
begin
  if v_number = 0 then
    return;
  end if;
  v_pos := agentmesh.task_pos_v1();
  v_token := nextval('agentmesh.task_token');
  head := '"pos":' || v_pos || ',"token":' || (v_token + 1) || ',"offered":' || p_by_offers || ',"started":' || v_started;
  if v_number = 1 then
    -- Plain statements, one after another: to set a large one up takes longer than to carry these out.
    with u as (
      update agentmesh.tasks x set state = 3, session = p_session, token = v_token + 1, attempt = x.attempt + 1,
        started = v_started > 0, journal = v_pos,
        counted = coalesce(x.lane = any(p_counted), false)
      where x.ctid = p_places[1]
      returning x.seq, x.lane, x.attempt, x.weight, x.crashes, x.moves, x.ready_at, x.deadline_at, x.error
    )
    select u.lane, u.attempt, coalesce(u.weight, 1), ${CLAIM_TEXT}
    into v_lane, v_attempt, v_weight, claims
    from u join agentmesh.task_bodies b on b.seq = any(array[u.seq]);
    insert into agentmesh.task_journal (pos, at, number, seqs, moves, lanes, attempts, tokens, sessions, befores,
      d_lanes, d_whats, d_bys)
    values (v_pos, p_now, 1, p_seqs, array[35], array[v_lane], array[v_attempt], array[v_token + 1], array[p_session], p_befores,
      array[v_lane, v_lane, v_lane, v_lane], array[2, 3, 10, 13], array[-1, 1, 1, -v_weight]);
    return;
  end if;
  with u as (
    update agentmesh.tasks t set state = 3, session = p_session, token = v_token + c.ord, attempt = t.attempt + 1,
      started = c.ord <= v_started, journal = v_pos,
      counted = coalesce(t.lane = any(p_counted), false)
    from unnest(p_places) with ordinality c(place, ord) where t.ctid = c.place
    returning t.seq, t.lane, t.attempt, t.weight, t.crashes, t.moves, t.ready_at, t.deadline_at, t.error, c.ord
  )
  select string_agg(${CLAIM_TEXT}, ','), array_agg(u.lane), array_agg(u.attempt), array_agg(u.weight),
    min(u.seq - u.ord) = max(u.seq - u.ord)
  into claims, v_lanes, v_attempts, v_weights, v_is_row
  from (select * from u order by u.ord) u join agentmesh.task_bodies b on b.seq = any(array[u.seq]);
  -- Plain statements from here on, as above.
  if v_lanes[1] = all(v_lanes) and coalesce(cardinality(array_remove(v_weights, null)), 0) = 0 then
    v_lanes := v_lanes[1:1];
    v_d_lanes := array[v_lanes[1], v_lanes[1], v_lanes[1], v_lanes[1]];
    v_whats := array[2, 3, 10, 13];
    v_bys := array[-v_number, v_number, v_number, -v_number];
  else
    select array_agg(g.lane), array_agg(v.what::smallint), array_agg(v.by) into v_d_lanes, v_whats, v_bys from (
      select u.lane, count(*) as n, sum(coalesce(u.weight, 1)) as w from unnest(v_lanes, v_weights) u(lane, weight) group by u.lane
    ) g, lateral (values (2, -g.n::double precision), (3, g.n), (10, g.n), (13, -g.w)) v(what, by);
  end if;
  insert into agentmesh.task_journal (pos, at, number, seqs, moves, lanes, attempts, tokens, sessions, befores,
    d_lanes, d_whats, d_bys)
  values (v_pos, p_now, v_number, case when v_is_row then p_seqs[1:1] else p_seqs end, array[35], v_lanes,
    case when v_attempts[1] = all(v_attempts) then v_attempts[1:1] else v_attempts end, array[v_token + 1], array[p_session],
    case when p_befores[1] = all(p_befores) then p_befores[1:1] else p_befores end, v_d_lanes, v_whats, v_bys);
end $$;

-- Locks so many of each lane as the order says; what is locked, in that order.
create function agentmesh.task_lock_v1(p_order int[], p_lanes int[], p_marks bigint[], out seqs bigint[], out places tid[],
  out befores bigint[], out ranks text)
language plpgsql as $$
declare
  r record;
  v_turns int[] := '{}';
  v_seqs bigint[];
  v_places tid[];
  v_befores bigint[];
  v_rank bigint;
begin
  seqs := '{}';
  for r in
    select u.lane, count(*)::int as n, array_agg(u.ord::int order by u.ord) as turns, min(m.mark) as mark
    from unnest(p_order) with ordinality u(lane, ord) left join unnest(p_lanes, p_marks) m(lane, mark) on m.lane = u.lane
    group by u.lane order by u.lane
  loop
    select array_agg(c.seq), array_agg(c.place), array_agg(c.journal), max(c.rank) into v_seqs, v_places, v_befores, v_rank from (
      select t.seq, t.ctid as place, t.journal, t.rank from agentmesh.tasks t
      where t.state = 2 and t.lane = r.lane and t.rank >= coalesce(r.mark, -9223372036854775808)
      order by t.rank, t.seq limit r.n for no key update skip locked
    ) c;
    if v_seqs is not null then
      seqs := seqs || v_seqs;
      ranks := concat(ranks || ',', '"' || r.lane || '":' || v_rank);
      places := places || v_places;
      befores := befores || v_befores;
      v_turns := v_turns || r.turns[1:cardinality(v_seqs)];
    end if;
  end loop;
  select coalesce(array_agg(u.seq), '{}'), array_agg(u.place), array_agg(u.before) into seqs, places, befores
  from (select * from unnest(seqs, places, befores, v_turns) u(seq, place, before, turn) order by u.turn) u;
end $$;
`;
