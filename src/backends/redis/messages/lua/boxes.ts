/*
 * Keys of messages, all behind the mesh's prefix. A mailbox (of an address, or of a group of a topic) has a number, its ordinal `i`;
 * a message has a number, its sequence `q`, which is also its order of arrival.
 *
 * m:c        hash  counters of the whole mesh: published … handling (their sum is exact at every moment), seq, box, version
 * m:n        hash  address, or topic U+0000 group → i
 * m:all      zset  i → i;  m:G:<topic> zset the same for the groups of a topic;  m:dead zset those with dead letters
 * m:due      zset  i → when a sweep should look at it, µs
 * m:b:<i>    hash  address, group, settings, members, listening, counters; latest: the latest expiry of what came since it was empty, µs
 * m:d:<i>    hash  q → letter: `sentAt expiresInMs|- priority from LF orderKey LF id LF JSON`, or `*n` when its text is shared
 * m:B:<n>    hash  body, refs: the text of a letter that many mailboxes share
 * m:w:<i>    zset  what waits: `q level delivery expiresAt flags` → q. Flags: 1 at least once, 2 shared text, 4 in m:e
 * m:k:<i>:<orderKey> list  what of it waits of one order key, in order
 * m:e:<i>    zset  the same texts → when they expire, µs: of those alone that expire before one that came earlier. The others expire in their order.
 * m:l:<i>    hash  orderKey → lane: `queued level held holder stalled notBefore place head`
 * m:r:<i>    zset  lanes that anybody may take from → (1000 − level) × 2^42 + q of their first letter
 * m:r:<i>:<v> zset lanes that only member version v may go on with
 * m:z:<i>    zset  lanes that wait for their time → µs
 * m:h:<i>    hash  q → `flight q level delivery expiresAt flags orderKey`: what is being handled
 * m:i:<i>    hash  `f` or `e`, and sender → letters that the receiver missed because of a full mailbox, or by expiry
 * m:x:<i>    hash  q → `delivery reason` of dead letters;  m:q:<i> zset `q id` in the order of burial;  m:Q:<i> zset `q id` → q
 * m:f:<flight> text  what one `receive` handed out: `i:q,q;…`. Flight: session.sequence
 * m:F        zset  flight → deadline, µs;  m:o hash flight → how many of it are open;  m:s:<session> zset flight → its sequence
 * m:m:<i>    hash  session → membership `version listening keepMs sources topics`; t<session> → whose turn it is
 * m:g:<i>    hash  `ordinal session` → `listening address`: members of a group
 * m:t:<topic> zset i → when it joined: receivers of a topic;  m:T:<topic> hash i → how many memberships are behind it
 * m:j:<session> set of i: where it is a member;  m:x zset session → when its lease ends, as far as was known;  m:closed set
 * m:gone     zset  `i session` → until when the membership of a dead session is kept, µs
 * m:u        zset  ids that senders gave → when, µs
 * m:p:<session> hash  sequence → how far an operation of several scripts has come
 * m:jobs     list  fan-outs and drops that were too much for one script; nobody publishes or subscribes before they are done
 */

