import type { HeldMode } from '../journal.ts';
import { type Evidence, found, type Look, type Problem, type Taking, takings } from './evidence.ts';
import { EXCUSED, isBroken } from './tasks.ts';

const MAX_OVERTAKES = 32;
/** Who waits for so long while nothing but kills goes on has been forgotten, ms. */
const UNDISTURBED_MS = 6_000;
/** What a wait or a hold may end with while a process, a connection or the store is taken away. */
const LOST: ReadonlySet<string> = new Set([...EXCUSED, 'LEASE_LOST', 'LOCK_REVOKED']);

const nameOf = ({ p, n }: Taking): string => `${p}#${n}`;

function excludes(a: HeldMode, b: HeldMode): boolean {
  return typeof a !== 'object' && typeof b !== 'object' && (a === 'exclusive' || b === 'exclusive');
}

/** Every lock problem of a record. */
export function lockProblems(evidence: Evidence): Problem[] {
  const all = takings(evidence);
  return [
    ...tokensRise(all),
    ...neverTogether(all),
    ...storeNeverTogether(evidence),
    ...crashedGiveWay(evidence, all),
    ...neverRevive(evidence, all),
    ...atRest(evidence),
    ...inTurn(evidence, all),
    ...oneUpgrader(evidence, all),
    ...staleWrites(evidence),
    ...endsKnown(evidence, all),
  ];
}

/** L1, L5: a token is one grant's, and larger than all that were granted before that one was asked for. */
export function tokensRise(all: readonly Taking[]): Problem[] {
  const problems: Problem[] = [];
  for (const [resource, list] of Map.groupBy(all, (taking) => taking.resource)) {
    const granted = list.filter(({ token }) => token !== undefined);
    const seen = new Map<number, Taking>();
    for (const taking of granted) {
      const token = taking.token as number;
      const other = seen.get(token);
      if (other !== undefined)
        problems.push(found('L1', `${nameOf(other)} and ${nameOf(taking)} have token ${token}`, resource));
      seen.set(token, taking);
      const before = granted.find(
        (one) => (one.gotAt ?? Infinity) < taking.askedAt && (one.token ?? 0) >= token,
      );
      if (before !== undefined)
        problems.push(found('L1', `${nameOf(taking)} got ${token} after ${before.token}`, resource));
    }
  }
  return problems;
}

interface Span {
  readonly taking: Taking;
  readonly mode: HeldMode;
  readonly from: number;
  readonly to: number;
}

/** When the library said that something was held: before its upgrade as it was asked for, afterwards exclusively. */
function spansOf(taking: Taking): Span[] {
  const { gotAt, heldAt, upgradedToken, upgradeAt, upgradeEndAt } = taking;
  if (gotAt === undefined || heldAt === undefined) return [];
  if (upgradedToken === undefined) return [{ taking, mode: taking.mode, from: gotAt, to: heldAt }];
  return [
    { taking, mode: 'shared', from: gotAt, to: upgradeAt ?? gotAt },
    { taking, mode: 'exclusive', from: upgradeEndAt ?? heldAt, to: heldAt },
  ];
}

/** L2: no two processes believe at one time, by the library's word, to hold what excludes each other. */
export function neverTogether(all: readonly Taking[]): Problem[] {
  const problems: Problem[] = [];
  for (const [resource, list] of Map.groupBy(all, (taking) => taking.resource)) {
    const spans = list.flatMap(spansOf).toSorted((a, b) => a.from - b.from);
    for (const [i, span] of spans.entries()) {
      const others = spans.slice(0, i).filter(({ to, taking }) => to > span.from && taking !== span.taking);
      const other = others.find(({ mode }) => excludes(mode, span.mode));
      if (other !== undefined)
        problems.push(
          found('L2', `${nameOf(other.taking)} and ${nameOf(span.taking)} held it together`, resource),
        );
      if (typeof span.mode !== 'object') continue;
      const units = others.reduce(
        (sum, { mode }) => sum + (typeof mode === 'object' ? mode.units : 0),
        span.mode.units,
      );
      if (units > span.mode.of)
        problems.push(found('L2', `${units} of ${span.mode.of} units are held`, resource));
    }
  }
  return problems;
}

