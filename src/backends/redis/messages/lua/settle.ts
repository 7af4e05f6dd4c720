import { library } from './library.ts';

/**
 * ARGV: session, sequence, offset of the first item, 1 when the last one is among them; then runs of items with the same fate: `session.sequence.mailbox`
 * of their receipts, their fate, how many, and their numbers in one text. Fates: `a` ack, `d` drop, `l` release, `r` and µs retry, `b` and reason bury. A receipt
 * is `session.sequence.mailbox.message`, which names one delivery.
 *
 * Answers the text `at LF settled LF readied`: a 0 or 1 an item, and JSON texts. Or the offset to go on with.
 */
export const SETTLE: string = /* lua */ `${library('letters', 'flights')}
local session, sequence, offset, last = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'
local known = begin(session, sequence, true)
if known then return known end
local part = nil
if offset > 0 or not last then
  part = rare().read_part(session, sequence)
  if part.k ~= offset then return { part.k } end
end
tidy_when_due()

local runs, boxes, order = {}, {}, {}
for n = 5, #ARGV, 4 do
  local owner, from, i = string.match(ARGV[n], '^(%d+)%.(%d+)%.(%d+)$')
  -- Another session's receipts are none.
  if owner ~= session then i = nil end
  local run = { flight = session .. '.' .. (from or ''), i = i, fate = string.sub(ARGV[n + 1], 1, 1), detail = string.sub(ARGV[n + 1], 2),
    count = tonumber(ARGV[n + 2]), ids = {} }
  for id in string.gmatch(ARGV[n + 3], '%d+') do run.ids[#run.ids + 1] = id end
  run.b = i and box_by(i)
  runs[#runs + 1] = run
  if run.b and boxes[i] == nil then
    boxes[i] = { b = run.b, gone = {}, over = {}, done = {} }
    order[#order + 1] = boxes[i]
  end
end

local FATES = { a = 'delivered', d = 'dropped' }
local bits = {}

-- Ends one delivery, or gives it back. Answers whether others can go on because of it.
local function end_delivery(run, into, id, found, flags, key)
  local b, fate = run.b, run.fate
  if fate == 'r' or fate == 'l' then
    return put_back(b, id, read_held(found), fate == 'r', fate == 'r' and tonumber(run.detail) or 0)
  end
  if fate == 'b' then
    rare().bury(b, id, read_held(found), run.detail)
  else
    b[FATES[fate]] = b[FATES[fate]] + 1
    into.over[#into.over + 1] = id
    if flags ~= '1' and flags ~= '5' then into.shared = true end
  end
  local lane = b.lanes[key]
  return landed(b, lane, run.flight) and lane.queued > 0
end

local function settle(run, into)
  local found = held_of(run.b, run.ids)
  local prefix, keys, flags, all = run.flight .. ' ', {}, {}, {}
  for n = 1, #run.ids do
    if found[n] and string.find(found[n], prefix, 1, true) == 1 then
      flags[n], keys[n] = string.match(found[n], '^%d+ %-?%d+ %d+ %d+ (%d) (.*)$', #prefix + 1)
      all[#all + 1] = keys[n]
    end
  end
  lanes_of(run.b, all)
  for n, id in ipairs(run.ids) do
    local key = keys[n]
    if key and not into.done[id] then
      into.done[id] = true
      into.gone[#into.gone + 1] = id
      if end_delivery(run, into, id, found[n], flags[n], key) then into.free = true end
      bits[#bits + 1] = '1'
    else
      bits[#bits + 1] = '0'
    end
  end
end

for _, run in ipairs(runs) do
  if run.b then settle(run, boxes[run.i]) else bits[#bits + 1] = string.rep('0', run.count) end
end
for _, into in ipairs(order) do
  local b = into.b
  if #into.gone > 0 then unhold(b, into.gone) end
  if #into.over > 0 then forget(b, into.over, into.shared and stored_of(b, into.over) or nil) end
  if into.free then wake(b, true) end
end
close_flights()
close_boxes()
if part ~= nil then
  local count = 0
  for _, run in ipairs(runs) do count = count + run.count end
  part.k = offset + count
  part.codes = part.codes .. table.concat(bits)
  for _, address in ipairs(READIED) do rare().tell_part(part, address) end
  if not last then
    rare().write_part(part)
    return { part.k }
  end
  rare().end_part(part)
  return finish(session, sequence, AT_TEXT .. '\\n' .. part.codes .. '\\n[' .. part.told .. ']')
end
return finish(session, sequence, AT_TEXT .. '\\n' .. table.concat(bits) .. '\\n' .. json_of(READIED))
`;
