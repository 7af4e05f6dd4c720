import { LIBRARY } from './library.ts';
import { FILTER, SCAN } from './select.ts';

/** Rows that one call looks at, and changes. */
const MOST_SEEN = 500;
const MOST_CHANGED = 250;

/** Defines `revise_row(row, what, a, b, c, share)`: `c` changed, `d` deferred, or nil. */
const REVISE_ROW = String.raw`
local function relocate(row, change)
  local isReady = row.st == 'r'
  if isReady then leave_ready(row) end
  change()
  if isReady then enter(row, false) end
  touch(row)
end
local function redrive(row, delay, resets)
  if row.st ~= 'D' and row.st ~= 'X' then return nil end
  local only, parents = {}, {}
  if row.unmet then
    for i, edge in ipairs(edges_of(row)) do
      local ended = end_of(edge.parent)
      if ended == nil or (ended ~= 'C' and edge.policy == 'w') then
        only[i] = true
        parents[#parents + 1] = edge.parent
      end
    end
    if #parents > 0 and cycle(row.id, parents) then return nil end
  end
  if row.st == 'D' then redis.call('ZREM', T .. ':dead', row.id) end
  if sub(class_of(row), 3) == 's' then redis.call('HINCRBY', T .. ':m', 'shed', -1) end
  row.ended, row.order, row.ranked, row.result, row.unmet, row.reason = nil, nil, nil, nil, false, nil
  row.moves, row.alive = 0, now()
  if resets then row.attempt, row.crashes = 0, 0 end
  arm(row)
  row.ready = due(delay)
  if #parents > 0 then
    attach(row, only)
    move(row, 'w')
  else
    place(row)
  end
  return 'c'
end
local function revise_row(row, what, a, b)
  if what == 'discard' then
    if not is_ended(row) then return nil end
    prune(row)
    return 'c'
  end
  local held = is_held(row)
  if what == 'priority' or what == 'payload' then
    if held then
      if what == 'priority' then row.dprio = a else row.dbody, row.ddigest = a, b end
      touch(row)
      return 'd'
    end
    if row.st == 'C' or row.st == 'S' then return nil end
    relocate(row, function()
      if what == 'priority' then
        row.prio = a
      else
        set_body(row, a)
        if row.x.d then row.x.d, row.changed = b, true end
      end
    end)
    return 'c'
  end
  if held or is_ended(row) then return nil end
  if what == 'age' then
    relocate(row, function()
      row.aged = row.aged + tonumber(a)
      if row.ranked then row.ranked = row.ranked - tonumber(a) end
    end)
  elseif what == 'delay' then
    reschedule(row, tonumber(a))
  else
    relocate(row, function() row.x.A, row.changed = a ~= '' and a or nil, true end)
  end
  return 'c'
end
`;

/**
 * ARGV: session, sequence, limit, cursor, what, two values of it, then for a redrive the time to spread over (µs), then the filter. One more part of the
 * answer: changed, deferred, cursor.
 */
export const REVISE: string = String.raw`
local stored = begin(ARGV[1], ARGV[2])
if stored then return stored end
${LIBRARY}${FILTER}${SCAN}${REVISE_ROW}
local limit, cursor, what, a, b, spread = math.min(tonumber(ARGV[3]), ${MOST_CHANGED}), ARGV[4], ARGV[5], ARGV[6], ARGV[7], tonumber(ARGV[8])
parse_filter(9)
local rows, next = {}, ''
local some = few()
if some then
  local from = tonumber(string.match(cursor, '^%d+')) or -1
  table.sort(some, function(x, y) return x.seq < y.seq end)
  find_holders(some)
  for _, row in ipairs(some) do
    if row.seq > from then
      if #rows >= limit then
        next = int(rows[#rows].seq)
        break
      end
      if matches(row) then rows[#rows + 1] = row end
    end
  end
else
  local _, rest = scan(cursor, false, ${MOST_SEEN}, function(row)
    if #rows >= limit then return false end
    if matches(row) then rows[#rows + 1] = row end
    return true
  end)
  next = rest
end
find_holders(rows)
local changed, deferred, revivable = 0, 0, rows
if what == 'redrive' then
  revivable = {}
  for _, row in ipairs(rows) do if row.st == 'D' or row.st == 'X' then revivable[#revivable + 1] = row end end
end
for i, row in ipairs(revivable) do
  local change
  if what == 'redrive' then
    change = redrive(row, math.ceil(tonumber(a) + spread * (i - 1) / #revivable), b == '1')
  else
    change = revise_row(row, what, a, b)
  end
  if change == 'c' then
    changed = changed + 1
    if what == 'redrive' or what == 'delay' then eff_readied(row) end
  elseif change == 'd' then
    deferred = deferred + 1
  end
end
drain()
local answer = consequences('') .. '\29' .. int(changed) .. ' ' .. int(deferred) .. ' ' .. next
flush()
return finish(ARGV[1], ARGV[2], answer)
`;