/** Mailboxes and their lanes: read once in a script, written back by `sync` and `close_boxes`. */
export const BOXES: string = /* lua */ `
local M, AT, BUDGET = K .. 'm:', now(), 250
local AT_TEXT = int(AT)
-- What a letter for one more mailbox costs of the budget.
local COPY = 4
local KNOWN, OPENED, NAMES, C, CHANGED = {}, {}, {}, nil, {}
local TALLY = { 'published', 'delivered', 'dropped', 'expired', 'dead', 'waiting', 'handling', 'members', 'listening', 'latest' }
local READIED, IS_READIED = {}, {}
-- The operation of several scripts that this one is part of, and losses that a sweep tells of.
local PART, TOLD = nil, nil
-- A text above 64 bytes makes Redis index a small set or hash, which it would search from its front for each of a batch.
local INDEXED = 'this text is here so that Redis indexes the key instead of searching it from its front'

local TOTALS = { 'seq', 'box', 'version', 'published', 'delivered', 'dropped', 'expired', 'dead', 'waiting', 'handling' }

-- Counts on in the mesh's own numbers, which are read and written once. Answers the new one.
local function counter(name, delta)
  if C == nil then
    local found = redis.call('HMGET', M .. 'c', unpack(TOTALS))
    C = {}
    for n, total in ipairs(TOTALS) do C[total] = tonumber(found[n] or 0) end
  end
  local value = C[name] + (delta or 1)
  C[name] = value
  CHANGED[name] = true
  return value
end

local function open_box(i, address, group, settings, counts)
  local b = { i = i, address = address, group = group, settings = settings, lanes = {}, touched = {}, was = {} }
  for n, name in ipairs(TALLY) do
    local count = tonumber(counts[n + 3] or 0)
    b[name] = count
    b.was[name] = count
  end
  KNOWN[i] = b
  OPENED[#OPENED + 1] = b
  return b
end

local function box_by(i)
  local b = KNOWN[i]
  if b ~= nil then return b end
  local found = redis.call('HMGET', M .. 'b:' .. i, 'address', 'group', 'settings', 'published', 'delivered', 'dropped', 'expired',
    'dead', 'waiting', 'handling', 'members', 'listening', 'latest')
  if not found[1] then return nil end
  return open_box(i, found[1], found[2] or nil, found[3] or '', found)
end

local function name_of(address, group)
  if group == nil then return address end
  return address .. '\\0' .. group
end

local function names_of(names)
  local unknown = {}
  for _, name in ipairs(names) do
    if NAMES[name] == nil then
      NAMES[name] = false
      unknown[#unknown + 1] = name
    end
  end
  if #unknown == 0 then return end
  for n, i in ipairs(redis.call('HMGET', M .. 'n', unpack(unknown))) do NAMES[unknown[n]] = i end
end

local function find_box(address, group)
  local name = name_of(address, group)
  if NAMES[name] == nil then names_of({ name }) end
  return NAMES[name] and box_by(NAMES[name]) or nil
end

local function make_box(address, group)
  local b = find_box(address, group)
  if b ~= nil then return b end
  local i, name = int(counter('box')), name_of(address, group)
  redis.call('HSET', M .. 'n', name, i)
  redis.call('ZADD', M .. 'all', i, i)
  redis.call('HSET', M .. 'b:' .. i, 'address', address)
  if group ~= nil then
    redis.call('HSET', M .. 'b:' .. i, 'group', group)
    redis.call('ZADD', M .. 'G:' .. address, i, i)
  end
  NAMES[name] = i
  return open_box(i, address, group, '', {})
end

local function lanes_of(b, keys)
  local unknown = {}
  for _, key in ipairs(keys) do
    if b.lanes[key] == nil then
      b.lanes[key] = false
      unknown[#unknown + 1] = key
    end
  end
  if #unknown == 0 then return end
  local found = redis.call('HMGET', M .. 'l:' .. b.i, unpack(unknown))
  for n, key in ipairs(unknown) do
    local lane
    if found[n] then
      local queued, level, held, holder, stalled, due, place, head =
        string.match(found[n], '^(%d+) (%-?%d+) (%d+) (%d+) (%d) (%d+) (.) (%d+)$')
      local front = tonumber(head)
      due = due == '0' and 0 or tonumber(due)
      lane = {
        key = key, queued = tonumber(queued), level = tonumber(level), held = tonumber(held), holder = holder, stalled = stalled == '1', due = due,
        place = place, head = front, stored = true, was_holder = holder, was_score = place == 'z' and due or front, dirty = false,
        front = queued ~= '0' and front % 4398046511104 or nil,
      }
    else
      lane = {
        key = key, queued = 0, level = 0, held = 0, holder = '0', stalled = false, due = 0, place = '-', head = 0, stored = false,
        was_holder = '0', was_score = 0, dirty = false, front = nil,
      }
    end
    b.lanes[key] = lane
  end
end

local function lane_of(b, key)
  local lane = b.lanes[key]
  if lane then return lane end
  lanes_of(b, { key })
  return b.lanes[key]
end

local function touch(b, lane)
  if lane.dirty then return end
  lane.dirty = true
  b.touched[#b.touched + 1] = lane
end

-- Where a lane is looked for: delayed, free, with its holder, or nowhere. An empty one keeps its delay.
local function place_of(lane)
  if lane.due > AT then return 'z' end
  if lane.queued == 0 or lane.stalled then return '-' end
  return lane.held > 0 and 'h' or 'f'
end

local function zset_of(b, place, holder)
  local names = b.zsets
  if names == nil then
    names = { z = M .. 'z:' .. b.i, f = M .. 'r:' .. b.i }
    b.zsets = names
  end
  local name = place == 'h' and holder or place
  if names[name] == nil then names[name] = M .. 'r:' .. b.i .. ':' .. holder end
  return names[name]
end

local function put(lists, key, a, value)
  local list = lists[key]
  if list == nil then
    list = {}
    lists[key] = list
  end
  list[#list + 1] = a
  if value ~= nil then list[#list + 1] = value end
end

local function send(command, lists)
  for key, list in pairs(lists) do redis.call(command, key, unpack(list)) end
end

-- Puts letters that came back to the front of their lane, among those that did so before.
local function push_front(key, lane)
  local back, before = lane.returned, {}
  lane.returned = nil
  table.sort(back, function(a, c) return a[1] < c[1] end)
  local last = back[#back][1]
  while lane.front ~= nil and lane.front < last do
    local page = redis.call('LRANGE', key, #before, #before + 63)
    for _, element in ipairs(page) do
      local q = tonumber(string.match(element, '^%d+'))
      if q > last then
        lane.front = nil
        break
      end
      before[#before + 1] = { q, element }
    end
    if #page < 64 then break end
  end
  if #before > 0 then
    redis.call('LTRIM', key, #before, -1)
    for _, entry in ipairs(before) do back[#back + 1] = entry end
    table.sort(back, function(a, c) return a[1] < c[1] end)
  end
  local elements = {}
  for n = #back, 1, -1 do elements[#elements + 1] = back[n][2] end
  for n = 1, #elements, 1000 do redis.call('LPUSH', key, unpack(elements, n, math.min(n + 999, #elements))) end
end

-- Small numbers as text: Lua makes one by way of the floating point printer each time.
local DIGITS = {}
local function text_of(n)
  local known = DIGITS[n]
  if known == nil then
    known = int(n)
    DIGITS[n] = known
  end
  return known
end

local function record_of(lane, place, head)
  return text_of(lane.queued) .. ' ' .. text_of(lane.level) .. ' ' .. text_of(lane.held) .. ' ' .. lane.holder .. (lane.stalled and ' 1 ' or ' 0 ')
    .. text_of(lane.due) .. ' ' .. place .. ' ' .. head
end

local function sync_lanes(b)
  local added, removed, records, gone = {}, {}, {}, {}
  local i, touched = b.i, b.touched
  b.touched = {}
  for n = 1, #touched do
    local lane = touched[n]
    local was, key = lane.place, lane.key
    lane.dirty = false
    if lane.returned then push_front(M .. 'k:' .. i .. ':' .. key, lane) end
    if lane.added then
      redis.call('RPUSH', M .. 'k:' .. i .. ':' .. key, unpack(lane.added))
      lane.added = nil
    end
    local place, head = place_of(lane), int(lane.head)
    local score = place == 'z' and lane.due or lane.head
    local moved = place ~= was or (place == 'h' and lane.holder ~= lane.was_holder)
    if moved and was ~= '-' then put(removed, zset_of(b, was, lane.was_holder), key) end
    if place ~= '-' and (moved or score ~= lane.was_score) then
      put(added, zset_of(b, place, lane.holder), place == 'z' and int(score) or head, key)
    end
    if place == 'z' then b.soon = math.min(b.soon or score, score) end
    lane.front = lane.queued > 0 and lane.head % 4398046511104 or nil
    lane.place, lane.was_holder, lane.was_score = place, lane.holder, score
    if lane.queued > 0 or lane.held > 0 or place == 'z' then
      records[#records + 1] = key
      records[#records + 1] = record_of(lane, place, head)
      lane.stored = true
    elseif lane.stored then
      gone[#gone + 1] = key
      lane.stored = false
    end
  end
  send('ZREM', removed)
  send('ZADD', added)
  local lanes = M .. 'l:' .. i
  if #records > 32 then redis.call('HSET', lanes, INDEXED, INDEXED) end
  if #records > 0 then redis.call('HSET', lanes, unpack(records)) end
  if #gone == 0 then return end
  redis.call('HDEL', lanes, unpack(gone))
  if b.waiting + b.handling == 0 and redis.call('HLEN', lanes) == 1 then redis.call('HDEL', lanes, INDEXED) end
end

-- Writes what was changed in a mailbox, so that it can be read again.
local function sync(b)
  if b.letters then
    redis.call('HSET', M .. 'd:' .. b.i, unpack(b.letters))
    b.letters = nil
  end
  if b.waits then
    if #b.waits > 32 then redis.call('ZADD', M .. 'w:' .. b.i, 0, INDEXED) end
    redis.call('ZADD', M .. 'w:' .. b.i, unpack(b.waits))
    b.waits = nil
  end
  if b.ends then
    redis.call('ZADD', M .. 'e:' .. b.i, unpack(b.ends))
    b.ends = nil
  end
  if #b.touched > 0 then sync_lanes(b) end
  if b.soon then
    redis.call('ZADD', M .. 'due', 'LT', int(b.soon), b.i)
    b.soon = nil
  end
end

local function is_idle(b) return b.waiting + b.handling + b.dead + b.members == 0 end

-- Forgets a mailbox with nothing in it and nobody at it.
local function retire(b)
  redis.call('DEL', M .. 'b:' .. b.i, M .. 'l:' .. b.i, M .. 'z:' .. b.i, M .. 'm:' .. b.i, M .. 'i:' .. b.i)
  redis.call('HDEL', M .. 'n', name_of(b.address, b.group))
  redis.call('ZREM', M .. 'all', b.i)
  redis.call('ZREM', M .. 'due', b.i)
  if b.group ~= nil then redis.call('ZREM', M .. 'G:' .. b.address, b.i) end
end

-- Writes everything back; the last thing a script does with mailboxes.
local function close_boxes()
  for _, b in ipairs(OPENED) do
    sync(b)
    local changed = {}
    for n, name in ipairs(TALLY) do
      local delta = b[name] - b.was[name]
      if delta ~= 0 then
        changed[#changed + 1] = name
        changed[#changed + 1] = b[name]
        if n <= 7 then counter(name, delta) end
      end
    end
    if is_idle(b) then
      -- A sweep forgets it, so that its settings outlive a pause; who leaves an address is forgotten at once.
      if b.leaving then retire(b) else redis.call('ZADD', M .. 'due', 'LT', AT_TEXT, b.i) end
    end
    if #changed > 0 and not (b.leaving and is_idle(b)) then redis.call('HSET', M .. 'b:' .. b.i, unpack(changed)) end
  end
  local numbers = {}
  for name in pairs(CHANGED) do
    numbers[#numbers + 1] = name
    numbers[#numbers + 1] = text_of(C[name])
  end
  if #numbers > 0 then redis.call('HSET', M .. 'c', unpack(numbers)) end
end

-- Tells those who may take from a mailbox; of a large group 64, any of whom will do.
local function wake(b, ready)
  if b.members == 0 then return end
  local addresses = { b.address }
  if b.group ~= nil then
    addresses = {}
    local some = redis.call('HRANDFIELD', M .. 'g:' .. b.i, 64, 'WITHVALUES')
    for n = 2, #some, 2 do addresses[#addresses + 1] = string.sub(some[n], 3) end
  end
  for _, address in ipairs(addresses) do
    hint('messages', address)
    if ready and not IS_READIED[address] then
      IS_READIED[address] = true
      READIED[#READIED + 1] = address
    end
  end
end

local function json_of(list)
  return #list == 0 and '[]' or cjson.encode(list)
end
`;
