import type { Problem } from '../checks/evidence.ts';
import type { Case } from './cases.ts';

/** How a member's wait ended. */
export interface Ending {
  readonly owner: string;
  readonly askedAt: number;
  readonly at: number;
  readonly code?: string;
  readonly cycle?: readonly string[];
}

export interface Verdict {
  readonly isDeadlock: boolean;
  readonly missed: boolean;
  readonly falseVictims: number;
  /** From the wait that closed the cycle to the victim's error, ms. */
  readonly latencyMs?: number;
  readonly problems: readonly Problem[];
}

/** D1 no false victim, D2 no deadlock missed, D3 one victim for one cycle, D4 all others get what they wait for. */
export function judge({ name, isDeadlock, members }: Case, endings: readonly Ending[]): Verdict {
  const problems: Problem[] = [];
  const problem = (invariant: string, what: string): void =>
    void problems.push({ invariant, what, about: name });
  const victims = endings.filter(({ code }) => code === 'DEADLOCK');
  const missed = isDeadlock && victims.length === 0;
  const falseVictims = Math.max(0, victims.length - (isDeadlock ? 1 : 0));
  if (missed) problem('D2', 'nobody was told of the deadlock');
  if (falseVictims > 0)
    problem(isDeadlock ? 'D3' : 'D1', `victims: ${victims.map(({ owner }) => owner).join(', ')}`);
  const owners = new Set(members.map(({ owner }) => owner));
  for (const { owner, code, cycle } of endings) {
    if (code !== undefined && code !== 'DEADLOCK') problem('D4', `${owner} ended with ${code}`);
    const strangers = (cycle ?? []).filter((node) => !owners.has(node));
    if (strangers.length > 0) problem('D1', `its cycle names ${strangers.join(', ')}`);
  }
  const closedAt = Math.max(...endings.map(({ askedAt }) => askedAt));
  const [victim] = victims;
  const told = isDeadlock && victim !== undefined ? { latencyMs: victim.at - closedAt } : {};
  return { isDeadlock, missed, falseVictims, ...told, problems };
}
