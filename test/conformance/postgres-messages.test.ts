import { messageSuite } from '../../src/testing/suites/messages.ts';
import { onPostgres } from '../support/postgres-suites.ts';

onPostgres('messages', messageSuite);
