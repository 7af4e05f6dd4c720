import { writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import ts from 'typescript';
import { OPTIONS, type OptionSpec, type OptionTable, type Part } from '../src/core/option-table.ts';
import { cell, commentOf, GENERATED, parse, root, sentence } from './doc-comments.ts';
import { renderBackends } from './reference-backends.ts';
import { renderCalls } from './reference-calls.ts';

/** Writes `docs/reference/*.md` from the comments and tables of the source. `test/architecture.test.ts` compares them. */

/** The line comment (`// group`) before a node, if there is one. */
function groupOf(node: ts.Node, source: ts.SourceFile): string | undefined {
  const ranges = ts.getLeadingCommentRanges(source.text, node.getFullStart()) ?? [];
  const line = ranges.findLast((range) => source.text.startsWith('//', range.pos));
  return line === undefined ? undefined : source.text.slice(line.pos + 2, line.end).trim();
}

function find<N extends ts.Node>(source: ts.SourceFile, test: (node: ts.Node) => node is N): N {
  let found: N | undefined;
  const visit = (node: ts.Node): void => {
    if (found !== undefined) return;
    if (test(node)) found = node;
    else ts.forEachChild(node, visit);
  };
  visit(source);
  if (found === undefined) throw new Error(`${source.fileName}: the table is not there`);
  return found;
}

/** One table for each group of codes. Throws for a code without a comment. */
export function renderErrors(): string {
  const source = parse('src/core/errors.ts');
  const declaration = find(
    source,
    (node): node is ts.VariableDeclaration =>
      ts.isVariableDeclaration(node) && node.name.getText(source) === 'ERROR_CODES',
  );
  const list = find(source, (node): node is ts.ArrayLiteralExpression => {
    return ts.isArrayLiteralExpression(node) && node.pos >= declaration.pos;
  });
  const lines = [
    '# Errors',
    '',
    `${GENERATED} Every error of the library is a \`CoordinationError\` with one of these codes; match on \`code\`, or with \`isCoordinationError(error, code)\`, which narrows to the class of the code where it has one (\`DeadlockError\` with its \`cycle\`). What a store has kept of an error (the \`cause\` of a task that is looked up after its end) has code and texts only. An aborted call rejects with \`signal.reason\` instead.`,
  ];
  for (const element of list.elements) {
    const group = groupOf(element, source);
    if (group !== undefined)
      lines.push('', `## ${sentence(group)}`, '', '| code | meaning |', '| --- | --- |');
    const doc = commentOf(element, source);
    if (doc === undefined) throw new Error(`${element.getText(source)} has no comment`);
    lines.push(`| \`${(element as ts.StringLiteral).text}\` | ${cell(doc)} |`);
  }
  return `${lines.join('\n')}\n`;
}

/** One section for each subject. Throws for an event without a comment. */
export function renderEvents(): string {
  const source = parse('src/core/events.ts');
  const table = find(
    source,
    (node): node is ts.InterfaceDeclaration =>
      ts.isInterfaceDeclaration(node) && node.name.text === 'CoordinationEvents',
  );
  const lines = [
    '# Events',
    '',
    `${GENERATED} The table is closed; \`custom:…\` names are free for your own events. Payloads are JSON-safe. † marks names and payloads that keep the documented form of the predecessor.`,
  ];
  let subject = '';
  for (const member of table.members) {
    if (!ts.isPropertySignature(member) || member.type === undefined) continue;
    const name = (member.name as ts.StringLiteral).text;
    const [first = ''] = name.split(':', 1);
    if (first !== subject) {
      subject = first;
      lines.push('', `## ${subject}`, '', '| event | when | payload |', '| --- | --- | --- |');
    }
    const doc = commentOf(member, source);
    if (doc === undefined) throw new Error(`${name} has no comment`);
    lines.push(`| \`${name}\` | ${cell(doc)} | ${payloadOf(member.type, source)} |`);
  }
  return `${lines.join('\n')}\n`;
}

function payloadOf(type: ts.TypeNode, source: ts.SourceFile): string {
  if (!ts.isTypeLiteralNode(type)) return `\`${cell(type.getText(source))}\``;
  const fields = type.members.filter(ts.isPropertySignature).map((field) => {
    const of = field.type?.getText(source) ?? 'unknown';
    const note = of === 'string' ? '' : `: ${of.replace(/^readonly /, '')}`;
    return `\`${cell(`${field.name.getText(source)}${field.questionToken ? '?' : ''}${note}`)}\``;
  });
  return fields.join(', ');
}

/** One section for each part. */
export function renderOptions(): string {
  const lines = [
    '# Options',
    '',
    `${GENERATED} Durations are milliseconds. An unknown key is refused with the nearest known one, a key of another part with the place where it belongs. What single calls take is in [calls](calls.md).`,
    '',
    '```ts',
    "import { CoordinationManager } from 'agentmesh';",
    '',
    'const mesh = new CoordinationManager({',
    '  maxRetries: 3, // the rows of `manager` stand at the top',
    "  scheduling: { agentSlots: 2, retry: { jitter: 'full' } }, // those of a part under its name",
    '});',
    'await mesh.initialize();',
    "await mesh.queues.configure('edit', { maxRunning: 4 }); // those of `queue` are set for each queue",
    '```',
    '',
    'Beside them a manager takes `backend`, `events`, `logger`, `clock`, `random`, `ids`, `seed`, `env` and `allow`; `workStealing: false` and `metrics: false` switch a part off.',
  ];
  for (const [part, table] of Object.entries(OPTIONS) as [Part, OptionTable][]) {
    lines.push(
      '',
      `## ${part}`,
      '',
      placeOf(part),
      '',
      '| option | kind | default | |',
      '| --- | --- | --- | --- |',
    );
    for (const [name, spec] of Object.entries(table)) {
      lines.push(`| \`${name}\` | ${cell(kindOf(spec))} | ${defaultOf(spec)} | ${cell(spec.doc)} |`);
    }
  }
  lines.push(...memoryOptions());
  return `${lines.join('\n')}\n`;
}

/** What the memory backend is told, which is no part of the manager's options. */
function memoryOptions(): readonly string[] {
  const source = parse('src/backends/memory/tasks/table.ts');
  const table = find(
    source,
    (node): node is ts.InterfaceDeclaration =>
      ts.isInterfaceDeclaration(node) && node.name.text === 'MemoryTaskStoreOptions',
  );
  const rows = table.members.filter(ts.isPropertySignature).map((member) => {
    const doc = commentOf(member, source) ?? '';
    const [text = '', fallback = ''] = doc.split(/\s*@default\s*/);
    return `| \`${member.name.getText(source)}\` | ${fallback} | ${cell(text)} |`;
  });
  return [
    '',
    '## memory',
    '',
    '`new CoordinationManager({ backend: memory({ tasks: { … } }) })`: how much the memory backend remembers. A task that is forgotten can no longer be looked up; dependencies on it are met or not as it ended, for as long as that is remembered, and later wait as for one that is still to be submitted.',
    '',
    '| option | default | |',
    '| --- | --- | --- |',
    ...rows,
  ];
}

function placeOf(part: Part): string {
  switch (part) {
    case 'manager':
      return "At the top of the manager's options. A part that is used alone takes those that concern it.";
    case 'retry':
      return "Within `scheduling`: `{ scheduling: { retry: { … } } }`; also the `retry` of a task and the argument of `retryPolicy`. Not at the top of the manager's options.";
    case 'queue':
      return 'Set for each queue: `mesh.queues.configure(name, { … })`. Not an option of the manager.';
    case 'shutdown':
    case 'health':
      return `\`{ ${part}: { … } }\` in the options of the manager.`;
    default:
      return `\`{ ${part}: { … } }\` in the options of the manager; the class of the part, used alone, takes these rows directly.`;
  }
}

function kindOf(spec: OptionSpec): string {
  if (spec.kind === 'choice') return spec.of.map((word) => `\`${word}\``).join(', ');
  if (spec.kind === 'flag') return '`true`, `false`';
  if (spec.kind === 'other') return '';
  const { min, max } = spec;
  if (max !== undefined) return `${spec.kind}, ${min ?? 0} … ${max}`;
  return min === undefined ? spec.kind : `${spec.kind}, ≥ ${min}`;
}

function defaultOf(spec: OptionSpec): string {
  if (spec.default === undefined) return '';
  return typeof spec.default === 'number' ? spec.default.toLocaleString('en-US') : `\`${spec.default}\``;
}

export const REFERENCE: Readonly<Record<string, () => string>> = {
  'docs/reference/backends.md': renderBackends,
  'docs/reference/calls.md': renderCalls,
  'docs/reference/errors.md': renderErrors,
  'docs/reference/events.md': renderEvents,
  'docs/reference/options.md': renderOptions,
};

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  for (const [path, render] of Object.entries(REFERENCE)) writeFileSync(`${root}${path}`, render());
}
