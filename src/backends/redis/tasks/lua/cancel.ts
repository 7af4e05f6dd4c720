import { LIBRARY } from './library.ts';

/**
 * ARGV: session, sequence, requests, then four for each: id, reason, tree, revoke. The results are a letter (c cancelled, r requested, e ended, u unknown),
 * the state and how many it affected; the tasks that were asked come as one more part.
 */
export const CANCEL: string = String.raw`
local stored = begin(ARGV[1], ARGV[2])
if stored then return stored end
${LIBRARY}
local n, ids, rows, results = tonumber(ARGV[3]), {}, {}, {}
for i = 1, n do ids[i] = ARGV[4 * i] end
fetch(ids)
for i = 1, n do
  local row = get(ids[i])
  if row then rows[#rows + 1] = row end
end
find_holders(rows)
for i = 1, n do
  local row, reason, revokes = get(ids[i]), ARGV[4 * i + 1], ARGV[4 * i + 3] == '1'
  if not row then
    results[i] = 'u'
  else
    local before, status = EFF.affected, 'e'
    if not is_ended(row) then
      if cancel_row(row, reason, revokes) then
        status = 'c'
        eff_ended(row, reason)
      else
        status = 'r'
        eff_requested(row, reason)
      end
    end
    if ARGV[4 * i + 2] == '1' then cancel_tree(ids[i], reason, revokes) end
    drain()
    results[i] = status .. (row.held and 'c' or row.st) .. int(EFF.affected - before)
  end
end
local answer = consequences(table.concat(results, '\30')) .. '\29' .. table.concat(EFF.requested, '\30')
flush()
return finish(ARGV[1], ARGV[2], answer)
`;
