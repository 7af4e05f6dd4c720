import { library } from './library.ts';

/**
 * Hands out letters of a mailbox. The lanes that may be taken from are read by their first letters and merged; as many lanes as steps are made
 * are enough, because a lane that is not among them can't come before one of them that is untouched. Needs `FLIGHTS`.
 */
const TAKE = /* lua */ `
local WORK, TAKEN = 250, 0

local function recover(b)
  local due = redis.call('ZRANGE', M .. 'z:' .. b.i, '-inf', AT_TEXT, 'BYSCORE', 'LIMIT', 0, 250)
  if #due == 0 then return end
  lanes_of(b, due)
  for _, key in ipairs(due) do
    local lane = b.lanes[key]
    if lane.due <= AT then lane.due = 0 end
    touch(b, lane)
  end
end

local function merged(free, own)
  if #own == 0 then return free end
  local all, a, o = {}, 1, 1
  while a <= #free or o <= #own do
    local list, n = free, a
    if a > #free or (o <= #own and tonumber(own[o + 1]) < tonumber(free[a + 1])) then
      list, n = own, o
      o = o + 2
    else
      a = a + 2
    end
    all[#all + 1] = list[n]
    all[#all + 1] = list[n + 1]
  end
  return all
end

local IS_M1 = { ['1'] = true, ['3'] = true, ['5'] = true, ['7'] = true }

local function score_of_element(element)
  local q, level = string.match(element, '^(%d+) (%-?%d+) ')
  return score_of(tonumber(level), tonumber(q))
end

-- Moves on to the next letter of a lane. Its place among other lanes is asked for only where there are any.
local function advance(b, c, alone)
  c.at = c.at + 1
  local element = c.elements[c.at - c.base]
  if c.lane.queued == 1 then
    -- Whoever opens a lane takes its first letter: that is the whole of this one.
    if c.at == 1 then element = redis.call('LPOP', M .. 'k:' .. b.i .. ':' .. c.lane.key) end
  elseif element == nil and c.at <= c.lane.queued then
    c.base = c.at - 1
    c.elements = redis.call('LRANGE', M .. 'k:' .. b.i .. ':' .. c.lane.key, c.base, c.base + c.chunk - 1)
    c.chunk = c.chunk * 2
    element = c.elements[1]
  end
  c.element = element
  if element ~= nil and not alone then c.score = score_of_element(element) end
end

local function open_lane(b, key, chunk, alone)
  local c = { lane = b.lanes[key], at = 0, base = 0, elements = {}, chunk = chunk, out = 0 }
  advance(b, c, alone)
  return c
end

-- Puts a lane back in its place among those begun.
local function insert(begun, c)
  local n = #begun
  while n > 0 and begun[n].score > c.score do
    begun[n + 1] = begun[n]
    n = n - 1
  end
  begun[n + 1] = c
end

-- Ends the letters that expired on the way, and the receiver is told that it missed them.
local function bury_late(b, dead)
  local stored = stored_of(b, dead)
  for _, letter in ipairs(unfold({ unpack(stored) })) do
    local from = sender_of(letter)
    miss(b, from, 'e')
  end
  forget(b, dead, stored)
  b.expired = b.expired + #dead
end

local function write_round(b, version, begun, elements, listed)
  for _, c in ipairs(begun) do
    local lane = c.lane
    if lane.queued > 1 then redis.call('LTRIM', M .. 'k:' .. b.i .. ':' .. lane.key, c.at - 1, -1) end
    lane.queued = lane.queued - (c.at - 1)
    if c.element ~= nil then lane.head = score_of_element(c.element) end
    if c.out > 0 then
      lane.held = lane.held + c.out
      lane.holder = version
    end
    touch(b, lane)
  end
  b.waiting = b.waiting - #elements
  if #elements > 0 then unlist(b, elements, listed) end
  if b.held == nil then return end
  if #b.held > 32 then redis.call('HSET', M .. 'h:' .. b.i, 'indexed', INDEXED) end
  redis.call('HSET', M .. 'h:' .. b.i, unpack(b.held))
  b.handling = b.handling + #b.held / 2
  b.held = nil
end

local function round(b, version, limit, one, flight, out)
  -- As many steps as lanes were read are safe; letters that have expired take some of them.
  local span = limit + 16
  local free = redis.call('ZRANGE', M .. 'r:' .. b.i, 0, span - 1, 'WITHSCORES')
  local own = one and {} or redis.call('ZRANGE', M .. 'r:' .. b.i .. ':' .. version, 0, span - 1, 'WITHSCORES')
  local list = merged(free, own)
  local lanes = #list / 2
  if lanes == 0 then return 0, false end
  local chunk, alone = one and 2 or math.ceil(limit / lanes) + 1, lanes == 1
  local queue, begun, p, ahead, taken, dead = {}, {}, 1, 0, 0, {}
  local elements, listed, good = {}, {}, '0'
  local cut = #free >= 2 * span or #own >= 2 * span
  while taken < limit and WORK > 0 and not (cut and taken + #dead >= span) do
    local c
    local first = queue[1]
    if p <= #list and (first == nil or tonumber(list[p + 1]) < first.score) then
      if p > ahead then
        local keys = {}
        for n = p, math.min(p + 126, #list), 2 do keys[#keys + 1] = list[n] end
        lanes_of(b, keys)
        ahead = p + 126
      end
      c = open_lane(b, list[p], chunk, alone)
      begun[#begun + 1] = c
      p = p + 2
    elseif first ~= nil then
      c = first
      table.remove(queue, 1)
    else
      break
    end
    repeat
      WORK = WORK - 1
      local again, element = true, c.element
      local id, delivery, ends, flags = string.match(element, '^(%d+) %-?%d+ (%d+) (%d+) (%d)$')
      elements[#elements + 1] = element
      if flags >= '4' then listed[#listed + 1] = element end
      if ends ~= good and ends ~= '0' and tonumber(ends) <= AT then
        dead[#dead + 1] = id
      else
        good = ends
        taken = taken + 1
        out[#out + 1] = id
        if IS_M1[flags] then
          out[#out + 1] = delivery
          c.out = c.out + 1
          again = not one
          more(b, 'held', id, flight .. ' ' .. element .. ' ' .. c.lane.key)
        else
          out[#out + 1] = '0'
        end
      end
      advance(b, c, alone)
      again = again and c.element ~= nil
      if again and not alone then insert(queue, c) end
    until not (alone and again and taken < limit and WORK > 0)
  end
  write_round(b, version, begun, elements, listed)
  if #dead > 0 then bury_late(b, dead) end
  return taken, cut
end

-- Takes up to so many letters. Answers whether there may be more that the budget did not allow.
local function take(b, version, limit, one, flight, out)
  recover(b)
  sync(b)
  while limit > 0 and WORK > 0 do
    local taken, again = round(b, version, limit, one, flight, out)
    limit = limit - taken
    if not again then break end
    sync(b)
  end
  return limit > 0 and WORK <= 0
end
`;

