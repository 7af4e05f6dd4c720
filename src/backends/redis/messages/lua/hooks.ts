import { library } from './library.ts';

/**
 * Defines `messages_on_close(session)`: the session is over, and with it its memberships; what it has in hand goes back. What is too much for
 * one script is done by the next ones of messages. All of it is inside of the function, since Lua allows 200 local names outside.
 */
export const MESSAGES_ON_CLOSE: string = /* lua */ `
local function messages_on_close(session)
  if not redis.call('ZSCORE', K .. 'm:x', session) then return end
  redis.call('SADD', K .. 'm:closed', session)
  redis.call('ZADD', K .. 'm:x', 0, session)
  ${library()}
  rare().tidy()
  close_boxes()
end
`;
