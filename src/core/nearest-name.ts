/** Fewer letters in common than this are chance. */
const STEM = 5;

/**
 * The known name that was most likely meant: by edit distance, if at most a third of the letters differ, or because it contains the word
 * (`retries`); else one that begins alike (`failures` for `failureThreshold`).
 */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  const word = name.slice(0, 60).toLowerCase();
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of known) {
    const distance = distanceOf(word, candidate.toLowerCase());
    if (distance >= bestDistance) continue;
    best = candidate;
    bestDistance = distance;
  }
  return best ?? known.find((candidate) => beginsAlike(word, candidate.toLowerCase()));
}

/** `Infinity` for names that have too little in common. */
function distanceOf(word: string, candidate: string): number {
  const distance = editDistance(word, candidate);
  if (distance <= 1) return distance;
  // A word inside of the other is likelier meant than one with two wrong letters.
  if (
    Math.min(word.length, candidate.length) >= STEM &&
    (candidate.includes(word) || word.includes(candidate))
  )
    return 1.5;
  const most = Math.max(2, Math.floor(Math.max(word.length, candidate.length) / 3));
  return distance <= most ? distance : Number.POSITIVE_INFINITY;
}

function beginsAlike(word: string, candidate: string): boolean {
  const shorter = Math.min(word.length, candidate.length);
  let common = 0;
  while (common < shorter && word[common] === candidate[common]) common += 1;
  return common >= STEM && common >= shorter * 0.75;
}

/** Levenshtein 1966. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
