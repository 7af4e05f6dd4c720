/*
 * l:r              hash  resource → [capacity, units in use, held, waiting, held by mode, id of the only holder or ""] and, while somebody waits,
 *                        [waiting by mode], [changes by mode], [waiters whose owner holds it too]. A resource that is idle has no entry.
 * l:h:<resource>   set   ids of those who hold it, when it is more than one
 * l:q:<m>:<resource> zset who waits for it in one mode: `<urgency><arrival>:<units>:<most overtakes>:<id>` → rank
 * l:g              hash  id → a request that waits or holds: a line of JSON, and its owner as JSON
 * l:o:<owner>      hash  h<resource> → what the owner holds there; w<id>: it waits
 * l:s:<session>    set   ids of its requests
 * l:v              hash  id of a waiter → how often it was overtaken
 * l:c              zset  resources that somebody waits for → minus how many
 * l:x              zset  what ends when, µs: s<session>, g<id> a lease of its own, a<session>:<id> a memory of a victim, r<m>:<rank>:<resource>
 *                        a queue that isn't handed on to the end
 * l:a:<session>    hash  id of a victim → 0 or 1 (told), and its order as JSON
 * l:p              hash  session → the waits that it publishes, as JSON
 *
 * Modes are numbers: 1 intent-shared, 2 intent-exclusive, 3 shared, 4 update, 5 exclusive, 6 units.
 */

