/** What letters look like, and how they end. Needs `BOXES`. */
export const LETTERS: string = /* lua */ `
local NEVER = 9007199254740991
local function score_of(level, q) return (1000 - level) * 4398046511104 + q end

local function more(b, list, first, second)
  local into = b[list]
  if into == nil then
    b[list] = { first, second }
    return
  end
  local n = #into
  into[n + 1] = first
  into[n + 2] = second
end

local function unshare(number)
  if redis.call('HINCRBY', M .. 'B:' .. number, 'refs', -1) <= 0 then redis.call('DEL', M .. 'B:' .. number) end
end

-- The whole texts of letters, given as they are stored.
local function unfold(letters)
  local shared = {}
  for n, letter in ipairs(letters) do
    if letter and string.byte(letter) == 42 then
      local number = string.sub(letter, 2)
      if shared[number] == nil then shared[number] = redis.call('HGET', M .. 'B:' .. number, 'body') end
      letters[n] = shared[number]
    end
  end
  return letters
end

-- Letters as they are stored. A few at a time while they are large: an answer of many MiB is copied again for each MiB by which Redis makes it longer.
local function stored_of(b, ids)
  local key, stored, first, count = M .. 'd:' .. b.i, {}, 1, 16
  while first <= #ids do
    local page, bytes = redis.call('HMGET', key, unpack(ids, first, math.min(first + count - 1, #ids))), 0
    for n = 1, #page do
      local letter = page[n]
      stored[first + n - 1] = letter
      if letter then bytes = bytes + #letter end
    end
    first = first + count
    count = bytes < 65536 and count * 4 or 16
  end
  return stored
end

-- Deletes letters; stored: what of them is there, nil when none has a shared text.
local function forget(b, ids, stored)
  redis.call('HDEL', M .. 'd:' .. b.i, unpack(ids))
  for _, letter in ipairs(stored or {}) do
    if letter and string.byte(letter) == 42 then unshare(string.sub(letter, 2)) end
  end
end

local function sender_of(letter)
  local from, key = string.match(letter, '^%S+ %S+ %S+ ([^\\n]*)\\n([^\\n]*)\\n')
  return from, key == '' and from or key
end

-- What is left of a mailbox's index when it is empty.
local function clear_waiting(b)
  if b.waiting == 0 then redis.call('DEL', M .. 'w:' .. b.i, M .. 'e:' .. b.i) end
end

local function unlist(b, elements, ends)
  if b.waiting == 0 then return clear_waiting(b) end
  redis.call('ZREM', M .. 'w:' .. b.i, unpack(elements))
  if #ends > 0 then redis.call('ZREM', M .. 'e:' .. b.i, unpack(ends)) end
end

local function miss(b, from, how)
  redis.call('HINCRBY', M .. 'i:' .. b.i, how .. from, 1)
  b.soon = AT
end

-- Losses that no answer has told of yet; they are told once.
local function take_missed(b, lost)
  local key = M .. 'i:' .. b.i
  local found = redis.call('HRANDFIELD', key, 250, 'WITHVALUES')
  if #found == 0 then return end
  local froms = {}
  for n = 1, #found, 2 do
    local how, from = string.sub(found[n], 1, 1), string.sub(found[n], 2)
    lost[#lost + 1] = { from, b.address, tonumber(found[n + 1]), how == 'f' and 'full' or 'expired' }
    froms[#froms + 1] = found[n]
  end
  redis.call('HDEL', key, unpack(froms))
end
`;

/** Letters into a mailbox. Needs `LETTERS`. */
export const DEPOSITS: string = /* lua */ `
-- m: from, key, priority, ttl (ms or nil), m1, at (when it was sent), letter (its text), shared (the number of a shared text). Many of one batch
-- share one table, and most have the same end of their element.
local function enqueue(b, m)
  local lane = b.lanes[m.key] or lane_of(b, m.key)
  local level, queued = m.priority, lane.queued + 1
  if queued > 1 and lane.level < level then level = lane.level end
  local q = counter('seq')
  local id, letter = int(q), m.letter
  lane.level = level
  lane.queued = queued
  if queued == 1 then lane.head = score_of(level, q) end
  if b.waiting + b.handling == 0 then b.latest = 0 end
  b.waiting = b.waiting + 1
  local at = m.ends
  if at == nil then
    at = m.ttl and math.min(m.at + m.ttl * 1000, NEVER) or NEVER
    m.ends = at
    m.tail = nil
  end
  if m.ttl and (b.soon == nil or at < b.soon) then b.soon = at end
  if m.shared ~= nil then
    letter = '*' .. m.shared
    redis.call('HINCRBY', M .. 'B:' .. m.shared, 'refs', 1)
  end
  local late = at < b.latest
  if not late then b.latest = at end
  if m.tail == nil or m.level ~= level or m.late ~= late then
    local flags = (m.m1 and 1 or 0) + (m.shared and 2 or 0) + (late and 4 or 0)
    m.level, m.late, m.tail = level, late, ' ' .. level .. ' 1 ' .. (m.ttl and int(at) or '0') .. ' ' .. flags
  end
  local element = id .. m.tail
  if late then more(b, 'ends', int(at), element) end
  more(b, 'letters', id, letter)
  more(b, 'waits', id, element)
  local added = lane.added
  if added == nil then lane.added = { element } else added[#added + 1] = element end
  if not lane.dirty then touch(b, lane) end
end

local function limits_of(b, max, overflow)
  if b.max == nil then
    local own, what = string.match(b.settings, '^(%S+) (%S+)$')
    b.max, b.overflow = tonumber(own or max), what or overflow
  end
  return b.max, b.overflow
end

-- Stores a letter. Answers what was lost by it, 'full' when it is refused and not counted, or nil.
local function deposit(b, m, max, overflow)
  max, overflow = limits_of(b, max, overflow)
  if b.waiting < max then
    b.published = b.published + 1
    enqueue(b, m)
    return nil
  end
  return rare().deposit_full(b, m, max, overflow)
end
`;

