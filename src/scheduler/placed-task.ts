import type { TaskBody } from '../core/ports/tasks.ts';
import type { Run } from './agent.ts';
import type { TaskSettings } from './settings.ts';
import type { PlacedTask } from './strategy.ts';

const NO_NAMES: readonly string[] = Object.freeze([]);

/** What strategies are shown of a task: a record of its own for each decision, so that it may be spread, printed and kept. */
export function placedTask(body: TaskBody, attempt: number, settings: TaskSettings): PlacedTask {
  return {
    id: body.id,
    type: body.type,
    queue: body.queue,
    priority: body.priority,
    weight: body.weight,
    group: body.group,
    capabilities: body.capabilities,
    attempt,
    prefer: settings.prefer ?? NO_NAMES,
    input: body.payload,
    metadata: body.headers,
  };
}

/** The same for the built-in strategies, which look at little of it: reads through to the run, so that nothing is copied. */
export class RunView implements PlacedTask {
  readonly #run: Run;

  constructor(run: Run) {
    this.#run = run;
  }

  get id(): string {
    return this.#run.claim.body.id;
  }
  get type(): string {
    return this.#run.claim.body.type;
  }
  get queue(): string {
    return this.#run.claim.body.queue;
  }
  get priority(): number {
    return this.#run.claim.body.priority;
  }
  get weight(): number {
    return this.#run.claim.body.weight;
  }
  get group(): string | undefined {
    return this.#run.claim.body.group;
  }
  get capabilities(): readonly string[] {
    return this.#run.claim.body.capabilities;
  }
  get attempt(): number {
    return this.#run.claim.attempt;
  }
  get prefer(): readonly string[] {
    return this.#run.settings.prefer ?? NO_NAMES;
  }
  get input(): unknown {
    return this.#run.claim.body.payload;
  }
  get metadata(): PlacedTask['metadata'] {
    return this.#run.claim.body.headers;
  }
}
