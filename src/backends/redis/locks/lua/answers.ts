/** Requests as JSON, each an array that begins with a letter: g granted, w waiting, r refused, a aborted, l lost. */
export const LOCK_ANSWERS: string = /* lua */ `
local quote = cjson.encode
local LOST = '["l"]'
local function ends_in(lock)
  if not lock.l and not lock.v then return 'null' end
  local ends = redis.call('ZSCORE', K .. 'l:x', 'g' .. lock.id)
  return ends and int(math.max(0, tonumber(ends) - now())) or 'null'
end
local function grant_of(lock, ask)
  local tokens = {}
  for i, item in ipairs((ask or lock).i) do
    tokens[i] = ask and item_at(lock, item[1])[4] or item[4]
  end
  local text = '["g",' .. quote(lock.id) .. ',' .. lock.i[1][4] .. ',[' .. table.concat(tokens, ',') .. '],' .. ends_in(lock)
  return text .. (lock.v and (',' .. quote(lock.v) .. ']') or ']')
end
local function holders_at(lock, found, closed, all)
  for _, item in ipairs(closed) do
    local r = res(item[1])
    local ids = r.nh <= 64 and holders(r) or redis.call('SRANDMEMBER', K .. 'l:h:' .. r.name, 16)
    for _, id in ipairs(ids) do
      if #found == 5 then return end
      local other = rec(id)
      if other and other.o ~= lock.o and (all or clash(item[2], item_at(other, r.name)[2])) then found[#found + 1] = other.p end
    end
  end
end
local function waiting_of(lock, ahead, suspect)
  local closed, found = {}, {}
  for _, item in ipairs(lock.i) do
    if not is_open(lock, item) then closed[#closed + 1] = item end
  end
  holders_at(lock, found, closed, false)
  if #found == 0 then holders_at(lock, found, closed, true) end
  return '["w",' .. quote(lock.id) .. ',' .. version(lock) .. ',' .. ahead .. ',' .. (suspect and 1 or 0)
    .. ',[' .. table.concat(found, ',') .. ']]'
end
local function state_of(lock)
  if lock.t == 'h' then return grant_of(lock) end
  if lock.t == 'w' then return waiting_of(lock, 0, true) end
  local target = rec(lock.d)
  return target and grant_of(target, lock) or LOST
end
local function more() return MORE and ',"m":1}' or '}' end
`;
