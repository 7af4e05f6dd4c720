import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { postgres, type PostgresBackend } from '../../../src/backends/postgres/postgres.ts';
import { createOperations, type OwnedOperations } from '../../../src/core/operations.ts';
import type { Random, Runtime } from '../../../src/core/ports/runtime.ts';
import type { SessionNumber } from '../../../src/core/ports/words.ts';
import { createRandom } from '../../../src/core/runtime/random.ts';
import { createRuntime } from '../../../src/core/runtime/runtime.ts';
import { REPORT } from '../../../src/testing/suites/caller.ts';
import type { HistoryRow } from './lock-history.ts';

/** One process of a fleet: connections and a session of its own. */
export interface FleetProcess {
  readonly backend: PostgresBackend;
  readonly session: SessionNumber;
  readonly operations: OwnedOperations;
}

/** Every change of holders, waiters and tokens, numbered while the resource's row is locked: so in the database's own order. */
const HISTORY = `
  create table SCHEMA.history (
    n bigserial, kind text, resource text, ticket text, owner text, mode int, units int, token bigint);
  create function SCHEMA.note() returns trigger language plpgsql as $$
  declare
    x record;
  begin
    if tg_table_name = 'lock_tickets' then
      if new.tokens is not null and new.state = 1 and (tg_op = 'INSERT' or old.tokens is distinct from new.tokens) then
        insert into SCHEMA.history (kind, resource, ticket, owner, token)
        select 'token', i.r, new.id, new.owner, i.t from unnest(new.resources, new.tokens) i (r, t);
      end if;
      return null;
    end if;
    if tg_op = 'DELETE' then x := old; else x := new; end if;
    insert into SCHEMA.history (kind, resource, ticket, owner, mode, units)
    values (lower(tg_op) || ' ' || tg_table_name, x.resource, x.ticket, x.owner, x.mode, x.units);
    return null;
  end $$;
  create trigger note after insert or update or delete on SCHEMA.lock_holders for each row execute function SCHEMA.note();
  create trigger note after insert or delete on SCHEMA.lock_waiters for each row execute function SCHEMA.note();
  create trigger note after insert or update on SCHEMA.lock_tickets for each row execute function SCHEMA.note();`;

/** Several processes on one schema of a real server, with a history that the server writes. */
export class LockFleet {
  readonly schema = `fleet_${randomBytes(5).toString('hex')}`;
  readonly processes: FleetProcess[] = [];
  readonly runtime: Runtime = createRuntime({ random: createRandom('lock fleet') });
  /** A connection of the test's own. */
  readonly admin: pg.Client;
  readonly #url: string;

  private constructor(url: string) {
    this.#url = url;
    this.admin = new pg.Client({ connectionString: url, application_name: 'admin' });
  }

  static async start(url: string, processes: number): Promise<LockFleet> {
    const fleet = new LockFleet(url);
    await fleet.admin.connect();
    for (let i = 0; i < processes; i++) {
      await fleet.add(`process ${i}`);
      if (i === 0) await fleet.admin.query(HISTORY.replaceAll('SCHEMA', fleet.schema));
    }
    return fleet;
  }

  async add(boot: string, leaseMs = 600_000): Promise<FleetProcess> {
    const backend = postgres({ url: this.#url, schema: this.schema, connections: 6 });
    await backend.start(this.runtime);
    const { session } = await backend.sessions.open({ boot, leaseMs, writer: 1, report: REPORT });
    const operations = createOperations(session, this.runtime, { maxInFlight: 16 });
    const added = { backend, session, operations };
    this.processes.push(added);
    return added;
  }

  /** Cuts one connection of any process, whatever it is doing. Returns whether there was one. */
  async cut(random: Random): Promise<boolean> {
    const { rows } = await this.admin.query<{ pid: number }>(
      `select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and state is not null
       and query not ilike 'listen%'`,
    );
    const victim = rows[Math.floor(random.next() * rows.length)];
    if (victim === undefined) return false;
    await this.admin.query('select pg_terminate_backend($1)', [victim.pid]);
    return true;
  }

  async history(): Promise<readonly HistoryRow[]> {
    const { rows } = await this.admin.query<HistoryRow>(
      `select kind, resource, ticket, owner, mode, units, token::float8 as token from ${this.schema}.history order by n`,
    );
    return rows;
  }

  /** What is left in the tables of the locks. */
  async left(): Promise<Readonly<Record<string, number>>> {
    const { rows } = await this.admin.query<Record<string, number>>(
      `select (select count(*)::int from ${this.schema}.lock_holders) as holders,
        (select count(*)::int from ${this.schema}.lock_waiters) as waiters,
        (select count(*)::int from ${this.schema}.lock_tickets) as tickets`,
    );
    return rows[0] ?? {};
  }

  /** Stops everything. Returns how many deadlocks the server has had to break. */
  async stop(): Promise<number> {
    for (const { backend, operations } of this.processes) {
      operations.close(new Error('over'));
      await backend.stop();
    }
    // Each connection says so when it ends.
    const { rows } = await this.admin.query<{ deadlocks: number }>(
      `select deadlocks::int as deadlocks from pg_stat_database where datname = current_database()`,
    );
    await this.admin.query(`drop schema if exists ${this.schema} cascade`);
    await this.admin.end();
    return rows[0]?.deadlocks ?? -1;
  }
}
