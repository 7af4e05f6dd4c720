/**
 * Checks what a lock manager did from the outside: rebuilds holders, queues and the wait-for graph from a trace of calls and events, with
 * rules of its own. Shares no code with the library.
 */

export type Mode = 'shared' | 'update' | 'exclusive' | { readonly units: number; readonly of: number };

export type Entry =
  /** An agent calls acquire, for one resource. */
  | {
      readonly at: 'asked';
      readonly agent: string;
      readonly resource: string;
      readonly mode: Mode;
      readonly priority: number;
    }
  /** That call returned its promise: whatever had to be decided at once is decided. */
  | { readonly at: 'returned'; readonly agent: string }
  | { readonly at: 'waited'; readonly agent: string; readonly resource: string }
  | { readonly at: 'acquired'; readonly agent: string; readonly resource: string; readonly token: number }
  | { readonly at: 'released'; readonly agent: string; readonly resource: string }
  | { readonly at: 'abandoned'; readonly agent: string; readonly resource: string; readonly code: string }
  | {
      readonly at: 'deadlock';
      readonly victim: string;
      readonly cycle: readonly { readonly waiter: string; readonly holder: string; readonly what: string }[];
    }
  | { readonly at: 'resolved'; readonly victim: string }
  /** The agent has done its work. */
  | { readonly at: 'finished'; readonly agent: string };

interface Party {
  readonly agent: string;
  readonly mode: Mode;
  readonly priority: number;
  readonly turn: number;
  /** Its place among those who wait: the smaller goes first; of equal ones the more urgent, then the earlier. */
  rank: number;
  urgency: number;
  /** Those who were put in front of it and can't hold the resource together with it. */
  readonly overtakers: Set<Party>;
}

/** Ranks that one point of priority is worth: more than there are turns. */
const PRIORITY = 1e9;
/** Less than any two waits are apart. */
const NEAR = 1e-3;

interface Place {
  readonly held: Map<string, Party>;
  readonly queue: Party[];
  lastToken: number;
}

export interface Verdict {
  readonly problems: readonly string[];
  readonly acquisitions: number;
  readonly waits: number;
  readonly deadlocks: number;
  readonly resolved: number;
  readonly passes: number;
  /** Newcomers that had to go behind somebody less urgent, who had been overtaken often enough; and how often somebody was at most. */
  readonly barred: number;
  readonly mostOvertaken: number;
  /** Most locks that somebody held when it began to wait, and how often it was at least two. */
  readonly mostHeldWhileWaiting: number;
  readonly waitsWithTwoOrMore: number;
  readonly longestCycle: number;
  readonly mostDefeatsInARow: number;
  readonly left: { readonly held: number; readonly waiting: number };
}

/** @param maxOvertakes how often a waiter may be overtaken */
export function checkTrace(trace: readonly Entry[], maxOvertakes: number): Verdict {
  const checker = new Checker(maxOvertakes);
  for (const entry of trace) checker.read(entry);
  return checker.verdict();
}

