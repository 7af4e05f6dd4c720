import { LIBRARY } from './library.ts';
import { WAKE } from './queues.ts';

/**
 * Tasks that are only payload: no key, no dependencies, no delay, an id that was made for them. ARGV: session, sequence, tasks, shapes, then for
 * each shape kind, priority, flags and group, then the ids as the log has them, then for each task (its shape, where there are several) its id and the
 * record from `keep` on. Answers `!`, and has done nothing, where one of them needs more than that.
 */
export const ENQUEUE_PLAIN: string = String.raw`
local stored = begin(ARGV[1], ARGV[2])
if stored then return stored end
${WAKE}
local T, n, shapes = K .. 't', tonumber(ARGV[3]), tonumber(ARGV[4])
local stride = shapes == 1 and 2 or 3
local at, base, ids = now(), 5 + 4 * shapes, {}
for i = 1, n do ids[i] = ARGV[base + i * stride - 1] end
local known = redis.call('HMGET', T, unpack(ids))
for i = 1, n do if known[i] then return '!' end end
local heads, lists, queues, atHex = {}, {}, {}, string.format('%013x', at)
for s = 1, shapes do
  local text, prio = ARGV[1 + 4 * s], ARGV[2 + 4 * s]
  local kind = redis.call('HGET', T .. ':kn', text)
  if not kind then return '!' end
  local name = string.match(text, '^[^\31]*')
  local q = queues[name]
  if q == nil then
    local v = redis.call('HMGET', T .. ':n:' .. name, 'L', 'F', 'gen', 'step', 'w', 's', 'r', 'c')
    if v[2] then return '!' end
    if v[1] and (tonumber(v[5] or 0) + tonumber(v[6] or 0) + tonumber(v[7] or 0) + tonumber(v[8] or 0) + n) > tonumber(v[1]) then return '!' end
    q = { gen = v[3] or '00', step = tonumber(v[4]) or 10000000, count = 0 }
    queues[name] = q
  end
  heads[s] = 'r' .. ARGV[3 + 4 * s] .. kind .. q.gen .. atHex
  lists[s] = { q = q, kind = kind, src = 'L' .. q.gen .. prio .. ARGV[4 + 4 * s], rank = at - (tonumber(prio, 16) - 1000) * q.step }
end
local waited
if redis.call('EXISTS', T .. ':ph') == 1 then
  for i, is in ipairs(redis.call('SMISMEMBER', T .. ':ph', unpack(ids))) do
    if is == 1 then
      waited = waited or {}
      waited[i] = true
      redis.call('SREM', T .. ':ph', ids[i])
    end
  end
end
local seq = redis.call('HINCRBY', T .. ':m', 'seq', n) - n
local args, format = {}, string.format
if shapes == 1 then
  local head = heads[1]
  for i = 1, n do
    args[2 * i - 1] = ids[i]
    args[2 * i] = head .. format('%09x', seq + i) .. ARGV[base + 2 * i]
  end
  lists[1].ids = ids
else
  for i = 1, n do
    local s = tonumber(ARGV[base + 3 * i - 2])
    args[2 * i - 1] = ids[i]
    args[2 * i] = heads[s] .. format('%09x', seq + i) .. ARGV[base + 3 * i]
    local list = lists[s].ids
    if list == nil then
      list = {}
      lists[s].ids = list
    end
    list[#list + 1] = ids[i]
  end
end
if waited then
  for i in pairs(waited) do args[2 * i] = 'r' .. string.char(string.byte(args[2 * i], 2) + 32) .. string.sub(args[2 * i], 3) end
end
redis.call('HSET', T, unpack(args))
for s = 1, shapes do
  local list = lists[s]
  redis.call('RPUSH', T .. ':r:' .. list.kind .. '\29' .. list.src, unpack(list.ids))
  -- See enter(): otherwise nobody sleeps who could take them.
  if redis.call('ZADD', T .. ':h:' .. list.kind, 'LT', list.rank, list.src) == 1 then
    redis.call('SADD', T .. ':a', list.kind)
    list.q.wakes = true
  end
  redis.call('HINCRBY', T .. ':kr', list.kind, #list.ids)
  list.q.count = list.q.count + #list.ids
end
for name, q in pairs(queues) do
  local key = T .. ':n:' .. name
  redis.call('HINCRBY', key, 'r', q.count)
  if redis.call('HINCRBY', key, 'e', q.count) == q.count then redis.call('SADD', T .. ':qs', name) end
  if q.wakes or redis.call('EXISTS', T .. ':x') == 1 then wake(name) end
end
local text = ARGV[base]
if shapes == 1 then
  text = 'n\31r\0310\31\31' .. string.match(ARGV[5], '^[^\31]*') .. '\31\31' .. int(seq + 1) .. '\29' .. text
else
  local runs, i = {}, 0
  for run in string.gmatch(text, '[^\n]+') do
    local shape, count, items = string.match(run, '^(%d+) (%d+) (.*)$')
    runs[#runs + 1] = 'n\31r\0310\31\31' .. string.match(ARGV[1 + 4 * shape], '^[^\31]*') .. '\31\31' .. int(seq + i + 1) .. '\29' .. items
    i = i + tonumber(count)
  end
  text = table.concat(runs, '\n')
end
redis.call('XADD', T .. ':log', '*', 'a', int(at), 'b', text)
redis.call('HINCRBY', T .. ':m', 'log', n)
return finish(ARGV[1], ARGV[2], int(at) .. '\0290\0290\29*' .. n .. ' er\29\29')
`;

