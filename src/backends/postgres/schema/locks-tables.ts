/**
 * Tables of the locks, and the modes. Who holds what and who waits for what is only read for a decision, and only changed, while the rows of
 * all its resources are locked.
 */
export const LOCK_TABLES: string = /* sql */ `
-- A resource that was ever asked for. Locking its row is what makes a decision about it alone.
create table agentmesh.lock_resources (
  name text collate "C" primary key,
  -- Units of a semaphore; 0: a lock with modes.
  capacity int not null default 0,
  -- The last one that was minted: tokens only grow, as long as the row stays.
  token bigint not null,
  -- How many holders, and waiters in front of others, came or went while somebody waited: by mode; at last, how often a waiter's owner came to hold
  -- it too. Versions of waits are sums of these.
  changes bigint[] not null default '{0,0,0,0,0,0,0}',
  -- Of the last waiter.
  arrival bigint not null default 0
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

-- One row: no token of a resource whose row was forgotten is above this one. Rows were looked at up to this name.
create table agentmesh.lock_floor (
  one boolean primary key default true check (one),
  token bigint not null,
  walked text collate "C" not null
);
insert into agentmesh.lock_floor (token, walked) values (0, '');

-- Requests that hold or want something.
create table agentmesh.lock_tickets (
  id text collate "C" primary key,
  session bigint not null,
  -- 0 waits; 1 holds; 2 an upgrade that was granted: it lives on in the grant that it converted, and keeps here what that one had before.
  state smallint not null,
  owner text collate "C" not null,
  agent text collate "C",
  task text collate "C",
  owner_priority double precision not null,
  owner_since bigint not null,
  defeats int not null,
  -- Of each resource, in the order of the request.
  resources text[] not null,
  modes smallint[] not null,
  units int[] not null,
  tokens bigint[],
  granted_at bigint,
  -- Null: the session's.
  lease_us double precision,
  expires_at bigint,
  revoked text,
  -- The grant that is to be converted.
  upgrade text collate "C",
  -- The granted upgrade whose modes this grant has.
  converted text collate "C",
  -- What only a wait has. Its key (rank, hurry, arrival) is the same in all of its queues.
  since bigint,
  rank double precision,
  hurry double precision,
  arrival bigint,
  overtaken int,
  max_overtakes int
) with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
create index lock_tickets_session on agentmesh.lock_tickets (session);
create index lock_tickets_expires on agentmesh.lock_tickets (expires_at) where expires_at is not null;

create table agentmesh.lock_holders (
  resource text collate "C" not null,
  mode smallint not null,
  owner text collate "C" not null,
  ticket text collate "C" not null,
  units int not null,
  primary key (resource, mode, owner, ticket)
) with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

-- In the order of the key: the queue of each resource.
create table agentmesh.lock_waiters (
  resource text collate "C" not null,
  rank double precision not null,
  hurry double precision not null,
  arrival bigint not null,
  ticket text collate "C" not null,
  owner text collate "C" not null,
  mode smallint not null,
  units int not null,
  -- Waits for other resources too.
  many boolean not null,
  -- Its owner holds the resource too: its own holds are not in its way.
  special boolean not null,
  -- Was passed as often as it may be.
  barrier boolean not null,
  primary key (resource, rank, hurry, arrival, ticket)
) with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
create index lock_waiters_owner on agentmesh.lock_waiters (owner);
create index lock_waiters_many on agentmesh.lock_waiters (resource) where many;
create index lock_waiters_special on agentmesh.lock_waiters (resource) where special;
create index lock_waiters_barrier on agentmesh.lock_waiters (resource) where barrier;

-- Waits of sessions that are not locks.
create table agentmesh.lock_published (
  session bigint not null,
  ordinal int not null,
  waiter text collate "C" not null,
  holder text collate "C" not null,
  by text not null,
  what text not null,
  agent text,
  primary key (session, ordinal)
);
create index lock_published_waiter on agentmesh.lock_published (waiter);

-- Victims of deadlocks, for their sessions to learn of it.
create table agentmesh.lock_victims (
  ticket text collate "C" primary key,
  session bigint not null,
  version bigint not null,
  cycle text not null,
  aborted_at bigint not null,
  told boolean not null default false
);
create index lock_victims_session on agentmesh.lock_victims (session, told);

-- Modes: 0 intent-shared, 1 intent-exclusive, 2 shared, 3 update, 4 exclusive, 5 units.
-- The modes it can't be held together with, as bits; units are added up instead.
create function agentmesh.lock_conflicts_v1(p_mode smallint) returns int language sql immutable parallel safe as
  $$ select (array[16, 28, 18, 26, 31, 0])[p_mode + 1] $$;

-- The same as a list. Units are in one another's way by order.
create function agentmesh.lock_against_v1(p_mode smallint) returns smallint[] language sql immutable parallel safe as $$
  select case p_mode
    when 0 then '{4}'::smallint[]
    when 1 then '{2,3,4}'::smallint[]
    when 2 then '{1,4}'::smallint[]
    when 3 then '{1,3,4}'::smallint[]
    when 4 then '{0,1,2,3,4}'::smallint[]
    else '{5}'::smallint[] end
$$;

-- What one resource adds to the version of a wait in one mode: all that could be in its way, or no longer be.
create function agentmesh.lock_version_v1(p_changes bigint[], p_mode smallint) returns bigint language sql immutable parallel safe as $$
  select p_changes[7] + case p_mode
    when 0 then p_changes[5]
    when 1 then p_changes[3] + p_changes[4] + p_changes[5]
    when 2 then p_changes[2] + p_changes[5]
    when 3 then p_changes[2] + p_changes[4] + p_changes[5]
    when 4 then p_changes[1] + p_changes[2] + p_changes[3] + p_changes[4] + p_changes[5]
    else p_changes[6] end
$$;

-- Who holds one of these needs nothing more for this one.
create function agentmesh.lock_covering_v1(p_mode smallint) returns smallint[] language sql immutable parallel safe as $$
  select case p_mode
    when 0 then '{0,1,2,3,4}'::smallint[]
    when 1 then '{1,4}'::smallint[]
    when 2 then '{2,3,4}'::smallint[]
    when 3 then '{3,4}'::smallint[]
    when 4 then '{4}'::smallint[]
    else '{}'::smallint[] end
$$;
`;
