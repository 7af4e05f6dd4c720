/** Submission of one task among others, which may be known already. */
export const TASK_ENQUEUE_ONE: string = /* sql */ `
-- Whether two payloads mean the same. jsonb refuses some characters that JSON text may spell: then the texts have to be alike.
create function agentmesh.task_same_v1(p_one text, p_other text) returns boolean language plpgsql as $$
begin
  return p_one::jsonb is not distinct from p_other::jsonb;
exception when others then
  return p_one is not distinct from p_other;
end $$;

-- Codes: the state's number, d duplicate, c conflict, y cycle, f full; the latter four with an extra.
create function agentmesh.task_repeated_v1(i agentmesh.task_item, p_seq bigint, p_now bigint, out code text, out extra json)
language plpgsql as $$
declare
  v_id text;
  v_payload text;
  v_digest text;
  v_lane int;
  v_state int;
  v_alike boolean;
begin
  select b.id, b.payload, b.digest, coalesce(t.lane, e.lane), coalesce(t.state, e.state)
  into v_id, v_payload, v_digest, v_lane, v_state
  from agentmesh.task_bodies b left join agentmesh.tasks t on t.seq = any(array[b.seq]) left join agentmesh.task_ends e on e.seq = any(array[b.seq])
  where b.seq = p_seq;
  -- An id that core made is not compared; where one side has no digest, the payloads are.
  select a.queue = n.queue and a.type = n.type into v_alike
  from agentmesh.task_lanes a, agentmesh.task_lanes n where a.lane = v_lane and n.lane = i.lane;
  if (i.digest is not null or i.key is not null) and (not v_alike or v_digest <> i.digest
    or ((v_digest is null or i.digest is null) and not agentmesh.task_same_v1(v_payload, i.payload))) then
    code := 'c';
    extra := to_json(v_id);
    return;
  end if;
  perform agentmesh.task_count_v1(p_now, array[v_lane], array[12], array[1]);
  code := 'd';
  extra := json_build_array(v_id, agentmesh.task_state_v1(v_state), false);
end $$;

-- A live unclaimed task gets another body under its key; its row is locked.
create function agentmesh.task_replace_v1(i agentmesh.task_item, p_seq bigint, p_now bigint, p_has_edges boolean,
  out code text, out extra json)
language plpgsql as $$
declare
  o record;
  v_due bigint := p_now + ceil(greatest(i.delay_ms, 0) * 1000)::bigint;
begin
  select b.id, b.depends, t.lane, t.state, t.weight, l.queue, l.type, n.queue as new_queue, n.type as new_type, q.step_us into o
  from agentmesh.task_bodies b join agentmesh.tasks t on t.seq = any(array[b.seq]) join agentmesh.task_lanes l on l.lane = any(array[t.lane])
  join agentmesh.task_lanes n on n.lane = i.lane join agentmesh.task_queues q on q.number = any(array[n.queue])
  where b.seq = p_seq;
  if o.queue <> o.new_queue or o.type <> o.new_type or (p_has_edges and (
    select array_agg(x::text order by x::text collate "C") from json_array_elements(i.depends::json) x
  ) is distinct from (
    select array_agg(x::text order by x::text collate "C") from json_array_elements(coalesce(o.depends, '[]')::json) x
  )) then
    code := 'c';
    extra := to_json(o.id);
    return;
  end if;
  update agentmesh.task_bodies b set weight = nullif(i.weight, 1), priority = i.priority, max_crashes = i.max_crashes,
    keep_ms = i.keep_ms, deadline_ms = case when i.deadline_ms >= 0 then i.deadline_ms end, payload = i.payload,
    headers = i.headers, settings = i.settings, parent = i.parent,
    under = case when b.parent is distinct from i.parent then i.parent else b.under end, digest = i.digest
  where b.seq = p_seq;
  update agentmesh.tasks t set lane = i.lane, weight = nullif(i.weight, 1), keep_ms = i.keep_ms,
    deadline_at = case when i.deadline_ms >= 0 then p_now + ceil(i.deadline_ms * 1000)::bigint end,
    since = case when i.deadline_ms >= 0 then p_now else t.since end,
    rank = case when t.state = 2 then t.aged_at - i.priority::bigint * o.step_us else t.rank end
  where t.seq = p_seq;
  perform agentmesh.task_count_v1(p_now, array[o.lane, i.lane, i.lane, o.lane, i.lane],
    array[o.state, o.state, 12, 13, 13],
    array[-1, 1, 1, case when o.state = 2 then -coalesce(o.weight, 1) else 0 end, case when o.state = 2 then i.weight else 0 end]);
  if o.lane <> i.lane then
    perform agentmesh.task_count_v1(p_now, array[o.lane, i.lane], array[8, 8], array[-1, 1]);
  end if;
  if i.mode & 3 = 2 then
    perform agentmesh.task_reschedule_v1(p_seq, v_due, p_now);
  end if;
  code := 'd';
  extra := json_build_array(o.id, agentmesh.task_state_v1((select t.state from agentmesh.tasks t where t.seq = p_seq)), true);
end $$;

-- A live unclaimed task, as if it were new, is due then. Its row is locked. True: it is ready now.
create function agentmesh.task_reschedule_v1(p_seq bigint, p_due bigint, p_now bigint) returns boolean language plpgsql as $$
declare
  t agentmesh.tasks;
  v_pos bigint;
  v_to int := case when p_due > p_now then 1 else 2 end;
begin
  select * into t from agentmesh.tasks x where x.seq = p_seq;
  if t.state = 0 then
    update agentmesh.tasks x set ready_at = case when p_due > p_now then p_due else 0 end where x.seq = p_seq;
    return false;
  end if;
  v_pos := agentmesh.task_pos_v1();
  update agentmesh.tasks x set state = v_to, ready_at = p_due, journal = v_pos,
    aged_at = case when v_to = 2 then p_due - (coalesce(t.aged_ms, 0) * 1000)::bigint end,
    rank = p_due - (coalesce(t.aged_ms, 0) * 1000)::bigint - b.priority::bigint * q.step_us
  from agentmesh.task_bodies b, agentmesh.task_lanes l, agentmesh.task_queues q
  where x.seq = p_seq and b.seq = p_seq and l.lane = any(array[t.lane]) and q.number = any(array[l.queue]);
  perform agentmesh.task_log_v1(v_pos, p_now, p_seq, t.state, v_to, t.lane, t.attempt, t.token, null, null, t.journal, t.weight);
  return v_to = 2;
end $$;

create function agentmesh.task_enqueue_one_v1(i agentmesh.task_item, p_seq bigint, p_fx agentmesh.task_effects, p_parents text[],
  p_policies smallint[], out code text, out extra json, out fx agentmesh.task_effects)
language plpgsql as $$
declare
  v_now bigint := p_fx.at;
  v_seq bigint := p_seq;
  v_same bigint;
  v_enqueued bigint;
  v_keyed bigint;
  v_state int;
  v_own boolean := false;
  v_queue record;
  v_length bigint;
  v_edges record;
  v_pos bigint;
  v_to int;
begin
  fx := p_fx;
  select b.seq, b.enqueued_at into v_same, v_enqueued from agentmesh.task_bodies b where b.id = i.id;
  if v_same = p_seq then
    v_own := true;
  elsif v_enqueued is not null then
    select r.code, r.extra into code, extra from agentmesh.task_repeated_v1(i, v_same, v_now) r;
    return;
  end if;
  if i.key is not null and not v_own then
    select k.seq into v_keyed from agentmesh.task_keys k where k.key = i.key for update;
    if v_keyed is not null and i.mode & 3 = 0 then
      select r.code, r.extra into code, extra from agentmesh.task_repeated_v1(i, v_keyed, v_now) r;
      return;
    end if;
    if v_keyed is not null then
      select t.state into v_state from agentmesh.tasks t where t.seq = v_keyed and t.state + 0 < 3 for update;
      if found then
        select r.code, r.extra into code, extra
        from agentmesh.task_replace_v1(i, v_keyed, v_now, coalesce(cardinality(p_parents), 0) > 0) r;
        return;
      end if;
    end if;
  end if;
  select q.number, q.name, q.max_length, q.step_us into v_queue
  from agentmesh.task_lanes l join agentmesh.task_queues q on q.number = any(array[l.queue]) where l.lane = i.lane;
  if v_queue.max_length is not null then
    perform from agentmesh.task_queues q where q.number = v_queue.number for no key update;
    v_length := agentmesh.task_length_v1(v_queue.number);
    if v_length >= v_queue.max_length then
      code := 'f';
      extra := json_build_array(v_queue.name, v_length);
      if v_own then
        delete from agentmesh.task_bodies b where b.seq = p_seq;
        delete from agentmesh.task_keys k where k.seq = p_seq;
      end if;
      return;
    end if;
  end if;
  if v_own then
    null;
  elsif v_same is null then
    insert into agentmesh.task_bodies (seq, id) values (p_seq, i.id) on conflict do nothing;
    if not found then
      raise exception 'Task % came meanwhile', i.id using errcode = '40001';
    end if;
  else
    v_seq := v_same;
    -- Whoever makes a child of it wait has to have done so, or waits for us.
    perform from agentmesh.task_bodies b where b.seq = v_same and b.enqueued_at is null for update;
    if not found then
      raise exception 'Task % came meanwhile', i.id using errcode = '40001';
    end if;
  end if;
  if coalesce(cardinality(p_parents), 0) > 0 then
    -- Before the look for a cycle, so that those who are about to make one wait for each other.
    perform agentmesh.task_parents_v1(p_parents, p_policies);
    extra := agentmesh.task_cycle_v1(v_seq, i.id, p_parents);
    if extra is not null then
      code := 'y';
      if v_seq = p_seq then
        delete from agentmesh.task_bodies b where b.seq = p_seq
          and not exists (select from agentmesh.task_edges e where e.parent = p_seq);
        delete from agentmesh.task_keys k where k.seq = p_seq;
      end if;
      return;
    end if;
  end if;
  if v_seq <> p_seq then
    -- It comes now, so its number is of now; whoever waits for the placeholder waits for it.
    update agentmesh.task_bodies b set seq = p_seq where b.seq = v_same;
    update agentmesh.task_edges e set parent = p_seq where e.parent = v_same;
    v_seq := p_seq;
  end if;
  if i.key is not null and not v_own then
    if v_keyed is null then
      insert into agentmesh.task_keys (key, seq) values (i.key, v_seq) on conflict do nothing;
      if not found then
        raise exception 'Key % came meanwhile', i.key using errcode = '40001';
      end if;
    else
      update agentmesh.task_keys k set seq = v_seq where k.key = i.key;
      update agentmesh.task_bodies b set key = null where b.seq = v_keyed;
    end if;
  end if;
  if not v_own then
    update agentmesh.task_bodies b set enqueued_at = v_now, weight = nullif(i.weight, 1), priority = i.priority,
      max_crashes = i.max_crashes, keep_ms = i.keep_ms, deadline_ms = case when i.deadline_ms >= 0 then i.deadline_ms end,
      payload = i.payload, headers = i.headers, settings = i.settings, key = i.key, parent = i.parent, under = i.parent,
      depends = i.depends, digest = i.digest
    where b.seq = v_seq;
  end if;
  select * into v_edges from agentmesh.task_attach_one_v1(v_seq, p_parents, p_policies);
  v_pos := agentmesh.task_pos_v1();
  if v_edges.doom is not null then
    insert into agentmesh.task_ends (seq, at, token, journal, expires_at, lane, attempt, state, crashes, moves, unmet, reason)
    values (v_seq, v_now, 0, v_pos, v_now + (case when i.keep_ms > 0 then i.keep_ms else 60000 end * 1000)::bigint, i.lane, 0,
      v_edges.doom, 0, 0, true, 'PARENT_' || upper(agentmesh.task_state_v1(v_edges.culprit)));
    insert into agentmesh.task_expiries (due_at, seqs)
    values (v_now + (case when i.keep_ms > 0 then i.keep_ms else 60000 end * 1000)::bigint, array[v_seq]);
    if i.keep_ms <= 0 then
      perform agentmesh.task_strip_v1(array[v_seq]);
    end if;
    perform agentmesh.task_log_v1(v_pos, v_now, v_seq, 8, v_edges.doom, i.lane, 0, 0, null,
      'PARENT_' || upper(agentmesh.task_state_v1(v_edges.culprit)), 0, i.weight);
    fx.parents := fx.parents || v_seq;
    code := v_edges.doom::text;
    return;
  end if;
  v_to := case when v_edges.waiting > 0 then 0 when i.delay_ms > 0 then 1 else 2 end;
  insert into agentmesh.tasks (seq, state, lane, rank, ready_at, aged_at, weight, keep_ms, deadline_at, journal, waiting)
  values (v_seq, v_to, i.lane, v_now - i.priority::bigint * v_queue.step_us,
    case when v_to = 0 and i.delay_ms <= 0 then 0 else v_now + ceil(greatest(i.delay_ms, 0) * 1000)::bigint end,
    case when v_to = 2 then v_now end, nullif(i.weight, 1), i.keep_ms,
    case when i.deadline_ms >= 0 then v_now + ceil(i.deadline_ms * 1000)::bigint end, v_pos, v_edges.waiting);
  perform agentmesh.task_log_v1(v_pos, v_now, v_seq, 8, v_to, i.lane, 0, 0, null, null, 0, i.weight);
  code := v_to::text;
end $$;
`;
