import { LIBRARY } from './library.ts';
import { WAKE } from './queues.ts';

/** Defines `settle_one(settlement)`, which ends one attempt by whatever means. */
const SETTLE_ONE = String.raw`
local function obeyed(row)
  local reason = row.cancel
  if not reason then return false end
  finish_row(row, 'X', reason)
  return true
end
local function apply(row, s)
  if s.as == 'c' then
    if s.value ~= '' then row.result = s.value end
    finish_row(row, 'C')
  elseif s.as == 'r' then
    if s.value ~= '' then row.err = s.value else row.err = nil end
    if not obeyed(row) then give_back(row, s.delay) end
  elseif s.as == 'b' then
    if s.value ~= '' then row.err = s.value else row.err = nil end
    row.sign = s.signature
    finish_row(row, 'D', s.reason)
  elseif s.as == 'x' then
    finish_row(row, 'X', s.reason)
  elseif not obeyed(row) then
    if sub(s.more, 1, 1) == '1' then row.attempt = row.attempt - 1 end
    local to = sub(s.more, 2, 2)
    if to ~= '' then
      row.x.A, row.changed = nil, true
      if to == '=' then row.x.A = sub(s.more, 3) end
    end
    give_back(row, s.delay, s.reason)
  end
end
local function settle_one(s)
  local row = get(s.id)
  if not row then return 'g' end
  if row.st == 'r' and not row.looked then
    if s.right then hold(row, s.session, s.right) else find_holders({ row }) end
  end
  if row.token ~= s.token then
    bump(queue_of(row), 'x', 1)
    drop_order(s.session, s.token)
    return 't' .. (row.held and 'c' or row.st) .. int(row.token)
  end
  if row.held then apply(row, s) end
  return 's' .. row.st
end
`;

/**
 * Any settlements. ARGV: session, sequence, settlements, then nine for each: id, session that claimed, token, as (c complete, r retry, b bury, x cancel,
 * l release), result or error, reason, signature, delay (µs), and for a release 1 or 0 for the refund, then nothing, `-` any agent, or `=` and an agent.
 */
export const SETTLE: string = String.raw`
local stored = begin(ARGV[1], ARGV[2], true)
if stored then return stored end
${LIBRARY}
${SETTLE_ONE}
local n, ids, results = tonumber(ARGV[3]), {}, {}
local claimed = {}
for i = 1, n do
  local session = ARGV[9 * i - 4]
  ids[i] = ARGV[9 * i - 5]
  claimed[session] = claimed[session] or {}
  table.insert(claimed[session], ids[i])
end
fetch(ids)
for session, some in pairs(claimed) do
  local rights = redis.call('HMGET', claims_key(session), unpack(some))
  for i, id in ipairs(some) do some[id] = rights[i] end
end
for i = 1, n do
  local at = 9 * i - 5
  results[i] = settle_one({
    right = claimed[ARGV[at + 1]][ids[i]], id = ids[i], session = ARGV[at + 1], token = tonumber(ARGV[at + 2]), as = ARGV[at + 3], value = ARGV[at + 4], reason = ARGV[at + 5],
    signature = ARGV[at + 6], delay = tonumber(ARGV[at + 7]), more = ARGV[at + 8],
  })
end
drain()
local answer = consequences(table.concat(results, '\30'))
flush()
return finish(ARGV[1], ARGV[2], answer)
`;

/**
 * Completions of one session's claims. ARGV: session, sequence, session that claimed, completions, queue or nothing where they are of several, first
 * token, ids as the log has them; then three for each: id, token, result. What is only payload is done here and now, the rest as any settlement.
 */
