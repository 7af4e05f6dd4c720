/** Edges: parents are found, locked and looked at in this order, so that nobody waits for ever for one that ended meanwhile. */
export const TASK_DEPENDENCIES: string = /* sql */ `
-- Locks the tasks of these ids, or the placeholders that hold their places, made now where nobody knows them: none of them ends or comes
-- before the caller's transaction is over.
create function agentmesh.task_parents_v1(p_ids text[], p_policies smallint[]) returns void language plpgsql as $$
declare
  v_ids text[];
  -- Those that are waited for even where they have failed.
  v_awaited text[] := array(select p.id from unnest(p_ids, p_policies) p(id, policy) where p.policy = 2);
  v_locked bigint[];
begin
  select array_agg(x.id order by x.id) into v_ids from (select distinct u.id from unnest(p_ids) u(id)) x;
  loop
    insert into agentmesh.task_bodies (seq, id)
    select nextval('agentmesh.task_seq'), u.id from (select x.id from unnest(v_ids) x(id) order by 1) u
    where not exists (select from agentmesh.task_bodies b where b.id = u.id offset 0)
      and not exists (select from agentmesh.task_forgotten f where f.id = u.id and (f.state = 4 or not u.id = any(v_awaited)) offset 0)
    on conflict do nothing;
    -- Whoever makes a task of a placeholder, or one of a task that it forgets, waits for us, or we for him.
    perform from agentmesh.task_bodies b where b.id = any(v_ids) and (b.enqueued_at is null or b.id = any(v_awaited))
    order by b.id || '' for share;
    v_locked := array(
      select t.seq from agentmesh.tasks t
      where t.seq = any(array(select b.seq from agentmesh.task_bodies b where b.id = any(v_ids)))
      order by t.seq + 0 for key share);
    -- Redriven or forgotten between two statements: once more.
    exit when not exists (
      select from agentmesh.task_bodies b join agentmesh.tasks t on t.seq = any(array[b.seq])
      where b.id = any(v_ids) and not b.seq = any(v_locked))
    and not exists (
      select from unnest(v_ids) u(id) where not exists (select from agentmesh.task_bodies b where b.id = u.id offset 0)
        and not exists (select from agentmesh.task_forgotten f where f.id = u.id and (f.state = 4 or not u.id = any(v_awaited)) offset 0));
  end loop;
end $$;

-- How the task of an id ended; null: not yet, or it is still to come.
create function agentmesh.task_ended_v1(p_id text) returns table (seq bigint, ended smallint) language sql stable as $$
  select b.seq, case when b.enqueued_at is null then f.state else e.state end
  from (select p_id as id) i
  left join agentmesh.task_bodies b on b.id = i.id
  left join agentmesh.task_ends e on e.seq = any(array[b.seq])
  left join agentmesh.task_forgotten f on f.id = i.id
$$;

-- Makes the items of a batch wait for those of their parents that are not done. Where one has failed in a way that ends a child, nothing
-- is done and the items with edges are returned: they go one by one.
create function agentmesh.task_attach_v1(p_base bigint, p_items int[], p_parents text[], p_policies smallint[], p_places smallint[],
  p_missed int[], out missed int[])
language plpgsql as $$
begin
  missed := '{}';
  perform agentmesh.task_parents_v1(p_parents, p_policies);
  if exists (
    select from unnest(p_items, p_parents, p_policies) u(item, parent, policy)
    cross join lateral agentmesh.task_ended_v1(u.parent) r
    where r.ended <> 4 and u.policy < 2 and not u.item = any(p_missed)
  ) then
    missed := array(select distinct u.item from unnest(p_items) u(item) where not u.item = any(p_missed));
    return;
  end if;
  insert into agentmesh.task_edges (parent, child, policy, place)
  select r.seq, p_base + u.item, u.policy, u.place
  from unnest(p_items, p_parents, p_policies, p_places) u(item, parent, policy, place)
  cross join lateral agentmesh.task_ended_v1(u.parent) r
  where not u.item = any(p_missed) and (r.ended is null or (r.ended <> 4 and u.policy = 2))
  order by r.seq, u.item on conflict do nothing;
end $$;

-- Makes one task wait for those of its parents that are not done: how many there are. With a doom, the state it ends in, it waits for
-- nobody: the first parent that failed under cancel or skip, and how that ended.
create function agentmesh.task_attach_one_v1(p_seq bigint, p_parents text[], p_policies smallint[],
  out waiting int, out doom smallint, out culprit smallint)
language plpgsql as $$
begin
  waiting := 0;
  if coalesce(cardinality(p_parents), 0) = 0 then
    return;
  end if;
  perform agentmesh.task_parents_v1(p_parents, p_policies);
  select (6 + u.policy)::smallint, r.ended into doom, culprit
  from unnest(p_parents, p_policies) with ordinality u(parent, policy, ord)
  cross join lateral agentmesh.task_ended_v1(u.parent) r
  where r.ended <> 4 and u.policy < 2 order by u.ord limit 1;
  if doom is not null then
    return;
  end if;
  insert into agentmesh.task_edges (parent, child, policy, place)
  select r.seq, p_seq, u.policy, u.ord::smallint
  from unnest(p_parents, p_policies) with ordinality u(parent, policy, ord)
  cross join lateral agentmesh.task_ended_v1(u.parent) r
  where r.ended is null or (r.ended <> 4 and u.policy = 2)
  order by r.seq on conflict do nothing;
  get diagnostics waiting = row_count;
end $$;

-- The ids by which a task with these parents would wait for itself, first = last; null: it wouldn't. Only a task that somebody waits for
-- already can close a cycle.
create function agentmesh.task_cycle_v1(p_seq bigint, p_id text, p_parents text[]) returns json language plpgsql as $$
declare
  v_parents bigint[];
  v_via json;
  v_at bigint;
  v_path text[] := '{}';
begin
  if p_id = any(p_parents) then
    return json_build_array(p_id, p_id);
  end if;
  if not exists (select from agentmesh.task_edges e where e.parent = p_seq) then
    return null;
  end if;
  -- Two that close a cycle together, each with edges that the other doesn't see yet, come one after the other.
  perform pg_advisory_xact_lock(hashtextextended('agentmesh.task_edges', 1));
  v_parents := array(select b.seq from agentmesh.task_bodies b where b.id = any(p_parents));
  if not exists (
    with recursive up(seq) as (
      select u.seq from unnest(v_parents) u(seq)
      union select e.parent from up cross join lateral (select x.parent from agentmesh.task_edges x where x.child = up.seq offset 0) e
    ) select from up where up.seq = p_seq
  ) then
    return null;
  end if;
  with recursive up(seq, via) as (
    select u.seq, null::bigint from unnest(v_parents) u(seq)
    union select e.parent, up.seq
    from up cross join lateral (select x.parent from agentmesh.task_edges x where x.child = up.seq offset 0) e where up.seq <> p_seq
  ), found as (
    select up.seq, up.via, row_number() over () as n from up
  ), firsts as (
    select distinct on (f.seq) f.seq, f.via from found f order by f.seq, f.n
  )
  select json_object_agg(f.seq, f.via) into v_via from firsts f;
  v_at := p_seq;
  loop
    v_path := (select b.id from agentmesh.task_bodies b where b.seq = v_at) || v_path;
    v_at := (v_via ->> v_at::text)::bigint;
    exit when v_at is null;
  end loop;
  return to_json(p_id || v_path);
end $$;
`;
