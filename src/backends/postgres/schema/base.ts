/**
 * What every port stands on: the state of the schema itself, the clock, sessions, remembered operations. Times are µs since 1970. Names of
 * functions end with the level they belong to, so that two builds run side by side.
 */
export const BASE_SCHEMA: string = /* sql */ `
-- One row: how far the schema is, and the oldest build that may still write.
create table agentmesh.meta (
  one boolean primary key default true check (one),
  version int not null,
  oldest_writer int not null,
  migrated_at bigint not null
);

-- The only clock. Tests replace it by one that they move.
create function agentmesh.now_us() returns bigint language sql volatile parallel safe as
  $$ select (extract(epoch from clock_timestamp()) * 1000000)::bigint $$;

-- One row, but none once the server came back from a crash, a fail-over or a backup: unlogged tables are empty then, and only then.
create unlogged table agentmesh.uptime (
  began bigint not null
);
insert into agentmesh.uptime values (agentmesh.now_us());

-- Such a server may have lost what it acknowledged last (synchronous_commit = off, a replica that lagged), and would give numbers of tasks,
-- claims and lanes again, under which processes still run: all sequences pass over what can have been given out. As the owner, for others
-- needn't be able to set sequences.
create function agentmesh.pass_lost_numbers_v1() returns void language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
  perform pg_advisory_xact_lock(hashtextextended('agentmesh.uptime', 0));
  if exists (select from agentmesh.uptime) then
    return;
  end if;
  perform setval(s.seqrelid, nextval(s.seqrelid) + s.seqincrement * case when s.seqtypid = 'int'::regtype then 100000 else 1000000 end)
  from pg_sequence s join pg_class c on c.oid = s.seqrelid
  where c.relnamespace = (select m.relnamespace from pg_class m where m.oid = 'agentmesh.meta'::regclass);
  perform setval('agentmesh.task_token', greatest(nextval('agentmesh.task_token'), agentmesh.now_us() / 2048 * 2048));
  insert into agentmesh.uptime values (agentmesh.now_us());
end $$;

-- One row a boot of a process. No index holds expires_at, so that a beat rewrites the row within its page.
create table agentmesh.sessions (
  -- The last one plus 1, or the time in ms where that is more: not even a server that lost its last moments gives one out again.
  number bigint primary key,
  boot text collate "C" not null,
  lease_ms double precision not null,
  writer int not null,
  report text not null,
  opened_at bigint not null,
  expires_at bigint not null,
  closed_at bigint
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
create index sessions_boot on agentmesh.sessions (boot) where closed_at is null;

-- The answers of the last 32 operations of each session.
create table agentmesh.ops (
  session bigint not null,
  sequence bigint not null,
  answer text not null,
  primary key (session, sequence)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000);

-- In plpgsql, as everything that is asked often: it keeps its plan, where a function in SQL is planned for each call. The plan is made
-- when tables may still be empty, so a scan of the whole table must look dear from the start;
-- what looks dear would be compiled, at a second a time, hence jit = off.
create function agentmesh.session_alive_v1(p_session bigint) returns boolean language plpgsql
set enable_seqscan = off set jit = off as $$
declare
  v_now bigint := agentmesh.now_us();
begin
  return exists (
    select from agentmesh.sessions s where s.number = p_session and s.closed_at is null and s.expires_at > v_now);
end $$;

-- Those of these sessions that are over for good: a beat that is under way may still save one, whose row is locked then. Afterwards none can.
create function agentmesh.sessions_over_v1(p_sessions bigint[], p_now bigint) returns bigint[] language plpgsql as $$
begin
  return array(
    select s.number from agentmesh.sessions s
    where s.number = any (p_sessions) and (s.closed_at is not null or s.expires_at <= p_now)
    order by s.number for share skip locked
  ) || array(
    select n from unnest(p_sessions) n where not exists (select from agentmesh.sessions s where s.number = n));
end $$;

-- Null: carry the operation out. Else its answer from before. Two runs of one operation come one after the other.
create function agentmesh.op_begin_v1(p_session bigint, p_sequence bigint, p_even_expired boolean default false)
returns text language plpgsql set enable_seqscan = off set jit = off as $$
declare
  v_now bigint;
  v_alive boolean;
  v_answer text;
  v_too_old boolean;
  v_is_whole boolean;
begin
  perform pg_advisory_xact_lock(hashtextextended('agentmesh.ops ' || p_session, p_sequence));
  v_now := agentmesh.now_us();
  select
    exists (select from agentmesh.sessions s where s.number = p_session and s.closed_at is null and s.expires_at > v_now),
    (select o.answer from agentmesh.ops o where o.session = p_session and o.sequence = p_sequence),
    exists (select from agentmesh.ops o where o.session = p_session and o.sequence >= p_sequence + 32),
    exists (select from agentmesh.uptime)
  into v_alive, v_answer, v_too_old, v_is_whole;
  if not v_is_whole then
    perform agentmesh.pass_lost_numbers_v1();
  end if;
  if not v_alive then
    if p_even_expired then
      return v_answer;
    end if;
    raise exception 'Session % is not open', p_session using errcode = 'AM001';
  end if;
  if v_answer is null and v_too_old then
    raise exception 'Operation % of session % is too old to be known', p_sequence, p_session using errcode = 'AM001';
  end if;
  return v_answer;
end $$;

-- Records go when their session is forgotten: nothing is recorded for one that nobody knows.
create function agentmesh.op_end_v1(p_session bigint, p_sequence bigint, p_answer text)
returns void language plpgsql set enable_seqscan = off set jit = off as $$
begin
  with old as (
    delete from agentmesh.ops o where o.session = p_session and o.sequence = p_sequence - 32
  )
  insert into agentmesh.ops
  select p_session, p_sequence, p_answer
  where exists (select from agentmesh.sessions s where s.number = p_session);
end $$;
`;
