import { library } from './library.ts';

/**
 * ARGV: session, sequence, offset of the first message, 1 when the last one is among them, default maxLength and overflow; then runs of messages that
 * differ in nothing but their text: how many, flags (1 at least once, 2 topic, 4 dedupe), priority, expiry in ms or '-', to, from, order key (empty: the
 * sender), and of each `id LF JSON`.
 *
 * Answers the text `at LF codes LF details`: a code a message (p published, d duplicate, n no receiver, f full, t to a topic); details are JSON
 * arrays `[index, receivers]` and `[index, from, address, count, reason]`. Or the offset to go on with, when there was too much for one script.
 */
export const PUBLISH: string = /* lua */ `${library('letters', 'deposits', 'parts')}
local SEEN = M .. 'u'
local session, sequence, offset, last, MAX, OVERFLOW = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1', ARGV[5], ARGV[6]
local known = begin(session, sequence)
if known then return known end
local part = read_part(session, sequence)
if part.k ~= offset then return { part.k } end
PART = part
tidy_when_due()
local codes = {}

-- Everything that was done is kept; the caller goes on where this stopped.
local function pause()
  part.k = offset + #codes
  part.codes = part.codes .. table.concat(codes)
  write_part(part)
  close_boxes()
  return { part.k }
end

-- A run of messages in Lua; each of them in turn lends it its text.
local function read_run(n)
  local flags, priority, ttl, from, key = tonumber(ARGV[n + 1]), ARGV[n + 2], ARGV[n + 3], ARGV[n + 5], ARGV[n + 6]
  return {
    count = tonumber(ARGV[n]), first = n + 7, m1 = flags % 2 == 1, topic = flags % 4 >= 2, dedupe = flags >= 4, to = ARGV[n + 4], from = from,
    key = key == '' and from or key, priority = math.max(-1000, math.min(1000, math.floor(tonumber(priority) or 0))), ttl = tonumber(ttl),
    ttl_text = ttl, at = AT, head = AT_TEXT .. ' ' .. ttl .. ' ' .. priority .. ' ' .. from .. '\\n' .. key .. '\\n',
  }
end

-- Reads the lanes of all mailboxes that are written to directly, each mailbox's at once.
local function read_ahead(runs)
  local names, keys, boxes = {}, {}, {}
  for _, m in ipairs(runs) do
    if not m.topic then names[#names + 1] = m.to end
  end
  names_of(names)
  for _, m in ipairs(runs) do
    if not m.topic and NAMES[m.to] then
      if keys[m.to] == nil then boxes[#boxes + 1] = m.to end
      put(keys, m.to, m.key)
    end
  end
  for n = 1, math.min(#boxes, 60) do
    local b = find_box(boxes[n])
    if b ~= nil then lanes_of(b, keys[boxes[n]]) end
  end
end

local function publish_direct(m, index)
  local b = find_box(m.to)
  local keeps = m.m1 and (b == nil or b.settings ~= 'none')
  if not keeps and (b == nil or b.listening == 0) then
    -- A mailbox for what is dropped anyway would be made for nothing: the mesh counts it all the same.
    if b == nil then
      counter('published')
      counter('dropped')
    else
      b.published = b.published + 1
      b.dropped = b.dropped + 1
    end
    return 'n'
  end
  b = b or make_box(m.to)
  if not b.used then
    b.used = true
    BUDGET = BUDGET - COPY
  end
  local outcome = deposit(b, m, MAX, OVERFLOW)
  if outcome == 'full' then return 'f' end
  if b.members > 0 then hint('messages', b.address) end
  if outcome ~= nil then
    for _, entry in ipairs(outcome) do tell_part(part, { index, entry[1], entry[2], entry[3], entry[4] }) end
  end
  return 'p'
end

-- More copies than these are made by further scripts.
local TARGETS, MOST_COPIES = {}, 60
-- Mailboxes of a topic's members, in the order in which they joined.
local function targets_of(topic)
  local found = TARGETS[topic]
  if found == nil then
    found = redis.call('ZCARD', M .. 't:' .. topic)
    if found <= MOST_COPIES then found = redis.call('ZRANGE', M .. 't:' .. topic, 0, -1) end
    TARGETS[topic] = found
  end
  return found
end

-- Answers the code, or nil when it has to wait for the next script.
local function publish_topic(m, index)
  local targets = targets_of(m.to)
  local many = type(targets) == 'number'
  local count = many and targets or #targets
  local sender, skip = find_box(m.from), nil
  if sender ~= nil and redis.call('ZSCORE', M .. 't:' .. m.to, sender.i) then skip = sender.i end
  local receivers = skip and count - 1 or count
  if receivers == 0 then
    counter('published')
    counter('dropped')
    return 'n'
  end
  if not many and count * COPY > BUDGET and BUDGET < 250 then return nil end
  tell_part(part, { index, receivers })
  local text = m.letter
  if many or (receivers > 1 and #text > 250) then
    m.shared, m.tail = int(counter('seq')), nil
    redis.call('HSET', M .. 'B:' .. m.shared, 'body', text, 'refs', 1)
  end
  if many then
    rare().add_job({ kind = 'copies', tag = part.tag, index = index, topic = m.to, shared = m.shared, at = AT_TEXT, from = m.from, key = m.key,
      priority = m.priority, ttl = m.ttl and m.ttl_text or '', m1 = m.m1, skip = skip or '', max = MAX, overflow = OVERFLOW, after = '0' })
    m.shared = nil
    return 't'
  end
  local lost = {}
  for _, i in ipairs(targets) do
    if i ~= skip then rare().copy(box_by(i), m, MAX, OVERFLOW, lost) end
  end
  BUDGET = BUDGET - count * COPY
  if m.shared ~= nil then
    unshare(m.shared)
    m.shared, m.tail = nil, nil
  end
  for _, entry in ipairs(lost) do tell_part(part, { index, entry[1], entry[2], entry[3], entry[4] }) end
  return 't'
end

if redis.call('EXISTS', M .. 'jobs') == 1 and not rare().run_jobs() then return pause() end
local runs, at = {}, 7
while at <= #ARGV do
  local run = read_run(at)
  runs[#runs + 1] = run
  at = run.first + run.count
end
read_ahead(runs)
for _, m in ipairs(runs) do
  for n = m.first, m.first + m.count - 1 do
    if BUDGET <= 0 then return pause() end
    local index, text, code, place = offset + #codes, ARGV[n], nil, nil
    if m.dedupe then
      place = (m.topic and 't' or 'a') .. m.to .. '\\0' .. string.match(text, '^[^\\n]*')
      local seen = redis.call('ZSCORE', SEEN, place)
      if seen and tonumber(seen) + 600000000 > AT then code = 'd' end
    end
    if code == nil then
      m.letter = m.head .. text
      if m.topic then code = publish_topic(m, index) else code = publish_direct(m, index) end
      if code == nil then return pause() end
      if place ~= nil and code ~= 'f' then
        redis.call('ZADD', SEEN, AT_TEXT, place)
        -- Two for one: however many come, those whose time is over don't pile up.
        for _, seen in ipairs(redis.call('ZRANGE', SEEN, '-inf', int(AT - 600000000), 'BYSCORE', 'LIMIT', 0, 2)) do
          redis.call('ZREM', SEEN, seen)
        end
      end
      BUDGET = BUDGET - 1
    end
    codes[#codes + 1] = code
    -- The copies must be made before the next message, or it could overtake them.
    if code == 't' and not rare().run_jobs() then return pause() end
  end
end
if not last then return pause() end
end_part(part)
close_boxes()
return finish(session, sequence, AT_TEXT .. '\\n' .. part.codes .. table.concat(codes) .. '\\n' .. part.told)
`;
