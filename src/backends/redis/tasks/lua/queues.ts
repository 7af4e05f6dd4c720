/*
 * t:n:<queue>  hash  w s r c C D X S: tasks by state (c claimed); e enqueued, p pruned, a attempts, x stale settles, u duplicates;
 *                    on, ow: ready tasks whose weight isn't 1, and their weights' sum;
 *                    j settings (JSON), v their revision; P paused, M maxRunning, L maxLength, G maxRunningPerGroup, F shares are set;
 *                    step: the ageing step (µs), gen: its number, gn: the last number, s<step> → number, g<number> → step; T turn of the group served last
 * t:qs         set   every queue
 * t:gr:<queue> hash  group → its claims
 * t:gt:<queue> hash  group → its turn; shares
 * t:gw:<queue> hash  group → its share
 * t:gp:<queue> set   groups at their limit that hold ready tasks back; t:gp:<queue>\29<group> zset of their sources (pool\28source → rank)
 */

/** Defines `wake(queue)`: the hint has the name as people know it, the store may have the JSON string of it. */
export const WAKE: string = String.raw`
local function wake(name) hint('tasks', string.byte(name, 1) == 34 and cjson.decode('[' .. name .. ']')[1] or name) end
`;

/** Defines `queue(name)` and the counters. Needs `T` and `HUGE`. */
export const QUEUES: string = String.raw`
local QUEUES = {}
local function queue(name)
  local q = QUEUES[name]
  if q then return q end
  local key = T .. ':n:' .. name
  local v = redis.call('HMGET', key, 'P', 'M', 'L', 'G', 'F', 'gen', 'step', 'T', 'w', 's', 'r', 'c')
  q = {
    name = name, key = key, paused = v[1] == '1', max = tonumber(v[2]) or HUGE, longest = tonumber(v[3]) or HUGE, glimit = tonumber(v[4]) or HUGE,
    fair = v[5] == '1', gen = v[6] or '00', step = tonumber(v[7]) or 10000000, turn = tonumber(v[8]) or 0, d = {}, ow = 0,
    n = { w = tonumber(v[9]) or 0, s = tonumber(v[10]) or 0, r = tonumber(v[11]) or 0, c = tonumber(v[12]) or 0 },
  }
  QUEUES[name] = q
  return q
end
local function bump(q, field, by)
  q.d[field] = (q.d[field] or 0) + by
  local n = q.n[field]
  if n then q.n[field] = n + by end
end
local function flush_queues()
  for name, q in pairs(QUEUES) do
    for field, by in pairs(q.d) do
      if by ~= 0 then
        local sum = redis.call('HINCRBY', q.key, field, by)
        if field == 'e' and sum == by then redis.call('SADD', T .. ':qs', name) end
        if field == 'on' and sum == 0 then
          redis.call('HDEL', q.key, 'ow')
          q.ow = 0
        end
      end
    end
    if q.ow ~= 0 then redis.call('HINCRBYFLOAT', q.key, 'ow', q.ow) end
    q.d, q.ow = {}, 0
  end
end
`;
