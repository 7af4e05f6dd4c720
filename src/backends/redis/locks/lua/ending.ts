import { LOCK_ANSWERS } from './answers.ts';
import { KEEP_HELD, RELEASE_QUIET } from './fast.ts';
import { LOCK_LIBRARY } from './request.ts';

/** ARGV: session, then for each: id, token or ''. */
export const LOCK_KEEP: string = /* lua */ `
local session = ARGV[1]
${KEEP_HELD}
if answer then return answer end
local function keep_all()
${LOCK_LIBRARY}${LOCK_ANSWERS}
local is_alive = alive(session)
tidy()
local function aborted(id)
  local text = redis.call('HGET', K .. 'l:a:' .. session, id)
  if not text then return LOST end
  if string.sub(text, 1, 1) == '0' then redis.call('HSET', K .. 'l:a:' .. session, id, '1' .. string.sub(text, 2)) end
  return '["a",' .. string.sub(text, 2) .. ']'
end
local function keep(id, token)
  if not is_alive then return LOST end
  local lock = rec(id)
  if not lock then return aborted(id) end
  if lock.s ~= session then return LOST end
  if lock.t ~= 'h' then return state_of(lock) end
  if token ~= '' and token ~= lock.i[1][4] then return LOST end
  if is_expired(lock) then
    expire(lock)
    settle()
    return LOST
  end
  if lock.l and not lock.v then redis.call('ZADD', K .. 'l:x', int(now() + lock.l * 1000), 'g' .. id) end
  return grant_of(lock)
end
local answers = {}
for i = 2, #ARGV, 2 do answers[#answers + 1] = keep(ARGV[i], ARGV[i + 1]) end
flush()
return '{"at":' .. int(now()) .. ',"a":[' .. table.concat(answers, ',') .. ']' .. more()
end
return keep_all()
`;

/** ARGV: session, sequence, then for each: id, token or '', 1 to downgrade, grace in ms or '', reason. */
export const LOCK_RELEASE: string = /* lua */ `
local session, sequence = ARGV[1], ARGV[2]
local known = begin(session, sequence)
if known then return known end
${RELEASE_QUIET}
if answer then return finish(session, sequence, answer) end
local function release_all()
${LOCK_LIBRARY}
local quote = cjson.encode
tidy()
GRANTED = {}
local function withdraw_upgrade(lock)
  local target = rec(lock.d)
  if not target or target.c ~= lock.id then return false end
  if is_expired(target) then
    expire(target)
    return false
  end
  revert(lock, target)
  return true
end
local function revoke(lock, grace, reason)
  tell(lock)
  if grace <= 0 then return drop(lock) end
  local ends, known = now() + grace * 1000, redis.call('ZSCORE', K .. 'l:x', 'g' .. lock.id)
  lock.v = lock.v or reason
  redis.call('ZADD', K .. 'l:x', int(known and math.min(tonumber(known), ends) or ends), 'g' .. lock.id)
  save(lock)
end
local function release(id, token, down, grace, reason)
  local lock = rec(id)
  if not lock then return false end
  if lock.t == 'c' then return lock.s == session and token == '' and withdraw_upgrade(lock) end
  if token ~= '' and (lock.t ~= 'h' or lock.i[1][4] ~= token) then return false end
  if is_expired(lock) then
    expire(lock)
    return false
  end
  if grace ~= '' then
    if lock.t == 'h' then revoke(lock, tonumber(grace), reason) end
    return lock.t == 'h'
  end
  if lock.s ~= session then return false end
  if down == '' then drop(lock) elseif lock.t == 'h' then downgrade(lock) end
  return true
end
local ended = {}
for i = 3, #ARGV, 5 do
  ended[#ended + 1] = release(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]) and '1' or '0'
end
settle()
flush()
for i, id in ipairs(GRANTED) do GRANTED[i] = quote(id) end
return '{"at":' .. int(now()) .. ',"e":[' .. table.concat(ended, ',') .. '],"g":['
  .. table.concat(GRANTED, ',') .. (MORE and '],"m":1}' or ']}')
end
return finish(session, sequence, release_all())
`;

/** ARGV: session, sequence, id, version, cycle as JSON, then for each witness: id, version. */
export const LOCK_ABORT: string = /* lua */ `${LOCK_LIBRARY}
local quote = cjson.encode
local session, sequence = ARGV[1], ARGV[2]
local known = begin(session, sequence)
if known then return known end
tidy()
local function stands(id, seen)
  local lock = rec(id)
  return lock and lock.t == 'w' and int(version(lock)) == seen
end
-- What is over and hasn't been ended yet has changed no version: then nothing is certain.
local stood = not MORE and stands(ARGV[3], ARGV[4])
for i = 6, #ARGV, 2 do stood = stood and stands(ARGV[i], ARGV[i + 1]) end
if stood then
  local lock = rec(ARGV[3])
  local order = '{"kind":"abort-wait","wait":{"id":' .. quote(lock.id) .. ',"version":' .. ARGV[4] .. '},"cycle":' .. ARGV[5] .. '}'
  redis.call('HSET', K .. 'l:a:' .. lock.s, lock.id, '0' .. order)
  redis.call('ZADD', K .. 'l:x', int(now() + 60000000), 'a' .. lock.s .. ':' .. lock.id)
  tell(lock)
  hint('orders', lock.s)
  drop(lock)
  settle()
end
flush()
return finish(session, sequence, '{"at":' .. int(now()) .. ',"b":' .. (stood and 1 or 0) .. (MORE and ',"m":1}' or '}'))
`;

/** Goes on with what an earlier script left. Answers 1 when there is more. */
export const LOCK_STEP: string = /* lua */ `${LOCK_LIBRARY}
tidy()
flush()
return MORE and 1 or 0
`;

/** ARGV: session, edges as JSON or ''. */
export const LOCK_PUBLISH: string = /* lua */ `
if ARGV[2] == '' or not alive(ARGV[1]) then
  redis.call('HDEL', K .. 'l:p', ARGV[1])
else
  redis.call('HSET', K .. 'l:p', ARGV[1], ARGV[2])
  redis.call('ZADD', K .. 'l:x', 'NX', int(now()), 's' .. ARGV[1])
end
return int(now())
`;
