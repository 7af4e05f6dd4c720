import { expect, test } from 'vitest';
import { EventBus } from '../../src/core/event-bus.ts';

/** Defect 60: a throwing listener reached the emitter and skipped the others. */

export interface Emitter {
  on(name: 'custom:event', listener: (payload: unknown) => void): unknown;
  emit(name: 'custom:event', payload: unknown): unknown;
}

/** Throws when a listener's exception reaches the emitter or keeps the event from the next listener. */
export function scenario(create: () => Emitter): void {
  const bus = create();
  const heard: string[] = [];
  bus.on('custom:event', () => void heard.push('first'));
  bus.on('custom:event', () => {
    throw new Error('bad listener');
  });
  bus.on('custom:event', () => void heard.push('third'));
  try {
    bus.emit('custom:event', 1);
  } catch {
    throw new Error('the exception of a listener reached the emitter');
  }
  if (heard.join() !== 'first,third') throw new Error(`heard by ${heard.join()} only`);
}

/** Calls one listener after the other, as event emitters do. */
function naiveEmitter(): Emitter {
  const listeners: ((payload: unknown) => void)[] = [];
  return {
    on: (_, listener) => listeners.push(listener),
    emit: (_, payload) => {
      for (const listener of listeners) listener(payload);
    },
  };
}

test('defect 60: the naive emitter fails', () => {
  expect(() => scenario(naiveEmitter)).toThrow('reached the emitter');
});

test('defect 60: EventBus passes', () => {
  expect(() => scenario(() => new EventBus())).not.toThrow();
});
