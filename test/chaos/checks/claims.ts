import type { Transition } from '../../../src/core/ports/tasks.ts';
import { deeds, type Evidence, found, type Look, type Problem } from './evidence.ts';
import { ownersOf } from './sessions.ts';
import { byTask } from './transitions.ts';

/** From the claim of a ready task to its end: that claim and those that took it over, one after another. */
interface Chain {
  readonly task: string;
  /** The transition before: it has the attempts that counted so far. */
  readonly before: Transition | undefined;
  readonly claims: readonly Transition[];
  readonly end: Transition | undefined;
}

function chainsOf(history: readonly Transition[]): Chain[] {
  const chains: Chain[] = [];
  for (const [task, steps] of byTask(history)) {
    for (const [i, step] of steps.entries()) {
      if (step.to !== 'claimed' || step.from === 'claimed') continue;
      const rest = steps.slice(i + 1);
      const length = rest.findIndex(({ from, to }) => from !== 'claimed' || to !== 'claimed');
      const claims = [step, ...rest.slice(0, length === -1 ? rest.length : length)];
      chains.push({ task, before: steps[i - 1], claims, end: length === -1 ? undefined : rest[length] });
    }
  }
  return chains;
}

const claimName = ({ task, token }: { readonly task: string; readonly token: number }): string =>
  `${task}@${token}`;

/** Names of the claims under which a handler began, with who it was. */
function beginners(evidence: Pick<Evidence, 'entries'>): Map<string, string> {
  return new Map(deeds(evidence, 'begin').map((entry) => [claimName(entry), entry.p]));
}

/** The claims that killed processes were running, by the store. */
function killedAt({ faults, history }: Pick<Evidence, 'faults' | 'history'>): string[] {
  const histories = byTask(history);
  return faults.flatMap((fault) => {
    if (fault.f !== 'kill') return [];
    return fault.tasks.flatMap((task) => {
      const claim = histories.get(task)?.findLast(({ to, at }) => to === 'claimed' && at <= fault.at);
      return claim?.session === fault.session ? [claimName(claim)] : [];
    });
  });
}

/** T3: whatever begins has a claim, and is where that was made; whatever is completed has begun. */
export function begunUnderClaims(evidence: Pick<Evidence, 'entries' | 'history' | 'reading'>): Look {
  const chains = chainsOf(evidence.history);
  const claims = new Map(chains.flatMap((chain) => chain.claims.map((claim) => [claimName(claim), claim])));
  const owners = ownersOf(evidence);
  const begins = deeds(evidence, 'begin');
  const problems = begins.flatMap((begin) => {
    const { task, token, p } = begin;
    const claim = claims.get(claimName(begin));
    if (claim === undefined) return [found('T3', `it began in ${p} under token ${token} of no claim`, task)];
    const owner = owners.get(claim.session as number);
    return owner === p ? [] : [found('T3', `claimed by ${owner ?? 'nobody'}, it began in ${p}`, task)];
  });
  const known = beginners(evidence);
  for (const { task, claims: own, end } of chains)
    if (end?.to === 'completed' && !own.some((claim) => known.has(claimName(claim))))
      problems.push(found('T3', 'completed, but nobody began it', task));
  return { looked: begins.length, problems };
}

/** T6, W1: what has begun is taken over only from sessions that are over. */
export function takenOverFromTheDead(evidence: Pick<Evidence, 'entries' | 'history' | 'reading'>): Look {
  const known = beginners(evidence);
  let looked = 0;
  const problems: Problem[] = [];
  for (const { task, claims } of chainsOf(evidence.history)) {
    let hasBegun = false;
    for (const [i, claim] of claims.slice(1).entries()) {
      const former = claims[i] as Transition;
      looked += 1;
      hasBegun ||= known.has(claimName(former));
      const ends = evidence.reading.sessions.get(former.session as number)?.endsAt;
      if (ends === undefined)
        problems.push(found('T6', `taken over from session ${former.session}, which nobody knows`, task));
      else if (hasBegun && ends > claim.at)
        problems.push(
          found('T6', `taken over although session ${former.session} lived and had begun it`, task),
        );
    }
  }
  return { looked, problems };
}

