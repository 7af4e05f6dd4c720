import type { RetryOptions } from '../../src/scheduler/retry.ts';

/** Attempts and due times as the documented policy has them, task by task. */

export type Policy = Omit<RetryOptions, 'decide'>;

/** How an attempt fails. */
export type Failure =
  | { readonly kind: 'plain' | 'final' | 'deadlock' }
  | { readonly kind: 'later'; readonly retryAfterMs: number };

interface ModelTask {
  readonly policy: Policy;
  state: 'running' | 'scheduled' | 'completed' | 'dead' | 'cancelled';
  attempt: number;
  /** The earliest and the latest moment of its next attempt, mono ms. */
  due: readonly [number, number];
  /** It was asked to end while it ran. */
  asked: boolean;
}

export class RetryModel {
  readonly tasks = new Map<string, ModelTask>();

  /** Those in a state, in order of submission. */
  in(...states: readonly ModelTask['state'][]): readonly string[] {
    return [...this.tasks].filter(([, { state }]) => states.includes(state)).map(([id]) => id);
  }

  submit(id: string, policy: Policy): void {
    this.tasks.set(id, { policy, state: 'running', attempt: 1, due: [0, 0], asked: false });
  }

  succeed(id: string): void {
    // In spite of a request to end: the work is done.
    this.#of(id).state = 'completed';
  }

  fail(id: string, failure: Failure, now: number): void {
    const task = this.#of(id);
    if (task.asked) {
      task.state = 'cancelled';
      return;
    }
    const { policy, attempt } = task;
    if (failure.kind === 'final' || attempt >= policy.maxAttempts) {
      task.state = 'dead';
      return;
    }
    const [least, most] = failure.kind === 'deadlock' ? [0, capped(policy, 1)] : delayOf(policy, attempt);
    const floor = failure.kind === 'later' ? failure.retryAfterMs : 0;
    task.due = [now + Math.max(least, floor), now + Math.max(most, floor)];
    task.state = 'scheduled';
  }

  cancel(id: string): 'cancelled' | 'requested' | 'ended' {
    const task = this.#of(id);
    if (task.state === 'running') {
      task.asked = true;
      return 'requested';
    }
    if (task.state !== 'scheduled') return 'ended';
    task.state = 'cancelled';
    return 'cancelled';
  }

  redrive(id: string, resetAttempts: boolean): void {
    const task = this.#of(id);
    task.attempt = (resetAttempts ? 0 : task.attempt) + 1;
    task.asked = false;
    task.state = 'running';
  }

  /** What the next attempt must look like that begins at this moment. */
  begin(id: string, now: number): void {
    const task = this.#of(id);
    if (task.state !== 'scheduled') throw new Error(`${id} has no attempt to come: it is ${task.state}`);
    if (now < task.due[0] - EPSILON) throw new Error(`T8: ${id} began ${task.due[0] - now} ms early`);
    task.attempt += 1;
    task.state = 'running';
  }

  /** Whoever should have begun by now and hasn't. */
  late(now: number): readonly string[] {
    return this.in('scheduled').filter((id) => this.#of(id).due[1] + EPSILON < now);
  }

  #of(id: string): ModelTask {
    return this.tasks.get(id) as ModelTask;
  }
}

/** Times are stored in µs, timers count whole ms. */
const EPSILON = 1.001;

/** Least and most; without jitter both are the same. */
function delayOf(policy: Policy, attempt: number): readonly [number, number] {
  const whole = capped(policy, policy.factor ** (attempt - 1));
  return [{ full: 0, equal: whole / 2, none: whole }[policy.jitter], whole];
}

function capped({ delayMs, maxDelayMs }: Policy, growth: number): number {
  return Math.min(delayMs * growth, maxDelayMs);
}
