import type { NewTask } from '../../../core/ports/tasks.ts';
import type { EndState, Forgotten } from './forgotten.ts';
import {
  CANCELLED,
  COMPLETED,
  type Dependencies,
  type Dependents,
  isEnded,
  type Link,
  SKIPPED,
  type TaskRow,
} from './row.ts';
import type { RowNames } from './row-names.ts';

type Edges = NewTask['dependsOn'];

/** Why a task ends as soon as it comes: a parent that has failed. */
export interface Doom {
  readonly as: typeof CANCELLED | typeof SKIPPED;
  /** How the parent ended. */
  readonly parent: EndState;
}

const COMPACT_ABOVE = 32;

/** The edges that still matter. A parent that was never enqueued has a list of dependents all the same, for as long as one waits. */
export class DependencyGraph {
  readonly #rows: RowNames;
  readonly #forgotten: Pick<Forgotten, 'get'>;
  readonly #expected = new Map<string, Dependents>();

  constructor(rows: RowNames, forgotten: Pick<Forgotten, 'get'>) {
    this.#rows = rows;
    this.#forgotten = forgotten;
  }

  /** Ids that are waited for and not known. */
  get placeholders(): number {
    return this.#expected.size;
  }

  /** The edges a redriven task waits for: parents that failed before stand in its way only under `wait`. */
  unmet(edges: Edges): Edges {
    return edges.filter(({ parent, onFailure }) => {
      const end = this.#endOf(parent, this.#rows.get(parent));
      return end === undefined || (end !== COMPLETED && onFailure === 'wait');
    });
  }

  /**
   * Makes the row wait for those of its parents that are not done. The first parent that ended without success under `cancel` or `skip`
   * is its doom: then it waits for nobody.
   */
  attach(row: TaskRow, edges: Edges): Doom | undefined {
    for (const { parent: id, onFailure } of edges) {
      const parent = this.#rows.get(id);
      const end = this.#endOf(id, parent);
      if (end !== undefined) {
        if (end === COMPLETED || onFailure === 'continue') continue;
        if (onFailure !== 'wait') {
          this.detach(row);
          return { as: onFailure === 'cancel' ? CANCELLED : SKIPPED, parent: end };
        }
      }
      this.#link(row, parent === undefined ? this.#expect(id) : dependentsOf(parent), onFailure);
    }
    return undefined;
  }

  /** The row is there: whoever waits for its id waits for it. */
  adopt(row: TaskRow): void {
    const expected = this.#expected.size === 0 ? undefined : this.#expected.get(row.task.id);
    if (expected === undefined) return;
    this.#expected.delete(row.task.id);
    depsOf(row).down = expected;
  }

  /** The row is forgotten: who still waits (policy `wait`) waits for its id again. */
  disown(row: TaskRow): void {
    const down = row.deps?.down;
    if (down !== undefined && down.open > 0) this.#expected.set(down.id, down);
  }

  /** The child no longer waits for this parent. */
  close(link: Link): void {
    if (!link.open) return;
    link.open = false;
    const { down } = link;
    down.open -= 1;
    down.closed += 1;
    if (down.open === 0) this.#release(down);
    else if (down.closed > COMPACT_ABOVE + down.open) compact(down);
  }

  /** The row waits for nobody any more. */
  detach({ deps }: TaskRow): void {
    if (deps === undefined) return;
    for (let link = deps.up; link !== undefined; link = link.nextUp) this.close(link);
    deps.up = undefined;
    deps.pending = 0;
  }

  /**
   * The path by which a task would wait for itself, first = last, each waiting for the next; `undefined` when there is none. Only ids
   * that somebody waits for already can close a cycle. Looks up from its parents and down from its dependents in turns, so that the
   * smaller side bounds the work.
   */
  cycle(id: string, edges: Edges): readonly string[] | undefined {
    for (const { parent } of edges) if (parent === id) return [id, id];
    const waiting = this.#rows.get(id)?.deps?.down ?? this.#expected.get(id);
    if (waiting === undefined || waiting.open === 0) return undefined;
    const up = new Search(
      edges.map(({ parent }) => parent),
      id,
      (from) => this.#parentsOf(from),
    );
    const parents = new Set(edges.map(({ parent }) => parent));
    const down = new Search(childrenOf(waiting), parents, (from) => this.#childrenOf(from));
    for (;;) {
      const above = up.step();
      if (above !== 'going') return above === undefined ? undefined : [id, ...above];
      const below = down.step();
      if (below !== 'going') return below === undefined ? undefined : [id, ...below.toReversed(), id];
    }
  }

  /** How a parent ended, which may be forgotten; `undefined`: it hasn't, or nobody knows it. */
  #endOf(id: string, row: TaskRow | undefined): EndState | undefined {
    if (row === undefined) return this.#forgotten.get(id);
    return isEnded(row) ? (row.state as EndState) : undefined;
  }

