import { setTimeout as sleep } from 'node:timers/promises';
import { CoordinationManager, DeadlockError, type Lease, type ResourceRequest } from '../../../src/index.ts';
import { now } from '../journal.ts';
import { codeOf } from '../work/parts.ts';
import { backendOf, type World } from '../world.ts';

export interface Party {
  readonly world: World;
  readonly leaseMs: number;
}

/** What a member of a case is told to do. `id` comes back in the answer. */
export type PartyCall = { readonly id: number; readonly owner: string } & (
  | { readonly do: 'acquire'; readonly what: ResourceRequest }
  | { readonly do: 'upgrade'; readonly resource: string }
  | { readonly do: 'release' }
);

/** `queued`: it has begun to wait. Times on the clock of the machine. */
export type PartyWord =
  | { readonly word: 'ready' }
  | { readonly word: 'queued'; readonly owner: string }
  | {
      readonly word: 'done';
      readonly id: number;
      readonly askedAt: number;
      readonly at: number;
      readonly code?: string;
      /** Who was in the cycle, as the victim was told. */
      readonly cycle?: readonly string[];
    };

const WAIT_MS = 12_000;

const { world, leaseMs } = JSON.parse(process.argv[2] ?? '') as Party;
const say = (word: PartyWord): void => void process.send?.(word);
process.on('disconnect', () => process.exit(0));
const mesh = await start();
mesh.events.on('resource:waited', ({ agentId }) => say({ word: 'queued', owner: agentId }));
const held = new Map<string, Lease[]>();
process.on('message', (call: PartyCall) => void obey(call));
say({ word: 'ready' });

async function start(): Promise<CoordinationManager> {
  for (;;) {
    try {
      return await CoordinationManager.start({
        backend: backendOf(world, world.url),
        session: { leaseMs },
        metrics: false,
      });
    } catch {
      await sleep(200);
    }
  }
}

async function obey(call: PartyCall): Promise<void> {
  const askedAt = now();
  const { id } = call;
  try {
    await carryOut(call);
    say({ word: 'done', id, askedAt, at: now() });
  } catch (error) {
    const cycle = error instanceof DeadlockError ? { cycle: error.cycle.map(({ waiter }) => waiter) } : {};
    say({ word: 'done', id, askedAt, at: now(), code: codeOf(error), ...cycle });
  }
}

async function carryOut(call: PartyCall): Promise<void> {
  const { owner } = call;
  const leases = held.get(owner) ?? [];
  held.set(owner, leases);
  if (call.do === 'acquire') {
    leases.push(await mesh.acquire(call.what, { owner, agent: owner, timeoutMs: WAIT_MS }));
  } else if (call.do === 'upgrade') {
    const lease = leases.find(({ resources }) => resources.includes(call.resource));
    await lease?.upgrade({ timeoutMs: WAIT_MS });
  } else {
    held.delete(owner);
    for (const lease of leases) await lease.release();
  }
}
