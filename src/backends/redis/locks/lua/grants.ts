/** How requests are granted, changed and ended; `settle` hands on to whoever can go on by it, in the same script up to a bound. */
export const LOCK_GRANTS: string = /* lua */ `
local MOST_GRANTED, MOST_LOOKED_AT = 100, 500
local PENDING, QUEUED, GRANTED, DEAD = {}, {}, {}, {}
local LOOKED_AT, MORE = 0, false
local drop
local function later(r)
  if r.nw == 0 or QUEUED[r.name] then return end
  QUEUED[r.name] = true
  PENDING[#PENDING + 1] = r
end
local function wants_any(r, mode)
  for _, other in ipairs(CONFLICTS[mode]) do
    if r.w[other] > 0 then return true end
  end
  return false
end
local function hold(lock, item, token)
  local r, mode = res(item[1]), item[2]
  local mine = own(lock, r.name)
  item[4] = mine and covered(mine, mode) and mine.k or token
  r.h[mode], r.nh = r.h[mode] + 1, r.nh + 1
  if mode == 6 then r.used = r.used + item[3] end
  bump(r, mode)
  CHANGED[r.name] = r
  if r.nh == 1 then
    r.one = lock.id
  elseif r.nh == 2 then
    redis.call('SADD', K .. 'l:h:' .. r.name, r.one, lock.id)
    r.one = ''
  else
    redis.call('SADD', K .. 'l:h:' .. r.name, lock.id)
  end
  own_add(lock, item)
end
local function free(lock, item)
  local r, mode = res(item[1]), item[2]
  r.h[mode], r.nh = r.h[mode] - 1, r.nh - 1
  if mode == 6 then r.used = r.used - item[3] end
  bump(r, mode)
  CHANGED[r.name] = r
  if r.nh > 0 then redis.call('SREM', K .. 'l:h:' .. r.name, lock.id) end
  r.one = ''
  if r.nh == 1 then r.one = redis.call('SPOP', K .. 'l:h:' .. r.name) end
  own_drop(lock, item)
  if r.nw > 0 and (mode == 6 or #r.z > 0 or (r.h[mode] == 0 and wants_any(r, mode))) then later(r) end
end
local function item_at(lock, name)
  for _, item in ipairs(lock.i) do
    if item[1] == name then return item end
  end
end
local function exchange(lock, target)
  for _, item in ipairs(lock.i) do
    local held = item_at(target, item[1])
    local r, mode, token = res(item[1]), held[2], held[4]
    own_drop(target, held)
    held[2], held[4], item[2], item[4] = item[2], item[4], mode, token
    if mode ~= held[2] then
      r.h[mode], r.h[held[2]] = r.h[mode] - 1, r.h[held[2]] + 1
      bump(r, mode)
      bump(r, held[2])
      CHANGED[r.name] = r
    end
    own_add(target, held)
  end
end
local function unwait(lock)
  lock.a, lock.r, lock.y, lock.n, lock.b = nil, nil, nil, nil, nil
end
local function convert(lock, token)
  local target = rec(lock.d)
  if target.g == nil then target.g = target.i[1][4] end
  for _, item in ipairs(lock.i) do item[4] = token end
  exchange(lock, target)
  lock.t = 'c'
  local older = target.c and rec(target.c)
  if older then forget(older) end
  target.c = lock.id
  save(target)
end
local function unlist_upgrade(lock)
  local target = lock.d and rec(lock.d)
  if not target or not target.q then return end
  for i, id in ipairs(target.q) do
    if id == lock.id then table.remove(target.q, i) break end
  end
  if #target.q == 0 then target.q = nil end
  save(target)
end
local function own_waits_open(lock)
  if lock.u then return end
  local contended = false
  for _, item in ipairs(lock.i) do contended = contended or res(item[1]).nw > 0 end
  if not contended then return end
  for _, field in ipairs(redis.call('HKEYS', K .. 'l:o:' .. lock.o)) do
    local other = string.sub(field, 1, 1) == 'w' and rec(string.sub(field, 2))
    if other and other.t == 'w' then
      for _, item in ipairs(lock.i) do
        local r = res(item[1])
        if item_at(other, r.name) then
          make_special(r, other.id)
          bump(r, 7)
          later(r)
        end
      end
    end
  end
end
local function grant(lock, token)
  if lock.t == 'w' then
    unqueue(lock)
    unlist_upgrade(lock)
  end
  unwait(lock)
  if lock.d then
    convert(lock, token)
  else
    for _, item in ipairs(lock.i) do hold(lock, item, token) end
    lock.t = 'h'
    lock.g = lock.i[1][4] ~= token and token or nil
    if lock.l then redis.call('ZADD', K .. 'l:x', int(now() + lock.l * 1000), 'g' .. lock.id) end
  end
  save(lock)
  own_waits_open(lock.d and rec(lock.d) or lock)
end
-- Its lease is over, also when nobody has come to ending it.
local function is_expired(lock)
  if lock.t ~= 'h' or not (lock.l or lock.v) then return false end
  local ends = redis.call('ZSCORE', K .. 'l:x', 'g' .. lock.id)
  return ends and tonumber(ends) <= now()
end
local function hand_to(lock)
  if DEAD[lock.s] then
    LOOKED_AT = LOOKED_AT + 9
    return drop(lock)
  end
  local target = lock.d and rec(lock.d)
  if target and is_expired(target) then return drop(target) end
  grant(lock, int(token()))
  GRANTED[#GRANTED + 1] = lock.id
  tell(lock)
end
local function is_over(r, mode, score)
  if #GRANTED < MOST_GRANTED and LOOKED_AT < MOST_LOOKED_AT then return false end
  redis.call('ZADD', K .. 'l:x', 0, 'r' .. mode .. ':' .. score .. ':' .. r.name)
  MORE = true
  return true
end
local function hand_on_units(r)
  local sum, skipped = r.used, 0
  while r.nw > 0 do
    local page = redis.call('ZRANGE', queue(r.name, 6), skipped, skipped + 15)
    for _, text in ipairs(page) do
      local units, _, id = parts(text)
      sum = sum + tonumber(units)
      if sum > r.of then return end
      if is_over(r, 6, '-inf') then return end
      LOOKED_AT = LOOKED_AT + 1
      local lock = rec(id)
      if not lock then return end
      if is_ready(lock) then hand_to(lock) else skipped = skipped + 1 end
    end
    if #page < 16 then return end
  end
end
local function hand_on_mode(r, mode, from)
  local skipped = 0
  while r.nw > 0 and r.w[mode] > 0 do
    for _, other in ipairs(CONFLICTS[mode]) do
      if r.h[other] > 0 then return end
    end
    local page = redis.call('ZRANGEBYSCORE', queue(r.name, mode), from, '+inf', 'WITHSCORES', 'LIMIT', skipped, mode > 3 and 1 or 16)
    if #page == 0 then return end
    for i = 1, #page, 2 do
      local _, _, id = parts(page[i])
      local lock = rec(id)
      if not lock then return end
      local item = item_at(lock, r.name)
      if not is_open(lock, item, tonumber(page[i + 1]), page[i]) then return end
      if is_over(r, mode, page[i + 1]) then return end
      LOOKED_AT = LOOKED_AT + 1
      if is_ready(lock, item) then
        hand_to(lock)
      elseif mode > 3 then
        return
      else
        skipped = skipped + 1
      end
    end
  end
end
local function specials(r)
  local found = {}
  for _, id in ipairs(r.z or {}) do
    local lock = rec(id)
    if lock and lock.t == 'w' then found[#found + 1] = lock end
  end
  if #found > 1 then
    table.sort(found, function(a, b)
      return before(tonumber(a.r), member(a, item_at(a, r.name)), tonumber(b.r), member(b, item_at(b, r.name)))
    end)
  end
  return found
end
local function hand_on(r)
  for _, lock in ipairs(specials(r)) do
    if lock.t == 'w' and REC[lock.id] and is_ready(lock) then hand_to(lock) end
  end
  if r.of > 0 then return hand_on_units(r) end
  for mode = 1, 5 do
    if r.nw > 0 and r.w[mode] > 0 then hand_on_mode(r, mode, '-inf') end
  end
end
local function settle()
  local i = 1
  while i <= #PENDING do
    local r = PENDING[i]
    QUEUED[r.name] = nil
    if r.nw > 0 then hand_on(r) end
    i = i + 1
  end
  PENDING = {}
end
drop = function(lock)
  if lock.t == 'w' then
    unqueue(lock)
    unlist_upgrade(lock)
    for _, item in ipairs(lock.i) do
      local r = res(item[1])
      if r.nw > 0 and (#r.z > 0 or wants_any(r, item[2])) then later(r) end
    end
  elseif lock.t == 'h' then
    for _, id in ipairs(lock.q or {}) do
      local upgrade = rec(id)
      if upgrade and upgrade.t == 'w' then
        upgrade.d = nil
        drop(upgrade)
        tell(upgrade)
      end
    end
    for _, item in ipairs(lock.i) do free(lock, item) end
    local conversion = lock.c and rec(lock.c)
    if conversion then forget(conversion) end
    if lock.l or lock.v then redis.call('ZREM', K .. 'l:x', 'g' .. lock.id) end
  end
  forget(lock)
end
local function revert(lock, target)
  exchange(lock, target)
  for _, item in ipairs(target.i) do later(res(item[1])) end
  target.c = nil
  forget(lock)
  save(target)
end
local function downgrade(lock)
  local conversion = lock.c and rec(lock.c)
  if conversion then forget(conversion) end
  lock.c = nil
  for _, item in ipairs(lock.i) do
    local mode = item[2]
    local weaker = mode <= 2 and 1 or mode <= 5 and 3 or mode
    if mode ~= weaker then
      local r = res(item[1])
      own_drop(lock, item)
      item[2] = weaker
      own_add(lock, item)
      r.h[mode], r.h[weaker] = r.h[mode] - 1, r.h[weaker] + 1
      bump(r, mode)
      bump(r, weaker)
      CHANGED[r.name] = r
      later(r)
    end
  end
  save(lock)
end
`;
