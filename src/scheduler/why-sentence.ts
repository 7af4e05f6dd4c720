import type { WaitLink } from './types.ts';

/** A chain of reasons in one plain sentence. */
export function sentenceOf(id: string, chain: readonly WaitLink[]): string {
  if (chain.length === 0) return `${id} has no reason to wait`;
  return `${id} ${chain.map(clause).join(', which ')}`;
}

function clause(link: WaitLink): string {
  const { kind, subject, holder, detail } = link;
  const tail = detail === undefined ? '' : ` (${detail})`;
  switch (kind) {
    case 'dependency':
      return `waits for task ${subject}${tail}`;
    case 'child':
      return `waits for its child ${subject}${tail}`;
    case 'delay':
      return `is due in ${Math.round(link.expectedInMs ?? 0)} ms${tail}`;
    case 'lock':
      return `waits for lock ${subject}${by(link.ahead === true ? 'behind' : 'held by', holder)}${tail}`;
    case 'survivor':
      return `waits until ${subject}, with which it was deadlocked, has finished${tail}`;
    case 'declared':
      return `waits for ${subject}${by('of', holder)}${tail}`;
    case 'reply':
      return `waits for a reply of ${subject}${tail}`;
    case 'slot':
      return `waits for a slot of ${subject}${by('taken by', holder)}${tail}`;
    case 'limit':
      return `waits for the limit ${subject}${tail}`;
    case 'breaker':
      return `waits for breaker ${subject}${tail}`;
    case 'paused':
      return `waits because queue ${subject} is paused${tail}`;
    case 'no-capable-agent':
      return `waits because no agent may run it${tail}`;
    case 'strategy':
      return `waits because strategy ${subject} gives it to nobody now${tail}`;
    case 'assigned':
      return `is assigned to ${subject}${tail}`;
    case 'running':
      return `is running${by('on', holder)}${tail}`;
    case 'ended':
      return `has ended${tail}`;
  }
}

function by(word: string, name: string | undefined): string {
  return name === undefined ? '' : ` ${word} ${name}`;
}
