/*
 * A kind is what many tasks have in common: queue, type, capabilities (\30 between them) and placement, with \31 between the four. It has a
 * number of 5 hex digits while a task of it is stored.
 *
 * t:kn  hash  text → number
 * t:kt  hash  number → text
 * t:kr  hash  number → stored tasks
 * t:kf  list  numbers that are free again
 * t:kz  zset  number → since when there is no task of it, µs
 */

/** Defines `kind_of(text)`, which gives a kind its number, `parts(kind)` and `count_kind(kind, by)`. */
export const KINDS: string = String.raw`
local PARTS, KINDS, NUMBERS = {}, {}, {}
local function kind_of(text)
  local kind = NUMBERS[text] or redis.call('HGET', T .. ':kn', text)
  if kind then
    NUMBERS[text] = kind
    return kind
  end
  kind = redis.call('LPOP', T .. ':kf')
  if not kind then
    local number = redis.call('HINCRBY', T .. ':m', 'kind', 1)
    if number > 1048575 then fail('AM003', 'There are more than a million kinds of tasks') end
    kind = string.format('%05x', number)
  end
  redis.call('HSET', T .. ':kn', text, kind)
  redis.call('HSET', T .. ':kt', kind, text)
  NUMBERS[text] = kind
  return kind
end
local function parts(kind)
  local known = PARTS[kind]
  if known == nil then
    local text = redis.call('HGET', T .. ':kt', kind)
    local queue, type, capabilities, placement = string.match(text, '^([^\31]*)\31([^\31]*)\31([^\31]*)\31(.*)$')
    known = { text = text, queue = queue, type = type, capabilities = capabilities, placement = placement }
    PARTS[kind] = known
  end
  return known
end
local function count_kind(kind, by) KINDS[kind] = (KINDS[kind] or 0) + by end
local function flush_kinds()
  for kind, by in pairs(KINDS) do
    if by ~= 0 and redis.call('HINCRBY', T .. ':kr', kind, by) <= 0 then
      redis.call('HDEL', T .. ':kr', kind)
      redis.call('ZADD', T .. ':kz', now(), kind)
    end
  end
end
`;
