import {
  checkArray,
  checkInteger,
  checkMs,
  checkOptions,
  checkSignal,
  invalid,
  reading,
} from '../core/check.ts';
import { describe } from '../core/errors.ts';
import type { Clock, Timer } from '../core/ports/runtime.ts';
import type { Gathered, GatherOptions, TaskHandle } from './types.ts';

/** Checks the options of a gather before anything is submitted for it. @throws INVALID_ARGUMENT */
export function checkGather(given: GatherOptions): GatherOptions {
  const options = checkOptions<GatherOptions>(given, 'the options of gather');
  const { minimum, rest, timeoutMs } = options;
  if (minimum !== undefined) checkInteger(minimum, 'minimum', 0);
  if (rest !== undefined && rest !== 'cancel' && rest !== 'keep')
    throw invalid(`Expected rest to be cancel or keep, got ${describe(rest)}`);
  if (timeoutMs !== undefined) checkMs(timeoutMs, 'timeoutMs');
  checkSignal(options.signal, 'signal');
  return options;
}

/**
 * Waits for tasks until all have ended, `minimum` have succeeded, or the time is over, and returns what is there. Never rejects because
 * of a task. @throws INVALID_ARGUMENT; `signal.reason` when aborted
 */
export async function gather<R>(
  given: readonly TaskHandle<R>[],
  options: GatherOptions,
  clock: Clock,
): Promise<Gathered<R>> {
  const handles = checkHandles(given);
  const { minimum = handles.length, rest = 'cancel', timeoutMs, signal } = checkGather(options);
  const results: Gathered<R>['results'][number][] = handles.map(({ id }) => ({ id, status: 'unfinished' }));
  let completed = 0;
  let ended = 0;
  await new Promise<void>((resolve, reject) => {
    let timer: Timer | undefined;
    const stop = (): void => {
      timer?.cancel();
      signal?.removeEventListener('abort', onAbort);
    };
    const look = (): void => {
      if (completed < minimum && ended < handles.length) return;
      stop();
      resolve();
    };
    const onAbort = (): void => {
      stop();
      reject(signal?.reason as Error);
    };
    if (signal?.aborted === true) return onAbort();
    signal?.addEventListener('abort', onAbort, { once: true });
    if (timeoutMs !== undefined) timer = clock.after(timeoutMs, () => (stop(), resolve()), true);
    handles.forEach((handle, i) => {
      handle.result().then(
        (value) => {
          results[i] = { id: handle.id, status: 'completed', value };
          completed += 1;
          ended += 1;
          look();
        },
        (error: unknown) => {
          results[i] = { id: handle.id, status: 'failed', error: error as Error };
          ended += 1;
          look();
        },
      );
    });
    look();
  });
  if (rest === 'cancel') {
    const open = handles.filter((_, i) => results[i]?.status === 'unfinished');
    await Promise.all(open.map((handle) => handle.cancel('the others were enough')));
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