class Checker {
  readonly #places = new Map<string, Place>();
  readonly #asked = new Map<string, Party & { readonly resource: string }>();
  readonly #waiting = new Map<string, string>();
  readonly #holding = new Map<string, number>();
  readonly #condemned = new Set<string>();
  readonly #defeats = new Map<string, number>();
  readonly #problems: string[] = [];
  readonly #maxOvertakes: number;
  #turn = 0;
  #lastPassage = 0;
  /** Somebody began to wait: only that can make a deadlock. */
  #changed = false;
  /** Of the call under way. */
  #victims = 0;
  readonly #counts = {
    acquisitions: 0,
    waits: 0,
    deadlocks: 0,
    resolved: 0,
    passes: 0,
    barred: 0,
    mostOvertaken: 0,
    mostHeldWhileWaiting: 0,
    waitsWithTwoOrMore: 0,
    longestCycle: 0,
    mostDefeatsInARow: 0,
  };

  constructor(maxOvertakes: number) {
    this.#maxOvertakes = maxOvertakes;
  }

  read(entry: Entry): void {
    this.#turn += 1;
    switch (entry.at) {
      case 'asked':
        this.#victims = 0;
        this.#asked.set(entry.agent, {
          ...entry,
          turn: this.#turn,
          rank: this.#turn - entry.priority * PRIORITY,
          urgency: entry.priority,
          overtakers: new Set(),
        });
        return;
      case 'waited':
        return this.#waited(entry.agent, entry.resource);
      case 'acquired':
        return this.#acquired(entry.agent, entry.resource, entry.token);
      case 'released':
        return this.#released(entry.agent, entry.resource);
      case 'abandoned':
        return this.#abandoned(entry.agent, entry.resource, entry.code);
      case 'deadlock':
        return this.#deadlock(entry.victim, entry.cycle);
      case 'resolved':
        this.#counts.resolved += 1;
        return;
      case 'finished':
        this.#defeats.delete(entry.agent);
        return;
      case 'returned': {
        if (!this.#changed) return;
        this.#changed = false;
        // Only the newcomer can have closed a cycle; now and then everybody is looked at all the same.
        const stuck = this.#turn % 64 === 0 ? this.#stuck() : this.#stuck(entry.agent);
        if (stuck.size > 0)
          this.#problem(`after ${entry.agent} asked, ${[...stuck].join(', ')} can never go on`);
        if (this.#condemned.size > 0) this.#problem(`victims still wait: ${[...this.#condemned].join(', ')}`);
      }
    }
  }

  verdict(): Verdict {
    let held = 0;
    for (const place of this.#places.values()) held += place.held.size;
    return { problems: this.#problems, ...this.#counts, left: { held, waiting: this.#waiting.size } };
  }

  #waited(agent: string, resource: string): void {
    const party = this.#asked.get(agent);
    if (party?.resource !== resource)
      return this.#problem(`${agent} waits for ${resource}, which it never asked for`);
    const place = this.#place(resource);
    this.#goBehindOvertaken(party, place);
    this.#insert(party, place);
    this.#waiting.set(agent, resource);
    this.#changed = true;
    this.#goBeforeStuck(party, place);
    this.#counts.waits += 1;
    const holds = this.#holding.get(agent) ?? 0;
    this.#counts.mostHeldWhileWaiting = Math.max(this.#counts.mostHeldWhileWaiting, holds);
    if (holds >= 2) this.#counts.waitsWithTwoOrMore += 1;
  }

  /** A newcomer that could never go on goes before those who can't either: they wait for it, so it costs them nothing. */
  #goBeforeStuck(party: Party, place: Place): void {
    for (;;) {
      const stuck = this.#stuck(party.agent);
      if (!stuck.has(party.agent)) return;
      const from = place.queue.indexOf(party);
      const to = place.queue.findIndex(
        (other, i) => i < from && stuck.has(other.agent) && inTheWay(party.mode, other.mode),
      );
      if (to < 0) return;
      const { rank } = place.queue[to] as Party;
      const between = place.queue.slice(0, from).filter((other) => other.rank >= rank);
      if (between.some((other) => this.#isOvertakenOut(other) && inTheWay(party.mode, other.mode))) return;
      place.queue.splice(from, 1);
      party.rank = rank - NEAR;
      party.urgency = --this.#lastPassage;
      this.#insert(party, place);
      this.#counts.passes += 1;
    }
  }

  /** L7: nobody goes before a waiter that was overtaken as often as it may be, and that it would be in the way of. */
  #goBehindOvertaken(newcomer: Party, place: Place): void {
    for (const other of place.queue) {
      if (!this.#isOvertakenOut(other) || !inTheWay(newcomer.mode, other.mode)) continue;
      if (other.rank < newcomer.rank) continue;
      newcomer.rank = other.rank + NEAR;
      this.#counts.barred += 1;
    }
  }

  #isOvertakenOut({ overtakers }: Party): boolean {
    return overtakers.size >= this.#maxOvertakes;
  }

  #insert(party: Party, place: Place): void {
    let at = place.queue.length;
    while (at > 0 && isFirst(party, place.queue[at - 1] as Party)) at -= 1;
    place.queue.splice(at, 0, party);
    this.#countOvertaken(party, place.queue.slice(at + 1));
  }

  #countOvertaken(by: Party, passed: readonly Party[]): void {
    for (const other of passed) {
      if (!inTheWay(by.mode, other.mode)) continue;
      other.overtakers.add(by);
      const { size } = other.overtakers;
      this.#counts.mostOvertaken = Math.max(this.#counts.mostOvertaken, size);
      if (size > this.#maxOvertakes) this.#problem(`${other.agent} was overtaken ${size} times`);
    }
  }

  #acquired(agent: string, resource: string, token: number): void {
    const place = this.#place(resource);
    const party = this.#asked.get(agent);
    if (party?.resource !== resource)
      return this.#problem(`${agent} got ${resource}, which it never asked for`);
    for (const other of place.held.values()) {
      if (!together(party.mode, other.mode))
        this.#problem(`${agent} and ${other.agent} both hold ${resource}`);
    }
    const used = [...place.held.values(), party].reduce((sum, { mode }) => sum + unitsOf(mode), 0);
    if (typeof party.mode === 'object' && used > party.mode.of)
      this.#problem(`${resource} gave ${used} units`);
    if (token <= place.lastToken)
      this.#problem(`token ${token} of ${resource} is not above ${place.lastToken}`);
    this.#checkOrder(party, place);
    place.lastToken = token;
    place.held.set(agent, party);
    this.#holding.set(agent, (this.#holding.get(agent) ?? 0) + 1);
    this.#leaveQueue(agent, place);
    this.#counts.acquisitions += 1;
  }

  /** Nobody who can't hold the resource together with it stands in front of whoever gets it. */
  #checkOrder(party: Party, place: Place): void {
    const at = place.queue.findIndex(({ agent }) => agent === party.agent);
    if (at < 0) this.#goBehindOvertaken(party, place);
    const ahead = at < 0 ? place.queue.filter((other) => !isFirst(party, other)) : place.queue.slice(0, at);
    if (at < 0) {
      const passed = place.queue.slice(ahead.length);
      this.#countOvertaken(party, passed);
    }
    for (const passed of ahead) {
      if (inTheWay(party.mode, passed.mode))
        this.#problem(`${party.agent} went before ${passed.agent}, who was first`);
    }
  }

  #released(agent: string, resource: string): void {
    if (!this.#place(resource).held.delete(agent))
      this.#problem(`${agent} released ${resource}, which it did not hold`);
    const left = (this.#holding.get(agent) ?? 0) - 1;
    this.#holding.set(agent, left);
  }

  #abandoned(agent: string, resource: string, code: string): void {
    if (code === 'DEADLOCK' && !this.#condemned.delete(agent))
      this.#problem(`${agent} lost its wait without a deadlock`);
    this.#leaveQueue(agent, this.#place(resource));
  }

  #deadlock(
    victim: string,
    cycle: readonly { readonly waiter: string; readonly holder: string; readonly what: string }[],
  ): void {
    this.#counts.deadlocks += 1;
    this.#victims += 1;
    // Every cycle that a new wait closes goes through it, so they are one: ending one wait is enough.
    if (this.#victims > 1) this.#problem(`${victim} is the second victim of one wait`);
    this.#counts.longestCycle = Math.max(this.#counts.longestCycle, cycle.length);
    if (!this.#stuck(victim).has(victim))
      this.#problem(`${victim} was made a victim although it could go on`);
    cycle.forEach(({ waiter, holder, what }, i) => {
      if (!this.#blockers(waiter).some((blocker) => blocker.agent === holder))
        this.#problem(`${waiter} does not wait for ${holder} on ${what}`);
      if (cycle[(i + 1) % cycle.length]?.waiter !== holder) this.#problem('the cycle is not one');
    });
    this.#condemned.add(victim);
    const defeats = (this.#defeats.get(victim) ?? 0) + 1;
    this.#defeats.set(victim, defeats);
    this.#counts.mostDefeatsInARow = Math.max(this.#counts.mostDefeatsInARow, defeats);
  }

  #leaveQueue(agent: string, place: Place): void {
    const at = place.queue.findIndex((party) => party.agent === agent);
    if (at >= 0) place.queue.splice(at, 1);
    this.#waiting.delete(agent);
  }

  /** Who is in an agent's way, by the rules: incompatible holders and incompatible earlier waiters. */
  #blockers(agent: string): readonly Party[] {
    const resource = this.#waiting.get(agent);
    if (resource === undefined) return [];
    const place = this.#place(resource);
    const at = place.queue.findIndex((party) => party.agent === agent);
    const self = place.queue[at] as Party;
    return [...place.held.values(), ...place.queue.slice(0, at)].filter(
      (other) => other.agent !== agent && inTheWay(self.mode, other.mode),
    );
  }

  /** Waiting agents (around one) that no order of finishing lets finish: takes away whoever can, until nobody is left who can. */
  #stuck(around?: string): Set<string> {
    const nodes = around === undefined ? new Set(this.#waiting.keys()) : this.#reach(around);
    const missing = new Map<string, number>();
    const helps = new Map<string, { readonly agent: string; readonly by: number }[]>();
    const done: string[] = [];
    for (const agent of nodes) {
      const { need, blockers } = this.#need(agent);
      missing.set(agent, need);
      if (need <= 0) done.push(agent);
      for (const { agent: blocker, by } of blockers) {
        if (!this.#waiting.has(blocker)) {
          const left = (missing.get(agent) as number) - by;
          missing.set(agent, left);
          if (left <= 0 && left + by > 0) done.push(agent);
          continue;
        }
        const known = helps.get(blocker);
        if (known === undefined) helps.set(blocker, [{ agent, by }]);
        else known.push({ agent, by });
      }
    }
    const stuck = nodes;
    for (let agent = done.pop(); agent !== undefined; agent = done.pop()) {
      if (!stuck.delete(agent)) continue;
      for (const { agent: helped, by } of helps.get(agent) ?? []) {
        const left = (missing.get(helped) as number) - by;
        missing.set(helped, left);
        if (left <= 0) done.push(helped);
      }
    }
    return stuck;
  }

  /** An agent that waits, and all waiting agents it depends on. */
  #reach(agent: string): Set<string> {
    const seen = new Set<string>();
    const next = this.#waiting.has(agent) ? [agent] : [];
    for (let node = next.pop(); node !== undefined; node = next.pop()) {
      if (seen.has(node)) continue;
      seen.add(node);
      for (const { agent: blocker } of this.#blockers(node)) {
        if (this.#waiting.has(blocker) && !seen.has(blocker)) next.push(blocker);
      }
    }
    return seen;
  }

  #need(agent: string): {
    readonly need: number;
    readonly blockers: readonly { readonly agent: string; readonly by: number }[];
  } {
    const resource = this.#waiting.get(agent) as string;
    const place = this.#place(resource);
    const self = place.queue.find((party) => party.agent === agent) as Party;
    const blockers = this.#blockers(agent);
    if (typeof self.mode !== 'object')
      return { need: blockers.length, blockers: blockers.map((other) => ({ agent: other.agent, by: 1 })) };
    const taken = blockers.reduce((sum, { mode }) => sum + unitsOf(mode), self.mode.units);
    return {
      need: taken - self.mode.of,
      blockers: blockers.map((other) => ({ agent: other.agent, by: unitsOf(other.mode) })),
    };
  }

  #place(resource: string): Place {
    let place = this.#places.get(resource);
    if (place === undefined) {
      place = { held: new Map(), queue: [], lastToken: 0 };
      this.#places.set(resource, place);
    }
    return place;
  }

  #problem(text: string): void {
    if (this.#problems.length < 20) this.#problems.push(text);
  }
}

/** Whether `a` goes before `b`. */
function isFirst(a: Party, b: Party): boolean {
  if (a.rank !== b.rank) return a.rank < b.rank;
  return a.urgency === b.urgency ? a.turn < b.turn : a.urgency > b.urgency;
}

function unitsOf(mode: Mode): number {
  return typeof mode === 'object' ? mode.units : 0;
}

/** Readers go with readers, and one updater with readers. */
function together(a: Mode, b: Mode): boolean {
  if (typeof a === 'object' || typeof b === 'object') return typeof a === typeof b;
  if (a === 'exclusive' || b === 'exclusive') return false;
  return a === 'shared' || b === 'shared';
}

function inTheWay(a: Mode, b: Mode): boolean {
  return typeof a === 'object' || typeof b === 'object' || !together(a, b);
}
