/** Sessions: open, beat, close. The hooks of the other ports must exist already. */
export const SESSION_SCHEMA: string = /* sql */ `
-- The live session of this boot, or a new one. Forgets sessions that ended a day ago.
create function agentmesh.session_open_v1(p_boot text, p_lease_ms double precision, p_writer int, p_report text)
returns table (session bigint, expires_at bigint, at bigint) language plpgsql as $$
#variable_conflict use_column
declare
  v_oldest int;
  v_now bigint;
begin
  select m.oldest_writer into v_oldest from agentmesh.meta m for share;
  if p_writer < v_oldest then
    raise exception 'This build writes level %, the schema wants at least %', p_writer, v_oldest using errcode = 'AM002';
  end if;
  -- Two calls of one boot, of which one seemed lost, must find the same session.
  perform pg_advisory_xact_lock(hashtextextended('agentmesh.boot ' || p_boot, 0));
  v_now := agentmesh.now_us();
  return query
    select s.number, s.expires_at, v_now from agentmesh.sessions s
    where s.boot = p_boot and s.closed_at is null and s.expires_at > v_now;
  if found then
    return;
  end if;
  with gone as (
    delete from agentmesh.sessions s where s.number in (
      select o.number from agentmesh.sessions o where o.expires_at < v_now - 86400000000 for update skip locked)
    returning s.number
  )
  delete from agentmesh.ops o using gone where o.session = gone.number;
  perform pg_advisory_xact_lock(hashtextextended('agentmesh.number', 0));
  return query
    insert into agentmesh.sessions as s (number, boot, lease_ms, writer, report, opened_at, expires_at)
    select greatest(coalesce(max(o.number), 0) + 1, v_now / 1000),
      p_boot, p_lease_ms, p_writer, p_report, v_now, v_now + (least(p_lease_ms, 1e12) * 1000)::bigint
    from agentmesh.sessions o
    returning s.number, s.expires_at, v_now;
end $$;

-- Extends the lease unless it has run out; no row of a session that has ended ever changes back.
create function agentmesh.session_beat_v1(p_session bigint, p_report text)
returns table (expires_at bigint, at bigint, orders text[]) language plpgsql as $$
#variable_conflict use_column
declare
  v_now bigint := agentmesh.now_us();
  v_expires bigint;
  v_writer int;
  v_oldest int;
  v_orders text[];
begin
  -- Lock, then look: whoever buries a session holds its row, and it must not rise again afterwards.
  perform from agentmesh.sessions s where s.number = p_session for no key update;
  v_now := agentmesh.now_us();
  update agentmesh.sessions as s
  set report = p_report, expires_at = v_now + (least(s.lease_ms, 1e12) * 1000)::bigint
  where s.number = p_session and s.closed_at is null and s.expires_at > v_now
  returning s.expires_at, s.writer into v_expires, v_writer;
  if not found then
    return query select null::bigint, v_now, '{}'::text[];
    return;
  end if;
  select m.oldest_writer into v_oldest from agentmesh.meta m;
  v_orders := array(
    select agentmesh.task_orders_v1(p_session) union all select agentmesh.lock_orders_v1(p_session));
  if v_writer < v_oldest then
    v_orders := v_orders || json_build_object('kind', 'upgrade', 'oldestWriter', v_oldest)::text;
  end if;
  return query select v_expires, v_now, v_orders;
end $$;

-- Extends the lease unless it has run out, and nothing else; false when it has.
create function agentmesh.session_pulse_v1(p_session bigint) returns boolean language plpgsql as $$
declare
  v_now bigint := agentmesh.now_us();
begin
  perform from agentmesh.sessions s where s.number = p_session for no key update;
  v_now := agentmesh.now_us();
  update agentmesh.sessions as s
  set expires_at = greatest(s.expires_at, v_now + (least(s.lease_ms, 1e12) * 1000)::bigint)
  where s.number = p_session and s.closed_at is null and s.expires_at > v_now;
  return found;
end $$;

create function agentmesh.session_close_v1(p_session bigint) returns bigint language plpgsql as $$
declare
  v_now bigint := agentmesh.now_us();
begin
  update agentmesh.sessions as s
  set closed_at = v_now, expires_at = least(s.expires_at, v_now)
  where s.number = p_session and s.closed_at is null and s.expires_at > v_now;
  if found then
    perform agentmesh.task_session_closed_v1(p_session);
    perform agentmesh.lock_session_closed_v1(p_session);
    perform agentmesh.message_session_closed_v1(p_session);
    perform agentmesh.state_session_closed_v1(p_session);
    delete from agentmesh.ops o where o.session = p_session;
  end if;
  return v_now;
end $$;
`;
