import { inspect } from 'node:util';
import pg from 'pg';
import { describe, expect, test } from 'vitest';
import { hintAbout, HintListeners } from '../../src/core/hint-listeners.ts';
import { fenced } from '../../src/backends/postgres/fenced.ts';
import { payloadsOf, readPayload } from '../../src/backends/postgres/hint-channel.ts';
import { JoinedTransaction } from '../../src/backends/postgres/joined-transaction.ts';
import { type PostgresOptions, postgresSettings, secretsOf } from '../../src/backends/postgres/options.ts';
import { postgres } from '../../src/backends/postgres/postgres.ts';
import { SqlErrors, verdictOf } from '../../src/backends/postgres/sql-errors.ts';
import { inSchema, Statements } from '../../src/backends/postgres/statements.ts';
import { parseArray } from '../../src/backends/postgres/value-parsers.ts';
import type { Hint } from '../../src/core/ports/backend.ts';
import { createRuntime } from '../../src/core/runtime/runtime.ts';

const url = 'postgres://ann:canary-7f3a@db.example:5433/work';

describe('options', () => {
  test('defaults', () => {
    expect(postgresSettings({ url })).toEqual({
      source: { kind: 'url', url },
      schema: 'agentmesh',
      connections: 8,
      prepare: true,
      connectTimeoutMs: 5_000,
      commandTimeoutMs: 10_000,
      listen: true,
      migrate: 'auto',
      historyDays: 7,
    });
  });

  test.each<[string, object, RegExp]>([
    ['an unknown one', { url, shema: 'x' }, /Unknown option "shema"/],
    ['no source', {}, /exactly one of `url`, `config` and `pool`.* got 0/],
    ['two sources', { url, config: {} }, /exactly one of .* got 2/],
    ['a URL of another server', { url: 'redis://x' }, /begins with postgres:/],
    ['a pool without methods', { pool: { query: () => undefined } }, /to have a method connect/],
    ['a schema with a quote', { url, schema: 'a"b' }, /`postgres.schema` to match/],
    ['a schema with capitals', { url, schema: 'Mesh' }, /`postgres.schema` to match/],
    ['a schema that is too long', { url, schema: 'a'.repeat(49) }, /`postgres.schema` to match/],
    ['no connections', { url, connections: 0 }, /`postgres.connections` to be an integer from 1/],
    ['a time limit of 0', { url, commandTimeoutMs: 0 }, /`postgres.commandTimeoutMs` to be a number of ms/],
    ['half a day of history', { url, historyDays: 0.5 }, /`postgres.historyDays` to be an integer from 1/],
    ['another kind of migrating', { url, migrate: 'always' }, /`postgres.migrate` to be one of auto, check/],
    ['a word for a flag', { url, listen: 'yes' }, /`postgres.listen` to be true or false/],
  ])('refuses %s', (_, options, message) => {
    let error: unknown;
    try {
      postgres(options);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringMatching(message) as string,
    });
    expect(inspect(error, { depth: 9 })).not.toContain('canary');
  });

  test('an address alone, a single client and a pool that is too small: what to do instead is said', () => {
    const pool = { query: () => undefined, connect: () => undefined };
    const single = new pg.Client({ connectionString: url });
    const small = { ...pool, options: { max: 1 } };
    for (const [options, hint] of [
      [url, /\{ url \}/],
      [{ pool: single }, /`Pool`/],
      [{ pool: small }, /`max`.*`listen: false`/],
    ] as const) {
      const refused = { code: 'INVALID_OPTION', hint: expect.stringMatching(hint) as string };
      expect(() => postgres(options as never)).toThrow(expect.objectContaining(refused) as Error);
    }
    expect(() => postgres({ pool: small as never, listen: false })).not.toThrow();
    expect(() => postgres({ pool: { ...small, options: { max: 2 } } as never })).not.toThrow();
    expect(() => postgres({ pool: new pg.Pool({ connectionString: url }) })).not.toThrow();
  });

  test('the nearest name is named', () => {
    expect(() => postgres({ url, conections: 3 } as PostgresOptions)).toThrow(
      expect.objectContaining({ hint: 'Did you mean `connections`?' }) as Error,
    );
  });

  test('the backend shows no password', () => {
    for (const backend of [postgres({ url }), postgres({ config: { password: 'canary-7f3a' } })]) {
      expect(inspect(backend, { depth: 20, showHidden: true })).not.toContain('canary');
      expect(JSON.stringify(backend)).not.toContain('canary');
    }
  });
});

