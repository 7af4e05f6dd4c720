import { setTimeout as sleep } from 'node:timers/promises';
import type { EventBus, Lease, ResourceRequest } from '../../../src/index.ts';
import { type HeldMode, now } from '../journal.ts';
import { below, codeOf, type WorkParts } from './parts.ts';

/** Longest wait for a lock: longer than anything that happens here takes, ms. */
const WAIT_MS = 15_000;

interface Wish {
  readonly what: ResourceRequest;
  readonly resource: string;
  readonly mode: HeldMode;
  readonly upgrades: boolean;
}

/** Notes when the store has queued a wait. */
export function notingWaits(events: EventBus, { journal, p }: Pick<WorkParts, 'journal' | 'p'>): void {
  events.on('resource:waited', ({ agentId }) => {
    const [process, n] = agentId.split('#');
    if (process === p) journal.note({ e: 'queued', n: Number(n) });
  });
}

/** Takes locks, writes under them, and gives them back. */
export function locking({ mesh, ledger, journal, random, p, next }: WorkParts): () => Promise<void> {
  return async () => {
    await sleep(below(random, 60));
    const wish = pick();
    const n = next();
    const owner = `${p}#${n}`;
    journal.note({ e: 'ask', n, resource: wish.resource, mode: wish.mode });
    // Some have a lease of their own, the others live with the session.
    const own = random.next() < 0.3 ? { leaseMs: 1_000 } : {};
    let lease: Lease;
    try {
      lease = await mesh.acquire(wish.what, { owner, agent: owner, timeoutMs: WAIT_MS, ...own });
    } catch (error) {
      journal.note({ e: 'denied', n, code: codeOf(error) });
      return;
    }
    journal.note({ e: 'got', n, token: lease.token });
    await use(lease, wish, n);
  };

  function pick(): Wish {
    const dice = random.next();
    if (dice < 0.55) {
      const resource = `only-${below(random, 3)}`;
      return { what: resource, resource, mode: 'exclusive', upgrades: false };
    }
    if (dice < 0.7) return shared('shelf', random.next() < 0.3 ? 'exclusive' : 'shared', false);
    if (dice < 0.85) return shared('draft', 'shared', random.next() < 0.5);
    const units = 1 + below(random, 2);
    return {
      what: { semaphore: 'seats', of: 3, units },
      resource: 'seats',
      mode: { units, of: 3 },
      upgrades: false,
    };
  }

  function shared(resource: string, mode: 'exclusive' | 'shared', upgrades: boolean): Wish {
    return { what: { resource, mode }, resource, mode, upgrades };
  }

  async function use(lease: Lease, { resource, mode, upgrades }: Wish, n: number): Promise<void> {
    if (!hold(lease, n)) journal.note({ e: 'lost', n, token: lease.token });
    await sleep(10 + below(random, 50));
    const isAlone = upgrades ? await upgraded(lease, n) : mode === 'exclusive';
    // Written whatever the signal says: this is the writer that fencing is for.
    if (isAlone) await write(resource, lease.token, n);
    await sleep(10 + below(random, 70));
    hold(lease, n);
    if (isAlone) await write(resource, lease.token, n);
    hold(lease, n);
    journal.note({ e: 'give', n });
    try {
      await lease.release();
      journal.note({ e: 'gave', n });
    } catch (error) {
      journal.note({ e: 'gave', n, code: codeOf(error) });
    }
  }

  /** Notes that the library calls it held, as of a moment before it was asked. */
  function hold(lease: Lease, n: number): boolean {
    const t = now();
    const isHeld = !lease.signal.aborted && lease.expiresInMs > 0;
    if (isHeld) journal.note({ e: 'hold', n, token: lease.token }, t);
    return isHeld;
  }

  async function upgraded(lease: Lease, n: number): Promise<boolean> {
    journal.note({ e: 'upgrade', n });
    try {
      await lease.upgrade({ timeoutMs: WAIT_MS });
      journal.note({ e: 'upgraded', n, token: lease.token });
      return true;
    } catch (error) {
      journal.note({ e: 'kept', n, code: codeOf(error) });
      return false;
    }
  }

  async function write(resource: string, token: number, n: number): Promise<void> {
    journal.note({ e: 'write', n, resource, token });
    try {
      await ledger.write(resource, token, p);
      journal.note({ e: 'wrote', n });
    } catch (error) {
      journal.note({ e: 'wrote', n, code: codeOf(error) });
    }
  }
}
