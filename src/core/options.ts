import { reading } from './check.ts';
import { CoordinationError, describe } from './errors.ts';

/**
 * The one table of options: defaults, bounds and the sentences of `docs/reference/options.md`. Every class takes one options object; its
 * own keys are checked here, keys of other parts are known and passed over (one object may go to every class), anything else is refused.
 */
export type OptionSpec =
  | {
      readonly kind: 'ms' | 'count' | 'ratio' | 'percent' | 'number';
      readonly default: number | undefined;
      readonly min?: number;
      readonly max?: number;
      readonly doc: string;
    }
  | { readonly kind: 'flag'; readonly default: boolean | undefined; readonly doc: string }
  | {
      readonly kind: 'choice';
      readonly of: readonly string[];
      readonly default: string | undefined;
      readonly doc: string;
    }
  /** Checked by the part itself: functions, strategies, nested rules. */
  | { readonly kind: 'other'; readonly default: undefined; readonly doc: string };

export type OptionTable = Readonly<Record<string, OptionSpec>>;

/** The five names of the predecessor's config; ms where they are durations. */
const LEGACY = {
  maxRetries: { kind: 'count', default: 3, doc: 'Retries after the first attempt.' },
  retryDelay: { kind: 'ms', default: 1_000, doc: 'Delay before the first retry; doubles with each.' },
  deadlockDetection: { kind: 'flag', default: true, doc: 'Whether waits are checked for deadlocks.' },
  resourceTimeout: { kind: 'ms', default: 30_000, doc: 'Longest wait for a lock.' },
  messageTimeout: {
    kind: 'ms',
    default: 10_000,
    doc: 'Reply deadline, and default expiry of an undelivered message.',
  },
} as const satisfies OptionTable;

