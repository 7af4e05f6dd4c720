import { GIVE_BACK } from './consumer.ts';
import type { Envelope, MessageHandler } from './types.ts';

interface Shown {
  readonly done: () => void;
  readonly giveBack: () => void;
}

/**
 * An agent's messages as an async iterable. A message is acknowledged when the next one is asked for, or by its `ack()`; leaving the
 * loop in between gives the current one back. Ends when the signal aborts or the router stops.
 * @param open begins to hand messages to a handler and returns how to end that.
 */
export function streamMessages<P>(
  open: (handler: MessageHandler<P>, end: () => void) => () => void,
  signal: AbortSignal | undefined,
): AsyncIterable<Envelope<P>> {
  return { [Symbol.asyncIterator]: () => iterate(open, signal) };
}

function iterate<P>(
  open: (handler: MessageHandler<P>, end: () => void) => () => void,
  signal: AbortSignal | undefined,
): AsyncIterator<Envelope<P>> {
  let ended = false;
  let arrived: Envelope<P> | undefined;
  let shown: Shown | undefined;
  const asked: ((result: IteratorResult<Envelope<P>>) => void)[] = [];

  const show = (message: Envelope<P>): Promise<void> =>
    new Promise((resolve, reject) => {
      shown = { done: resolve, giveBack: () => reject(GIVE_BACK) };
      const next = asked.shift();
      if (next === undefined) arrived = message;
      else next({ done: false, value: message });
    });
  const end = (): void => {
    if (ended) return;
    ended = true;
    signal?.removeEventListener('abort', end);
    close();
    shown?.giveBack();
    shown = undefined;
    arrived = undefined;
    for (const next of asked.splice(0)) next({ done: true, value: undefined });
  };
  const close = signal?.aborted === true ? () => undefined : open(show, end);
  if (signal?.aborted === true) ended = true;
  signal?.addEventListener('abort', end, { once: true });

  return {
    next() {
      if (arrived !== undefined) {
        const value = arrived;
        arrived = undefined;
        return Promise.resolve({ done: false, value });
      }
      shown?.done();
      shown = undefined;
      if (ended) return Promise.resolve({ done: true, value: undefined });
      return new Promise((resolve) => asked.push(resolve));
    },
    return() {
      end();
      return Promise.resolve({ done: true, value: undefined });
    },
  };
}
