import type { Order } from '../../../core/ports/sessions.ts';
import type { SessionNumber, Token } from '../../../core/ports/words.ts';
import type { MemoryCore } from '../memory-core.ts';
import type { TaskRow } from './row.ts';

type TaskOrder = Extract<Order, { kind: 'cancel' | 'taken' }>;

/** What sessions are told of their claims with each beat, by the token it is about, until they act on it. */
export class SessionOrders {
  readonly #core: MemoryCore;
  readonly #bySession = new Map<SessionNumber, Map<Token, TaskOrder>>();

  constructor(core: MemoryCore) {
    this.#core = core;
  }

  of(session: SessionNumber): readonly Order[] {
    const orders = this.#bySession.get(session);
    return orders === undefined ? [] : [...orders.values()];
  }

  /** The session shall stop this attempt. */
  askToCancel(session: SessionNumber, row: TaskRow, reason: string): void {
    this.#give(session, { kind: 'cancel', task: row.task.id, token: row.token as Token, reason });
  }

  /** The session has this claim no more. */
  tellTaken(session: SessionNumber, row: TaskRow): void {
    this.#give(session, { kind: 'taken', task: row.task.id, token: row.token as Token });
  }

  #give(session: SessionNumber, order: TaskOrder): void {
    let orders = this.#bySession.get(session);
    if (orders === undefined) {
      orders = new Map();
      this.#bySession.set(session, orders);
    }
    orders.set(order.token, order);
    if (!this.#core.hints.idle) this.#core.hint({ about: 'orders' });
  }

  drop(session: SessionNumber, token: Token): void {
    if (this.#bySession.size === 0) return;
    const orders = this.#bySession.get(session);
    orders?.delete(token);
    if (orders?.size === 0) this.#bySession.delete(session);
  }

  forget(session: SessionNumber): void {
    this.#bySession.delete(session);
  }
}
