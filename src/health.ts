import { toStoredError } from './core/errors.ts';
import type { EventSink } from './core/events.ts';
import type { Clock, Timer } from './core/ports/runtime.ts';
import type { Awaitable } from './core/ports/words.ts';

/** What one part says of itself. */
export interface PartHealth {
  readonly healthy: boolean;
  /** What is wrong, in a sentence. */
  readonly error?: string;
  readonly metrics?: Readonly<Record<string, number>>;
}

export interface HealthStatus {
  readonly healthy: boolean;
  /** The part and the reason of the first problem, and how many more there are. */
  readonly error?: string;
  readonly metrics?: Readonly<Record<string, number>>;
  readonly components: Readonly<Record<string, PartHealth>>;
}

/** `isRound`: nobody asks but the monitor, which goes on asking, and the backend isn't lost; what was heard a moment ago will do. */
export type HealthChecks = Readonly<Record<string, (isRound: boolean) => Awaitable<PartHealth>>>;

/** How long a part may take to answer before it counts as stuck, ms. */
const ANSWER_MS = 1_000;
/** The verdict is reported at least this often. */
const REPORT_MS = 60_000;

/** Asks every part, merges the answers into one verdict, and goes on asking while the mesh runs. */
export class HealthMonitor {
  readonly #checks: HealthChecks;
  readonly #clock: Clock;
  readonly #events: EventSink;
  readonly #intervalMs: number;
  readonly #backend: string;
  /** Since when the backend does not answer, mono ms. */
  #lostAt: number | undefined;
  #timer: Timer | undefined;
  #last: HealthStatus | undefined;
  #reportedAt = Number.NEGATIVE_INFINITY;
  #running = false;

  constructor(
    checks: HealthChecks,
    parts: {
      readonly clock: Clock;
      readonly events: EventSink;
      readonly intervalMs: number;
      /** The name of the backend. */
      readonly backend: string;
    },
  ) {
    this.#checks = checks;
    this.#clock = parts.clock;
    this.#events = parts.events;
    this.#intervalMs = parts.intervalMs;
    this.#backend = parts.backend;
  }

  /** The last verdict of the continuous check. */
  get last(): HealthStatus | undefined {
    return this.#last;
  }

  start(): void {
    if (this.#running) return;
    this.#running = true;
    this.#schedule();
  }

  stop(): void {
    this.#running = false;
    this.#timer?.cancel();
  }

  /** Asks now. */
  check(): Promise<HealthStatus> {
    return this.#check(false);
  }

  async #check(isRound: boolean): Promise<HealthStatus> {
    const names = Object.keys(this.#checks);
    const askedAt = this.#clock.mono();
    // After a loss only an answer counts: what was heard may be from before it.
    const heardWillDo = isRound && this.#lostAt === undefined;
    const answers = await Promise.all(names.map((name) => this.#ask(name, heardWillDo)));
    const status = merge(Object.fromEntries(names.map((name, i) => [name, answers[i] as PartHealth])));
    this.#report(status, askedAt);
    return status;
  }

  #schedule(): void {
    // A round from before a stop may come to its end after the next start.
    this.#timer?.cancel();
    this.#timer = this.#clock.after(this.#intervalMs, () => {
      void this.#check(true).then(() => {
        if (this.#running) this.#schedule();
      });
    });
  }

  async #ask(name: string, isRound: boolean): Promise<PartHealth> {
    let timer: Timer | undefined;
    const late = new Promise<PartHealth>((resolve) => {
      timer = this.#clock.after(ANSWER_MS, () =>
        resolve({ healthy: false, error: `no answer within ${ANSWER_MS} ms` }),
      );
    });
    try {
      return await Promise.race([(async () => this.#checks[name]?.(isRound) ?? { healthy: true })(), late]);
    } catch (error) {
      return { healthy: false, error: toStoredError(error).message };
    } finally {
      timer?.cancel();
    }
  }

  #report(status: HealthStatus, askedAt: number): void {
    const changed = this.#last?.healthy !== status.healthy || this.#last.error !== status.error;
    this.#last = status;
    this.#tellBackend(status.components['backend'], askedAt);
    const now = this.#clock.mono();
    if (!changed && now - this.#reportedAt < REPORT_MS) return;
    this.#reportedAt = now;
    this.#events.emit('system:healthcheck', {
      healthy: status.healthy,
      problems: problemsOf(status.components),
    });
  }

  #tellBackend(part: PartHealth | undefined, askedAt: number): void {
    if (part === undefined || !this.#running) return;
    const now = this.#clock.mono();
    if (!part.healthy && this.#lostAt === undefined) {
      this.#lostAt = now;
      this.#events.emit('backend:lost', { backend: this.#backend, message: part.error ?? 'unhealthy' });
    } else if (part.healthy && this.#lostAt !== undefined && askedAt > this.#lostAt) {
      this.#events.emit('backend:recovered', { backend: this.#backend, outageMs: now - this.#lostAt });
      this.#lostAt = undefined;
    }
  }
}

/** One honest verdict: healthy when every part is. Pure. */
export function merge(components: Readonly<Record<string, PartHealth>>): HealthStatus {
  const problems = problemsOf(components);
  const metrics: Record<string, number> = {};
  for (const [name, part] of Object.entries(components)) {
    for (const [key, value] of Object.entries(part.metrics ?? {})) metrics[`${name}.${key}`] = value;
  }
  const [first] = problems;
  if (first === undefined) return { healthy: true, metrics, components };
  const error = problems.length === 1 ? first : `${first} (and ${problems.length - 1} more)`;
  return { healthy: false, error, metrics, components };
}

function problemsOf(components: Readonly<Record<string, PartHealth>>): readonly string[] {
  return Object.entries(components)
    .filter(([, part]) => !part.healthy)
    .map(([name, part]) => `${name}: ${part.error ?? 'unhealthy'}`);
}