/**
 * T5: each claim counts one attempt more than counted before; one that began is taken back only where its session was lost. A crash counts
 * once for each claim that was running when its session ended, however often it changed hands then; nothing else does.
 */
export function crashesCounted(evidence: Pick<Evidence, 'entries' | 'faults' | 'history' | 'tasks'>): Look {
  const running = new Set([...beginners(evidence).keys(), ...killedAt(evidence)]);
  const problems: Problem[] = [];
  let looked = 0;
  for (const [task, chains] of Map.groupBy(chainsOf(evidence.history), (chain) => chain.task)) {
    let [least, most] = [0, 0];
    for (const { before, claims, end } of chains) {
      const [first] = claims as [Transition];
      if (first.attempt !== (before?.attempt ?? 0) + 1)
        problems.push(found('T5', `attempt ${first.attempt} follows ${before?.attempt}`, task));
      const ran = claims.filter((claim) => running.has(claimName(claim)));
      if (claims.length > 1) {
        most += 1;
        if (ran.length > 0 && ran[0] !== claims.at(-1)) least += 1;
      } else if (ran.length > 0 && end !== undefined && end.attempt < first.attempt)
        problems.push(found('T5', `attempt ${first.attempt} ran, and was not counted`, task));
    }
    const stored = evidence.tasks.get(task);
    if (stored === undefined) continue;
    looked += least;
    const { crashes, attempt } = stored;
    if (crashes < least || crashes > most) {
      const range = least === most ? `${least}` : `${least} to ${most}`;
      problems.push(found('T5', `${crashes} crashes are counted, there were ${range}`, task));
    }
    const last = chains.at(-1)?.end;
    if (last !== undefined && last.attempt !== attempt)
      problems.push(found('T5', `${attempt} attempts are counted, its last was ${last.attempt}`, task));
  }
  return { looked, problems };
}

/**
 * T4: an effect is done under a claim of its task, in the process that runs it: by the run that began under that very claim, or that went
 * on under it when its own process took it over. A run does it once.
 */
export function effectsOwned(evidence: Pick<Evidence, 'effects' | 'entries' | 'history' | 'reading'>): Look {
  const runs = runsOf(evidence);
  const seen = new Set<string>();
  const problems = evidence.effects.flatMap((effect) => {
    const { task, token, p } = effect;
    const run = runs.get(claimName(effect));
    if (run === undefined) return [found('T4', `an effect under token ${token}, which nobody ran`, task)];
    if (run.p !== p) return [found('T4', `an effect by ${p} under the token of ${run.p}`, task)];
    if (seen.has(run.name)) return [found('T4', `one run did its effect again, under token ${token}`, task)];
    seen.add(run.name);
    return [];
  });
  return { looked: evidence.effects.length, problems };
}

/** A run of a handler: who it was, and the claim it began under. */
export interface HandlerRun {
  readonly p: string;
  readonly name: string;
}

/** The run of each claim, by `<task>@<token>`: that began under it, or went on under it after its own process had lost its session. */
export function runsOf(
  evidence: Pick<Evidence, 'entries' | 'history' | 'reading'>,
): ReadonlyMap<string, HandlerRun> {
  const known = beginners(evidence);
  const owners = ownersOf(evidence);
  const runs = new Map<string, HandlerRun>();
  for (const { claims } of chainsOf(evidence.history)) {
    let run: HandlerRun | undefined;
    for (const claim of claims) {
      const name = claimName(claim);
      const p = known.get(name);
      if (p !== undefined) run = { p, name };
      else if (run?.p !== owners.get(claim.session as number)) run = undefined;
      if (run !== undefined) runs.set(name, run);
    }
  }
  return runs;
}
