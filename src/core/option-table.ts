/** What an option may be, what it is unless given, and what it does. */
export type OptionSpec =
  | NumberSpec
  | { readonly kind: 'flag'; readonly default: boolean | undefined; readonly doc: string }
  | {
      readonly kind: 'choice';
      readonly of: readonly string[];
      readonly default: string | undefined;
      readonly doc: string;
    }
  /** Checked by the part itself: functions, strategies, nested rules. */
  | { readonly kind: 'other'; readonly default: undefined; readonly doc: string };

export interface NumberSpec {
  readonly kind: 'ms' | 'count' | 'ratio' | 'percent' | 'number';
  readonly default: number | undefined;
  /** @default 0 */
  readonly min?: number;
  readonly max?: number;
  readonly doc: string;
}

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

/** The one table of options: defaults, bounds and the sentences of `docs/reference/options.md`. */
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
    prefetch: {
      kind: 'count',
      default: 0,
      max: 10_000,
      doc: 'On a store across a network: tasks claimed beyond the free slots and not begun, so that the next one is at hand; other processes with free slots take them over. Quick tasks are claimed ahead without it.',
    },
    historySize: {
      kind: 'count',
      default: 1_000,
      min: 1,
      doc: 'Task types × agents whose statistics strategies see.',
    },
  },
  session: {
    leaseMs: {
      kind: 'ms',
      default: 30_000,
      min: 100,
      max: 3_600_000,
      doc: 'How long others wait for a process that gives no sign of life before they take its tasks and locks. Renewed at a third, given up at two thirds. On backends that others can see.',
    },
    thread: {
      kind: 'choice',
      of: ['worker', 'main'],
      default: 'worker',
      doc: 'worker: the lease is renewed from a thread with a connection of its own, so that a blocked event loop keeps it; needs a backend made from a URL or config. main: from the event loop only.',
    },
    stuckMs: {
      kind: 'ms',
      default: 300_000,
      min: 1_000,
      doc: 'An event loop that is blocked longer than this loses the lease all the same: a handler is stuck.',
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
      doc: 'Whether all processes of the mesh share one state over the backend: where one opens it, all refuse; one of them probes.',
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
      default: undefined,
      doc: 'After that: abort and count the attempt, or give it back uncounted, to run elsewhere at once. Default release where processes share the backend, abort in memory.',
    },
  },
  health: {
    intervalMs: { kind: 'ms', default: 500, min: 10, doc: 'Time between checks.' },
    stuckMs: { kind: 'ms', default: 1_500, min: 10, doc: 'A sweep that has not run for this long is stuck.' },
  },
} as const satisfies Readonly<Record<string, OptionTable>>;

export type Part = keyof typeof OPTIONS;
