import { CHOOSE } from './choose.ts';
import { QUEUES } from './queues.ts';

/*
 * A claim's operation record is `<first token> <claims> <more> <time>`: its answer is made again from `t:c:<session>`.
 */

/** Defines `answer(at, more, ids, records, rights)`: what a claim is told, with the texts of the kinds it meets. `rights` as in `t:c:`, or the
 * first token and how many are started. */
export const CLAIM_ANSWER: string = String.raw`
local function answer(at, more, ids, records, rights)
  local seen, kinds = {}, {}
  for i = 1, #records do
    local rec = records[i]
    local kind = string.sub(rec, 4, 8)
    if rec ~= '' and string.byte(rec, 3) >= 80 then records[i] = rec .. (redis.call('HGET', T .. ':b', ids[i]) or '') end
    if not seen[kind] then
      seen[kind] = true
      kinds[#kinds + 1] = kind
    end
  end
  local texts = #kinds > 0 and redis.call('HMGET', T .. ':kt', unpack(kinds)) or {}
  return { at, more, table.concat(ids, '\30'), records, rights, kinds, texts }
end
local function replay(stored)
  local first, count, more, at = string.match(stored, '^(%d+) (%d+) (%d) (%d+)$')
  first = tonumber(first)
  local ids, rights, claims = {}, {}, {}
  if count ~= '0' then
    local found, last = redis.call('HGETALL', T .. ':c:' .. ARGV[1]), first + tonumber(count) - 1
    for i = 1, #found, 2 do
      local token = tonumber(string.match(found[i + 1], '^%d+', 2))
      if token >= first and token <= last then claims[#claims + 1] = { id = found[i], right = found[i + 1], token = token } end
    end
    table.sort(claims, function(a, b) return a.token < b.token end)
    for i, one in ipairs(claims) do ids[i], rights[i] = one.id, one.right end
  end
  local found, records = #ids > 0 and redis.call('HMGET', T, unpack(ids)) or {}, {}
  for i = 1, #ids do records[i] = found[i] or '' end
  return answer(at, more, ids, records, rights)
end
`;

/** Defines `parse_offers(at)` and `first_offer(offers, type, capabilities)`: the first with slots left that serves these. */
export const OFFERS: string = String.raw`
local function parse_offers(at, count)
  local offers, slots = {}, 0
  for i = 1, count do
    local offer = { slots = tonumber(ARGV[at]), has = {}, types = nil }
    for name in string.gmatch(ARGV[at + 1], '[^\30]+') do offer.has[name] = true end
    if ARGV[at + 2] ~= '*' then
      offer.types = {}
      for name in string.gmatch(ARGV[at + 2], '[^\30]+') do offer.types[name] = true end
    end
    offers[i], slots, at = offer, slots + offer.slots, at + 3
  end
  return offers, slots, at
end
-- By a capability of a task: the offers that may serve it.
local function candidates_of(offers)
  local having
  return function(capabilities)
    if capabilities == '' or #offers < 8 then return offers end
    if having == nil then
      having = {}
      for _, offer in ipairs(offers) do
        for name in pairs(offer.has) do
          having[name] = having[name] or {}
          table.insert(having[name], offer)
        end
      end
    end
    return having[string.match(capabilities, '^[^\30]*')] or {}
  end
end
local function serves(offer, type, capabilities)
  if offer.types and not offer.types[type] then return false end
  if capabilities ~= '' then
    for name in string.gmatch(capabilities, '[^\30]+') do if not offer.has[name] then return false end end
  end
  return true
end
`;

/** Claims of one call: a longer script would keep everybody else waiting. */
export const MOST_CLAIMS = 250;
/** Of them, so many are for tasks of particular agents where there are some: else those would wait for as long as there is enough of the others. */
const KEPT_FOR_AGENTS = MOST_CLAIMS / 2;

/**
 * ARGV: session, sequence, limit, start, assigned, offers, then three for each: slots, capabilities, types or `*`; queues or −1, then two for each:
 * name, limit; kinds to do without, then each as type, capabilities and placement in one text; agents, then their names.
 */
