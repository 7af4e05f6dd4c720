import { checkArray, checkInteger, checkMs, checkSignal, invalid, reading } from '../core/check.ts';
import { describe } from '../core/errors.ts';
import { checkOptions } from '../core/options.ts';
import type { Clock, Timer } from '../core/ports/runtime.ts';
import type { Gathered, GatherOptions, TaskHandle } from './types.ts';

/** Checks the options of a gather before anything is submitted for it. @throws INVALID_ARGUMENT */
export function checkGather(given: GatherOptions): GatherOptions {
  const options = checkOptions('gather', given, ['minimum', 'rest', 'timeoutMs', 'signal']);
  const { minimum, rest, timeoutMs } = options;
  if (minimum !== undefined) checkInteger(minimum, 'minimum', 0);
  if (rest !== undefined && rest !== 'cancel' && rest !== 'keep')
    throw invalid(`Expected rest to be cancel or keep, got ${describe(rest)}`);
  if (timeoutMs !== undefined) checkMs(timeoutMs, 'timeoutMs');
  checkSignal(options.signal, 'signal');
  return options;
}

type Result<R> = Gathered<R>['results'][number];

/**
 * Waits for one task, at most until `over`. `unfinished` before that: the whole gather is to end with what it has. It never rejects because
 * of the task.
 */
export type WaitFor = (handle: TaskHandle, over: Promise<void>) => Promise<Result<unknown>>;

/** How the task ended, whoever waits for it. */
export function endOf(handle: TaskHandle): Promise<Result<unknown>> {
  const { id } = handle;
  return handle.result().then(
    (value) => ({ id, status: 'completed', value }),
    (error: unknown) => ({ id, status: 'failed', error: error as Error }),
  );
}

const untilEnd: WaitFor = async (handle, over) =>
  Promise.race([endOf(handle), over.then(() => ({ id: handle.id, status: 'unfinished' }) as const)]);

/**
 * Waits for tasks until all have ended, `minimum` have succeeded, or the time is over, and returns what is there. Never rejects because
 * of a task. Whatever ends it, the rest is cancelled unless it is to be kept.
 * @throws INVALID_ARGUMENT; `signal.reason` when aborted, and what `waitFor` rejects with
 */
export async function gather<R>(
  given: readonly TaskHandle<R>[],
  options: GatherOptions,
  clock: Clock,
  waitFor: WaitFor = untilEnd,
): Promise<Gathered<R>> {
  const handles = checkHandles(given);
  const { minimum = handles.length, rest = 'cancel', timeoutMs, signal } = checkGather(options);
  const results: Result<R>[] = handles.map(({ id }) => ({ id, status: 'unfinished' }));
  const over = Promise.withResolvers<void>();
  let completed = 0;
  let ended = 0;
  let waits: Promise<void>[] = [];
  const enough = new Promise<void>((resolve, reject) => {
    let timer: Timer | undefined;
    const stop = (): void => {
      timer?.cancel();
      signal?.removeEventListener('abort', onAbort);
    };
    const done = (): void => {
      stop();
      resolve();
    };
    const look = (): void => {
      if (completed >= minimum || ended === handles.length) done();
    };
    const fail = (error: unknown): void => {
      stop();
      reject(error);
    };
    const onAbort = (): void => fail(signal?.reason);
    if (signal?.aborted === true) return onAbort();
    signal?.addEventListener('abort', onAbort, { once: true });
    if (timeoutMs !== undefined) timer = clock.after(timeoutMs, done, true);
    waits = handles.map((handle, i) =>
      waitFor(handle, over.promise).then((result) => {
        if (result.status === 'unfinished') return done();
        results[i] = result as Result<R>;
        ended += 1;
        if (result.status === 'completed') completed += 1;
        look();
      }, fail),
    );
    look();
  });
  try {
    await enough;
  } finally {
    // Counted is what has ended by now: what comes after is somebody else's.
    const open = handles.filter((_, i) => results[i]?.status === 'unfinished');
    over.resolve();
    await Promise.all(waits);
    if (rest === 'cancel')
      await Promise.allSettled(open.map(async (handle) => handle.cancel('nobody waits for it')));
  }
  return { results: [...results], completed, enough: completed >= minimum };
}

function checkHandles<R>(given: readonly TaskHandle<R>[]): readonly TaskHandle<R>[] {
  const handles = reading('handles', () => Array.from(checkArray(given, 'handles') as typeof given));
  for (const handle of handles) {
    const isHandle = reading('a handle', () => {
      const { id, result, cancel } = handle ?? {};
      return typeof id === 'string' && typeof result === 'function' && typeof cancel === 'function';
    });
    if (!isHandle) throw invalid(`Expected handles to hold handles of tasks, got ${describe(handle)}`);
  }
  return handles;
}
