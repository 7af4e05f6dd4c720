import ts from 'typescript';
import { cell, commentOf, GENERATED, parse, sentence } from './doc-comments.ts';

/** Where each type of an argument is declared. */
const FILES: Readonly<Record<string, string>> = {
  TaskFields: 'src/scheduler/types.ts',
  RequiredInput: 'src/scheduler/types.ts',
  Dependency: 'src/scheduler/types.ts',
  SubmitOptions: 'src/scheduler/types.ts',
  ResultOptions: 'src/scheduler/types.ts',
  GatherOptions: 'src/scheduler/types.ts',
  AgentProfile: 'src/scheduler/types.ts',
  RetryOptions: 'src/scheduler/retry.ts',
  ListPage: 'src/scheduler/queue-admin.ts',
  TaskFilter: 'src/core/ports/tasks.ts',
  ResourceRequest: 'src/core/lock-types.ts',
  AcquireOptions: 'src/core/lock-types.ts',
  SendOptions: 'src/messaging/types.ts',
  BroadcastOptions: 'src/messaging/types.ts',
  RequestOptions: 'src/messaging/types.ts',
  SubscribeOptions: 'src/messaging/types.ts',
  DeadLetterFilter: 'src/messaging/types.ts',
  ExecuteOptions: 'src/circuit-breaker/circuit-breaker.ts',
  FailureWindow: 'src/circuit-breaker/breaker-rules.ts',
  SlowRule: 'src/circuit-breaker/breaker-rules.ts',
  BulkheadOptions: 'src/circuit-breaker/policies/bulkhead-policy.ts',
  HedgeOptions: 'src/circuit-breaker/policies/hedge-policy.ts',
  ConflictFacts: 'src/conflicts/conflict-facts.ts',
};

interface Section {
  readonly title: string;
  /** Which calls take it. */
  readonly calls: string;
  /** Its name; without, the section is its notes. */
  readonly type?: string;
  /** The types whose fields it has. @default the type itself */
  readonly of?: readonly string[];
  /** Fields that are written elsewhere than in an interface. */
  readonly first?: readonly Field[];
  readonly notes?: readonly string[];
}

