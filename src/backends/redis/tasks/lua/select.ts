/** Rows that one script looks at. */
export const SCAN_PAGE = 500;
/** Beyond so many, those that a filter names are looked for in the log, a page at a time: putting them in order takes a look at each. */
const FEW = 1_000;
/** Entries of the log that it passes over. */
const MOST_ENTRIES = 256;

/**
 * Defines `parse_filter(at)`, which reads a filter off ARGV: a number of conditions, then name and value of each, lists with \30 between; and
 * `matches(row)`.
 */
export const FILTER: string = String.raw`
local FILTER = {}
local function set_of(text)
  local set = {}
  for one in string.gmatch(text, '[^\30]+') do set[one] = true end
  return set
end
local function parse_filter(at)
  for i = 1, tonumber(ARGV[at]) do FILTER[ARGV[at + 2 * i - 1]] = ARGV[at + 2 * i] end
  if FILTER.ids then FILTER.set = set_of(FILTER.ids) end
  local states = FILTER.states
  FILTER.splits = states and (find(states, 'r', 1, true) ~= nil) ~= (find(states, 'c', 1, true) ~= nil)
  return at + 2 * tonumber(ARGV[at]) + 1
end
local function matches(row)
  local f, x = FILTER, row.x
  if f.set and not f.set[row.id] then return false end
  if f.key and x.k ~= f.key then return false end
  if f.agent and x.A ~= f.agent then return false end
  if f.group and x.g ~= f.group then return false end
  if f.parent and x.p ~= f.parent then return false end
  if f.sign and row.sign ~= f.sign then return false end
  if f.older and now() - row.at <= tonumber(f.older) then return false end
  if f.queue or f.type then
    local p = parts(row.kind)
    if (f.queue and p.queue ~= f.queue) or (f.type and p.type ~= f.type) then return false end
  end
  if f.text and not (row.err and (find(row.err, f.text, 1, true) or find(row.err, f.escaped, 1, true))) then return false end
  if f.states then
    local state = row.st
    if state == 'r' and (FILTER.splits or not find(f.states, 'r', 1, true)) then state = is_held(row) and 'c' or 'r' end
    if not find(f.states, state, 1, true) then return false end
  end
  return true
end
`;

/**
 * Defines `few()`, the rows of a filter that names few of them or nil, and `scan(cursor, newestFirst, budget, see)`, which shows `see` the rows behind a cursor
 * by order of enqueue until it answers false. The log has them, but for those that are older than that: `t:old`. A cursor is a seq, with
 * the entry of the log behind it where that is known.
 */
