import { LIBRARY } from './library.ts';
import { FILTER, SCAN, SCAN_PAGE } from './select.ts';

/** Defines `answer(rows, next, scanned)`: the records with who holds them, and the texts of their kinds. Without payloads where `bare`. */
const READ_ANSWER = String.raw`
local function answer(rows, bare, next, scanned)
  local records, ids, sessions, tokens, kinds, texts, seen = {}, {}, {}, {}, {}, {}, {}
  find_holders(rows)
  for i, row in ipairs(rows) do
    local held = row.held
    if bare then row.body, row.result, row.err = '', nil, nil else row.body = body_of(row) end
    ids[i], records[i] = row.id, build(row)
    sessions[i] = held and held.session or ''
    tokens[i] = held and ((held.started and 's' or 'u') .. int(held.token)) or ''
    if not seen[row.kind] then
      seen[row.kind] = true
      kinds[#kinds + 1], texts[#texts + 1] = row.kind, parts(row.kind).text
    end
  end
  return { int(now()), ids, records, sessions, tokens, kinds, texts, next or '', scanned or 0 }
end
`;

/** ARGV: ids. */
export const GET: string = String.raw`
${LIBRARY}${READ_ANSWER}
fetch(ARGV)
local rows, seen = {}, {}
for _, id in ipairs(ARGV) do
  local row = get(id)
  if row and not seen[id] then
    seen[id] = true
    rows[#rows + 1] = row
  end
end
return answer(rows, false)
`;

/** Newest first. ARGV: limit, budget, cursor, filter. Looks at no more than a page of rows; the cursor it answers goes on from there. */
export const LIST_NEWEST: string = String.raw`
${LIBRARY}${FILTER}${SCAN}${READ_ANSWER}
local limit, budget, cursor = tonumber(ARGV[1]), math.min(tonumber(ARGV[2]), ${SCAN_PAGE}), ARGV[3]
parse_filter(4)
local rows, scanned, next = {}, 0, ''
local some = few()
if some then
  local from = tonumber(string.match(cursor, '^%d+')) or HUGE
  table.sort(some, function(a, b) return a.seq > b.seq end)
  find_holders(some)
  local last
  for _, row in ipairs(some) do
    if row.seq < from then
      if #rows >= limit or scanned >= budget then
        next = int(last)
        break
      end
      scanned, last = scanned + 1, row.seq
      if matches(row) then rows[#rows + 1] = row end
    end
  end
else
  scanned, next = scan(cursor, true, budget, function(row)
    if #rows >= limit then return false end
    if matches(row) then rows[#rows + 1] = row end
    return true
  end)
end
return answer(rows, true, next, scanned)
`;

/** The latest end first. ARGV: limit, cursor `time:seq` or nothing, filter. */
export const LIST_ENDED: string = String.raw`
${LIBRARY}${FILTER}${SCAN}${READ_ANSWER}
local limit, cursor = tonumber(ARGV[1]), ARGV[2]
parse_filter(3)
local from, fromSeq = string.match(cursor, '^(%d+):(%d+)$')
from, fromSeq = tonumber(from) or HUGE, tonumber(fromSeq) or HUGE
local heads, rows, looked = {}, {}, 0
-- The last entry that isn't later than the cursor: entries are in the order of their times.
local function last_of(key)
  local low, high = 0, redis.call('LLEN', key)
  if from == HUGE then return high - 1 end
  while low < high do
    local middle = math.floor((low + high) / 2)
    if tonumber(string.match(redis.call('LINDEX', key, middle), '^%d+')) <= from then low = middle + 1 else high = middle end
  end
  return low - 1
end
local function next_of(head)
  if head.at == 0 and head.last >= 0 then
    head.buf = redis.call('LRANGE', head.key, math.max(0, head.last - 63), head.last)
    head.at, head.last = #head.buf, head.last - #head.buf
  end
  local text = head.buf[head.at]
  if not text then return nil end
  head.at = head.at - 1
  return tonumber(string.match(text, '^%d+')), text
end
for _, class in ipairs(redis.call('ZRANGE', T .. ':ec', 0, -1)) do
  local key = T .. ':e:' .. class
  local head = { key = key, buf = {}, at = 0, last = last_of(key) }
  head.ended, head.text = next_of(head)
  if head.ended then heads[#heads + 1] = head end
end
while #heads > 0 and looked < ${SCAN_PAGE} do
  local latest
  for _, head in ipairs(heads) do if latest == nil or head.ended > latest then latest = head.ended end end
  local ids = {}
  for i = #heads, 1, -1 do
    local head = heads[i]
    while head.ended == latest do
      for id in string.gmatch(sub(head.text, find(head.text, '\31', 1, true) + 1), '[^\31]+') do ids[#ids + 1] = id end
      head.ended, head.text = next_of(head)
    end
    if not head.ended then table.remove(heads, i) end
  end
  fetch(ids)
  local some, seen = {}, {}
  for _, id in ipairs(ids) do
    local row = get(id)
    looked = looked + 1
    if row and row.ended == latest and not seen[id] and (latest < from or row.seq < fromSeq) then
      seen[id] = true
      some[#some + 1] = row
    end
  end
  table.sort(some, function(a, b) return a.seq > b.seq end)
  for _, row in ipairs(some) do if matches(row) then rows[#rows + 1] = row end end
  if #rows > limit then break end
end
local next = ''
if #rows > limit then
  for i = #rows, limit + 1, -1 do rows[i] = nil end
  next = int(rows[limit].ended) .. ':' .. int(rows[limit].seq)
end
return answer(rows, true, next, looked)
`;

