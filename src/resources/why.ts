import { nodeName } from '../core/run-node.ts';
import type { Requirement } from '../core/waits.ts';

/** One link of the answer to "why does it wait": what it waits for and who has it. */
export interface WaitLink {
  readonly kind: 'lock' | 'slot' | 'child' | 'reply';
  /** Resource, agent, task or address. */
  readonly subject: string;
  /** Who stands in the way. */
  readonly holder?: string;
  /** It has nothing yet: it waits for the same, in front. */
  readonly ahead?: true;
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
    const blocker = blockerOf(need);
    const holder: string | undefined = blocker?.node;
    const ahead =
      holder !== undefined &&
      KINDS[need.by] === 'lock' &&
      (blocker?.inherits === true || view.requirements(holder).some(({ what }) => what === need.what));
    const agent = holder === undefined ? undefined : view.agent(holder);
    const name = holder === undefined ? undefined : nodeName(holder);
    chain.push({
      kind: KINDS[need.by],
      subject: need.what,
      ...(name === undefined ? {} : { holder: name }),
      ...(ahead ? { ahead } : {}),
      ...(agent === undefined || agent === name ? {} : { agent }),
      ...(chain.length === 0 ? { sinceMs } : {}),
      ...(need.by === KINDS[need.by] ? {} : { detail: need.by }),
    });
    node = holder;
  }
  return chain;
}

/** Who has it rather than who waits in front: among the blockers of a lock holders come last. */
function blockerOf({ by, blockers }: Requirement): Requirement['blockers'][number] | undefined {
  return by === 'lock' ? blockers.at(-1) : blockers[0];
}
