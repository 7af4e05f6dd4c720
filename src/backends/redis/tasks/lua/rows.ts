/*
 * A record of the hash `t` (id → record) is one text, made of
 *
 *   state  1  w waiting, s scheduled, r ready or claimed, C completed, D dead, X cancelled, S skipped
 *   flags  2  48 + bits. First: 1 changing part, 2 fixed part, 4 weight, 8 group, 16 agent, 32 somebody waits for it. Second: 1 key, 2 kept
 *             firmly, 4 parent, 8 deadline, 16 dependencies, 32 the payload lies apart
 *   kind   5  hex, see `kinds.ts`
 *   step   2  which ageing step of its queue its list was made with
 *   at    13  hex, µs: when it was enqueued
 *   seq    9  hex: order of enqueue
 *   keep   2  class of the time it is kept after its end
 *   crash  1  most crashes, a digit
 *   prio   3  hex: priority + 1000
 *
 * then the changing part (fields that a transition writes), the fixed part (fields of the submission) and the payload's JSON. A part is a
 * list of fields, each a letter and a value, with \31 between them and \n behind. No text in the store has a control character: those that
 * would are stored as JSON strings. A claim does not touch the record: who claimed it is in `t:c:<session>`. Nor does the completion of a task whose
 * record has no changing part: `t:z` (id → state and changing part) has its end, so that no payload is copied for it. Whatever writes the
 * record later puts the two together.
 *
 * Changing: a attempts, c crashes, m moves, n adopted, t last token, r ready or due (µs), o order among the ready, k ages from (µs), y made
 * older by (µs), e last error, x reason, i signature, R result, z ended (µs), v alive since (µs), U ended while it waited, u which edges are
 * open, q shall be cancelled because, P B b priority, payload and digest that wait for the end of the claim, Z lies in the side set
 * Fixed: g group, A agent, k key, h headers, p parent, S settings, w weight, l deadline (µs), d digest of the payload, E edges, m most crashes
 */

/** A longer payload lies in the hash `t:b`, id → JSON, where transitions don't copy it. */
export const LONGEST_INSIDE = 2_048;

