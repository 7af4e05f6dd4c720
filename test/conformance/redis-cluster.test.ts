import { afterAll, beforeAll, describe, test } from 'vitest';
import { lockSuite } from '../../src/testing/suites/locks.ts';
import { messageSuite } from '../../src/testing/suites/messages.ts';
import { sessionSuite } from '../../src/testing/suites/sessions.ts';
import { stateSuite } from '../../src/testing/suites/state.ts';
import { taskSuite } from '../../src/testing/suites/tasks.ts';
import type { SuiteEnvironment, SuiteOptions } from '../../src/testing/suites/suite.ts';
import { leaveRedis, REDIS, redisEnvironment, type RedisPlace } from '../support/redis-environment.ts';
import { type RedisCluster, startRedisCluster } from '../support/servers/redis-cluster.ts';

const SUITES: Readonly<Record<string, (options: SuiteOptions) => void>> = {
  sessions: sessionSuite,
  tasks: taskSuite,
  locks: lockSuite,
  messages: messageSuite,
  state: stateSuite,
};

let cluster: RedisCluster;
let place: RedisPlace;

beforeAll(async () => {
  cluster = await startRedisCluster();
  place = { cluster: { nodes: cluster.nodes } };
}, 60_000);

afterAll(async () => {
  leaveRedis(place);
  await cluster.stop();
});

const create = (): Promise<SuiteEnvironment> => redisEnvironment((backend) => backend, { place });

describe('on a cluster of three nodes, each mesh has all its keys in one slot', () => {
  for (const suite of Object.values(SUITES)) suite({ test, create, expected: REDIS });
});
