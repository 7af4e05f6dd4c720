import { WHOLE } from './library.ts';

/**
 * ARGV: session, sequence, `redrive` or `discard`, limit, address or '', then ids of messages, none for all.
 *
 * Answers the text `at LF changed more LF losses LF readied`. Looks at 20,000 dead letters at most.
 */
export const REVISE: string = /* lua */ `${WHOLE}
local session, sequence, set, limit, address = ARGV[1], ARGV[2], ARGV[3], math.min(tonumber(ARGV[4]), 250), ARGV[5]
local known = begin(session, sequence)
if known then return known end
tidy()
local wanted = nil
for n = 6, #ARGV do
  wanted = wanted or {}
  wanted[ARGV[n]] = true
end
local lost, changed, more_left, looked = {}, 0, false, 0

-- Dead letters of a mailbox that are wanted, up to one too many.
local function wanted_of(b, most)
  local found, from = {}, 0
  while #found < most and looked < 20000 do
    local page = redis.call('ZRANGE', M .. 'q:' .. b.i, from, from + 249)
    for _, entry in ipairs(page) do
      if #found < most and (wanted == nil or wanted[string.match(entry, '^%d+ (.*)$')]) then found[#found + 1] = entry end
    end
    looked = looked + #page
    from = from + 250
    if #page < 250 then return found end
  end
  return found
end

local function revise(b)
  local found = wanted_of(b, limit - changed + 1)
  if #found > limit - changed then
    more_left = true
    found[#found] = nil
  end
  if #found == 0 then return end
  changed = changed + #found
  if set == 'discard' then
    for _, from in ipairs(discard(b, found)) do lost[#lost + 1] = { from, b.address, 1, 'discarded' } end
  else
    redrive(b, found)
    wake(b, true)
  end
end

local after = '-inf'
while not more_left do
  local boxes = redis.call('ZRANGE', M .. 'dead', after, '+inf', 'BYSCORE', 'LIMIT', 0, 100)
  for _, i in ipairs(boxes) do
    local b = box_by(i)
    looked = looked + 1
    if b ~= nil and (address == '' or b.address == address) and not more_left then revise(b) end
    after = '(' .. i
  end
  if #boxes < 100 then break end
  if looked >= 20000 then
    more_left = more_left or changed > 0
    break
  end
end
close_boxes()
return finish(session, sequence, AT_TEXT .. '\\n' .. changed .. ' ' .. (more_left and 1 or 0) .. '\\n' .. json_of(lost) .. '\\n' .. json_of(READIED))
`;

/**
 * ARGV: address or '', `waiting`, `dead` or '', limit, mailbox to begin with, message that earlier pages had of it.
 *
 * Answers an array: at, where to go on (`mailbox.message` or ''), scanned, the seven totals, then arrays of mailboxes: address, group or '', seven
 * counts, and three a message: delivery, reason, letter.
 */
export const LIST: string = /* lua */ `${WHOLE}
local address, which, limit, first, seen = ARGV[1], ARGV[2], math.min(tonumber(ARGV[3]), 250), ARGV[4], ARGV[5]
tidy()
close_boxes()
KNOWN, OPENED, NAMES = {}, {}, {}
local left, scanned, views, next_place, visited = limit, 0, {}, '', 0

local function letters_of(b, after)
  local index = which == 'waiting' and 'w:' or 'Q:'
  -- From 1: what is at 0 is no letter.
  local found = redis.call('ZRANGE', M .. index .. b.i, after == '0' and 1 or '(' .. after, '+inf', 'BYSCORE', 'LIMIT', 0, left + 1)
  local ids, view = {}, {}
  for n, entry in ipairs(found) do ids[n] = string.match(entry, '^%d+') end
  if #ids == 0 then return view, 0, false end
  local over = #ids > left
  if over then ids[#ids] = nil end
  if #ids == 0 then return view, 0, true end
  local letters = unfold(stored_of(b, ids))
  for n, id in ipairs(ids) do
    local delivery, reason = '', ''
    if which == 'dead' then
      delivery, reason = string.match(redis.call('HGET', M .. 'x:' .. b.i, id), '^(%d+) (.*)$')
    else
      delivery = string.match(found[n], '^%d+ %-?%d+ (%d+)')
    end
    view[#view + 1] = delivery
    view[#view + 1] = reason
    view[#view + 1] = letters[n]
  end
  return view, #ids, over, ids[#ids]
end

local function view_of(b)
  return { b.address, b.group or '', b.published, b.delivered, b.dropped, b.expired, b.dead, b.waiting, b.handling }
end

-- Answers whether there is room for more.
local function visit(i)
  local b = box_by(i)
  if b == nil or (address ~= '' and b.address ~= address) then return true end
  local after = i == first and seen or '0'
  if which == '' then
    if after ~= '0' then return true end
    if left == 0 then
      next_place = i .. '.0'
      return false
    end
    views[#views + 1] = view_of(b)
    left, scanned = left - 1, scanned + 1
    return true
  end
  if b[which] == 0 then return true end
  local letters, count, over, newest_id = letters_of(b, after)
  if count > 0 then
    local view = view_of(b)
    for _, value in ipairs(letters) do view[#view + 1] = value end
    views[#views + 1] = view
  end
  left, scanned = left - count, scanned + count
  if over then next_place = i .. '.' .. (newest_id or after) end
  return not over
end

local function visit_all()
  if address ~= '' then
    local own, all = redis.call('HGET', M .. 'n', address), {}
    if own then all[1] = own end
    for _, i in ipairs(redis.call('ZRANGE', M .. 'G:' .. address, first, '+inf', 'BYSCORE', 'LIMIT', 0, 1000)) do all[#all + 1] = i end
    table.sort(all, function(a, b) return tonumber(a) < tonumber(b) end)
    for _, i in ipairs(all) do
      if tonumber(i) >= tonumber(first) and not visit(i) then return end
    end
    return
  end
  local index, after = which == 'dead' and 'dead' or 'all', first
  while true do
    local page = redis.call('ZRANGE', M .. index, after, '+inf', 'BYSCORE', 'LIMIT', 0, 100)
    for _, i in ipairs(page) do
      if not visit(i) then return end
      visited = visited + 1
      after = '(' .. i
      if visited >= 1000 then
        next_place = int(tonumber(i) + 1) .. '.0'
        return
      end
    end
    if #page < 100 then return end
  end
end

visit_all()
local totals = redis.call('HMGET', M .. 'c', 'published', 'delivered', 'dropped', 'expired', 'dead', 'waiting', 'handling')
local answer = { AT_TEXT, next_place, scanned }
for n = 1, 7 do answer[n + 3] = totals[n] or '0' end
for _, view in ipairs(views) do answer[#answer + 1] = view end
return answer
`;