describe('a driver that does not behave like one', () => {
  const client = { query: () => Promise.resolve({ rows: [{ wallMs: 1 }] }), release: () => undefined };
  const nothing = (): void => undefined;

  test.each<[string, object, RegExp]>([
    ['connect answers nothing', { connect: nothing }, /postgres\.pool\.connect\(\).* a method query/],
    ['clients have no release', { connect: () => ({ query: nothing }) }, /a method release/],
    [
      'query answers nothing',
      { connect: () => ({ ...client, query: nothing }) },
      /`query` with { rows }, got undefined/,
    ],
    ['no rows', { connect: () => ({ ...client, query: () => [] }) }, /`query` with { rows }, got an array/],
    [
      'rows are empty',
      { connect: () => ({ ...client, query: () => ({ rows: [] }) }) },
      /columns by name.* got undefined/,
    ],
    [
      'rows are arrays',
      { connect: () => ({ ...client, query: () => ({ rows: [[1]] }) }) },
      /columns by name.* an array/,
    ],
  ])('is said so, not that the server is away: %s', async (_, pool, message) => {
    const refused = { code: 'INVALID_OPTION', message: expect.stringMatching(message) as string };
    const backend = () => postgres({ pool: { query: nothing, ...pool } as never });
    await expect(backend().start(createRuntime())).rejects.toMatchObject(refused);
    await expect(backend().migrate()).rejects.toMatchObject(refused);
  });

  test('nor one whose transaction is to be joined', async () => {
    const parts = { statements: new Statements('x', false), errors: new SqlErrors([]), hint: nothing };
    const refused = {
      code: 'INVALID_ARGUMENT',
      message: 'Expected the client to answer `query` with { rows }, got undefined',
    };
    const joined = new JoinedTransaction({ query: nothing } as never, parts, () => undefined);
    await expect(joined.run('select 1', [])).rejects.toMatchObject(refused);
    const strange = new JoinedTransaction({} as never, parts, () => undefined);
    await expect(strange.run('select 1', [])).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: 'Expected the client to have a method query, got an object',
      hint: expect.stringMatching(/BEGIN/) as string,
    });
    const fence = { resource: 'r', token: 1 };
    await expect(fenced({} as never, fence, nothing)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(fenced({ query: nothing } as never, fence, nothing)).rejects.toMatchObject(refused);
  });

  test('migrate() refuses options that it has not', async () => {
    await expect(postgres({ url }).migrate({ alow: [] } as object)).rejects.toMatchObject({
      code: 'INVALID_OPTION',
      hint: 'Did you mean `allow`?',
    });
    await expect(postgres({ url }).migrate({ allow: ['all'] })).rejects.toMatchObject({
      code: 'INVALID_OPTION',
    });
  });

  test('fenced refuses options that it has not', async () => {
    const call = fenced(client as never, { resource: 'r', token: 1 }, nothing, { shema: 'x' } as object);
    await expect(call).rejects.toMatchObject({ code: 'INVALID_OPTION', hint: 'Did you mean `schema`?' });
  });
});

describe('secrets', () => {
  test('address and password, encoded or not, are struck out, also in what caused an error', () => {
    const address = 'postgres://ann:canary%2F7@db.example/work?password=canary-8';
    const errors = new SqlErrors(secretsOf(postgresSettings({ url: address })));
    const failure = Object.assign(new Error(`no ${address}: canary%2F7, canary/7, canary-8`), {
      client: { password: 'canary/7' },
      detail: 'canary/7',
    });
    for (const error of [errors.unavailable(failure), errors.unknown(failure), errors.refusal(failure)]) {
      expect(inspect(error, { depth: 20, showHidden: true })).not.toContain('canary');
    }
    expect(errors.unavailable(failure).message).toBe('PostgreSQL cannot be reached: no ***: ***, ***, ***');
  });

  test('those of a config too', () => {
    const settings = postgresSettings({ config: { password: 'canary-1', connectionString: url } });
    expect(secretsOf(settings)).toEqual(['canary-1', url, 'canary-7f3a', 'canary-7f3a']);
  });
});

