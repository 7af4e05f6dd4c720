/*
 * Most locks are asked for while nobody has them and given back while nobody wants them. Making the functions of the whole library costs a script
 * 12 µs, three times what such a call does: these few lines do it alone, and go on to the library only when there is more to it. They write what that
 * would write.
 */

/**
 * Grants the requests of a batch, if all of their resources are idle and nothing is due. Needs `session`, `sequence`, `count`; defines `answer`, nil
 * when nothing was done.
 */
export const GRANT_IDLE: string = /* lua */ `
local function grant_idle()
  local at_text = int(now())
  if #ARGV > 3000 or redis.call('ZRANGEBYSCORE', K .. 'l:x', '-inf', at_text, 'LIMIT', 0, 1)[1] then return nil end
  local ids, names, known, at = {}, {}, {}, 4
  for i = 1, count do
    local id, items = ARGV[at], tonumber(ARGV[at + 12])
    if ARGV[at + 9] ~= '' or known[id] or items == 0 then return nil end
    ids[i], known[id] = id, true
    for place = at + 13, at + 9 + 4 * items, 4 do
      local name = 'r' .. ARGV[place]
      if ARGV[place + 1] == '6' or known[name] then return nil end
      known[name] = true
      names[#names + 1] = ARGV[place]
    end
    at = at + 13 + 4 * items
  end
  if count == 1 and not names[2] then
    if redis.call('HGET', K .. 'l:r', names[1]) then return nil end
  else
    for _, text in ipairs(redis.call('HMGET', K .. 'l:r', unpack(names))) do
      if text then return nil end
    end
  end
  if count > 1 then
    for _, text in ipairs(redis.call('HMGET', K .. 'l:g', unpack(ids))) do
      if text then return nil end
    end
  end
  local counts = { '[1,0,0,0,0,0]', '[0,1,0,0,0,0]', '[0,0,1,0,0,0]', '[0,0,0,1,0,0]', '[0,0,0,0,1,0]' }
  local first = tokens(count)
  local requests, resources, held, ends, answers, of = {}, {}, {}, { at_text, 's' .. session }, {}, 0
  at = 4
  for i = 1, count do
    local token, lease, items, list = int(first + i - 1), tonumber(ARGV[at + 8]), {}, {}
    local owner, single, id = ARGV[at + 1], ARGV[at + 3] == '1', cjson.encode(ids[i])
    for n = 1, tonumber(ARGV[at + 12]) do
      local name, mode = ARGV[at + 9 + 4 * n], tonumber(ARGV[at + 10 + 4 * n])
      items[n], list[n] = { name, mode, 0, token }, token
      resources[of + 1], resources[of + 2] = name, '[0,0,1,0,' .. counts[mode] .. ',' .. id .. ']'
      of = of + 2
      if not single then
        held[#held + 1] = { K .. 'l:o:' .. owner, 'h' .. name, '[1,' .. counts[mode] .. ',"' .. token .. '",[' .. (mode > 2 and id or '') .. ']]' }
      end
    end
    requests[2 * i - 1] = ids[i]
    requests[2 * i] = cjson.encode({ s = session, t = 'h', o = owner, i = items, u = single and 1 or nil, l = lease }) .. '\\n' .. ARGV[at + 2]
    if lease then ends[#ends + 1], ends[#ends + 2] = int(now() + lease * 1000), 'g' .. ids[i] end
    answers[i] = '["g",' .. id .. ',' .. token .. ',[' .. table.concat(list, ',') .. '],' .. (lease and int(lease * 1000) or 'null') .. ']'
    at = at + 13 + 4 * #items
  end
  if count > 1 then
    redis.call('HSET', K .. 'l:g', unpack(requests))
  elseif redis.call('HSETNX', K .. 'l:g', requests[1], requests[2]) == 0 then
    return nil
  end
  for _, call in ipairs(held) do redis.call('HSET', call[1], call[2], call[3]) end
  redis.call('HSET', K .. 'l:r', unpack(resources))
  redis.call('SADD', K .. 'l:s:' .. session, unpack(ids))
  redis.call('ZADD', K .. 'l:x', 'NX', unpack(ends))
  return '{"at":' .. at_text .. ',"a":[' .. table.concat(answers, ',') .. ']}'
end
local answer = grant_idle()
`;

