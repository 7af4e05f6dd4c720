import { lockTwins } from '../support/locks/lock-twins-suite.ts';
import { redisEnvironment } from '../support/redis-environment.ts';

lockTwins('Redis', () => redisEnvironment());