export const CLAIM: string = String.raw`
local T, HUGE, fmt, sub, byte, find = K .. 't', math.huge, string.format, string.sub, string.byte, string.find
${CLAIM_ANSWER}
local stored = begin(ARGV[1], ARGV[2])
if stored then return replay(stored) end
${QUEUES}${OFFERS}${CHOOSE}
local session, limit, start, assigned = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local offers, slots, at = parse_offers(7, tonumber(ARGV[6]))
local candidates = candidates_of(offers)
local named, order = tonumber(ARGV[at]), {}
at = at + 1
for i = 1, named do
  order[i] = { name = ARGV[at], left = tonumber(ARGV[at + 1]) }
  at = at + 2
end
local without = nil
for i = 1, tonumber(ARGV[at]) do
  without = without or {}
  without[ARGV[at + i]] = true
end
at = at + tonumber(ARGV[at]) + 1
local agents = tonumber(ARGV[at])
local pools, queues, count = redis.call('SMEMBERS', T .. ':a'), {}, 0
for first = 1, #pools, 1000 do
  local last = math.min(first + 999, #pools)
  local texts = redis.call('HMGET', T .. ':kt', unpack(pools, first, last))
  for i = first, last do
    local text = texts[i - first + 1]
    local to = find(text, '\31', 1, true)
    local name, rest = sub(text, 1, to - 1), sub(text, to + 1)
    local list = queues[name]
    if list == nil then
      list = {}
      queues[name] = list
      count = count + 1
      if named < 0 then order[count] = { name = name, left = HUGE } end
    end
    if not (without and without[rest]) then
      local type, capabilities = string.match(rest, '^([^\31]*)\31([^\31]*)')
      local fitting = {}
      for _, offer in ipairs(candidates(capabilities)) do
        if offer.slots > 0 and serves(offer, type, capabilities) then fitting[#fitting + 1] = offer end
      end
      if #fitting > 0 then list[#list + 1] = { pool = pools[i], offers = fitting } end
    end
  end
end
local hosted = {}
if agents > 0 and assigned > 0 and redis.call('EXISTS', T .. ':ag') == 1 then
  for first = 1, agents, 1000 do
    local last = math.min(first + 999, agents)
    for i, is in ipairs(redis.call('SMISMEMBER', T .. ':ag', unpack(ARGV, at + first, at + last))) do
      if is == 1 then
        local agent = { name = ARGV[at + first + i - 1], queues = {} }
        for _, name in ipairs(redis.call('SMEMBERS', T .. ':ag:' .. agent.name)) do
          agent.queues[name] = true
          if named < 0 and queues[name] == nil then
            queues[name] = {}
            order[#order + 1] = { name = name, left = HUGE }
          end
        end
        hosted[#hosted + 1] = agent
      end
    end
  end
end
if #hosted > 0 then limit = math.min(limit, ${MOST_CLAIMS} - math.min(assigned, ${KEPT_FOR_AGENTS})) end
local visits = {}
for _, one in ipairs(order) do
  local list = queues[one.name] or (#hosted > 0 and {})
  if list then
    local q = queue(one.name)
    q.taken = 0
    if not q.paused and q.n.c < q.max then visits[#visits + 1] = { q = q, left = one.left, pools = list } end
  end
end
if #visits > 1 then
  table.sort(visits, function(a, b) return a.q.name < b.q.name end)
  local turn = redis.call('HINCRBY', T .. ':m', 'turn', 1) % #visits
  local turned = {}
  for i = 1, #visits do turned[i] = visits[(i - 1 + turn) % #visits + 1] end
  visits = turned
end
local tombs = redis.call('EXISTS', T .. ':x') == 1
local ids, records, runs, taken, more, write = nil, nil, nil, 0, false, nil
local first = visits[1]
if first and #visits == 1 and #first.pools == 1 and #hosted == 0 and not tombs and not first.q.fair and limit > 0 then
  local pool, q = first.pools[1], first.q
  local sources = redis.call('ZRANGE', T .. ':h:' .. pool.pool, 0, 1)
  local src = sources[1]
  if #sources == 1 and (src == 'Z' or (byte(src, 1) == 76 and #src == 6)) then
    local room, key = 0, T .. ':r:' .. pool.pool .. '\29' .. src
    for _, offer in ipairs(pool.offers) do room = room + offer.slots end
    room = math.min(limit, room, first.left, q.max - q.n.c)
    if byte(src, 1) == 76 then
      ids = redis.call('LPOP', key, room) or {}
    else
      local found = redis.call('ZPOPMIN', key, room)
      ids = {}
      for i = 1, #found, 2 do ids[#ids + 1] = sub(found[i], 10) end
    end
    taken, q.taken = #ids, #ids
    more = redis.call('EXISTS', key) == 1
    if not more then
      redis.call('ZREM', T .. ':h:' .. pool.pool, src)
      redis.call('SREM', T .. ':a', pool.pool)
    end
    more = more and q.n.c + taken < q.max
    records = taken > 0 and redis.call('HMGET', T, unpack(ids)) or {}
  end
end
if ids == nil then
  local picked
  ids, records = {}, {}
  if #visits > 0 then
    picked, taken, more, write = choose(visits, slots, limit, assigned, hosted, tombs, ${MOST_CLAIMS})
    write()
    for i, one in ipairs(picked) do ids[i], records[i] = one.id, one.rec end
    runs = picked
  end
end
local total = #ids
if total == 0 then
  finish(session, ARGV[2], '0 0 ' .. (more and '1 ' or '0 ') .. int(now()))
  return { int(now()), more and '1' or '0', '', records, {}, {}, {} }
end
-- Nothing where its end concerns more than counters: it has a changing part, children, a deadline, or isn't kept.
local function mark_of(rec, keep)
  local f1, f2 = byte(rec, 2) - 48, byte(rec, 3) - 48
  if f1 % 2 == 1 or f1 >= 32 or f2 % 16 >= 8 or keep == '00' then return '' end
  return ' ' .. keep .. (f2 % 4 > 0 and 'f' or 's') .. sub(rec, 4, 8) .. (f1 % 16 >= 8 and string.match(rec, '^g([^\31\n]*)', 39) or '')
end
local token = tokens(total)
local high, low, args = math.floor(token / 1000000), token % 1000000, {}
local begun = math.min(start, taken)
local prefix = 's' .. int(high)
local lastBegin, lastKeep, mark
for i = 1, total do
  local rec = records[i]
  local begin, keep = sub(rec, 2, 8), sub(rec, 33, 34)
  if begin ~= lastBegin or keep ~= lastKeep or #mark > 9 then
    lastBegin, lastKeep, mark = begin, keep, mark_of(rec, keep)
  end
  if i == begun + 1 then prefix = 'u' .. int(high) end
  args[2 * i - 1] = ids[i]
  if low < 1000000 then
    args[2 * i] = prefix .. fmt('%06d', low) .. mark
  else
    args[2 * i] = (i > begun and 'u' or 's') .. int(token + i - 1) .. mark
  end
  low = low + 1
end
redis.call('HSET', T .. ':c:' .. session, unpack(args))
redis.call('SADD', T .. ':ho', session)
local log, q, odd = nil, first and first.q, false
for i = 1, total do
  if byte(records[i], 2) ~= 48 then odd = true end
end
local function head_of(attempt, of, i) return 'r\31c\31' .. attempt .. '\31' .. session .. '\31' .. of.name .. '\31\31' .. int(token + i - 1) .. '\29' end
if not odd and runs == nil then
  log = head_of('1', q, 1) .. table.concat(ids, '\30')
else
  local texts, last, lastQ = {}, nil, nil
  for i = 1, total do
    local rec, attempt, of = records[i], '1', runs and runs[i].q or q
    local f1 = byte(rec, 2) - 48
    if f1 % 2 == 1 and byte(rec, 39) == 97 then attempt = int(tonumber(string.match(rec, '^%d+', 40)) + 1) end
    if f1 % 8 >= 4 then
      local from = f1 % 2 == 1 and find(rec, '\n', 39, true) + 1 or 39
      local weight = string.match('\31' .. sub(rec, from, find(rec, '\n', from, true) - 1), '\31w([^\31]*)')
      bump(of, 'on', -1)
      of.ow = of.ow - tonumber(weight)
    end
    if last ~= attempt or lastQ ~= of then
      texts[i] = (i > 1 and '\n' or '') .. head_of(attempt, of, i) .. ids[i]
      last, lastQ = attempt, of
    else
      texts[i] = '\30' .. ids[i]
    end
  end
  log = table.concat(texts)
end
for name, one in pairs(QUEUES) do
  local n = one.taken or 0
  if n > 0 then
    bump(one, 'r', -n)
    bump(one, 'c', n)
    bump(one, 'a', n)
  end
end
flush_queues()
redis.call('XADD', T .. ':log', '*', 'a', int(now()), 'b', log)
redis.call('HINCRBY', T .. ':m', 'log', total)
local flag = more and '1' or '0'
finish(session, ARGV[2], int(token) .. ' ' .. total .. ' ' .. flag .. ' ' .. int(now()))
return answer(int(now()), flag, ids, records, int(token) .. ' ' .. int(begun))
`;

