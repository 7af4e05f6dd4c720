/**
 * The queue of a resource: one sorted set a mode, in one order (rank, urgency, arrival) for all. A place is open when neither a holder nor a waiter
 * in front of it stands in its way; only the first of each conflicting mode need be looked at for that. A request is granted when all its
 * places are open.
 */
export const LOCK_QUEUE: string = /* lua */ `
local MOST_PASSED = 500
local ORIGIN = 1735689600000000
local function queue(name, mode) return K .. 'l:q:' .. mode .. ':' .. name end
local function member(lock, item)
  return string.format('%010.3f%016.0f:', 100000 - lock.y, tonumber(lock.a)) .. int(item[3]) .. ':' .. lock.n .. ':' .. lock.id
end
local function parts(text) return string.match(text, '^(%d+):(%w+):(.*)$', 28) end
local function before(score, text, other_score, other_text)
  if score ~= other_score then return score < other_score end
  return text < other_text
end
local function head(r, mode)
  if r.w[mode] == 0 then return nil end
  local first = r.heads[mode]
  if first == nil then
    local found = redis.call('ZRANGE', queue(r.name, mode), 0, 0, 'WITHSCORES')
    first = found[1] and { tonumber(found[2]), found[1] } or false
    r.heads[mode] = first
  end
  return first or nil
end
local function fits(r, item, mine)
  if item[2] == 6 then return r.used + item[3] <= r.of end
  for _, mode in ipairs(CONFLICTS[item[2]]) do
    if r.h[mode] > (mine and mine.c[mode] or 0) then return false end
  end
  return true
end
local function units_before(r, score, text, limit)
  local sum, from = r.used, 0
  while true do
    local page = redis.call('ZRANGE', queue(r.name, 6), from, from + 31, 'WITHSCORES')
    for i = 1, #page, 2 do
      if not before(tonumber(page[i + 1]), page[i], score, text) then return sum end
      sum = sum + tonumber((parts(page[i])))
      if sum > limit then return sum end
    end
    if #page < 64 then return sum end
    from = from + 32
  end
end
local function is_open(lock, item, score, text)
  local r = res(item[1])
  local mine = own(lock, item[1])
  if mine and covered(mine, item[2]) then return true end
  if not fits(r, item, mine) then return false end
  if r.nw == 0 then return true end
  score, text = score or tonumber(lock.r), text or member(lock, item)
  if item[2] == 6 then return units_before(r, score, text, r.of) + item[3] <= r.of end
  for _, mode in ipairs(CONFLICTS[item[2]]) do
    local first = head(r, mode)
    if first and before(first[1], first[2], score, text) then return false end
  end
  return true
end
local function is_ready(lock, known)
  for _, item in ipairs(lock.i) do
    if item ~= known and not is_open(lock, item) then return false end
  end
  return true
end
local function version(lock)
  local sum = 0
  for _, item in ipairs(lock.i) do
    local e = res(item[1]).e
    sum = sum + e[7]
    for _, mode in ipairs(CONFLICTS[item[2]]) do sum = sum + e[mode] end
  end
  return sum
end
local function just_behind(rank) return rank + math.max(0.001, math.abs(rank) * 4.5e-16) end
local function score_text(rank) return string.format('%.17g', rank) end
local function rank_for(r, mode, rank)
  if r.nw == 0 then return rank end
  for _, other in ipairs(CONFLICTS[mode]) do
    if r.w[other] > 0 then
      local page = redis.call('ZREVRANGEBYSCORE', queue(r.name, other), '+inf', score_text(rank), 'WITHSCORES', 'LIMIT', 0, MOST_PASSED)
      if #page > 0 then
        local ids, most = {}, {}
        for i = 1, #page, 2 do
          local _, max, id = parts(page[i])
          ids[#ids + 1], most[#most + 1] = id, tonumber(max)
        end
        local passes = redis.call('HMGET', K .. 'l:v', unpack(ids))
        local barrier = nil
        for i = 1, #ids do
          if tonumber(passes[i] or 0) >= most[i] then
            barrier = page[2 * i]
            break
          end
        end
        if barrier == nil and #ids == MOST_PASSED then barrier = page[#page] end
        if barrier and tonumber(barrier) >= rank then rank = just_behind(tonumber(barrier)) end
      end
    end
  end
  return rank
end
local function pass_others(lock)
  local met, passed, any, rank = {}, {}, false, tonumber(lock.r)
  for _, item in ipairs(lock.i) do
    local r, text = res(item[1]), member(lock, item)
    local moved = false
    for _, mode in ipairs(r.nw > 0 and CONFLICTS[item[2]] or {}) do
      if r.w[mode] > 0 then
        local page = redis.call('ZRANGEBYSCORE', queue(r.name, mode), lock.r, '+inf', 'WITHSCORES', 'LIMIT', 0, MOST_PASSED)
        for i = 1, #page, 2 do
          if before(rank, text, tonumber(page[i + 1]), page[i]) then
            local _, _, id = parts(page[i])
            moved = true
            if not met[id] then
              met[id] = true
              passed[#passed + 1] = id
            end
          end
        end
      end
    end
    if moved then
      any = true
      bump(r, item[2])
      CHANGED[r.name] = r
    end
  end
  for from = 1, #passed, 500 do
    local last, times = math.min(#passed, from + 499), {}
    for i, known in ipairs(redis.call('HMGET', K .. 'l:v', unpack(passed, from, last))) do
      times[#times + 1] = passed[from + i - 1]
      times[#times + 1] = int(tonumber(known or 0) + 1)
    end
    redis.call('HSET', K .. 'l:v', unpack(times))
  end
  return any
end
local function count_ahead(lock)
  local most = 0
  for _, item in ipairs(lock.i) do
    local r = res(item[1])
    local ahead, text = r.nw, nil
    if ahead > most then
      for mode = 1, 6 do
        local behind = r.w[mode] > 0 and redis.call('ZCOUNT', queue(r.name, mode), lock.r, '+inf') or 0
        if behind > 0 then
          ahead, text = ahead - behind, text or member(lock, item)
          for _, equal in ipairs(redis.call('ZRANGEBYSCORE', queue(r.name, mode), lock.r, lock.r, 'LIMIT', 0, 100)) do
            if equal < text then ahead = ahead + 1 end
          end
        end
      end
      if ahead > most then most = ahead end
    end
  end
  return most
end
local function make_special(r, id)
  for _, known in ipairs(r.z) do
    if known == id then return end
  end
  r.z[#r.z + 1] = id
  CHANGED[r.name] = r
end
local function enqueue(lock)
  for _, item in ipairs(lock.i) do
    local r, mode = res(item[1]), item[2]
    if r.nw == 0 then r.w, r.e, r.z = { 0, 0, 0, 0, 0, 0 }, { 0, 0, 0, 0, 0, 0, 0 }, {} end
    redis.call('ZADD', queue(r.name, mode), lock.r, member(lock, item))
    r.w[mode], r.nw, r.heads[mode] = r.w[mode] + 1, r.nw + 1, nil
    CHANGED[r.name] = r
    if own(lock, r.name) then make_special(r, lock.id) end
  end
  redis.call('HSET', K .. 'l:o:' .. lock.o, 'w' .. lock.id, 1)
end
local function unqueue(lock)
  for _, item in ipairs(lock.i) do
    local r, mode = res(item[1]), item[2]
    redis.call('ZREM', queue(r.name, mode), member(lock, item))
    r.w[mode], r.nw, r.heads[mode] = r.w[mode] - 1, r.nw - 1, nil
    bump(r, mode)
    CHANGED[r.name] = r
    for i, id in ipairs(r.z) do
      if id == lock.id then
        table.remove(r.z, i)
        break
      end
    end
  end
  redis.call('HDEL', K .. 'l:o:' .. lock.o, 'w' .. lock.id)
  PASSED[#PASSED + 1] = lock.id
end
`;
