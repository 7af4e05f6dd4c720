import type { Clock, Ids, Random } from '../ports/runtime.ts';

const HEX = Array.from({ length: 65_536 }, (_, i) => i.toString(16).padStart(4, '0'));

/**
 * UUIDv7 (RFC 9562, method 1): 48 bits of wall ms, a 26-bit counter that restarts at a random place each ms, 48 random bits that
 * are drawn once a ms. Strictly increasing within a process, also when the wall clock goes back.
 */
export function createIds(clock: Clock, random: Random): Ids {
  let lastMs = -1;
  let counter = 0;
  let head = '';
  let tail = '';
  const word = (): number => Math.floor(random.next() * 65_536);
  return {
    next(): string {
      const ms = clock.wall();
      if (ms > lastMs || counter >= 0x3ff_ffff) {
        lastMs = Math.max(ms, lastMs + 1);
        counter = Math.floor(random.next() * 0x1ff_ffff);
        const stamp = Math.floor(lastMs).toString(16).padStart(12, '0');
        head = `${stamp.slice(0, 8)}-${stamp.slice(8, 12)}-7`;
        tail = `-${HEX[word()]}${HEX[word()]}${HEX[word()]}`;
      } else counter += 1;
      const high = (counter >>> 14) & 0xfff;
      const low = 0x8000 | (counter & 0x3fff);
      return head + (HEX[high] as string).slice(1) + '-' + (HEX[low] as string) + tail;
    },
  };
}
