import type { GrantRef, Owner } from '../../core/ports/locks.ts';
import type { SessionNumber } from '../../core/ports/words.ts';
import { LockEntry, type LockHolder, type LockTicket, TicketIndex } from './lock-entry.ts';
import { Holder } from './lock-holder.ts';
import { Ticket } from './lock-ticket.ts';

/** Idle resources and owners are kept for the next use; when this many records exist, idle ones are dropped. */
const SWEEP_AT = 16_384;

/** The resources, owners and tickets that the lock table knows, by name. */
export class LockDirectory {
  readonly entries = new Map<string, LockEntry>();
  readonly holders = new Map<string, LockHolder>();
  readonly index = new TicketIndex();
  #entriesLimit = SWEEP_AT;
  #holdersLimit = SWEEP_AT;

  newEntry(resource: string): LockEntry {
    if (this.entries.size >= this.#entriesLimit) this.#entriesLimit = dropIdle(this.entries);
    const entry = new LockEntry(resource, this.index);
    this.entries.set(resource, entry);
    return entry;
  }

  /** Makes room for new resources of one request: none of them may be dropped as idle while the others are made. */
  makeRoom(count: number): void {
    if (this.entries.size + count > this.#entriesLimit) this.#entriesLimit = dropIdle(this.entries);
  }

  /** The record of an owner; made if there is none. @param upgrade a grant of it that is found by its id from now on */
  holderFor(owner: Owner, upgrade?: LockTicket): LockHolder {
    if (upgrade === undefined) return this.#holderOf(owner);
    if (upgrade.holder === undefined) {
      upgrade.holder = this.#holderOf(owner);
      upgrade.holder.add(upgrade);
    }
    return upgrade.holder;
  }

  #holderOf(owner: Owner): LockHolder {
    const known = this.holders.get(owner.id);
    if (known !== undefined) return known;
    if (this.holders.size >= this.#holdersLimit) this.#holdersLimit = dropIdle(this.holders);
    const holder: LockHolder = new Holder(owner);
    this.holders.set(owner.id, holder);
    return holder;
  }

  /** A grant that is current. */
  held(session: SessionNumber, ref: GrantRef): LockTicket | undefined {
    const ticket = ref instanceof Ticket ? (ref as LockTicket) : this.index.byId.get(ref.id);
    if (ticket?.state !== 'held' || ticket.token !== ref.token || ticket.session !== session)
      return undefined;
    return ticket;
  }

  /** All that hold or want something. */
  *tickets(): Iterable<LockTicket> {
    for (const entry of this.entries.values()) {
      for (let place = entry.holders; place !== undefined; place = place.next) {
        if (place.ticket === place) yield place;
      }
      for (let place = entry.head; place !== undefined; place = place.next) {
        if (place.ticket === place) yield place;
      }
    }
  }
}

/** Returns with how many records it is to be done again. */
function dropIdle(records: Map<string, { readonly idle: boolean }>): number {
  for (const [name, record] of records) if (record.idle) records.delete(name);
  return Math.max(SWEEP_AT, records.size * 2);
}
