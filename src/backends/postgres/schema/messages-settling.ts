import { MESSAGE_PLANS } from './messages-boxes.ts';

/** Ending deliveries, and what brings dead letters back. */
export const MESSAGE_SETTLING: string = /* sql */ `
create function agentmesh.message_settle_v1(
  p_session bigint, p_sequence bigint, p_boxes bigint[], p_flights bigint[], p_seqs bigint[], p_how smallint[], p_delays bigint[],
  p_reasons text[]
) returns text language plpgsql ${MESSAGE_PLANS} as $$
declare
  v_answer text;
  v_now bigint;
  v_hits int[];
  v_boxes bigint[]; v_flights bigint[]; v_lanes bigint[]; v_seqs bigint[]; v_how smallint[]; v_until bigint[]; v_reasons text[];
  v_readied bigint[] := '{}';
begin
  v_answer := agentmesh.op_begin_v1(p_session, p_sequence, true);
  if v_answer is not null then
    return v_answer;
  end if;
  -- What a session that is over had in hand counts as given back, whether or not somebody has taken it.
  if agentmesh.session_alive_v1(p_session) then
    perform agentmesh.message_lock_v1(p_boxes);
  end if;
  v_now := agentmesh.now_us();
  if agentmesh.session_alive_v1(p_session) then
    with entry as materialized (
      select f.box, f.id as flight, e.lane, e.seq
      from (select distinct d.box, d.flight from unnest(p_boxes, p_flights) d (box, flight)) d
      cross join lateral (
        select f.* from agentmesh.message_flights f
        where f.box = d.box and f.id = d.flight and f.session = p_session offset 0) f
      cross join lateral unnest(f.lanes, f.seqs) e (lane, seq)
    )
    select array_agg(h.n), array_agg(h.box), array_agg(h.flight), array_agg(h.lane), array_agg(h.seq), array_agg(h.how),
      array_agg(case when h.how = 1 and h.delay > 0 then v_now + h.delay end), array_agg(h.reason)
    into v_hits, v_boxes, v_flights, v_lanes, v_seqs, v_how, v_until, v_reasons
    from (select h.* from (
      select distinct on (e.box, e.seq) w.n::int as n, e.*, w.how, w.delay, w.reason
      from unnest(p_boxes, p_flights, p_seqs, p_how, p_delays, p_reasons) with ordinality
        w (box, flight, seq, how, delay, reason, n)
      join entry e
        on e.box = w.box and e.flight = w.flight and e.seq = w.seq
      order by e.box, e.seq, w.n) h order by h.n) h;
    if v_hits is not null then
      v_readied := agentmesh.message_end_v1(v_boxes, v_flights, v_lanes, v_seqs, v_how, v_until, v_reasons, v_now);
    end if;
  end if;
  v_answer := json_build_object('at', v_now,
    'stale', array(
      select n - 1 from generate_series(1, cardinality(p_boxes)) n
      where v_hits is null or n not in (select h from unnest(v_hits) h)),
    'readied', agentmesh.message_addresses_v1(v_readied))::text;
  perform agentmesh.op_end_v1(p_session, p_sequence, v_answer);
  return v_answer;
end $$;

create function agentmesh.message_revise_v1(
  p_session bigint, p_sequence bigint, p_redrive boolean, p_address text, p_ids text[], p_limit int
) returns text language plpgsql ${MESSAGE_PLANS} as $$
declare
  v_answer text;
  v_now bigint;
  v_box record;
  v_dead agentmesh.message_dead[];
  v_changed int := 0;
  v_more boolean := false;
  v_lost json[] := '{}';
  v_readied bigint[] := '{}';
begin
  v_answer := agentmesh.op_begin_v1(p_session, p_sequence);
  if v_answer is not null then
    return v_answer;
  end if;
  v_now := agentmesh.now_us();
  for v_box in
    select b.id, b.address from (
      select distinct d.box from agentmesh.message_dead d where p_ids is null or d.id = any (p_ids)) d
    cross join lateral (select b.* from agentmesh.message_boxes b where b.id = d.box offset 0) b
    where p_address is null or b.address = p_address order by b.id
  loop
    exit when v_more;
    perform agentmesh.message_lock_v1(array[v_box.id]);
    v_dead := array(
      select d from agentmesh.message_dead d
      where d.box = v_box.id and (p_ids is null or d.id = any (p_ids)) order by d.place limit p_limit - v_changed + 1);
    if cardinality(v_dead) > p_limit - v_changed then
      v_more := true;
      v_dead := v_dead[1:p_limit - v_changed];
    end if;
    continue when cardinality(v_dead) = 0;
    v_changed := v_changed + cardinality(v_dead);
    delete from agentmesh.message_dead d where d.ctid = any (array(
      select d.ctid from unnest(v_dead) w cross join lateral (
        select d.ctid from agentmesh.message_dead d where d.box = w.box and d.place = w.place offset 0) d));
    if p_redrive then
      -- As new ones, but not published a second time.
      perform agentmesh.message_store_v1(array_agg(w.box), array_agg(w.n::int), array_agg(w.id order by w.n),
        array_agg(w.sender order by w.n), array_agg(w.lane order by w.n), array_agg(w.priority order by w.n),
        array_agg(false), array_agg(w.life order by w.n), array_agg(w.body order by w.n), v_now)
      from unnest(v_dead) with ordinality
        w (box, place, lane, seq, priority, delivery, sent_at, life, sender, id, body, reason, n);
      perform agentmesh.message_tally_v1(v_box.id, array[-cardinality(v_dead), 0, 0, 0, -cardinality(v_dead), 0, 0]::bigint[]);
      v_readied := v_readied || v_box.id;
    else
      perform agentmesh.message_tally_v1(v_box.id, array[0, 0, cardinality(v_dead), 0, -cardinality(v_dead), 0, 0]::bigint[]);
      v_lost := v_lost || array(
        select json_build_array(w.sender, v_box.address, 1, 'discarded') from unnest(v_dead) with ordinality
          w (box, place, lane, seq, priority, delivery, sent_at, life, sender, id, body, reason, n) order by w.n);
    end if;
  end loop;
  v_answer := json_build_object('at', v_now, 'changed', v_changed, 'more', v_more, 'lost', array_to_json(v_lost),
    'readied', agentmesh.message_addresses_v1(v_readied))::text;
  perform agentmesh.op_end_v1(p_session, p_sequence, v_answer);
  return v_answer;
end $$;
`;