  #parentsOf(id: string): readonly string[] {
    const parents: string[] = [];
    for (let link = this.#rows.get(id)?.deps?.up; link !== undefined; link = link.nextUp) {
      if (link.open) parents.push(link.down.id);
    }
    return parents;
  }

  #childrenOf(id: string): readonly string[] {
    const down = this.#rows.get(id)?.deps?.down ?? this.#expected.get(id);
    return down === undefined ? [] : childrenOf(down);
  }

  #link(child: TaskRow, down: Dependents, onFailure: Link['onFailure']): void {
    const deps = depsOf(child);
    const link: Link = { down, child, onFailure, open: true, next: undefined, nextUp: deps.up };
    if (down.last === undefined) down.first = link;
    else down.last.next = link;
    down.last = link;
    down.open += 1;
    deps.up = link;
    deps.pending += 1;
  }

  /** Dependents of an id that is not known. */
  #expect(id: string): Dependents {
    let expected = this.#expected.get(id);
    if (expected === undefined) {
      expected = newDependents(id);
      this.#expected.set(id, expected);
    }
    return expected;
  }

  #release(down: Dependents): void {
    if (this.#expected.get(down.id) === down) this.#expected.delete(down.id);
    else {
      down.first = undefined;
      down.last = undefined;
      down.closed = 0;
    }
  }
}

/** A breadth-first search, one node a step, for one of the targets. */
class Search {
  readonly #frontier: string[];
  readonly #cameFrom = new Map<string, string | undefined>();
  readonly #targets: ReadonlySet<string>;
  readonly #next: (id: string) => readonly string[];
  #at = 0;

  constructor(
    starts: readonly string[],
    targets: string | ReadonlySet<string>,
    next: (id: string) => readonly string[],
  ) {
    this.#targets = typeof targets === 'string' ? new Set([targets]) : targets;
    this.#next = next;
    this.#frontier = [...new Set(starts)];
    for (const start of this.#frontier) this.#cameFrom.set(start, undefined);
  }

  /** The path from a start to a target; `undefined` when there is none. */
  step(): readonly string[] | undefined | 'going' {
    const id = this.#frontier[this.#at++];
    if (id === undefined) return undefined;
    if (this.#targets.has(id)) return this.#pathTo(id);
    for (const next of this.#next(id)) {
      if (this.#cameFrom.has(next)) continue;
      this.#cameFrom.set(next, id);
      this.#frontier.push(next);
    }
    return 'going';
  }

  #pathTo(id: string): readonly string[] {
    const path: string[] = [];
    for (let at: string | undefined = id; at !== undefined; at = this.#cameFrom.get(at)) path.push(at);
    return path.toReversed();
  }
}

function depsOf(row: TaskRow): Dependencies {
  row.deps ??= { pending: 0, up: undefined, down: undefined };
  return row.deps;
}

function dependentsOf(row: TaskRow): Dependents {
  const deps = depsOf(row);
  deps.down ??= newDependents(row.task.id);
  return deps.down;
}

function newDependents(id: string): Dependents {
  return { id, first: undefined, last: undefined, open: 0, closed: 0 };
}

function childrenOf(down: Dependents): readonly string[] {
  const children: string[] = [];
  for (let link = down.first; link !== undefined; link = link.next)
    if (link.open) children.push(link.child.task.id);
  return children;
}

/** Takes the closed links out. They keep their `next`, so whoever stands on one still gets to the open ones behind it. */
function compact(down: Dependents): void {
  let last: Link | undefined;
  for (let link = down.first; link !== undefined; link = link.next) {
    if (!link.open) continue;
    if (last === undefined) down.first = link;
    else last.next = link;
    last = link;
  }
  if (last === undefined) down.first = undefined;
  else last.next = undefined;
  down.last = last;
  down.closed = 0;
}
