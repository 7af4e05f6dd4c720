import { checkArray, checkId, checkInteger, checkObject, invalid } from '../../core/check.ts';
import { CoordinationError, describe } from '../../core/errors.ts';
import { checkOptions } from '../../core/options.ts';
import { isReply, toFencedError, toPortError } from './redis-errors.ts';

/** What a write is made under: one resource with its token, or a whole lease (each of its resources with its own). */
export type Fence =
  | { readonly resource: string; readonly token: number }
  | { readonly tokens: ReadonlyMap<string, number> };

/** A command and its arguments; the first argument is a key. */
export type FencedCommand = readonly [
  command: string,
  key: string,
  ...args: readonly (string | number | Buffer)[],
];

/** What it needs of a client: an `ioredis` Redis or Cluster fits. */
export interface FencedClient {
  call(command: string, args: (string | number | Buffer)[]): Promise<unknown>;
}

export interface FencedOptions {
  /** Of the mesh whose tokens these are. @default 'agentmesh' */
  readonly prefix?: string;
  /** The mesh whose tokens these are. @default 'default' */
  readonly mesh?: string;
  /**
   * On a cluster everything that one script touches must be in one slot: the hash tag of the keys that are written, e.g. `orders` for keys with
   * `{orders}`. Whoever writes under a lock must name the same. @default the mesh
   */
  readonly hashTag?: string;
}

/** Carries out the commands, up to one that fails: answers then its place and what Redis says to it. */
const CARRY_OUT = /* lua */ `
local replies, at = { 'written' }, count + 2
while at <= #ARGV do
  local last = at + tonumber(ARGV[at])
  local reply = redis.pcall(unpack(ARGV, at + 1, last))
  if type(reply) == 'table' and reply.err then return { 'failed', #replies, reply.err } end
  replies[#replies + 1] = reply or false
  at = last + 1
end
`;

/**
 * KEYS: the registers, then a key of each command. ARGV: count of registers, their tokens, then for each command: count of its words, words.
 * Answers the replies, or the place and the newer token of a register.
 */
const WRITE = /* lua */ `
local count = tonumber(ARGV[1])
for i = 1, count do
  local newest = redis.call('GET', KEYS[i])
  if newest and tonumber(newest) > tonumber(ARGV[i + 1]) then return { 'stale', i, newest } end
end
for i = 1, count do redis.call('SET', KEYS[i], ARGV[i + 1]) end
${CARRY_OUT}
return replies
`;

/**
 * As above, but nothing is written when something was before: a register that ends with `!` stands for a write that was to happen once. It is
 * stored last, so that a command that fails leaves none.
 */
const ONCE = /* lua */ `
local count = tonumber(ARGV[1])
for i = 1, count do
  local newest = redis.call('GET', KEYS[i])
  if newest then
    local isDone = string.sub(newest, -1) == '!'
    if isDone then newest = string.sub(newest, 1, -2) end
    if tonumber(newest) > tonumber(ARGV[i + 1]) then return { 'stale', i, newest } end
    if isDone then return { 'done', i, newest } end
  end
end
${CARRY_OUT}
for i = 1, count do redis.call('SET', KEYS[i], ARGV[i + 1] .. '!') end
return { 'written' }
`;

/** Most words of all commands together: Lua takes no more at once. */
const MAX_WORDS = 4_000;
const NAME = /^[\w.:-]{1,64}$/;

/**
 * Guards writes to Redis itself: in one script, the register of the newest token of each resource is checked and raised, then the commands are
 * carried out. When a newer token has been seen, none of them is: so a holder that paused past its lease changes nothing any more, whatever it
 * believes. A register is one key a resource, kept without expiry. A command that fails (WRONGTYPE) ends the script where it is: those before it
 * stay done, because Redis takes nothing back, and those after it are not carried out.
 *
 * ```ts
 * await fenced(client, lease, [['SET', 'report', text], ['INCR', 'report:version']]);
 * ```
 * @param client an `ioredis` Redis or Cluster
 * @returns the replies of the commands, in order
 * @throws STALE_FENCE, BACKEND_UNAVAILABLE, INVALID_OPTION
 * @throws INVALID_ARGUMENT also when a command failed: with its place and what Redis says to it; repeating it doesn't help
 * @throws NOT_SUPPORTED when the user of the client may not send a command, or not to that key
 * @throws OUTCOME_UNKNOWN when the reply was lost: write again under the same token, with commands that may be repeated
 */
export async function fenced(
  client: FencedClient,
  fence: Fence,
  commands: readonly FencedCommand[],
  options: FencedOptions = {},
): Promise<unknown[]> {
  const places = placesOf(fence);
  const [outcome, ...answer] = await write(client, WRITE, places, commands, options);
  if (outcome === 'stale') throw staleFence(places, answer);
  return answer;
}

