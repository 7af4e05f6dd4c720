import type { Claim, TaskBody, TaskRecord } from '../../../core/ports/tasks.ts';
import type { BackendTime, SessionNumber, Token } from '../../../core/ports/words.ts';
import { stateOf } from './states.ts';
import { fromJson, fromStored } from './text.ts';

type Fields = ReadonlyMap<string, string>;

const NO_FIELDS: Fields = new Map();
const HEADER = 38;
const CHANGING = 1;
const FIXED = 2;
const MAX_NAMED_PARENTS = 20;

/** The texts of kinds by their numbers, as an answer brings them. */
export type Kinds = ReadonlyMap<string, Kind>;

interface Kind {
  readonly queue: string;
  readonly type: string;
  readonly capabilities: readonly string[];
  readonly placement: string | undefined;
}

/** Who has claimed a task. */
export interface Holding {
  readonly session: SessionNumber;
  readonly token: number;
  readonly started: boolean;
}

interface Parsed {
  readonly state: string;
  readonly kind: string;
  readonly at: number;
  readonly crash: number;
  readonly priority: number;
  readonly changing: Fields;
  readonly fixed: Fields;
  readonly payload: string;
}

export function kindsOf(numbers: readonly string[], texts: readonly (string | null)[]): Kinds {
  const kinds = new Map<string, Kind>();
  for (const [i, number] of numbers.entries()) {
    const [queue = '', type = '', capabilities = '', placement = ''] = (texts[i] ?? '').split('\u001f');
    kinds.set(number, {
      queue: fromStored(queue),
      type: fromStored(type),
      capabilities: capabilities === '' ? [] : capabilities.split('\u001e').map(fromStored),
      placement: placement === '' ? undefined : fromStored(placement),
    });
  }
  return kinds;
}

/** A claim, made of the record that its task had. @param taken by a takeover, which says when the task has crashed too often */
export function claimOf(
  id: string,
  record: string,
  { session, token, started }: Holding,
  kinds: Kinds,
  taken: boolean,
): Claim {
  const row = parse(record);
  const { changing } = row;
  const lastError = changing.get('e');
  const deadlineAt = deadlineOf(row);
  const crashes = numberOf(changing, 'c');
  return {
    session,
    task: fromStored(id),
    token: token as Token,
    body: bodyOf(id, row, kinds, true),
    attempt: numberOf(changing, 'a') + 1,
    crashes,
    moves: numberOf(changing, 'm'),
    enqueuedAt: row.at as BackendTime,
    readyAt: (numberOf(changing, 'r') || row.at) as BackendTime,
    started,
    ...(lastError === undefined ? {} : { lastError: fromJson(lastError) }),
    ...(deadlineAt === undefined ? {} : { deadlineAt }),
    ...(taken && crashes > row.crash ? { poison: true } : {}),
  };
}

/** A record as people see it. @param full with payload, result and last error */
export function recordOf(
  id: string,
  record: string,
  held: Holding | undefined,
  kinds: Kinds,
  full: boolean,
): TaskRecord {
  const row = parse(record);
  const { changing, fixed, state } = row;
  const deadlineAt = deadlineOf(row);
  const waitingFor = openParents(changing, fixed);
  const ready = numberOf(changing, 'r') || row.at;
  const wasReady = changing.get('o') !== '0' && (changing.has('o') || (state !== 'w' && state !== 's'));
  return {
    id: fromStored(id),
    body: bodyOf(id, row, kinds, full),
    state: held === undefined ? stateOf(state) : 'claimed',
    token: (held === undefined ? numberOf(changing, 't') : held.token) as Token,
    attempt: numberOf(changing, 'a') + (held === undefined ? 0 : 1),
    crashes: numberOf(changing, 'c'),
    moves: numberOf(changing, 'm'),
    enqueuedAt: row.at as BackendTime,
    readyAt: (wasReady ? ready : 0) as BackendTime,
    started: held?.started === true,
    waitingFor: waitingFor.slice(0, MAX_NAMED_PARENTS),
    waitingCount: waitingFor.length,
    ...(deadlineAt === undefined ? {} : { deadlineAt }),
    ...(state === 's' ? { runAt: ready as BackendTime } : {}),
    ...(held === undefined ? {} : { session: held.session }),
    ...endOf(changing, full),
  };
}

