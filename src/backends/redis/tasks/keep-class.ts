/** Up to here a class is a number of ms, beyond it each is 2.5 % longer than the one before. */
const EXACT = 40;
const GROWTH = 1.025;
const CLASSES = 36 ** 2;

let lastMs = -1;
let lastClass = '';

/**
 * The class of a time that an ended task is kept, rounded up: two characters, so that tasks which are kept about equally long fall due in the order in
 * which they end. 0 ms is a class of its own.
 */
export function keepClassOf(keepMs: number): string {
  if (keepMs !== lastMs) {
    lastClass = classOf(keepMs);
    lastMs = keepMs;
  }
  return lastClass;
}

function classOf(keepMs: number): string {
  if (keepMs <= 0) return '00';
  let n = Math.ceil(keepMs);
  if (n > EXACT) n = EXACT + Math.ceil(Math.log(keepMs / EXACT) / Math.log(GROWTH));
  return Math.min(n, CLASSES - 1)
    .toString(36)
    .padStart(2, '0');
}
