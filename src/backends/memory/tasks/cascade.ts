import { Ring } from '../../../core/ring.ts';
import type { Effects } from './effects.ts';
import { CANCELLED, COMPLETED, type Link, type Moment, SKIPPED, type TaskRow } from './row.ts';

/** What a cascade does to the tasks it reaches. */
export interface CascadeTarget {
  /** A parent failed under policy `cancel` or `skip`. */
  endChild(child: TaskRow, as: typeof CANCELLED | typeof SKIPPED, parent: TaskRow, effects: Effects): void;
  /** The child waits for this parent no more. */
  satisfy(link: Link, effects: Effects): void;
  cancelSubTask(row: TaskRow, reason: string, revoke: boolean, effects: Effects): void;
  subTasks(id: string): Iterable<TaskRow>;
}

/** An ended parent whose dependents from `link` on have not been told. */
interface Ending {
  readonly parent: TaskRow;
  readonly state: TaskRow['state'];
  readonly ended: Moment | undefined;
  link: Link | undefined;
}

/** A task tree that is being cancelled: one iterator a level. */
interface TreeWalk {
  readonly stack: Iterator<TaskRow>[];
  readonly seen: Set<TaskRow>;
  readonly reason: string;
  readonly revoke: boolean;
}

/**
 * The frontier of what ended tasks and cancelled trees still have to set in motion. A call drains as much as it may, the rest waits
 * for the next call or a sweep. No recursion: a chain of 100,000 is a queue of one.
 */
export class Cascade {
  readonly #target: CascadeTarget;
  readonly #frontier = new Ring<Ending | TreeWalk>();

  constructor(target: CascadeTarget) {
    this.#target = target;
  }

  get hasMore(): boolean {
    return this.#frontier.length > 0;
  }

  /** A task has ended: its dependents are to be told. */
  ended(row: TaskRow): void {
    const link = row.deps?.down?.first;
    if (link !== undefined) this.#frontier.push({ parent: row, state: row.state, ended: row.ended, link });
  }

  /** All sub-tasks of this id, to any depth, are to be cancelled. */
  cancelTree(id: string, reason: string, revoke: boolean): void {
    const stack = [this.#target.subTasks(id)[Symbol.iterator]()];
    this.#frontier.push({ stack, seen: new Set(), reason, revoke });
  }

  drain(effects: Effects): void {
    while (effects.hasRoom) {
      const next = this.#frontier.peek();
      if (next === undefined) return;
      const isDone = 'stack' in next ? this.#walk(next, effects) : this.#tell(next, effects);
      if (isDone) this.#frontier.shift();
    }
  }

  /** True when no dependent is left. */
  #tell(ending: Ending, effects: Effects): boolean {
    const { parent, state } = ending;
    // A parent that was redriven meanwhile decides anew when it ends again.
    if (parent.state !== state || parent.ended !== ending.ended) return true;
    while (ending.link !== undefined) {
      if (!effects.hasRoom) return false;
      const { link } = ending;
      ending.link = link.next;
      if (!link.open) continue;
      effects.looked();
      if (state === COMPLETED || link.onFailure === 'continue') this.#target.satisfy(link, effects);
      else if (link.onFailure !== 'wait') {
        this.#target.endChild(link.child, link.onFailure === 'cancel' ? CANCELLED : SKIPPED, parent, effects);
      }
    }
    return true;
  }

  /** True when the whole tree has been visited. */
  #walk({ stack, seen, reason, revoke }: TreeWalk, effects: Effects): boolean {
    for (let level = stack.at(-1); level !== undefined; level = stack.at(-1)) {
      if (!effects.hasRoom) return false;
      const { value: row, done } = level.next();
      if (done === true || row === undefined) stack.pop();
      else if (!seen.has(row)) {
        seen.add(row);
        effects.looked();
        this.#target.cancelSubTask(row, reason, revoke, effects);
        stack.push(this.#target.subTasks(row.task.id)[Symbol.iterator]());
      }
    }
    return true;
  }
}
