import { setBit, widened } from './agent-index.ts';
import { EligibleAgents } from './eligible-agents.ts';
import type { Member } from './pool-member.ts';
import type { Seats } from './seats.ts';

/** Most sets of needs whose agents are kept at hand. */
const MAX_NEEDS = 1_024;

/** The agents that have all of some capabilities and handle a type, as a row of seats. */
export class Needs {
  /** With a free slot. */
  readonly free: EligibleAgents;
  /** Free or not. */
  readonly all: EligibleAgents;
  readonly #capabilities: readonly string[];
  readonly #type: string | undefined;
  readonly #seats: Seats;
  #set: Uint32Array<ArrayBuffer>;
  #version = -1;
  /** Seats below this have been looked at. */
  #upTo = 0;

  constructor(capabilities: readonly string[], type: string | undefined, seats: Seats) {
    this.#capabilities = [...capabilities];
    this.#type = type;
    this.#seats = seats;
    this.#set = new Uint32Array(seats.index.words);
    this.free = new EligibleAgents(seats, this, false);
    this.all = new EligibleAgents(seats, this, true);
  }

  /** Up to date: agents that came since the last call are looked at now, and only those. */
  get set(): Uint32Array<ArrayBuffer> {
    const { members, version } = this.#seats;
    if (this.#version === version && this.#upTo === members.length) return this.#set;
    const { words } = this.#seats.index;
    if (this.#version !== version) {
      this.#set = new Uint32Array(words);
      this.#upTo = 0;
      this.#version = version;
    } else if (this.#set.length < words) this.#set = widened(this.#set, words);
    for (let seat = this.#upTo; seat < members.length; seat++) {
      const member = members[seat];
      if (member !== undefined && this.#areMetBy(member)) setBit(this.#set, seat);
    }
    this.#upTo = members.length;
    return this.#set;
  }

  #areMetBy(member: Member): boolean {
    if (this.#type !== undefined && member.types?.has(this.#type) === false) return false;
    return this.#capabilities.every((name) => member.has.has(name));
  }
}

interface Node {
  needs?: Needs;
  next?: Map<string, Node>;
}

/** Finds the {@link Needs} of a task by one map for each capability: no key is built. */
export class NeedsIndex {
  readonly #seats: Seats;
  #root: Node = {};
  #ofType = new Map<string, Node>();
  #size = 0;

  constructor(seats: Seats) {
    this.#seats = seats;
  }

  of(capabilities: readonly string[], type: string | undefined): Needs {
    let node = type === undefined ? this.#root : step(this.#ofType, type);
    for (let i = 0; i < capabilities.length; i++) {
      node = step((node.next ??= new Map()), capabilities[i] as string);
    }
    return node.needs ?? this.#add(node, new Needs(capabilities, type, this.#seats));
  }

  #add(node: Node, needs: Needs): Needs {
    if (this.#size < MAX_NEEDS) {
      this.#size += 1;
      node.needs = needs;
    } else {
      // Somebody makes up names: begin again, rather than keep them all.
      this.#root = {};
      this.#ofType = new Map();
      this.#size = 0;
    }
    return needs;
  }
}

function step(nodes: Map<string, Node>, name: string): Node {
  let node = nodes.get(name);
  if (node === undefined) nodes.set(name, (node = {}));
  return node;
}