/** Resources, requests and what owners hold, read once a script. `flush` writes the resources and requests that changed. */
export const LOCK_TABLE: string = /* lua */ `
local CONFLICTS = { { 5 }, { 3, 4, 5 }, { 2, 5 }, { 2, 4, 5 }, { 1, 2, 3, 4, 5 }, { 6 } }
local COVERED_BY = { { 1, 2, 3, 4, 5 }, { 2, 5 }, { 3, 4, 5 }, { 4, 5 }, { 5 }, {} }
local RES, CHANGED, REC, MINE = {}, {}, {}, {}
local SAVED, GONE, PASSED = {}, {}, {}
local function clash(a, b)
  for _, mode in ipairs(CONFLICTS[a]) do
    if mode == b then return true end
  end
  return false
end
local function res(name)
  local r = RES[name]
  if r ~= nil then return r end
  local text = redis.call('HGET', K .. 'l:r', name)
  if text then
    local t = cjson.decode(text)
    r = { of = t[1], used = t[2], nh = t[3], nw = t[4], h = t[5], one = t[6], w = t[7], e = t[8], z = t[9] }
  else
    r = { of = 0, used = 0, nh = 0, nw = 0, h = { 0, 0, 0, 0, 0, 0 }, one = '' }
  end
  r.name, r.was, r.heads, r.text = name, r.nw, {}, text
  RES[name] = r
  return r
end
local function holders(r)
  if r.nh == 0 then return {} end
  if r.nh == 1 then return { r.one } end
  return redis.call('SMEMBERS', K .. 'l:h:' .. r.name)
end
local function bump(r, mode)
  if r.nw > 0 then r.e[mode] = r.e[mode] + 1 end
end
local function rec(id)
  local lock = REC[id]
  if lock == nil then
    local text = redis.call('HGET', K .. 'l:g', id)
    if text then
      local cut = string.find(text, '\\n', 1, true)
      lock = cjson.decode(string.sub(text, 1, cut - 1))
      lock.id, lock.p = id, string.sub(text, cut + 1)
    else
      lock = false
    end
    REC[id] = lock
  end
  return lock or nil
end
local function text_of(lock)
  local id, p = lock.id, lock.p
  lock.id, lock.p = nil, nil
  local text = cjson.encode(lock) .. '\\n' .. p
  lock.id, lock.p = id, p
  return text
end
local function save(lock)
  SAVED[lock.id] = lock
end
local function forget(lock)
  SAVED[lock.id] = nil
  GONE[#GONE + 1] = lock.id
  redis.call('SREM', K .. 'l:s:' .. lock.s, lock.id)
  REC[lock.id] = false
end
-- Whoever made it hears that there is news of it.
local function tell(lock)
  if string.find(lock.id, ' ', 1, true) then hint('locks', lock.i[1][1]) else hint('request', lock.id .. ' ' .. lock.i[1][1]) end
end
local function in_parts(command, key, list)
  for from = 1, #list, 1000 do
    redis.call(command, K .. key, unpack(list, from, math.min(#list, from + 999)))
  end
end
local function flush()
  for name, r in pairs(CHANGED) do
    if r.nh == 0 and r.nw == 0 then
      redis.call('HDEL', K .. 'l:r', name)
    else
      local text = (r.of == 0 and '[0,0,' or ('[' .. int(r.of) .. ',' .. int(r.used) .. ',')) .. r.nh .. ',' .. r.nw
        .. ',[' .. table.concat(r.h, ',') .. '],' .. (r.one == '' and '""' or cjson.encode(r.one))
      if r.nw > 0 then
        text = text .. ',[' .. table.concat(r.w, ',') .. '],[' .. table.concat(r.e, ',') .. '],'
          .. (#r.z == 0 and '[]' or cjson.encode(r.z))
      end
      redis.call('HSET', K .. 'l:r', name, text .. ']')
    end
    if r.nw ~= r.was then
      if r.nw == 0 then redis.call('ZREM', K .. 'l:c', name) else redis.call('ZADD', K .. 'l:c', -r.nw, name) end
      r.was = r.nw
    end
  end
  local texts = {}
  for id, lock in pairs(SAVED) do
    texts[#texts + 1] = id
    texts[#texts + 1] = text_of(lock)
  end
  in_parts('HSET', 'l:g', texts)
  in_parts('HDEL', 'l:g', GONE)
  in_parts('HDEL', 'l:v', PASSED)
  CHANGED, SAVED, GONE, PASSED = {}, {}, {}, {}
end
local function own(lock, name)
  if lock.u then return nil end
  local at = MINE[name]
  if at == nil then
    at = {}
    MINE[name] = at
  end
  local mine = at[lock.o]
  if mine == nil then
    local text = res(name).nh > 0 and redis.call('HGET', K .. 'l:o:' .. lock.o, 'h' .. name)
    if text then
      local t = cjson.decode(text)
      mine = { n = t[1], c = t[2], k = t[3], p = t[4] }
    else
      mine = false
    end
    at[lock.o] = mine
  end
  return mine or nil
end
local function set_own(lock, name, mine)
  MINE[name][lock.o] = mine.n > 0 and mine
  if mine.n == 0 then
    redis.call('HDEL', K .. 'l:o:' .. lock.o, 'h' .. name)
    return
  end
  local places = #mine.p == 0 and '[]' or cjson.encode(mine.p)
  redis.call('HSET', K .. 'l:o:' .. lock.o, 'h' .. name,
    '[' .. mine.n .. ',[' .. table.concat(mine.c, ',') .. '],"' .. mine.k .. '",' .. places .. ']')
end
local function own_count(mine, item, by)
  mine.n = mine.n + by
  mine.c[item[2]] = mine.c[item[2]] + by * (item[2] == 6 and item[3] or 1)
end
local function own_add(lock, item)
  if lock.u then return end
  local mine = own(lock, item[1]) or { n = 0, c = { 0, 0, 0, 0, 0, 0 }, k = '', p = {} }
  own_count(mine, item, 1)
  mine.k = item[4]
  if item[2] > 2 then mine.p[#mine.p + 1] = lock.id end
  set_own(lock, item[1], mine)
end
local function own_drop(lock, item)
  if lock.u then return end
  if res(item[1]).nh == 0 then
    redis.call('HDEL', K .. 'l:o:' .. lock.o, 'h' .. item[1])
    if MINE[item[1]] then MINE[item[1]][lock.o] = false end
    return
  end
  local mine = own(lock, item[1])
  if mine == nil then return end
  own_count(mine, item, -1)
  for i, place in ipairs(mine.p) do
    if place == lock.id then
      table.remove(mine.p, i)
      break
    end
  end
  set_own(lock, item[1], mine)
end
local function covered(mine, mode)
  for _, held in ipairs(COVERED_BY[mode]) do
    if mine.c[held] > 0 then return true end
  end
  return false
end
`;
