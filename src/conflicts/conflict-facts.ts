import { checkId, checkNumber, checkObject, invalid } from '../core/check.ts';
import { CoordinationError, describe } from '../core/errors.ts';

/** What is known about a conflict. Strategies decide from this alone; agents that aren't in the conflict are left out. */
export interface ConflictFacts {
  /** Larger is more urgent. An agent that is missing counts 0 in `resolveConflict`; `autoResolve` escalates. */
  readonly agentPriorities?: ReadonlyMap<string, number> | undefined;
  /** When each agent asked: a Date, or ms on any one axis. */
  readonly requestTimestamps?: ReadonlyMap<string, Date | number> | undefined;
  /** Who voted for each agent. */
  readonly votes?: ReadonlyMap<string, readonly string[]> | undefined;
  /** The version that each agent's change was made from. */
  readonly versions?: ReadonlyMap<string, number> | undefined;
  /** The version that the subject has now. */
  readonly currentVersion?: number | undefined;
  /** The text that all started from, and what each agent made of it. */
  readonly contents?: { readonly base: string; readonly theirs: ReadonlyMap<string, string> } | undefined;
  /** Anything that a strategy of your own needs. */
  readonly custom?: unknown;
}

/** A checked copy without agents that aren't in the conflict. @throws INVALID_ARGUMENT */
export function checkFacts(facts: unknown, agents: readonly string[]): ConflictFacts {
  try {
    return readFacts(checkObject(facts, 'the facts'), agents);
  } catch (error) {
    if (error instanceof CoordinationError) throw error;
    throw new CoordinationError('INVALID_ARGUMENT', "The facts can't be read: a getter or proxy threw", {
      cause: error,
    });
  }
}

function readFacts(facts: ConflictFacts, agents: readonly string[]): ConflictFacts {
  const { agentPriorities, requestTimestamps, votes, versions, currentVersion, contents, custom } = facts;
  const read = <V>(map: ReadonlyMap<string, V> | undefined, what: string, check: (value: V) => V) =>
    map === undefined ? undefined : readMap(map, agents, what, check);
  return dropUndefined({
    agentPriorities: read(agentPriorities, 'agentPriorities', (value) => checkFinite(value, 'a priority')),
    requestTimestamps: read(requestTimestamps, 'requestTimestamps', checkTime),
    votes: read(votes, 'votes', checkVoters),
    versions: read(versions, 'versions', (value) => checkFinite(value, 'a version')),
    currentVersion: currentVersion === undefined ? undefined : checkFinite(currentVersion, 'currentVersion'),
    contents: contents === undefined ? undefined : readContents(contents, agents),
    custom,
  });
}

/**
 * The facts that the mesh knows and those that were given, which win. Priorities join, agent by agent; of everything else what was given
 * stands alone, because times may be of another axis and texts of another base.
 */
export function addFacts(known: ConflictFacts, given: ConflictFacts): ConflictFacts {
  if (known.agentPriorities === undefined || given.agentPriorities === undefined)
    return { ...known, ...given };
  const agentPriorities = new Map([...known.agentPriorities, ...given.agentPriorities]);
  return { ...known, ...given, agentPriorities };
}

/** So that facts can be spread over others without hiding them. */
function dropUndefined(facts: ConflictFacts): ConflictFacts {
  return Object.fromEntries(Object.entries(facts).filter(([, value]) => value !== undefined));
}

function readMap<V>(
  map: ReadonlyMap<string, V>,
  agents: readonly string[],
  what: string,
  check: (value: V) => V,
): ReadonlyMap<string, V> {
  if (!(map instanceof Map)) throw invalid(`Expected ${what} to be a Map by agent id, got ${describe(map)}`);
  const kept = new Map<string, V>();
  for (const agent of agents) {
    const value = map.get(agent) as V | undefined;
    if (value !== undefined) kept.set(agent, check(value));
  }
  return kept;
}

function checkFinite(value: number, what: string): number {
  return checkNumber(value, what, -Number.MAX_VALUE, Number.MAX_VALUE);
}

function checkTime(value: Date | number): Date | number {
  checkFinite(timeOf(value), 'a time');
  return value;
}

function checkVoters(voters: readonly string[]): readonly string[] {
  if (!Array.isArray(voters)) throw invalid(`Expected votes to be arrays of voters, got ${describe(voters)}`);
  return voters.map((voter: unknown) => checkId(voter, 'the id of a voter'));
}

function readContents(
  contents: NonNullable<ConflictFacts['contents']>,
  agents: readonly string[],
): NonNullable<ConflictFacts['contents']> {
  const { base, theirs } = checkObject(contents, 'contents') as typeof contents;
  const text = (value: string): string => {
    if (typeof value !== 'string') throw invalid(`Expected a text in contents, got ${describe(value)}`);
    return value;
  };
  return { base: text(base), theirs: readMap(theirs, agents, 'contents.theirs', text) };
}

/** ms. */
export function timeOf(at: Date | number): number {
  return at instanceof Date ? at.getTime() : at;
}
