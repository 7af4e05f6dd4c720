import { PINNED } from './pinned.ts';

/** Changes to tasks that are there, and settings of queues. */
export const TASK_REVISE: string = /* sql */ `
-- Applies a revision to one task; its row is locked. changed, deferred or none; lists what it made ready.
create function agentmesh.task_revise_one_v1(inout p_fx agentmesh.task_effects, p_seq bigint, p_what text, p_number double precision,
  p_text text, p_digest text, p_delay double precision, p_reset boolean, out outcome text)
language plpgsql as $$
declare
  t agentmesh.tasks;
  e agentmesh.task_ends;
  b agentmesh.task_bodies;
  v_lane int;
  v_ready boolean;
  v_redriven record;
begin
  outcome := 'none';
  select * into t from agentmesh.tasks x where x.seq = p_seq for update;
  if not found then
    t := null;
    select * into e from agentmesh.task_ends x where x.seq = p_seq for update;
  end if;
  select * into b from agentmesh.task_bodies x where x.seq = p_seq;
  if b.seq is null or (t.seq is null and e.seq is null) then
    return;
  end if;
  if p_what in ('priority', 'payload') then
    if t.state = 3 then
      update agentmesh.tasks x set
        new_priority = case when p_what = 'priority' then p_number::int else x.new_priority end,
        new_payload = case when p_what = 'payload' then p_text else x.new_payload end,
        has_new_payload = case when p_what = 'payload' then true else x.has_new_payload end
      where x.seq = p_seq;
      outcome := 'deferred';
      return;
    end if;
    if e.state in (4, 7) then
      return;
    end if;
    if p_what = 'payload' then
      update agentmesh.task_bodies x set payload = p_text, digest = case when x.digest is not null then p_digest end where x.seq = p_seq;
    else
      update agentmesh.task_bodies x set priority = p_number::int where x.seq = p_seq;
      update agentmesh.tasks x set rank = x.aged_at - p_number::bigint * q.step_us
      from agentmesh.task_lanes l, agentmesh.task_queues q
      where x.seq = p_seq and x.state = 2 and l.lane = any(array[x.lane]) and q.number = any(array[l.queue]);
    end if;
    outcome := 'changed';
  elsif p_what = 'discard' then
    if e.seq is not null and agentmesh.task_prune_v1(p_fx.at, array[p_seq]) = 1 then
      outcome := 'changed';
    end if;
  elsif p_what = 'redrive' then
    if e.state in (5, 6) then
      select * into v_redriven from agentmesh.task_redrive_v1(p_fx, e, b, p_delay, p_reset);
      p_fx := v_redriven.p_fx;
      outcome := v_redriven.outcome;
    end if;
  elsif t.seq is not null and t.state <> 3 then
    outcome := 'changed';
    if p_what = 'age' then
      update agentmesh.tasks x set aged_ms = coalesce(x.aged_ms, 0) + p_number,
        aged_at = x.aged_at - (p_number * 1000)::bigint,
        rank = case when x.state = 2 then x.rank - (p_number * 1000)::bigint else x.rank end
      where x.seq = p_seq;
    elsif p_what = 'delay' then
      v_ready := agentmesh.task_reschedule_v1(p_seq, p_fx.at + ceil(greatest(p_delay, 0) * 1000)::bigint, p_fx.at);
      p_fx := agentmesh.task_readied_v1(p_fx, p_seq, b.id, v_ready);
    else
      v_lane := agentmesh.task_lane_for_v1(t.lane, p_text);
      if v_lane <> t.lane then
        update agentmesh.tasks x set lane = v_lane,
          rank = case when x.state = 2 then x.aged_at - b.priority::bigint * q.step_us else x.rank end
        from agentmesh.task_lanes l, agentmesh.task_queues q
        where x.seq = p_seq and l.lane = v_lane and q.number = any(array[l.queue]);
        perform agentmesh.task_count_v1(p_fx.at, array[t.lane, v_lane, t.lane, v_lane, t.lane, v_lane],
          array[t.state, t.state, 8, 8, 13, 13], array[-1, 1, -1, 1, case when t.state = 2 then -coalesce(t.weight, 1) else 0 end,
            case when t.state = 2 then coalesce(t.weight, 1) else 0 end]);
      end if;
    end if;
  end if;
end $$;

create function agentmesh.task_readied_v1(p_fx agentmesh.task_effects, p_seq bigint, p_id text, p_ready boolean)
returns agentmesh.task_effects language plpgsql as $$
begin
  if p_ready then
    p_fx.readied := p_fx.readied || json_build_object('task', p_id, 'queue', (
      select q.name from agentmesh.tasks t join agentmesh.task_lanes l on l.lane = any(array[t.lane])
      join agentmesh.task_queues q on q.number = any(array[l.queue]) where t.seq = p_seq));
    p_fx.room := p_fx.room - 1;
  else
    p_fx.scheduled := p_fx.scheduled or exists (select from agentmesh.tasks t where t.seq = p_seq and t.state = 1);
  end if;
  return p_fx;
end $$;

-- Dead or cancelled: begins again. It waits for parents that may still succeed; those that have failed stand in its way no more.
create function agentmesh.task_redrive_v1(inout p_fx agentmesh.task_effects, e agentmesh.task_ends, b agentmesh.task_bodies,
  p_delay double precision, p_reset boolean, out outcome text)
language plpgsql as $$
declare
  v_parents text[];
  v_policies smallint[];
  v_waiting int := 0;
  v_due bigint := p_fx.at + ceil(greatest(p_delay, 0) * 1000)::bigint;
  v_pos bigint;
  v_to int;
  v_step bigint;
begin
  outcome := 'none';
  if e.unmet and b.depends is not null then
    select array_agg(x.dep ->> 0 order by x.ord), array_agg((x.dep ->> 1)::smallint order by x.ord) into v_parents, v_policies
    from json_array_elements(b.depends::json) with ordinality x(dep, ord);
    perform agentmesh.task_parents_v1(v_parents, v_policies);
    select array_agg(u.parent order by u.ord), array_agg(u.policy order by u.ord) into v_parents, v_policies
    from unnest(v_parents, v_policies) with ordinality u(parent, policy, ord)
    cross join lateral agentmesh.task_ended_v1(u.parent) r
    where r.ended is null or (r.ended <> 4 and u.policy = 2);
    if v_parents is not null then
      if agentmesh.task_cycle_v1(b.seq, b.id, v_parents) is not null then
        return;
      end if;
      select a.waiting into v_waiting from agentmesh.task_attach_one_v1(b.seq, v_parents,
        array(select 2::smallint from unnest(v_parents))) a;
      update agentmesh.task_edges x set policy = u.policy
      from unnest(v_parents, v_policies) u(parent, policy) join agentmesh.task_bodies p on p.id = any(array[u.parent])
      where x.child = any(array[b.seq]) and x.parent = any(array[p.seq]);
    end if;
  end if;
  v_to := case when v_waiting > 0 then 0 when v_due > p_fx.at then 1 else 2 end;
  select q.step_us into v_step from agentmesh.task_lanes l join agentmesh.task_queues q on q.number = any(array[l.queue]) where l.lane = any(array[e.lane]);
  delete from agentmesh.task_ends x where x.seq = any(array[b.seq]);
  v_pos := agentmesh.task_pos_v1();
  insert into agentmesh.tasks (seq, state, lane, rank, ready_at, aged_at, token, attempt, crashes, moves, weight, keep_ms,
    deadline_at, since, aged_ms, error, journal, waiting)
  values (b.seq, v_to, e.lane, v_due - (coalesce(e.aged_ms, 0) * 1000)::bigint - b.priority::bigint * v_step,
    case when v_to = 0 and p_delay <= 0 then 0 else v_due end,
    case when v_to = 2 then v_due - (coalesce(e.aged_ms, 0) * 1000)::bigint end, e.token,
    case when p_reset then 0 else e.attempt end, case when p_reset then 0 else e.crashes end, 0, b.weight, b.keep_ms,
    p_fx.at + ceil(b.deadline_ms * 1000)::bigint, p_fx.at, e.aged_ms, e.error, v_pos, v_waiting);
  perform agentmesh.task_log_v1(v_pos, p_fx.at, b.seq, e.state, v_to, e.lane, case when p_reset then 0 else e.attempt end, e.token, null,
    null, e.journal, b.weight);
  p_fx := agentmesh.task_readied_v1(p_fx, b.seq, b.id, v_to = 2);
  outcome := 'changed';
end $$;

create function agentmesh.task_revise_v1(p_session bigint, p_sequence bigint, p_filter json, p_after bigint, p_limit int, p_what text,
  p_number double precision, p_text text, p_digest text, p_delay double precision, p_spread double precision, p_reset boolean)
returns text language plpgsql
${PINNED} as $$
declare
  v_answer text := agentmesh.op_begin_v1(p_session, p_sequence);
  v_fx agentmesh.task_effects;
  v_page record;
  v_seqs bigint[];
  v_one record;
  v_changed int := 0;
  v_deferred int := 0;
  v_at int := 0;
begin
  if v_answer is not null then
    return v_answer;
  end if;
  if p_what = 'agent' then
    perform pg_advisory_xact_lock_shared(hashtextextended('agentmesh.task_lanes', 1));
  end if;
  v_fx := agentmesh.task_effects_v1(agentmesh.now_us(), 1000);
  select * into v_page from agentmesh.task_page_v1(p_filter, null, p_after, least(p_limit, 1000), 20000, false);
  v_seqs := v_page.seqs;
  if p_what = 'redrive' then
    v_seqs := array(select e.seq from agentmesh.task_ends e where e.seq = any(v_seqs) and e.state in (5, 6) order by e.seq);
  end if;
  foreach v_at in array array(select generate_series(1, coalesce(cardinality(v_seqs), 0))) loop
    select * into v_one from agentmesh.task_revise_one_v1(v_fx, v_seqs[v_at], p_what, p_number, p_text, p_digest,
      p_delay + p_spread * (v_at - 1) / cardinality(v_seqs), p_reset);
    v_fx := v_one.p_fx;
    v_changed := v_changed + (v_one.outcome = 'changed')::int;
    v_deferred := v_deferred + (v_one.outcome = 'deferred')::int;
  end loop;
  v_fx := agentmesh.task_cascade_v1(v_fx);
  v_answer := agentmesh.task_answer_v1(v_fx, json_build_object('changed', v_changed, 'deferred', v_deferred, 'next', v_page.next));
  perform agentmesh.op_end_v1(p_session, p_sequence, v_answer);
  return v_answer;
end $$;

-- A null revision sets whatever is there.
create function agentmesh.task_configure_v1(p_session bigint, p_sequence bigint, p_queue text, p_revision int, p_settings text,
  p_paused boolean, p_max_length bigint, p_max_running bigint, p_max_per_group bigint, p_step_us bigint, p_weighted boolean,
  p_groups text[], p_shares double precision[])
returns text language plpgsql
${PINNED} as $$
declare
  v_answer text := agentmesh.op_begin_v1(p_session, p_sequence);
  q agentmesh.task_queues;
begin
  if v_answer is not null then
    return v_answer;
  end if;
  insert into agentmesh.task_queues (name) values (p_queue) on conflict do nothing;
  -- Claims under way have seen the former settings; they are waited for, and those to come wait.
  perform pg_advisory_xact_lock(hashtextextended('agentmesh.task_queues', 1));
  select * into q from agentmesh.task_queues x where x.name = p_queue;
  if p_revision is not null and p_revision <> q.revision then
    v_answer := json_build_object('at', agentmesh.now_us(), 'status', 'changed-meanwhile', 'revision', q.revision)::text;
  else
    update agentmesh.task_queues x set settings = p_settings, revision = q.revision + 1, paused = p_paused,
      max_length = p_max_length, max_running = p_max_running, max_per_group = p_max_per_group, step_us = p_step_us,
      weighted = p_weighted, turn = 0
    where x.number = any(array[q.number]);
    delete from agentmesh.task_groups g where g.queue = q.number;
    insert into agentmesh.task_groups (queue, grp, share)
    select q.number, u.grp, u.share from unnest(p_groups, p_shares) u(grp, share);
    update agentmesh.tasks t set counted = x.limited
    from agentmesh.task_lanes l join agentmesh.task_queues x on x.number = any(array[l.queue])
    where t.state = 3 and l.lane = any(array[t.lane]) and l.queue = q.number and t.counted <> x.limited;
    v_answer := json_build_object('at', agentmesh.now_us(), 'status', 'set', 'revision', q.revision + 1)::text;
  end if;
  perform agentmesh.op_end_v1(p_session, p_sequence, v_answer);
  return v_answer;
end $$;
`;
