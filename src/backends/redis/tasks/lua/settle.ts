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
 * token, ids as the log has them, each once, then the results with \30 between, or nothing where none has one. What a claim is marked for is done here
 * and now, without a look at its record; the rest as any settlement.
 */
export const COMPLETE: string = String.raw`
local stored = begin(ARGV[1], ARGV[2], true)
if stored then return stored end
${WAKE}
local T, sub, find, claimer, n = K .. 't', string.sub, string.find, ARGV[3], tonumber(ARGV[4])
local ids, tokens, at = {}, {}, int(now())
local function split(text)
  local from, parts = 1, {}
  for i = 1, n do
    local to = find(text, '\30', from, true)
    parts[i] = sub(text, from, to and to - 1 or -1)
    from = to and to + 1
  end
  return parts
end
ids = split(ARGV[7])
local results, token, isRun = ARGV[8] ~= '' and split(ARGV[8]), tonumber(ARGV[6]), not find(ARGV[7], '\31', 1, true)
for i = 1, n do
  if not isRun then
    local to = find(ids[i], '\31', 1, true)
    if to then ids[i], token = sub(ids[i], 1, to - 1), tonumber(sub(ids[i], to + 1)) end
  end
  tokens[i], token = token, token + 1
end
local rights = redis.call('HMGET', T .. ':c:' .. claimer, unpack(ids))
local plain, slow, args, m, first, marks, ends = {}, {}, {}, 0, nil, nil, '\31z' .. at
for i = 1, n do
  local right = rights[i]
  local to = right and find(right, ' ', 2, true)
  local own = to and sub(right, 2, to - 1)
  if to and tonumber(own) == tokens[i] then
    local mark, result = sub(right, to), results and results[i] or ''
    if first == nil then first = mark end
    if mark ~= first and marks == nil then
      marks = { [first] = {} }
      for j = 1, m do marks[first][j] = j end
    end
    m = m + 1
    if marks then
      if marks[mark] == nil then marks[mark] = {} end
      marks[mark][#marks[mark] + 1] = m
    end
    plain[m], args[2 * m - 1] = ids[i], ids[i]
    if result == '' then
      args[2 * m] = 'Ca1\31t' .. own .. ends
    else
      args[2 * m] = 'Ca1\31t' .. own .. '\31R' .. result .. ends
    end
  else
    slow[#slow + 1] = i
  end
end
local opened, parked = false, nil
local function leave_group(queue, group, count)
  local running = redis.call('HINCRBY', T .. ':gr:' .. queue, group, -count)
  if running <= 0 then redis.call('HDEL', T .. ':gr:' .. queue, group) end
  if redis.call('SISMEMBER', T .. ':gp:' .. queue, group) == 1 then
    parked = parked or {}
    parked[#parked + 1] = { queue = queue, group = group, running = running }
  end
end
if m > 0 then
  redis.call('HSET', T .. ':z', unpack(args))
  redis.call('HDEL', T .. ':c:' .. claimer, unpack(plain))
  local runs, queues = {}, {}
  for mark, list in pairs(marks or { [first] = false }) do
    local class, group, some, count = sub(mark, 2, 4), sub(mark, 10), plain, m
    local queue = string.match(redis.call('HGET', T .. ':kt', sub(mark, 5, 9)), '^[^\31]*')
    if list then
      some, count = {}, #list
      for j = 1, count do some[j] = plain[list[j]] end
    end
    queues[queue] = (queues[queue] or 0) + count
    if m < n or ARGV[5] == '' then
      local items = {}
      for j = 1, count do items[j] = some[j] .. '\31' .. string.match(args[2 * (list and list[j] or j)], '^Ca1\31t(%d+)') end
      runs[#runs + 1] = 'c\31C\0311\31' .. claimer .. '\31' .. queue .. '\31\0310\29' .. table.concat(items, '\30')
    end
    local ms = tonumber(sub(class, 1, 2), 36)
    if ms > 40 then ms = math.ceil(40 * 1.025 ^ (ms - 40)) end
    redis.call('RPUSH', T .. ':e:' .. class, at .. '\31' .. table.concat(some, '\31'))
    redis.call('ZADD', T .. ':ec', 'LT', now() + ms * 1000, class)
    if sub(class, 3) == 's' then redis.call('HINCRBY', T .. ':m', 'shed', count) end
    if group ~= '' then leave_group(queue, group, count) end
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
  redis.call('XADD', T .. ':log', '*', 'a', at, 'b', table.concat(runs, '\n'))
  redis.call('HINCRBY', T .. ':m', 'log', m)
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
  local answers, wanted = {}, {}
  for i = 1, n do answers[i] = 'sC' end
  for j, i in ipairs(slow) do wanted[j] = ids[i] end
  fetch(wanted)
  for _, i in ipairs(slow) do
    answers[i] = settle_one({ right = rights[i], id = ids[i], session = claimer, token = tokens[i], as = 'c', value = results and results[i] or '' })
  end
  drain()
  local answer = consequences(table.concat(answers, '\30'))
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
  if right and string.match(right, '^%d+', 2) == token then
    if string.byte(right, 1) == 117 then redis.call('HSET', T .. ':c:' .. session, id, 's' .. string.sub(right, 2)) end
    bits[i] = '1'
  else
    redis.call('HDEL', T .. ':or:' .. session, token)
    bits[i] = '0'
  end
end
return finish(ARGV[1], ARGV[2], int(now()) .. ' ' .. table.concat(bits))
`;
