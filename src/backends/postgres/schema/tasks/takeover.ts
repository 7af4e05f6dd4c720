import { PINNED } from './pinned.ts';

/** Claims that change hands, and prefetched ones that begin. */
export const TASK_TAKEOVER: string = /* sql */ `
-- Marks prefetched claims started: 1, or 0 where somebody else has the task now.
create function agentmesh.task_start_v1(p_session bigint, p_sequence bigint, p_delimiter text, p_seqs bigint[], p_ids text,
  p_tokens bigint[], p_sessions bigint[])
returns text language plpgsql
${PINNED} as $$
declare
  v_answer text := agentmesh.op_begin_v1(p_session, p_sequence);
  v_seqs bigint[] := p_seqs;
  v_hits bigint[];
begin
  if v_answer is not null then
    return v_answer;
  end if;
  if 0 = any(v_seqs) then
    select array_agg(coalesce(nullif(u.seq, 0), b.seq, 0) order by u.ord) into v_seqs
    from unnest(p_seqs, string_to_array(p_ids, p_delimiter)) with ordinality u(seq, id, ord)
    left join agentmesh.task_bodies b on b.id = any(array[u.id]) and u.seq = 0;
  end if;
  with h as (
    update agentmesh.tasks t set started = true from unnest(v_seqs, p_tokens) u(seq, token)
    where t.seq = any(array[u.seq]) and t.token = u.token and t.state + 0 = 3 returning t.seq, t.token
  )
  select array_agg(h.token) into v_hits from h;
  v_hits := coalesce(v_hits, '{}');
  delete from agentmesh.task_taken k using unnest(p_tokens, p_sessions) u(token, session)
  where k.session = u.session and k.token = u.token and not u.token = any(v_hits);
  v_answer := json_build_object('at', agentmesh.now_us(), 'codes', (
    select string_agg(case when exists (
      select from agentmesh.tasks t where t.seq = any(array[u.seq]) and t.token = u.token and u.token = any(v_hits)) then '1' else '0' end, ''
      order by u.ord) from unnest(v_seqs, p_tokens) with ordinality u(seq, token, ord)))::text;
  perform agentmesh.op_end_v1(p_session, p_sequence, v_answer);
  return v_answer;
end $$;

-- Sessions that hold claims and are over.
create function agentmesh.task_dead_v1() returns bigint[] language plpgsql volatile as $$
begin
  return array(
    select h.session from agentmesh.task_holders h
    where not agentmesh.session_alive_v1(h.session)
      and exists (select from agentmesh.tasks t where t.state = 3 and t.session = h.session)
    order by h.session);
end $$;

-- Idle: unstarted claims of this live session, its last first; null: claims of all sessions that are over. Lanes: null: any.
create function agentmesh.task_takeover_v1(p_session bigint, p_sequence bigint, p_uptime bigint, p_horizon text, p_fresh int[],
  p_idle bigint, p_lanes int[], p_offers varbit[], p_slots int[], p_quota_queues int[], p_quotas int[], p_own int[], p_limit int,
  p_moves int, p_steal text)
returns text language plpgsql
${PINNED} as $$
declare
  v_answer text := agentmesh.op_begin_v1(p_session, p_sequence);
  v_now bigint;
  v_sessions bigint[];
  v_slots int[] := p_slots;
  v_quotas int[] := p_quotas;
  v_seqs bigint[] := '{}';
  v_quota int;
  v_offer int;
  v_offers varbit;
  v_pos bigint;
  v_token bigint;
  r record;
begin
  if v_answer is not null then
    return agentmesh.task_claimed_v1(v_answer);
  end if;
  if p_lanes is not null and (
    exists (select from agentmesh.task_lanes l where l.created >= p_horizon::xid8 and not l.lane = any(p_fresh))
    or not exists (select from agentmesh.uptime u where u.began = p_uptime)) then
    return '{"fresh":true}';
  end if;
  perform pg_advisory_xact_lock_shared(hashtextextended('agentmesh.task_queues', 1));
  if not exists (select from agentmesh.task_holders h where h.session = p_session) then
    insert into agentmesh.task_holders values (p_session) on conflict do nothing;
  end if;
  v_sessions := case when p_idle is null then agentmesh.sessions_over_v1(agentmesh.task_dead_v1(), agentmesh.now_us())
    else array[p_idle] end;
  for r in
    select t.seq, t.token, t.lane, l.queue, l.agent from agentmesh.tasks t
    join agentmesh.task_lanes l on l.lane = any(array[t.lane]) join agentmesh.task_queues q on q.number = any(array[l.queue])
    where t.state = 3 and t.session = any(v_sessions) and not q.paused
      and (p_idle is null or (not t.started and t.moves < p_moves))
    order by case when p_idle is null then t.session end, case when p_idle is null then t.token else -t.token end
  loop
    exit when cardinality(v_seqs) >= p_limit;
    v_quota := null;
    v_offer := null;
    if p_lanes is not null then
      if p_quota_queues is not null then
        v_quota := array_position(p_quota_queues, r.queue);
        continue when v_quota is null or v_quotas[v_quota] <= 0;
      end if;
      if r.agent is not null then
        continue when not r.lane = any(p_own);
        v_quota := null;
      else
        v_offers := p_offers[array_position(p_lanes, r.lane)];
        for k in 1 .. coalesce(cardinality(v_slots), 0) loop
          if v_slots[k] > 0 and get_bit(v_offers, k - 1) = 1 then
            v_offer := k;
            exit;
          end if;
        end loop;
        continue when v_offer is null;
      end if;
    end if;
    perform from agentmesh.tasks t where t.seq = r.seq and t.token = r.token and t.state + 0 = 3
      and (p_idle is null or not t.started) for no key update skip locked;
    continue when not found;
    v_seqs := v_seqs || r.seq;
    if v_offer is not null then
      v_slots[v_offer] := v_slots[v_offer] - 1;
    end if;
    if v_quota is not null then
      v_quotas[v_quota] := v_quotas[v_quota] - 1;
    end if;
  end loop;
  v_now := agentmesh.now_us();
  v_answer := '{"at":' || v_now || '}';
  if cardinality(v_seqs) > 0 then
    v_pos := agentmesh.task_pos_v1();
    v_token := nextval('agentmesh.task_token');
    with u as (
      update agentmesh.tasks t set session = p_session, token = v_token + u.ord, journal = v_pos,
        moves = t.moves + case when t.started then 0 else 1 end,
        crashes = t.crashes + case when t.started and not t.adopted then 1 else 0 end,
        adopted = t.started
      from unnest(v_seqs) with ordinality u(seq, ord) join agentmesh.tasks o on o.seq = any(array[u.seq])
      where t.seq = any(array[u.seq])
      returning t.seq, t.lane, t.attempt, o.session as former, o.token as old_token, o.journal as before, u.ord
    ), k as (
      insert into agentmesh.task_taken (session, token, id)
      select u.former, u.old_token, b.id from u join agentmesh.task_bodies b on b.seq = any(array[u.seq])
      where u.former <> p_session and agentmesh.session_alive_v1(u.former)
      on conflict do nothing
    )
    insert into agentmesh.task_journal (pos, at, number, seqs, moves, lanes, attempts, tokens, sessions, reasons, befores)
    select v_pos, v_now, count(*)::int, array_agg(u.seq order by u.ord), array[51::smallint], array_agg(u.lane order by u.ord),
      array_agg(u.attempt order by u.ord), array[v_token + 1], array[p_session], array[p_steal], array_agg(u.before order by u.ord)
    from u;
    v_answer := '{"at":' || v_now || ',"pos":' || v_pos || ',"token":' || (v_token + 1) || '}';
  end if;
  perform agentmesh.op_end_v1(p_session, p_sequence, v_answer);
  return agentmesh.task_claimed_v1(v_answer);
end $$;
`;