export const OPTIONS = {
  manager: LEGACY,
  scheduling: {
    strategy: {
      kind: 'other',
      default: undefined,
      doc: 'Default strategy: a name or an object. Default `capability`.',
    },
    maxConcurrentTasks: {
      kind: 'count',
      default: 10_000,
      min: 1,
      doc: 'Handlers at the same time in this process, over all agents.',
    },
    retry: { kind: 'other', default: undefined, doc: 'Retry policy; see retry.*. `false`: one attempt.' },
    agentSlots: {
      kind: 'count',
      default: 5,
      min: 1,
      doc: 'Slots of an agent without `maxConcurrentTasks` (environment: AGENTMESH_CONCURRENCY).',
    },
    taskTimeoutMs: {
      kind: 'ms',
      default: undefined,
      min: 1,
      doc: 'Time limit of an attempt for tasks without `timeoutMs`. Default none.',
    },
    graceMs: {
      kind: 'ms',
      default: 5_000,
      doc: 'How long an aborted handler keeps its slot; then it is abandoned and counted (T10).',
    },
    preemption: {
      kind: 'flag',
      default: false,
      doc: 'Whether a more urgent task may take the slot of a running `preemptible` one.',
    },
    keepMs: {
      kind: 'ms',
      default: 3_600_000,
      doc: 'How long ended tasks and results are kept. In memory no more than 10,000 of them, dead letters, keys and tasks with a `keepMs` of their own apart: see memory.',
    },
    maxCrashes: {
      kind: 'count',
      default: 3,
      doc: 'Crashed attempts before a task goes to the dead letters.',
    },
    historySize: {
      kind: 'count',
      default: 1_000,
      min: 1,
      doc: 'Task types × agents whose statistics strategies see.',
    },
  },
  retry: {
    maxAttempts: {
      kind: 'count',
      default: 4,
      min: 1,
      doc: 'All attempts, the first included (`maxRetries` + 1).',
    },
    delayMs: { kind: 'ms', default: 1_000, doc: 'Delay before the first retry (`retryDelay`).' },
    factor: { kind: 'number', default: 2, min: 1, max: 100, doc: 'Growth of the delay with each retry.' },
    maxDelayMs: { kind: 'ms', default: 30_000, doc: 'Cap of the delay.' },
    jitter: {
      kind: 'choice',
      of: ['full', 'equal', 'none'],
      default: 'equal',
      doc: 'full: 0…d; equal: d/2…d; none: d.',
    },
    decide: {
      kind: 'other',
      default: undefined,
      doc: 'Last word on a failure: `{ retryInMs }`, `bury`, or `undefined` for the policy.',
    },
  },
  queue: {
    paused: { kind: 'flag', default: false, doc: 'Whether claims stop.' },
    maxLength: {
      kind: 'count',
      default: undefined,
      min: 1,
      doc: 'Unended tasks it may hold. Default unlimited.',
    },
    maxRunning: {
      kind: 'count',
      default: undefined,
      min: 1,
      doc: 'Running tasks over all processes. Default unlimited.',
    },
    maxRunningPerGroup: {
      kind: 'count',
      default: undefined,
      min: 1,
      doc: 'Running tasks of one group. Default unlimited.',
    },
    groupWeights: {
      kind: 'other',
      default: undefined,
      doc: 'Share of a group relative to 1; setting any turns weighted fair share on.',
    },
    ageStepMs: { kind: 'ms', default: 10_000, min: 1, doc: 'Waiting this long is worth one priority point.' },
  },
  resources: {
    leaseMs: {
      kind: 'ms',
      default: 30_000,
      min: 10,
      doc: 'Lease of a lock; renewed at a third, given up at two thirds.',
    },
    ageStepMs: {
      kind: 'ms',
      default: 10_000,
      min: 1,
      doc: 'Waiting this long is worth one priority point in a lock queue.',
    },
    maxOvertakes: { kind: 'count', default: 32, doc: 'How often compatible newcomers may pass a waiter.' },
    victim: { kind: 'other', default: undefined, doc: 'Chooses the victim of a deadlock.' },
  },
  messaging: {
    maxLength: { kind: 'count', default: 10_000, min: 1, doc: 'Messages a mailbox holds.' },
    overflow: {
      kind: 'choice',
      of: ['refuse', 'drop-oldest', 'drop-newest'],
      default: 'refuse',
      doc: 'What happens to a message for a full mailbox.',
    },
    keepMs: {
      kind: 'ms',
      default: undefined,
      doc: 'How long undelivered messages are kept. Default `messageTimeout`.',
    },
    ackWithinMs: {
      kind: 'ms',
      default: 30_000,
      min: 1,
      doc: 'An unacknowledged message is delivered again after this.',
    },
    maxDeliveries: {
      kind: 'count',
      default: 5,
      min: 1,
      doc: 'Deliveries before a message goes to the dead letters.',
    },
    redeliveryDelayMs: {
      kind: 'ms',
      default: 100,
      doc: 'Delay before the first redelivery after a failure; doubles with each, jittered, at most 30 s.',
    },
    concurrency: {
      kind: 'count',
      default: 1,
      min: 1,
      doc: 'Messages of different senders that one subscription handles at the same time.',
    },
  },
  workStealing: {
    enabled: { kind: 'flag', default: true, doc: 'Whether unstarted tasks move between agents.' },
    stealThreshold: {
      kind: 'count',
      default: 3,
      min: 1,
      doc: 'Stealing starts when the difference of loads is greater than this.',
    },
    maxStealBatch: { kind: 'count', default: 2, min: 1, doc: 'Most tasks of one steal.' },
    stealInterval: { kind: 'ms', default: 5_000, min: 1, doc: 'Time between looks at the loads, ms.' },
    maxMoves: { kind: 'count', default: 3, min: 1, doc: 'How often one task may move.' },
  },
  breakers: {
    failureThreshold: {
      kind: 'count',
      default: 5,
      min: 1,
      doc: 'Consecutive failures that open the circuit.',
    },
    successThreshold: {
      kind: 'count',
      default: 2,
      min: 1,
      max: 1_000_000,
      doc: 'Successful probes that close it.',
    },
    timeout: {
      kind: 'ms',
      default: 60_000,
      min: 1,
      max: 31_536_000_000,
      doc: 'Time from open to half-open, ms.',
    },
    halfOpenLimit: { kind: 'count', default: 1, min: 1, max: 1_000, doc: 'Probes at the same time.' },
    probeTimeoutMs: {
      kind: 'ms',
      default: undefined,
      min: 1,
      max: 31_536_000_000,
      doc: 'A probe that has not settled by then gives its place back, and its signal aborts. Default `timeout`.',
    },
    window: {
      kind: 'other',
      default: undefined,
      doc: 'Opens at a share of failures: `{ calls | windowMs, failureRatio, minCalls }`. Replaces `failureThreshold` unless that is given too.',
    },
    slow: {
      kind: 'other',
      default: undefined,
      doc: 'Opens at a share of slow calls in the window, or the last 100 calls: `{ overMs, ratio, minCalls }`. A slow probe counts as failed.',
    },
    classify: { kind: 'other', default: undefined, doc: 'Decides what counts: success, failure, ignore.' },
    shared: {
      kind: 'flag',
      default: false,
      doc: 'Whether the state is shared over the backend. Not supported yet: `true` is refused.',
    },
  },
  metrics: {
    intervalMs: { kind: 'ms', default: 1_000, min: 10, doc: 'Time between samples of gauges and rates.' },
    historyLength: { kind: 'count', default: 3_600, min: 1, doc: 'Samples kept for each metric.' },
  },
  shutdown: {
    drainMs: { kind: 'ms', default: 5_000, doc: 'How long running work may take to finish.' },
    then: {
      kind: 'choice',
      of: ['abort', 'release'],
      default: 'abort',
      doc: 'After that: abort and count the attempt, or give it back uncounted.',
    },
  },
  health: {
    intervalMs: { kind: 'ms', default: 500, min: 10, doc: 'Time between checks.' },
    stuckMs: { kind: 'ms', default: 1_500, min: 10, doc: 'A sweep that has not run for this long is stuck.' },
  },
} as const satisfies Readonly<Record<string, OptionTable>>;

