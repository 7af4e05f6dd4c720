/**
 * Shared state. A revision is the last one plus 1, or the time in µs where that is more, so that it goes on growing even if a server lost its
 * last moments. Whoever writes holds the head row until the commit, so the order of revisions is the order of commits, and a reader's
 * snapshot holds every change up to the head's revision.
 */
export const STATE_SCHEMA: string = /* sql */ `
create table agentmesh.state_head (
  one boolean primary key default true check (one),
  revision bigint not null,
  -- The highest revision of a deletion that is forgotten.
  forgotten bigint not null
) with (fillfactor = 50);
insert into agentmesh.state_head (revision, forgotten) values (0, 0);

create table agentmesh.state (
  key text collate "C" primary key,
  -- JSON text; null: deleted.
  value text,
  revision bigint not null,
  changed_at bigint not null,
  -- Ends with this session, or at this time.
  session bigint,
  expires_at bigint
) with (fillfactor = 80);
create unique index state_revision on agentmesh.state (revision);
create index state_due on agentmesh.state (expires_at) where expires_at is not null;
create index state_bound on agentmesh.state (session) where session is not null;
create index state_deleted on agentmesh.state (changed_at) where value is null;

-- Sessions that entries are bound to, so that one need not look at all entries to find those of a dead one.
create table agentmesh.state_sessions (session bigint primary key);

create function agentmesh.state_is_due_v1(p_now bigint) returns boolean language plpgsql set enable_seqscan = off set jit = off as $$
begin
  return exists (select from agentmesh.state s where s.expires_at <= p_now)
    or exists (select from agentmesh.state s where s.value is null and s.changed_at <= p_now - 600000000)
    or exists (select from agentmesh.state_sessions b where not exists (
      select from agentmesh.sessions s where s.number = b.session and s.closed_at is null and s.expires_at > p_now));
end $$;

-- Deletes what has ended, forgets deletions after 10 minutes. The caller holds the head row.
create function agentmesh.state_tidy_v1(p_now bigint) returns void language plpgsql set enable_seqscan = off set jit = off as $$
declare
  v_revision bigint;
  v_count bigint;
  v_forgotten bigint;
  v_dead bigint[];
begin
  if not agentmesh.state_is_due_v1(p_now) then
    return;
  end if;
  v_dead := array(
    select b.session from agentmesh.state_sessions b where not exists (
      select from agentmesh.sessions s where s.number = b.session and s.closed_at is null and s.expires_at > p_now));
  select greatest(h.revision, p_now) into v_revision from agentmesh.state_head h where h.one;
  with ended as (
    select s.key, row_number() over (order by s.revision) as n from agentmesh.state s
    where s.expires_at <= p_now or s.session = any (v_dead)
  ), deleted as (
    update agentmesh.state s
    set value = null, revision = v_revision + ended.n, changed_at = p_now, session = null, expires_at = null
    from ended where s.key = ended.key
    returning s.key
  )
  select count(*) into v_count from deleted;
  delete from agentmesh.state_sessions b where b.session = any (v_dead);
  with forgotten as (
    delete from agentmesh.state s where s.value is null and s.changed_at <= p_now - 600000000 returning s.revision
  )
  select coalesce(max(f.revision), 0) into v_forgotten from forgotten f;
  update agentmesh.state_head h
  set revision = case when v_count > 0 then v_revision + v_count else h.revision end,
    forgotten = greatest(h.forgotten, v_forgotten)
  where h.one;
end $$;

-- A session closed in good order takes its entries along at once; those of one that died end when somebody looks.
create function agentmesh.state_session_closed_v1(p_session bigint) returns void language plpgsql set enable_seqscan = off set jit = off as $$
begin
  if not exists (select from agentmesh.state_sessions b where b.session = p_session) then
    return;
  end if;
  perform from agentmesh.state_head h where h.one for update;
  perform agentmesh.state_tidy_v1(agentmesh.now_us());
end $$;

-- An entry as JSON. User data is JSON text already and stays as it is.
create function agentmesh.state_entry_v1(p_key text, p_value text, p_revision bigint, p_changed_at bigint)
returns text language sql stable as $$
  select '{"key":' || to_json(p_key) || coalesce(',"value":' || p_value, '')
    || ',"revision":' || p_revision || ',"changedAt":' || p_changed_at || '}'
$$;

-- Reads without writing: what has ended counts as gone.
create function agentmesh.state_get_v1(p_keys text[]) returns text language plpgsql set enable_seqscan = off set jit = off as $$
declare
  v_now bigint := agentmesh.now_us();
begin
  return '{"at":' || v_now || ',"entries":[' || (
    select string_agg(coalesce(agentmesh.state_entry_v1(s.key, s.value, s.revision, s.changed_at), 'null'), ',' order by k.n)
    from unnest(p_keys) with ordinality k (key, n)
    left join agentmesh.state s on s.key = k.key and s.value is not null
      and (s.expires_at is null or s.expires_at > v_now)
      and (s.session is null or exists (
        select from agentmesh.sessions a
        where a.number = s.session and a.closed_at is null and a.expires_at > v_now))
  ) || ']}';
end $$;

create function agentmesh.state_swap_v1(
  p_session bigint, p_sequence bigint, p_keys text[], p_expected bigint[], p_values text[],
  p_expires_ms double precision[], p_bound boolean[]
) returns text language plpgsql set enable_seqscan = off set jit = off as $$
declare
  v_answer text := agentmesh.op_begin_v1(p_session, p_sequence);
  v_now bigint;
  v_revision bigint;
  v_swapped boolean;
begin
  if v_answer is not null then
    return v_answer;
  end if;
  perform from agentmesh.state_head h where h.one for update;
  v_now := agentmesh.now_us();
  perform agentmesh.state_tidy_v1(v_now);
  v_swapped := not exists (
    select from unnest(p_keys, p_expected) as k (key, expected)
    left join agentmesh.state s on s.key = k.key and s.value is not null
    where coalesce(s.revision, 0) <> k.expected);
  if v_swapped then
    select greatest(h.revision, v_now) into v_revision from agentmesh.state_head h where h.one;
    -- Deleting what isn't there is no change.
    with swaps as (
      select k.key, k.value, k.expires_ms, k.bound, row_number() over (order by k.n) as n
      from unnest(p_keys, p_values, p_expires_ms, p_bound) with ordinality as k (key, value, expires_ms, bound, n)
      where k.value is not null
        or exists (select from agentmesh.state s where s.key = k.key and s.value is not null)
    ), written as (
      insert into agentmesh.state as s (key, value, revision, changed_at, session, expires_at)
      select w.key, w.value, v_revision + w.n, v_now,
        case when w.bound and w.value is not null then p_session end,
        case when w.value is not null then v_now + (least(w.expires_ms, 1e12) * 1000)::bigint end
      from swaps w order by w.key
      on conflict (key) do update set value = excluded.value, revision = excluded.revision,
        changed_at = excluded.changed_at, session = excluded.session, expires_at = excluded.expires_at
      returning s.revision
    )
    update agentmesh.state_head h set revision = coalesce((select max(w.revision) from written w), h.revision)
    where h.one;
    if true = any (p_bound) then
      insert into agentmesh.state_sessions values (p_session) on conflict do nothing;
    end if;
  end if;
  v_answer := '{"at":' || v_now || ',"swapped":' || v_swapped || ',"entries":[' || (
    select string_agg(coalesce(agentmesh.state_entry_v1(s.key, s.value, s.revision, s.changed_at), 'null'), ',' order by k.n)
    from unnest(p_keys) with ordinality k (key, n)
    left join agentmesh.state s on s.key = k.key and s.value is not null
  ) || ']}';
  perform agentmesh.op_end_v1(p_session, p_sequence, v_answer);
  return v_answer;
end $$;

-- The latest change of each key with a revision above p_after; see the port for negative positions.
create function agentmesh.state_changes_v1(p_prefix text, p_after bigint, p_limit int) returns text language plpgsql set enable_seqscan = off set jit = off as $$
declare
  v_now bigint := agentmesh.now_us();
begin
  -- What has ended must be in the order of changes before it is read.
  if agentmesh.state_is_due_v1(v_now) then
    perform from agentmesh.state_head h where h.one for update;
    perform agentmesh.state_tidy_v1(v_now);
  end if;
  -- One statement, one snapshot: the head and everything up to it.
  return (
    with head as (
      select h.revision, p_after > 0 and p_after < h.forgotten as reset from agentmesh.state_head h where h.one
    ), page as (
      select s.key, s.value, s.revision, s.changed_at, row_number() over (order by s.revision) as n
      from agentmesh.state s, head
      where s.revision > case when head.reset then 0 else abs(p_after) end
        and starts_with(s.key, p_prefix)
        -- Who begins at 0 has nothing to delete.
        and (s.value is not null or (p_after <> 0 and not head.reset))
      order by s.revision limit p_limit + 1
    ), last as (
      select max(p.revision) filter (where p.n <= p_limit) as revision, count(*) > p_limit as more from page p
    )
    select '{"at":' || v_now || ',"reset":' || head.reset || ',"more":' || last.more || ',"revision":'
      || case when not last.more then head.revision
              when head.reset or p_after <= 0 then -last.revision
              else last.revision end
      || ',"entries":[' || coalesce((
        select string_agg(agentmesh.state_entry_v1(p.key, p.value, p.revision, p.changed_at), ',' order by p.n)
        from page p where p.n <= p_limit), '') || ']}'
    from head, last
  );
end $$;
`;