describe('errors by SQLSTATE', () => {
  const sent = (code: string, message = 'no'): Error =>
    Object.assign(new Error(message), { code, severity: 'ERROR' });

  test.each([
    ['AM001', 'SESSION_EXPIRED'],
    ['AM002', 'SCHEMA_MISMATCH'],
    ['AM003', 'NOT_SUPPORTED'],
    ['AM004', 'STALE_FENCE'],
    ['42883', 'SCHEMA_MISMATCH'],
    ['42P01', 'SCHEMA_MISMATCH'],
    ['3F000', 'SCHEMA_MISMATCH'],
    ['42703', 'SCHEMA_MISMATCH'],
    ['42501', 'NOT_SUPPORTED'],
    ['40001', 'BACKEND_UNAVAILABLE'],
    ['40P01', 'BACKEND_UNAVAILABLE'],
    ['53100', 'BACKEND_UNAVAILABLE'],
    ['53300', 'BACKEND_UNAVAILABLE'],
    ['57014', 'BACKEND_UNAVAILABLE'],
    ['57P01', 'BACKEND_UNAVAILABLE'],
    ['25006', 'BACKEND_UNAVAILABLE'],
    ['28P01', 'BACKEND_UNAVAILABLE'],
    ['3D000', 'BACKEND_UNAVAILABLE'],
    ['23505', 'NOT_SUPPORTED'],
  ])('%s is %s', (state, code) => {
    expect(new SqlErrors([]).refusal(sent(state)).code).toBe(code);
  });

  test.each([
    ['40001', 'again'],
    ['40P01', 'again'],
    ['57P01', 'connection'],
    ['08006', 'connection'],
    ['26000', 'unprepared'],
    ['23505', 'refused'],
  ])('%s means %s', (state, verdict) => {
    expect(verdictOf(sent(state))).toBe(verdict);
  });

  test('what no server said is the connection, unless it is a mistake in the call', () => {
    expect(verdictOf(Object.assign(new Error('reset'), { code: 'ECONNRESET' }))).toBe('connection');
    expect(verdictOf(new TypeError('a value that cannot be sent'))).toBe('refused');
    expect(verdictOf(sent('0A000', 'cached plan must not change result type'))).toBe('stale-plan');
    expect(verdictOf(sent('0A000', 'something else'))).toBe('refused');
  });
});

describe('statements', () => {
  test('name the schema, and are named by their text', () => {
    expect(inSchema('select agentmesh.f() from agentmesh.t, magentmesh.u', 'x1')).toBe(
      'select x1.f() from x1.t, magentmesh.u',
    );
    const [a, b] = [new Statements('x1', true), new Statements('x2', true)];
    const first = a.query('select agentmesh.f($1)', [1]);
    expect(a.query('select agentmesh.f($1)', [2]).name).toBe(first.name);
    expect(b.query('select agentmesh.f($1)', [1]).name).not.toBe(first.name);
    expect((first.name ?? '').length).toBeLessThan(63);
    a.stopPreparing();
    expect(a.query('select agentmesh.f($1)', [1])).not.toHaveProperty('name');
  });

  test.each([
    ['{}', []],
    ['{1,2,NULL}', ['1', '2', null]],
    ['{"NULL",""," a ","b,c","{d}"}', ['NULL', '', ' a ', 'b,c', '{d}']],
    [String.raw`{"a\"b","c\\d",e}`, ['a"b', String.raw`c\d`, 'e']],
  ])('the array %s is read', (text, items) => {
    expect(parseArray(text, (value) => value)).toEqual(items);
  });
});

describe('hints', () => {
  const names = (count: number, length: number): Hint[] =>
    Array.from({ length: count }, (_, i) => ({ about: 'tasks', queue: `${i}`.padEnd(length, 'ü') }));

  test.each([
    [1, 10],
    [500, 100],
    [3, 9_000],
  ])('%i names of %i letters travel in payloads below the limit of the server', (count, length) => {
    const payloads = payloadsOf('me', names(count, length));
    for (const payload of payloads) expect(Buffer.byteLength(payload)).toBeLessThan(8_000);
    const read = payloads.flatMap((payload) => readPayload(payload)?.hints ?? []);
    const expected =
      length > 4_000 ? names(count, 0).map(() => hintAbout('tasks', '*')) : names(count, length);
    expect(read).toEqual(expected);
  });

  test('what nobody of ours wrote is passed over', () => {
    for (const payload of [undefined, '', 'x', '{}', '7', 'null', '["a",1]', '["a",["later","x"]]'])
      expect(readPayload(payload)?.hints ?? []).toEqual([]);
  });

  test('a hint about all of a kind reaches each with the name that he asked for', () => {
    const listeners = new HintListeners();
    const heard: string[] = [];
    const on = (who: string, interest: readonly Hint[]): Disposable =>
      listeners.on(interest, (hint) => heard.push(`${who} ${JSON.stringify(hint)}`));
    on('one', [{ about: 'messages', address: 'a' }, { about: 'reconnected' }]);
    on('every', [{ about: 'messages', address: '*' }]);
    const gone = on('gone', [{ about: 'messages', address: 'a' }]);
    gone[Symbol.dispose]();
    listeners.tell([{ about: 'messages', address: '*' }]);
    listeners.tell([{ about: 'messages', address: 'b' }, { about: 'reconnected' }]);
    expect(heard).toEqual([
      'one {"about":"messages","address":"a"}',
      'every {"about":"messages","address":"*"}',
      'every {"about":"messages","address":"b"}',
      'one {"about":"reconnected"}',
    ]);
  });
});
