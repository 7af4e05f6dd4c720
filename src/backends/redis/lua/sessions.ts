import { LOCK_ORDERS, LOCKS_ON_CLOSE } from '../locks/lua/hooks.ts';
import { MESSAGES_ON_CLOSE } from '../messages/lua/hooks.ts';
import { STATE_ON_CLOSE } from '../state/lua/hooks.ts';
import { TASK_ORDERS, TASKS_ON_CLOSE } from '../tasks/lua/hooks.ts';

/*
 * meta     hash  run: the server's last run that needs no new log; layout: version of the layout; oldest: the oldest writer that may open a session; wanted: the oldest one after the
 *                upgrade that is announced
 * s:last   the newest session number: at least the time in ms, so a store that lost it uses none twice
 * s:live   zset  session → when its lease ends, µs. Whoever is past it is gone, noticed or not.
 * s:over   zset  session → its number: ended ones, listed for 24 h
 * s:old    zset  session → when it ended, µs
 * s:boots  hash  boot → session
 * s:<n>    hash  boot, lease (µs), writer, ends (µs), report (JSON text)
 * o:<n>    hash  x: when the lease ends, µs; n: newest sequence; 0…31: the last answers
 */

/**
 * Defines `session_notice()`, which ends sessions whose lease has run out and forgets those of yesterday. State entries end here, since a
 * watcher has to be told; every other store sees for itself who is alive.
 */
export const SESSION_NOTICE: string = /* lua */ `${STATE_ON_CLOSE}
local function session_ended(session, at)
  local info = K .. 's:' .. session
  local boot = redis.call('HGET', info, 'boot')
  redis.call('ZREM', K .. 's:live', session)
  redis.call('ZADD', K .. 's:over', session, session)
  redis.call('ZADD', K .. 's:old', int(at), session)
  redis.call('HSET', info, 'ends', int(at))
  redis.call('DEL', K .. 'o:' .. session)
  if boot and redis.call('HGET', K .. 's:boots', boot) == session then redis.call('HDEL', K .. 's:boots', boot) end
  state_on_close(session)
end
local function session_notice()
  local late = redis.call('ZRANGE', K .. 's:live', '-inf', int(now()), 'BYSCORE', 'WITHSCORES')
  for i = 1, #late, 2 do session_ended(late[i], tonumber(late[i + 1])) end
  local yesterday = '(' .. int(now() - 86400000000)
  for _, session in ipairs(redis.call('ZRANGE', K .. 's:old', '-inf', yesterday, 'BYSCORE', 'LIMIT', 0, 100)) do
    redis.call('ZREM', K .. 's:old', session)
    redis.call('ZREM', K .. 's:over', session)
    redis.call('DEL', K .. 's:' .. session)
  end
end
`;

/** ARGV: boot, lease µs, writer, report. */
export const SESSION_OPEN: string = /* lua */ `${SESSION_NOTICE}
local boot, lease, writer = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local oldest = tonumber(redis.call('HGET', K .. 'meta', 'oldest') or 1)
if writer < oldest then
  fail('AM002', 'This build writes level ' .. int(writer) .. ', but the mesh takes none below ' .. int(oldest))
end
session_notice()
local known = redis.call('HGET', K .. 's:boots', boot)
if known and alive(known) then
  return { int(now()), known, redis.call('HGET', K .. 'o:' .. known, 'x') }
end
local last = tonumber(redis.call('GET', K .. 's:last') or 0)
local session = int(math.max(last + 1, math.floor(now() / 1000)))
local ends = int(now() + lease)
redis.call('SET', K .. 's:last', session)
redis.call('HSET', K .. 's:boots', boot, session)
redis.call('HSET', K .. 's:' .. session, 'boot', boot, 'lease', int(lease), 'writer', int(writer), 'ends', ends, 'report', ARGV[4])
redis.call('HSET', K .. 'o:' .. session, 'x', ends)
redis.call('ZADD', K .. 's:live', ends, session)
return { int(now()), session, ends }
`;

