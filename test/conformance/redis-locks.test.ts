import { lockSuite } from '../../src/testing/suites/locks.ts';
import { onRedis } from '../support/redis-suites.ts';

onRedis('locks', lockSuite);
