import { Redis } from 'ioredis';
import type { TaskState, Transition } from '../../../src/core/ports/tasks.ts';
import type { Held, Reading, RestRows, TaskRow } from '../checks/evidence.ts';
import { PATIENT_MS, type World } from '../world.ts';
import { type Rows, transition } from './rows.ts';

/** By their letters; `r` in a record is ready or claimed. See docs/design/redis-keys.md. */
const STATES: Readonly<Record<string, TaskState>> = {
  w: 'waiting',
  s: 'scheduled',
  r: 'ready',
  c: 'claimed',
  C: 'completed',
  D: 'dead',
  X: 'cancelled',
  S: 'skipped',
};
/** Characters of a record before its fields. */
const HEAD = 38;

/** The keys of a mesh, by commands that only read. Layout: `l:r` has [capacity, units in use, held, waiting, held by mode, …] of each resource; modes from 1, 3 shared, 5 exclusive. */
export class KeyRows implements Rows {
  readonly #client: Redis;
  readonly #tag: string;

  constructor({ direct, name }: World) {
    this.#client = new Redis(direct, {
      maxRetriesPerRequest: 2,
      retryStrategy: () => 100,
      commandTimeout: PATIENT_MS,
    });
    this.#client.on('error', () => undefined);
    this.#tag = `agentmesh:{${name}}:`;
  }

  async held(): Promise<Held[]> {
    const all = await this.#client.hgetall(`${this.#tag}l:r`);
    return Object.entries(all).map(([resource, text]) => {
      const [of, units, , , modes] = JSON.parse(text) as [number, number, number, number, number[]];
      return { resource, exclusive: modes[4] ?? 0, shared: modes[2] ?? 0, units, of };
    });
  }

  async rest(): Promise<RestRows> {
    const now = Date.now() * 1_000;
    const [records, live, rows, letters] = await Promise.all([
      this.#client.hgetall(`${this.#tag}l:g`),
      this.#client.zrangebyscore(`${this.#tag}s:live`, now, '+inf'),
      this.#client.hlen(`${this.#tag}t`),
      this.#client.hmget(`${this.#tag}m:c`, 'waiting', 'handling'),
    ]);
    const alive = new Set(live);
    const requests = Object.values(records)
      .map((text) => JSON.parse(text.split('\n', 1)[0] ?? '') as { readonly s: string; readonly t: string })
      .filter(({ s }) => alive.has(String(s)));
    const waiters = requests.filter(({ t }) => t === 'w').length;
    const [waiting, handling] = letters;
    const left = Number(waiting ?? 0) + Number(handling ?? 0);
    return { holders: requests.length - waiters, waiters, rows, letters: left };
  }

  async read(): Promise<Reading> {
    const sessions = await this.#sessions();
    const claims = await Promise.all(
      [...sessions.keys()].map((session) => this.#client.hkeys(`${this.#tag}t:c:${session}`)),
    );
    const claimed = new Set(claims.flat());
    const ends = await this.#client.hgetall(`${this.#tag}t:z`);
    const records = await this.#client.hgetall(`${this.#tag}t`);
    const log = await this.#client.xrange(`${this.#tag}t:log`, '-', '+');
    return {
      tasks: new Map(
        Object.entries(records).map(([id, record]) => [id, taskOf(record, ends[id], claimed.has(id))]),
      ),
      history: log.flatMap(([, [, at, , runs]]) =>
        (runs ?? '').split('\n').flatMap((run) => stepsOf(at, run)),
      ),
      sessions,
    };
  }

  async #sessions(): Promise<Reading['sessions']> {
    const live = await this.#client.zrange(`${this.#tag}s:live`, '0', '-1');
    const over = await this.#client.zrange(`${this.#tag}s:over`, '0', '-1');
    const all = await Promise.all(
      [...live, ...over].map(async (session) => {
        const [ends, report] = await this.#client.hmget(`${this.#tag}s:${session}`, 'ends', 'report');
        const { pid } = JSON.parse(report ?? '{}') as { readonly pid: number };
        return [Number(session), { pid, endsAt: Number(ends) }] as const;
      }),
    );
    return new Map(all);
  }

  async close(): Promise<void> {
    this.#client.disconnect();
  }
}

/** @param end how it ended, where that lies apart from the record: its state, then what has changed */
function taskOf(record: string, end: string | undefined, isClaimed: boolean): TaskRow {
  const hasChanged = (record.charCodeAt(1) & 1) === 1;
  const changed = end?.slice(1) ?? (hasChanged ? record.slice(HEAD, record.indexOf('\n', HEAD)) : '');
  const fields = new Map(changed.split('\u001f').map((field) => [field.charAt(0), field.slice(1)]));
  return {
    state: isClaimed ? 'claimed' : (STATES[(end ?? record).charAt(0)] as TaskState),
    attempt: Number(fields.get('a') ?? 0) + (isClaimed ? 1 : 0),
    crashes: Number(fields.get('c') ?? 0),
  };
}

/** A run: what its tasks have in common, then each with its token, where that isn't one more than that before. */
function stepsOf(at: string | undefined, run: string): Transition[] {
  const [head = '', items = ''] = run.split('\u001d');
  const [from = '', to = '', attempt, session, , reason, first] = head.split('\u001f');
  let token = Number(first) - 1;
  let task = '';
  return items.split('\u001e').map((item) => {
    const [name = '', own] = item.split('\u001f');
    // The beginning that it shares with the one before is left out.
    task = name.startsWith('\u001c') ? task.slice(0, name.charCodeAt(1) - 35) + name.slice(2) : name;
    token = own === undefined ? token + 1 : Number(own);
    return transition({
      task,
      at: Number(at),
      from: from === 'n' ? 'new' : (STATES[from] as TaskState),
      to: STATES[to] as TaskState,
      attempt: Number(attempt),
      // A new one has its number there.
      token: from === 'n' ? 0 : token,
      session: session === '' ? undefined : Number(session),
      reason: reason === '' ? undefined : reason,
    });
  });
}