const CHAPTERS: readonly { readonly title: string; readonly sections: readonly Section[] }[] = [
  {
    title: 'Tasks',
    sections: [
      {
        title: 'A task',
        type: 'TaskSpec',
        first: [
          {
            name: 'type',
            optional: false,
            type: 'string',
            comment: 'What kind of task it is: it chooses the handler, and the queue unless `queue` does.',
          },
        ],
        of: ['RequiredInput', 'TaskFields'],
        calls:
          '`submitTask(task)`, `runTask(task)`, `submitTasks(tasks)`, `assignTask(task, agentId?)`; in a handler `submit(task)`, `gather(tasks)`; the `defaults` of `defineTask`',
        notes: ['Fields that are not in the table are ignored, so the record may be one of your own.'],
      },
      { title: 'A dependency of a task', type: 'Dependency', calls: 'the `dependencies` of a task' },
      {
        title: 'Retries of a task',
        type: 'RetryOptions',
        calls: 'the `retry` of a task (without `decide`: functions are not stored), `scheduling.retry`',
        notes: [
          '`false` is one attempt. `scheduling.retry` also takes the preset `agentMesh`. Each field may be left out.',
        ],
      },
      {
        title: 'How a task is submitted',
        type: 'SubmitOptions',
        calls: '`submitTask(task, options)`',
        notes: ['`runTask`, `submitTasks` and `assignTask` take no options, and refuse them.'],
      },
      { title: 'Waiting for a result', type: 'ResultOptions', calls: '`handle.result(options)`' },
      {
        title: 'Gathering',
        type: 'GatherOptions',
        calls: '`gather(handles, options)` of a manager; `gather(tasks, options)` in a handler',
      },
      { title: 'An agent', type: 'AgentProfile', calls: '`registerAgent(agent)`' },
    ],
  },
  {
    title: 'Queues',
    sections: [
      {
        title: 'Settings of a queue',
        calls: '`queues.configure(queue, settings)`',
        notes: [
          '`QueueSettings`: the rows of [queue](options.md#queue). What is left out stays as it is; `undefined` takes a limit away.',
        ],
      },
      {
        title: 'Which tasks',
        type: 'TaskFilter',
        calls:
          '`queues.list(filter)`, `queues.reprioritise(filter, priority)`, `queues.edit(filter, input)`, `queues.redrive(filter)`, `queues.discard(filter)`',
        notes: [
          'Fields are joined by *and*; `{}` is every task. `redrive({})` revives all dead **and all cancelled** tasks: name `{ state: ["dead"] }` to leave the cancelled alone. `discard({})` forgets **every** ended task with its result.',
        ],
      },
      {
        title: 'Which page',
        type: 'ListPage',
        calls: '`queues.list(filter, page)`, `queues.history(taskId, page)`',
      },
    ],
  },
  {
    title: 'Locks',
    sections: [
      {
        title: 'What is locked',
        type: 'ResourceRequest',
        calls: '`acquire`, `withLock`, `acquireAll`, the `locks` of a task, `withLock` in a handler',
      },
      {
        title: 'How it is taken',
        type: 'AcquireOptions',
        calls:
          '`acquire(resource, options)`, `acquireResource(id, agentId, options)`, `withLock(resource, use, options)`',
      },
    ],
  },
  {
    title: 'Messages',
    sections: [
      {
        title: 'Sending',
        type: 'SendOptions',
        calls: '`sendMessage(from, to, payload, options)`, `send` of a router',
      },
      { title: 'Broadcasting', type: 'BroadcastOptions', calls: '`broadcast(from, payload, options)`' },
      { title: 'Asking', type: 'RequestOptions', calls: '`request(from, to, payload, options)`' },
      { title: 'Listening', type: 'SubscribeOptions', calls: '`subscribe(agentId, handler, options)`' },
      {
        title: 'Which dead letters',
        type: 'DeadLetterFilter',
        calls: '`messages.deadLetters(filter)`, `messages.redrive(filter)`, `messages.discard(filter)`',
        notes: ['`{}` is every dead letter.'],
      },
    ],
  },
  {
    title: 'Breakers and policies',
    sections: [
      {
        title: 'A call through a breaker',
        type: 'ExecuteOptions',
        calls: '`breaker.execute(call, options)`',
        notes: ['The options of the breaker itself are in [options](options.md#breakers).'],
      },
      { title: 'A window of failures', type: 'FailureWindow', calls: 'the option `window` of a breaker' },
      { title: 'A rule for slow calls', type: 'SlowRule', calls: 'the option `slow` of a breaker' },
      {
        title: 'Retrying',
        calls: '`retryPolicy(options)`',
        notes: [
          "The rows of [retry](options.md#retry); `decide` is called as `(error, attempt)` and answers `{ retryInMs }`, `'bury'` or `undefined`. The `retryAfterMs` of an error is honoured.",
        ],
      },
      { title: 'Bounding', type: 'BulkheadOptions', calls: '`bulkheadPolicy(options)`' },
      { title: 'Hedging', type: 'HedgeOptions', calls: '`hedgePolicy(options)`' },
      {
        title: 'Limiting and falling back',
        calls: '`timeoutPolicy(ms)`, `fallbackPolicy(fallback, when?)`',
        notes: [
          '`ms` is at least 1. `fallback(error)` answers instead of a call that failed; `when(error)` says for which errors, by default for all.',
        ],
      },
    ],
  },
  {
    title: 'Conflicts',
    sections: [
      {
        title: 'What is known',
        type: 'ConflictFacts',
        calls:
          '`conflicts.resolveConflict(id, strategy, facts)`, `conflicts.reportResourceConflict(id, agents, facts)`, `conflicts.reportTaskConflict(id, agents, kind, facts)`, `conflicts.reportVersionConflict(id, agents, facts)`',
        notes: [
          'Maps have agent ids as keys. `priority` decides from `agentPriorities`, `timestamp` from `requestTimestamps`, `vote` from `votes`, `optimistic-version` from `versions` and `currentVersion`, `merge` from `contents`.',
        ],
      },
    ],
  },
];

