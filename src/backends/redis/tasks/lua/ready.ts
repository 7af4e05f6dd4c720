/*
 * Ready tasks lie in pools: one a kind, or `@<agent>\29<queue>` for what only one agent may run. A pool has sources:
 *
 * t:r:<pool>\29L<step><prio><group>  list of ids: in the order in which they became ready, all at one distance of age to rank
 * t:r:<pool>\29Z<group>              zset, rank → order (hex 9) + id: those that came back, or were moved
 * t:h:<pool>   zset  source → a rank that none of its tasks is below
 * t:a          set   pools of kinds that have sources
 * t:ag         set   agents that have pools; t:ag:<agent> set of the queues
 * t:x          hash  pool\29source\29id → dead entries of this id in that list, which come before any live one
 * t:s          zset  due (µs) → seq (hex 9) + id
 * t:dl         zset  deadline (µs) → seq (hex 9) + id
 */

/** Defines `source_on`, `source_off`, `park` and `unpark`: which sources a claim looks at. Needs `T`, `fmt`, `sub`, `byte` and `find`. */
export const SOURCES: string = String.raw`
local function raise_turn(q, group)
  local turn = tonumber(redis.call('HGET', T .. ':gt:' .. q.name, group)) or 0
  if turn < q.turn then redis.call('HSET', T .. ':gt:' .. q.name, group, fmt('%.17g', q.turn)) end
end
local function source_on(pool, src, rank, q, group)
  if redis.call('ZADD', T .. ':h:' .. pool, 'LT', rank, src) == 0 then return false end
  if byte(pool, 1) == 64 then
    local at = find(pool, '\29', 1, true)
    local agent = sub(pool, 2, at - 1)
    redis.call('SADD', T .. ':ag', agent)
    redis.call('SADD', T .. ':ag:' .. agent, sub(pool, at + 1))
  else
    redis.call('SADD', T .. ':a', pool)
  end
  if q.fair then raise_turn(q, group) end
  return true
end
local function source_off(pool, src)
  redis.call('ZREM', T .. ':h:' .. pool, src)
  if redis.call('EXISTS', T .. ':h:' .. pool) == 1 then return end
  if byte(pool, 1) == 64 then
    local at = find(pool, '\29', 1, true)
    local agent = sub(pool, 2, at - 1)
    redis.call('SREM', T .. ':ag:' .. agent, sub(pool, at + 1))
    if redis.call('EXISTS', T .. ':ag:' .. agent) == 0 then redis.call('SREM', T .. ':ag', agent) end
  else
    redis.call('SREM', T .. ':a', pool)
  end
end
local function park(q, group, pool, src, rank)
  source_off(pool, src)
  redis.call('ZADD', T .. ':gp:' .. q.name .. '\29' .. group, 'LT', rank, pool .. '\28' .. src)
  redis.call('SADD', T .. ':gp:' .. q.name, group)
end
local function unpark(q, group)
  local key = T .. ':gp:' .. q.name .. '\29' .. group
  local parked = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for i = 1, #parked, 2 do
    local at = find(parked[i], '\28', 1, true)
    source_on(sub(parked[i], 1, at - 1), sub(parked[i], at + 1), tonumber(parked[i + 1]), q, group)
  end
  redis.call('DEL', key)
  redis.call('SREM', T .. ':gp:' .. q.name, group)
  return #parked > 0
end
`;

/** Defines `place(row, reason)` for a task that waits for nobody, `leave(row)` for one that is taken out of where it waits. */
export const READY: string = String.raw`
local function queue_of(row) return queue(parts(row.kind).queue) end
local function weigh(q, row, sign)
  local weight = row.x.w
  if not weight then return end
  bump(q, 'on', sign)
  q.ow = q.ow + sign * tonumber(weight)
end
local ORDER, ORDERS = 0, 0
local function reserve_orders(count)
  ORDERS = redis.call('HINCRBY', T .. ':m', 'seq', count)
  ORDER = ORDERS - count
end
local function order_next()
  if ORDER == ORDERS then return redis.call('HINCRBY', T .. ':m', 'seq', 1) end
  ORDER = ORDER + 1
  return ORDER
end
local function pool_of(row)
  if row.x.A then return '@' .. row.x.A .. '\29' .. parts(row.kind).queue end
  return row.kind
end
local TOMBS
local function has_tombs()
  if TOMBS == nil then TOMBS = redis.call('EXISTS', T .. ':x') == 1 end
  return TOMBS
end
local function enter(row, isFirst)
  local q, pool, group = queue_of(row), pool_of(row), row.x.g or ''
  local rank = row.ranked - (tonumber(row.prio, 16) - 1000) * q.step
  row.gen = q.gen
  local src
  if isFirst and row.ranked >= now() then
    src, row.side = 'L' .. q.gen .. row.prio .. group, false
    redis.call('RPUSH', T .. ':r:' .. pool .. '\29' .. src, row.id)
  else
    src, row.side = 'Z' .. group, true
    redis.call('ZADD', T .. ':r:' .. pool .. '\29' .. src, rank, fmt('%09x', row.order) .. row.id)
  end
  -- Whoever might take it and has seen the source before has asked for all that was in it, or asks again when it has room.
  if source_on(pool, src, rank, q, group) or row.side or has_tombs() then wake(q.name) end
  weigh(q, row, 1)
  row.looked = true
end
local function leave_ready(row)
  local q, pool, group = queue_of(row), pool_of(row), row.x.g or ''
  local src = row.side and ('Z' .. group) or ('L' .. row.gen .. row.prio .. group)
  local key = T .. ':r:' .. pool .. '\29' .. src
  if row.side then
    redis.call('ZREM', key, fmt('%09x', row.order) .. row.id)
  elseif redis.call('LINDEX', key, 0) == row.id then
    redis.call('LPOP', key)
  elseif redis.call('LINDEX', key, -1) == row.id then
    redis.call('RPOP', key)
  elseif redis.call('LLEN', key) <= 64 then
    redis.call('LREM', key, 1, row.id)
  else
    redis.call('HINCRBY', T .. ':x', pool .. '\29' .. src .. '\29' .. row.id, 1)
  end
  row.side = false
  if redis.call('EXISTS', key) == 0 then
    source_off(pool, src)
    redis.call('ZREM', T .. ':gp:' .. q.name .. '\29' .. group, pool .. '\28' .. src)
  end
  weigh(q, row, -1)
end
local function move(row, to, reason)
  local q, held = queue_of(row), row.held
  local from = held and 'c' or row.st
  if from ~= 'n' then bump(q, from, -1) end
  bump(q, to, 1)
  if from == 'n' then log(row, from, to, reason, row.seq) else log(row, from, to, reason, row.token, held and held.session) end
  if to ~= 'c' then row.st = to end
  touch(row)
end
local function place(row, reason)
  if row.ready > now() then
    move(row, 's', reason)
    redis.call('ZADD', T .. ':s', row.ready, fmt('%09x', row.seq) .. row.id)
    return
  end
  local isFirst = row.order == nil
  if isFirst then
    row.order = row.st == 'n' and row.seq or order_next()
    row.ranked = row.ready - row.aged
  end
  move(row, 'r', reason)
  enter(row, isFirst)
end
local function due(delay) return delay > 0 and now() + delay or now() end
local function arm(row)
  if row.x.l then redis.call('ZADD', T .. ':dl', (row.alive or row.at) + tonumber(row.x.l), fmt('%09x', row.seq) .. row.id) end
end
`;
