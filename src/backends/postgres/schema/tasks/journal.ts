/** The journal: what happened, and the counters that follow from it. */
export const TASK_JOURNAL: string = /* sql */ `
-- One transition of one task. States as in moves, 8: new.
create function agentmesh.task_log_v1(p_pos bigint, p_now bigint, p_seq bigint, p_from int, p_to int, p_lane int, p_attempt int,
  p_token bigint, p_session bigint, p_reason text, p_before bigint, p_weight double precision)
returns void language plpgsql as $$
begin
  insert into agentmesh.task_journal (pos, at, number, seqs, moves, lanes, attempts, tokens, sessions, reasons, befores,
    d_lanes, d_whats, d_bys)
  select p_pos, p_now, 1, array[p_seq], array[(p_from * 16 + p_to)::smallint], array[p_lane], array[p_attempt], array[p_token],
    array[p_session], array[p_reason], array[p_before],
    array_agg(p_lane), array_agg(d.what::smallint), array_agg(d.by)
  from (values
    (p_from, case when p_from < 8 then -1 end), (p_to, 1), (8, case when p_from = 8 then 1 end),
    (10, case when p_from = 2 and p_to = 3 then 1 end),
    (13, case when p_to = 2 then coalesce(p_weight, 1) end), (13, case when p_from = 2 then -coalesce(p_weight, 1) end)
  ) d(what, by) where d.by is not null;
end $$;

-- Counters alone.
create function agentmesh.task_count_v1(p_now bigint, p_lanes int[], p_whats int[], p_bys double precision[])
returns void language plpgsql as $$
begin
  insert into agentmesh.task_journal (pos, at, number, d_lanes, d_whats, d_bys)
  values (agentmesh.task_pos_v1(), p_now, 0, p_lanes, p_whats::smallint[], p_bys);
end $$;

-- The counters of these lanes (null: of all) as they are in the statement's snapshot.
create function agentmesh.task_counters_v1(p_lanes int[])
returns table (lane int, what smallint, value double precision) language sql stable as $$
  select c.lane, c.what, sum(c.value) from (
    select b.lane, b.what, b.value from agentmesh.task_counts b
    union all
    select u.lane, u.what, u.by from agentmesh.task_journal j, unnest(j.d_lanes, j.d_whats, j.d_bys) u(lane, what, by)
    where j.xid >= coalesce((select h.xid from agentmesh.task_horizon h), '0'::xid8)
  ) c where p_lanes is null or c.lane = any(p_lanes)
  group by c.lane, c.what
$$;

-- Adds what is settled for sure to the stored counters. Only one caller at a time.
create function agentmesh.task_roll_up_v1() returns void language plpgsql as $$
declare
  v_from xid8 := coalesce((select h.xid from agentmesh.task_horizon h), '0'::xid8);
  v_to xid8;
begin
  v_to := pg_snapshot_xmin(pg_current_snapshot());
  if not exists (select from agentmesh.task_journal j where j.xid >= v_from and j.xid < v_to) then
    return;
  end if;
  insert into agentmesh.task_counts as c (lane, what, value)
  select u.lane, u.what, sum(u.by)
  from agentmesh.task_journal j, unnest(j.d_lanes, j.d_whats, j.d_bys) u(lane, what, by)
  where j.xid >= v_from and j.xid < v_to
  group by u.lane, u.what order by u.lane, u.what
  on conflict (lane, what) do update set value = c.value + excluded.value;
  insert into agentmesh.task_horizon (xid) values (v_to) on conflict (one) do update set xid = excluded.xid;
end $$;

-- How many tasks of a queue have not ended.
create function agentmesh.task_length_v1(p_queue int) returns bigint language plpgsql stable as $$
begin
  return (
    select coalesce(sum(c.value), 0)::bigint
    from agentmesh.task_counters_v1(array(select l.lane from agentmesh.task_lanes l where l.queue = p_queue)) c
    where c.what < 4);
end $$;
`;
