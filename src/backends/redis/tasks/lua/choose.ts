import { SOURCES } from './ready.ts';

/** Defines `choose()`: how tasks are chosen where there is more than one source of them. */
export const CHOOSE: string = String.raw`
local function choose(visits, slots, limit, assigned, hosted, tombs, most)
  local picked, taken, more, used = {}, 0, false, {}
  local PAGE = 32
  local function group_of(v, name)
    local g = v.groups[name]
    if g == nil then
      g = { name = name, running = 0, turn = 0, share = 1 }
      if name ~= '' and v.q.glimit < HUGE then g.running = tonumber(redis.call('HGET', T .. ':gr:' .. v.q.name, name)) or 0 end
      if v.q.fair then
        g.turn = tonumber(redis.call('HGET', T .. ':gt:' .. v.q.name, name)) or 0
        g.share = tonumber(redis.call('HGET', T .. ':gw:' .. v.q.name, name)) or 1
      end
      v.groups[name] = g
    end
    return g
  end
  local function step_of(v, gen)
    if gen == v.q.gen then return v.q.step end
    local step = v.steps[gen]
    if step == nil then
      step = gen == '00' and 10000000 or tonumber(redis.call('HGET', T .. ':n:' .. v.q.name, 'g' .. gen))
      v.steps[gen] = step
    end
    return step
  end
  local function more_sources(v, p)
    local size = v.q.fair and 1000 or PAGE
    local found = redis.call('ZRANGE', T .. ':h:' .. p.pool, p.at, p.at + size - 1, 'WITHSCORES')
    p.at = p.at + size
    p.bound = #found == 2 * size and tonumber(found[#found]) or HUGE
    for i = 1, #found, 2 do
      local src = found[i]
      local isList = byte(src, 1) == 76
      local c = { pool = p, src = src, isList = isList, key = T .. ':r:' .. p.pool .. '\29' .. src, rank = tonumber(found[i + 1]), order = -1, off = 0, phys = 0, size = 4 }
      c.group = group_of(v, isList and sub(src, 7) or sub(src, 2))
      if isList then c.boost = (tonumber(sub(src, 4, 6), 16) - 1000) * step_of(v, sub(src, 2, 3)) end
      v.cursors[#v.cursors + 1] = c
    end
  end
  local function open(q, pools)
    q.groups = q.groups or {}
    local v = { q = q, pools = pools, cursors = {}, groups = q.groups, steps = {} }
    for _, p in ipairs(pools) do
      p.at = 0
      more_sources(v, p)
    end
    return v
  end
  local function aged_of(rec)
    local order, from = tonumber(sub(rec, 24, 32), 16), tonumber(sub(rec, 11, 23), 16)
    if bit.band(byte(rec, 2), 1) == 1 then
      local ready, aged
      for field in string.gmatch(sub(rec, 39, find(rec, '\n', 39, true) - 1), '[^\31]+') do
        local tag = byte(field, 1)
        if tag == 114 then ready = tonumber(sub(field, 2)) elseif tag == 107 then aged = tonumber(sub(field, 2)) elseif tag == 111 then order = tonumber(sub(field, 2)) end
      end
      from = aged or ready or from
    end
    return from, order
  end
  local function fill(c)
    local ids
    c.buf, c.pos = {}, 1
    if c.isList then
      ids = redis.call('LRANGE', c.key, c.off, c.off + c.size - 1)
    else
      local found = redis.call('ZRANGE', c.key, c.off, c.off + c.size - 1, 'WITHSCORES')
      ids = {}
      for i = 1, #found, 2 do
        ids[#ids + 1] = sub(found[i], 10)
        c.buf[#ids] = { rank = tonumber(found[i + 1]), order = tonumber(sub(found[i], 1, 9), 16), member = found[i] }
      end
    end
    c.off = c.off + #ids
    c.isDone = #ids < c.size
    c.size = math.min(128, c.size * 4)
    if #ids == 0 then return end
    local recs = redis.call('HMGET', T, unpack(ids))
    for i = 1, #ids do
      local one = c.buf[i]
      if one == nil then
        one = {}
        c.buf[i] = one
        if tombs then
          local field = c.pool.pool .. '\29' .. c.src .. '\29' .. ids[i]
          c.dead = c.dead or {}
          if c.dead[field] == nil then c.dead[field] = tonumber(redis.call('HGET', T .. ':x', field)) or 0 end
          if c.dead[field] > 0 then
            c.dead[field] = c.dead[field] - 1
            one.tomb = field
          end
        end
        if not one.tomb then
          local from
          from, one.order = aged_of(recs[i])
          one.rank = from - c.boost
        end
      end
      one.id, one.rec = ids[i], recs[i]
    end
  end
  -- Makes the head of a cursor known; false when it has none.
  local function settle(c)
    while true do
      local one = c.buf and c.buf[c.pos]
      if one == nil then
        if c.isDone then
          c.isEmpty = true
          return false
        end
        fill(c)
        if #c.buf == 0 then
          c.isEmpty = true
          return false
        end
      elseif one.tomb then
        if redis.call('HINCRBY', T .. ':x', one.tomb, -1) <= 0 then redis.call('HDEL', T .. ':x', one.tomb) end
        c.phys = c.phys + 1
        c.pos = c.pos + 1
      else
        c.rank, c.order = one.rank, one.order
        return true
      end
    end
  end
  local function before(a, b)
    local x, y = a.group.turn, b.group.turn
    if x ~= y then return x < y end
    if a.rank ~= b.rank then return a.rank < b.rank end
    return a.order < b.order
  end
  local function best(v, fits)
    while true do
      local found
      for _, c in ipairs(v.cursors) do
        if not c.isEmpty and not c.isParked and fits(c.pool) and (found == nil or before(c, found)) then found = c end
      end
      local page
      for _, p in ipairs(v.pools) do
        if p.bound < HUGE and (found == nil or v.q.fair or found.rank >= p.bound) and fits(p) then page = p end
      end
      if page then
        more_sources(v, page)
      elseif found == nil then
        return nil
      elseif found.group.name ~= '' and found.group.running >= v.q.glimit then
        found.isParked = true
      elseif found.order < 0 then
        settle(found)
      else
        return found
      end
    end
  end
  local function take(v, c)
    local one, q, group = c.buf[c.pos], v.q, c.group
    c.pos, c.phys = c.pos + 1, c.phys + 1
    if not c.isList then
      c.members = c.members or {}
      c.members[#c.members + 1] = one.member
    end
    group.running, group.taken = group.running + 1, (group.taken or 0) + 1
    q.taken = q.taken + 1
    if q.fair then
      q.turn, q.turned = group.turn, true
      group.turn, group.turned = group.turn + 1 / group.share, true
    end
    picked[#picked + 1] = { id = one.id, rec = one.rec, q = q }
    settle(c)
  end
  local function is_open(q) return not q.paused and q.n.c + q.taken < q.max end
  local function fits_any(pool)
    for _, offer in ipairs(pool.offers) do if offer.slots > 0 then return true end end
    return false
  end
  local round = {}
  if limit > 0 and slots > 0 then
    for _, visit in ipairs(visits) do
      if #visit.pools > 0 and is_open(visit.q) then
        local v = open(visit.q, visit.pools)
        v.left = visit.left
        round[#round + 1], used[#used + 1] = v, v
      end
    end
  end
  local at = 1
  while taken < limit and slots > 0 and #round > 0 do
    if at > #round then at = 1 end
    local v = round[at]
    local c = v.left > 0 and is_open(v.q) and best(v, fits_any)
    if not c then
      table.remove(round, at)
    else
      for _, offer in ipairs(c.pool.offers) do
        if offer.slots > 0 then
          offer.slots, slots = offer.slots - 1, slots - 1
          break
        end
      end
      v.left = v.left - 1
      take(v, c)
      taken, at = taken + 1, at + 1
    end
  end
  local function has_more(v)
    if not is_open(v.q) then return false end
    for _, c in ipairs(v.cursors) do
      if not c.isEmpty and not c.isParked and (c.group.name == '' or c.group.running < v.q.glimit) then return true end
    end
    for _, p in ipairs(v.pools) do if p.bound < HUGE then return true end end
    return false
  end
  for _, v in ipairs(used) do more = more or has_more(v) end
  assigned = math.min(assigned, most - taken)
  if assigned > 0 and #hosted > 0 then
    local function always() return true end
    for _, visit in ipairs(visits) do
      for _, agent in ipairs(hosted) do
        if agent.queues[visit.q.name] then
          local v = open(visit.q, { { pool = '@' .. agent.name .. '\29' .. visit.q.name } })
          used[#used + 1] = v
          while assigned > 0 and is_open(v.q) do
            local c = best(v, always)
            if not c then break end
            take(v, c)
            assigned = assigned - 1
          end
          more = more or has_more(v)
        end
      end
    end
  end
  local function write()
    ${SOURCES}
    for _, v in ipairs(used) do
      for _, c in ipairs(v.cursors) do
        if c.phys > 0 then
          if c.isList then redis.call('LTRIM', c.key, c.phys, -1) else redis.call('ZREM', c.key, unpack(c.members)) end
        end
        if c.isEmpty then
          source_off(c.pool.pool, c.src)
          if c.group.name ~= '' then redis.call('ZREM', T .. ':gp:' .. v.q.name .. '\29' .. c.group.name, c.pool.pool .. '\28' .. c.src) end
        elseif c.isParked then
          park(v.q, c.group.name, c.pool.pool, c.src, c.rank)
        elseif c.phys > 0 then
          redis.call('ZADD', T .. ':h:' .. c.pool.pool, 'XX', c.rank, c.src)
        end
      end
      for name, group in pairs(v.groups) do
        if group.taken and name ~= '' then redis.call('HINCRBY', T .. ':gr:' .. v.q.name, name, group.taken) end
        if group.turned then redis.call('HSET', T .. ':gt:' .. v.q.name, name, fmt('%.17g', group.turn)) end
        group.taken, group.turned = nil, nil
      end
      if v.q.turned then redis.call('HSET', T .. ':n:' .. v.q.name, 'T', fmt('%.17g', v.q.turn)) end
    end
  end
  return picked, taken, more, write
end
`;
