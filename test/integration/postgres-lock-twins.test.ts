import { lockTwins } from '../support/locks/lock-twins-suite.ts';
import { postgresEnvironment } from '../support/postgres-environment.ts';

lockTwins('PostgreSQL', () => postgresEnvironment());