/**
 * Ready tasks in the order of claims. ARGV: limit, cursor `rank:order` or nothing, most of each lane, filter. A source is looked through from its head.
 */
export const LIST_QUEUE: string = String.raw`
${LIBRARY}${FILTER}${READ_ANSWER}
local limit, cursor, each = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
parse_filter(4)
local from, fromOrder = string.match(cursor, '^(%-?%d+):(%d+)$')
from, fromOrder = tonumber(from) or -HUGE, tonumber(fromOrder) or -1
local lanes, placed = {}, {}
local hasTombs = each < 1e9 or redis.call('EXISTS', T .. ':x') == 1
local function step_of(row, q)
  if row.gen == q.gen then return q.step end
  return row.gen == '00' and 10000000 or tonumber(redis.call('HGET', q.key, 'g' .. row.gen))
end
local function rank_of(row, q) return row.ranked - (tonumber(row.prio, 16) - 1000) * step_of(row, q) end
-- Where in a list the tasks behind the cursor begin: a list is in the order of rank. With dead entries, or counting from its head, at its head.
local function first_after(key, name)
  local low, high = 0, redis.call('LLEN', key)
  if from == -HUGE then return 0 end
  while low < high do
    local middle = math.floor((low + high) / 2)
    local row = get(redis.call('LINDEX', key, middle))
    local rank = rank_of(row, queue(name))
    if rank < from or (rank == from and row.order <= fromOrder) then low = middle + 1 else high = middle end
  end
  return low
end
local function look(pool, src, name)
  local key = T .. ':r:' .. pool .. '\29' .. src
  local isList, ids = byte(src, 1) == 76, nil
  if isList then
    local first = hasTombs and 0 or first_after(key, name)
    ids = redis.call('LRANGE', key, first, first + ${2 * SCAN_PAGE} - 1)
  else
    local low = (each < 1e9 or from == -HUGE) and '-inf' or from
    ids = redis.call('ZRANGE', key, low, '+inf', 'BYSCORE', 'LIMIT', 0, ${2 * SCAN_PAGE})
    for i, member in ipairs(ids) do ids[i] = sub(member, 10) end
  end
  local q, tombs, most = queue(name), {}, 0
  for first = 1, #ids, 250 do
    local some = {}
    for i = first, math.min(first + 249, #ids) do some[#some + 1] = ids[i] end
    fetch(some)
    for _, id in ipairs(some) do
      if isList and tombs[id] == nil then tombs[id] = tonumber(redis.call('HGET', T .. ':x', pool .. '\29' .. src .. '\29' .. id)) or 0 end
      if isList and tombs[id] > 0 then
        tombs[id] = tombs[id] - 1
      else
        local row = get(id)
        row.rank = rank_of(row, q)
        local lane = pool .. '\29' .. row.prio .. (row.x.g or '')
        lanes[lane] = lanes[lane] or {}
        table.insert(lanes[lane], row)
        if row.rank > from or (row.rank == from and row.order > fromOrder) then most = most + 1 end
      end
    end
    if most > limit then return end
  end
end
local function pool_sources(pool, name)
  if FILTER.queue and FILTER.queue ~= name then return end
  for _, src in ipairs(redis.call('ZRANGE', T .. ':h:' .. pool, 0, ${SCAN_PAGE} - 1)) do look(pool, src, name) end
end
for _, pool in ipairs(redis.call('SMEMBERS', T .. ':a')) do pool_sources(pool, parts(pool).queue) end
for _, agent in ipairs(redis.call('SMEMBERS', T .. ':ag')) do
  for _, name in ipairs(redis.call('SMEMBERS', T .. ':ag:' .. agent)) do pool_sources('@' .. agent .. '\29' .. name, name) end
end
for _, name in ipairs(redis.call('SMEMBERS', T .. ':qs')) do
  if not FILTER.queue or FILTER.queue == name then
    for _, group in ipairs(redis.call('SMEMBERS', T .. ':gp:' .. name)) do
      for _, member in ipairs(redis.call('ZRANGE', T .. ':gp:' .. name .. '\29' .. group, 0, -1)) do
        local at = find(member, '\28', 1, true)
        local pool, src = sub(member, 1, at - 1), sub(member, at + 1)
        if not redis.call('ZSCORE', T .. ':h:' .. pool, src) then look(pool, src, name) end
      end
    end
  end
end
local function before(a, b)
  if a.rank ~= b.rank then return a.rank < b.rank end
  return a.order < b.order
end
for _, rows in pairs(lanes) do
  table.sort(rows, before)
  for i, row in ipairs(rows) do
    if i > each then break end
    if row.rank > from or (row.rank == from and row.order > fromOrder) then placed[#placed + 1] = row end
  end
end
table.sort(placed, before)
local rows, next, last = {}, '', nil
for _, row in ipairs(placed) do
  if #rows >= limit then
    next = int(last.rank) .. ':' .. int(last.order)
    break
  end
  last = row
  if matches(row) then rows[#rows + 1] = row end
end
return answer(rows, true, next, #placed)
`;