/** Fields whose name says everything to the compiler and too little to a reader. A comment in the source goes before these. */
const SAID_HERE: Readonly<Record<string, string>> = {
  'TaskFields.id': 'The same id again with the same input is the same task.',
  'TaskFields.queue': 'Where it waits; queues are limited, paused and ordered apart.',
  'TaskFields.priority': 'Larger is more urgent: low 1, medium 2, high 3, or −1,000…1,000.',
  'TaskFields.weight': 'How much work it is, for the load of queues. @default 1',
  'ListPage.limit': 'Tasks on a page.',
  'SlowRule.minCalls': 'Calls to be counted before the ratio means anything.',
  'TaskFields.dependencies':
    'Tasks that have to end first, by id; they may be submitted later. A cycle is refused with `DEPENDENCY_CYCLE`. @default none',
  'TaskFields.capabilities': 'What an agent must have to get it, all of them. @default none',
  'TaskFields.agents': 'Which agents.',
  'TaskFields.agents.prefer':
    'The first of these that has a free slot and may take it; the strategy decides when there is none.',
  'TaskFields.agents.exclude': 'Never these.',
  'TaskFields.delayMs': 'Ready so long after it was submitted. @default 0',
  'TaskFields.runAt': 'Ready at this time, by the clock of this process. @default now',
  'TaskFields.retry':
    'Goes before `scheduling.retry`, field by field; `false`: one attempt. @default scheduling.retry',
  'TaskFields.metadata': 'JSON-safe, at most 16 KiB: for people, strategies and handlers (`task.metadata`).',
  'Dependency.task': 'The id of the task to wait for.',
  'Dependency.onFailure':
    "What becomes of this task when that one fails: `cancel` or `skip` it, `wait` until that one is redriven, or `continue` all the same. @default 'cancel'",
  'ResultOptions.signal': 'Ends the wait, not the task; rejects with its reason.',
  'GatherOptions.rest': "What becomes of those that are not needed any more. @default 'cancel'",
  'GatherOptions.signal': 'Ends the wait; rejects with its reason.',
  'AgentProfile.id': 'Its name in all calls and events.',
  'AgentProfile.name': 'For people.',
  'AgentProfile.type': 'For people and strategies.',
  'AgentProfile.capabilities':
    'What it can do; a task goes only to an agent that has all it names. @default none',
  'AgentProfile.priority': 'For strategies and conflicts: larger wins. @default 0',
  'AgentProfile.systemPrompt': 'Kept for you; the library does not read it.',
  'FailureWindow.calls': 'The last so many calls; either this or `windowMs`.',
  'FailureWindow.windowMs': 'The calls of the last so many ms; either this or `calls`.',
  'TaskFilter.ids': 'These tasks.',
  'TaskFilter.state':
    'In one of these states, as stored: `waiting`, `scheduled`, `ready`, `claimed`, `completed`, `dead`, `cancelled`, `skipped`.',
  'TaskFilter.queue': 'Of this queue.',
  'TaskFilter.type': 'Of this type.',
  'TaskFilter.agent': 'Given to this agent.',
  'TaskFilter.group': 'Of this group.',
  'TaskFilter.key': 'With this idempotency key.',
  'TaskFilter.parent': 'Parts of this task.',
  'TaskFilter.errorSignature':
    'Whose last error is alike: code and first line, with numbers and ids left out.',
  'ListPage.after': 'The `next` of the page before. @default from the start',
};

interface Field {
  readonly name: string;
  readonly optional: boolean;
  readonly type: string;
  readonly comment: string;
}

/** The tables of everything that calls take. Throws for a field that nothing is said about. */
export function renderCalls(): string {
  const lines = [
    '# Calls',
    '',
    `${GENERATED} What the calls take, with defaults; what the parts are configured with is in [options](options.md). Names that end in \`Ms\` are milliseconds. A field with \`?\` may be left out. Options refuse fields they don't know; tasks and agents ignore them. All of these types are exported by \`agentmesh\`, the \`RetryOptions\` of \`retryPolicy\` as \`RetryPolicyOptions\`.`,
  ];
  for (const { title, sections } of CHAPTERS) {
    lines.push('', `## ${title}`);
    for (const section of sections) lines.push('', ...renderSection(section));
  }
  return `${lines.join('\n')}\n`;
}

function renderSection(section: Section): readonly string[] {
  const { title, calls, type, notes = [] } = section;
  const lines = [`### ${title}`, '', `${type === undefined ? '' : `\`${type}\`: `}${calls}.`];
  if (type === 'ResourceRequest') lines.push(...renderForms(type));
  else if (type !== undefined) lines.push(...renderFields(section, type));
  for (const note of notes) lines.push('', note);
  return lines;
}

/** A type that is one of several forms, by its comment and the forms. */
function renderForms(type: string): readonly string[] {
  const { node, source } = declarationOf(type);
  if (!ts.isTypeAliasDeclaration(node) || !ts.isUnionTypeNode(node.type))
    throw new Error(`reference-calls: ${type} is no union any more`);
  const forms = node.type.types.map((form) => `- \`${plain(form.getText(source))}\``);
  return ['', sentence(commentOf(node, source) ?? ''), '', ...forms];
}

function renderFields({ of, first = [] }: Section, type: string): readonly string[] {
  const fields = [...first, ...(of ?? [type]).flatMap((name) => fieldsOf(name))];
  const rows = fields.map((field) => {
    const { text, byDefault } = split(field.comment);
    return `| \`${field.name}${field.optional ? '?' : ''}\` | \`${cell(field.type)}\` | ${cell(byDefault)} | ${cell(text)} |`;
  });
  return ['', '| field | type | default | |', '| --- | --- | --- | --- |', ...rows];
}

