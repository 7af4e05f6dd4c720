import ts from 'typescript';
import { memory } from '../src/backends/memory/memory.ts';
import { postgres } from '../src/backends/postgres/postgres.ts';
import { durabilityOf } from '../src/backends/postgres/start-checks.ts';
import type { RedisClient } from '../src/backends/redis/client.ts';
import { RedisStore } from '../src/backends/redis/connection.ts';
import { redis } from '../src/backends/redis/redis.ts';
import { lookAtServer } from '../src/backends/redis/server-checks.ts';
import type { Backend, Capabilities, Durability } from '../src/core/ports/backend.ts';
import { createRuntime } from '../src/core/runtime/runtime.ts';
import { cell, commentOf, GENERATED, parse, root, sentence } from './doc-comments.ts';

/** `docs/reference/backends.md`: what the backends declare, and what their start checks make of the settings of a server. */

/** Nothing is opened before `start`, so any address will do. */
const BACKENDS: readonly Backend[] = [
  memory(),
  postgres({ url: 'postgres://localhost/any' }),
  redis({ url: 'redis://localhost' }),
];

const SURVIVES: Readonly<Record<Durability, string>> = {
  process: 'nothing but the life of the process that holds it: this one, or a Redis that writes no log',
  seconds:
    'kill -9 of every worker; what was acknowledged in the last moments may be gone when the server dies',
  'server-crash': 'kill -9 of every worker, and of the server: it was on disk before the answer',
};

interface Finding {
  readonly server: string;
  readonly settings: string;
  readonly durability: Durability;
}

const runtime = createRuntime();

async function memoryFinding(): Promise<Finding> {
  const { durability } = await memory().start(runtime);
  return { server: 'memory', settings: '', durability };
}

function postgresFindings(): readonly Finding[] {
  const cases = [
    ['on', 'on'],
    ['on', 'off'],
    ['off', 'on'],
  ] as const;
  return cases.map(([fsync, synchronousCommit]) => ({
    server: 'postgres',
    settings: `\`fsync = ${fsync}\`, \`synchronous_commit = ${synchronousCommit}\``,
    durability: durabilityOf({
      ...{ version: '', number: 0, inRecovery: false, readOnly: 'off', encoding: 'UTF8' },
      ...{ isolation: 'read committed', wallMs: 0, fsync, synchronousCommit },
    }),
  }));
}

async function redisFindings(): Promise<readonly Finding[]> {
  const cases = [
    ['1', 'always', '`appendonly yes`, `appendfsync always`'],
    ['1', 'everysec', '`appendonly yes`, `appendfsync everysec`'],
    ['1', 'no', '`appendonly yes`, `appendfsync no`'],
    ['0', 'everysec', '`appendonly no`'],
    ['1', undefined, '`appendonly yes`, `CONFIG GET` not allowed'],
    [undefined, undefined, '`INFO` and `CONFIG GET` not allowed'],
  ] as const;
  return Promise.all(
    cases.map(async ([aof, fsync, settings]) => {
      const store = new RedisStore({ tag: 'agentmesh:{default}:', commandTimeoutMs: 1_000 });
      store.use(clientOf(aof, fsync), runtime);
      const { durability } = await lookAtServer(
        store,
        () => 0,
        () => Promise.resolve([]),
      );
      return { server: 'redis', settings, durability };
    }),
  );
}

/** A client of a server with these settings, as far as the start looks at it. */
function clientOf(aof: string | undefined, fsync: string | undefined): RedisClient {
  const nothing = (): Promise<undefined> => Promise.resolve(undefined);
  const info =
    aof === undefined
      ? ''
      : `redis_version:7.0.0\nrole:master\nmaxmemory_policy:noeviction\naof_enabled:${aof}\n`;
  const client: RedisClient = {
    status: 'ready',
    call: (command, [text]) => {
      if (command === 'CONFIG')
        return fsync === undefined
          ? Promise.reject(Object.assign(new Error('NOPERM'), { name: 'ReplyError' }))
          : Promise.resolve(['appendfsync', fsync]);
      return Promise.resolve(String(text).startsWith('-- agentmesh look') ? ['0', info] : ['1', '1']);
    },
    connect: nothing,
    disconnect: () => undefined,
    duplicate: () => client,
    subscribe: nothing,
    unsubscribe: nothing,
    on: () => undefined,
    off: () => undefined,
  };
  return client;
}

const FINDINGS = [await memoryFinding(), ...postgresFindings(), ...(await redisFindings())];

