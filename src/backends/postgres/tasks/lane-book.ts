import type { TaskBody } from '../../../core/ports/tasks.ts';
import type { Database } from '../database.ts';

/** What tasks of one queue ask alike of whoever runs them; known to the server by a number. */
export interface Lane {
  readonly lane: number;
  readonly queueNumber: number;
  readonly queue: string;
  readonly type: string;
  readonly capabilities: readonly string[];
  readonly placement: string | undefined;
  readonly agent: string | undefined;
  readonly group: string | undefined;
}

type LaneRow = readonly [
  lane: number,
  queueNumber: number,
  queue: string,
  type: string,
  capabilities: readonly string[],
  placement: string | null,
  agent: string | null,
  group: string | null,
  isYoung: boolean,
];

const SINCE = 'select agentmesh.task_lanes_since_v1($1, $2) as answer';
const INTERN = 'select lane, queue from agentmesh.task_lanes_v1($1, $2, $3, $4, $5, $6)';
/** Above so many lanes that lie behind the horizon it is worth a trip to move it. */
const MANY_YOUNG = 64;

/** The lanes that this process knows. They never change; the server forgets those that nobody uses. */
export class LaneBook {
  readonly #db: Database;
  readonly #byKey = new Map<string, Lane>();
  readonly #byNumber = new Map<number, Lane>();
  #young = new Set<number>();
  /** Grows when a lane is added or forgotten: what was worked out from the lanes before is to be worked out anew. */
  version = 0;
  /** Since when the server has been up; `null`: never asked. */
  uptime: number | null = null;
  /** All lanes of transactions before this one are known, as long as the server is up. */
  horizon = '0';

  constructor(db: Database) {
    this.#db = db;
  }

  get all(): Iterable<Lane> {
    return this.#byNumber.values();
  }

  /** Known lanes of transactions after the horizon. */
  get young(): string {
    return `{${[...this.#young].join(',')}}`;
  }

  get isOutdated(): boolean {
    return this.#young.size > MANY_YOUNG;
  }

  get(lane: number): Lane | undefined {
    return this.#byNumber.get(lane);
  }

  /** The lanes of these tasks, those that are new made on the server. */
  async of(bodies: readonly TaskBody[]): Promise<readonly number[]> {
    const keys = bodies.map(keyOf);
    const lanes = new Map<string, number>();
    const missing = new Map<string, TaskBody>();
    for (const [i, key] of keys.entries()) {
      const known = this.#byKey.get(key);
      if (known === undefined) missing.set(key, bodies[i] as TaskBody);
      else lanes.set(key, known.lane);
    }
    if (missing.size > 0) {
      const made = await this.#intern([...missing.values()]);
      for (const [i, key] of [...missing.keys()].entries()) lanes.set(key, made[i] as number);
    }
    return keys.map((key) => lanes.get(key) as number);
  }

  /** Asks for lanes that others have made. */
  async refresh(): Promise<void> {
    const [row] = await this.#db.read<{ readonly answer: string }>(SINCE, [this.uptime, this.horizon]);
    const { uptime, horizon, lanes } = JSON.parse((row as { readonly answer: string }).answer) as {
      readonly uptime: number | null;
      readonly horizon: string;
      readonly lanes: readonly LaneRow[];
    };
    // Lanes that the server may have lost would come again under other numbers.
    if (uptime !== this.uptime) this.#clear();
    this.uptime = uptime;
    this.horizon = horizon;
    this.#young = new Set(lanes.filter((lane) => lane[8]).map(([lane]) => lane));
    for (const [lane, queueNumber, queue, type, capabilities, placement, agent, group] of lanes) {
      this.#add({
        lane,
        queueNumber,
        queue,
        type,
        capabilities,
        placement: placement ?? undefined,
        agent: agent ?? undefined,
        group: group ?? undefined,
      });
    }
  }

  /** The server has forgotten some: all are asked for again. */
  async renew(): Promise<void> {
    this.#clear();
    this.horizon = '0';
    await this.refresh();
  }

  #clear(): void {
    this.#byKey.clear();
    this.#byNumber.clear();
    this.#young.clear();
    this.version += 1;
  }

  async #intern(bodies: readonly TaskBody[]): Promise<readonly number[]> {
    const rows = await this.#db.write<{ readonly lane: number; readonly queue: number }>(INTERN, [
      bodies.map(({ queue }) => queue),
      bodies.map(({ type }) => type),
      bodies.map(({ capabilities }) => JSON.stringify(capabilities)),
      bodies.map(({ placement }) => placement ?? null),
      bodies.map(({ agent }) => agent ?? null),
      bodies.map(({ group }) => group ?? null),
    ]);
    for (const [i, { lane, queue: queueNumber }] of rows.entries()) {
      const { queue, type, capabilities, placement, agent, group } = bodies[i] as TaskBody;
      this.#young.add(lane);
      this.#add({ lane, queueNumber, queue, type, capabilities, placement, agent, group });
    }
    return rows.map(({ lane }) => lane);
  }

  #add(lane: Lane): void {
    if (this.#byNumber.has(lane.lane)) return;
    this.#byNumber.set(lane.lane, lane);
    this.#byKey.set(keyOf(lane), lane);
    this.version += 1;
  }
}

/** Most tasks ask for next to nothing: then a short key is made without JSON. Names hold no control characters. */
function keyOf({
  queue,
  type,
  capabilities,
  placement,
  agent,
  group,
}: Omit<Lane, 'lane' | 'queueNumber'> | TaskBody): string {
  if (capabilities.length === 0 && placement === undefined && agent === undefined && group === undefined) {
    if (!queue.includes('\u0000')) return `${queue}\u0000${type}`;
  }
  return JSON.stringify([queue, type, capabilities, placement ?? null, agent ?? null, group ?? null]);
}
