import { pulseData, renewFromThread } from '../../src/core/pulse-thread.ts';

/** A thread that renews nothing: it counts its tries in the first cell and answers as the second one says. */
export const ANSWERS = ['alive', 'fails', 'never', 'throws', 'drops', 'over'] as const;

const cells = new Int32Array(pulseData<{ readonly cells: SharedArrayBuffer }>().connection.cells);

renewFromThread(() => {
  Atomics.add(cells, 0, 1);
  console.log('canary-password');
  console.error('canary-password');
  switch (ANSWERS[Atomics.load(cells, 1)]) {
    case 'fails':
      return Promise.reject(new Error('canary-password'));
    case 'never':
      return new Promise(() => undefined);
    case 'throws':
      throw new Error('canary-password');
    case 'drops':
      void Promise.reject(new Error('canary-password'));
      setImmediate(() => {
        throw new Error('canary-password');
      });
      return Promise.resolve(true);
    case 'over':
      return Promise.resolve(false);
    default:
      return Promise.resolve(true);
  }
});