export type Part = keyof typeof OPTIONS;

type ValueOf<S> = S extends { readonly kind: 'flag' }
  ? boolean
  : S extends { readonly kind: 'choice'; readonly of: readonly (infer C)[] }
    ? C
    : S extends { readonly kind: 'other' }
      ? unknown
      : number;
/** The options of a part after checking: defaults filled in; those without default may be `undefined`. */
export type Resolved<P extends Part> = {
  readonly [K in keyof (typeof OPTIONS)[P]]: (typeof OPTIONS)[P][K] extends { readonly default: undefined }
    ? ValueOf<(typeof OPTIONS)[P][K]> | undefined
    : ValueOf<(typeof OPTIONS)[P][K]>;
};

/** Tables that are no part of a manager, and where their rows go. */
const PLACES = {
  manager: "These stand at the top of the manager's options: `{ maxRetries: 3 }`.",
  retry: 'Put it into `scheduling`: `{ scheduling: { retry: { … } } }`.',
  queue: 'Queues are set one by one, after the start: `mesh.queues.configure(queue, { … })`.',
} as const satisfies Partial<Record<Part, string>>;

/** Names of other libraries and of the arguments, which no edit distance finds. */
const OTHER_NAMES: ReadonlyMap<string, string> = new Map([
  ['eventBus', 'Did you mean `events`?'],
  ['heartbeat', 'Did you mean `health`?'],
]);

/** Keys that a manager takes beside the rows of its own table: what it is given, and a part's options under the name of the part. */
export const MANAGER_KEYS: readonly string[] = [
  'backend',
  'events',
  'logger',
  'clock',
  'random',
  'ids',
  'seed',
  'allow',
  'env',
  ...Object.keys(OPTIONS).filter((part) => !(part in PLACES)),
];

/** Rows of the manager's table that a part takes too, under the predecessor's names. */
const LEGACY_OF: Partial<Record<Part, readonly string[]>> = {
  scheduling: ['maxRetries', 'retryDelay'],
  resources: ['resourceTimeout', 'deadlockDetection'],
  messaging: ['messageTimeout'],
};

const KNOWN_ELSEWHERE: ReadonlySet<string> = new Set([
  ...MANAGER_KEYS,
  ...Object.keys(PLACES),
  ...Object.values(OPTIONS).flatMap((table) => Object.keys(table)),
]);

