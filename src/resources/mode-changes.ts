import { checkSignal } from '../core/check.ts';
import { CoordinationError } from '../core/errors.ts';
import { checkOptions } from '../core/options.ts';
import type { Operations } from '../core/operations.ts';
import type { LockItem, LockStore } from '../core/ports/locks.ts';
import type { Awaitable } from '../core/ports/words.ts';
import { checkTimeout } from './acquire-options.ts';
import type { HeldLocks } from './held-locks.ts';
import { type AskOptions, LockRecord } from './lock-record.ts';
import type { LockReports } from './lock-reports.ts';
import { ModeChange } from './mode-change.ts';
import { lostError } from './lost-errors.ts';
import { downgraded, upgraded } from './resource-request.ts';

export interface UpgradeOptions {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface ModeChangesParts {
  readonly store: LockStore;
  readonly operations: Operations;
  readonly held: HeldLocks;
  readonly reports: LockReports;
  /** Longest wait of an upgrade that doesn't say. */
  readonly timeoutMs: number;
  /** Asks the store for a request. */
  readonly ask: (record: LockRecord, timeoutMs: number) => Awaitable<LockRecord | undefined>;
}

/**
 * Changes the modes of held locks. A change that a store across a network hasn't confirmed keeps the next one of the same lock waiting:
 * meanwhile nobody here knows which token the lock has.
 */
export class ModeChanges {
  readonly #parts: ModeChangesParts;

  constructor(parts: ModeChangesParts) {
    this.#parts = parts;
  }

  /** See `LockRecord.upgrade`. */
  async upgrade(lock: LockRecord, options: UpgradeOptions): Promise<void> {
    const { timeoutMs, signal } = checkUpgrade(options, this.#parts.timeoutMs);
    while (lock.change?.isOver === false) await settled(lock, lock.change);
    const items = upgraded(lock.plan.items);
    if (isSame(items, lock.plan.items)) return;
    if (signal?.aborted === true) throw signal.reason;
    const record = new LockRecord(lock.host, lock.holder, lock.resource).withOptions(
      upgradeOf(lock, items, signal),
    );
    const change = begin(lock, record);
    if (change !== undefined) record.change = change;
    try {
      await this.#parts.ask(record, timeoutMs);
      change?.end(true);
    } catch (error) {
      // What is under way is withdrawn when it is answered, and the change ends with the answer to that.
      if (!record.isUnderWay && !record.isWithdrawn) change?.end(true);
      throw error;
    }
  }

  /** See `LockRecord.downgrade`. */
  async downgrade(lock: LockRecord): Promise<void> {
    while (lock.change?.isOver === false) await settled(lock, lock.change);
    const before = lock.plan.items;
    const items = downgraded(before);
    if (isSame(items, before)) return;
    const change = begin(lock, undefined);
    this.#change(lock, items);
    try {
      const { store, operations } = this.#parts;
      const { ended } = await operations.run((op) =>
        store.release(op, [{ ...lock.ref, downgradeTo: 'shared' }]),
      );
      if (ended[0] === true) return;
    } catch (error) {
      // Nobody knows what became of it: it can be asked for again.
      if (lock.status === 'held') this.#change(lock, before);
      throw error;
    } finally {
      change?.end(false);
    }
    this.#parts.held.lost(lock, lostError(lock.names));
    lock.checkHeld();
  }

  /** Said before others hear that they may go on. */
  #change(lock: LockRecord, items: readonly LockItem[]): void {
    lock.changeModes(items, undefined);
    this.#parts.reports.converted(lock, undefined);
  }
}

function checkUpgrade(
  options: UpgradeOptions,
  longest: number,
): { readonly timeoutMs: number; readonly signal: AbortSignal | undefined } {
  const given = checkOptions('upgrade', options, ['timeoutMs', 'signal']);
  return { timeoutMs: checkTimeout(given.timeoutMs, longest), signal: checkSignal(given.signal, 'signal') };
}

/** A store in this process has done what it was asked for when it answers. */
function begin(lock: LockRecord, upgrade: LockRecord | undefined): ModeChange | undefined {
  if (lock.quick !== undefined) return undefined;
  lock.change = new ModeChange(upgrade, lock.change);
  return lock.change;
}

/** Resolves when a change is over. @throws UPGRADE_CONFLICT when it waits for others; LEASE_LOST */
async function settled(lock: LockRecord, change: ModeChange): Promise<void> {
  if (change.upgrade?.status === 'waiting') {
    throw new CoordinationError(
      'UPGRADE_CONFLICT',
      `An upgrade of ${lock.names.join(', ')} is under way already`,
      { hint: 'Await it, or end it by its `signal` first.' },
    );
  }
  await change.over;
  lock.checkHeld();
}

function upgradeOf(
  lock: LockRecord,
  items: readonly LockItem[],
  signal: AbortSignal | undefined,
): AskOptions {
  return {
    plan: { names: lock.names, items },
    signal,
    leaseMs: undefined,
    renew: true,
    reentrant: false,
    wait: true,
    legacy: false,
    upgradeOf: lock,
  };
}

function isSame(items: readonly LockItem[], known: readonly LockItem[]): boolean {
  return items.every((item, i) => item.mode === known[i]?.mode);
}
