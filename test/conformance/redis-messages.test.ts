import { RedisMessageTransport } from '../../src/backends/redis/messages/redis-message-transport.ts';
import { messageSuite } from '../../src/testing/suites/messages.ts';
import { onRedis } from '../support/redis-suites.ts';

onRedis('messages', messageSuite, { ports: (store) => ({ messages: new RedisMessageTransport(store) }) });
