import { CoordinationError } from '../../core/errors.ts';
import type { DriverResult, PostgresClient } from './driver.ts';
import type { Migration } from './schema/migrations.ts';
import { inSchema } from './statements.ts';

export interface SchemaLevel {
  /** 0: there is no schema yet. */
  readonly version: number;
  readonly oldestWriter: number;
}

export interface MigrationReport extends SchemaLevel {
  /** The steps that were carried out. */
  readonly applied: readonly number[];
  /** A step that waits for older builds to leave; `undefined` when the schema is as new as this build. */
  readonly waiting?: { readonly version: number; readonly writers: number };
}

/**
 * Brings a schema to the newest version. Each step is one transaction under one lock for all processes, so any number of them may start at
 * once.
 */
export class Migrator {
  readonly #client: PostgresClient;
  readonly #schema: string;
  readonly #migrations: readonly Migration[];

  constructor(client: PostgresClient, schema: string, migrations: readonly Migration[]) {
    this.#client = client;
    this.#schema = schema;
    this.#migrations = migrations;
  }

  /** How far the schema is; it may be newer than this build knows. */
  async level(): Promise<SchemaLevel> {
    const [found] = await this.#rows<{ readonly here: boolean }>(
      // Of the catalogue itself: to_regclass may go by what this connection knew before it waited for the lock.
      `select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = '${this.#schema}' and c.relname = 'meta') as here`,
    );
    if (found?.here !== true) return { version: 0, oldestWriter: 0 };
    const [meta] = await this.#rows<SchemaLevel>(
      `select version, oldest_writer as "oldestWriter" from agentmesh.meta`,
    );
    return meta ?? { version: 0, oldestWriter: 0 };
  }

  /**
   * Applies what is missing. A contract step waits while older builds live; with `announce` they are told to leave, and builds like them are
   * refused from then on.
   * @throws SCHEMA_MISMATCH when the schema is newer than this build
   */
  async run(options: { readonly announce: boolean }): Promise<MigrationReport> {
    const applied: number[] = [];
    const newest = this.#migrations.at(-1)?.version ?? 0;
    for (;;) {
      const { version, oldestWriter } = await this.level();
      if (version > newest) throw newerSchema(version, newest);
      const step = this.#migrations.find((migration) => migration.version > version);
      if (step === undefined) return { version, oldestWriter, applied };
      const outcome = await this.#step(step, version, options.announce);
      if (outcome === 'done') applied.push(step.version);
      // Somebody else was faster: look again.
      else if (outcome !== 'moved')
        return {
          version,
          oldestWriter: outcome.oldestWriter,
          applied,
          waiting: { version: step.version, writers: outcome.writers },
        };
    }
  }

  async #step(
    step: Migration,
    from: number,
    announce: boolean,
  ): Promise<'done' | 'moved' | { readonly writers: number; readonly oldestWriter: number }> {
    await this.#send('begin isolation level read committed');
    try {
      // The time limit of a statement is meant for the ports; copying a large table takes longer.
      await this.#send(
        `set local statement_timeout = 0; set local client_min_messages = warning; set local check_function_bodies = off`,
      );
      await this.#send(`select pg_advisory_xact_lock(hashtextextended('agentmesh.migrate', 0))`);
      if ((await this.level()).version !== from) {
        await this.#send('rollback');
        return 'moved';
      }
      if (step.kind === 'contract') {
        const older = await this.#olderWriters(step.oldestWriter, announce);
        if (older.writers > 0) {
          await this.#send('commit');
          return older;
        }
      }
      await this.#send(from === 0 ? await this.#creation(step) : this.#text(step));
      await this.#send('commit');
      return 'done';
    } catch (error) {
      await this.#send('rollback').catch(() => undefined);
      throw error;
    }
  }

  /** Who may create nothing in this database can be given a schema of that name. */
  async #creation(step: Migration): Promise<string> {
    const [found] = await this.#rows<{ readonly here: boolean }>(
      `select exists (select from pg_namespace n where n.nspname = '${this.#schema}') as here`,
    );
    const create = found?.here === true ? '' : `create schema ${this.#schema};\n`;
    return `${create}${step.sql}\ninsert into agentmesh.meta (version, oldest_writer, migrated_at) values (${step.version}, 1, agentmesh.now_us());`;
  }

  #text(step: Migration): string {
    const oldest = step.kind === 'contract' ? step.oldestWriter : 0;
    return `${step.sql}\nupdate agentmesh.meta set version = ${step.version},
      oldest_writer = greatest(oldest_writer, ${oldest}), migrated_at = agentmesh.now_us();`;
  }

  async #olderWriters(
    oldest: number,
    announce: boolean,
  ): Promise<{ readonly writers: number; readonly oldestWriter: number }> {
    // Holds up who opens a session until the commit, and nobody else.
    await this.#send('select from agentmesh.meta for update');
    if (announce)
      await this.#send(`update agentmesh.meta set oldest_writer = greatest(oldest_writer, ${oldest})`);
    const [found] = await this.#rows<{ readonly writers: number; readonly oldestWriter: number }>(
      `select (select count(*)::int from agentmesh.sessions s
        where s.writer < ${oldest} and s.closed_at is null and s.expires_at > agentmesh.now_us()) as writers,
        (select m.oldest_writer from agentmesh.meta m) as "oldestWriter"`,
    );
    return found ?? { writers: 0, oldestWriter: oldest };
  }

  #send(text: string): Promise<DriverResult> {
    return this.#client.query({ text: inSchema(text, this.#schema) });
  }

  async #rows<R>(text: string): Promise<readonly R[]> {
    const { rows } = await this.#send(text);
    return rows as readonly R[];
  }
}

export function newerSchema(version: number, known: number): CoordinationError {
  return new CoordinationError(
    'SCHEMA_MISMATCH',
    `The schema is at version ${version}, this build knows versions up to ${known}`,
    { hint: 'Run a newer build of agentmesh, or point this one at a schema of its own.' },
  );
}
