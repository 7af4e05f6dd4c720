import { LIBRARY } from './library.ts';

/** Unstarted claims that a session gives back with its end; the rest is taken over as from one that has died. */
const MOST_GIVEN_BACK = 500;

/**
 * Defines `tasks_on_close(session)`: the session is over, its unstarted claims go back, the oldest first, and its started ones become takeable.
 */
export const TASKS_ON_CLOSE: string = String.raw`
local function tasks_on_close(session)
  ${LIBRARY}
  local key = claims_key(session)
  local claims, unstarted, ids = nil, {}, {}
  if redis.call('HLEN', key) <= ${2 * MOST_GIVEN_BACK} then
    claims = redis.call('HGETALL', key)
  else
    claims = redis.call('HSCAN', key, 0, 'COUNT', ${2 * MOST_GIVEN_BACK})[2]
  end
  for i = 1, #claims, 2 do
    local right = claims[i + 1]
    if byte(right, 1) == 117 then unstarted[#unstarted + 1] = { id = claims[i], right = right, token = token_of(right) } end
  end
  table.sort(unstarted, function(a, b) return a.token < b.token end)
  for i = 1, math.min(#unstarted, ${MOST_GIVEN_BACK}) do ids[i] = unstarted[i].id end
  fetch(ids)
  for i in ipairs(ids) do
    local row = get(ids[i])
    if row then
      hold(row, session, unstarted[i].right)
      row.attempt = row.attempt - 1
      give_back(row, 0, 'SESSION_CLOSED')
    end
  end
  flush()
  redis.call('DEL', T .. ':or:' .. session)
  if redis.call('EXISTS', key) == 0 then redis.call('SREM', T .. ':ho', session) end
end
`;

/** Defines `task_orders(session)`: JSON texts of the orders that wait for the session. */
export const TASK_ORDERS: string = String.raw`
local function task_orders(session) return redis.call('HVALS', K .. 't:or:' .. session) end
`;
