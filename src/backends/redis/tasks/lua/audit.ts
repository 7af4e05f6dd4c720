/*
 * t:log  stream, one entry a call: `a` the time (µs), `b` the transitions. Those are runs with \n between them; a run is a head and its tasks
 * with \29 between the two. The head has from, to, attempt, session, queue, reason and the first token, with \31 between; the tasks have \30
 * between them, each an id and, where it isn't one more than that before, \31 and its token. A new task has its seq for a token. An id that
 * begins with \28 and a character shares 35 less than that character's code with the one before it.
 * t:m field `log`: transitions ever written, `cut`: those no longer there.
 */

/** Defines `log(row, from, to, …)`; what it collects is written with the rest. */
export const AUDIT: string = String.raw`
local RUNS, RUN, LOGGED, NEW_ITEMS = {}, nil, 0, nil
local function log(row, from, to, reason, token, session)
  local run = RUN
  LOGGED = LOGGED + 1
  if run == nil or run.from ~= from or run.to ~= to or run.attempt ~= row.attempt or run.session ~= session or run.kind ~= row.kind or run.reason ~= reason then
    local head = from .. '\31' .. to .. '\31' .. int(row.attempt) .. '\31' .. (session or '') .. '\31' .. parts(row.kind).queue .. '\31' .. (reason or '')
    RUN = { head = head, from = from, to = to, attempt = row.attempt, session = session, kind = row.kind, reason = reason, first = token, next = token }
    RUNS[#RUNS + 1] = RUN
  end
  RUN[#RUN + 1] = token == RUN.next and row.id or (row.id .. '\31' .. int(token))
  RUN.next = token + 1
end
local function write_log(text, count)
  redis.call('XADD', T .. ':log', '*', 'a', int(now()), 'b', text)
  redis.call('HINCRBY', T .. ':m', 'log', count)
end
local function flush_log()
  if LOGGED == 0 then return end
  local texts = {}
  local only = #RUNS == 1 and RUNS[1]
  if NEW_ITEMS and only and only.from == 'n' and #only == NEW_ITEMS.count and only.next - only.first == #only then
    return write_log(only.head .. '\31' .. int(only.first) .. '\29' .. NEW_ITEMS.text, LOGGED)
  end
  for i, run in ipairs(RUNS) do texts[i] = run.head .. '\31' .. int(run.first) .. '\29' .. table.concat(run, '\30') end
  write_log(table.concat(texts, '\n'), LOGGED)
  RUNS, RUN, LOGGED = {}, nil, 0
end
`;
