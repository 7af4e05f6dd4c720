import { PAYLOAD_LIMITS } from '../../../../core/json.ts';
import { PINNED } from './pinned.ts';

/**
 * Submission. A batch whose items don't depend on each other's fate goes in by whole sets; items that meet something known (an id or a key
 * again, a placeholder, a full queue, a parent that has failed) go in one by one.
 */
export const TASK_ENQUEUE: string = /* sql */ `
create type agentmesh.task_item as (
  ord int, id text, lane int, payload text, priority int, weight double precision, delay_ms double precision,
  deadline_ms double precision, keep_ms double precision, max_crashes int, headers text, settings text, parent text, key text,
  digest text, depends text, mode int
);

-- The items of a batch. A list of one element holds for all; texts are joined by the delimiter, a field that is p_null is null.
create function agentmesh.task_items_v1(p_number int, p_delimiter text, p_null text, p_ids text, p_lanes int[], p_payloads text,
  p_priorities int[], p_weights double precision[], p_delays double precision[], p_deadlines double precision[],
  p_keeps double precision[], p_crashes int[], p_headers text, p_settings text, p_parents text, p_keys text, p_digests text,
  p_depends text, p_modes int[])
returns setof agentmesh.task_item language sql stable rows 500 as $$
  select u.ord::int, u.id, coalesce(u.lane, p_lanes[1]), u.payload, coalesce(u.priority, p_priorities[1]),
    coalesce(u.weight, p_weights[1]), coalesce(u.delay, p_delays[1]), coalesce(u.deadline, p_deadlines[1]),
    coalesce(u.keep, p_keeps[1]), coalesce(u.crashes, p_crashes[1]), u.headers, u.settings, u.parent, u.key, u.digest, u.depends,
    coalesce(u.mode, p_modes[1])
  from unnest(string_to_array(p_ids, p_delimiter), p_lanes, string_to_array(p_payloads, p_delimiter, p_null), p_priorities,
    p_weights, p_delays, p_deadlines, p_keeps, p_crashes, string_to_array(p_headers, p_delimiter, p_null),
    string_to_array(p_settings, p_delimiter, p_null), string_to_array(p_parents, p_delimiter, p_null),
    string_to_array(p_keys, p_delimiter, p_null), string_to_array(p_digests, p_delimiter, p_null),
    string_to_array(p_depends, p_delimiter, p_null), p_modes)
  with ordinality u(id, lane, payload, priority, weight, delay, deadline, keep, crashes, headers, settings, parent, key, digest,
    depends, mode, ord)
$$;

-- Edges: the item's number, the parent's id, the policy and the place in the item's list, each.
create function agentmesh.task_enqueue_v1(p_session bigint, p_sequence bigint, p_number int, p_delimiter text, p_null text,
  p_ids text, p_lanes int[], p_payloads text, p_priorities int[], p_weights double precision[], p_delays double precision[],
  p_deadlines double precision[], p_keeps double precision[], p_crashes int[], p_headers text, p_settings text, p_parents text,
  p_keys text, p_digests text, p_depends text, p_modes int[], p_edge_items int[], p_edge_parents text, p_edge_policies smallint[],
  p_edge_places smallint[], p_one_by_one boolean)
returns text language plpgsql
${PINNED} as $$
declare
  v_answer text;
  v_now bigint;
  v_known int;
  v_wanted int;
  v_step bigint;
  v_top_step bigint;
  v_one_by_one boolean := p_one_by_one;
  v_base bigint;
  v_pos bigint;
  v_state int;
  v_codes text;
  v_extras json[];
  v_missed int[];
  v_edge_parents text[];
  v_item agentmesh.task_item;
  v_one record;
  v_fx agentmesh.task_effects;
  v_by_ord text[];
begin
  -- Without a session: nobody could repeat it.
  if p_session is not null then
    v_answer := agentmesh.op_begin_v1(p_session, p_sequence);
    if v_answer is not null then
      return v_answer;
    end if;
  elsif not exists (select from agentmesh.uptime) then
    perform agentmesh.pass_lost_numbers_v1();
  end if;
  -- Lanes that nobody uses are forgotten by the sweep, never under an enqueue's feet.
  perform pg_advisory_xact_lock_shared(hashtextextended('agentmesh.task_lanes', 1));
  select count(*), min(q.step_us), max(q.step_us), bool_or(q.max_length is not null) or v_one_by_one
  into v_known, v_step, v_top_step, v_one_by_one
  from (select distinct u.lane from unnest(p_lanes) u(lane)) u
  join agentmesh.task_lanes l on l.lane = any(array[u.lane]) join agentmesh.task_queues q on q.number = any(array[l.queue]);
  if cardinality(p_lanes) = 1 then
    v_wanted := 1;
  else
    select count(distinct u.lane) into v_wanted from unnest(p_lanes) u(lane);
  end if;
  if v_known < v_wanted then
    return '{"lanes":true}';
  end if;
  if v_one_by_one then
    perform from agentmesh.task_queues q
    where q.max_length is not null and q.number = any(array(select l.queue from agentmesh.task_lanes l where l.lane = any(p_lanes)))
    order by q.number for no key update;
  end if;
  v_now := agentmesh.now_us();
  v_base := nextval('agentmesh.task_seq');
  v_edge_parents := string_to_array(p_edge_parents, p_delimiter);

  if p_number = 1 and not v_one_by_one and p_keys is null and p_edge_items is null then
    -- Plain statements: to set those for a batch up takes longer than to carry these out.
    v_pos := agentmesh.task_pos_v1();
    v_state := case when p_delays[1] > 0 then 1 else 2 end;
    insert into agentmesh.task_bodies (seq, id, enqueued_at, weight, priority, max_crashes, keep_ms, deadline_ms, payload, headers,
      settings, parent, under, digest)
    values (v_base + 1, p_ids, v_now, nullif(p_weights[1], 1), p_priorities[1], p_crashes[1], p_keeps[1],
      case when p_deadlines[1] >= 0 then p_deadlines[1] end, p_payloads, p_headers, p_settings, p_parents, p_parents, p_digests)
    on conflict do nothing;
    if found then
      insert into agentmesh.tasks (seq, state, lane, rank, ready_at, aged_at, weight, keep_ms, deadline_at, journal)
      values (v_base + 1, v_state, p_lanes[1], v_now - p_priorities[1]::bigint * v_step, v_now + ceil(p_delays[1] * 1000)::bigint,
        case when v_state = 2 then v_now end, nullif(p_weights[1], 1), p_keeps[1],
        case when p_deadlines[1] >= 0 then v_now + ceil(p_deadlines[1] * 1000)::bigint end, v_pos);
      insert into agentmesh.task_journal (pos, at, number, seqs, moves, lanes, d_lanes, d_whats, d_bys)
      values (v_pos, v_now, 1, array[v_base + 1], array[128 + v_state], p_lanes, array[p_lanes[1], p_lanes[1], p_lanes[1]],
        array[8, v_state, 13], array[1, 1, case when v_state = 2 then p_weights[1] else 0 end]);
      v_codes := v_state::text;
    else
      v_missed := array[1];
    end if;
  elsif not v_one_by_one then
    v_pos := agentmesh.task_pos_v1();
    if p_keys is not null then
      insert into agentmesh.task_keys (key, seq)
      select u.key, v_base + u.ord from unnest(string_to_array(p_keys, p_delimiter, p_null)) with ordinality u(key, ord)
      where u.key is not null order by u.key, u.ord on conflict do nothing;
      select array_agg(u.ord::int) into v_missed
      from unnest(string_to_array(p_keys, p_delimiter, p_null)) with ordinality u(key, ord)
      where u.key is not null
        and not exists (select from agentmesh.task_keys k where k.key = u.key and k.seq = v_base + u.ord offset 0);
    end if;
    insert into agentmesh.task_bodies (seq, id, enqueued_at, weight, priority, max_crashes, keep_ms, deadline_ms, payload, headers,
      settings, key, parent, under, depends, digest)
    select v_base + i.ord, i.id, v_now, nullif(i.weight, 1), i.priority, i.max_crashes, i.keep_ms,
      case when i.deadline_ms >= 0 then i.deadline_ms end, i.payload, i.headers, i.settings, i.key, i.parent, i.parent, i.depends,
      i.digest
    from agentmesh.task_items_v1(p_number, p_delimiter, p_null, p_ids, p_lanes, p_payloads, p_priorities, p_weights, p_delays,
      p_deadlines, p_keeps, p_crashes, p_headers, p_settings, p_parents, p_keys, p_digests, p_depends, p_modes) i
    where v_missed is null or not i.ord = any(v_missed)
    order by i.id, i.ord on conflict do nothing;
    get diagnostics v_known = row_count;
    if v_known < p_number then
      select array_agg(g.ord) into v_missed from generate_series(1, p_number) g(ord)
      where not exists (select from agentmesh.task_bodies b where b.seq = v_base + g.ord offset 0);
      if p_keys is not null then
        delete from agentmesh.task_keys k where k.seq = any(array(select v_base + m.ord from unnest(v_missed) m(ord)));
      end if;
    end if;
    if p_edge_items is not null then
      select coalesce(v_missed, '{}') || e.missed into v_missed
      from agentmesh.task_attach_v1(v_base, p_edge_items, v_edge_parents, p_edge_policies, p_edge_places,
        coalesce(v_missed, '{}')) e(missed);
    end if;
    if p_edge_items is null and v_step = v_top_step then
      insert into agentmesh.tasks (seq, state, lane, rank, ready_at, aged_at, weight, keep_ms, deadline_at, journal)
      select v_base + u.ord, case when coalesce(u.delay, p_delays[1]) > 0 then 1 else 2 end, coalesce(u.lane, p_lanes[1]),
        v_now - coalesce(u.priority, p_priorities[1])::bigint * v_step, v_now + ceil(coalesce(u.delay, p_delays[1]) * 1000)::bigint,
        case when coalesce(u.delay, p_delays[1]) > 0 then null else v_now end,
        nullif(coalesce(u.weight, p_weights[1]), 1), coalesce(u.keep, p_keeps[1]),
        case when coalesce(u.deadline, p_deadlines[1]) >= 0
          then v_now + ceil(coalesce(u.deadline, p_deadlines[1]) * 1000)::bigint end,
        v_pos
      from unnest(p_lanes, p_priorities, p_weights, p_delays, p_deadlines, p_keeps, case when p_number > 1 then array_fill(0, array[p_number]) end)
        with ordinality u(lane, priority, weight, delay, deadline, keep, filler, ord)
      where v_missed is null or not u.ord = any(v_missed);
      get diagnostics v_known = row_count;
    else
      -- What its own list says beside a change of lanes' steps is the same for nearly all meshes.
      insert into agentmesh.tasks (seq, state, lane, rank, ready_at, aged_at, weight, keep_ms, deadline_at, journal, waiting)
      select v_base + u.ord,
        case when w.waiting > 0 then 0 when coalesce(u.delay, p_delays[1]) > 0 then 1 else 2 end,
        coalesce(u.lane, p_lanes[1]),
        v_now - coalesce(u.priority, p_priorities[1])::bigint * case when v_step = v_top_step then v_step else q.step_us end,
        -- Who waits without a delay is due at once whenever that is: a parent may have begun to end before us, and wait for us.
        case when w.waiting > 0 and coalesce(u.delay, p_delays[1]) <= 0 then 0
          else v_now + ceil(coalesce(u.delay, p_delays[1]) * 1000)::bigint end,
        case when w.waiting > 0 or coalesce(u.delay, p_delays[1]) > 0 then null else v_now end,
        nullif(coalesce(u.weight, p_weights[1]), 1), coalesce(u.keep, p_keeps[1]),
        case when coalesce(u.deadline, p_deadlines[1]) >= 0
          then v_now + ceil(coalesce(u.deadline, p_deadlines[1]) * 1000)::bigint end,
        v_pos, coalesce(w.waiting, 0)
      from unnest(p_lanes, p_priorities, p_weights, p_delays, p_deadlines, p_keeps, case when p_number > 1 then array_fill(0, array[p_number]) end)
        with ordinality u(lane, priority, weight, delay, deadline, keep, filler, ord)
      left join lateral (
        select count(*)::int as waiting from agentmesh.task_edges e where p_edge_items is not null and e.child = v_base + u.ord
      ) w on true
      left join lateral (
        select x.step_us from agentmesh.task_lanes l join agentmesh.task_queues x on x.number = any(array[l.queue])
        where v_step <> v_top_step and l.lane = coalesce(u.lane, p_lanes[1])
      ) q on true
      where v_missed is null or not u.ord = any(v_missed);
      get diagnostics v_known = row_count;
    end if;
    if v_known = p_number and cardinality(p_lanes) = 1 and cardinality(p_delays) = 1 and p_edge_items is null then
      v_codes := repeat(case when p_delays[1] > 0 then '1' else '2' end, p_number);
      insert into agentmesh.task_journal (pos, at, number, seqs, moves, lanes, d_lanes, d_whats, d_bys)
      select v_pos, v_now, p_number, array[v_base + 1], array[(128 + s.state)::smallint], p_lanes,
        array[p_lanes[1], p_lanes[1], p_lanes[1]], array[8, s.state, 13]::smallint[],
        array[p_number, p_number, case when s.state = 2 then
          case when cardinality(p_weights) = 1 then p_weights[1] * p_number
            else (select sum(w) from unnest(p_weights) w) end else 0 end]
      from (select case when p_delays[1] > 0 then 1 else 2 end as state) s;
    elsif v_known > 0 then
      select array_agg(case when t.seq is null then null else t.state::text end order by g.ord) into v_by_ord
      from generate_series(1, p_number) g(ord) left join agentmesh.tasks t on t.seq = any(array[v_base + g.ord]);
      insert into agentmesh.task_journal (pos, at, number, seqs, moves, lanes, d_lanes, d_whats, d_bys)
      select v_pos, v_now, v_known, a.seqs, a.moves, a.lanes, d.lanes, d.whats, d.bys
      from (
        select array_agg(t.seq order by t.seq) as seqs, array_agg((128 + t.state)::smallint order by t.seq) as moves,
          array_agg(t.lane order by t.seq) as lanes
        from agentmesh.tasks t where t.seq between v_base + 1 and v_base + p_number
      ) a, (
        select array_agg(x.lane) as lanes, array_agg(x.what::smallint) as whats, array_agg(x.by) as bys from (
          select t.lane, v.what, v.by from (
            select t.lane, t.state, count(*) as n, sum(coalesce(t.weight, 1)) as w
            from agentmesh.tasks t where t.seq between v_base + 1 and v_base + p_number group by t.lane, t.state
          ) t, lateral (values (t.state::int, t.n::double precision), (8, t.n), (13, case when t.state = 2 then t.w end)) v(what, by)
          where v.by is not null
        ) x
      ) d;
    end if;
  end if;

  if v_one_by_one or v_missed is not null then
    v_fx := agentmesh.task_effects_v1(v_now, 1000);
    v_by_ord := coalesce(v_by_ord, array_fill(null::text, array[p_number]));
    v_extras := '{}';
    for v_item in
      select * from agentmesh.task_items_v1(p_number, p_delimiter, p_null, p_ids, p_lanes, p_payloads, p_priorities, p_weights,
        p_delays, p_deadlines, p_keeps, p_crashes, p_headers, p_settings, p_parents, p_keys, p_digests, p_depends, p_modes) i
      where v_one_by_one or i.ord = any(v_missed) order by i.ord
    loop
      select * into v_one from agentmesh.task_enqueue_one_v1(v_item, v_base + v_item.ord, v_fx,
        array(select v_edge_parents[e.at] from unnest(p_edge_items) with ordinality e(item, at)
          where e.item = v_item.ord order by e.at),
        array(select p_edge_policies[e.at] from unnest(p_edge_items) with ordinality e(item, at)
          where e.item = v_item.ord order by e.at));
      v_fx := v_one.fx;
      v_by_ord[v_item.ord] := v_one.code;
      if v_one.extra is not null then
        v_extras := v_extras || v_one.extra;
      end if;
    end loop;
    v_fx := agentmesh.task_cascade_v1(v_fx);
    v_answer := agentmesh.task_answer_v1(v_fx,
      json_build_object('codes', array_to_string(v_by_ord, ''), 'extras', to_json(v_extras)));
  else
    v_answer := '{"at":' || v_now || ',"readied":[],"ended":[],"requested":[],"opened":[],"more":false,"own":{"codes":"'
      || coalesce(v_codes, array_to_string(v_by_ord, '')) || '","extras":null}}';
  end if;
  if p_session is not null then
    perform agentmesh.op_end_v1(p_session, p_sequence, v_answer);
  end if;
  return v_answer;
end $$;

create function agentmesh.task_check_name_v1(p_argument text, p_name text) returns void language plpgsql as $$
begin
  -- Spelled out for who reads the message: a text that is too long is not repeated.
  if p_name is null or p_name = '' or octet_length(p_name) > 200 or p_name ~ '[\\x01-\\x1f\\x7f]' then
    raise exception 'Expected % to be 1 to 200 bytes of text without control characters, got %', p_argument,
      case when p_name is null then 'null' when octet_length(p_name) > 200 then octet_length(p_name) || ' bytes'
        else to_json(p_name)::text end
      using errcode = '22023';
  end if;
end $$;

create function agentmesh.task_check_number_v1(p_argument text, p_number double precision, p_min double precision,
  p_max double precision)
returns void language plpgsql as $$
begin
  if p_number is null or p_number not between p_min and p_max then
    raise exception 'Expected % to be a number from % to %, got %', p_argument, p_min, p_max, coalesce(p_number::text, 'null')
      using errcode = '22023';
  end if;
end $$;

-- Refuses what the library would refuse.
create function agentmesh.task_check_v1(p_queue text, p_type text, p_payload json, p_priority int, p_delay_ms double precision,
  p_key text, p_id text, p_capabilities text[], p_keep_ms double precision, p_max_crashes int)
returns void language plpgsql as $$
declare
  c_most constant double precision := 9007199254740991;
  v_capability text;
begin
  perform agentmesh.task_check_name_v1('p_queue', p_queue), agentmesh.task_check_name_v1('p_type', p_type),
    agentmesh.task_check_name_v1('p_id', p_id), agentmesh.task_check_number_v1('p_priority', p_priority, -1000, 1000),
    agentmesh.task_check_number_v1('p_delay_ms', p_delay_ms, 0, c_most),
    agentmesh.task_check_number_v1('p_keep_ms', p_keep_ms, 0, c_most),
    agentmesh.task_check_number_v1('p_max_crashes', p_max_crashes, 0, c_most);
  if p_key is not null then
    perform agentmesh.task_check_name_v1('p_key', p_key);
  end if;
  if octet_length(p_payload::text) > ${PAYLOAD_LIMITS.maxBytes} then
    raise exception 'Expected p_payload to have at most ${PAYLOAD_LIMITS.maxBytes} bytes, got %', octet_length(p_payload::text)
      using errcode = '22023', hint = 'Store it elsewhere and send a reference.';
  end if;
  if cardinality(p_capabilities) > 1000 then
    raise exception 'Expected p_capabilities to have at most 1000 items, got %', cardinality(p_capabilities)
      using errcode = '22023';
  end if;
  foreach v_capability in array coalesce(p_capabilities, '{}') loop
    perform agentmesh.task_check_name_v1('an item of p_capabilities', v_capability);
  end loop;
end $$;

-- For triggers, and for programs in other languages: stores a task in the caller's transaction, READ COMMITTED, and answers its id, the one
-- it has if its key or id was used before. Workers find it within their poll interval; a NOTIFY in the same transaction would make all
-- commits queue. What isn't said is as the library has it where nothing is configured. Settings are what it writes there for its own
-- tasks: time limit, retries, locks.
-- Raises 23505 for another payload under the same key or id, 53400 for a full queue, 22023 for what the library would refuse too.
create function agentmesh.task_submit_v1(p_queue text, p_type text, p_payload json, p_priority int default 2,
  p_delay_ms double precision default 0, p_key text default null, p_id text default null,
  p_capabilities text[] default '{}', p_keep_ms double precision default 3600000, p_max_crashes int default 3,
  p_settings json default null)
returns text language plpgsql as $$
declare
  v_id text := coalesce(p_id, gen_random_uuid()::text);
  v_lane int;
  v_answer json;
  v_code text;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'Tasks are submitted under READ COMMITTED only' using errcode = 'AM003';
  end if;
  perform agentmesh.task_check_v1(p_queue, p_type, p_payload, p_priority, p_delay_ms, p_key, v_id, p_capabilities, p_keep_ms,
    p_max_crashes);
  select l.lane into v_lane from agentmesh.task_lanes_v1(array[p_queue], array[p_type],
    array[(select '[' || coalesce(string_agg(to_json(c)::text, ',' order by c collate "C"), '') || ']'
      from (select distinct u.c from unnest(p_capabilities) u(c)) d)],
    array[null::text], array[null::text], array[null::text]) l;
  v_answer := agentmesh.task_enqueue_v1(null, null, 1, chr(31), chr(30), v_id, array[v_lane], p_payload::text, array[p_priority],
    array[1], array[p_delay_ms], array[-1], array[p_keep_ms], array[p_max_crashes], null, p_settings::text, null, p_key, null, null,
    array[0], null, null, null, null, false);
  v_code := v_answer -> 'own' ->> 'codes';
  if v_code = 'd' then
    return v_answer -> 'own' -> 'extras' -> 0 ->> 0;
  elsif v_code = 'c' then
    raise exception '% was used for another queue, type or payload',
      case when v_answer -> 'own' -> 'extras' ->> 0 = v_id then 'Id ' || v_id else 'Key ' || p_key end using errcode = '23505';
  elsif v_code = 'f' then
    raise exception 'Queue % is full', p_queue using errcode = '53400';
  end if;
  return v_id;
end $$;
`;
