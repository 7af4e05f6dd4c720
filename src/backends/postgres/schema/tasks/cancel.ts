import { PINNED } from './pinned.ts';

/** Cancelling tasks and task trees. */
export const TASK_CANCEL: string = /* sql */ `
-- Cancels these live tasks, whose rows are locked: those that run are asked to stop unless that is to be revoked.
create function agentmesh.task_cancel_rows_v1(inout p_fx agentmesh.task_effects, p_seqs bigint[], p_reason text, p_revoke boolean,
  p_own boolean)
language plpgsql as $$
declare
  v_running bigint[];
  v_revoked bigint[];
  v_lanes int[];
  v_ending bigint[];
  v_asked json[];
  v_token bigint;
begin
  select array_agg(t.seq) filter (where t.state = 3 and t.started and not p_revoke),
    array_agg(t.seq) filter (where t.state = 3 and (p_revoke or not t.started)),
    array_agg(t.lane) filter (where t.state = 3 and (p_revoke or not t.started)),
    array_agg(t.seq order by u.ord) filter (where t.state <> 3 or p_revoke or not t.started)
  into v_running, v_revoked, v_lanes, v_ending
  from unnest(p_seqs) with ordinality u(seq, ord) join agentmesh.tasks t on t.seq = any(array[u.seq]);
  if v_running is not null then
    update agentmesh.tasks t set cancelling = p_reason where t.seq = any(v_running) and t.cancelling is null;
    select array_agg(json_build_object('task', b.id, 'reason', p_reason) order by b.seq) into v_asked
    from agentmesh.task_bodies b where b.seq = any(v_running);
    p_fx.requested := p_fx.requested || v_asked;
    p_fx.affected := p_fx.affected + cardinality(v_running);
    if not p_own then
      p_fx.room := p_fx.room - cardinality(v_running);
    end if;
  end if;
  if v_revoked is not null then
    insert into agentmesh.task_taken (session, token, id)
    select t.session, t.token, b.id from agentmesh.tasks t join agentmesh.task_bodies b on b.seq = any(array[t.seq])
    where t.seq = any(v_revoked) and agentmesh.session_alive_v1(t.session)
    on conflict do nothing;
    v_token := nextval('agentmesh.task_token');
    update agentmesh.tasks t set token = v_token + u.ord from unnest(v_revoked) with ordinality u(seq, ord) where t.seq = any(array[u.seq]);
  end if;
  if v_ending is not null then
    p_fx := agentmesh.task_end_v1(p_fx, v_ending, array_fill(6::smallint, array[cardinality(v_ending)]),
      array_fill(p_reason, array[cardinality(v_ending)]), null, p_own);
  end if;
  if v_lanes is not null and exists (select from agentmesh.task_queues q where q.limited) then
    p_fx.opened := p_fx.opened || agentmesh.task_opened_v1(v_lanes);
  end if;
end $$;

-- Cancels the sub-tasks of an id, those behind one of them, to any depth. What goes beyond the room is written down for the sweep.
create function agentmesh.task_walk_v1(inout p_fx agentmesh.task_effects, p_root text, p_behind bigint, p_walk bigint, p_reason text,
  p_revoke boolean)
language plpgsql as $$
declare
  v_nodes text[] := array[p_root];
  v_behinds bigint[] := array[p_behind];
  v_at int := 1;
  v_seqs bigint[];
  v_ids text[];
  v_room int;
  v_found int;
  v_last bigint;
  v_live bigint[];
begin
  while v_at <= cardinality(v_nodes) loop
    v_room := least(p_fx.room, p_fx.edges);
    if v_room <= 0 then
      insert into agentmesh.task_frontier (root, behind, walk, reason, revoke)
      select u.node, u.behind, p_walk, p_reason, p_revoke
      from unnest(v_nodes[v_at:], v_behinds[v_at:]) with ordinality u(node, behind, ord)
      where exists (select from agentmesh.task_bodies b where b.under = u.node and b.seq > u.behind)
      order by u.ord;
      p_fx.more := p_fx.more or found;
      return;
    end if;
    select array_agg(c.seq order by c.seq), array_agg(c.id order by c.seq), count(*), max(c.seq) into v_seqs, v_ids, v_found, v_last
    from (
      select b.seq, b.id from agentmesh.task_bodies b
      where b.under = v_nodes[v_at] and b.seq > v_behinds[v_at] order by b.seq limit v_room
    ) c;
    if v_found < v_room then
      v_at := v_at + 1;
    else
      v_behinds[v_at] := v_last;
    end if;
    continue when v_found = 0;
    p_fx.edges := p_fx.edges - v_found;
    with w as (
      insert into agentmesh.task_walked (walk, seq) select p_walk, u.seq from unnest(v_seqs) u(seq) on conflict do nothing returning seq
    )
    select array_agg(u.seq), array_agg(u.id) into v_seqs, v_ids
    from unnest(v_seqs, v_ids) u(seq, id) join w on w.seq = u.seq;
    continue when v_seqs is null;
    v_live := array(select t.seq from agentmesh.tasks t where t.seq = any(v_seqs) order by t.seq + 0 for update);
    if cardinality(v_live) > 0 then
      p_fx := agentmesh.task_cancel_rows_v1(p_fx, v_live, p_reason, p_revoke, false);
    end if;
    v_nodes := v_nodes || v_ids;
    v_behinds := v_behinds || array_fill(0::bigint, array[cardinality(v_ids)]);
  end loop;
  if not exists (select from agentmesh.task_frontier f where f.walk = p_walk) then
    delete from agentmesh.task_walked w where w.walk = p_walk;
  end if;
end $$;

create function agentmesh.task_cancel_v1(p_session bigint, p_sequence bigint, p_delimiter text, p_ids text, p_reasons text,
  p_trees boolean[], p_revokes boolean[])
returns text language plpgsql
${PINNED} as $$
declare
  v_answer text := agentmesh.op_begin_v1(p_session, p_sequence);
  v_fx agentmesh.task_effects;
  v_results json[] := '{}';
  r record;
  v_seqs bigint[];
  v_seq bigint;
  v_state int;
  v_status text;
  v_before int;
begin
  if v_answer is not null then
    return v_answer;
  end if;
  v_seqs := array(
    select b.seq from agentmesh.task_bodies b where b.id = any(string_to_array(p_ids, p_delimiter)) and b.enqueued_at is not null);
  perform agentmesh.task_lock_reach_v1(v_seqs, v_seqs, 1000);
  v_fx := agentmesh.task_effects_v1(agentmesh.now_us(), 1000);
  for r in
    select u.id, u.reason, u.tree, u.revoke
    from unnest(string_to_array(p_ids, p_delimiter), string_to_array(p_reasons, p_delimiter), p_trees, p_revokes)
      with ordinality u(id, reason, tree, revoke, ord) order by u.ord
  loop
    select b.seq into v_seq from agentmesh.task_bodies b where b.id = r.id and b.enqueued_at is not null;
    if not found then
      v_results := v_results || json_build_array('unknown', null, 0);
      continue;
    end if;
    v_before := v_fx.affected;
    select t.state into v_state from agentmesh.tasks t where t.seq = v_seq for update;
    if found then
      v_fx := agentmesh.task_cancel_rows_v1(v_fx, array[v_seq], r.reason, r.revoke, true);
      v_status := case when exists (select from agentmesh.tasks t where t.seq = v_seq) then 'requested' else 'cancelled' end;
    else
      v_status := 'ended';
    end if;
    v_fx := agentmesh.task_cascade_v1(v_fx);
    if r.tree then
      v_fx := agentmesh.task_walk_v1(v_fx, r.id, 0, nextval('agentmesh.task_walk'), r.reason, r.revoke);
      v_fx := agentmesh.task_cascade_v1(v_fx);
    end if;
    v_results := v_results || json_build_array(v_status, coalesce(
      (select agentmesh.task_state_v1(t.state) from agentmesh.tasks t where t.seq = v_seq),
      (select agentmesh.task_state_v1(e.state) from agentmesh.task_ends e where e.seq = v_seq)), v_fx.affected - v_before);
  end loop;
  v_answer := agentmesh.task_answer_v1(v_fx, to_json(v_results));
  perform agentmesh.op_end_v1(p_session, p_sequence, v_answer);
  return v_answer;
end $$;
`;