/** L2 by the store's own rows. */
export function storeNeverTogether({ samples }: Pick<Evidence, 'samples'>): Problem[] {
  return samples.flatMap(({ held }) =>
    held
      .filter(
        ({ exclusive, shared, units, of }) => exclusive > 1 || (exclusive > 0 && shared > 0) || units > of,
      )
      .map((row) => found('L2', `the store has ${JSON.stringify(row)}`, row.resource)),
  );
}

/** How long somebody waited for what a killed process held, ms. */
export function handovers(
  evidence: Evidence,
  all: readonly Taking[] = takings(evidence),
): { readonly resource: string; readonly ms: number }[] {
  const bound = evidence.leaseMs + 1_000;
  return evidence.faults.flatMap((fault) => {
    if (fault.f !== 'kill' || isBroken(evidence.faults, fault.t - bound, fault.t + bound)) return [];
    const left = all.filter(
      ({ p, gotAt, endAt, mode }) =>
        p === fault.p && (gotAt ?? Infinity) < fault.t && endAt === undefined && mode === 'exclusive',
    );
    return left.flatMap(({ resource }) => {
      const rivals = all.filter((one) => one.resource === resource && one.p !== fault.p);
      const isWanted = rivals.some(
        ({ p, queuedAt, gotAt }) =>
          (queuedAt ?? Infinity) < fault.t &&
          (gotAt ?? 0) > fault.t &&
          !evidence.faults.some((other) => other.f === 'kill' && other.p === p && other.t < (gotAt ?? 0)),
      );
      if (!isWanted) return [];
      const next = Math.min(...rivals.map(({ gotAt }) => gotAt ?? Infinity).filter((t) => t > fault.t));
      return [{ resource, ms: next - fault.t }];
    });
  });
}

/** L3: what a crashed process held can be had within lease + 1 s. */
export function crashedGiveWay(evidence: Evidence, all: readonly Taking[]): Problem[] {
  const bound = evidence.leaseMs + 1_000 + evidence.stallMs;
  return handovers(evidence, all)
    .filter(({ ms }) => ms > bound)
    .map(({ resource, ms }) =>
      found('L3', `granted only ${Math.round(ms)} ms after its holder was killed`, resource),
    );
}

/** L4: who was stopped for longer than a lease holds nothing any more that it held before. */
export function neverRevive(
  evidence: Pick<Evidence, 'faults' | 'leaseMs'>,
  all: readonly Taking[],
): Problem[] {
  return evidence.faults.flatMap((fault) => {
    if (fault.f !== 'freeze' || fault.until - fault.t < evidence.leaseMs) return [];
    return all
      .filter(
        ({ p, gotAt, heldAt }) =>
          p === fault.p && (gotAt ?? Infinity) < fault.t && (heldAt ?? 0) > fault.until,
      )
      .map((taking) =>
        found('L4', `${nameOf(taking)} was still held after a pause of more than its lease`, taking.resource),
      );
  });
}

/** L6: at rest nobody holds and nobody waits. */
export function atRest({ rests }: Pick<Evidence, 'rests'>): Problem[] {
  return rests
    .filter(({ holders, waiters }) => holders + waiters > 0)
    .map(({ holders, waiters, t }) =>
      found('L6', `${holders} holders and ${waiters} waiters are left`, String(Math.round(t))),
    );
}

/** L7: who waits longer is first; readers may pass each other, at most so often. */
export function inTurn(evidence: Pick<Evidence, 'faults'>, all: readonly Taking[]): Problem[] {
  const problems: Problem[] = [];
  for (const [resource, list] of Map.groupBy(all, (taking) => taking.resource)) {
    for (const waiter of list) {
      const { queuedAt, gotAt, token } = waiter;
      if (queuedAt === undefined || gotAt === undefined || token === undefined) continue;
      if (touched(evidence, queuedAt, gotAt)) continue;
      const passers = list.filter(
        (one) => one.askedAt > queuedAt && one.token !== undefined && one.token < token,
      );
      const rival = passers.find(({ mode }) => excludes(mode, waiter.mode) && waiter.upgradeAt === undefined);
      if (rival !== undefined && rival.upgradeAt === undefined && !canShare(passers, waiter))
        problems.push(
          found('L7', `${nameOf(waiter)} waited, ${nameOf(rival)} came later and was first`, resource),
        );
      if (passers.length > MAX_OVERTAKES)
        problems.push(found('L7', `${nameOf(waiter)} was overtaken ${passers.length} times`, resource));
    }
  }
  return problems;
}

