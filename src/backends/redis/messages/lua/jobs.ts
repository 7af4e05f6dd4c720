/** Operations of several scripts. Needs `BOXES`. */
export const PARTS: string = /* lua */ `
-- Operations of several scripts: how far they have come (k), and what they will answer.
local function read_part(session, sequence)
  local text = redis.call('HGET', M .. 'p:' .. session, sequence)
  local k, codes, told = '0', '', ''
  if text then k, codes, told = string.match(text, '^(%d+)\\n([^\\n]*)\\n(.*)$') end
  return { session = session, sequence = sequence, tag = session .. '.' .. sequence, k = tonumber(k), codes = codes, told = told, stored = text ~= false }
end

local function write_part(part)
  redis.call('HSET', M .. 'p:' .. part.session, part.sequence, part.k .. '\\n' .. part.codes .. '\\n' .. part.told)
  redis.call('ZADD', M .. 'x', 'NX', AT_TEXT, part.session)
end

local function end_part(part)
  if part.stored then redis.call('HDEL', M .. 'p:' .. part.session, part.sequence) end
end

local function tell_part(part, value)
  local text = cjson.encode(value)
  part.told = part.told == '' and text or part.told .. ',' .. text
end
`;

/** Work that may be too much for one script, and lives on in `m:jobs` until it is done. Needs `RETURNS`, `REMOVALS`, `MEMBERS` and `PARTS`. */
export const JOBS: string = /* lua */ `
local JOB = {}

-- What waits in a mailbox that nobody takes from any more.
function JOB.drop(job, lost)
  local b = box_by(job.i)
  if b == nil then return true end
  b.leaving = job.leave
  while BUDGET > 0 do
    sync(b)
    local elements = first_waiting(b, job.upto, BUDGET)
    if #elements == 0 then return true end
    BUDGET = BUDGET - #elements
    b.dropped = b.dropped + #elements
    add_lost(lost, remove_waiting(b, elements), b.address, job.reason)
  end
  return false
end

-- What is being handled from a mailbox that ends.
function JOB.held(job, lost)
  local b = box_by(job.i)
  if b == nil then return true end
  b.leaving = true
  repeat
    local page = redis.call('HSCAN', M .. 'h:' .. b.i, job.cursor, 'COUNT', 100)
    job.cursor = page[1]
    local ids, helds = {}, {}
    for n = 1, #page[2], 2 do
      local q = tonumber(page[2][n])
      if q and q <= tonumber(job.upto) then
        ids[#ids + 1] = page[2][n]
        helds[#helds + 1] = read_held(page[2][n + 1])
      end
    end
    if #ids > 0 then
      local stored = stored_of(b, ids)
      local froms = {}
      for n, text in ipairs(unfold({ unpack(stored) })) do
        froms[n] = sender_of(text)
        landed(b, lane_of(b, helds[n].key), helds[n].flight)
      end
      unhold(b, ids)
      forget(b, ids, stored)
      b.dropped = b.dropped + #ids
      BUDGET = BUDGET - #ids
      add_lost(lost, froms, b.address, 'left')
      close_flights()
    end
  until job.cursor == '0' or BUDGET <= 0
  return job.cursor == '0'
end

-- What a session has in hand of a mailbox that others still take from.
function JOB.back(job)
  while BUDGET > 0 do
    local flight = redis.call('ZRANGE', M .. 's:' .. job.session, '(' .. job.after, '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
    if #flight == 0 then return true end
    job.after = flight[2]
    return_flight(flight[1], job.i, true)
  end
  return false
end

-- One copy of a topic's letter.
local function copy(b, m, max, overflow, lost)
  if not m.m1 and b.listening == 0 then
    b.published = b.published + 1
    b.dropped = b.dropped + 1
    lost[#lost + 1] = { m.from, b.address, 1, 'no-receiver' }
    return
  end
  local outcome = deposit(b, m, max, overflow)
  if outcome == 'full' then
    -- A copy can't be refused to a sender who doesn't know the members: it is dropped, and counted.
    b.published = b.published + 1
    b.dropped = b.dropped + 1
    lost[#lost + 1] = { m.from, b.address, 1, 'full' }
  elseif outcome ~= nil then
    for _, entry in ipairs(outcome) do lost[#lost + 1] = entry end
  end
  wake(b)
end

-- The copies of a topic's letter that its own script did not make. The members stand still meanwhile.
function JOB.copies(job, lost)
  local m = { from = job.from, key = job.key, priority = job.priority, ttl = tonumber(job.ttl), m1 = job.m1, at = tonumber(job.at), shared = job.shared }
  while BUDGET > 0 do
    local targets = redis.call('ZRANGE', M .. 't:' .. job.topic, '(' .. job.after, '+inf', 'BYSCORE', 'LIMIT', 0, math.ceil(BUDGET / COPY), 'WITHSCORES')
    if #targets == 0 then
      unshare(job.shared)
      return true
    end
    BUDGET = BUDGET - #targets / 2 * COPY
    for n = 1, #targets, 2 do
      if targets[n] ~= job.skip then copy(box_by(targets[n]), m, job.max, job.overflow, lost) end
      job.after = targets[n + 1]
    end
  end
  return false
end

-- Losses of a job belong to the operation that it is part of; else to whoever asks for them.
local function tell(job, lost)
  if #lost == 0 then return end
  local part = PART
  if part == nil or part.tag ~= job.tag then
    local session, sequence = string.match(job.tag, '^(%d+)%.(%d+)$')
    part = session and read_part(session, sequence) or nil
    if part ~= nil and not part.stored then part = nil end
  end
  for _, entry in ipairs(lost) do
    if part ~= nil then
      tell_part(part, { job.index or 0, entry[1], entry[2], entry[3], entry[4] })
    elseif TOLD ~= nil and job.tag ~= '' then
      TOLD[#TOLD + 1] = entry
    end
  end
  if part ~= nil and part ~= PART then write_part(part) end
end

-- Does what is left over, within the budget of the script. Answers whether all is done.
local function run_jobs()
  while true do
    local text = redis.call('LINDEX', M .. 'jobs', 0)
    if not text then return true end
    if BUDGET <= 0 then return false end
    local job, lost = cjson.decode(text), {}
    local done = JOB[job.kind](job, lost)
    tell(job, lost)
    if done then
      redis.call('LPOP', M .. 'jobs')
    else
      redis.call('LSET', M .. 'jobs', 0, cjson.encode(job))
    end
  end
end
`;

