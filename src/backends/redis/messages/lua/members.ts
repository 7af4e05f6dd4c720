/** What a membership looks like. Needs `BOXES`. */
export const MEMBER: string = /* lua */ `
local function read_member(text)
  local version, listening, keep, sources, topics = string.match(text, '^(%d+) (%d) (%S+) (%S+) (.*)$')
  local list = {}
  for i in string.gmatch(sources, '%d+') do list[#list + 1] = i end
  return { version = version, listening = tonumber(listening), keep = tonumber(keep), sources = list, topics = topics }
end

local function member_of(i, session)
  local text = redis.call('HGET', M .. 'm:' .. i, session)
  return text and read_member(text) or nil
end
`;

/** Who takes from where, and what must follow when somebody doesn't any more. Needs `MEMBER`. */
export const MEMBERS: string = /* lua */ `
local function each_target(own, member, visit)
  for _, topic in ipairs(cjson.decode(member.topics)) do
    if topic[2] == '' then visit(topic[1], own.i) else visit(topic[1], make_box(topic[1], topic[2]).i) end
  end
end

local function attach(own, session, member)
  redis.call('HSET', M .. 'm:' .. own.i, session, member.version .. ' ' .. member.listening .. ' ' .. member.keep .. ' '
    .. table.concat(member.sources, ',') .. ' ' .. member.topics)
  for _, i in ipairs(member.sources) do
    local b = box_by(i)
    b.members = b.members + 1
    b.listening = b.listening + member.listening
    if b ~= own then redis.call('HSET', M .. 'g:' .. i, own.i .. ' ' .. session, member.listening .. ' ' .. own.address) end
  end
  each_target(own, member, function(topic, i)
    if redis.call('HINCRBY', M .. 'T:' .. topic, i, 1) == 1 then
      redis.call('ZADD', M .. 't:' .. topic, counter('version'), i)
    end
  end)
end

local function detach(own, session, member)
  redis.call('HDEL', M .. 'm:' .. own.i, session, 't' .. session)
  redis.call('ZREM', M .. 'gone', own.i .. ' ' .. session)
  for _, i in ipairs(member.sources) do
    local b = box_by(i)
    b.members = b.members - 1
    b.listening = b.listening - member.listening
    if b ~= own then redis.call('HDEL', M .. 'g:' .. i, own.i .. ' ' .. session) end
  end
  each_target(own, member, function(topic, i)
    if redis.call('HINCRBY', M .. 'T:' .. topic, i, -1) == 0 then
      redis.call('HDEL', M .. 'T:' .. topic, i)
      redis.call('ZREM', M .. 't:' .. topic, i)
    end
  end)
end

local function add_job(job) redis.call('RPUSH', M .. 'jobs', cjson.encode(job)) end

-- Up to and with the newest letter there is.
local function newest() return int(counter('seq', 0)) end

-- Drops what nobody will take: the mailbox of a group without members, or one that keeps nothing while nobody listens.
local function drop_unwanted(sources, tag)
  for _, i in ipairs(sources) do
    local b = box_by(i)
    if b.waiting > 0 then
      local reason
      if b.settings == 'none' and b.listening == 0 then
        reason = 'no-receiver'
      elseif b.group ~= nil and b.members == 0 then
        reason = 'left'
      end
      if reason ~= nil then add_job({ kind = 'drop', tag = tag, i = i, reason = reason, upto = newest() }) end
    end
  end
end
`;
