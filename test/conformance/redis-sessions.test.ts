import { sessionSuite } from '../../src/testing/suites/sessions.ts';
import { onRedis } from '../support/redis-suites.ts';

onRedis('sessions', sessionSuite);