/**
 * Checks the options of a part and fills in the defaults.
 * @param alone true when the object belongs to this part only, so that keys of other parts are refused too.
 * @throws INVALID_OPTION with the nearest known name, or with what was expected.
 */
export function resolveOptions<P extends Part>(
  part: P,
  given: object | undefined,
  alone = false,
): Resolved<P> {
  const table: OptionTable = OPTIONS[part];
  const values = readable(part, given);
  for (const key of Object.keys(values)) {
    if (Object.hasOwn(table, key)) continue;
    if (!alone && KNOWN_ELSEWHERE.has(key)) continue;
    throw unknownOption(part, key, alone ? Object.keys(table) : [...Object.keys(table), ...KNOWN_ELSEWHERE]);
  }
  const resolved: Record<string, unknown> = {};
  for (const [key, spec] of Object.entries(table)) {
    const value = values[key];
    resolved[key] = value === undefined ? spec.default : checkOption(`${part}.${key}`, spec, value);
  }
  return resolved as Resolved<P>;
}

/** The value of one option, checked. @throws INVALID_OPTION */
export function checkOption(name: string, spec: OptionSpec, value: unknown): unknown {
  const refuse = (expected: string): never => {
    throw new CoordinationError(
      'INVALID_OPTION',
      `Expected \`${name}\` to be ${expected}, got ${describe(value)}`,
    );
  };
  switch (spec.kind) {
    case 'other':
      return value;
    case 'flag':
      return typeof value === 'boolean' ? value : refuse('true or false');
    case 'choice':
      return typeof value === 'string' && spec.of.includes(value)
        ? value
        : refuse(`one of ${spec.of.join(', ')}`);
    default: {
      const min = spec.min ?? 0;
      const max =
        spec.max ?? (spec.kind === 'ratio' ? 1 : spec.kind === 'percent' ? 100 : Number.MAX_SAFE_INTEGER);
      const whole = spec.kind === 'count';
      // An unlimited count or time may be asked for as Infinity.
      if (value === Number.POSITIVE_INFINITY && spec.max === undefined && spec.kind !== 'ratio') return value;
      if (
        typeof value !== 'number' ||
        !(value >= min && value <= max) ||
        (whole && !Number.isInteger(value))
      ) {
        return refuse(
          `${whole ? 'an integer' : spec.kind === 'ms' ? 'a number of ms' : 'a number'} from ${min}${max === Number.MAX_SAFE_INTEGER ? '' : ` to ${max}`}`,
        );
      }
      return value;
    }
  }
}

/**
 * A thing that the user hands in to be used as it is (a clock, a logger, a backend): it must have these methods, or it would fail in the
 * middle of something. @throws INVALID_OPTION
 */
export function checkMethods<T>(name: string, value: T, methods: readonly string[]): T {
  if (value === undefined) return value;
  const missing = reading(`\`${name}\``, () =>
    methods.find((method) => typeof (value as Record<string, unknown> | null)?.[method] !== 'function'),
  );
  if (missing === undefined) return value;
  throw new CoordinationError(
    'INVALID_OPTION',
    `Expected \`${name}\` to have a method ${missing}, got ${describe(value)}`,
  );
}

/**
 * Refuses what a manager wouldn't read: keys it doesn't know, and keys of a part that stand beside the part instead of in it.
 * @throws INVALID_OPTION saying where the key belongs, else with the nearest known name
 */
export function refuseMisplaced(options: object): void {
  const known = [...MANAGER_KEYS, ...Object.keys(OPTIONS.manager)];
  for (const key of Object.keys(options)) {
    if (known.includes(key)) continue;
    throw unknownOption('manager', key, known, placeOf(key, 'manager'));
  }
}

/** The same for the options of a part inside of a manager's: there only one part reads them. @throws INVALID_OPTION */
export function refuseMisplacedIn(part: Part, options: object): void {
  const known = [...Object.keys(OPTIONS[part]), ...(LEGACY_OF[part] ?? [])];
  for (const key of Object.keys(options)) {
    if (known.includes(key)) continue;
    throw unknownOption(part, key, known, placeOf(key, part));
  }
}