/** Letters out of a mailbox unread, and into a full one. Needs `DEPOSITS`. */
export const REMOVALS: string = /* lua */ `
-- The first of a lane's queue has changed.
local function rehead(b, lane)
  if lane.queued == 0 then return end
  local first = redis.call('LINDEX', M .. 'k:' .. b.i .. ':' .. lane.key, 0)
  local q, level = string.match(first, '^(%d+) (%-?%d+) ')
  lane.head = score_of(tonumber(level), tonumber(q))
end

-- Takes waiting letters out of a mailbox, wherever they are in their lanes. Answers their senders.
local function remove_waiting(b, elements)
  sync(b)
  local ids, ends = {}, {}
  for n, element in ipairs(elements) do
    local id, flags = string.match(element, '^(%d+) .* (%d)$')
    ids[n] = id
    if tonumber(flags) >= 4 then ends[#ends + 1] = element end
  end
  local stored = stored_of(b, ids)
  local texts, keys, froms = unfold({ unpack(stored) }), {}, {}
  for n, text in ipairs(texts) do froms[n], keys[n] = sender_of(text) end
  lanes_of(b, keys)
  local hit = {}
  for n, element in ipairs(elements) do
    local lane = b.lanes[keys[n]]
    redis.call('LREM', M .. 'k:' .. b.i .. ':' .. lane.key, 1, element)
    lane.queued = lane.queued - 1
    hit[lane] = true
    touch(b, lane)
  end
  for lane in pairs(hit) do rehead(b, lane) end
  b.waiting = b.waiting - #ids
  unlist(b, elements, ends)
  forget(b, ids, stored)
  return froms
end

-- The first letters that wait, up to one with this number.
local function first_waiting(b, upto, count)
  return redis.call('ZRANGE', M .. 'w:' .. b.i, 1, upto, 'BYSCORE', 'LIMIT', 0, count)
end

local function add_lost(lost, froms, address, reason)
  local seen = {}
  for _, from in ipairs(froms) do
    local entry = seen[from]
    if entry == nil then
      entry = { from, address, 0, reason }
      seen[from] = entry
      lost[#lost + 1] = entry
    end
    entry[3] = entry[3] + 1
  end
end

-- What has waited for too long: from the front, where letters expire in their order, and those that don't. The deeper a lane, the longer Redis
-- looks for one in the middle of it.
local function overdue(b)
  local elements, known = {}, {}
  for _, element in ipairs(first_waiting(b, '+inf', BUDGET)) do
    local ends = tonumber(string.match(element, '(%d+) %d$'))
    if ends == 0 or ends > AT then break end
    elements[#elements + 1] = element
    known[element] = true
  end
  local count = math.min(BUDGET - #elements, math.ceil(BUDGET * 400 / b.waiting))
  if count <= 0 then return elements end
  for _, element in ipairs(redis.call('ZRANGE', M .. 'e:' .. b.i, '-inf', AT_TEXT, 'BYSCORE', 'LIMIT', 0, count)) do
    if not known[element] then elements[#elements + 1] = element end
  end
  return elements
end

-- Ends it, within the budget of the script. Answers how much.
local function expire(b, lost)
  if BUDGET <= 0 or b.waiting == 0 then return 0 end
  sync(b)
  local elements = overdue(b)
  if #elements == 0 then return 0 end
  BUDGET = BUDGET - #elements
  add_lost(lost, remove_waiting(b, elements), b.address, 'expired')
  b.expired = b.expired + #elements
  return #elements
end


-- The same where the mailbox is full.
local function deposit_full(b, m, max, overflow)
  local lost = {}
  expire(b, lost)
  local room = b.waiting < max
  if not room and overflow == 'refuse' and m.m1 then return 'full' end
  b.published = b.published + 1
  if room or overflow == 'drop-oldest' then enqueue(b, m) end
  if room then return lost end
  b.dropped = b.dropped + 1
  if overflow ~= 'drop-oldest' then
    if not m.m1 then miss(b, m.from, 'f') end
    lost[#lost + 1] = { m.from, b.address, 1, 'full' }
    return lost
  end
  sync(b)
  add_lost(lost, remove_waiting(b, first_waiting(b, '+inf', 1)), b.address, 'full')
  return lost
end
`;
