import { CoordinationError } from '../errors.ts';
import type { Clock, Ids, Logger, Random, Runtime } from '../ports/runtime.ts';
import { createClock } from './clock.ts';
import { guardedLogger } from './guarded-logger.ts';
import { createIds } from './ids.ts';
import { silentLogger } from './logger.ts';
import { createRandom } from './random.ts';

let shared: Clock | undefined;

/** The process's real clock: one wheel and one native timer for all managers. */
export function systemClock(): Clock {
  shared ??= createClock();
  return shared;
}

/** A runtime from the given parts; what is missing is real: system clock, a random seed, UUIDv7 ids, no logging. A logger may throw: nothing comes of it. */
export function createRuntime(
  parts: {
    readonly clock?: Clock | undefined;
    readonly random?: Random | undefined;
    readonly ids?: Ids | undefined;
    readonly logger?: Logger | undefined;
  } = {},
): Runtime {
  checkNode();
  const clock = parts.clock ?? systemClock();
  const random = parts.random ?? createRandom(Math.floor(Math.random() * 2 ** 52));
  const ids = parts.ids ?? createIds(clock, random.fork('ids'));
  const logger = parts.logger === undefined ? silentLogger : guardedLogger(parts.logger);
  return { clock, random, ids, logger };
}

/** Where packages are installed in spite of their `engines`, the first call would fail with a word that says nothing. */
function checkNode(): void {
  if (typeof Promise.withResolvers === 'function') return;
  throw new CoordinationError(
    'NOT_SUPPORTED',
    `agentmesh needs Node 22.12 or newer, this is ${process.version}`,
  );
}
