import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Ring } from '../../src/core/ring.ts';

test('a ring does what an array does', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          { weight: 5, arbitrary: fc.constant('push' as const) },
          { weight: 2, arbitrary: fc.constant('unshift' as const) },
          { weight: 5, arbitrary: fc.constant('shift' as const) },
          { weight: 1, arbitrary: fc.constant('clear' as const) },
        ),
        { maxLength: 120 },
      ),
      (actions) => {
        const ring = new Ring<number>();
        const array: number[] = [];
        actions.forEach((action, i) => {
          if (action === 'push') {
            ring.push(i);
            array.push(i);
          } else if (action === 'unshift') {
            ring.unshift(i);
            array.unshift(i);
          } else if (action === 'clear') {
            ring.clear();
            array.length = 0;
          } else expect(ring.shift()).toBe(array.shift());
          expect(ring.length).toBe(array.length);
          expect(ring.peek()).toBe(array[0]);
          expect(Array.from({ length: ring.length + 1 }, (_, at) => ring.at(at))).toEqual([
            ...array,
            undefined,
          ]);
        });
      },
    ),
  );
});

test('it gives its memory back when it runs empty, and goes on', () => {
  const ring = new Ring<number>();
  for (let i = 0; i < 5_000; i++) ring.push(i);
  for (let i = 0; i < 5_000; i++) expect(ring.shift()).toBe(i);
  ring.push(7);
  expect([ring.length, ring.peek(), ring.shift(), ring.shift()]).toEqual([1, 7, 7, undefined]);
});

test('a place before the head is nothing, also when the ring is full', () => {
  const ring = new Ring<number>();
  for (let i = 0; i < 16; i++) ring.push(i);
  expect(ring.at(-1)).toBeUndefined();
});