/**
 * Writes once over all tokens: for the effect of a task, of which an earlier attempt may have done it and died before it could say so. With an
 * older token than one seen it is refused, and once it is done nothing is written any more. The fence is one of its own, named after the
 * effect, and used for nothing else; its registers are kept without expiry.
 *
 * They are stored in the same script when all commands were carried out, so an effect that failed isn't taken for done. When one of several
 * commands fails, those before it stay done, and the repeat does all of them again: put first what may fail, or use one command.
 *
 * ```ts
 * await once(client, { resource: `mail of ${task.id}`, token }, [['RPUSH', 'outbox', mail]]);
 * ```
 * @returns whether it was done now; false: it had been done before
 * @throws as {@link fenced}; after OUTCOME_UNKNOWN it may be repeated as it is
 */
export async function once(
  client: FencedClient,
  fence: Fence,
  commands: readonly FencedCommand[],
  options: FencedOptions = {},
): Promise<boolean> {
  const places = placesOf(fence);
  const [outcome, ...answer] = await write(client, ONCE, places, commands, options);
  if (outcome === 'stale') throw staleFence(places, answer);
  return outcome === 'written';
}

async function write(
  client: FencedClient,
  script: string,
  places: readonly Place[],
  commands: readonly FencedCommand[],
  options: FencedOptions,
): Promise<readonly unknown[]> {
  const words = checkArray(commands, 'the commands').flatMap(wordsOf);
  if (words.length === 0) throw invalid('Expected at least one command');
  if (words.length > MAX_WORDS)
    throw invalid(`Expected commands of at most ${MAX_WORDS} words together, got ${words.length}`);
  const begin = registerOf(options);
  const keys = [...places.map(([resource]) => begin + resource), ...commands.map((command) => command[1])];
  const tokens = places.map(([, token]) => token);
  const answer = await send(client, [script, keys.length, ...keys, tokens.length, ...tokens, ...words]);
  if (answer[0] === 'failed') throw commandFailed(commands, Number(answer[1]), String(answer[2]));
  return answer;
}

function staleFence(places: readonly Place[], [at, newest]: readonly unknown[]): CoordinationError {
  const [resource, token] = places[Number(at) - 1] as Place;
  return new CoordinationError(
    'STALE_FENCE',
    `A write to ${resource} with token ${token} was refused: token ${String(newest)} was seen`,
    { hint: 'The lock was lost. Acquire it again and repeat the work with the new token.' },
  );
}

function commandFailed(commands: readonly FencedCommand[], place: number, reply: string): CoordinationError {
  const name = String(commands[place - 1]?.[0]);
  const command = commands.length === 1 ? name : `Command ${place} (${name})`;
  return toFencedError(reply, command, place === 1 ? undefined : BEFORE_IT);
}

const BEFORE_IT =
  'What stands before it was carried out and stays: put first what may fail, or use one command.';

type Place = readonly [resource: string, token: number];

function placesOf(fence: Fence): readonly Place[] {
  checkObject(fence, 'the fence');
  if ('tokens' in fence && !(fence.tokens instanceof Map))
    throw invalid(`Expected the tokens of the fence to be a Map, got ${describe(fence.tokens)}`);
  const places = 'tokens' in fence ? [...fence.tokens] : [[fence.resource, fence.token] as const];
  if (places.length === 0) throw invalid('Expected a fence with at least one resource');
  return places.map(([resource, token]) => [
    checkId(resource, 'resource'),
    checkInteger(token, 'token', 0, Number.MAX_SAFE_INTEGER),
  ]);
}

function wordsOf(command: unknown): (string | number | Buffer)[] {
  const words = checkArray(command, 'a command') as FencedCommand;
  if (words.length < 2) throw invalid('Expected a command with a key');
  for (const word of words) {
    if (typeof word !== 'string' && typeof word !== 'number' && !Buffer.isBuffer(word))
      throw invalid(`Expected the words of ${String(words[0])} to be strings, numbers or buffers`);
  }
  return [words.length, ...words];
}

/** What the key of a register begins with. */
function registerOf(options: FencedOptions): string {
  const given = checkOptions('fenced', options, ['prefix', 'mesh', 'hashTag']);
  const { prefix = 'agentmesh', mesh = 'default', hashTag = mesh } = given;
  for (const name of [prefix, mesh, hashTag]) {
    if (typeof name !== 'string' || !NAME.test(name))
      throw new CoordinationError(
        'INVALID_OPTION',
        'Expected `prefix`, `mesh` and `hashTag` to have 1 to 64 letters, digits and - _ . :',
      );
  }
  return `${prefix}:{${hashTag}}:f:${mesh}:`;
}

async function send(
  client: FencedClient,
  args: readonly (string | number | Buffer)[],
): Promise<readonly unknown[]> {
  try {
    return (await client.call('EVAL', [...args])) as readonly unknown[];
  } catch (error) {
    throw isReply(error) ? toFencedError(error.message) : toPortError(error, 'write');
  }
}
