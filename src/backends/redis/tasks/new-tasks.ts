import type { FailurePolicy, NewTask } from '../../../core/ports/tasks.ts';
import type { Operation } from '../../../core/ports/words.ts';
import { digestOf } from './digest.ts';
import { keepClassOf } from './keep-class.ts';
import { toItems } from './log-items.ts';
import { toJson, toStored } from './text.ts';

type Argument = string | number;

const FIELD = '\u001f';
const ITEM = '\u001e';
const POLICIES: Readonly<Record<FailurePolicy, string>> = {
  cancel: 'c',
  skip: 's',
  wait: 'w',
  continue: 'o',
};
/** Bytes of a payload beyond which it lies apart, see `lua/rows.ts`. */
const LONGEST_PLAIN = 2_048;
/** Bits of a record's flags. */
const EXTRA = 2;
const GROUPED = 8;
const FIRM = 2;
const FLAGS_FROM = 48;

/** Kind and priority of tasks that differ in their payload alone, with the flags of their records. */
interface Shape {
  readonly kind: string;
  readonly prio: string;
  readonly flags: string;
  readonly group: string;
  readonly index: number;
}

/** The arguments for tasks that are only payload; `undefined` where one of them isn't, or there are none. */
export function plainArguments(op: Operation, tasks: readonly NewTask[]): Argument[] | undefined {
  if (tasks.length === 0) return undefined;
  const ids = new Set<string>();
  const shapes = new Map<string, Shape>();
  const shaped: Shape[] = [];
  for (const task of tasks) {
    if (!isPlain(task) || ids.has(task.id)) return undefined;
    ids.add(task.id);
    shaped.push(shapeOf(task, shapes));
  }
  const stored = [...ids].map(toStored);
  const args: Argument[] = [op.session, op.sequence, tasks.length, shapes.size];
  for (const { kind, prio, flags, group } of shapes.values()) args.push(kind, prio, flags, group);
  args.push(shapes.size === 1 ? toItems(stored) : toRuns(stored, shaped));
  for (const [i, task] of tasks.entries()) {
    if (shapes.size > 1) args.push((shaped[i] as Shape).index);
    const fixed = shaped[i]?.flags.startsWith('0') === true ? '' : `${fixedPart(task)}\n`;
    const payload = toJson(task.payload);
    if (isLong(payload)) return undefined;
    args.push(stored[i] as string, `${headOf(task)}${fixed}${payload}`);
  }
  return args;
}

/** The arguments for any tasks. */
export function enqueueArguments(op: Operation, tasks: readonly NewTask[]): Argument[] {
  const ids = tasks.map(({ id }) => toStored(id));
  const args: Argument[] = [op.session, op.sequence, tasks.length, toItems(ids)];
  for (const [i, task] of tasks.entries()) {
    args.push(
      ids[i] as string,
      kindOf(task),
      `${headOf(task)}${isFirm(task) ? '1' : '0'}`,
      fixedPart(task),
      toJson(task.payload),
      Math.ceil(Math.max(0, task.delayMs ?? 0) * 1_000),
      task.onDuplicate === undefined ? '' : task.onDuplicate.charAt(0),
    );
  }
  return args;
}

export function prioOf(priority: number): string {
  return (priority + 1_000).toString(16).padStart(3, '0');
}

function isPlain(task: NewTask): boolean {
  return (
    task.key === undefined &&
    task.named === undefined &&
    task.dependsOn.length === 0 &&
    task.agent === undefined &&
    task.parent === undefined &&
    task.weight === 1 &&
    task.limits.deadlineMs === undefined &&
    !((task.delayMs ?? 0) > 0)
  );
}

function isFirm({ limits }: NewTask): boolean {
  return limits.keepFirm === true && limits.keepMs > 0;
}

