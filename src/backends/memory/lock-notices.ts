import type { LockAnswer, LockListener } from '../../core/ports/locks.ts';
import type { LockTicket } from './lock-entry.ts';
import { grantOf } from './lock-answer.ts';
import type { MemoryCore } from './memory-core.ts';
import { Ticket } from './lock-ticket.ts';

/** `undefined`: it was granted; a ticket: that one was upgraded by it. */
type Notice = LockAnswer | LockTicket | undefined;

/** Who is to be told what: collected while the table changes, told when it is consistent again. */
export class LockNotices {
  readonly #core: MemoryCore;
  /** In pairs. */
  #due: (LockTicket | Notice)[] = [];
  #telling = false;

  constructor(core: MemoryCore) {
    this.#core = core;
  }

  add(ticket: LockTicket, what: Notice): void {
    if (ticket.listener !== undefined) this.#due.push(ticket, what);
    else if (!this.#core.hints.idle)
      this.#core.hint({ about: 'locks', resource: ticket.entry.resource, request: ticket.id });
  }

  /** Tells listeners what happened. A call of theirs back into the table is told by the outermost one, in order. */
  tell(): void {
    if (this.#telling || this.#due.length === 0) return;
    this.#telling = true;
    while (this.#due.length > 0) {
      const due = this.#due;
      this.#due = [];
      for (let i = 0; i < due.length; i += 2) this.#tellOne(due[i] as LockTicket, due[i + 1]);
    }
    this.#telling = false;
  }

  /** The same for one grant and nothing else, unless somebody is being told something. */
  tellGranted(ticket: LockTicket): void {
    if (this.#telling || this.#due.length > 0 || ticket.listener === undefined) {
      this.add(ticket, undefined);
      return;
    }
    this.#telling = true;
    this.#tellOne(ticket, undefined);
    this.#telling = false;
    this.tell();
  }

  /** A listener's exception must keep no other from hearing; it still ends up where uncaught ones do. */
  #tellOne(ticket: LockTicket, what: Notice): void {
    const listener = ticket.listener as LockListener;
    try {
      if (what !== undefined && !(what instanceof Ticket)) listener.lockChanged(what);
      else if (ticket.inPlace) listener.lockGranted?.();
      else listener.lockChanged(grantOf(what ?? ticket, this.#core.clock.now(), ticket));
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }
}