/** Gives back the locks of a batch, if all are current, nobody else holds or wants their resources, and nothing is due. As {@link GRANT_IDLE}. */
export const RELEASE_QUIET: string = /* lua */ `
local function release_quiet()
  local at_text = int(now())
  if #ARGV > 3000 or redis.call('ZRANGEBYSCORE', K .. 'l:x', '-inf', at_text, 'LIMIT', 0, 1)[1] then return nil end
  local ids, names, locks, known = {}, {}, {}, {}
  for i = 3, #ARGV, 5 do
    local id = ARGV[i]
    if ARGV[i + 2] ~= '' or ARGV[i + 3] ~= '' or known[id] then return nil end
    known[id] = true
    ids[#ids + 1] = id
  end
  for i, text in ipairs(redis.call('HMGET', K .. 'l:g', unpack(ids))) do
    if not text then return nil end
    local lock = cjson.decode(string.sub(text, 1, string.find(text, '\\n', 1, true) - 1))
    local token = ARGV[5 * i - 1]
    if lock.t ~= 'h' or lock.s ~= session or lock.c or lock.q or lock.v or (token ~= '' and token ~= lock.i[1][4]) then return nil end
    locks[i] = lock
    for _, item in ipairs(lock.i) do names[#names + 1] = item[1] end
  end
  if #names > 3000 then return nil end
  for _, text in ipairs(redis.call('HMGET', K .. 'l:r', unpack(names))) do
    if not text or string.sub(text, 1, 9) ~= '[0,0,1,0,' then return nil end
  end
  redis.call('HDEL', K .. 'l:g', unpack(ids))
  redis.call('HDEL', K .. 'l:r', unpack(names))
  redis.call('SREM', K .. 'l:s:' .. session, unpack(ids))
  local ended = {}
  for i, lock in ipairs(locks) do
    if lock.l then redis.call('ZREM', K .. 'l:x', 'g' .. ids[i]) end
    if not lock.u then
      for _, item in ipairs(lock.i) do redis.call('HDEL', K .. 'l:o:' .. lock.o, 'h' .. item[1]) end
    end
    ended[i] = '1'
  end
  return '{"at":' .. at_text .. ',"e":[' .. table.concat(ended, ',') .. '],"g":[]}'
end
local answer = release_quiet()
`;

/** Renews what a session holds, if it holds all of it still and nothing is due. As {@link GRANT_IDLE}. */
export const KEEP_HELD: string = /* lua */ `
local function keep_held()
  local at_text = int(now())
  if #ARGV > 3000 or redis.call('ZRANGEBYSCORE', K .. 'l:x', '-inf', at_text, 'LIMIT', 0, 1)[1] or not alive(session) then return nil end
  local ids, ends, answers = {}, { 'XX' }, {}
  for i = 2, #ARGV, 2 do ids[i / 2] = ARGV[i] end
  for i, text in ipairs(redis.call('HMGET', K .. 'l:g', unpack(ids))) do
    if not text then return nil end
    local lock = cjson.decode(string.sub(text, 1, string.find(text, '\\n', 1, true) - 1))
    local token, list = ARGV[2 * i + 1], {}
    if lock.t ~= 'h' or lock.s ~= session or lock.v or (token ~= '' and token ~= lock.i[1][4]) then return nil end
    if lock.l then ends[#ends + 1], ends[#ends + 2] = int(now() + lock.l * 1000), 'g' .. ids[i] end
    for n, item in ipairs(lock.i) do list[n] = item[4] end
    answers[i] = '["g",' .. cjson.encode(ids[i]) .. ',' .. lock.i[1][4] .. ',[' .. table.concat(list, ',') .. '],'
      .. (lock.l and int(lock.l * 1000) or 'null') .. ']'
  end
  if #ends > 1 then redis.call('ZADD', K .. 'l:x', unpack(ends)) end
  return '{"at":' .. at_text .. ',"a":[' .. table.concat(answers, ',') .. ']}'
end
local answer = keep_held()
`;
