import { LIBRARY } from './library.ts';
import { SCAN } from './select.ts';

/** Claims of sessions that are over are told of so often until somebody has taken them, ms. */
const LOOK_MS = 1_000;
/** A kind without tasks is forgotten after this, µs. */
const KIND_IDLE_US = 3_600_000_000;

/** Defines `prune_due(limit)`, `shed(limit, most)`, `cut_log(most)` and `forget_kinds()`. */
const CHORES = String.raw`
local function prune_head(class, limit)
  local key = T .. ':e:' .. class
  local head = redis.call('LINDEX', key, 0)
  local at = find(head, '\31', 1, true)
  local ended, ids = tonumber(sub(head, 1, at - 1)), {}
  for id in string.gmatch(sub(head, at + 1), '[^\31]+') do ids[#ids + 1] = id end
  local last = math.min(#ids, limit)
  local chosen = {}
  for i = 1, last do chosen[i] = ids[i] end
  fetch(chosen)
  local pruned = 0
  for i = 1, last do
    local row = get(ids[i])
    if row and row.ended == ended and row.keep == sub(class, 1, 2) then
      prune(row)
      pruned = pruned + 1
    end
  end
  if last < #ids then
    redis.call('LSET', key, 0, int(ended) .. '\31' .. table.concat(ids, '\31', last + 1))
  else
    redis.call('LPOP', key)
    local next = redis.call('LINDEX', key, 0)
    if next then
      redis.call('ZADD', T .. ':ec', tonumber(string.match(next, '^%d+')) + keep_us(class), class)
    else
      redis.call('ZREM', T .. ':ec', class)
    end
  end
  return pruned, last
end
local function prune_due(limit)
  local pruned = 0
  while limit > 0 do
    local class = redis.call('ZRANGE', T .. ':ec', '-inf', now(), 'BYSCORE', 'LIMIT', 0, 1)[1]
    if not class then return pruned end
    local some, seen = prune_head(class, limit)
    pruned, limit = pruned + some, limit - seen
  end
  return pruned
end
local function shed(limit, most)
  local surplus, pruned = (tonumber(redis.call('HGET', T .. ':m', 'shed')) or 0) - most, 0
  limit = math.min(limit, surplus)
  while limit > 0 do
    local oldest, class
    for _, one in ipairs(redis.call('ZRANGE', T .. ':ec', 0, -1)) do
      if sub(one, 3) == 's' then
        local at = tonumber(string.match(redis.call('LINDEX', T .. ':e:' .. one, 0), '^%d+'))
        if oldest == nil or at < oldest then oldest, class = at, one end
      end
    end
    if not class then return pruned end
    local some, seen = prune_head(class, limit)
    pruned, limit = pruned + some, limit - seen
  end
  return pruned
end
local function cut_log(most)
  local known = redis.call('HMGET', T .. ':m', 'log', 'cut')
  local live = redis.call('HLEN', T)
  local surplus = (tonumber(known[1]) or 0) - (tonumber(known[2]) or 0) - most - 4 * live
  local budget, cut = 1000, 0
  while surplus > 0 and budget > 0 do
    local entry = redis.call('XRANGE', T .. ':log', '-', '+', 'COUNT', 1)[1]
    if not entry then break end
    local count = 0
    for run in string.gmatch(entry[2][4], '[^\n]+') do
      local ids, seqs = decode(run)
      count = count + #ids
      if byte(run, 1) == 110 then
        local records = redis.call('HMGET', T, unpack(ids))
        for i, rec in ipairs(records) do
          if rec and tonumber(sub(rec, 24, 32), 16) == seqs[i] then redis.call('ZADD', T .. ':old', seqs[i], ids[i]) end
        end
      end
    end
    redis.call('XDEL', T .. ':log', entry[1])
    surplus, budget, cut = surplus - count, budget - count, cut + count
  end
  if cut > 0 then redis.call('HINCRBY', T .. ':m', 'cut', cut) end
end
local function forget_kinds()
  for _, kind in ipairs(redis.call('ZRANGE', T .. ':kz', '-inf', now() - ${KIND_IDLE_US}, 'BYSCORE', 'LIMIT', 0, 100)) do
    redis.call('ZREM', T .. ':kz', kind)
    if redis.call('HEXISTS', T .. ':kr', kind) == 0 then
      local text = redis.call('HGET', T .. ':kt', kind)
      if text and not KINDS[kind] then
        redis.call('HDEL', T .. ':kn', text)
        redis.call('HDEL', T .. ':kt', kind)
        redis.call('RPUSH', T .. ':kf', kind)
      end
    end
  end
end
`;