/**
 * ARGV: session, sequence, time to acknowledge in µs, then three an address: address, limit, 1 for one of an order key.
 *
 * Answers an array: `at next LF losses LF runs`, then the letters. next: µs until a delayed one may be had, or -1; losses: JSON arrays
 * `[from, address, count, reason]`; runs: `place among the addresses, mailbox, count`, then sequence and delivery of each (delivery 0: at most
 * once), all in one line. The record of the operation holds the letters that are gone from the store.
 */
export const RECEIVE: string = /* lua */ `${library('letters', 'member')}${TAKE}
local session, sequence, within = ARGV[1], ARGV[2], tonumber(ARGV[3])
local flight = session .. '.' .. sequence

-- The answer of a repeated operation. What is settled or taken back meanwhile is no delivery any more.
local function replay(record)
  local head, runs, kept, letters = cmsgpack.unpack(record), {}, nil, {}
  kept = head[3]
  for _, run in ipairs(head[2]) do
    local ids, deliveries = {}, {}
    for n = 3, #run, 2 do
      ids[#ids + 1] = run[n]
      deliveries[#deliveries + 1] = run[n + 1]
    end
    local held = redis.call('HMGET', M .. 'h:' .. run[2], unpack(ids))
    local texts = unfold(stored_of({ i = run[2] }, ids))
    local line = {}
    for n, id in ipairs(ids) do
      local text = nil
      if deliveries[n] == '0' then
        text = kept[id]
      elseif held[n] and string.sub(held[n], 1, #flight + 1) == flight .. ' ' then
        text = texts[n]
      end
      if text then
        letters[#letters + 1] = text
        line[#line + 1] = id .. ' ' .. deliveries[n]
      end
    end
    if #line > 0 then runs[#runs + 1] = run[1] .. ' ' .. run[2] .. ' ' .. #line .. ' ' .. table.concat(line, ' ') end
  end
  return { head[1] .. table.concat(runs, ' '), unpack(letters) }
end

local known = begin(session, sequence)
if known then return replay(known) end
tidy_when_due()
if redis.call('ZRANGE', M .. 'F', '-inf', AT_TEXT, 'BYSCORE', 'LIMIT', 0, 1)[1] then rare().reclaim(false) end

local names, lost, next_due, out, runs = {}, {}, nil, {}, {}
local cut = BUDGET <= 0 and redis.call('ZCOUNT', M .. 'F', '-inf', AT_TEXT) > 0
for n = 4, #ARGV, 3 do names[#names + 1] = ARGV[n] end
names_of(names)
for n = 4, #ARGV, 3 do
  local own = find_box(ARGV[n])
  local member = own and member_of(own.i, session)
  if member then
    local limit, one, sources, turn = tonumber(ARGV[n + 1]), ARGV[n + 2] == '1', member.sources, 0
    if #sources > 1 then turn = redis.call('HINCRBY', M .. 'm:' .. own.i, 't' .. session, 1) end
    for s = 0, #sources - 1 do
      local b = box_by(sources[(turn + s) % #sources + 1])
      local before = #out
      if limit > 0 then
        cut = take(b, member.version, limit, one, flight, out) or cut
        limit = limit - (#out - before) / 2
      else
        recover(b)
      end
      if #out > before then
        WORK = WORK - COPY / 2
        local run = { int((n - 4) / 3), b.i }
        for k = before + 1, #out do run[#run + 1] = out[k] end
        runs[#runs + 1] = run
      end
      sync(b)
      take_missed(b, lost)
      local due = redis.call('ZRANGE', M .. 'z:' .. b.i, 0, 0, 'WITHSCORES')[2]
      if due then next_due = math.min(next_due or tonumber(due), tonumber(due)) end
    end
  end
  if WORK <= 0 and n + 3 <= #ARGV then cut = true end
end

local letters, kept, lines, listed = {}, {}, {}, {}
for _, run in ipairs(runs) do
  local b = box_by(run[2])
  local ids, gone, held = {}, {}, {}
  for n = 3, #run, 2 do ids[#ids + 1] = run[n] end
  local stored = stored_of(b, ids)
  local texts, ended = unfold({ unpack(stored) }), {}
  for n, id in ipairs(ids) do
    letters[#letters + 1] = texts[n]
    if run[2 * n + 2] == '0' then
      kept[id] = texts[n]
      gone[#gone + 1] = id
      ended[#ended + 1] = stored[n]
    else
      held[#held + 1] = id
    end
  end
  if #gone > 0 then
    forget(b, gone, ended)
    b.delivered = b.delivered + #gone
  end
  if #held > 0 then
    TAKEN = TAKEN + #held
    listed[#listed + 1] = b.i .. ':' .. table.concat(held, ',') .. ';'
  end
  lines[#lines + 1] = run[1] .. ' ' .. run[2] .. ' ' .. #ids .. ' ' .. table.concat(run, ' ', 3)
end
if TAKEN > 0 then
  redis.call('SET', M .. 'f:' .. flight, table.concat(listed))
  redis.call('ZADD', M .. 'F', int(AT + within), flight)
  redis.call('HSET', M .. 'o', flight, TAKEN)
  redis.call('ZADD', M .. 's:' .. session, sequence, flight)
end
close_boxes()
local wait = '-1'
if cut then wait = '0' elseif next_due then wait = int(math.max(0, next_due - AT)) end
local head = AT_TEXT .. ' ' .. wait .. '\\n' .. json_of(lost) .. '\\n'
finish(session, sequence, cmsgpack.pack({ head, runs, kept }))
return { head .. table.concat(lines, ' '), unpack(letters) }
`;