/** What time brings: sessions that ended. Needs `JOBS`. */
export const CHORES: string = /* lua */ `
-- How many memberships of sessions that are over this script still ends.
local ENDINGS = 50

local function end_membership(i, session, closed)
  local own = box_by(i)
  local member = own and member_of(i, session)
  if not member then return end
  detach(own, session, member)
  if not closed and member.keep > 0 then
    member.listening = 0
    attach(own, session, member)
    redis.call('ZADD', M .. 'gone', int(math.min(AT + member.keep * 1000, 9007199254740991)), i .. ' ' .. session)
  end
  drop_unwanted(member.sources, '')
end

-- Carries out the end of a session as far as the budget allows; what is left is done by the next script.
local function end_session(session)
  local closed = redis.call('SISMEMBER', M .. 'closed', session) == 1
  local joined = M .. 'j:' .. session
  local left = redis.call('SPOP', joined, ENDINGS)
  ENDINGS = ENDINGS - #left
  for _, i in ipairs(left) do end_membership(i, session, closed) end
  run_jobs()
  local flights = M .. 's:' .. session
  for _, flight in ipairs(redis.call('ZRANGE', flights, 0, 249)) do
    if BUDGET > 0 then
      return_flight(flight, nil, true)
    else
      redis.call('ZADD', M .. 'F', 0, flight)
      redis.call('ZREM', flights, flight)
    end
  end
  if redis.call('EXISTS', joined, flights) > 0 then
    redis.call('ZADD', M .. 'x', 0, session)
    return
  end
  redis.call('ZREM', M .. 'x', session)
  redis.call('SREM', M .. 'closed', session)
  redis.call('DEL', M .. 'p:' .. session)
end

-- Notices sessions whose lease has run out. The members stand still while there are jobs.
local function tidy()
  local late = redis.call('ZRANGE', M .. 'x', '-inf', AT_TEXT, 'BYSCORE', 'LIMIT', 0, 16)
  if #late == 0 then return end
  for _, session in ipairs(late) do
    local ends = redis.call('HGET', K .. 'o:' .. session, 'x')
    if ends and tonumber(ends) > AT then
      redis.call('ZADD', M .. 'x', ends, session)
    elseif run_jobs() then
      end_session(session)
    end
  end
end
`;