function endOf(changing: Fields, full: boolean): Partial<TaskRecord> {
  const ended = changing.get('z');
  const cancel = changing.get('q');
  const reason = changing.get('x');
  const signature = changing.get('i');
  const result = full ? changing.get('R') : undefined;
  const error = full ? changing.get('e') : undefined;
  return {
    ...(ended === undefined ? {} : { endedAt: Number(ended) as BackendTime }),
    ...(cancel === undefined ? {} : { cancelRequested: fromStored(cancel) }),
    ...(reason === undefined ? {} : { reason: fromStored(reason) }),
    ...(signature === undefined ? {} : { errorSignature: fromStored(signature) }),
    ...(result === undefined ? {} : { result: fromJson(result) }),
    ...(error === undefined ? {} : { error: fromJson(error) }),
  };
}

function bodyOf(id: string, row: Parsed, kinds: Kinds, full: boolean): TaskBody {
  const { fixed } = row;
  const { queue, type, capabilities, placement } = kinds.get(row.kind) ?? MISSING;
  const text = (name: string): string | undefined => {
    const stored = fixed.get(name);
    return stored === undefined ? undefined : fromStored(stored);
  };
  const [key, group, agent, parent] = [text('k'), text('g'), text('A'), text('p')];
  const headers = fixed.get('h');
  const settings = fixed.get('S');
  return {
    id: fromStored(id),
    queue,
    type,
    payload: full ? fromJson(row.payload) : undefined,
    priority: row.priority,
    capabilities,
    weight: fixed.has('w') ? Number(fixed.get('w')) : 1,
    ...(placement === undefined ? {} : { placement }),
    ...(key === undefined ? {} : { key }),
    ...(headers === undefined ? {} : { headers: fromJson(headers) as Readonly<Record<string, unknown>> }),
    ...(group === undefined ? {} : { group }),
    ...(agent === undefined ? {} : { agent }),
    ...(parent === undefined ? {} : { parent }),
    ...(settings === undefined ? {} : { settings: fromJson(settings) }),
  };
}

const MISSING: Kind = { queue: '', type: '', capabilities: [], placement: undefined };

function parse(record: string): Parsed {
  const flags = record.charCodeAt(1) - 48;
  let from = HEADER;
  let changing = NO_FIELDS;
  let fixed = NO_FIELDS;
  if ((flags & CHANGING) !== 0) {
    const to = record.indexOf('\n', from);
    changing = fieldsOf(record.slice(from, to));
    from = to + 1;
  }
  if ((flags & FIXED) !== 0) {
    const to = record.indexOf('\n', from);
    fixed = fieldsOf(record.slice(from, to));
    from = to + 1;
  }
  return {
    state: record.charAt(0),
    kind: record.slice(3, 8),
    at: Number.parseInt(record.slice(10, 23), 16),
    crash: Number(fixed.get('m') ?? record.charAt(34)),
    priority: Number.parseInt(record.slice(35, 38), 16) - 1_000,
    changing,
    fixed,
    payload: record.slice(from),
  };
}

function fieldsOf(part: string): Fields {
  const fields = new Map<string, string>();
  for (const field of part.split('\u001f')) fields.set(field.charAt(0), field.slice(1));
  return fields;
}

function numberOf(fields: Fields, name: string): number {
  return Number(fields.get(name) ?? 0);
}

function deadlineOf({ at, changing, fixed }: Parsed): BackendTime | undefined {
  const deadline = fixed.get('l');
  if (deadline === undefined) return undefined;
  return ((numberOf(changing, 'v') || at) + Number(deadline)) as BackendTime;
}

function openParents(changing: Fields, fixed: Fields): readonly string[] {
  const open = changing.get('u');
  const edges = fixed.get('E');
  if (open === undefined || edges === undefined) return [];
  return edges
    .split('\u001e')
    .filter((_, i) => open.charAt(i) === '1')
    .map((edge) => fromStored(edge.slice(1)));
}