function shapeOf(task: NewTask, shapes: Map<string, Shape>): Shape {
  const isGrouped = task.group !== undefined;
  const hasExtra =
    isGrouped ||
    task.settings !== undefined ||
    task.headers !== undefined ||
    !isDigit(task.limits.maxCrashes);
  const flags = String.fromCharCode(
    FLAGS_FROM + (hasExtra ? EXTRA : 0) + (isGrouped ? GROUPED : 0),
    FLAGS_FROM + (isFirm(task) ? FIRM : 0),
  );
  const kind = kindOf(task);
  const prio = prioOf(task.priority);
  const group = task.group === undefined ? '' : toStored(task.group);
  const name = `${prio}${flags}${kind}\n${group}`;
  let shape = shapes.get(name);
  if (shape === undefined) {
    shape = { kind, prio, flags, group, index: shapes.size + 1 };
    shapes.set(name, shape);
  }
  return shape;
}

/** Runs of tasks of one shape, as the log is to have them: shape, number, ids. */
function toRuns(ids: readonly string[], shaped: readonly Shape[]): string {
  const runs: string[] = [];
  for (let from = 0; from < ids.length; ) {
    let to = from + 1;
    while (to < ids.length && shaped[to] === shaped[from]) to += 1;
    runs.push(`${shaped[from]?.index} ${to - from} ${toItems(ids.slice(from, to))}`);
    from = to;
  }
  return runs.join('\n');
}

let lastKind: Pick<NewTask, 'queue' | 'type' | 'capabilities' | 'placement'> | undefined;
let lastText = '';

function kindOf(task: NewTask): string {
  const { queue, type, capabilities, placement } = task;
  if (
    lastKind === undefined ||
    lastKind.queue !== queue ||
    lastKind.type !== type ||
    lastKind.placement !== placement ||
    (lastKind.capabilities !== capabilities && (lastKind.capabilities.length > 0 || capabilities.length > 0))
  ) {
    lastText = `${toStored(queue)}${FIELD}${needOf(type, capabilities, placement)}`;
    lastKind = {
      queue,
      type,
      capabilities: [...capabilities],
      ...(placement === undefined ? {} : { placement }),
    };
  }
  return lastText;
}

/** What tasks of a kind ask of whoever runs them, as one text. */
export function needOf(type: string, capabilities: readonly string[], placement: string | undefined): string {
  const names = capabilities.map(toStored).join(ITEM);
  return `${toStored(type)}${FIELD}${names}${FIELD}${placement === undefined ? '' : toStored(placement)}`;
}

function headOf({ limits, priority }: NewTask): string {
  const crash = isDigit(limits.maxCrashes) ? limits.maxCrashes : 9;
  return `${keepClassOf(limits.keepMs)}${crash}${prioOf(priority)}`;
}

/** A character takes at most three bytes. */
function isLong(text: string): boolean {
  return text.length * 3 > LONGEST_PLAIN && Buffer.byteLength(text) > LONGEST_PLAIN;
}

function isDigit(n: number): boolean {
  return Number.isInteger(n) && n >= 0 && n <= 9;
}

function fixedPart(task: NewTask): string {
  const { group, agent, key, headers, parent, settings, weight, limits, dependsOn } = task;
  const fields: string[] = [];
  if (group !== undefined) fields.push(`g${toStored(group)}`);
  if (agent !== undefined) fields.push(`A${toStored(agent)}`);
  if (key !== undefined) fields.push(`k${toStored(key)}`);
  if (headers !== undefined) fields.push(`h${JSON.stringify(headers)}`);
  if (parent !== undefined) fields.push(`p${toStored(parent)}`);
  if (settings !== undefined) fields.push(`S${JSON.stringify(settings)}`);
  if (weight !== 1) fields.push(`w${weight}`);
  if (limits.deadlineMs !== undefined) fields.push(`l${Math.ceil(limits.deadlineMs * 1_000)}`);
  if (!isDigit(limits.maxCrashes)) fields.push(`m${limits.maxCrashes}`);
  if (key !== undefined || task.named === true) fields.push(`d${digestOf(task.payload)}`);
  if (dependsOn.length > 0) {
    const edges = dependsOn.map(({ parent: id, onFailure }) => `${POLICIES[onFailure]}${toStored(id)}`);
    fields.push(`E${edges.join(ITEM)}`);
  }
  return fields.join(FIELD);
}
