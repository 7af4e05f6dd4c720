import { describe, test } from 'vitest';
import type { Backend } from '../../src/core/ports/backend.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import type { SuiteOptions } from '../../src/testing/suites/suite.ts';
import { delayed, duplicating, hintless, replyCutting, retrying } from '../../src/testing/wrappers.ts';
import { POSTGRES, postgresEnvironment } from './postgres-environment.ts';

/** Runs a suite on PostgreSQL: as it is, and through every wrapper that answers badly. */
export function onPostgres(name: string, suite: (options: SuiteOptions) => void): void {
  const run = (wrap?: (backend: Backend) => Backend): void =>
    suite({ test, create: () => postgresEnvironment(wrap), expected: POSTGRES });

  describe('plain', () => {
    run();
  });

  describe('every call and answer travels for a random time', () => {
    let seed = 0;
    run((backend) => delayed(backend, { random: createRandom(`${name} ${seed++}`), maxMs: 5 }));
  });

  describe('the first reply of each method is cut', () => {
    run((backend) => retrying(replyCutting(backend)));
  });

  describe('every mutating call is carried out twice', () => {
    run(duplicating);
  });

  describe('hints are dropped', () => {
    run(hintless);
  });
}
