import type { Claim } from '../core/ports/tasks.ts';
import type { SessionNumber } from '../core/ports/words.ts';

const TAIL = 1_000;
const TAILS = Array.from({ length: TAIL }, (_, i) => String(i).padStart(3, '0'));

/** What the last text began with: printing all 16 digits of a token takes longer than placing its task, and claims come in runs. */
let head = '';
let headOf: SessionNumber | undefined;
let headAt = -1;

/** The proof of an assignment as text: session and token. */
export function claimText({ session, token }: Pick<Claim, 'session' | 'token'>): string {
  const at = Math.floor(token / TAIL);
  if (at !== headAt || session !== headOf) {
    head = `${session}.${at === 0 ? '' : at}`;
    headOf = session;
    headAt = at;
  }
  return at === 0 ? `${head}${token}` : head + (TAILS[token - at * TAIL] as string);
}