/** Where a key that is known somewhere else belongs, as a hint. */
function placeOf(key: string, part: Part): string | undefined {
  if (part === 'manager' && Object.hasOwn(PLACES, key)) return PLACES[key as keyof typeof PLACES];
  const other = OTHER_NAMES.get(key);
  if (other !== undefined) return other;
  if (part !== 'manager' && Object.hasOwn(OPTIONS.manager, key)) return PLACES.manager;
  const owners = (Object.keys(OPTIONS) as Part[]).filter(
    (owner) => owner !== 'manager' && owner !== part && Object.hasOwn(OPTIONS[owner], key),
  );
  if (owners.length === 0) return undefined;
  const homes = owners.map((owner) => {
    if (owner === 'retry') return `\`scheduling: { retry: { ${key} } }\``;
    return owner === 'queue' ? `\`mesh.queues.configure(queue, { ${key} })\`` : `\`${owner}: { ${key} }\``;
  });
  return `It belongs to ${homes.join(' or ')}.`;
}

/** Refuses keys that are not in `known`. @throws INVALID_OPTION with the nearest known name */
export function refuseUnknown(part: string, given: object, known: readonly string[]): void {
  checkIsRecord(part, given);
  for (const key of reading(`\`${part}\``, () => Object.keys(given)))
    if (!known.includes(key)) throw unknownOption(part, key, known);
}

function readable(part: string, given: unknown): Record<string, unknown> {
  if (given === undefined || given === null) return {};
  return readOptions(part, given as Record<string, unknown>);
}

/** A copy of the options of a part, read once; its own keys are checked by the part. @throws INVALID_OPTION */
export function readOptions<T extends object>(part: string, given: T): T {
  checkIsRecord(part, given);
  return reading(`\`${part}\``, () => ({ ...given }));
}

function checkIsRecord(part: string, given: unknown): void {
  if (typeof given === 'object' && given !== null && !reading(`\`${part}\``, () => Array.isArray(given)))
    return;
  throw new CoordinationError(
    'INVALID_OPTION',
    `Expected the options of \`${part}\` to be an object, got ${describe(given)}`,
  );
}

function unknownOption(
  part: string,
  key: string,
  known: readonly string[],
  place?: string,
): CoordinationError {
  const nearest = place === undefined ? nearestName(key, known) : undefined;
  const listed =
    nearest === undefined ? `Known are: ${known.slice(0, 30).join(', ')}.` : `Did you mean \`${nearest}\`?`;
  return new CoordinationError('INVALID_OPTION', `Unknown option ${JSON.stringify(key)} of \`${part}\``, {
    hint: place ?? listed,
  });
}

/** Fewer letters in common than this are chance. */
const STEM = 5;

/**
 * The known name that was most likely meant: by edit distance, if at most a third of the letters differ, or because it contains the word
 * (`retries`); else one that begins alike (`failures` for `failureThreshold`).
 */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  const word = name.slice(0, 60).toLowerCase();
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of known) {
    const distance = distanceOf(word, candidate.toLowerCase());
    if (distance >= bestDistance) continue;
    best = candidate;
    bestDistance = distance;
  }
  return best ?? known.find((candidate) => beginsAlike(word, candidate.toLowerCase()));
}

/** `Infinity` for names that have too little in common. */
function distanceOf(word: string, candidate: string): number {
  const distance = editDistance(word, candidate);
  if (distance <= 1) return distance;
  // A word inside of the other is likelier meant than one with two wrong letters.
  if (
    Math.min(word.length, candidate.length) >= STEM &&
    (candidate.includes(word) || word.includes(candidate))
  )
    return 1.5;
  const most = Math.max(2, Math.floor(Math.max(word.length, candidate.length) / 3));
  return distance <= most ? distance : Number.POSITIVE_INFINITY;
}

function beginsAlike(word: string, candidate: string): boolean {
  const shorter = Math.min(word.length, candidate.length);
  let common = 0;
  while (common < shorter && word[common] === candidate[common]) common += 1;
  return common >= STEM && common >= shorter * 0.75;
}

/** Levenshtein 1966. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