/** Readers may pass a writer that waits for other readers, as often as the bound allows. */
function canShare(passers: readonly Taking[], waiter: Taking): boolean {
  return waiter.mode === 'exclusive' && passers.every(({ mode }) => mode === 'shared');
}

/** Whether a freeze, a partition or the store's end was in this time: a wait may have begun anew. */
function touched({ faults }: Pick<Evidence, 'faults'>, from: number, to: number): boolean {
  return isBroken(faults, from - 2_000, to);
}

/** L8: of two who hold it and want it alone, the second is refused at once. */
export function oneUpgrader(
  evidence: Pick<Evidence, 'faults' | 'stallMs' | 'leaseMs'>,
  all: readonly Taking[],
): Problem[] {
  const problems: Problem[] = [];
  const waits = all.filter(
    ({ upgradeAt, upgradeEndAt }) => upgradeAt !== undefined && upgradeEndAt !== undefined,
  );
  for (const [resource, list] of Map.groupBy(waits, (taking) => taking.resource)) {
    for (const [i, a] of list.entries()) {
      for (const b of list.slice(i + 1)) {
        const from = Math.max(a.upgradeAt ?? 0, b.upgradeAt ?? 0);
        const to = Math.min(a.upgradeEndAt ?? 0, b.upgradeEndAt ?? 0);
        if (to - from <= 1_000 + evidence.stallMs || touched(evidence, from, to)) continue;
        problems.push(
          found(
            'L8',
            `${nameOf(a)} and ${nameOf(b)} both waited ${Math.round(to - from)} ms to upgrade`,
            resource,
          ),
        );
      }
    }
  }
  return problems;
}

/** No write succeeds under a token once a newer one was seen. */
export function staleWrites({ writes }: Pick<Evidence, 'writes'>): Problem[] {
  const problems: Problem[] = [];
  const newest = new Map<string, number>();
  for (const { resource, token, p } of writes) {
    const last = newest.get(resource) ?? 0;
    if (token < last) problems.push(found('L2', `${p} wrote with token ${token} after ${last}`, resource));
    newest.set(resource, Math.max(last, token));
  }
  return problems;
}

/** L2: what was written under a token was written by who was granted it. */
export function writesGranted({ entries, writes }: Pick<Evidence, 'entries' | 'writes'>): Look {
  const granted = new Set(
    takings({ entries }).flatMap(({ p, resource, token, upgradedToken }) =>
      [token, upgradedToken].map((one) => `${p} ${resource} ${one}`),
    ),
  );
  const problems = writes
    .filter(({ p, resource, token }) => !granted.has(`${p} ${resource} ${token}`))
    .map(({ p, resource, token }) =>
      found('L2', `${p} wrote under token ${token}, which it never had`, resource),
    );
  return { looked: writes.length, problems };
}

/** D1, G2: nobody is a victim where no wait can close a cycle, and refusals have a reason that there is. */
export function endsKnown(evidence: Pick<Evidence, 'faults'>, all: readonly Taking[]): Problem[] {
  return all.flatMap((taking) => {
    const { code, resource, upgradeCode, askedAt, deniedAt } = taking;
    const problems: Problem[] = [];
    if (code === 'DEADLOCK' || upgradeCode === 'DEADLOCK')
      problems.push(found('D1', `${nameOf(taking)} was the victim of no deadlock`, resource));
    else if (
      code === 'LOCK_TIMEOUT' &&
      !isBroken(evidence.faults, (deniedAt ?? askedAt) - UNDISTURBED_MS, deniedAt ?? askedAt)
    )
      problems.push(found('L7', `${nameOf(taking)} waited in vain`, resource));
    else if (code !== undefined && code !== 'LOCK_TIMEOUT' && !LOST.has(code))
      problems.push(found('G2', `${nameOf(taking)} was refused with ${code}`, resource));
    if (
      upgradeCode !== undefined &&
      !['UPGRADE_CONFLICT', 'LOCK_TIMEOUT', 'DEADLOCK'].includes(upgradeCode) &&
      !LOST.has(upgradeCode)
    )
      problems.push(
        found('G2', `the upgrade of ${nameOf(taking)} was refused with ${upgradeCode}`, resource),
      );
    return problems;
  });
}
