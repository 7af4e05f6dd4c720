import type { DurableQuestion } from '../harness/question.ts';
import { backlog } from './backlog.ts';
import { bytes } from './bytes.ts';
import { enqueue } from './enqueue.ts';
import { features } from './features.ts';
import { idleLatency } from './idle-latency.ts';
import { lookup } from './lookup.ts';
import { oldSnapshot } from './old-snapshot.ts';
import { processC1, processC10, processC100 } from './process.ts';
import { workers } from './workers.ts';

export const questions: readonly DurableQuestion[] = [
  enqueue,
  processC1,
  processC10,
  processC100,
  idleLatency,
  workers,
  backlog,
  oldSnapshot,
  bytes,
  features,
  lookup,
];
