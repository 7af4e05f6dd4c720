import { CLAIM_ANSWER, OFFERS } from './claim.ts';
import { LIBRARY } from './library.ts';

/** Claims of dead sessions that one call looks at. */
const MOST_LOOKED_AT = 1_000;

/**
 * ARGV: session, sequence, `dead` or the session to take from, limit, most moves, what is written to the audit trail, 1 for any; then as a claim: offers,
 * three for each; queues or −1, two for each; agents.
 */
export const TAKEOVER: string = String.raw`
${LIBRARY}
${CLAIM_ANSWER}
local stored = begin(ARGV[1], ARGV[2])
if stored then return replay(stored) end
${OFFERS}
local me, from, limit, moves, steal, any = ARGV[1], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], ARGV[7] == '1'
local offers, _, at = parse_offers(9, tonumber(ARGV[8]))
local named, limits, agents = tonumber(ARGV[at]), nil, {}
at = at + 1
if named >= 0 then
  limits = {}
  for i = 1, named do
    limits[ARGV[at]] = tonumber(ARGV[at + 1])
    at = at + 2
  end
end
for i = 1, tonumber(ARGV[at]) do agents[ARGV[at + i]] = true end
local function takes(row)
  local p = parts(row.kind)
  if any then return true end
  local left = limits == nil and HUGE or limits[p.queue] or 0
  if left <= 0 then return false end
  if row.x.A then return agents[row.x.A] == true end
  for _, offer in ipairs(offers) do
    if offer.slots > 0 and serves(offer, p.type, p.capabilities) then
      offer.slots = offer.slots - 1
      if limits then limits[p.queue] = left - 1 end
      return true
    end
  end
  return false
end
local candidates = {}
local function candidate(id, right, session)
  candidates[#candidates + 1] = { id = id, right = right, token = token_of(right), session = session }
end
if from == 'dead' then
  local sessions = redis.call('SMEMBERS', T .. ':ho')
  table.sort(sessions, function(a, b) return tonumber(a) < tonumber(b) end)
  for _, session in ipairs(sessions) do
    if #candidates >= ${MOST_LOOKED_AT} then break end
    if not alive(session) then
      local found = redis.call('HGETALL', claims_key(session))
      if #found == 0 then
        redis.call('SREM', T .. ':ho', session)
        redis.call('DEL', T .. ':or:' .. session)
      end
      for i = 1, #found, 2 do candidate(found[i], found[i + 1], session) end
    end
  end
else
  local found = redis.call('HGETALL', claims_key(from))
  for i = 1, #found, 2 do if byte(found[i + 1], 1) == 117 then candidate(found[i], found[i + 1], from) end end
end
table.sort(candidates, function(a, b)
  if from == 'dead' then return a.token < b.token end
  return a.token > b.token
end)
for i = #candidates, ${MOST_LOOKED_AT} + 1, -1 do candidates[i] = nil end
local ids, taken = {}, {}
for i, one in ipairs(candidates) do ids[i] = one.id end
fetch(ids)
for _, one in ipairs(candidates) do
  if #taken >= limit then break end
  local row = get(one.id)
  if not row then
    redis.call('HDEL', claims_key(one.session), one.id)
  elseif not queue_of(row).paused and (from == 'dead' or row.moves < moves) and takes(row) then
    hold(row, one.session, one.right)
    taken[#taken + 1] = row
  end
end
local first = #taken > 0 and tokens(#taken) or 0
local records, rights = {}, {}
ids = {}
for i, row in ipairs(taken) do
  local former, started = row.held.session, row.held.started
  redis.call('HDEL', claims_key(former), row.id)
  if former ~= me and alive(former) then give_order(former, row, 'taken') end
  if started then
    if not row.adopted then row.crashes = row.crashes + 1 end
    row.adopted = true
  else
    row.moves = row.moves + 1
  end
  row.token = first + i - 1
  row.held = { session = me, token = row.token, started = started }
  rights[i] = (started and 's' or 'u') .. int(row.token)
  redis.call('HSET', claims_key(me), row.id, rights[i])
  touch(row)
  log(row, 'c', 'c', steal, row.token, me)
  if row.cancel then give_order(me, row, 'cancel', row.cancel) end
  ids[i], records[i] = row.id, build(row)
end
if #taken > 0 then redis.call('SADD', T .. ':ho', me) end
flush()
finish(me, ARGV[2], int(first) .. ' ' .. #taken .. ' 0 ' .. int(now()))
return answer(int(now()), '0', ids, records, rights)
`;
