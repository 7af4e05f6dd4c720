import type { ResourceRequest } from '../core/lock-types.ts';
import type { RetryOptions } from './retry.ts';

/** What the scheduler keeps with a task in the store beside its body; JSON-safe. Absent keys mean the defaults of whoever runs it. */
export interface TaskSettings {
  readonly timeoutMs?: number;
  readonly retry?: Partial<Omit<RetryOptions, 'decide'>> | false;
  readonly locks?: readonly ResourceRequest[];
  readonly breaker?: string;
  readonly preemptible?: true;
  /** Pinned by `agents.only`: never stolen. */
  readonly only?: true;
  readonly prefer?: readonly string[];
  readonly exclude?: readonly string[];
  readonly maxLoadRatio?: number;
}

const NONE: TaskSettings = Object.freeze({});

/** The settings of a stored task; none are the shared empty object. */
export function settingsOf(body: { readonly settings?: unknown }): TaskSettings {
  return (body.settings as TaskSettings | undefined) ?? NONE;
}