/** Defines what becomes of an item of a batch: `enqueue_one(item)`. */
const ENQUEUE_ONE = String.raw`
local function give_key(key, row)
  local former = id_of(key)
  local other = former and get(former)
  if other and other ~= row then
    other.x.k, other.changed = nil, true
    if is_ended(other) then other.firm = true end
    touch(other)
  end
  redis.call('HSET', T .. ':k', key, pack_id(row.id))
end
local function insert(item)
  local q, seq = queue(item.queue), order_next()
  local kind = kind_of(item.kind)
  local row = {
    id = item.id, st = 'n', kind = kind, gen = q.gen, at = now(), seq = seq, keep = item.keep, crash = item.crash, prio = item.prio,
    body = '', x = item.x, xt = item.xt, down = false, firm = item.firm, attempt = 0, crashes = 0, moves = 0, token = 0, aged = 0,
    ready = due(item.delay),
  }
  ROWS[item.id] = row
  set_body(row, item.body)
  touch(row)
  bump(q, 'e', 1)
  count_kind(kind, 1)
  if item.isAwaited then
    redis.call('SREM', T .. ':ph', item.id)
    row.down = true
  end
  if item.x.k then give_key(item.x.k, row) end
  if item.x.p then redis.call('ZADD', T .. ':st:' .. item.x.p, seq, item.id) end
  arm(row)
  return row
end
local function state_of(row) return is_held(row) and 'c' or row.st end
local function repeated(row, item)
  local p, same = parts(row.kind), true
  if p.queue ~= item.queue or p.type ~= item.type then
    same = false
  elseif item.x.d and not (row.body == '' and not row.outside and row.keep == '00' and not row.x.k) then
    if row.x.d then same = row.x.d == item.x.d else same = body_of(row) == item.body end
  end
  if not same then return 'x' .. row.id end
  bump(queue_of(row), 'u', 1)
  return 'd' .. state_of(row) .. '0' .. row.id
end
local function same_edges(a, b)
  local policies, count = {}, 0
  for edge in string.gmatch(a or '', '[^\30]+') do policies[edge], count = true, count + 1 end
  for edge in string.gmatch(b, '[^\30]+') do
    if not policies[edge] then return false end
    count = count - 1
  end
  return count == 0
end
local function replace(row, item)
  local p = parts(row.kind)
  if item.queue ~= p.queue or item.type ~= p.type then return 'x' .. row.id end
  if item.x.E and not same_edges(row.x.E, item.x.E) then return 'x' .. row.id end
  bump(queue_of(row), 'u', 1)
  local isReady = row.st == 'r'
  if isReady then leave_ready(row) end
  if row.x.l then redis.call('ZREM', T .. ':dl', fmt('%09x', row.seq) .. row.id) end
  if row.x.p ~= item.x.p then
    if row.x.p then leave_tree(row.id, row.x.p) end
    if item.x.p then redis.call('ZADD', T .. ':st:' .. item.x.p, row.seq, row.id) end
  end
  local kind = kind_of(item.kind)
  count_kind(row.kind, -1)
  count_kind(kind, 1)
  local edges = row.x.E
  row.kind, row.keep, row.crash, row.prio, row.firm = kind, item.keep, item.crash, item.prio, item.firm
  set_body(row, item.body)
  row.x, row.changed = item.x, true
  row.x.E = edges
  if row.x.l then
    row.alive = now()
    arm(row)
  end
  touch(row)
  if isReady then enter(row, false) end
  if item.debounce then reschedule(row, item.delay) end
  return 'd' .. row.st .. '1' .. row.id
end
local function own_cycle(id, parents)
  for _, parent in ipairs(parents) do if parent == id then return { id, id } end end
end
local function enqueue_one(item)
  local row = get(item.id)
  if row then return repeated(row, item) end
  local key = item.x.k and id_of(item.x.k)
  local other = key and get(key)
  if other then
    if not item.replace then return repeated(other, item) end
    if not is_ended(other) and not is_held(other) then return replace(other, item) end
  end
  local q = queue(item.queue)
  local length = q.n.w + q.n.s + q.n.r + q.n.c
  if length >= q.longest then return 'f' .. length .. ' ' .. q.name end
  item.isAwaited = is_awaited(item.id)
  if item.parents then
    local path
    if item.isAwaited then path = cycle(item.id, item.parents) else path = own_cycle(item.id, item.parents) end
    if path then return 'y' .. table.concat(path, '\31') end
  end
  row = insert(item)
  if item.x.E then
    local as, reason = attach(row)
    if as then
      row.unmet = true
      finish_row(row, as, reason)
      return 'e' .. as
    end
    if row.pending > 0 then
      move(row, 'w')
      return 'ew'
    end
  end
  place(row)
  return 'e' .. row.st
end
`;

