/** What is being handled: ended or given back. Needs `LETTERS`. */
export const FLIGHTS: string = /* lua */ `
local ENDED = {}

local function held_of(b, ids)
  return redis.call('HMGET', M .. 'h:' .. b.i, unpack(ids))
end

-- After the count was changed.
local function unhold(b, ids)
  if b.handling == 0 then redis.call('DEL', M .. 'h:' .. b.i) else redis.call('HDEL', M .. 'h:' .. b.i, unpack(ids)) end
end

local function read_held(text)
  local flight, level, delivery, ends, flags, key = string.match(text, '^(%S+) %d+ (%-?%d+) (%d+) (%d+) (%d) (.*)$')
  return { flight = flight, level = tonumber(level), delivery = tonumber(delivery), ends = ends, flags = flags, key = key }
end

-- One of a lane's letters is out no more. Answers whether none is.
local function landed(b, lane, flight)
  ENDED[flight] = (ENDED[flight] or 0) + 1
  b.handling = b.handling - 1
  lane.held = lane.held - 1
  touch(b, lane)
  if lane.held > 0 then return false end
  lane.stalled = false
  lane.holder = '0'
  return true
end

-- Gives a letter back to the front of its lane. The caller deletes what is stored of its flight.
local function put_back(b, id, held, counted, delay)
  local lane, q = lane_of(b, held.key), tonumber(id)
  b.waiting = b.waiting + 1
  lane.queued = lane.queued + 1
  lane.level = lane.queued == 1 and held.level or math.min(lane.level, held.level)
  if lane.queued == 1 or q < lane.head % 4398046511104 then lane.head = score_of(held.level, q) end
  local element = id .. ' ' .. held.level .. ' ' .. (counted and held.delivery + 1 or held.delivery) .. ' ' .. held.ends .. ' ' .. held.flags
  if held.ends ~= '0' then
    if tonumber(held.flags) >= 4 then more(b, 'ends', held.ends, element) end
    b.soon = math.min(b.soon or tonumber(held.ends), tonumber(held.ends))
  end
  more(b, 'waits', id, element)
  lane.returned = lane.returned or {}
  lane.returned[#lane.returned + 1] = { q, element }
  if delay > 0 then lane.due = AT + delay end
  if lane.held > 1 then lane.stalled = true end
  return landed(b, lane, held.flight) and lane.due <= AT
end

local function drop_flight(flight)
  redis.call('DEL', M .. 'f:' .. flight)
  redis.call('HDEL', M .. 'o', flight)
  redis.call('ZREM', M .. 'F', flight)
  redis.call('ZREM', M .. 's:' .. string.match(flight, '^%d+'), flight)
end

-- Forgets flights of which nothing is out any more.
local function close_flights()
  for flight, count in pairs(ENDED) do
    if redis.call('HINCRBY', M .. 'o', flight, -count) <= 0 then drop_flight(flight) end
  end
  ENDED = {}
end
`;

/** What was not acknowledged in time. Needs `FLIGHTS`. */
export const RETURNS: string = /* lua */ `
-- Gives back what is still out of a flight; only: of this mailbox alone.
local function return_flight(flight, only, ready)
  local text = redis.call('GET', M .. 'f:' .. flight)
  if not text then return drop_flight(flight) end
  for i, list in string.gmatch(text, '(%d+):([%d,]+);') do
    local b = (only == nil or only == i) and box_by(i) or nil
    if b ~= nil then
      local ids, back, free = {}, {}, false
      for id in string.gmatch(list, '%d+') do ids[#ids + 1] = id end
      for n, found in ipairs(held_of(b, ids)) do
        local held = found and read_held(found)
        if held and held.flight == flight then
          back[#back + 1] = ids[n]
          free = put_back(b, ids[n], held, true, 0) or free
        end
      end
      BUDGET = BUDGET - #back
      if #back > 0 then unhold(b, back) end
      if free then wake(b, ready) end
    end
  end
  if only == nil then
    ENDED[flight] = nil
    drop_flight(flight)
  else
    close_flights()
  end
end

-- Gives back what was not acknowledged in time, within the budget of the script.
local function reclaim(ready)
  while BUDGET > 0 do
    local late = redis.call('ZRANGE', M .. 'F', '-inf', AT_TEXT, 'BYSCORE', 'LIMIT', 0, 1)[1]
    if late == nil then return end
    return_flight(late, nil, ready)
  end
end
`;

/** Dead letters. Needs `FLIGHTS` and `DEPOSITS`. */
export const DEAD: string = /* lua */ `
-- entries: \`q id\`, as they are stored. Answers the stored letters.
local function take_dead(b, entries)
  local ids = {}
  for n, entry in ipairs(entries) do ids[n] = string.match(entry, '^%d+') end
  local stored = stored_of(b, ids)
  redis.call('ZREM', M .. 'q:' .. b.i, unpack(entries))
  redis.call('ZREM', M .. 'Q:' .. b.i, unpack(entries))
  redis.call('HDEL', M .. 'x:' .. b.i, unpack(ids))
  b.dead = b.dead - #ids
  if b.dead == 0 then redis.call('ZREM', M .. 'dead', b.i) end
  return ids, stored
end

local function discard(b, entries)
  local ids, stored = take_dead(b, entries)
  local froms = {}
  for n, letter in ipairs(unfold({ unpack(stored) })) do froms[n] = sender_of(letter) end
  forget(b, ids, stored)
  b.dropped = b.dropped + #ids
  return froms
end

local function redrive(b, entries)
  local ids, stored = take_dead(b, entries)
  for _, letter in ipairs(unfold({ unpack(stored) })) do
    local ttl, priority, from, key, rest = string.match(letter, '^%S+ (%S+) (%S+) ([^\\n]*)\\n([^\\n]*)\\n(.*)$')
    enqueue(b, {
      from = from, key = key == '' and from or key, ttl = tonumber(ttl), m1 = true, at = AT,
      priority = math.max(-1000, math.min(1000, math.floor(tonumber(priority) or 0))),
      letter = AT_TEXT .. ' ' .. ttl .. ' ' .. priority .. ' ' .. from .. '\\n' .. key .. '\\n' .. rest,
    })
  end
  forget(b, ids, stored)
end

local function keep_dead(b)
  local own = tonumber(string.match(b.settings, '^(%S+) '))
  return math.max(1000, own or 0)
end

local function bury(b, id, held, reason)
  local letter = unfold({ redis.call('HGET', M .. 'd:' .. b.i, id) })[1]
  local entry = id .. ' ' .. string.match(letter, '^[^\\n]*\\n[^\\n]*\\n([^\\n]*)\\n')
  redis.call('HSET', M .. 'x:' .. b.i, id, held.delivery .. ' ' .. reason)
  redis.call('ZADD', M .. 'q:' .. b.i, counter('seq'), entry)
  redis.call('ZADD', M .. 'Q:' .. b.i, id, entry)
  redis.call('ZADD', M .. 'dead', b.i, b.i)
  b.dead = b.dead + 1
  local surplus = math.min(b.dead - keep_dead(b), 250)
  if surplus <= 0 then return end
  local oldest = redis.call('ZRANGE', M .. 'q:' .. b.i, 0, surplus - 1)
  discard(b, oldest)
end
`;
