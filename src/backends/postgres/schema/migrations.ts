import { BASE_SCHEMA } from './base.ts';
import { LOCKS_SCHEMA } from './locks.ts';
import { MESSAGES_SCHEMA } from './messages.ts';
import { SESSION_SCHEMA } from './sessions.ts';
import { STATE_SCHEMA } from './state.ts';
import { TASKS_SCHEMA } from './tasks.ts';

/**
 * One step of the schema, applied in one transaction. `expand` only adds, so older builds go on beside it. `contract` takes away what builds
 * below `oldestWriter` need, so it waits until none of them has a live session.
 */
export type Migration =
  | { readonly version: number; readonly kind: 'expand'; readonly sql: string }
  | {
      readonly version: number;
      readonly kind: 'contract';
      readonly oldestWriter: number;
      readonly sql: string;
    };

/** The level that this build writes: what it says when it opens a session. */
export const WRITER = 1;

/** All steps, oldest first, each one version above the one before. */
export const MIGRATIONS: readonly Migration[] = [
  {
    version: 1,
    kind: 'expand',
    sql: [BASE_SCHEMA, STATE_SCHEMA, LOCKS_SCHEMA, MESSAGES_SCHEMA, TASKS_SCHEMA, SESSION_SCHEMA].join('\n'),
  },
];
