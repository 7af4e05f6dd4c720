/*
 * t:c:<session>   hash  id → s (started) or u (not yet), and the token; then, where the end of the task is a matter of counters alone, a space and
 *                         how it is kept (its class in `t:e`), kind and group. Gone as soon as the record is written while it is claimed
 * t:ho            set   sessions that hold claims, or that are to be told of some that they held
 * t:or:<session>  hash  token → order (JSON) that the session is told with each beat
 */

/** Defines who has claimed what: `find_holders(rows)`, `unclaim(row)`, `give_back(row, …)`, orders. */
export const HOLDERS: string = String.raw`
local OPENED, UNCLAIMED = false, {}
claims_key = function(session) return T .. ':c:' .. session end
local function token_of(right) return tonumber(string.match(right, '^%d+', 2)) end
local function hold(row, session, right)
  local token = token_of(right)
  row.held = { session = session, token = token, started = byte(right, 1) == 115 }
  row.former, row.token, row.attempt, row.looked = row.token, token, row.attempt + 1, true
end
find_holders = function(rows)
  local wanted, ids = {}, {}
  for _, row in ipairs(rows) do
    if row.st == 'r' and row.held == nil and not row.looked then
      row.looked = true
      wanted[#wanted + 1], ids[#ids + 1] = row, row.id
    end
  end
  if #wanted == 0 then return end
  for _, session in ipairs(redis.call('SMEMBERS', T .. ':ho')) do
    for first = 1, #ids, 1000 do
      local last = math.min(first + 999, #ids)
      local rights = redis.call('HMGET', claims_key(session), unpack(ids, first, last))
      for i = first, last do
        local right = rights[i - first + 1]
        if right and not wanted[i].held then hold(wanted[i], session, right) end
      end
    end
  end
end
local function is_held(row)
  if row.held == nil and row.st == 'r' then find_holders({ row }) end
  return row.held ~= nil
end
local function drop_order(session, token) redis.call('HDEL', T .. ':or:' .. session, int(token)) end
local function json_of(text) return byte(text, 1) == 34 and text or cjson.encode(text) end
local function give_order(session, row, kind, reason)
  local text = '{"kind":"' .. kind .. '","task":' .. json_of(row.id) .. ',"token":' .. int(row.token)
  if reason then text = text .. ',"reason":' .. json_of(reason) end
  redis.call('HSET', T .. ':or:' .. session, int(row.token), text .. '}')
  hint('orders', session)
end
local function unclaim(row)
  local held, q, group = row.held, queue_of(row), row.x.g
  local given = UNCLAIMED[held.session]
  if given == nil then
    given = {}
    UNCLAIMED[held.session] = given
  end
  given[#given + 1] = row.id
  local freed = q.n.c == q.max and q.n.r > 0
  if group then
    local running = redis.call('HINCRBY', T .. ':gr:' .. q.name, group, -1)
    if running <= 0 then redis.call('HDEL', T .. ':gr:' .. q.name, group) end
    if running < q.glimit and redis.call('SISMEMBER', T .. ':gp:' .. q.name, group) == 1 and unpark(q, group) then freed = true end
  end
  if freed then
    OPENED = true
    wake(q.name)
  end
  if row.cancel then
    drop_order(held.session, row.token)
    row.cancel = nil
  end
end
local function flush_claims()
  for session, ids in pairs(UNCLAIMED) do
    for first = 1, #ids, 1000 do redis.call('HDEL', claims_key(session), unpack(ids, first, math.min(first + 999, #ids))) end
  end
  UNCLAIMED = {}
end
local function give_back(row, delay, reason)
  unclaim(row)
  if row.dprio then row.prio, row.dprio = row.dprio, nil end
  if row.dbody then
    set_body(row, row.dbody)
    row.dbody = nil
    if row.ddigest then row.x.d, row.ddigest, row.changed = row.ddigest, nil, true end
  end
  row.ready = due(delay)
  row.adopted = false
  place(row, reason)
  row.held = nil
  arm(row)
end
local function revoke(row)
  local held = row.held
  drop_order(held.session, row.token)
  if alive(held.session) then give_order(held.session, row, 'taken') end
  row.token = token()
end
`;
