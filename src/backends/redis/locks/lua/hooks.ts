import { LOCK_LIBRARY } from './request.ts';

/** Defines `locks_on_close(session)`: the session is over, and with it its waits and its session locks. Bounded; the next script of any session goes on. */
export const LOCKS_ON_CLOSE: string = /* lua */ `
local locks_on_close
do
${LOCK_LIBRARY}
  locks_on_close = function(session)
    reap(session)
    settle()
    flush()
  end
end
`;

/** Defines `lock_orders(session)`: JSON texts of the orders that wait for the session. */
export const LOCK_ORDERS: string = /* lua */ `
local function lock_orders(session)
  local orders = {}
  for _, text in ipairs(redis.call('HVALS', K .. 'l:a:' .. session)) do
    if string.sub(text, 1, 1) == '0' then orders[#orders + 1] = string.sub(text, 2) end
  end
  return orders
end
`;
