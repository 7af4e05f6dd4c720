import { checkInteger, checkMs } from '../core/check.ts';
import type { Clock, Timer } from '../core/ports/runtime.ts';
import type { Gathered, GatherOptions, TaskHandle } from './types.ts';

/**
 * Waits for tasks until all have ended, `minimum` have succeeded, or the time is over, and returns what is there. Never rejects because
 * of a task. @throws INVALID_ARGUMENT; `signal.reason` when aborted
 */
export async function gather<R>(
  handles: readonly TaskHandle<R>[],
  options: GatherOptions,
  clock: Clock,
): Promise<Gathered<R>> {
  const { minimum = handles.length, rest = 'cancel', timeoutMs, signal } = options;
  checkInteger(minimum, 'minimum', 0);
  if (timeoutMs !== undefined) checkMs(timeoutMs, 'timeoutMs');
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
