/**
 * The stored states of a task. The last four are terminal; conservation (T9): enqueued = Σ states + pruned. The words people see derive from
 * these: pending = waiting or scheduled, assigned = claimed and not started, running = claimed and started, retrying = scheduled
 * after an attempt.
 */
export const TASK_STATES = [
  'waiting',
  'scheduled',
  'ready',
  'claimed',
  'completed',
  'dead',
  'cancelled',
  'skipped',
] as const;
