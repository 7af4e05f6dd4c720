import type { Order, SessionReport, Sessions } from '../../core/ports/sessions.ts';
import type {
  BackendTime,
  Cursor,
  Page,
  PageRequest,
  SessionNumber,
  Stamped,
} from '../../core/ports/words.ts';
import type { RedisStore } from './connection.ts';
import { SESSION_BEAT, SESSION_CLOSE, SESSION_LIST, SESSION_OPEN, SESSION_PULSE } from './lua/sessions.ts';
import { defineScript } from './scripts.ts';

const OPEN = defineScript('session-open', SESSION_OPEN);
const BEAT = defineScript('session-beat', SESSION_BEAT);
/** Sent by the thread that renews the lease. */
export const PULSE = defineScript('session-pulse', SESSION_PULSE);
const CLOSE = defineScript('session-close', SESSION_CLOSE);
const LIST = defineScript('session-list', SESSION_LIST);

/** A lease without end: a hundred years in µs. Infinity has no text that Lua reads. */
const LONGEST_LEASE_US = 3_155_760_000_000_000;
/** Texts a listed session consists of. */
const LISTED = 5;

type Listed = {
  readonly session: SessionNumber;
  readonly boot: string;
  readonly expiresAt: BackendTime;
  readonly writer: number;
  readonly report: SessionReport;
};

/** Sessions in Redis. Their numbers are at least the time in ms, so that a server that lost its data doesn't use one twice. */
export class RedisSessions implements Sessions {
  readonly #store: RedisStore;
  readonly #own = new Set<number>();

  constructor(store: RedisStore) {
    this.#store = store;
  }

  /** Whether this object opened it and has not heard that it is over. */
  owns(session: number): boolean {
    return this.#own.has(session);
  }

  async open(request: {
    readonly boot: string;
    readonly leaseMs: number;
    readonly writer: number;
    readonly report: SessionReport;
  }): Promise<Stamped & { readonly session: SessionNumber; readonly expiresAt: BackendTime }> {
    const leaseUs = Math.min(Math.floor(request.leaseMs * 1_000), LONGEST_LEASE_US);
    const args = [request.boot, leaseUs, request.writer, JSON.stringify(request.report)];
    const [at, session, ends] = (await this.#store.run(OPEN, args, 'write')) as [string, string, string];
    this.#own.add(Number(session));
    return { at: timeOf(at), session: Number(session) as SessionNumber, expiresAt: timeOf(ends) };
  }

  async beat(
    session: SessionNumber,
    report: SessionReport,
  ): Promise<
    Stamped &
      (
        | { readonly status: 'alive'; readonly expiresAt: BackendTime; readonly orders: readonly Order[] }
        | { readonly status: 'expired' }
      )
  > {
    const answer = await this.#store.run(BEAT, [session, JSON.stringify(report)], 'write');
    const [at, ends, ...orders] = answer as [string, string?, ...string[]];
    if (ends === undefined) {
      this.#own.delete(session);
      return { at: timeOf(at), status: 'expired' };
    }
    return {
      at: timeOf(at),
      status: 'alive',
      expiresAt: timeOf(ends),
      orders: orders.map((text) => JSON.parse(text) as Order),
    };
  }

  async close(session: SessionNumber): Promise<Stamped> {
    const at = timeOf((await this.#store.run(CLOSE, [session], 'write')) as string);
    this.#own.delete(session);
    return { at };
  }

  async list(
    page: PageRequest & { readonly state?: 'alive' | 'suspect' | 'expired' },
  ): Promise<Page<Listed>> {
    const args = [page.limit, page.state ?? '', page.after ?? ''];
    const [at, next, ...texts] = (await this.#store.run(LIST, args, 'read')) as [string, string, ...string[]];
    const items: Listed[] = [];
    for (let i = 0; i < texts.length; i += LISTED) {
      const [session, boot, ends, writer, report] = texts.slice(i, i + LISTED) as [
        string,
        string,
        string,
        string,
        string,
      ];
      items.push({
        session: Number(session) as SessionNumber,
        boot,
        expiresAt: timeOf(ends),
        writer: Number(writer),
        report: JSON.parse(report) as SessionReport,
      });
    }
    return {
      at: timeOf(at),
      items,
      next: next === '' ? undefined : (next as Cursor),
      scanned: items.length,
    };
  }
}

function timeOf(text: string): BackendTime {
  return Number(text) as BackendTime;
}
