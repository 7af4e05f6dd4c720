import type { Requirement } from '../core/waits.ts';

/** One link of the answer to "why does it wait": what it waits for and who has it. */
export interface WaitLink {
  readonly kind: 'lock' | 'slot' | 'child' | 'reply';
  /** Resource, agent, task or address. */
  readonly subject: string;
  /** Who stands in the way. */
  readonly holder?: string;
  /** Its agent, if that is another name. */
  readonly agent?: string;
  /** Present for the wait that was asked about. */
  readonly sinceMs?: number;
  /** The finer word: `semaphore`, or `declared` for a wait outside the library. */
  readonly detail?: string;
}

const KINDS: Readonly<Record<Requirement['by'], WaitLink['kind']>> = {
  lock: 'lock',
  semaphore: 'lock',
  slot: 'slot',
  child: 'child',
  reply: 'reply',
  declared: 'reply',
};

const MAX_LINKS = 32;

/** Why somebody waits, the nearest reason first: follows the first blocker of each wait until somebody is at work, or the chain closes. */
export function whyWaiting(
  owner: string,
  sinceMs: number,
  view: {
    requirements(node: string): readonly Requirement[];
    agent(node: string): string | undefined;
  },
): readonly WaitLink[] {
  const chain: WaitLink[] = [];
  const seen = new Set<string>();
  let node: string | undefined = owner;
  while (node !== undefined && !seen.has(node) && chain.length < MAX_LINKS) {
    seen.add(node);
    const [need] = view.requirements(node);
    if (need === undefined) break;
    const holder: string | undefined = need.blockers[0]?.node;
    const agent = holder === undefined ? undefined : view.agent(holder);
    chain.push({
      kind: KINDS[need.by],
      subject: need.what,
      ...(holder === undefined ? {} : { holder }),
      ...(agent === undefined || agent === holder ? {} : { agent }),
      ...(chain.length === 0 ? { sinceMs } : {}),
      ...(need.by === KINDS[need.by] ? {} : { detail: need.by }),
    });
    node = holder;
  }
  return chain;
}
