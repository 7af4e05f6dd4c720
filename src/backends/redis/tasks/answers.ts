import type {
  Claim,
  ClaimAnswer,
  Consequences,
  Ended,
  EnqueueResult,
  SettleResult,
} from '../../../core/ports/tasks.ts';
import type { BackendTime, SessionNumber, Token } from '../../../core/ports/words.ts';
import { claimOf, type Kinds, kindsOf } from './records.ts';
import { stateOf } from './states.ts';
import { fromStored } from './text.ts';

/** What a script says of a call: its parts, the results one by one, and what the call set in motion. */
export interface Answer {
  readonly consequences: Consequences;
  readonly results: readonly string[];
  /** Parts beyond those that all have. */
  readonly rest: readonly string[];
}

export function answerOf(reply: unknown): Answer {
  const [at, more, opened, results = '', readied = '', ended = '', ...rest] = (reply as string).split(
    '\u001d',
  );
  return {
    consequences: {
      at: timeOf(at),
      readied: itemsOf(readied).map((item) => {
        const [task = '', queue = ''] = item.split('\u001f');
        return { task: fromStored(task), queue: fromStored(queue) };
      }),
      ended: itemsOf(ended).map(endedOf),
      more: more === '1',
      opened: opened === '1',
    },
    results: resultsOf(results),
    rest,
  };
}

export function itemsOf(text: string): readonly string[] {
  return text === '' ? [] : text.split('\u001e');
}

export function timeOf(text: string | undefined): BackendTime {
  return Number(text) as BackendTime;
}

/** `*` and a number before a result: so many times the same. */
function resultsOf(text: string): readonly string[] {
  if (!text.startsWith('*')) return itemsOf(text);
  const space = text.indexOf(' ');
  return new Array<string>(Number(text.slice(1, space))).fill(text.slice(space + 1));
}

function endedOf(item: string): Ended {
  const [task = '', queue = '', state = '', reason = '', parent = ''] = item.split('\u001f');
  return {
    task: fromStored(task),
    queue: fromStored(queue),
    state: stateOf(state) as Ended['state'],
    reason: fromStored(reason),
    ...(parent === '' ? {} : { parent: fromStored(parent) }),
  };
}

export function enqueueResult(text: string): EnqueueResult {
  const rest = text.slice(1);
  switch (text.charAt(0)) {
    case 'e':
      return { status: 'enqueued', state: stateOf(rest) } as EnqueueResult;
    case 'd':
      return {
        status: 'duplicate',
        id: fromStored(rest.slice(2)),
        state: stateOf(rest.charAt(0)),
        replaced: rest.charAt(1) === '1',
      };
    case 'x':
      return { status: 'conflict', id: fromStored(rest) };
    case 'y':
      return { status: 'cycle', path: rest.split('\u001f').map(fromStored) };
    default: {
      const space = rest.indexOf(' ');
      return {
        status: 'full',
        queue: fromStored(rest.slice(space + 1)),
        length: Number(rest.slice(0, space)),
      };
    }
  }
}

export function settleResult(text: string): SettleResult {
  const state = stateOf(text.charAt(1));
  switch (text.charAt(0)) {
    case 's':
      return { status: 'settled', state };
    case 't':
      return { status: 'stale', state, token: Number(text.slice(2)) as Token };
    default:
      return { status: 'gone' };
  }
}

type ClaimReply = readonly [string, string, string, string[], string | string[], string[], (string | null)[]];

/** @param taken by a takeover */
export function claimAnswer(reply: unknown, session: SessionNumber, taken: boolean): ClaimAnswer {
  const [at, more, names, records, rights, numbers, texts] = reply as ClaimReply;
  const ids = itemsOf(names);
  const kinds = kindsOf(numbers, texts);
  const claims: Claim[] = [];
  const [first, begun] = typeof rights === 'string' ? rights.split(' ').map(Number) : [];
  for (const [i, id] of ids.entries()) {
    const record = records[i] as string;
    // Of a repeated claim: it was settled by its token and pruned meanwhile.
    if (record === '') continue;
    const right = rights[i];
    const started = first === undefined ? right?.startsWith('s') === true : i < (begun as number);
    // What comes behind the token is for the store.
    const token = first === undefined ? Number.parseInt(right?.slice(1) ?? '', 10) : first + i;
    claims.push(claimOf(id, record, { session, token, started }, kinds, taken));
  }
  return { at: timeOf(at), claims, more: more === '1' };
}

export type ReadReply = readonly [
  at: string,
  ids: string[],
  records: string[],
  sessions: string[],
  rights: string[],
  numbers: string[],
  texts: string[],
  next: string,
  scanned: number,
];

export function kindsOfReply([, , , , , numbers, texts]: ReadReply): Kinds {
  return kindsOf(numbers, texts);
}
