import type { Transition } from '../../../core/ports/tasks.ts';
import type {
  BackendTime,
  Cursor,
  Page,
  PageRequest,
  SessionNumber,
  Token,
} from '../../../core/ports/words.ts';
import { type NEW, type StateCode, type TaskRow, TRANSITION_NAMES } from './row.ts';

/** at, token, session, attempt and the two states. */
const NUMBERS = 4;
const DEFAULT_BUDGET = 20_000;

/** The newest transitions of the mesh, in columns: a transition costs no object. The columns grow to `capacity` as they fill. */
export class TransitionLog {
  readonly #capacity: number;
  #room: number;
  #numbers: Float64Array;
  #tasks: string[] = [];
  #queues: string[] = [];
  #reasons: (string | undefined)[] = [];
  /** Transitions ever; the index of the next. */
  #count = 0;
  /** Where it goes. */
  #at = 0;

  constructor(capacity: number) {
    this.#capacity = Math.max(1, capacity);
    this.#room = Math.min(this.#capacity, 256);
    this.#numbers = new Float64Array(this.#room * NUMBERS);
  }

  add(
    row: TaskRow,
    from: StateCode | typeof NEW,
    to: StateCode,
    at: BackendTime,
    reason: string | undefined,
  ): void {
    if (this.#at === this.#room) this.#wrap();
    const i = this.#at;
    const numbers = this.#numbers;
    numbers[i * NUMBERS] = at;
    numbers[i * NUMBERS + 1] = row.token ?? 0;
    numbers[i * NUMBERS + 2] = row.holder?.session ?? 0;
    numbers[i * NUMBERS + 3] = row.attempt * 256 + from * 16 + to;
    this.#tasks[i] = row.task.id;
    this.#queues[i] = row.queue.name;
    this.#reasons[i] = reason;
    this.#at = i + 1;
    this.#count += 1;
  }

  /** Oldest first. A cursor is an index, so it never skips one; what has been overwritten meanwhile is passed over. */
  page(
    at: BackendTime,
    filter: { readonly task?: string; readonly queue?: string },
    { after, limit, scanBudget = DEFAULT_BUDGET }: PageRequest,
  ): Page<Transition> {
    const items: Transition[] = [];
    const oldest = Math.max(0, this.#count - this.#room);
    const from = Math.max(oldest, after === undefined ? 0 : indexOf(after));
    let index = from;
    while (index < this.#count && items.length < limit && index - from < scanBudget) {
      const i = index % this.#room;
      index += 1;
      if (filter.task !== undefined && this.#tasks[i] !== filter.task) continue;
      if (filter.queue !== undefined && this.#queues[i] !== filter.queue) continue;
      items.push(this.#read(i));
    }
    const next = index < this.#count ? (String(index) as Cursor) : undefined;
    return { at, items, next, scanned: index - from };
  }

  #read(i: number): Transition {
    const numbers = this.#numbers;
    const packed = numbers[i * NUMBERS + 3] as number;
    const session = numbers[i * NUMBERS + 2] as SessionNumber;
    const reason = this.#reasons[i];
    return {
      task: this.#tasks[i] as string,
      at: numbers[i * NUMBERS] as BackendTime,
      from: TRANSITION_NAMES[(packed >> 4) & 15] as Transition['from'],
      to: TRANSITION_NAMES[packed & 15] as Transition['to'],
      attempt: Math.floor(packed / 256),
      token: numbers[i * NUMBERS + 1] as Token,
      ...(session > 0 ? { session } : {}),
      ...(reason === undefined ? {} : { reason }),
    };
  }

  /** The columns are full: makes them longer, or begins to overwrite the oldest. */
  #wrap(): void {
    if (this.#room === this.#capacity) {
      this.#at = 0;
      return;
    }
    this.#room = Math.min(this.#capacity, this.#room * 4);
    const numbers = new Float64Array(this.#room * NUMBERS);
    numbers.set(this.#numbers);
    this.#numbers = numbers;
  }
}

function indexOf(cursor: Cursor): number {
  const index = Number(cursor);
  return Number.isSafeInteger(index) && index > 0 ? index : 0;
}