/** Defines how records are read, kept for the length of a script, and written at its end. */
export const ROWS: string = String.raw`
local T, HUGE = K .. 't', math.huge
local byte, sub, find, fmt, band = string.byte, string.sub, string.find, string.format, bit.band
local ROWS, DIRTY, FLUSHES = {}, {}, {}
-- Ids whose end lies apart.
local APART = {}
local find_holders, claims_key
local function fields(text)
  local found = {}
  for field in string.gmatch(text, '[^\31]+') do found[sub(field, 1, 1)] = sub(field, 2) end
  return found
end
local function parse(id, rec)
  local f1, f2 = byte(rec, 2) - 48, byte(rec, 3) - 48
  local state, from, rare, x, xt = sub(rec, 1, 1), 39, nil, nil, ''
  if band(f1, 1) == 1 then
    local to = find(rec, '\n', from, true)
    rare, from = fields(sub(rec, from, to - 1)), to + 1
  else
    rare = {}
  end
  if band(f1, 2) == 2 then
    local to = find(rec, '\n', from, true)
    xt = sub(rec, from, to - 1)
    x, from = fields(xt), to + 1
  else
    x = {}
  end
  local at, seq = tonumber(sub(rec, 11, 23), 16), tonumber(sub(rec, 24, 32), 16)
  local row = {
    id = id, st = state, kind = sub(rec, 4, 8), gen = sub(rec, 9, 10), at = at, seq = seq, keep = sub(rec, 33, 34), crash = sub(rec, 35, 35),
    prio = sub(rec, 36, 38), body = sub(rec, from), x = x, xt = xt, down = band(f1, 32) == 32, firm = band(f2, 2) == 2, outside = band(f2, 32) == 32,
    attempt = tonumber(rare.a) or 0, crashes = tonumber(rare.c) or 0, moves = tonumber(rare.m) or 0, adopted = rare.n ~= nil,
    token = tonumber(rare.t) or 0, ready = tonumber(rare.r) or at, aged = tonumber(rare.y) or 0, err = rare.e, reason = rare.x,
    sign = rare.i, result = rare.R, ended = tonumber(rare.z), alive = tonumber(rare.v), unmet = rare.U ~= nil, open = rare.u,
    cancel = rare.q, dprio = rare.P, dbody = rare.B, ddigest = rare.b, side = rare.Z ~= nil,
  }
  local order = rare.o
  if order == nil then
    if state ~= 'w' and state ~= 's' then row.order = seq end
  elseif order ~= '0' then
    row.order = tonumber(order)
  end
  if row.order then row.ranked = tonumber(rare.k) or row.ready end
  return row
end
local function build(row)
  local rare, n, x = {}, 0, row.x
  local attempt, token = row.attempt, row.token
  if row.held then attempt, token = attempt - 1, row.former end
  if attempt ~= 0 then n = n + 1 rare[n] = 'a' .. int(attempt) end
  if row.crashes ~= 0 then n = n + 1 rare[n] = 'c' .. int(row.crashes) end
  if row.moves ~= 0 then n = n + 1 rare[n] = 'm' .. int(row.moves) end
  if row.adopted then n = n + 1 rare[n] = 'n1' end
  if token ~= 0 then n = n + 1 rare[n] = 't' .. int(token) end
  if row.ready ~= row.at then n = n + 1 rare[n] = 'r' .. int(row.ready) end
  local pending = row.st == 'w' or row.st == 's'
  if row.order == nil then
    if not pending then n = n + 1 rare[n] = 'o0' end
  else
    if pending or row.order ~= row.seq then n = n + 1 rare[n] = 'o' .. int(row.order) end
    if row.ranked ~= row.ready then n = n + 1 rare[n] = 'k' .. int(row.ranked) end
  end
  if row.aged ~= 0 then n = n + 1 rare[n] = 'y' .. int(row.aged) end
  if row.err then n = n + 1 rare[n] = 'e' .. row.err end
  if row.reason then n = n + 1 rare[n] = 'x' .. row.reason end
  if row.sign then n = n + 1 rare[n] = 'i' .. row.sign end
  if row.result then n = n + 1 rare[n] = 'R' .. row.result end
  if row.ended then n = n + 1 rare[n] = 'z' .. int(row.ended) end
  if row.alive then n = n + 1 rare[n] = 'v' .. int(row.alive) end
  if row.unmet then n = n + 1 rare[n] = 'U1' end
  if row.open then n = n + 1 rare[n] = 'u' .. row.open end
  if row.cancel then n = n + 1 rare[n] = 'q' .. row.cancel end
  if row.dprio then n = n + 1 rare[n] = 'P' .. row.dprio end
  if row.dbody then n = n + 1 rare[n] = 'B' .. row.dbody end
  if row.ddigest then n = n + 1 rare[n] = 'b' .. row.ddigest end
  if row.side then n = n + 1 rare[n] = 'Z1' end
  if row.changed then
    local kept = {}
    for tag, value in pairs(x) do kept[#kept + 1] = tag .. value end
    row.xt, row.changed = table.concat(kept, '\31'), nil
  end
  local f1 = (n > 0 and 1 or 0) + (row.xt ~= '' and 2 or 0) + (x.w and 4 or 0) + (x.g and 8 or 0) + (x.A and 16 or 0) + (row.down and 32 or 0)
  local f2 = (x.k and 1 or 0) + (row.firm and 2 or 0) + (x.p and 4 or 0) + (x.l and 8 or 0) + (x.E and 16 or 0) + (row.outside and 32 or 0)
  return row.st .. string.char(48 + f1, 48 + f2) .. row.kind .. row.gen .. fmt('%013x%09x', row.at, row.seq) .. row.keep .. row.crash .. row.prio
    .. (n > 0 and (table.concat(rare, '\31') .. '\n') or '') .. (row.xt ~= '' and (row.xt .. '\n') or '') .. row.body
end
local function whole(id, rec, ending)
  APART[id] = true
  return sub(ending, 1, 1) .. string.char(byte(rec, 2) + 1) .. sub(rec, 3, 38) .. sub(ending, 2) .. '\n' .. sub(rec, 39)
end
-- The records of some ids, each with its end.
local function records_of(ids, first, last)
  local recs, at, open = redis.call('HMGET', T, unpack(ids, first, last)), {}, {}
  for i = 1, last - first + 1 do
    local rec = recs[i]
    if rec and byte(rec, 1) == 114 and byte(rec, 2) % 2 == 0 then
      at[#at + 1], open[#open + 1] = i, ids[first + i - 1]
    end
  end
  if #open > 0 then
    local endings = redis.call('HMGET', T .. ':z', unpack(open))
    for i, ending in ipairs(endings) do
      if ending then recs[at[i]] = whole(open[i], recs[at[i]], ending) end
    end
  end
  return recs
end
local function fetch(ids)
  local wanted = {}
  for _, id in ipairs(ids) do
    if ROWS[id] == nil then
      wanted[#wanted + 1] = id
      ROWS[id] = false
    end
  end
  for first = 1, #wanted, 1000 do
    local last = math.min(first + 999, #wanted)
    local recs = records_of(wanted, first, last)
    for i = first, last do
      local rec = recs[i - first + 1]
      if rec then ROWS[wanted[i]] = parse(wanted[i], rec) end
    end
  end
end
local function get(id)
  local row = ROWS[id]
  if row == nil then
    local rec = records_of({ id }, 1, 1)[1]
    row = rec and parse(id, rec) or false
    ROWS[id] = row
  end
  return row
end
local function touch(row)
  if row.dirty then return end
  row.dirty = true
  DIRTY[#DIRTY + 1] = row
end
local function set_body(row, text)
  if #text > ${LONGEST_INSIDE} then
    redis.call('HSET', T .. ':b', row.id, text)
    row.outside, row.body = true, ''
  else
    if row.outside then redis.call('HDEL', T .. ':b', row.id) end
    row.outside, row.body = false, text
  end
end
local function body_of(row) return row.outside and redis.call('HGET', T .. ':b', row.id) or row.body end
local function is_ended(row)
  local st = row.st
  return st == 'C' or st == 'D' or st == 'X' or st == 'S'
end
-- What a claim says of a task holds for the record as it was claimed.
local function unmark_claims()
  local unsure = {}
  for _, row in ipairs(DIRTY) do
    if row.st == 'r' and not row.gone and not row.looked then unsure[#unsure + 1] = row end
  end
  if #unsure > 0 then find_holders(unsure) end
  for _, row in ipairs(DIRTY) do
    local held = row.held
    if held and not row.gone then redis.call('HSET', claims_key(held.session), row.id, (held.started and 's' or 'u') .. int(held.token)) end
  end
end
local function flush()
  local args, n = {}, 0
  unmark_claims()
  for _, row in ipairs(DIRTY) do
    row.dirty = nil
    if not row.gone then
      if APART[row.id] then
        redis.call('HDEL', T .. ':z', row.id)
        APART[row.id] = nil
      end
      args[n + 1], args[n + 2] = row.id, build(row)
      n = n + 2
      if n >= 1000 then
        redis.call('HSET', T, unpack(args, 1, n))
        n = 0
      end
    end
  end
  if n > 0 then redis.call('HSET', T, unpack(args, 1, n)) end
  DIRTY = {}
  for _, one in ipairs(FLUSHES) do one() end
end
`;
