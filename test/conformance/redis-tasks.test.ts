import { taskSuite } from '../../src/testing/suites/tasks.ts';
import { onRedis } from '../support/redis-suites.ts';

onRedis('tasks', taskSuite);