/**
 * Which of many offers and agents there is something for. ARGV: offers, then three for each as a claim has them; agents, then their names. Answers their
 * places, from 1.
 */
export const WANTED: string = String.raw`
local T, find, sub = K .. 't', string.find, string.sub
${OFFERS}
local offers, _, at = parse_offers(2, tonumber(ARGV[1]))
local candidates, seen, fitting, hosted = candidates_of(offers), {}, {}, {}
for i, offer in ipairs(offers) do offer.place = i end
local pools = #offers > 0 and redis.call('SMEMBERS', T .. ':a') or {}
for first = 1, #pools, 1000 do
  for _, text in ipairs(redis.call('HMGET', T .. ':kt', unpack(pools, first, math.min(first + 999, #pools)))) do
    local type, capabilities = string.match(text, '^[^\31]*\31([^\31]*)\31([^\31]*)')
    local need = type .. '\31' .. capabilities
    if not seen[need] then
      seen[need] = true
      for _, offer in ipairs(candidates(capabilities)) do
        if not offer.fits and serves(offer, type, capabilities) then
          offer.fits = true
          fitting[#fitting + 1] = offer.place
        end
      end
    end
  end
end
local agents = tonumber(ARGV[at])
if agents > 0 then
  for i, is in ipairs(redis.call('SMISMEMBER', T .. ':ag', unpack(ARGV, at + 1, at + agents))) do
    if is == 1 then hosted[#hosted + 1] = i end
  end
end
return { fitting, hosted }
`;
