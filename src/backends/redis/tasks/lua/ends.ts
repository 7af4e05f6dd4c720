/*
 * t:e:<class>  list  of those that ended in one call: the time and the ids, with \31 between; class = keep + f (kept firmly) or s
 * t:ec         zset  class → when the first of its list falls due (µs)
 * t:dead       zset  end (µs) → id of dead tasks
 * t:k          hash  key → id; a UUID as its 16 bytes, another id of 16 bytes with \1 in front
 * t:fg:0, 1    hash  id → how it ended; the younger and the older generation of forgotten tasks
 * t:fr         list  what ended tasks and cancelled trees still have to set in motion
 * t:st:<id>    zset  seq → sub-task; t:ar hash: forgotten task with sub-tasks → its own parent
 * t:old        zset  seq → id of tasks that are older than the log
 */

/** How many forgotten tasks a generation holds. */
const REMEMBERED = 50_000;
/** How long state and key of a task with `keepMs: 0` stay, µs. */
const TOMBSTONE_US = 60_000_000;

/** Defines `finish_row(row, as, reason)`, `reschedule(row, delay)` and `prune(row)`. */
export const ENDS: string = String.raw`
local ENDED, HAS_OLD = {}, nil
local function unpack_id(text)
  if #text == 16 then
    local a, b, c, d = struct.unpack('>I4I4I4I4', text)
    local all = fmt('%08x%08x%08x%08x', a, b, c, d)
    return sub(all, 1, 8) .. '-' .. sub(all, 9, 12) .. '-' .. sub(all, 13, 16) .. '-' .. sub(all, 17, 20) .. '-' .. sub(all, 21)
  end
  return byte(text, 1) == 1 and sub(text, 2) or text
end
local function pack_id(id)
  if #id == 36 then
    local a, b = tonumber(sub(id, 1, 8), 16), tonumber(sub(id, 10, 13) .. sub(id, 15, 18), 16)
    local c, d = tonumber(sub(id, 20, 23) .. sub(id, 25, 28), 16), tonumber(sub(id, 29), 16)
    if a and b and c and d then
      local packed = struct.pack('>I4I4I4I4', a, b, c, d)
      if unpack_id(packed) == id then return packed end
    end
  end
  return #id == 16 and '\1' .. id or id
end
local function id_of(key)
  local packed = redis.call('HGET', T .. ':k', key)
  return packed and unpack_id(packed)
end
local function keep_us(class)
  local n = tonumber(sub(class, 1, 2), 36)
  if n == 0 then return ${TOMBSTONE_US} end
  if n > 40 then n = math.ceil(40 * 1.025 ^ (n - 40)) end
  return n * 1000
end
local function class_of(row)
  local firm = row.st == 'D' or row.x.k or row.firm
  return row.keep .. (firm and 'f' or 's')
end
local function strip(row)
  if not row.x.k then
    set_body(row, '')
    row.x.d = nil
  end
  row.x.h, row.result, row.err, row.changed = nil, nil, nil, true
end
local function retain(row)
  local class = class_of(row)
  local list = ENDED[class]
  if list == nil then
    list = {}
    ENDED[class] = list
  end
  list[#list + 1] = row.id
  if row.st == 'D' then redis.call('ZADD', T .. ':dead', now(), row.id) end
end
local function retain_many(class, ids)
  redis.call('RPUSH', T .. ':e:' .. class, int(now()) .. '\31' .. table.concat(ids, '\31'))
  redis.call('ZADD', T .. ':ec', 'LT', now() + keep_us(class), class)
  if sub(class, 3) == 's' then redis.call('HINCRBY', T .. ':m', 'shed', #ids) end
end
local function flush_ends()
  for class, ids in pairs(ENDED) do retain_many(class, ids) end
  ENDED = {}
end
local detach
local function leave(row)
  if row.st == 'r' then
    leave_ready(row)
  elseif row.st == 's' then
    redis.call('ZREM', T .. ':s', fmt('%09x', row.seq) .. row.id)
  elseif row.st == 'w' then
    detach(row)
    row.unmet = true
  end
end
local function reschedule(row, delay)
  if row.st == 'w' then
    row.ready = due(delay)
    touch(row)
    return
  end
  leave(row)
  row.ready, row.order, row.ranked = due(delay), nil, nil
  place(row)
end
local FRONTIER, FIRST, HAS_LEFT = {}, 1, true
local function push_frontier(text) FRONTIER[#FRONTIER + 1] = text end
local function finish_row(row, as, reason)
  if row.held then unclaim(row) elseif row.st ~= 'n' then leave(row) end
  move(row, as, reason)
  row.held, row.adopted = nil, false
  row.ended, row.reason = now(), reason
  row.dprio, row.dbody, row.ddigest = nil, nil, nil
  if row.x.l then redis.call('ZREM', T .. ':dl', fmt('%09x', row.seq) .. row.id) end
  if row.keep == '00' then strip(row) end
  retain(row)
  if row.down then push_frontier('p\31' .. row.id .. '\31' .. as .. '\31' .. int(row.ended) .. '\31-inf') end
end
local function forget(id, state)
  redis.call('HSET', T .. ':fg:0', id, state)
  if redis.call('HLEN', T .. ':fg:0') < ${REMEMBERED} then return end
  redis.call('UNLINK', T .. ':fg:1')
  redis.call('RENAME', T .. ':fg:0', T .. ':fg:1')
end
local function forgotten(id) return redis.call('HGET', T .. ':fg:0', id) or redis.call('HGET', T .. ':fg:1', id) end
local function leave_tree(id, parent)
  if redis.call('EXISTS', T .. ':st:' .. id) == 1 then
    redis.call('HSET', T .. ':ar', id, parent)
    return
  end
  redis.call('ZREM', T .. ':st:' .. parent, id)
  while redis.call('EXISTS', T .. ':st:' .. parent) == 0 do
    local above = redis.call('HGET', T .. ':ar', parent)
    if not above then return end
    redis.call('HDEL', T .. ':ar', parent)
    redis.call('ZREM', T .. ':st:' .. above, parent)
    parent = above
  end
end
local function prune(row)
  local q = queue_of(row)
  local class = class_of(row)
  forget(row.id, row.st)
  if row.x.k and id_of(row.x.k) == row.id then redis.call('HDEL', T .. ':k', row.x.k) end
  if row.st == 'D' then redis.call('ZREM', T .. ':dead', row.id) end
  if sub(class, 3) == 's' then redis.call('HINCRBY', T .. ':m', 'shed', -1) end
  if row.x.p then leave_tree(row.id, row.x.p) else redis.call('UNLINK', T .. ':st:' .. row.id) end
  if HAS_OLD == nil then HAS_OLD = redis.call('EXISTS', T .. ':old') == 1 end
  if HAS_OLD then redis.call('ZREM', T .. ':old', row.id) end
  if row.down and redis.call('EXISTS', T .. ':d:' .. row.id) == 1 then redis.call('SADD', T .. ':ph', row.id) end
  redis.call('HDEL', T, row.id)
  if APART[row.id] then redis.call('HDEL', T .. ':z', row.id) end
  if row.outside then redis.call('HDEL', T .. ':b', row.id) end
  row.gone = true
  ROWS[row.id] = false
  count_kind(row.kind, -1)
  bump(q, row.st, -1)
  bump(q, 'p', 1)
end
`;