export function renderBackends(): string {
  const lines = [
    '# Backends',
    '',
    `${GENERATED} [Choosing a backend](../guide/choosing-a-backend.md) says what follows from it.`,
    '',
    '## Durability',
    '',
    'What survives what is found out by looking at the server in `start`; `initialize()` answers it as `durability`.',
    '',
    '| backend | settings of the server | `durability` |',
    '| --- | --- | --- |',
    ...FINDINGS.map(
      ({ server, settings, durability }) => `| \`${server}\` | ${settings} | \`${durability}\` |`,
    ),
    '',
    '| `durability` | what is acknowledged survives |',
    '| --- | --- |',
    ...Object.entries(SURVIVES).map(([name, text]) => `| \`${name}\` | ${text} |`),
    ...capabilities(),
    ...problems(),
    ...options(
      'postgres',
      'src/backends/postgres/options.ts',
      'PostgresOptions',
      '`postgres({ … })` of `agentmesh/postgres`.',
    ),
    ...options(
      'redis',
      'src/backends/redis/options.ts',
      'RedisOptions',
      '`redis({ … })` of `agentmesh/redis`.',
    ),
    ...options(
      'redis: tasks',
      'src/backends/redis/tasks/redis-task-store.ts',
      'RedisTaskStoreOptions',
      '`redis({ tasks: { … } })`.',
    ),
  ];
  return `${lines.join('\n')}\n`;
}

function capabilities(): readonly string[] {
  const source = parse('src/core/ports/backend.ts');
  const rows = membersOf(source, 'Capabilities').map((member) => {
    const name = member.name.getText(source) as keyof Capabilities;
    const values = BACKENDS.map((backend) => `\`${String(backend.capabilities[name])}\``);
    return `| \`${name}\` | ${values.join(' | ')} | ${cell(linkless(commentOf(member, source) ?? ''))} |`;
  });
  return [
    '',
    '## Capabilities',
    '',
    'What each backend declares; the conformance suites assert it.',
    '',
    `| | ${BACKENDS.map(({ name }) => name).join(' | ')} | |`,
    `| --- | ${BACKENDS.map(() => '---').join(' | ')} | --- |`,
    ...rows,
  ];
}

const CHECKS = {
  postgres: ['src/backends/postgres/start-checks.ts', 'src/backends/postgres/mesh-server.ts'],
  redis: ['src/backends/redis/server-checks.ts', 'src/backends/redis/crash-repair.ts'],
} as const;

/** Every problem that a start may report: the object literals with code, severity and hint in the files that look. */
function problems(): readonly string[] {
  const rows = Object.entries(CHECKS).flatMap(([backend, files]) =>
    files.flatMap((file) =>
      problemsIn(file).map(
        (row) =>
          `| \`${row.code}\` | ${backend} | ${row.severity} | ${cell(row.message)} | ${cell(row.hint)} |`,
      ),
    ),
  );
  const distinct = rows.filter((row, i) => rows.indexOf(row) === i).toSorted();
  return [
    '',
    '## What a start looks at',
    '',
    'Each is in `problems` of what `initialize()` answers, and logged. `refuse` makes `initialize()` reject with `BACKEND_UNAVAILABLE`, unless the manager is made with `allow: [code]`.',
    '',
    '| code | backend | | what it says | what to do |',
    '| --- | --- | --- | --- | --- |',
    ...distinct,
  ];
}

interface ProblemRow {
  readonly code: string;
  readonly severity: string;
  readonly message: string;
  readonly hint: string;
}

function problemsIn(file: string): readonly ProblemRow[] {
  const source = parse(file);
  const found: ProblemRow[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isObjectLiteralExpression(node)) {
      const fields = new Map<string, string>();
      for (const property of node.properties)
        if (ts.isPropertyAssignment(property))
          fields.set(property.name.getText(source), textOf(property.initializer, source));
      const { code, severity, message = '', hint = '' } = Object.fromEntries(fields);
      if (code !== undefined && severity !== undefined) found.push({ code, severity, message, hint });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  if (found.length === 0) throw new Error(`${root}${file}: there are no problems`);
  return found;
}

/** A literal as it is read, with … for what is filled in; of two texts the first. */
function textOf(node: ts.Expression, source: ts.SourceFile): string {
  if (ts.isStringLiteralLike(node)) return node.text;
  if (ts.isConditionalExpression(node)) return textOf(node.whenTrue, source);
  if (ts.isTemplateExpression(node))
    return node.head.text + node.templateSpans.map((span) => `…${span.literal.text}`).join('');
  return node.getText(source);
}

function options(title: string, file: string, name: string, intro: string): readonly string[] {
  const source = parse(file);
  const rows = membersOf(source, name).map((member) => {
    const [text = '', fallback = ''] = (commentOf(member, source) ?? '').split(/\s*@default\s*/);
    return `| \`${member.name.getText(source)}\` | ${cell(fallback)} | ${cell(linkless(text))} |`;
  });
  return ['', `## ${title}`, '', intro, '', '| option | default | |', '| --- | --- | --- |', ...rows];
}

function membersOf(source: ts.SourceFile, name: string): readonly ts.PropertySignature[] {
  const found = source.statements.find(
    (node): node is ts.InterfaceDeclaration => ts.isInterfaceDeclaration(node) && node.name.text === name,
  );
  if (found === undefined) throw new Error(`${source.fileName}: ${name} is not there`);
  return found.members.filter(ts.isPropertySignature);
}

/** `{@link x}` means nothing on a page. */
function linkless(text: string): string {
  return sentence(text.replaceAll(/\{@link ([^}]*)\}/g, (_, of: string) => `\`${of}\``));
}
