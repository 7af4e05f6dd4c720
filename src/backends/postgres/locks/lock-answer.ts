import { LOCK_WORDS, UNITS } from '../../../core/lock-modes.ts';
import type { CycleEdge, GrantRef, LockAnswer, LockMode } from '../../../core/ports/locks.ts';
import type { Token } from '../../../core/ports/words.ts';

interface HolderText {
  readonly owner: string;
  readonly agent: string | null;
  readonly task: string | null;
}

/** How a request stands, as the functions say it. */
export type AnswerText =
  | {
      readonly status: 'granted';
      readonly id: string;
      readonly token: Token;
      readonly tokens: readonly Token[];
      readonly expiresInMs: number;
      readonly revoked?: string | null;
    }
  | {
      readonly status: 'waiting';
      readonly id: string;
      readonly version: number;
      readonly ahead: number;
      readonly holders: readonly HolderText[] | null;
    }
  | { readonly status: 'refused'; readonly why: 'busy' | 'upgrade-conflict' | 'capacity' | 'owner-gone' }
  | {
      readonly status: 'refused';
      readonly why: 'reentrant';
      readonly resource: string;
      readonly held: GrantRef;
    }
  | { readonly status: 'aborted'; readonly cycle: string }
  | { readonly status: 'lost' };

export function answerOf(text: AnswerText): LockAnswer {
  switch (text.status) {
    case 'granted': {
      const { status, id, token, tokens, expiresInMs, revoked } = text;
      const grant = { status, id, token, tokens, expiresInMs };
      return typeof revoked === 'string' ? { ...grant, revoked } : grant;
    }
    case 'waiting': {
      const { status, id, version, ahead } = text;
      const holders = (text.holders ?? []).map(({ owner, agent, task }) => ({
        owner,
        ...labels(agent, task),
      }));
      return { status, wait: { id, version }, ahead, suspect: true, holders };
    }
    case 'aborted':
      return { status: 'aborted', cycle: JSON.parse(text.cycle) as readonly CycleEdge[] };
    default:
      return text;
  }
}

/** Agent and task, where there are any. */
export function labels(
  agent: string | null,
  task: string | null,
): { readonly agent?: string; readonly task?: string } {
  return { ...(agent === null ? {} : { agent }), ...(task === null ? {} : { task }) };
}

/** A mode as users write it. */
export function modeOf(mode: number, units: number, capacity: number): LockMode {
  return mode === UNITS ? { units, of: capacity } : (LOCK_WORDS[mode] as LockMode);
}