/**
 * Any tasks. ARGV: session, sequence, tasks, their ids as the log has them, then seven for each: id, kind, `keep crash prio firm` as one text, fixed part, payload, delay (µs), and
 * `r` replace or `d` debounce or nothing.
 */
export const ENQUEUE: string = String.raw`
local stored = begin(ARGV[1], ARGV[2])
if stored then return stored end
${LIBRARY}
${ENQUEUE_ONE}
local n, ids, items, results = tonumber(ARGV[3]), {}, {}, {}
NEW_ITEMS = { text = ARGV[4], count = n }
for i = 1, n do
  local at = 7 * i - 2
  local kind, head, mode = ARGV[at + 1], ARGV[at + 2], ARGV[at + 6]
  ids[#ids + 1] = ARGV[at]
  local queue, type = string.match(kind, '^([^\31]*)\31([^\31]*)')
  local item = {
    id = ARGV[at], kind = kind, queue = queue, type = type, keep = sub(head, 1, 2), crash = sub(head, 3, 3), prio = sub(head, 4, 6),
    firm = sub(head, 7) == '1', xt = ARGV[at + 3], x = fields(ARGV[at + 3]), body = ARGV[at + 4], delay = tonumber(ARGV[at + 5]),
    replace = mode ~= '', debounce = mode == 'd',
  }
  if item.x.E then
    item.parents = {}
    for edge in string.gmatch(item.x.E, '[^\30]+') do
      item.parents[#item.parents + 1] = sub(edge, 2)
      ids[#ids + 1] = sub(edge, 2)
    end
  end
  items[i] = item
end
fetch(ids)
reserve_orders(2 * n)
for i, item in ipairs(items) do results[i] = enqueue_one(item) end
drain()
local answer = consequences(table.concat(results, '\30'))
flush()
return finish(ARGV[1], ARGV[2], answer)
`;
