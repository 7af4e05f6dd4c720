import { checkInteger, checkNumber } from '../../core/check.ts';
import { CoordinationError } from '../../core/errors.ts';
import { checkOptions } from '../../core/options.ts';
import type { Timer } from '../../core/ports/runtime.ts';
import { attempt, type Call } from '../attempt.ts';
import { type LinkedAbort, linkAbort } from '../linked-abort.ts';
import { type Policy, policyRuntime, type PolicyRuntime, signalOf } from './policy.ts';

export interface HedgeOptions {
  /** ms without an answer after which another call is started; the 95th percentile of the latency is a good choice. */
  readonly delayMs: number;
  /** Calls beside the first. @default 1 */
  readonly maxHedges?: number;
}

/**
 * Starts a second call when the first is slow, and takes the first answer; the signals of the others abort. Only for calls that may be
 * made twice. Fails when all calls that were started have failed. Dean & Barroso, The Tail at Scale (2013).
 * @throws the error of the first call; INVALID_ARGUMENT, INVALID_OPTION
 */
export function hedgePolicy(options: HedgeOptions, runtime?: Partial<PolicyRuntime>): Policy {
  const given = checkOptions('hedge', options, ['delayMs', 'maxHedges']);
  const delayMs = checkNumber(given.delayMs, 'hedge.delayMs', 0);
  const most = 1 + checkInteger(given.maxHedges ?? 1, 'hedge.maxHedges', 1, 100);
  const { clock } = policyRuntime(runtime);

  const race = <R>(call: Call<R>, signal: AbortSignal | undefined): Promise<R> =>
    new Promise<R>((resolve, reject) => {
      const links: LinkedAbort[] = [];
      let failed = 0;
      let firstError: { readonly error: unknown } | undefined;
      let timer: Timer | undefined;
      const finish = (winner: LinkedAbort | undefined, reason: unknown): void => {
        timer?.cancel();
        signal?.removeEventListener('abort', stop);
        for (const link of links) {
          link.unlink();
          if (link !== winner) link.abort(reason);
        }
      };
      const stop = (): void => {
        finish(undefined, signal?.reason);
        reject(signal?.reason as Error);
      };
      const start = (): void => {
        const link = linkAbort();
        links.push(link);
        if (links.length < most) timer = clock.after(delayMs, start, true);
        attempt(call, link.signal).then(
          (value) => {
            finish(link, new CoordinationError('TIMEOUT', 'Another call of the hedge was faster'));
            resolve(value);
          },
          (error: unknown) => {
            failed += 1;
            firstError ??= { error };
            if (failed < links.length) return;
            finish(link, undefined);
            reject(firstError.error);
          },
        );
      };
      signal?.addEventListener('abort', stop, { once: true });
      start();
    });

  return {
    execute: async (call, options) => race(call, signalOf(options)),
  };
}
