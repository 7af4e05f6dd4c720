import { AUDIT } from './audit.ts';
import { ENDS } from './ends.ts';
import { GRAPH } from './graph.ts';
import { HOLDERS } from './holders.ts';
import { KINDS } from './kinds.ts';
import { QUEUES, WAKE } from './queues.ts';
import { READY, SOURCES } from './ready.ts';
import { ROWS } from './rows.ts';

/** Everything a transition may need. A script that changes tasks ends with `flush()`. */
export const LIBRARY: string = [
  ROWS,
  KINDS,
  WAKE,
  QUEUES,
  AUDIT,
  SOURCES,
  READY,
  HOLDERS,
  ENDS,
  GRAPH,
  'FLUSHES = { flush_claims, flush_ends, flush_kinds, flush_queues, flush_log }',
].join('\n');
