import { LIBRARY } from './library.ts';

/** Defines `tasks_on_close(session)`: the session is over, its unstarted claims go back and its started ones become takeable. */
export const TASKS_ON_CLOSE: string = String.raw`
local function tasks_on_close(session)
  ${LIBRARY}
  local key = claims_key(session)
  local claims, rows, ids = redis.call('HGETALL', key), {}, {}
  for i = 1, #claims, 2 do ids[#ids + 1] = claims[i] end
  fetch(ids)
  for i = 1, #claims, 2 do
    local row, right = get(claims[i]), claims[i + 1]
    if row and byte(right, 1) == 117 then
      hold(row, session, right)
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