/** Defines `session_extend(session)`, for one that is alive: when its lease ends now. */
const SESSION_EXTEND: string = /* lua */ `
local function session_extend(session)
  local info = K .. 's:' .. session
  local ends = int(now() + tonumber(redis.call('HGET', info, 'lease')))
  redis.call('HSET', info, 'ends', ends)
  redis.call('HSET', K .. 'o:' .. session, 'x', ends)
  redis.call('ZADD', K .. 's:live', ends, session)
  return ends
end
`;

/** ARGV: session. Answers 1, or 0 when it is over. */
export const SESSION_PULSE: string = /* lua */ `${SESSION_EXTEND}
if not alive(ARGV[1]) then return 0 end
session_extend(ARGV[1])
return 1
`;

/** ARGV: session, report. Answers the time alone when it has expired. */
export const SESSION_BEAT: string = /* lua */ `${SESSION_NOTICE}${SESSION_EXTEND}${TASK_ORDERS}${LOCK_ORDERS}
local session, info = ARGV[1], K .. 's:' .. ARGV[1]
session_notice()
if not alive(session) then return { int(now()) } end
local ends = session_extend(session)
redis.call('HSET', info, 'report', ARGV[2])
local answer = { int(now()), ends }
for _, order in ipairs(task_orders(session)) do answer[#answer + 1] = order end
for _, order in ipairs(lock_orders(session)) do answer[#answer + 1] = order end
local wanted = tonumber(redis.call('HGET', K .. 'meta', 'wanted') or 0)
if tonumber(redis.call('HGET', info, 'writer')) < wanted then
  answer[#answer + 1] = '{"kind":"upgrade","oldestWriter":' .. int(wanted) .. '}'
end
return answer
`;

/** ARGV: session. */
export const SESSION_CLOSE: string = /* lua */ `${SESSION_NOTICE}${TASKS_ON_CLOSE}${LOCKS_ON_CLOSE}${MESSAGES_ON_CLOSE}
local session = ARGV[1]
session_notice()
if alive(session) then
  session_ended(session, now())
  tasks_on_close(session)
  locks_on_close(session)
  messages_on_close(session)
end
return int(now())
`;

/**
 * ARGV: limit, state or '', cursor: `l<n>` after live session n, `o<n>` after ended session n, or ''. Answers the time, the cursor to go on with or
 * '', and five texts a session.
 */
export const SESSION_LIST: string = /* lua */ `${SESSION_NOTICE}
local limit, wanted, part, from = tonumber(ARGV[1]), ARGV[2], string.sub(ARGV[3], 1, 1), string.sub(ARGV[3], 2)
session_notice()
local answer, count, last = { int(now()), '' }, 0, ''
local function add(session, phase)
  if count == limit then
    answer[2] = last
    return false
  end
  local info = redis.call('HMGET', K .. 's:' .. session, 'boot', 'ends', 'writer', 'report', 'lease')
  if not info[1] then return true end
  local state = 'expired'
  if phase == 'l' then
    state = (tonumber(info[2]) - now() < tonumber(info[5]) / 3) and 'suspect' or 'alive'
  end
  if wanted ~= '' and wanted ~= state then return true end
  count = count + 1
  last = phase .. session
  for _, text in ipairs({ session, info[1], info[2], info[3], info[4] }) do answer[#answer + 1] = text end
  return true
end
if part ~= 'o' and wanted ~= 'expired' then
  local live = redis.call('ZRANGE', K .. 's:live', 0, -1)
  table.sort(live, function(a, b) return tonumber(a) < tonumber(b) end)
  local after = tonumber(from) or 0
  for _, session in ipairs(live) do
    if tonumber(session) > after and not add(session, 'l') then return answer end
  end
  from = ''
end
if wanted == '' or wanted == 'expired' then
  local after = '(' .. (tonumber(from) and from or '0')
  while true do
    local over = redis.call('ZRANGE', K .. 's:over', after, '+inf', 'BYSCORE', 'LIMIT', 0, 100)
    for _, session in ipairs(over) do
      if not add(session, 'o') then return answer end
      after = '(' .. session
    end
    if #over < 100 then return answer end
  end
end
return answer
`;
