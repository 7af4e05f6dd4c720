import { setTimeout as sleep } from 'node:timers/promises';
import type { TaskContext, TaskSpec } from '../../../src/index.ts';
import type { TaskKind } from '../journal.ts';
import { below, codeOf, type WorkParts } from './parts.ts';

/** Of 100 submissions. */
const SHARES: readonly (readonly [TaskKind, number])[] = [
  ['effect', 38],
  ['child', 16],
  ['flaky', 10],
  ['later', 10],
  ['keyed', 9],
  ['order', 7],
  ['dropped', 5],
  ['stubborn', 5],
];
const KEYS = 6;
/** A failed attempt is tried again soon and often: the ledger is away now and then. */
const RETRY = { maxAttempts: 60, delayMs: 50, maxDelayMs: 500 } as const;
const STUBBORN_MS = 150;

/** Handlers of all kinds of tasks. */
export function handlerOf({ journal, ledger, p }: WorkParts): (context: TaskContext) => Promise<unknown> {
  let running = 0;
  return async (context) => {
    const { task, token, attempt } = context;
    const kind = task.type as TaskKind;
    running += 1;
    journal.note({ e: 'begin', task: task.id, kind, token, attempt, running });
    let how = 'well';
    try {
      await run(kind, context);
      return { by: p };
    } catch (error) {
      how = codeOf(error);
      throw error;
    } finally {
      running -= 1;
      journal.note({ e: 'finish', task: task.id, token, how });
    }
  };

  async function run(kind: TaskKind, context: TaskContext): Promise<void> {
    const { input, id } = context.task;
    if (kind === 'poison') process.kill(process.pid, 'SIGKILL');
    if (kind === 'flaky' && context.attempt === 1) throw new Error('the first attempt always fails');
    // It ignores the signal, as most work does.
    await sleep(kind === 'stubborn' && context.attempt === 1 ? STUBBORN_MS * 3 : Number(input.ms));
    if (kind === 'effect' || kind === 'child') await ledger.effect(context, p);
    else if (id === '') throw new Error('a task without an id');
  }
}

/** Submits tasks of all kinds, one after another. */
export function submitting(parts: WorkParts): () => Promise<void> {
  const { mesh, journal, random, ledger, p, next } = parts;
  const recent: string[] = [];

  return async () => {
    await sleep(40 + below(random, 120));
    const kind = pick();
    const n = next();
    try {
      if (kind === 'keyed') await keyed(n);
      else if (kind === 'order' && ledger.order !== undefined) await order(n);
      else await plain(kind === 'order' ? 'effect' : kind, n);
    } catch (error) {
      journal.note({ e: 'refused', n, code: codeOf(error) });
    }
  };

  function pick(): TaskKind {
    let dice = below(random, 100);
    for (const [kind, share] of SHARES) {
      dice -= share;
      if (dice < 0) return kind;
    }
    return 'effect';
  }

  function specOf(kind: TaskKind, n: number): TaskSpec {
    return {
      type: kind,
      queue: 'work',
      input: { ms: 10 + below(random, 90) },
      metadata: { by: p, n },
      priority: 1 + below(random, 3),
      retry: RETRY,
      keepMs: 3_600_000,
    };
  }

  async function plain(kind: TaskKind, n: number): Promise<void> {
    // Most have a name; where the library makes one, nobody knows it before the answer.
    const task = random.next() < 0.8 ? `${p}-${n}` : undefined;
    const after = kind === 'child' ? parents() : undefined;
    const delayMs = kind === 'later' || kind === 'dropped' ? 100 + below(random, 1_000) : undefined;
    const details = {
      ...(task === undefined ? {} : { task }),
      ...(after === undefined ? {} : { after }),
      ...(delayMs === undefined ? {} : { delayMs }),
    };
    journal.note({ e: 'submit', n, kind, ...details });
    const handle = await mesh.submitTask({
      ...specOf(kind, n),
      ...(task === undefined ? {} : { id: task }),
      ...(after === undefined
        ? {}
        : { dependencies: after.map((id) => ({ task: id, onFailure: 'continue' })) }),
      ...(delayMs === undefined ? {} : { delayMs }),
      ...(kind === 'stubborn' ? { timeoutMs: STUBBORN_MS } : {}),
    });
    journal.note({ e: 'submitted', n, task: handle.id });
    recent.push(handle.id);
    if (recent.length > 20) recent.shift();
    if (kind === 'dropped') await drop(handle.id);
    else if (random.next() < 0.2) void hear(handle);
  }

  /** One or two that were submitted before. */
  function parents(): string[] {
    const ids = [0, 1].map(() => recent[below(random, Math.max(1, recent.length))]);
    return [...new Set(ids)].filter((id) => id !== undefined);
  }

  async function drop(task: string): Promise<void> {
    await sleep(below(random, 150));
    const { status } = await mesh.cancelTask(task, 'chaos');
    journal.note({ e: 'cancelled', task, status });
  }

  async function hear(handle: { readonly id: string; result(): Promise<unknown> }): Promise<void> {
    try {
      await handle.result();
      journal.note({ e: 'outcome', task: handle.id, as: 'completed' });
    } catch (error) {
      journal.note({ e: 'outcome', task: handle.id, as: codeOf(error) });
    }
  }

  /** Several processes submit with the same key at the same time; sometimes another payload. */
  async function keyed(n: number): Promise<void> {
    const key = `key-${Math.floor(Date.now() / 60_000)}-${below(random, KEYS)}`;
    const other = random.next() < 0.15;
    journal.note({ e: 'submit', n, kind: 'keyed', key, other });
    const { metadata: _, ...spec } = specOf('keyed', n);
    const handle = await mesh.submitTask({ ...spec, input: { ms: 20, other }, idempotencyKey: key });
    journal.note({ e: 'submitted', n, task: handle.id, key });
  }

  async function order(n: number): Promise<void> {
    const task = `${p}-${n}`;
    const rolledBack = random.next() < 0.4;
    journal.note({ e: 'submit', n, kind: 'order', task, rolledBack });
    const submit = (client: unknown): Promise<unknown> =>
      mesh.submitTask({ ...specOf('order', n), id: task }, { client });
    await ledger.order?.(task, rolledBack, submit);
    if (!rolledBack) journal.note({ e: 'submitted', n, task });
  }
}
