import { checkFunction, checkId, checkMs, invalid } from '../core/check.ts';
import type { Lease } from '../core/lock-types.ts';
import { checkOptions } from '../core/options.ts';
import { slices } from '../core/slices.ts';
import { type FailureReport, runGuarded } from './callback-failures.ts';
import type { LockClient } from './lock-client.ts';
import type { LockRecord } from './lock-record.ts';

export interface ForceOptions {
  readonly graceMs?: number;
  readonly reason?: string;
}

export interface MoveOptions extends ForceOptions {
  /** Called once it is certain: the agent is the next to have it, and its holders have been told. */
  readonly begun?: () => void;
}

/** Takes locks back from whoever holds them, with time to stop in good order. */
export class LockForce {
  readonly #client: LockClient;
  readonly #graceMs: number;
  readonly #failed: FailureReport;
  readonly #most: number;

  /** @param graceMs ms a revoked lock may go on for, when nothing else is said; @param most grants of one call. @default all */
  constructor(client: LockClient, graceMs: number, failed: FailureReport, most = Number.POSITIVE_INFINITY) {
    this.#most = most;
    this.#failed = failed;
    this.#client = client;
    this.#graceMs = graceMs;
  }

  /** See `ResourceManager.forceRelease`. */
  async release(resource: string, options: ForceOptions): Promise<number> {
    checkId(resource, 'resource');
    return this.#revoke(resource, this.#check(options, 'by force'), undefined);
  }

  /** See `ResourceManager.moveLock`. @param acquire asks for it in the name of the agent, before everybody, for so long */
  async move(
    resource: string,
    toAgent: string,
    options: MoveOptions,
    acquire: (graceMs: number, signal: AbortSignal) => Promise<Lease>,
  ): Promise<Lease> {
    checkId(resource, 'resource');
    checkId(toAgent, 'toAgent');
    const { begun, ...rest } = checkOptions('moveLock', options, ['begun', 'graceMs', 'reason']);
    const force = this.#check(rest, `it was given to ${toAgent}`);
    if (begun !== undefined) checkFunction(begun, 'begun');
    const { items } = await this.#client.store.list({ resource }, { limit: 1 });
    if (items[0]?.holders.some(({ mode }) => typeof mode === 'object') === true) {
      throw invalid(
        `${resource} is a semaphore: it has no one holder to move it from`,
        'Take it back with `forceRelease`, and acquire units as anybody else.',
      );
    }
    const before = this.#client.owners.books.get(toAgent)?.find(resource);
    const giveUp = new AbortController();
    const next = acquire(force.graceMs, giveUp.signal);
    let isRefused = false;
    next.catch(() => {
      isRefused = true;
    });
    // A refusal that needs no reply is known by now.
    await Promise.resolve();
    if (isRefused) return next;
    try {
      await this.#revoke(resource, force, toAgent);
    } catch (error) {
      // Nobody would have the lease: what was asked for is not to be granted later, nor kept if it was.
      giveUp.abort(error);
      await next.then(
        (lease) => (before === undefined ? lease.release() : undefined),
        () => undefined,
      );
      throw error;
    }
    if (begun !== undefined && !isRefused) runGuarded('`begun` of a moved lock', this.#failed, begun);
    return next;
  }

  /** Takes locks of this process back, with the usual grace. Returns how many holders were told. */
  async revokeGrants(locks: readonly LockRecord[], reason: string): Promise<number> {
    return this.#send(
      locks.map(({ ref }) => ref),
      { graceMs: this.#graceMs, reason },
    );
  }

  #check(options: ForceOptions, why: string): Required<ForceOptions> {
    const given = checkOptions('force', options, ['graceMs', 'reason']);
    const { graceMs = this.#graceMs, reason = why } = given;
    return { graceMs: checkMs(graceMs, 'graceMs'), reason: checkId(reason, 'reason') };
  }

  async #revoke(
    resource: string,
    force: Required<ForceOptions>,
    except: string | undefined,
  ): Promise<number> {
    const page = await this.#client.store.list({ resource }, { limit: 1 });
    const holders = (page.items[0]?.holders ?? []).filter(
      ({ owner }) => except === undefined || (owner.agent ?? owner.id) !== except,
    );
    return this.#send(
      holders.map(({ grant }) => grant),
      force,
    );
  }

  async #send(grants: readonly LockRecord['ref'][], revoke: Required<ForceOptions>): Promise<number> {
    const { store, operations } = this.#client;
    let count = 0;
    for (const part of slices(grants, this.#most)) {
      const items = part.map(({ id, token }) => ({ id, token, revoke }));
      const { ended: told } = await operations.run((op) => store.release(op, items));
      count += told.filter(Boolean).length;
    }
    return count;
  }
}