export const SCAN: string = String.raw`
local function decode(run)
  local head, items = string.match(run, '^([^\29]*)\29(.*)$')
  local ids, seqs, last, seq = {}, {}, '', tonumber(string.match(head, '[^\31]*$'))
  for item in string.gmatch(items, '[^\30]+') do
    if byte(item, 1) == 28 then item = sub(last, 1, byte(item, 2) - 35) .. sub(item, 3) end
    local at = find(item, '\31', 1, true)
    if at then item, seq = sub(item, 1, at - 1), tonumber(sub(item, at + 1)) end
    ids[#ids + 1], seqs[#ids + 1], last, seq = item, seq, item, seq + 1
  end
  return ids, seqs
end
local function few()
  local ids
  if FILTER.ids then
    ids = {}
    for id in string.gmatch(FILTER.ids, '[^\30]+') do ids[#ids + 1] = id end
  elseif FILTER.key then
    ids = { id_of(FILTER.key) or nil }
  elseif FILTER.states == 'c' then
    local sessions, count = redis.call('SMEMBERS', T .. ':ho'), 0
    for _, session in ipairs(sessions) do count = count + redis.call('HLEN', claims_key(session)) end
    if count > ${FEW} then return nil end
    ids = {}
    for _, session in ipairs(sessions) do
      for _, id in ipairs(redis.call('HKEYS', claims_key(session))) do ids[#ids + 1] = id end
    end
  elseif FILTER.states == 'D' and redis.call('ZCARD', T .. ':dead') <= ${FEW} then
    ids = redis.call('ZRANGE', T .. ':dead', 0, -1)
  elseif FILTER.states == 's' and redis.call('ZCARD', T .. ':s') <= ${FEW} then
    ids = redis.call('ZRANGE', T .. ':s', 0, -1)
    for i, member in ipairs(ids) do ids[i] = sub(member, 10) end
  end
  if not ids then return nil end
  fetch(ids)
  local rows, seen = {}, {}
  for _, id in ipairs(ids) do
    local row = get(id)
    if row and not seen[id] then
      seen[id] = true
      rows[#rows + 1] = row
    end
  end
  return rows
end
local function scan(cursor, newestFirst, budget, see)
  local from, entry = string.match(cursor, '^(%d+)@?(.*)$')
  from = tonumber(from)
  local scanned, last, entries = 0, nil, 0
  local function behind(seq) return from == nil or (newestFirst and seq < from) or (not newestFirst and seq > from) end
  local wanted = FILTER.states
  if wanted and find(wanted, 'c', 1, true) then wanted = wanted .. 'r' end
  local function may_match(rec, seq)
    if tonumber(sub(rec, 24, 32), 16) ~= seq then return nil end
    if wanted and not find(wanted, sub(rec, 1, 1), 1, true) then return false end
    if FILTER.queue or FILTER.type then
      local p = parts(sub(rec, 4, 8))
      if (FILTER.queue and p.queue ~= FILTER.queue) or (FILTER.type and p.type ~= FILTER.type) then return false end
    end
    return true
  end
  local function show(ids, seqs, place)
    local rows, ready = {}, {}
    for from = 1, #ids, 1000 do
      local to = math.min(from + 999, #ids)
      local recs = records_of(ids, from, to)
      for i = from, to do
        local rec = recs[i - from + 1]
        local may = nil
        if rec then may = may_match(rec, seqs[i]) end
        if may then
          local row = ROWS[ids[i]]
          if not row then
            row = parse(ids[i], rec)
            ROWS[ids[i]] = row
          end
          rows[i] = row
          ready[#ready + 1] = row
        else
          rows[i] = may
        end
      end
    end
    if FILTER.splits then find_holders(ready) end
    local first, step, stop = 1, 1, #ids
    if newestFirst then first, step, stop = #ids, -1, 1 end
    for i = first, stop, step do
      if behind(seqs[i]) then
        if scanned >= budget then return false end
        local row = rows[i]
        if row == false then
          scanned = scanned + 1
        elseif row then
          if not see(row) then return false end
          scanned = scanned + 1
        end
        last = int(seqs[i]) .. '@' .. place
      end
    end
    return true
  end
  local function old_ones()
    while true do
      local at = last or cursor
      local seq = string.match(at, '^%d+')
      local found
      if newestFirst then
        found = redis.call('ZRANGE', T .. ':old', seq and ('(' .. seq) or '+inf', '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, 100, 'WITHSCORES')
      else
        found = redis.call('ZRANGE', T .. ':old', seq and ('(' .. seq) or '-inf', '+inf', 'BYSCORE', 'LIMIT', 0, 100, 'WITHSCORES')
      end
      if #found == 0 then return true end
      local ids, seqs = {}, {}
      for i = 1, #found, 2 do
        local at = newestFirst and 1 or #ids + 1
        table.insert(ids, at, found[i])
        table.insert(seqs, at, tonumber(found[i + 1]))
      end
      if not show(ids, seqs, '') then return false end
    end
  end
  local function logged()
    local at = entry ~= '' and entry or nil
    while true do
      local found
      if newestFirst then
        found = redis.call('XREVRANGE', T .. ':log', at or '+', '-', 'COUNT', 16)
      else
        found = redis.call('XRANGE', T .. ':log', at or '-', '+', 'COUNT', 16)
      end
      if #found == 0 then return true end
      for _, one in ipairs(found) do
        local text, runs = one[2][4], {}
        for run in string.gmatch(text, '[^\n]+') do
          if byte(run, 1) == 110 then table.insert(runs, newestFirst and 1 or #runs + 1, run) end
        end
        for _, run in ipairs(runs) do
          local ids, seqs = decode(run)
          if not show(ids, seqs, one[1]) then return false end
        end
        at = '(' .. one[1]
        entries = entries + 1
        if entries >= ${MOST_ENTRIES} then
          last = (string.match(last or cursor, '^%d+') or (newestFirst and '9007199254740991' or '0')) .. '@' .. one[1]
          return false
        end
      end
    end
  end
  local done
  if newestFirst then done = logged() and old_ones() else done = old_ones() and logged() end
  return scanned, not done and (last or cursor) or ''
end
`;
