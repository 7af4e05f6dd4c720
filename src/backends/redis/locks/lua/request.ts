import { LOCK_ANSWERS } from './answers.ts';
import { GRANT_IDLE } from './fast.ts';
import { LOCK_GRANTS } from './grants.ts';
import { LOCK_LEASES } from './leases.ts';
import { LOCK_QUEUE } from './queue.ts';
import { LOCK_TABLE } from './table.ts';

/** Everything that changes locks begins with this. */
export const LOCK_LIBRARY: string = LOCK_TABLE + LOCK_QUEUE + LOCK_GRANTS + LOCK_LEASES;

/**
 * ARGV: session, sequence, count, then for each request: id, owner id, owner as JSON, 1 when the owner is made for it, priority, µs a point of
 * priority is worth, most overtakes, 1 to wait, lease in ms or '', id and token of the grant to convert or '' twice, 1 when reentrant, count of
 * items, then for each: resource, mode, units, capacity.
 */
export const LOCK_REQUEST: string = /* lua */ `
local session, sequence, count = ARGV[1], ARGV[2], tonumber(ARGV[3])
local known = begin(session, sequence)
if known then return known end
${GRANT_IDLE}
if answer then return finish(session, sequence, answer) end
local function request()
${LOCK_LIBRARY}${LOCK_ANSWERS}
local BUSY, CAPACITY, CONFLICT = '["r","busy"]', '["r","capacity"]', '["r","upgrade-conflict"]'
tidy()
follow(session)
local function upgrades_clash(r, mode, held)
  for other = 1, r.nw > 0 and 5 or 0 do
    if r.w[other] > 0 and clash(other, held) then
      for _, text in ipairs(redis.call('ZRANGEBYSCORE', queue(r.name, other), '-inf', '-inf')) do
        local _, _, id = parts(text)
        local upgrade = rec(id)
        local theirs = upgrade and upgrade.d and rec(upgrade.d)
        local place = theirs and item_at(theirs, r.name)
        if place and clash(mode, place[2]) then return true end
      end
    end
  end
  return false
end
local function refusal(lock, target, reentrant)
  for _, item in ipairs(lock.i) do
    local r, mode = res(item[1]), item[2]
    local mine = own(lock, r.name)
    local held = target and item_at(target, r.name)
    if mode == 6 then
      if item[3] + (mine and mine.c[6] or 0) > r.of then return CAPACITY end
    elseif held then
      if upgrades_clash(r, mode, held[2]) then return CONFLICT end
    elseif mine and mine.p[1] and mode > 2 and not reentrant then
      local other = rec(mine.p[#mine.p])
      return '["r","reentrant",' .. quote(r.name) .. ',' .. quote(other.id) .. ',' .. other.i[1][4] .. ']'
    end
  end
end
local function blocks_any(lock)
  if lock.u then return false end
  local fields = redis.call('HGETALL', K .. 'l:o:' .. lock.o)
  if #fields > 256 then return true end
  for i = 1, #fields, 2 do
    local kind, name = string.sub(fields[i], 1, 1), string.sub(fields[i], 2)
    if kind == 'h' then
      local r = res(name)
      local held = r.nw > 0 and cjson.decode(fields[i + 1])[2] or {}
      for mode, times in ipairs(held) do
        if times > 0 and wants_any(r, mode) then return true end
      end
    elseif name ~= lock.id then
      local other = rec(name)
      for _, item in ipairs(other and other.i or {}) do
        if res(item[1]).nw > 1 then return true end
      end
    end
  end
  return false
end
local function adopt(target)
  if not target.u then return end
  target.u = nil
  for _, item in ipairs(target.i) do own_add(target, item) end
  save(target)
end
local function decide(lock, target, step, wait)
  local stamp = token()
  lock.a = int(stamp)
  local rank = stamp - ORIGIN - lock.y * step
  local is_wanted = false
  for _, item in ipairs(lock.i) do
    local r = res(item[1])
    is_wanted = is_wanted or (r.nw > 0 and wants_any(r, item[2]))
    if not target then rank = rank_for(r, item[2], rank) end
  end
  lock.r = target and '-inf' or score_text(rank)
  local free = is_ready(lock)
  if not free and not wait then return BUSY end
  local passed = is_wanted and pass_others(lock)
  redis.call('SADD', K .. 'l:s:' .. session, lock.id)
  REC[lock.id] = lock
  if free then
    grant(lock, lock.a)
    settle()
    return target and grant_of(target, lock) or grant_of(lock)
  end
  local ahead = count_ahead(lock)
  lock.t, lock.b = 'w', int(now())
  enqueue(lock)
  save(lock)
  if target then
    target.q = target.q or {}
    target.q[#target.q + 1] = lock.id
    save(target)
  end
  return waiting_of(lock, ahead, passed or blocks_any(lock))
end
local at = 3
local function arg()
  at = at + 1
  return ARGV[at]
end
local function ask()
  local lock = { s = session, id = arg(), o = arg(), p = arg(), u = arg() == '1' and 1 or nil, y = tonumber(arg()) }
  local step, most, wait, lease = tonumber(arg()), arg(), arg() == '1', arg()
  local upgrade, held_token, reentrant, items = arg(), arg(), arg() == '1', tonumber(arg())
  lock.n, lock.l, lock.i = most, tonumber(lease), {}
  local capacities = {}
  for i = 1, items do
    lock.i[i] = { arg(), tonumber(arg()), tonumber(arg()) }
    capacities[i] = tonumber(arg())
  end
  local asked = rec(lock.id)
  if asked then return state_of(asked) end
  local target
  if upgrade ~= '' then
    target = rec(upgrade)
    if not target or target.t ~= 'h' or target.s ~= session or target.i[1][4] ~= held_token or is_expired(target) then return LOST end
    if #target.i ~= items then return LOST end
    for _, item in ipairs(lock.i) do
      if not item_at(target, item[1]) then return LOST end
    end
    lock.d, lock.u, lock.l = upgrade, nil, nil
  end
  for i, item in ipairs(lock.i) do
    local r = res(item[1])
    if r.of ~= capacities[i] then
      if r.nh > 0 or r.nw > 0 then return CAPACITY end
      r.of = capacities[i]
    end
  end
  if items == 0 then return BUSY end
  if target then adopt(target) end
  return refusal(lock, target, reentrant) or decide(lock, target, step, wait)
end
local answers = {}
for i = 1, count do answers[i] = ask() end
flush()
return '{"at":' .. int(now()) .. ',"a":[' .. table.concat(answers, ',') .. ']' .. more()
end
return finish(session, sequence, request())
`;
