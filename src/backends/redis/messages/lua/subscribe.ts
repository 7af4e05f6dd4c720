import { WHOLE } from './library.ts';

/**
 * ARGV: session, sequence, offset of the first change, 1 when the last one is among them; then five a change: address, topics as JSON pairs of
 * topic and group (or ''), 1 when somebody listens, mailbox (`maxLength overflow`, `none` or `leave`), keepMs.
 *
 * Answers the text `at LF LF losses`: JSON arrays `[0, from, address, count, reason]`. Or the offset to go on with.
 */
export const SUBSCRIBE: string = /* lua */ `${WHOLE}
local session, sequence, offset, last = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'
local known = begin(session, sequence)
if known then return known end
local part = read_part(session, sequence)
if part.k ~= offset then return { part.k } end
PART = part
tidy()

local function pause()
  write_part(part)
  close_boxes()
  return { part.k }
end

-- A new member of an address takes the place of those whose session is gone.
local function adopt(own)
  if own.members == 0 then return end
  local all = redis.call('HGETALL', M .. 'm:' .. own.i)
  for n = 1, #all, 2 do
    local other = all[n]
    if other ~= session and string.byte(other) ~= 116 and redis.call('ZSCORE', M .. 'gone', own.i .. ' ' .. other) then
      detach(own, other, read_member(all[n + 1]))
    end
  end
end

local function join(n)
  local address, topics, listening, settings, keep = ARGV[n], ARGV[n + 1], tonumber(ARGV[n + 2]), ARGV[n + 3], ARGV[n + 4]
  local own = make_box(address)
  if own.settings ~= settings then
    own.settings, own.max = settings, nil
    redis.call('HSET', M .. 'b:' .. own.i, 'settings', settings)
  end
  local member = { version = counter('version'), listening = listening, keep = keep, sources = { own.i }, topics = topics }
  for _, topic in ipairs(cjson.decode(topics)) do
    if topic[2] ~= '' then member.sources[#member.sources + 1] = make_box(topic[1], topic[2]).i end
  end
  adopt(own)
  local former = member_of(own.i, session)
  if former ~= nil then detach(own, session, former) end
  attach(own, session, member)
  redis.call('SADD', M .. 'j:' .. session, own.i)
  redis.call('ZADD', M .. 'x', 'NX', AT_TEXT, session)
  drop_unwanted((former or member).sources, part.tag)
end

local function leave(address)
  local own = find_box(address)
  if own == nil then return end
  local former = member_of(own.i, session)
  if former ~= nil then
    detach(own, session, former)
    redis.call('SREM', M .. 'j:' .. session, own.i)
    drop_unwanted(former.sources, part.tag)
  end
  if redis.call('HLEN', M .. 'm:' .. own.i) > 0 then
    -- Others still take from it: they get what this session had in hand.
    add_job({ kind = 'back', tag = part.tag, i = own.i, session = session, after = '0' })
    return
  end
  if own.handling > 0 then add_job({ kind = 'held', tag = part.tag, i = own.i, cursor = '0', upto = newest() }) end
  -- What is in hand may be given back while there is more of it than one script ends.
  if own.waiting + own.handling > 0 then add_job({ kind = 'drop', tag = part.tag, i = own.i, reason = 'left', upto = newest(), leave = true }) end
  own.leaving = true
  if own.settings ~= '' then
    own.settings, own.max = '', nil
    redis.call('HDEL', M .. 'b:' .. own.i, 'settings')
  end
  -- What it missed is nobody's business any more.
  redis.call('DEL', M .. 'i:' .. own.i)
end

if not run_jobs() then return pause() end
local changes = 0
for n = 5, #ARGV, 5 do
  if changes >= 25 then return pause() end
  changes = changes + 1
  if ARGV[n + 3] == 'leave' then leave(ARGV[n]) else join(n) end
  part.k = part.k + 1
  if not run_jobs() then return pause() end
end
if not last then return pause() end
end_part(part)
close_boxes()
return finish(session, sequence, AT_TEXT .. '\\n\\n' .. part.told)
`;
