import { WHOLE } from './library.ts';

/**
 * ARGV: session, sequence, limit of mailboxes. Answers the text `at LF next LF losses LF readied`: µs until the next call or -1, JSON arrays
 * `[from, address, count, reason]`, JSON texts.
 */
export const SWEEP: string = /* lua */ `${WHOLE}
local session, sequence, limit = ARGV[1], ARGV[2], math.min(tonumber(ARGV[3]), 250)
local known = begin(session, sequence)
if known then return known end
TOLD = {}
tidy()
run_jobs()
for _, seen in ipairs(redis.call('ZRANGE', M .. 'u', '-inf', int(AT - 600000000), 'BYSCORE', 'LIMIT', 0, 250)) do
  redis.call('ZREM', M .. 'u', seen)
end
if redis.call('EXISTS', M .. 'jobs') == 0 then
  for _, place in ipairs(redis.call('ZRANGE', M .. 'gone', '-inf', AT_TEXT, 'BYSCORE', 'LIMIT', 0, 50)) do
    local i, dead = string.match(place, '^(%d+) (%d+)$')
    local own = box_by(i)
    local member = own and member_of(i, dead)
    if member then
      detach(own, dead, member)
      drop_unwanted(member.sources, 'sweep')
    else
      redis.call('ZREM', M .. 'gone', place)
    end
  end
  run_jobs()
end
reclaim(true)

-- When a mailbox must be looked at again.
local function note(b)
  -- Losses that are too many for one answer go into the next.
  local soonest = redis.call('EXISTS', M .. 'i:' .. b.i) == 1 and AT or nil
  for _, index in ipairs({ 'e:', 'z:' }) do
    local due = redis.call('ZRANGE', M .. index .. b.i, 0, 0, 'WITHSCORES')[2]
    if due then soonest = math.min(soonest or NEVER, tonumber(due)) end
  end
  local first = first_waiting(b, '+inf', 1)[1]
  local ends = first and tonumber(string.match(first, '(%d+) %d$')) or 0
  if ends > 0 then soonest = math.min(soonest or NEVER, ends) end
  if soonest == nil then
    redis.call('ZREM', M .. 'due', b.i)
  else
    redis.call('ZADD', M .. 'due', int(soonest), b.i)
  end
end

for _, b in ipairs(OPENED) do
  sync(b)
  -- Whoever was last at it may just have gone.
  if is_idle(b) then redis.call('ZADD', M .. 'due', 'LT', AT_TEXT, b.i) end
end
for _, i in ipairs(redis.call('ZRANGE', M .. 'due', '-inf', AT_TEXT, 'BYSCORE', 'LIMIT', 0, limit)) do
  if BUDGET <= 0 then break end
  BUDGET = BUDGET - 1
  local b = box_by(i)
  if b == nil then
    redis.call('ZREM', M .. 'due', i)
  else
    expire(b, TOLD)
    take_missed(b, TOLD)
    local due = redis.call('ZRANGE', M .. 'z:' .. i, '-inf', AT_TEXT, 'BYSCORE', 'LIMIT', 0, 250)
    if #due > 0 then
      lanes_of(b, due)
      for _, key in ipairs(due) do
        local lane = b.lanes[key]
        if lane.due <= AT then lane.due = 0 end
        touch(b, lane)
      end
      wake(b, true)
    end
    sync(b)
    if is_idle(b) then b.leaving = true else note(b) end
  end
end
close_flights()
close_boxes()
local load = redis.call('HMGET', M .. 'c', 'waiting', 'handling')
local next_us = '-1'
if tonumber(load[1] or 0) + tonumber(load[2] or 0) > 0 or redis.call('EXISTS', M .. 'jobs') == 1 then
  local soonest = AT + 1000000
  if redis.call('EXISTS', M .. 'jobs') == 1 then soonest = AT end
  for _, key in ipairs({ 'F', 'due' }) do
    local first = redis.call('ZRANGE', M .. key, 0, 0, 'WITHSCORES')[2]
    if first then soonest = math.min(soonest, tonumber(first)) end
  end
  next_us = int(math.max(1000, soonest - AT))
end
return finish(session, sequence, AT_TEXT .. '\\n' .. next_us .. '\\n' .. json_of(TOLD) .. '\\n' .. json_of(READIED))
`;
