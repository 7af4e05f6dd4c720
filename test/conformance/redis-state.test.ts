import { stateSuite } from '../../src/testing/suites/state.ts';
import { onRedis } from '../support/redis-suites.ts';

onRedis('state', stateSuite);
