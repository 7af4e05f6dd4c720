/**
 * The steps that all methods are made of. Whoever calls them holds the locks of the mailboxes.
 *
 * Statements reach tables through LATERAL sub-selects with OFFSET 0 or LIMIT, and rows to be deleted by ctid. Plans are made once, when
 * the tables are small: anything else would become a scan of a table that has grown since. `MESSAGE_PLANS` belongs to it. What was fetched
 * is joined with arrays only behind a MATERIALIZED: the price of the forced nested loop would hide the difference between the ways to join.
 */

/** Settings of every function that is called from outside; those it calls inherit them. */
export const MESSAGE_PLANS =
  'set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_nestloop = off set enable_bitmapscan = off set jit = off';

export const MESSAGE_BOXES: string = /* sql */ `
-- The mailboxes of these names, in their order; makes those that aren't there.
create function agentmesh.message_boxes_v1(p_addresses text[], p_groups text[]) returns bigint[] language plpgsql as $$
declare
  v_boxes bigint[];
begin
  loop
    select array_agg(b.id order by w.n) into v_boxes
    from unnest(p_addresses, p_groups) with ordinality w (address, group_name, n)
    left join lateral (
      select b.id from agentmesh.message_boxes b
      where b.address = w.address and b.group_name = w.group_name offset 0) b on true;
    if array_position(v_boxes, null) is null then
      return v_boxes;
    end if;
    with made as (
      insert into agentmesh.message_boxes (address, group_name)
      select w.address, w.group_name from unnest(p_addresses, p_groups, v_boxes) w (address, group_name, box)
      where w.box is null group by 1, 2 order by 1, 2
      on conflict do nothing
      returning id)
    insert into agentmesh.message_counts (box, version) select m.id, 0 from made m;
  end loop;
end $$;

-- Locks mailboxes, always in one order. Those that are gone don't come back in the answer.
create function agentmesh.message_lock_v1(p_boxes bigint[]) returns setof agentmesh.message_counts language plpgsql as $$
#variable_conflict use_column
begin
  return query
    select c.* from (select distinct b from unnest(p_boxes) b order by b) w
    cross join lateral (
      select c.* from agentmesh.message_counts c where c.box = w.b order by c.version desc limit 1 for update) c;
end $$;

-- Locks those of these mailboxes that nobody works on just now, and answers which. What others did until then shows only to the next statement.
create function agentmesh.message_lock_idle_v1(p_boxes bigint[]) returns bigint[] language plpgsql as $$
begin
  return array(
    select l.box from unnest(p_boxes) w (b) cross join lateral (
      select c.version from agentmesh.message_counts c where c.box = w.b order by c.version desc limit 1) c
    cross join lateral (
      select l.box from agentmesh.message_counts l where l.box = w.b and l.version = c.version for update skip locked) l);
end $$;

-- The smallest rank of each level.
create function agentmesh.message_marks_v1(p_ranks bigint[]) returns bigint[] language plpgsql immutable as $$
begin
  return (
    select coalesce(array_agg(m.rank order by m.rank), '{}')
    from (select min(r) as rank from unnest(p_ranks) r where r is not null group by r >> 48) m);
end $$;

-- Adds to the counts of a mailbox: published, delivered, dropped, expired, dead, waiting, handling. "p_ranks" are those that lanes got.
create function agentmesh.message_tally_v1(
  p_box bigint, p_more bigint[], p_ranks bigint[] default '{}', p_last bigint default 0,
  p_marks bigint[] default null, p_flight bigint default 0
) returns bigint language plpgsql as $$
begin
  update agentmesh.message_counts c set
    version = c.version + 1,
    published = c.published + p_more[1],
    delivered = c.delivered + p_more[2],
    dropped = c.dropped + p_more[3],
    expired = c.expired + p_more[4],
    dead = c.dead + p_more[5],
    waiting = c.waiting + p_more[6],
    handling = c.handling + p_more[7],
    last_seq = greatest(c.last_seq, p_last),
    low_flight = greatest(c.low_flight, p_flight),
    low_version = case when c.waiting + p_more[6] = 0 and c.handling + p_more[7] = 0 and not exists (
      select from agentmesh.message_lanes l where l.box = p_box and l.not_before > 0) then c.version + 1 else c.low_version end,
    marks = case when p_marks is null and p_ranks = '{}' then c.marks
      else agentmesh.message_marks_v1(coalesce(p_marks, c.marks) || p_ranks) end
  where c.ctid = (
    select n.ctid from agentmesh.message_counts n where n.box = p_box order by n.version desc limit 1);
  return p_box;
end $$;

-- Remembers what receivers will be told to have missed.
create function agentmesh.message_miss_v1(p_boxes bigint[], p_reason text, p_senders text[], p_counts bigint[])
returns void language plpgsql as $$
begin
  insert into agentmesh.message_missed as m (box, reason, sender, count)
  select w.box, p_reason, w.sender, sum(w.count) from unnest(p_boxes, p_senders, p_counts) w (box, sender, count)
  group by 1, 3 order by 1, 3
  on conflict (box, reason, sender) do update set count = m.count + excluded.count;
  update agentmesh.message_counts c set version = c.version + 1, missed = true
  where c.ctid = any (array(
    select n.ctid from (select distinct b from unnest(p_boxes) b) w cross join lateral (
      select n.ctid, n.missed from agentmesh.message_counts n where n.box = w.b order by n.version desc limit 1) n
    where not n.missed));
end $$;

-- Tells what was missed, once.
create function agentmesh.message_missed_v1(p_boxes bigint[])
returns table (sender text, address text, count bigint, reason text) language plpgsql as $$
begin
  return query
    with told as (
      delete from agentmesh.message_missed m where m.box = any (p_boxes) returning m.box, m.sender, m.count, m.reason)
    select t.sender, b.address, t.count, t.reason from told t
    cross join lateral (select b.address from agentmesh.message_boxes b where b.id = t.box offset 0) b
    order by t.reason desc, t.sender;
  update agentmesh.message_counts c set version = c.version + 1, missed = false
  where c.ctid = any (array(
    select n.ctid from unnest(p_boxes) w (b) cross join lateral (
      select n.ctid, n.missed from agentmesh.message_counts n where n.box = w.b order by n.version desc limit 1) n
    where n.missed));
end $$;

-- Whether somebody takes messages from a mailbox now.
create function agentmesh.message_heard_v1(p_box bigint, p_now bigint) returns boolean language plpgsql stable as $$
begin
  return (
    select exists (
      select from agentmesh.message_places p
      cross join lateral (
        select m.session from agentmesh.message_members m where m.id = p.member and m.listening offset 0) m
      cross join lateral (
        select from agentmesh.sessions s
        where s.number = m.session and s.closed_at is null and s.expires_at > p_now offset 0) s
      where p.box = p_box));
end $$;

-- Addresses of all members of these mailboxes.
create function agentmesh.message_addresses_v1(p_boxes bigint[]) returns text[] language plpgsql stable as $$
begin
  return (
    select coalesce(array_agg(distinct m.address), '{}') from unnest(p_boxes) w (box)
    cross join lateral (select p.member from agentmesh.message_places p where p.box = w.box offset 0) p
    cross join lateral (select m.address from agentmesh.message_members m where m.id = p.member offset 0) m);
end $$;
`;
