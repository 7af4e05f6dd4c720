import { LIBRARY } from './library.ts';

/**
 * ARGV: session, sequence, queue, revision or nothing, settings (JSON), paused, maxRunning, maxLength, maxRunningPerGroup, whether shares are set, ageing
 * step (µs), shares, then group and share of each. What is not set is empty. Answers time, 1 or 0, revision.
 */
export const CONFIGURE: string = String.raw`
local stored = begin(ARGV[1], ARGV[2])
if stored then return stored end
${LIBRARY}
local name = ARGV[3]
local q = queue(name)
local revision = tonumber(redis.call('HGET', q.key, 'v') or 0)
if ARGV[4] ~= '' and tonumber(ARGV[4]) ~= revision then
  return finish(ARGV[1], ARGV[2], int(now()) .. ' 0 ' .. int(revision))
end
redis.call('SADD', T .. ':qs', name)
redis.call('HSET', q.key, 'v', revision + 1, 'j', ARGV[5], 'T', '0')
for i, field in ipairs({ 'P', 'M', 'L', 'G', 'F' }) do
  local value = ARGV[5 + i]
  if value == '' then redis.call('HDEL', q.key, field) else redis.call('HSET', q.key, field, value) end
end
local step, gen = ARGV[11], nil
if step == '10000000' then
  gen = '00'
else
  gen = redis.call('HGET', q.key, 's' .. step)
  if not gen then
    local number = redis.call('HINCRBY', q.key, 'gn', 1)
    if number >= 3844 then fail('AM003', 'Queue ' .. name .. ' has had too many ageing steps') end
    local digits = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'
    local high, low = math.floor(number / 62) + 1, number % 62 + 1
    gen = sub(digits, high, high) .. sub(digits, low, low)
    redis.call('HSET', q.key, 's' .. step, gen, 'g' .. gen, step)
  end
end
redis.call('HSET', q.key, 'gen', gen, 'step', step)
redis.call('DEL', T .. ':gt:' .. name, T .. ':gw:' .. name)
for i = 1, tonumber(ARGV[12]) do redis.call('HSET', T .. ':gw:' .. name, ARGV[11 + 2 * i], ARGV[12 + 2 * i]) end
q.fair = false
for _, group in ipairs(redis.call('SMEMBERS', T .. ':gp:' .. name)) do unpark(q, group) end
if ARGV[6] == '' then wake(name) end
return finish(ARGV[1], ARGV[2], int(now()) .. ' 1 ' .. int(revision + 1))
`;
