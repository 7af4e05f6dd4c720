import { CoordinationError, describe } from './core/errors.ts';

/** Settings from the environment: below options that are given, above defaults (twelve-factor). */
export interface Environment {
  /** AGENTMESH_CONCURRENCY: slots of an agent that doesn't say. */
  readonly agentSlots: number | undefined;
  /** AGENTMESH_HEALTH_PORT: port of the health endpoint on loopback; 0 picks a free one. */
  readonly healthPort: number | undefined;
}

/** @throws INVALID_OPTION naming the variable */
export function readEnvironment(env: Readonly<Record<string, string | undefined>>): Environment {
  return {
    agentSlots: integer(env, 'AGENTMESH_CONCURRENCY', 1, 1_000_000),
    healthPort: integer(env, 'AGENTMESH_HEALTH_PORT', 0, 65_535),
  };
}

function integer(
  env: Readonly<Record<string, string | undefined>>,
  name: string,
  min: number,
  max: number,
): number | undefined {
  const text: unknown = env[name];
  if (text === undefined || text === '') return undefined;
  const value = typeof text === 'string' ? Number(text) : Number.NaN;
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new CoordinationError(
    'INVALID_OPTION',
    `Expected ${name} to be an integer from ${min} to ${max}, got ${describe(text)}`,
  );
}
