import { LOCK_LIBRARY } from './request.ts';
import { LOCK_TABLE } from './table.ts';

/** Most waiters of one mode, or holders, that come with a row; the rest is read by itself. */
export const ROW_LIMIT = 500;

/**
 * A row: name, state as text, ids of holders, then mode and waiters (member, rank, …) of each mode that is waited for. `answer` adds the requests
 * that the rows name, as id, text and end of an own lease or ''.
 */
const ROWS = /* lua */ `
local function queue(name, mode) return K .. 'l:q:' .. mode .. ':' .. name end
local named, rows, found = {}, {}, {}
local function name_it(id)
  if not named[id] then
    named[id] = true
    found[#found + 1] = id
  end
end
local function row(name, most)
  local r = res(name)
  if r.nh == 0 and r.nw == 0 then return end
  local ids = r.nh <= 500 and holders(r) or { '' }
  if r.nh <= 500 then
    for _, id in ipairs(ids) do name_it(id) end
  end
  local line = { name, r.text, ids }
  for mode = 1, r.nw > 0 and 6 or 0 do
    if r.w[mode] > 0 then
      local page = redis.call('ZRANGE', queue(name, mode), 0, most - 1, 'WITHSCORES')
      for i = 1, #page, 2 do name_it(string.match(page[i], '^[%d%.]+:%d+:%w+:(.*)$')) end
      line[#line + 1], line[#line + 2] = mode, page
    end
  end
  rows[#rows + 1] = line
end
local function answer(leases)
  local requests = {}
  for from = 1, #found, 1000 do
    local texts = redis.call('HMGET', K .. 'l:g', unpack(found, from, math.min(#found, from + 999)))
    for i, text in ipairs(texts) do
      if text then
        local id = found[from + i - 1]
        local ends = leases and redis.call('ZSCORE', K .. 'l:x', 'g' .. id)
        requests[#requests + 1], requests[#requests + 2], requests[#requests + 3] = id, text, ends or ''
      end
    end
  end
  return { int(now()), rows, requests }
end
`;

/** ARGV: most waiters of a mode, 1 to add ends of leases, resources. */
export const LOCK_ROWS: string = /* lua */ `${LOCK_TABLE}${ROWS}
for i = 3, #ARGV do row(ARGV[i], tonumber(ARGV[1])) end
return answer(ARGV[2] == '1')
`;

/** More of one row. ARGV: resource, mode or 0 for holders, where to go on. Answers as {@link LOCK_ROWS}, with the next place or '0'. */
export const LOCK_REST: string = /* lua */ `${LOCK_TABLE}${ROWS}
local name, mode, from = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local next, part
if mode == 0 then
  local scan = redis.call('SSCAN', K .. 'l:h:' .. name, from, 'COUNT', 500)
  next, part = scan[1], scan[2]
  for _, id in ipairs(part) do name_it(id) end
else
  part = redis.call('ZRANGE', queue(name, mode), from, tonumber(from) + 499, 'WITHSCORES')
  for i = 1, #part, 2 do name_it(string.match(part[i], '^[%d%.]+:%d+:%w+:(.*)$')) end
  next = #part < 1000 and '0' or int(tonumber(from) + 500)
end
local all = answer(false)
return { all[1], next, part, all[3] }
`;

/** ARGV: cursor. Answers the time, the next cursor, resources that somebody waits for and minus how many. The first page ends what is due. */
export const LOCK_CONTENDED: string = /* lua */ `${LOCK_LIBRARY}
if ARGV[1] == '0' then
  tidy()
  flush()
end
local scan = redis.call('ZSCAN', K .. 'l:c', ARGV[1], 'COUNT', 500)
return { int(now()), scan[1], scan[2] }
`;

/** ARGV: cursor. Answers the next cursor, sessions and what they publish. */
export const LOCK_PUBLISHED: string = /* lua */ `
local scan = redis.call('HSCAN', K .. 'l:p', ARGV[1], 'COUNT', 100)
local edges = {}
for i = 1, #scan[2], 2 do
  if alive(scan[2][i]) then edges[#edges + 1] = scan[2][i + 1] end
end
return { scan[1], edges }
`;

/**
 * ARGV: count of owners, owners to begin with, resources that are known already. Answers as {@link LOCK_ROWS} the rows that these owners wait at, and
 * further rows that their holders and waiters wait at, up to a bound; then the owners that are left.
 */
export const LOCK_REACH: string = /* lua */ `${LOCK_TABLE}${ROWS}
local count, seen, visited, todo = tonumber(ARGV[1]), {}, {}, {}
for i = count + 2, #ARGV do seen[ARGV[i]] = true end
local function visit(owner)
  if visited[owner] then return end
  visited[owner] = true
  todo[#todo + 1] = owner
end
for i = 2, count + 1 do visit(ARGV[i]) end
local at, read = 1, 1
while at <= #todo and #found < 250 and #rows < 100 do
  for _, field in ipairs(redis.call('HKEYS', K .. 'l:o:' .. todo[at])) do
    local lock = string.sub(field, 1, 1) == 'w' and rec(string.sub(field, 2))
    for _, item in ipairs(lock and lock.i or {}) do
      if not seen[item[1]] then
        seen[item[1]] = true
        row(item[1], 500)
      end
    end
  end
  while read <= #found do
    local lock = rec(found[read])
    if lock then visit(lock.o) end
    read = read + 1
  end
  at = at + 1
end
local all = answer(false)
local left = {}
for i = at, #todo do left[#left + 1] = todo[i] end
return { all[1], all[2], all[3], left }
`;

/** ARGV: cursor. Answers the next cursor and resources that are held and not waited for. */
export const LOCK_QUIET: string = /* lua */ `
local scan = redis.call('HSCAN', K .. 'l:r', ARGV[1], 'COUNT', 200)
local names = {}
for i = 1, #scan[2], 2 do
  if string.find(scan[2][i + 1], '^%[%d+,%d+,%d+,0,') then names[#names + 1] = scan[2][i] end
end
return { scan[1], names }
`;

/** ARGV: first, last. Answers resources that somebody waits for, longest queue first. The first page ends what is due. */
export const LOCK_BUSY: string = /* lua */ `${LOCK_LIBRARY}
if ARGV[1] == '0' then
  tidy()
  flush()
end
return redis.call('ZRANGE', K .. 'l:c', ARGV[1], ARGV[2])
`;