/** ARGV: cursor `entry:index` or nothing, entries, task or nothing. Answers the time, how many entries it passed over, whether there are more, then entry, time and text of each. */
export const HISTORY: string = String.raw`
local T, at, count, task = K .. 't', ARGV[1], tonumber(ARGV[2]), ARGV[3]
if at == '' then
  at = '-'
  local rec = task ~= '' and redis.call('HGET', T, task)
  if rec then
    local second = math.floor(tonumber(string.sub(rec, 11, 23), 16) / 1000) - 1000
    if second > 0 then at = int(second) end
  end
end
local found = redis.call('XRANGE', T .. ':log', at, '+', 'COUNT', count)
local answer = { int(now()), #found == count and 1 or 0, '' }
for _, one in ipairs(found) do
  local text = one[2][4]
  answer[3] = one[1]
  if task == '' or string.byte(text, 1) == 110 or string.find(text, task, 1, true) then
    answer[#answer + 1] = one[1]
    answer[#answer + 1] = one[2][2]
    answer[#answer + 1] = text
  end
end
return answer
`;

/** ARGV: queues, or none for all. Answers the time, then for each its name, its hash and when its oldest ready task became so. */
export const COUNTS: string = String.raw`
${LIBRARY}
local names = ARGV
if #names == 0 then
  names = redis.call('SMEMBERS', T .. ':qs')
  table.sort(names)
end
local wanted, answer = {}, { int(now()) }
for _, name in ipairs(names) do wanted[name] = {} end
local function note(pool, name)
  if wanted[name] then table.insert(wanted[name], pool) end
end
for _, pool in ipairs(redis.call('SMEMBERS', T .. ':a')) do note(pool, parts(pool).queue) end
for _, agent in ipairs(redis.call('SMEMBERS', T .. ':ag')) do
  for _, name in ipairs(redis.call('SMEMBERS', T .. ':ag:' .. agent)) do note('@' .. agent .. '\29' .. name, name) end
end
local function oldest(name)
  local least
  local function look(pool, src)
    local key = T .. ':r:' .. pool .. '\29' .. src
    local isList = byte(src, 1) == 76
    for _, member in ipairs(redis.call(isList and 'LRANGE' or 'ZRANGE', key, 0, 7)) do
      local id = isList and member or sub(member, 10)
      if not (isList and redis.call('HEXISTS', T .. ':x', pool .. '\29' .. src .. '\29' .. id) == 1) then
        local row = get(id)
        if row and (least == nil or row.ready < least) then least = row.ready end
        if isList then return end
      end
    end
  end
  for _, pool in ipairs(wanted[name]) do
    for _, src in ipairs(redis.call('ZRANGE', T .. ':h:' .. pool, 0, 15)) do look(pool, src) end
  end
  for i, group in ipairs(redis.call('SMEMBERS', T .. ':gp:' .. name)) do
    if i > 64 then break end
    for _, member in ipairs(redis.call('ZRANGE', T .. ':gp:' .. name .. '\29' .. group, 0, 0)) do
      local at = find(member, '\28', 1, true)
      look(sub(member, 1, at - 1), sub(member, at + 1))
    end
  end
  return least
end
for _, name in ipairs(names) do
  local least = oldest(name)
  answer[#answer + 1] = name
  answer[#answer + 1] = redis.call('HGETALL', T .. ':n:' .. name)
  answer[#answer + 1] = least and int(least) or ''
end
return answer
`;
