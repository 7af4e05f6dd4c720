/** The server's clock, µs since 1970. Inside of one script it stands still. Tests put another text in its place. */
export const SERVER_TIME = /* lua */ `
local time = redis.call('TIME')
NOW = tonumber(time[1]) * 1000000 + tonumber(time[2])`;

/**
 * What every script begins with. All keys of a mesh are derived from the one in KEYS[1], whose hash tag keeps them in one slot of a
 * cluster. µs, tokens and revisions travel as strings: Lua's `..` and cjson print 14 digits of a number.
 */
export function preludeOf(clock: string): string {
  return /* lua */ `
local K = KEYS[1]
local NOW
local function now()
  if NOW == nil then ${clock}
  end
  return NOW
end
local function int(n) return string.format('%.0f', n) end
local function fail(code, message) error({ err = code .. ' ' .. message }) end
local function alive(session)
  local ends = redis.call('HGET', K .. 'o:' .. session, 'x')
  return ends ~= false and tonumber(ends) > now()
end
local OP
local function begin(session, sequence, even_expired)
  local key, n = K .. 'o:' .. session, tonumber(sequence)
  local slot = int(n % 32)
  local known = redis.call('HMGET', key, 'x', 'n', slot)
  OP = nil
  if not known[1] or tonumber(known[1]) <= now() then
    if even_expired then return nil end
    fail('AM001', 'Session ' .. session .. ' is not open')
  end
  local newest = tonumber(known[2] or 0)
  if known[3] then
    local at = string.find(known[3], ' ', 1, true)
    if tonumber(string.sub(known[3], 1, at - 1)) == n then return string.sub(known[3], at + 1) end
  end
  if n <= newest - 32 then fail('AM001', 'Operation ' .. int(n) .. ' is too old to be known') end
  OP = { key = key, slot = slot, n = n, newest = math.max(newest, n) }
  return nil
end
local function finish(session, sequence, answer)
  if OP ~= nil then
    redis.call('HSET', OP.key, OP.slot, int(OP.n) .. ' ' .. answer, 'n', int(OP.newest))
  end
  return answer
end
local function tokens(count)
  local first = math.max(tonumber(redis.call('GET', K .. 'clk') or 0) + 1, now())
  redis.call('SET', K .. 'clk', int(first + count - 1))
  return first
end
local function token() return tokens(1) end
local HINTED = {}
local function hint(kind, name)
  local text = kind .. ' ' .. name
  if HINTED[text] then return end
  HINTED[text] = true
  redis.call('PUBLISH', K .. 'hints', text)
end
`;
}
