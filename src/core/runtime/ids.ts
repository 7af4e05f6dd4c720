import type { Clock, Ids, Random } from '../ports/runtime.ts';

const HEX = Array.from({ length: 65_536 }, (_, i) => i.toString(16).padStart(4, '0'));
const COUNTER_SPAN = 2 ** 32;

/**
 * UUIDv7 (RFC 9562, section 6.2, method 1): 48 bits of wall ms, 42 random bits that are drawn once a ms, and in the last 32 bits a counter
 * that starts at a random place below 2^31 in each ms. Strictly increasing within a process, also when the wall clock goes back.
 */
export function createIds(clock: Clock, random: Random): Ids {
  let lastMs = 0;
  let counter = COUNTER_SPAN;
  /** All but the last 16 bits of the counter: one concatenation an id. */
  let head = '';
  let stem = '';
  const word = (): string => HEX[Math.floor(random.next() * 65_536)] as string;

  const startMs = (ms: number): void => {
    lastMs = Math.max(ms, lastMs + 1);
    counter = Math.floor(random.next() * 2 ** 31);
    const stamp = Math.floor(lastMs).toString(16).padStart(12, '0');
    const variant = HEX[0x8000 | Math.floor(random.next() * 0x4000)] as string;
    stem = `${stamp.slice(0, 8)}-${stamp.slice(8)}-7${word().slice(1)}-${variant}-${word()}`;
    head = stem + (HEX[counter >>> 16] as string);
  };
  return {
    next(): string {
      const ms = clock.wall();
      counter += 1;
      if (ms > lastMs || counter >= COUNTER_SPAN) startMs(ms);
      const low = counter & 0xffff;
      if (low === 0) head = stem + (HEX[counter >>> 16] as string);
      return head + (HEX[low] as string);
    },
  };
}
