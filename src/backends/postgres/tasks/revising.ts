import type { Revision } from '../../../core/ports/tasks.ts';
import { payloadDigest } from './payload-digest.ts';
import { textOf } from './text-lists.ts';

/** What, a number, a text and its digest, a delay and its spread, and whether attempts begin anew: a revision as the server takes it. */
export function revisionValues(revision: Revision): readonly unknown[] {
  switch (revision.set) {
    case 'priority':
      return ['priority', revision.priority, null, null, 0, 0, false];
    case 'age':
      return ['age', Math.min(revision.ageMs, MAX_MS), null, null, 0, 0, false];
    case 'delay':
      return ['delay', null, null, null, Math.min(revision.delayMs, MAX_MS), 0, false];
    case 'payload':
      return [
        'payload',
        null,
        textOf(revision.payload) ?? null,
        payloadDigest(revision.payload),
        0,
        0,
        false,
      ];
    case 'agent':
      return ['agent', null, revision.agent, null, 0, 0, false];
    case 'redrive': {
      const { delayMs, spreadMs, resetAttempts } = revision;
      return [
        'redrive',
        null,
        null,
        null,
        Math.min(delayMs, MAX_MS),
        Math.min(spreadMs, MAX_MS),
        resetAttempts,
      ];
    }
    case 'discard':
      return ['discard', null, null, null, 0, 0, false];
  }
}

const MAX_MS = 1e12;
