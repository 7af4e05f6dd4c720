import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, inject } from 'vitest';
import { postgres, type PostgresBackend } from '../../src/backends/postgres/postgres.ts';
import { isCoordinationError } from '../../src/core/errors.ts';
import type {
  Delivery,
  MailboxSettings,
  Membership,
  MessageCounts,
  MessageSettlement,
  NewMessage,
} from '../../src/core/ports/messages.ts';
import type { Operation, SessionNumber } from '../../src/core/ports/words.ts';
import { createRandom } from '../../src/core/runtime/random.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';
import { REPORT } from '../../src/testing/suites/caller.ts';
import { scratchSchema, sql } from './postgres-scratch.ts';

export const ROOMY: MailboxSettings = { maxLength: 100_000, overflow: 'refuse' };
export const LONG_MS = 600_000;

/** Backends of the running test. */
export const open: PostgresBackend[] = [];
afterEach(async () => {
  for (const backend of open.splice(0)) await backend.stop();
});

/** One process of a mesh: connections and a session of its own. */
export class Peer {
  readonly backend: PostgresBackend;
  readonly name: string;
  readonly session: SessionNumber;
  #sequence = 0;
  /** Calls that had to be sent again. */
  repeated = 0;

  constructor(backend: PostgresBackend, name: string, session: SessionNumber) {
    this.backend = backend;
    this.name = name;
    this.session = session;
  }

  next(): Operation {
    this.#sequence += 1;
    return { session: this.session, sequence: this.#sequence };
  }

  /** A call that is repeated as the same operation until it is answered. */
  async call<T>(send: (op: Operation) => Promise<T>): Promise<T> {
    const op = this.next();
    for (let tries = 1; ; tries++) {
      try {
        return await send(op);
      } catch (error) {
        const passing =
          isCoordinationError(error, 'OUTCOME_UNKNOWN') || isCoordinationError(error, 'BACKEND_UNAVAILABLE');
        if (!passing || tries > 50) throw error;
        this.repeated += 1;
        await sleep(5);
      }
    }
  }

  join(address: string, membership: Partial<Membership> = {}): Promise<unknown> {
    const change = { address, topics: [], listening: true, mailbox: ROOMY, keepMs: LONG_MS, ...membership };
    return this.call((op) => this.backend.messages.subscribe(op, [change]));
  }

  leave(address: string): Promise<unknown> {
    return this.join(address, { listening: false, mailbox: 'leave', keepMs: 0 });
  }

  async publish(messages: readonly NewMessage[], settings = ROOMY): Promise<void> {
    await this.call((op) => this.backend.messages.publish(op, messages, settings));
  }

  async receive(address: string, limit = 100, ackWithinMs = LONG_MS): Promise<readonly Delivery[]> {
    const request = { addresses: [{ address, limit }], ackWithinMs };
    return (await this.call((op) => this.backend.messages.receive(op, request))).deliveries;
  }

  async settle(items: readonly MessageSettlement[]): Promise<readonly boolean[]> {
    if (items.length === 0) return [];
    return (await this.call((op) => this.backend.messages.settle(op, items))).settled;
  }

  async totals(): Promise<MessageCounts> {
    return (await this.backend.messages.list({}, { limit: 1 })).totals;
  }
}

/** A mesh of several processes on one server. */
export async function mesh<Names extends string>(
  ...names: readonly Names[]
): Promise<
  Record<Names, Peer> & { readonly schema: string; boot(name: string, leaseMs?: number): Promise<Peer> }
> {
  const schema = scratchSchema();
  const boot = async (name: string, leaseMs = LONG_MS): Promise<Peer> => {
    const url = new URL(inject('postgresUrl'));
    url.searchParams.set('application_name', `${schema} ${name}`);
    const backend = postgres({ url: url.href, schema, listen: false, connections: 2 });
    open.push(backend);
    await backend.start(createRuntime({ random: createRandom(name) }));
    const { session } = await backend.sessions.open({ boot: name, leaseMs, writer: 1, report: REPORT });
    return new Peer(backend, name, session);
  };
  const peers: Record<string, Peer> = {};
  for (const name of names) peers[name] = await boot(name);
  return { ...(peers as Record<Names, Peer>), schema, boot };
}

/** Ends all connections of one process, as a network or a server that fails would. */
export async function cutOff(schema: string, name: string): Promise<number> {
  const rows = await sql(
    `select pg_terminate_backend(pid) from pg_stat_activity where application_name = '${schema} ${name}'`,
  );
  return rows.length;
}
