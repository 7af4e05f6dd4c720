/**
 * Where messages are kept. A mailbox is worked on by one transaction at a time: whoever holds the lock on its row of `message_counts`. So
 * numbers in it follow the order of commits, its bounds and counts are exact, and receivers never see half of a batch.
 *
 * What changes with every call (`message_counts`, `message_lanes`) gets a new `version` each time and is looked up newest first: behind
 * an old snapshot, which keeps all former versions alive, that stays as quick as without one. Letters are inserted and deleted, never marked.
 */
export const MESSAGE_TABLES: string = /* sql */ `
-- Names and settings. "group_name" is empty but for the mailbox that a group shares; its address is the topic then.
create table agentmesh.message_boxes (
  id bigint primary key generated always as identity,
  address text collate "C" not null,
  group_name text collate "C" not null default '',
  keeps smallint not null default 0, -- 0: nobody has joined yet, 1: as the next two say, 2: nothing while nobody listens
  max_length bigint,
  overflow smallint, -- 0 refuse, 1 drop-oldest, 2 drop-newest
  unique (address, group_name)
);

-- One row a mailbox, and its lock. published = delivered + dropped + expired + dead + waiting + handling.
create table agentmesh.message_counts (
  box bigint not null,
  version bigint not null,
  published bigint not null default 0,
  delivered bigint not null default 0,
  dropped bigint not null default 0,
  expired bigint not null default 0,
  dead bigint not null default 0,
  waiting bigint not null default 0,
  handling bigint not null default 0,
  last_seq bigint not null default 0,
  low_flight bigint not null default 0, -- no flight of this mailbox is older
  low_version bigint not null default 0, -- no lane of this mailbox has a smaller version
  marks bigint[] not null default '{}', -- a level each: no lane of that level has a smaller rank
  missed boolean not null default false, -- something is in message_missed
  primary key (box, version)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

-- One row for each order key with letters in a mailbox. "lane" is a hash of the key: two keys of one hash would only wait for each other.
-- "rank" is that of its first waiting letter, in the order of handing out: -level * 2^48 + seq; null: none waits.
create table agentmesh.message_lanes (
  box bigint not null,
  lane bigint not null,
  version bigint not null,
  rank bigint,
  tail smallint not null, -- level of the last letter that came
  queued int not null,
  held int not null,
  member bigint, -- who holds
  single boolean not null default false, -- was asked for one at a time
  stalled boolean not null default false, -- one was given back while others are out: nothing more until all are back
  not_before bigint not null default 0,
  primary key (box, lane, version)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
create index message_lanes_rank on agentmesh.message_lanes (box, rank) where rank is not null;
create index message_lanes_delayed on agentmesh.message_lanes (box, not_before) where not_before > 0;

-- Waiting and in hand. In hand is what a flight names; everything else waits.
create table agentmesh.message_letters (
  box bigint not null,
  lane bigint not null,
  seq bigint not null,
  rank bigint not null,
  priority smallint not null,
  delivery int not null default 1,
  at_most_once boolean not null,
  sent_at bigint not null,
  life bigint, -- µs
  expires_at bigint,
  sender text collate "C" not null,
  id text collate "C" not null,
  body text not null, -- JSON: payload, and whatever else differs from the usual
  primary key (box, lane, seq)
) with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000);
create index message_letters_expiry on agentmesh.message_letters (expires_at) where expires_at is not null;

-- What one call took out of one mailbox and has not settled.
create sequence agentmesh.message_flight_ids;
create table agentmesh.message_flights (
  box bigint not null,
  id bigint not null,
  session bigint not null,
  member bigint not null,
  deadline bigint not null,
  lanes bigint[] not null,
  seqs bigint[] not null,
  primary key (box, id)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
create index message_flights_session on agentmesh.message_flights (session);

create table agentmesh.message_dead (
  box bigint not null,
  place bigint not null generated always as identity, -- order of burial
  lane bigint not null,
  seq bigint not null,
  priority smallint not null,
  delivery int not null,
  sent_at bigint not null,
  life bigint,
  sender text collate "C" not null,
  id text collate "C" not null,
  body text not null,
  reason text not null,
  primary key (box, place)
);

-- Ids that senders gave, for ten minutes. "place" is the receiver, or the topic behind a 't'.
create table agentmesh.message_ids (
  place text collate "C" not null,
  id text collate "C" not null,
  seen_at bigint not null,
  primary key (place, id)
);
create index message_ids_seen on agentmesh.message_ids (seen_at);

-- One session's membership of one address; each change makes a new one.
create table agentmesh.message_members (
  id bigint primary key generated always as identity,
  session bigint not null,
  address text collate "C" not null,
  listening boolean not null,
  keep_us bigint not null,
  gone_until bigint, -- its session is over: kept until then
  turn int not null default 0, -- the source that came first last time
  unique (session, address)
);
create index message_members_address on agentmesh.message_members (address);

-- What a member takes from. Place 0 is the address's own mailbox; the others are its topics, with that mailbox again or a group's.
create table agentmesh.message_places (
  member bigint not null,
  place int not null,
  box bigint not null,
  topic text collate "C",
  grouped boolean not null,
  primary key (member, place)
);
create index message_places_box on agentmesh.message_places (box);
create index message_places_topic on agentmesh.message_places (topic) where topic is not null;

-- Losses that no answer has told of.
create table agentmesh.message_missed (
  box bigint not null,
  reason text not null,
  sender text collate "C" not null,
  count bigint not null,
  primary key (box, reason, sender)
);

-- Counts of mailboxes that are gone and of messages that never had one: rows to be added up, so that nobody waits for a total.
create table agentmesh.message_retired (
  id bigint primary key generated always as identity,
  published bigint not null,
  delivered bigint not null,
  dropped bigint not null,
  expired bigint not null
);

-- How far the sweep has come in its round of all mailboxes.
create table agentmesh.message_round (one boolean primary key default true check (one), position bigint not null);
insert into agentmesh.message_round values (true, 0);

create type agentmesh.message_delivery as (
  address int, -- which of those asked for
  box bigint,
  flight bigint,
  lane bigint,
  seq bigint,
  delivery int,
  sent_at bigint,
  priority smallint,
  life bigint,
  at_most_once boolean,
  sender text,
  id text,
  body text
);
`;
