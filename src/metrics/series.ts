/** What stands for label values and series beyond their bounds. */
export const OTHER = '__other__';

/** Most values of each label; ids are never labels. */
const LABEL_LIMITS: Readonly<Record<string, number>> = {
  queue: 100,
  type: 200,
  code: 30,
  breaker: 200,
  metric: 200,
};
const OTHER_LABELS = 50;

/** Keeps the number of series bounded: values of a label, and series over all metrics. What is beyond is counted under `__other__`. */
export class SeriesLimits {
  readonly #max: number;
  readonly #values = new Map<string, Set<string>>();
  #used = 0;
  #dropped = 0;

  constructor(maxSeries: number) {
    this.#max = maxSeries;
  }

  /** How often something was counted under `__other__` because its own series was refused. */
  get dropped(): number {
    return this.#dropped;
  }

  /** The value itself, or `__other__` when the label has its most values already. */
  admit(label: string, value: string): string {
    let known = this.#values.get(label);
    if (known === undefined) this.#values.set(label, (known = new Set()));
    if (known.has(value)) return value;
    if (known.size >= (LABEL_LIMITS[label] ?? OTHER_LABELS)) return OTHER;
    known.add(value);
    return value;
  }

  /** Takes one more series. False when there are none left. */
  take(series = 1): boolean {
    if (this.#used + series > this.#max) return false;
    this.#used += series;
    return true;
  }

  drop(): void {
    this.#dropped += 1;
  }

  clear(): void {
    this.#values.clear();
    this.#used = this.#dropped = 0;
  }
}

interface Cell {
  readonly labels: readonly string[];
  readonly dropping: boolean;
  value: number;
}

/** A counter with up to three labels. Label values are looked up by a map each; the last ones used are found without. */
export class CounterFamily {
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
  readonly #limits: SeriesLimits;
  readonly #cells: Cell[] = [];
  #index = new Map<string, Map<string, Map<string, Cell>>>();
  #last: Cell | undefined;
  #a = '';
  #b = '';
  #c = '';

  constructor(name: string, help: string, labels: readonly string[], limits: SeriesLimits) {
    this.name = name;
    this.help = help;
    this.labels = labels;
    this.#limits = limits;
  }

  /** Adds to the series of these label values, in the order of {@link labels}; '' is a value that isn't known. */
  add(amount = 1, a = '', b = '', c = ''): void {
    let cell = this.#last;
    if (cell === undefined || this.#a !== a || this.#b !== b || this.#c !== c) {
      cell = this.#find(a, b, c);
      this.#last = cell;
      this.#a = a;
      this.#b = b;
      this.#c = c;
    }
    cell.value += amount;
    if (cell.dropping) this.#limits.drop();
  }

  /** All series. */
  get series(): readonly { readonly labels: readonly string[]; readonly value: number }[] {
    return this.#cells;
  }

  clear(): void {
    this.#cells.length = 0;
    this.#index = new Map();
    this.#last = undefined;
  }

  #find(a: string, b: string, c: string): Cell {
    const known = this.#at(a, b, c);
    if (known !== undefined) return known;
    const given = [a, b, c];
    const admitted = given.map((value, i) => this.#admit(i, value)) as [string, string, string];
    const whole = admitted.every((value, i) => value === given[i]);
    // Only admitted values are remembered, so the index is bounded too.
    const folded = this.#at(...admitted);
    if (folded !== undefined) return folded;
    if (this.#limits.take()) return this.#create(admitted, !whole);
    const [x, y, z] = given.map((value, i) => (i < this.labels.length ? OTHER : value));
    const rest = [x ?? '', y ?? '', z ?? ''] as const;
    // The last resort of a family needs no leave: there is one of it.
    return this.#at(...rest) ?? this.#create(rest, true);
  }

  #admit(i: number, value: string): string {
    const label = this.labels[i];
    return label === undefined || value === '' ? value : this.#limits.admit(label, value);
  }

  #at(a: string, b: string, c: string): Cell | undefined {
    return this.#index.get(a)?.get(b)?.get(c);
  }

  #create(values: readonly [string, string, string], dropping: boolean): Cell {
    const [a, b, c] = values;
    const cell: Cell = { labels: values.slice(0, this.labels.length), dropping, value: 0 };
    this.#cells.push(cell);
    const second = entry(this.#index, a, () => new Map<string, Map<string, Cell>>());
    entry(second, b, () => new Map<string, Cell>()).set(c, cell);
    return cell;
  }
}

function entry<V>(map: Map<string, V>, key: string, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) map.set(key, (value = make()));
  return value;
}
