import { BOXES } from './boxes.ts';
import { DEAD, FLIGHTS, RETURNS } from './flights.ts';
import { CHORES, JOBS, PARTS } from './jobs.ts';
import { DEPOSITS, LETTERS, REMOVALS } from './letters.ts';
import { MEMBER, MEMBERS } from './members.ts';

/** What scripts of messages are made of, each after what it needs. */
const MODULES = {
  letters: LETTERS,
  deposits: DEPOSITS,
  removals: REMOVALS,
  flights: FLIGHTS,
  returns: RETURNS,
  dead: DEAD,
  member: MEMBER,
  members: MEMBERS,
  parts: PARTS,
  jobs: JOBS,
  chores: CHORES,
} as const;

type Module = keyof typeof MODULES;

/** What the modules that a script rarely needs are asked for. */
const RARE = /* lua */ `
  RARE = {
    deposit_full = deposit_full, reclaim = reclaim, bury = bury, add_job = add_job, copy = copy, run_jobs = run_jobs, tidy = tidy,
    read_part = read_part, write_part = write_part, end_part = end_part, tell_part = tell_part,
  }
`;

/**
 * What a script begins with. The functions of the modules that are named are there; the others are made by `rare()` when they are needed: Lua makes
 * every function anew for every call of a script, which took 35 µs for all of them.
 */
export function library(...often: readonly Module[]): string {
  const names = Object.keys(MODULES) as Module[];
  const textOf = (wanted: boolean): string =>
    names
      .filter((name) => often.includes(name) === wanted)
      .map((name) => MODULES[name])
      .join('');
  return /* lua */ `${BOXES}
local RARE, rare = nil, nil
${textOf(true)}
function rare()
  if RARE ~= nil then return RARE end
${textOf(false)}${RARE}
  return RARE
end
local function tidy_when_due()
  if redis.call('ZRANGE', M .. 'x', '-inf', AT_TEXT, 'BYSCORE', 'LIMIT', 0, 1)[1] then rare().tidy() end
end
`;
}

/** All of it at once, for scripts that are called rarely. */
export const WHOLE: string = library(...(Object.keys(MODULES) as Module[]));
