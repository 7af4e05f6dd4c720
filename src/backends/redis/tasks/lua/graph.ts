/*
 * t:d:<parent>  zset  order → child that waits for it; the parent may be a task that is still to come
 * t:ph          set   ids that are waited for and not known
 * t:tw:<n>      list  the way down a task tree that is being cancelled; t:ts:<n> set of what was seen there
 * Edges of a task: `E` names each as policy letter (c cancel, s skip, w wait, o continue) and parent, with \30 between; `u` has a 1 for each
 * that is open.
 */

/** Most edges that one script follows. */
const MAX_EDGES = 250;

/** Defines `attach(row)`, `detach(row)`, `cycle(id, edges)`, and `drain()`, which carries the frontier on. */
export const GRAPH: string = String.raw`
local EFF = { left = ${MAX_EDGES}, readied = {}, ended = {}, requested = {}, affected = 0, scheduled = false }
local NAMES = { C = 'COMPLETED', D = 'DEAD', X = 'CANCELLED', S = 'SKIPPED' }
local function eff_readied(row)
  if row.st == 's' then EFF.scheduled = true end
  if row.st == 'r' then EFF.readied[#EFF.readied + 1] = row.id .. '\31' .. queue_of(row).name end
end
local function eff_ended(row, reason, parent)
  EFF.affected = EFF.affected + 1
  EFF.ended[#EFF.ended + 1] = row.id .. '\31' .. queue_of(row).name .. '\31' .. row.st .. '\31' .. reason .. '\31' .. (parent or '')
end
local function eff_requested(row, reason)
  EFF.affected = EFF.affected + 1
  EFF.requested[#EFF.requested + 1] = row.id .. '\31' .. reason
end
local function edges_of(row)
  if row.edges then return row.edges end
  local edges, text = {}, row.x.E
  if text then
    local i = 0
    for edge in string.gmatch(text, '[^\30]+') do
      i = i + 1
      edges[i] = { policy = sub(edge, 1, 1), parent = sub(edge, 2), open = row.open ~= nil and byte(row.open, i) == 49 }
    end
  end
  row.edges = edges
  local pending = 0
  for _, edge in ipairs(edges) do if edge.open then pending = pending + 1 end end
  row.pending = pending
  return edges
end
local function save_edges(row)
  if row.pending == 0 then
    row.open = nil
  else
    local bits = {}
    for i, edge in ipairs(row.edges) do bits[i] = edge.open and '1' or '0' end
    row.open = table.concat(bits)
  end
  touch(row)
end
local function close_edge(row, edge)
  if not edge.open then return end
  edge.open = false
  row.pending = row.pending - 1
  local key = T .. ':d:' .. edge.parent
  redis.call('ZREM', key, row.id)
  if not get(edge.parent) and redis.call('EXISTS', key) == 0 then redis.call('SREM', T .. ':ph', edge.parent) end
end
detach = function(row)
  local edges = edges_of(row)
  if row.pending == 0 then return end
  for _, edge in ipairs(edges) do close_edge(row, edge) end
  save_edges(row)
end
local function end_of(id)
  local row = get(id)
  if row then return is_ended(row) and row.st or nil end
  return forgotten(id) or nil
end
local ABSENT = redis.call('EXISTS', T .. ':ph') == 1
local function is_awaited(id) return ABSENT and redis.call('SISMEMBER', T .. ':ph', id) == 1 end
local function attach(row, only)
  local edges = edges_of(row)
  local order = row.st == 'n' and row.seq or order_next()
  for i, edge in ipairs(edges) do
    if only == nil or only[i] then
      local ended = end_of(edge.parent)
      local isWaiting = ended == nil
      if ended and ended ~= 'C' and edge.policy ~= 'o' then
        if edge.policy ~= 'w' then
          detach(row)
          return edge.policy == 'c' and 'X' or 'S', 'PARENT_' .. NAMES[ended]
        end
        isWaiting = true
      end
      if isWaiting then
        edge.open = true
        row.pending = row.pending + 1
        redis.call('ZADD', T .. ':d:' .. edge.parent, order, row.id)
        local parent = get(edge.parent)
        if not parent then
          redis.call('SADD', T .. ':ph', edge.parent)
          ABSENT = true
        elseif not parent.down then
          parent.down = true
          touch(parent)
        end
      end
    end
  end
  save_edges(row)
end
local function parents_of(id)
  local row, found = get(id), {}
  if row and row.st == 'w' then
    local edges = edges_of(row)
    for i = #edges, 1, -1 do if edges[i].open then found[#found + 1] = edges[i].parent end end
  end
  return found
end
local function children_of(id) return redis.call('ZRANGE', T .. ':d:' .. id, 0, -1) end
local function search(starts, targets, neighbours)
  local todo, from, at = {}, {}, 0
  for _, start in ipairs(starts) do
    if from[start] == nil then
      from[start] = false
      todo[#todo + 1] = start
    end
  end
  return function()
    at = at + 1
    local id = todo[at]
    if id == nil then return nil end
    if targets[id] then
      local path = {}
      while id do
        table.insert(path, 1, id)
        id = from[id]
      end
      return path
    end
    for _, one in ipairs(neighbours(id)) do
      if from[one] == nil then
        from[one] = id
        todo[#todo + 1] = one
      end
    end
    return true
  end
end
local function cycle(id, parents)
  local targets = {}
  for _, parent in ipairs(parents) do
    if parent == id then return { id, id } end
    targets[parent] = true
  end
  local children = children_of(id)
  if #children == 0 then return nil end
  local up, down = search(parents, { [id] = true }, parents_of), search(children, targets, children_of)
  while true do
    local above = up()
    if above ~= true then
      if above == nil then return nil end
      table.insert(above, 1, id)
      return above
    end
    local below = down()
    if below ~= true then
      if below == nil then return nil end
      local path = { id }
      for i = #below, 1, -1 do path[#path + 1] = below[i] end
      path[#path + 1] = id
      return path
    end
  end
end
local function satisfy(child, edge)
  close_edge(child, edge)
  save_edges(child)
  if child.pending > 0 then return end
  if child.ready <= now() then child.ready = now() end
  place(child)
  eff_readied(child)
end
local function cancel_row(row, reason, revokes)
  if is_held(row) then
    if not revokes and row.held.started then
      if not row.cancel then
        row.cancel = reason
        touch(row)
        give_order(row.held.session, row, 'cancel', reason)
      end
      return false
    end
    revoke(row)
  end
  finish_row(row, 'X', reason)
  return true
end
local function tell(item)
  local id, state, ended, cursor = string.match(item, '^p\31([^\31]*)\31(.)\31(%d+)\31(.*)$')
  local parent = get(id)
  while true do
    if parent and (parent.st ~= state or int(parent.ended or 0) ~= ended) then return nil end
    if EFF.left <= 0 then return 'p\31' .. id .. '\31' .. state .. '\31' .. ended .. '\31' .. cursor end
    local most = EFF.left
    local children = redis.call('ZRANGE', T .. ':d:' .. id, cursor, '+inf', 'BYSCORE', 'LIMIT', 0, most, 'WITHSCORES')
    local ids = {}
    for i = 1, #children, 2 do ids[#ids + 1] = children[i] end
    fetch(ids)
    for i = 1, #children, 2 do
      local child = get(children[i])
      cursor = '(' .. children[i + 1]
      EFF.left = EFF.left - 1
      if not child or child.st ~= 'w' then
        redis.call('ZREM', T .. ':d:' .. id, children[i])
      else
        for _, edge in ipairs(edges_of(child)) do
          if edge.open and edge.parent == id and child.st == 'w' then
            if state == 'C' or edge.policy == 'o' then
              satisfy(child, edge)
            elseif edge.policy ~= 'w' then
              local reason = 'PARENT_' .. NAMES[state]
              finish_row(child, edge.policy == 'c' and 'X' or 'S', reason)
              eff_ended(child, reason, id)
            end
          end
        end
      end
    end
    if #children < 2 * most then return nil end
  end
end
local function walk(item)
  local number, revokes, reason = string.match(item, '^t\31(%d+)\31(%d)\31(.*)$')
  local stack, seen = T .. ':tw:' .. number, T .. ':ts:' .. number
  while true do
    local level = redis.call('LINDEX', stack, -1)
    if not level then
      redis.call('DEL', seen)
      return nil
    end
    if EFF.left <= 0 then return item end
    local at = find(level, '\31', 1, true)
    local id, cursor = sub(level, 1, at - 1), sub(level, at + 1)
    local found = redis.call('ZRANGE', T .. ':st:' .. id, cursor, '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
    if #found == 0 then
      redis.call('RPOP', stack)
    else
      redis.call('LSET', stack, -1, id .. '\31(' .. found[2])
      EFF.left = EFF.left - 1
      if redis.call('SADD', seen, found[1]) == 1 then
        local row = get(found[1])
        if row and not is_ended(row) then
          if cancel_row(row, reason, revokes == '1') then eff_ended(row, reason) else eff_requested(row, reason) end
        end
        if redis.call('EXISTS', T .. ':st:' .. found[1]) == 1 then redis.call('RPUSH', stack, found[1] .. '\31-inf') end
      end
    end
  end
end
local function cancel_tree(id, reason, revokes)
  if redis.call('EXISTS', T .. ':st:' .. id) == 0 then return end
  local number = int(redis.call('HINCRBY', T .. ':m', 'walk', 1))
  redis.call('RPUSH', T .. ':tw:' .. number, id .. '\31-inf')
  push_frontier('t\31' .. number .. '\31' .. (revokes and '1' or '0') .. '\31' .. reason)
end
local function carry_on(item)
  if byte(item, 1) == 112 then return tell(item) end
  return walk(item)
end
-- First what earlier calls left, then what this one began; what there is no room for is left to later ones.
local function drain()
  while HAS_LEFT and EFF.left > 0 do
    local item = redis.call('LINDEX', T .. ':fr', 0)
    if item then
      local rest = carry_on(item)
      if rest then redis.call('LSET', T .. ':fr', 0, rest) else redis.call('LPOP', T .. ':fr') end
    else
      HAS_LEFT = false
    end
  end
  while EFF.left > 0 and FRONTIER[FIRST] do
    local rest = carry_on(FRONTIER[FIRST])
    if rest then FRONTIER[FIRST] = rest else FIRST = FIRST + 1 end
  end
  for i = FIRST, #FRONTIER do
    redis.call('RPUSH', T .. ':fr', FRONTIER[i])
    HAS_LEFT = true
  end
  FRONTIER, FIRST = {}, 1
end
local function consequences(results)
  local more = EFF.scheduled or redis.call('EXISTS', T .. ':fr') == 1
  return table.concat({
    int(now()), more and '1' or '0', OPENED and '1' or '0', results, table.concat(EFF.readied, '\30'), table.concat(EFF.ended, '\30'),
  }, '\29')
end
`;
