import type { TaskState } from '../core/ports/tasks.ts';

/**
 * Figures that events can't tell, read when they are needed: a manager gives them. Each must be quick and synchronous. What is
 * missing is derived from the events since `start()`; when one fails, its last value stands.
 */
export interface MetricGauges {
  /** Tasks by queue and stored state. */
  queues?(): Iterable<QueueGauge>;
  /** Slots of all agents of this process, and how many run something. */
  agentSlots?(): { readonly running: number; readonly slots: number };
  /** Resources that are held, those that exist, and requests that wait. */
  locks?(): { readonly held: number; readonly known: number; readonly waiting: number };
  /** Undelivered messages. */
  mailboxes?(): { readonly messages: number };
}

export interface QueueGauge {
  readonly queue: string;
  readonly states: Readonly<Partial<Record<TaskState, number>>>;
  /** Absent when nothing is ready. */
  readonly oldestReadyAgeMs?: number | undefined;
}
