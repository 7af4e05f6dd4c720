/**
 * What ends by the clock. Every script begins with `tidy`, which ends what is due by then and hands on, so that nothing after it meets a grant or a
 * wait of somebody who is gone. A session is looked at again when its lease, as last seen, is over: as seldom as it beats.
 */
export const LOCK_LEASES: string = /* lua */ `
local MOST_REAPED = 100
local reaped = 0
local function follow(session)
  redis.call('ZADD', K .. 'l:x', 'NX', int(now()), 's' .. session)
end
local function reap(session)
  DEAD[session] = true
  local ids = redis.call('SRANDMEMBER', K .. 'l:s:' .. session, math.max(1, MOST_REAPED - reaped))
  local held = {}
  -- Waits first: no lock that is given back here may go to one of them.
  for _, id in ipairs(ids) do
    local lock = rec(id)
    if lock and lock.t == 'w' then
      drop(lock)
    elseif lock then
      held[#held + 1] = lock
    else
      redis.call('SREM', K .. 'l:s:' .. session, id)
    end
  end
  for _, lock in ipairs(held) do
    if lock.t == 'h' and REC[lock.id] then
      tell(lock)
      drop(lock)
    elseif lock.t == 'c' and REC[lock.id] then
      forget(lock)
    end
  end
  reaped = reaped + #ids
  if redis.call('EXISTS', K .. 'l:s:' .. session) == 1 then
    redis.call('ZADD', K .. 'l:x', 0, 's' .. session)
    MORE = true
  else
    redis.call('ZREM', K .. 'l:x', 's' .. session)
    redis.call('HDEL', K .. 'l:p', session)
    redis.call('DEL', K .. 'l:a:' .. session)
  end
end
local function check_session(session)
  local ends = redis.call('HGET', K .. 'o:' .. session, 'x')
  if not ends or tonumber(ends) <= now() then
    reap(session)
  elseif redis.call('EXISTS', K .. 'l:s:' .. session) == 1 or redis.call('HEXISTS', K .. 'l:p', session) == 1 then
    redis.call('ZADD', K .. 'l:x', ends, 's' .. session)
  else
    redis.call('ZREM', K .. 'l:x', 's' .. session)
  end
end
local function expire(lock)
  tell(lock)
  drop(lock)
end
local DUE = {
  s = check_session,
  g = function(id)
    local lock = rec(id)
    if lock and lock.t == 'h' then
      reaped = reaped + 1
      expire(lock)
    else
      redis.call('ZREM', K .. 'l:x', 'g' .. id)
    end
  end,
  a = function(text)
    local cut = string.find(text, ':', 1, true)
    redis.call('HDEL', K .. 'l:a:' .. string.sub(text, 1, cut - 1), string.sub(text, cut + 1))
    redis.call('ZREM', K .. 'l:x', 'a' .. text)
  end,
  r = function(text)
    local mode, score, name = string.match(text, '^(%d):([^:]+):(.*)$')
    redis.call('ZREM', K .. 'l:x', 'r' .. text)
    local r = res(name)
    if r.nw == 0 then return end
    if mode == '6' then hand_on_units(r) else hand_on_mode(r, tonumber(mode), score) end
  end,
}
local function tidy()
  local due = redis.call('ZRANGEBYSCORE', K .. 'l:x', '-inf', int(now()), 'LIMIT', 0, 100)
  if #due == 0 then return end
  for _, text in ipairs(due) do
    if string.sub(text, 1, 1) == 's' and not alive(string.sub(text, 2)) then DEAD[string.sub(text, 2)] = true end
  end
  for _, text in ipairs(due) do
    if reaped >= MOST_REAPED or LOOKED_AT >= MOST_LOOKED_AT or #GRANTED >= MOST_GRANTED then
      MORE = true
      break
    end
    DUE[string.sub(text, 1, 1)](string.sub(text, 2))
    settle()
  end
  if #due == 100 then MORE = true end
end
`;