/** ARGV: session, sequence, limit, most ended tasks that are kept, most transitions that are. One more part of the answer: pruned, dead sessions, ms until the next. */
export const SWEEP: string = String.raw`
local stored = begin(ARGV[1], ARGV[2])
if stored then return stored end
${LIBRARY}${SCAN}${CHORES}
local limit = math.min(tonumber(ARGV[3]), EFF.left)
EFF.left = limit
local late = redis.call('ZRANGE', T .. ':s', '-inf', now(), 'BYSCORE', 'LIMIT', 0, EFF.left)
local ids = {}
for i, member in ipairs(late) do ids[i] = sub(member, 10) end
fetch(ids)
for i, id in ipairs(ids) do
  redis.call('ZREM', T .. ':s', late[i])
  local row = get(id)
  if row and row.st == 's' then
    place(row)
    eff_readied(row)
    EFF.left = EFF.left - 1
  end
end
late = redis.call('ZRANGE', T .. ':dl', '-inf', now(), 'BYSCORE', 'LIMIT', 0, math.max(EFF.left, 0))
local rows = {}
ids = {}
for i, member in ipairs(late) do ids[i] = sub(member, 10) end
fetch(ids)
for i, id in ipairs(ids) do
  redis.call('ZREM', T .. ':dl', late[i])
  local row = get(id)
  if row and not is_ended(row) then rows[#rows + 1] = row end
end
find_holders(rows)
for _, row in ipairs(rows) do
  if not row.held then
    finish_row(row, 'D', 'DEADLINE')
    eff_ended(row, 'DEADLINE')
    EFF.left = EFF.left - 1
  end
end
drain()
flush_ends()
local pruned = prune_due(limit)
pruned = pruned + shed(limit - pruned, tonumber(ARGV[4]))
forget_kinds()
local deadSessions, nextMs = 0, HUGE
for _, session in ipairs(redis.call('SMEMBERS', T .. ':ho')) do
  if redis.call('EXISTS', claims_key(session)) == 0 then
    if not alive(session) then redis.call('DEL', T .. ':or:' .. session) end
    if redis.call('EXISTS', T .. ':or:' .. session) == 0 then redis.call('SREM', T .. ':ho', session) end
  else
    local leftMs = ((tonumber(redis.call('HGET', K .. 'o:' .. session, 'x')) or 0) - now()) / 1000
    if leftMs <= 0 then
      deadSessions = deadSessions + 1
      nextMs = math.min(nextMs, ${LOOK_MS})
    elseif session ~= ARGV[1] then
      -- When its lease ends somebody has to look.
      nextMs = math.min(nextMs, leftMs)
    end
  end
end
for _, key in ipairs({ ':s', ':dl', ':ec' }) do
  local first = redis.call('ZRANGE', T .. key, 0, 0, 'WITHSCORES')
  if first[1] then nextMs = math.min(nextMs, math.max(0, (tonumber(first[2]) - now()) / 1000)) end
end
local isMore = redis.call('EXISTS', T .. ':fr') == 1
if isMore then nextMs = 0 end
EFF.scheduled = nextMs == 0
local next = nextMs == HUGE and 'inf' or fmt('%.3f', nextMs)
local answer = consequences('') .. '\29' .. int(pruned) .. ' ' .. int(deadSessions) .. ' ' .. next
flush()
cut_log(tonumber(ARGV[5]))
return finish(ARGV[1], ARGV[2], answer)
`;