/** A comment without its `@default`, and that. */
export function split(comment: string): { readonly text: string; readonly byDefault: string } {
  const [text = '', byDefault = ''] = comment.split('@default');
  return { text: text.replaceAll('@throws', 'Throws').trim(), byDefault: byDefault.trim() };
}

type Declaration = ts.InterfaceDeclaration | ts.TypeAliasDeclaration;

function declarationOf(type: string): { readonly node: Declaration; readonly source: ts.SourceFile } {
  const path = FILES[type];
  if (path === undefined) throw new Error(`reference-calls: where is ${type} declared?`);
  const source = parse(path);
  const node = source.statements.find(
    (statement): statement is Declaration =>
      (ts.isInterfaceDeclaration(statement) || ts.isTypeAliasDeclaration(statement)) &&
      statement.name.text === type,
  );
  if (node === undefined) throw new Error(`${path}: ${type} is not there any more`);
  return { node, source };
}

/** The fields of a type, inherited ones after its own. */
function fieldsOf(type: string): readonly Field[] {
  const { node, source } = declarationOf(type);
  if (ts.isTypeAliasDeclaration(node)) return inNode(node.type, source, `${type}.`);
  const inherited = (node.heritageClauses ?? []).flatMap((clause) =>
    clause.types.flatMap((base) =>
      basedOn(base.expression.getText(source), base.typeArguments ?? [], source),
    ),
  );
  const own = inMembers(node.members, source, `${type}.`);
  return [...own, ...inherited.filter(({ name }) => !own.some((field) => field.name === name))];
}

/** The fields of `X`, `Omit<X, 'a'>`, `Partial<X>`. */
function basedOn(name: string, given: readonly ts.TypeNode[], source: ts.SourceFile): readonly Field[] {
  const [of, keys] = given;
  if (of === undefined || !ts.isTypeReferenceNode(of)) return fieldsOf(name);
  const base = fieldsOf(of.typeName.getText(source));
  if (name === 'Partial') return base.map((field) => ({ ...field, optional: true }));
  if (name !== 'Omit' || keys === undefined) throw new Error(`reference-calls: what is ${name}<…>?`);
  const left = keys.getText(source);
  return base.filter((field) => !left.includes(`'${field.name}'`));
}

function inNode(node: ts.TypeNode, source: ts.SourceFile, path: string): readonly Field[] {
  if (ts.isTypeLiteralNode(node)) return inMembers(node.members, source, path);
  if (ts.isParenthesizedTypeNode(node)) return inNode(node.type, source, path);
  if (ts.isIntersectionTypeNode(node)) return node.types.flatMap((part) => inNode(part, source, path));
  if (!ts.isUnionTypeNode(node)) return [];
  // A field of one form of several may be missing.
  return node.types.flatMap((form) => inNode(form, source, path));
}

function inMembers(
  members: ts.NodeArray<ts.TypeElement>,
  source: ts.SourceFile,
  path: string,
): readonly Field[] {
  return members.filter(ts.isPropertySignature).flatMap((member) => {
    const place = `${path}${member.name.getText(source)}`;
    const [, ...names] = place.split('.');
    const name = names.join('.');
    const nested = member.type !== undefined && ts.isTypeLiteralNode(member.type) ? member.type : undefined;
    if (nested !== undefined && nested.members.length > 2)
      return inMembers(nested.members, source, `${place}.`);
    const comment = commentForField(place, commentOf(member, source) ?? '');
    return [
      { name, optional: member.questionToken !== undefined, type: typeOf(member, name, source), comment },
    ];
  });
}

/** The comment of the source; where that is nothing but a default, with the sentence from here. Throws when there is none. */
export function commentForField(place: string, own: string): string {
  const comment = split(own).text === '' ? `${SAID_HERE[place] ?? ''} ${own}`.trim() : own;
  if (split(comment).text === '') throw new Error(`${place} has no comment`);
  return comment;
}

function typeOf(member: ts.PropertySignature, name: string, source: ts.SourceFile): string {
  const text = plain(member.type?.getText(source) ?? 'unknown').replace(/ \| undefined$/, '');
  return text === 'number' && name.endsWith('Ms') ? 'ms' : text;
}

/** A type as a reader wants it: without `readonly`, type parameters by what they stand for. */
function plain(text: string): string {
  return text
    .replaceAll(/\breadonly /g, '')
    .replaceAll(/\s+/g, ' ')
    .replace(/^I$/, 'JSON')
    .replace(/^\((.*)\)$/, '$1')
    .trim();
}