export const COMPLETE: string = String.raw`
local stored = begin(ARGV[1], ARGV[2], true)
if stored then return stored end
${WAKE}
local T, sub, claimer, n, ids = K .. 't', string.sub, ARGV[3], tonumber(ARGV[4]), {}
for i = 1, n do ids[i] = ARGV[5 + 3 * i] end
local rights, records = redis.call('HMGET', T .. ':c:' .. claimer, unpack(ids)), redis.call('HMGET', T, unpack(ids))
local plain, slow, args, seen, at = {}, {}, {}, {}, int(now())
local fast = {
  ['r:0'] = 'C;0', ['r:1'] = 'C;1', ['r:2'] = 'C;2', ['r:3'] = 'C;3', r00 = 'C10', r20 = 'C30', r01 = 'C11', r21 = 'C31', r02 = 'C12', r22 = 'C32', r03 = 'C13', r23 = 'C33',
}
local groups, m, lastBegin, head, firstBegin, firstKeep, isMixed, ends = nil, 0, nil, nil, nil, nil, false, '\31z' .. at .. '\n'
for i = 1, n do
  local rec, right, id, token = records[i], rights[i], ids[i], ARGV[6 + 3 * i]
  local isFast = false
  if rec and right and not seen[id] and sub(right, 2) == token then
    local begin, keep = sub(rec, 1, 8), sub(rec, 33, 34)
    if begin ~= lastBegin then lastBegin, head = begin, fast[sub(rec, 1, 3)] end
    if head and keep ~= '00' then
      isFast, seen[id], m = true, true, m + 1
      if begin ~= firstBegin or keep ~= firstKeep then
        if m > 1 then isMixed = true end
        firstBegin, firstKeep = begin, keep
      end
      if sub(head, 2, 2) == ';' then
        local group = string.match(rec, '^g([^\31\n]*)', 39)
        local name = sub(rec, 4, 8) .. group
        groups = groups or {}
        groups[name] = (groups[name] or 0) + 1
      end
      local result = ARGV[7 + 3 * i]
      plain[m], args[2 * m - 1] = id, id
      if result == '' then
        args[2 * m] = head .. sub(rec, 4, 38) .. 'a1\31t' .. token .. ends .. sub(rec, 39)
      else
        args[2 * m] = head .. sub(rec, 4, 38) .. 'a1\31t' .. token .. '\31R' .. result .. ends .. sub(rec, 39)
      end
    end
  end
  if not isFast then slow[#slow + 1] = i end
end
local opened = false
local function classes()
  local keeps, kinds = {}, {}
  local function note(groups, name, i)
    groups[name] = groups[name] or {}
    table.insert(groups[name], i)
  end
  for i = 1, isMixed and m or 1 do
    local rec = args[2 * i]
    note(keeps, sub(rec, 33, 34) .. (sub(rec, 3, 3) == '0' and 's' or 'f'), plain[i])
    note(kinds, sub(rec, 4, 8), i)
  end
  if not isMixed then
    for class in pairs(keeps) do keeps[class] = plain end
    for kind in pairs(kinds) do kinds[kind] = m end
  end
  return keeps, kinds
end
if m > 0 then
  redis.call('HSET', T, unpack(args))
  redis.call('HDEL', T .. ':c:' .. claimer, unpack(plain))
  local runs, queues = {}, {}
  local keeps, kinds = classes()
  for kind, list in pairs(kinds) do
    local name, count = string.match(redis.call('HGET', T .. ':kt', kind), '^[^\31]*'), isMixed and #list or m
    queues[name] = (queues[name] or 0) + count
    if m < n or ARGV[5] == '' then
      local items = {}
      for j = 1, count do
        local rec = args[2 * (isMixed and list[j] or j)]
        items[j] = plain[isMixed and list[j] or j] .. '\31' .. string.match(rec, '^a1\31t(%d+)', 39)
      end
      runs[#runs + 1] = 'c\31C\0311\31' .. claimer .. '\31' .. name .. '\31\0310\29' .. table.concat(items, '\30')
    end
  end
  if #runs == 0 then runs[1] = 'c\31C\0311\31' .. claimer .. '\31' .. ARGV[5] .. '\31\31' .. ARGV[6] .. '\29' .. ARGV[7] end
  for name, count in pairs(queues) do
    local key = T .. ':n:' .. name
    local limits = redis.call('HMGET', key, 'M', 'r')
    local claimed = redis.call('HINCRBY', key, 'c', -count)
    redis.call('HINCRBY', key, 'C', count)
    local max = tonumber(limits[1])
    if max and claimed < max and max <= claimed + count and tonumber(limits[2] or 0) > 0 then
      opened = true
      wake(name)
    end
  end
  for class, kept in pairs(keeps) do
    local ms = tonumber(sub(class, 1, 2), 36)
    if ms > 40 then ms = math.ceil(40 * 1.025 ^ (ms - 40)) end
    redis.call('RPUSH', T .. ':e:' .. class, at .. '\31' .. table.concat(kept, '\31'))
    redis.call('ZADD', T .. ':ec', 'LT', now() + ms * 1000, class)
    if sub(class, 3) == 's' then redis.call('HINCRBY', T .. ':m', 'shed', #kept) end
  end
  redis.call('XADD', T .. ':log', '*', 'a', at, 'b', table.concat(runs, '\n'))
  redis.call('HINCRBY', T .. ':m', 'log', m)
end
local parked
for name, count in pairs(groups or {}) do
  local queue = string.match(redis.call('HGET', T .. ':kt', sub(name, 1, 5)), '^[^\31]*')
  local group = sub(name, 6)
  local running = redis.call('HINCRBY', T .. ':gr:' .. queue, group, -count)
  if running <= 0 then redis.call('HDEL', T .. ':gr:' .. queue, group) end
  if redis.call('SISMEMBER', T .. ':gp:' .. queue, group) == 1 then
    parked = parked or {}
    parked[#parked + 1] = { queue = queue, group = group, running = running }
  end
end
if #slow == 0 and not parked then
  return finish(ARGV[1], ARGV[2], at .. '\0290\029' .. (opened and '1' or '0') .. '\29*' .. n .. ' sC\29\29')
end
local function others()
  ${LIBRARY}
  ${SETTLE_ONE}
  OPENED = opened
  for _, one in ipairs(parked or {}) do
    local q = queue(one.queue)
    if one.running < q.glimit and unpark(q, one.group) then
      OPENED = true
      wake(q.name)
    end
  end
  local results, wanted = {}, {}
  for i = 1, n do results[i] = 'sC' end
  for j, i in ipairs(slow) do wanted[j] = ids[i] end
  fetch(wanted)
  for _, i in ipairs(slow) do
    results[i] = settle_one({ right = rights[i], id = ids[i], session = claimer, token = tonumber(ARGV[6 + 3 * i]), as = 'c', value = ARGV[7 + 3 * i] })
  end
  drain()
  local answer = consequences(table.concat(results, '\30'))
  flush()
  return answer
end
return finish(ARGV[1], ARGV[2], others())
`;

/** ARGV: session, sequence, claims, then three for each: session that claimed, id, token. Answers the time and a 1 or 0 for each. */
export const START: string = String.raw`
local stored = begin(ARGV[1], ARGV[2])
if stored then return stored end
local T, bits = K .. 't', {}
for i = 1, tonumber(ARGV[3]) do
  local session, id, token = ARGV[3 * i + 1], ARGV[3 * i + 2], ARGV[3 * i + 3]
  local right = redis.call('HGET', T .. ':c:' .. session, id)
  if right and string.sub(right, 2) == token then
    if string.byte(right, 1) == 117 then redis.call('HSET', T .. ':c:' .. session, id, 's' .. token) end
    bits[i] = '1'
  else
    redis.call('HDEL', T .. ':or:' .. session, token)
    bits[i] = '0'
  end
end
return finish(ARGV[1], ARGV[2], int(now()) .. ' ' .. table.concat(bits))
`;
