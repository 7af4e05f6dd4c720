import { LOCK_ASKING } from './locks-asking.ts';
import { LOCK_CALLS } from './locks-calls.ts';
import { LOCK_ENDING } from './locks-ending.ts';
import { LOCK_FENCES } from './locks-fences.ts';
import { LOCK_PICTURES } from './locks-pictures.ts';
import { LOCK_QUEUE } from './locks-queue.ts';
import { LOCK_SEIZING } from './locks-seizing.ts';
import { LOCK_TABLES } from './locks-tables.ts';

/** Everything of the locks: tables, how rows are taken, queues, requests, ends, pictures, fences. */
export const LOCKS_SCHEMA: string = [
  LOCK_TABLES,
  LOCK_SEIZING,
  LOCK_QUEUE,
  LOCK_ENDING,
  LOCK_ASKING,
  LOCK_CALLS,
  LOCK_PICTURES,
  LOCK_FENCES,
].join('\n');
