/**
 * States: 0 waiting · 1 scheduled · 2 ready · 3 claimed · 4 completed · 5 dead · 6 cancelled · 7 skipped · 8 new (only as the beginning of a
 * first transition). What lives is in `tasks`, narrow, for each of its rows is rewritten by a claim and deleted by a settle; what has ended
 * is in `task_ends`; what was said of a task at its submission is in `task_bodies`, which is hardly ever rewritten.
 */
export const TASK_TABLES: string = /* sql */ `
create table agentmesh.task_queues (
  number int primary key generated always as identity,
  name text collate "C" not null unique,
  -- As they were given; null: never configured.
  settings text,
  revision int not null default 0,
  paused boolean not null default false,
  max_length bigint,
  max_running bigint,
  max_per_group bigint,
  step_us bigint not null default 10000000,
  weighted boolean not null default false,
  -- Turn of the group that was served last.
  turn double precision not null default 0,
  -- Claims have to come one after another: there is a limit or a share to keep.
  limited boolean not null generated always as
    (max_running is not null or max_per_group is not null or weighted) stored
);

-- What ready tasks of one queue ask alike of whoever runs them. Never changed; forgotten by the sweep when no task has it any more.
create table agentmesh.task_lanes (
  lane int primary key generated always as identity,
  -- Of the text that spells the lane out: names may be too long for an index.
  digest bytea not null unique,
  queue int not null,
  type text not null,
  -- A JSON array.
  capabilities text not null,
  placement text,
  agent text,
  grp text,
  created xid8 not null default pg_current_xact_id()
);
create index task_lanes_created on agentmesh.task_lanes (created);
create index task_lanes_queue on agentmesh.task_lanes (queue);

-- Shares of groups, and whose turn it is, in queues with weights. A null turn: the group has nothing ready, and saves nothing up.
create table agentmesh.task_groups (
  queue int not null,
  grp text collate "C" not null,
  share double precision not null default 1,
  turn double precision,
  primary key (queue, grp)
) with (fillfactor = 50);

-- A row without enqueued_at holds the place of a task that others wait for and that is still to come.
create table agentmesh.task_bodies (
  seq bigint primary key,
  id text collate "C" not null unique,
  enqueued_at bigint,
  weight double precision,
  priority int not null default 0,
  max_crashes int not null default 3,
  keep_ms double precision not null default 0,
  deadline_ms double precision,
  payload text,
  headers text,
  settings text,
  key text,
  parent text,
  -- Whose sub-task it is now: its parent, or that one's once it is forgotten.
  under text,
  -- Its dependencies as they were given, a JSON array of [parent, policy].
  depends text,
  -- Of queue, type and payload, of tasks with a key or an id of the user's.
  digest text
);
create index task_bodies_under on agentmesh.task_bodies (under, seq) where under is not null;

create table agentmesh.task_keys (
  key text collate "C" primary key,
  seq bigint not null
);
create index task_keys_seq on agentmesh.task_keys (seq);

create table agentmesh.tasks (
  seq bigint primary key,
  -- Place among the ready: aged_at − priority × step at the time when it became ready.
  rank bigint not null default 0,
  -- When it became ready, or is due.
  ready_at bigint not null,
  -- From when it ages; null: it never was ready, or starts afresh.
  aged_at bigint,
  token bigint not null default 0,
  session bigint,
  -- The journal's row of its last transition.
  journal bigint not null,
  lane int not null,
  -- Parents that are not done.
  waiting int not null default 0,
  attempt int not null default 0,
  state smallint not null,
  crashes smallint not null default 0,
  moves smallint not null default 0,
  started boolean not null default false,
  -- Started in a session that died, taken over and not settled yet: another death is no second crash.
  adopted boolean not null default false,
  -- Claimed in a queue with limits.
  counted boolean not null default false,
  keep_ms double precision not null,
  weight double precision,
  deadline_at bigint,
  -- The deadline counts from here, when it was redriven or replaced.
  since bigint,
  aged_ms double precision,
  error text,
  cancelling text,
  new_priority int,
  new_payload text,
  has_new_payload boolean
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 20000,
  autovacuum_vacuum_cost_delay = 0.5, autovacuum_analyze_scale_factor = 0.5, autovacuum_analyze_threshold = 50000);
create index tasks_ready on agentmesh.tasks (lane, rank, seq) where state = 2;
create index tasks_held on agentmesh.tasks (session) where state = 3;
create index tasks_due on agentmesh.tasks (ready_at) where state = 1;
create index tasks_deadline on agentmesh.tasks (deadline_at) where deadline_at is not null and state <> 3;
create index tasks_counted on agentmesh.tasks (lane) where counted;
create index tasks_cancelling on agentmesh.tasks (session) where cancelling is not null;

create table agentmesh.task_ends (
  seq bigint primary key,
  at bigint not null,
  token bigint not null,
  journal bigint not null,
  -- When it is to be forgotten.
  expires_at bigint not null,
  ready_at bigint,
  lane int not null,
  attempt int not null,
  state smallint not null,
  crashes smallint not null,
  moves smallint not null,
  -- Ended while it waited for parents.
  unmet boolean not null default false,
  since bigint,
  aged_ms double precision,
  result text,
  error text,
  reason text,
  signature text
) with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 20000);
create index task_ends_at on agentmesh.task_ends (at, seq);
create index task_ends_failed on agentmesh.task_ends (state, seq) where state <> 4;
create index task_ends_signature on agentmesh.task_ends (signature, seq) where signature is not null;

-- A row for what one call ended and what is kept equally long.
create table agentmesh.task_expiries (
  due_at bigint not null,
  seqs bigint[] not null
) with (toast_tuple_target = 8160);
-- To compress lists of numbers costs more than it saves; most rows stay in their page as they are.
alter table agentmesh.task_expiries alter column seqs set storage external;
create index task_expiries_due on agentmesh.task_expiries (due_at);

-- How the tasks ended that were forgotten last.
create sequence agentmesh.task_forgotten_number;
create table agentmesh.task_forgotten (
  id text collate "C" primary key,
  number bigint not null default nextval('agentmesh.task_forgotten_number'),
  state smallint not null,
  seq bigint not null,
  journal bigint not null
);
create index task_forgotten_order on agentmesh.task_forgotten (number);
create index task_forgotten_seq on agentmesh.task_forgotten (seq);

-- Edges that still matter. policy: 0 cancel · 1 skip · 2 wait · 3 continue.
create table agentmesh.task_edges (
  parent bigint not null,
  child bigint not null,
  policy smallint not null,
  place smallint not null,
  primary key (parent, child)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
create index task_edges_child on agentmesh.task_edges (child, place);

-- What ended tasks and cancelled trees still have to set in motion.
create table agentmesh.task_frontier (
  number bigint primary key generated always as identity,
  -- Set: dependents of this parent are to be told how it ended, if they haven't been and it wasn't redriven since.
  parent bigint,
  -- Set: sub-tasks of this id, from the one behind this on, are to be cancelled.
  root text,
  behind bigint,
  walk bigint,
  reason text,
  revoke boolean
);
-- Sub-tasks that a walk through a tree has been at.
create table agentmesh.task_walked (
  walk bigint not null,
  seq bigint not null,
  primary key (walk, seq)
);

-- Claims that a live session had and has no more, until it acts on it.
create table agentmesh.task_taken (
  session bigint not null,
  token bigint not null,
  id text not null,
  primary key (session, token)
);

-- Sessions that may hold claims.
create table agentmesh.task_holders (
  session bigint primary key
);

-- Append-only; a row a batch: what happened, and by how much that moves the counters. Each list has an element a task, or one for all of
-- them; seqs and tokens of one element go on from there by 1, as far as number says.
create table agentmesh.task_journal (
  pos bigint primary key,
  xid xid8 not null default pg_current_xact_id(),
  at bigint not null,
  number int not null,
  seqs bigint[],
  -- from × 16 + to.
  moves smallint[],
  lanes int[],
  attempts int[],
  tokens bigint[],
  sessions bigint[],
  reasons text[],
  -- The row of the transition before.
  befores bigint[],
  -- Counters: states by number · 8 enqueued · 9 pruned · 10 attempts · 11 stale settles · 12 duplicates · 13 weight of the ready.
  d_lanes int[],
  d_whats smallint[],
  d_bys double precision[]
) with (toast_tuple_target = 8032);
-- A page takes 8,160 bytes, but PL/pgSQL's arrays come with long headers and gaps, which are not counted when it is seen whether a row fits:
-- a dozen small ones take up to 10 bytes each beyond that.
alter table agentmesh.task_journal alter column seqs set storage external, alter column moves set storage external,
  alter column lanes set storage external, alter column attempts set storage external, alter column tokens set storage external,
  alter column sessions set storage external, alter column befores set storage external;
create index task_journal_xid on agentmesh.task_journal (xid);

-- Counters but for the journal's rows of transactions from the horizon on.
create table agentmesh.task_counts (
  lane int not null,
  what smallint not null,
  value double precision not null,
  primary key (lane, what)
) with (fillfactor = 50);
create table agentmesh.task_horizon (
  one boolean primary key default true check (one),
  xid xid8 not null
);

-- In steps of more than a batch holds: one call a batch.
create sequence agentmesh.task_seq increment by 1024 start with 1024;
create sequence agentmesh.task_token increment by 2048 start with 2048;
create sequence agentmesh.task_pos;
create sequence agentmesh.task_walk;
-- The journal's next number. Whoever has one has a transaction's number before, so that readers know whom to look for behind.
create function agentmesh.task_pos_v1() returns bigint language sql volatile as $$
  select case when pg_current_xact_id() is not null then nextval('agentmesh.task_pos') end
$$;
select setval('agentmesh.task_token', agentmesh.now_us() / 2048 * 2048);
`;
