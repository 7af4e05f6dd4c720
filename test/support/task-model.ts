import type { FailurePolicy, TaskState } from '../../src/core/ports/tasks.ts';

/** A task of the reference model: everything in the open, everything found by looking at everything. */
export interface ModelTask {
  readonly id: string;
  readonly queue: string;
  capabilities: readonly string[];
  group: string | undefined;
  /** Of the task tree; its parent's parent once that is forgotten. */
  parent: string | undefined;
  keepMs: number;
  maxCrashes: number;
  deadlineMs: number | undefined;
  payload: number;
  priority: number;
  key: string | undefined;
  agent: string | undefined;
  edges: { readonly parent: string; readonly onFailure: FailurePolicy; open: boolean }[];
  state: TaskState;
  /** ms. */
  aliveSince: number;
  due: number;
  agedFrom: number;
  arrival: number;
  attempt: number;
  crashes: number;
  moves: number;
  token: number;
  session: number;
  started: boolean;
  adopted: boolean;
  endedAt: number;
  cancelRequested: string | undefined;
  deferred: number | undefined;
  unmet: boolean;
  /** Terminal transitions since it was enqueued or redriven. */
  terminal: number;
}

export interface ModelSpec {
  readonly id: string;
  readonly queue: string;
  readonly capabilities: readonly string[];
  readonly payload: number;
  readonly priority: number;
  readonly keepMs: number;
  readonly maxCrashes: number;
  readonly deadlineMs?: number | undefined;
  readonly delayMs?: number | undefined;
  readonly key?: string | undefined;
  readonly group?: string | undefined;
  readonly agent?: string | undefined;
  readonly parent?: string | undefined;
  readonly onDuplicate?: 'replace' | 'debounce' | undefined;
  readonly dependsOn: readonly { readonly parent: string; readonly onFailure: FailurePolicy }[];
}

export const STEP_MS = 100;
const ENDED: readonly TaskState[] = ['completed', 'dead', 'cancelled', 'skipped'];
const LIVE_UNCLAIMED: readonly TaskState[] = ['waiting', 'scheduled', 'ready'];

export function hasEnded(task: ModelTask): boolean {
  return ENDED.includes(task.state);
}

/** The semantics of the task store over a plain list of tasks, without any index. */
export class TaskModel {
  now = 0;
  tasks: ModelTask[] = [];
  settings = new Map<
    string,
    { paused: boolean; maxLength?: number; maxRunning?: number; maxRunningPerGroup?: number }
  >();
  dead = new Set<number>();
  enqueued = 0;
  pruned = 0;
  /** How the forgotten ended. */
  readonly forgotten = new Map<string, TaskState>();
  /** The number of the call: tasks that became ready in one call are equals. */
  call = 1;
  #frontier: (ModelTask | (() => void))[] = [];

  find(id: string): ModelTask | undefined {
    return this.tasks.find((task) => task.id === id);
  }

  count(queue: string, ...states: readonly TaskState[]): number {
    return this.tasks.filter((task) => task.queue === queue && states.includes(task.state)).length;
  }

  enqueue(spec: ModelSpec): string {
    const same = this.find(spec.id);
    if (same !== undefined) return this.#repeated(same, spec);
    const keyed = spec.key === undefined ? undefined : this.tasks.find(({ key }) => key === spec.key);
    if (keyed !== undefined) {
      if (spec.onDuplicate === undefined) return this.#repeated(keyed, spec);
      if (LIVE_UNCLAIMED.includes(keyed.state)) return this.#replace(keyed, spec);
    }
    const { maxLength = Number.POSITIVE_INFINITY } = this.settings.get(spec.queue) ?? {};
    if (this.count(spec.queue, 'claimed', ...LIVE_UNCLAIMED) >= maxLength) return 'full';
    if (this.#closesCycle(spec.id, spec.dependsOn)) return 'cycle';
    if (keyed !== undefined) keyed.key = undefined;
    const task = this.#newTask(spec);
    this.tasks.push(task);
    this.enqueued += 1;
    const culprit = spec.dependsOn.find((edge) => this.#dooms(edge));
    if (culprit !== undefined) {
      task.unmet = true;
      this.#end(task, culprit.onFailure === 'cancel' ? 'cancelled' : 'skipped');
    } else {
      for (const edge of task.edges) edge.open = this.#isOpen(edge);
      if (task.edges.some(({ open }) => open)) task.state = 'waiting';
      else this.#place(task);
    }
    return `enqueued ${task.state}`;
  }

  /** Ready tasks of a queue that a claim may take now, in order. */
  claimable(
    queue: string,
    capabilities: readonly string[],
    agents: readonly string[] | undefined,
  ): ModelTask[] {
    const { paused = false } = this.settings.get(queue) ?? {};
    if (paused) return [];
    return this.tasks
      .filter((task) => task.queue === queue && task.state === 'ready')
      .filter((task) =>
        agents === undefined
          ? task.agent === undefined && task.capabilities.every((one) => capabilities.includes(one))
          : task.agent !== undefined && agents.includes(task.agent),
      )
      .toSorted((a, b) => rankOf(a) - rankOf(b) || a.arrival - b.arrival);
  }

  /** Whether one more of this queue and group may run. */
  hasRoom(task: ModelTask): boolean {
    const { maxRunning = Number.POSITIVE_INFINITY, maxRunningPerGroup = Number.POSITIVE_INFINITY } =
      this.settings.get(task.queue) ?? {};
    const running = this.tasks.filter(({ queue, state }) => queue === task.queue && state === 'claimed');
    const inGroup = running.filter(({ group }) => group === task.group).length;
    return running.length < maxRunning && (task.group === undefined || inGroup < maxRunningPerGroup);
  }

  claim(task: ModelTask, session: number, token: number, started: boolean): void {
    task.state = 'claimed';
    task.attempt += 1;
    task.session = session;
    task.token = token;
    task.started = started;
    task.adopted = false;
  }

  complete(task: ModelTask): void {
    this.#end(task, 'completed');
  }

  bury(task: ModelTask): void {
    this.#end(task, 'dead');
  }

  /** Cancels now, or asks; true when it has ended. */
  cancelOne(task: ModelTask, reason: string, revoke: boolean): boolean {
    if (task.state === 'claimed' && task.started && !revoke) {
      task.cancelRequested ??= reason;
      return false;
    }
    if (task.state === 'claimed') task.token = Number.POSITIVE_INFINITY;
    this.#end(task, 'cancelled');
    return true;
  }

  cancelTree(id: string, reason: string, revoke: boolean): void {
    this.#frontier.push(() => {
      for (const task of this.#treeOf(id)) if (!hasEnded(task)) this.cancelOne(task, reason, revoke);
    });
  }

  cancelObeyed(task: ModelTask): void {
    this.#end(task, 'cancelled');
  }

  giveBack(task: ModelTask, delayMs: number, refund: boolean): void {
    if (task.cancelRequested !== undefined) {
      this.#end(task, 'cancelled');
      return;
    }
    if (refund) task.attempt -= 1;
    task.priority = task.deferred ?? task.priority;
    task.deferred = undefined;
    task.due = this.now + delayMs;
    task.started = false;
    task.adopted = false;
    this.#place(task);
  }

  /** A session is no more. */
  endSession(session: number, how: 'close' | 'expire'): void {
    this.dead.add(session);
    for (const task of this.tasks) {
      if (how === 'close' && task.state === 'claimed' && task.session === session && !task.started)
        this.giveBack(task, 0, true);
    }
  }

  sweep(): void {
    for (const task of this.tasks)
      if (task.state === 'scheduled' && task.due <= this.now) this.#ready(task, task.due);
    const late = this.tasks
      .filter((task) => LIVE_UNCLAIMED.includes(task.state) && deadlineOf(task) <= this.now)
      .toSorted((a, b) => deadlineOf(a) - deadlineOf(b));
    for (const task of late) this.#end(task, 'dead');
    this.drain();
    for (const task of this.tasks) {
      if (hasEnded(task) && task.endedAt + task.keepMs <= this.now) this.prune(task);
    }
  }

  prune(task: ModelTask): void {
    this.forgotten.set(task.id, task.state);
    this.tasks = this.tasks.filter((other) => other !== task);
    for (const child of this.tasks) if (child.parent === task.id) child.parent = task.parent;
    this.pruned += 1;
  }

  reprioritise(task: ModelTask, priority: number): 'changed' | 'deferred' | 'none' {
    if (task.state === 'claimed') {
      task.deferred = priority;
      return 'deferred';
    }
    if (task.state === 'completed' || task.state === 'skipped') return 'none';
    task.priority = priority;
    return 'changed';
  }

  redelay(task: ModelTask, delayMs: number): boolean {
    if (!LIVE_UNCLAIMED.includes(task.state)) return false;
    task.due = this.now + delayMs;
    if (task.state === 'waiting') return true;
    task.arrival = 0;
    this.#place(task);
    return true;
  }

  redrive(task: ModelTask, delayMs: number, resetAttempts: boolean): boolean {
    if (task.state !== 'dead' && task.state !== 'cancelled') return false;
    const open = task.unmet ? task.edges.filter((edge) => this.#isOpen(edge)) : [];
    if (open.length > 0 && this.#closesCycle(task.id, open)) return false;
    task.endedAt = 0;
    task.arrival = 0;
    task.moves = 0;
    task.aliveSince = this.now;
    task.terminal = 0;
    if (resetAttempts) {
      task.attempt = 0;
      task.crashes = 0;
    }
    task.due = this.now + delayMs;
    task.unmet = false;
    for (const edge of task.edges) edge.open = open.includes(edge);
    if (open.length > 0) task.state = 'waiting';
    else this.#place(task);
    return true;
  }

  #repeated(task: ModelTask, spec: ModelSpec): string {
    if (task.queue !== spec.queue || task.payload !== spec.payload) return 'conflict';
    return 'duplicate';
  }

  #replace(task: ModelTask, spec: ModelSpec): string {
    const stated = edgeText(spec.dependsOn);
    if (task.queue !== spec.queue || (stated !== '' && stated !== edgeText(task.edges))) return 'conflict';
    const { capabilities, payload, priority, keepMs, maxCrashes, deadlineMs, group, agent, parent } = spec;
    Object.assign(task, {
      capabilities,
      payload,
      priority,
      keepMs,
      maxCrashes,
      deadlineMs,
      group,
      agent,
      parent,
    });
    if (deadlineMs !== undefined) task.aliveSince = this.now;
    if (spec.onDuplicate === 'debounce') this.redelay(task, spec.delayMs ?? 0);
    return 'duplicate';
  }

  #newTask(spec: ModelSpec): ModelTask {
    const { id, queue, capabilities, payload, priority, keepMs, maxCrashes } = spec;
    return {
      id,
      queue,
      capabilities,
      payload,
      priority,
      keepMs,
      maxCrashes,
      deadlineMs: spec.deadlineMs,
      group: spec.group,
      parent: spec.parent,
      key: spec.key,
      agent: spec.agent,
      edges: spec.dependsOn.map((edge) => ({ ...edge, open: false })),
      state: 'ready',
      aliveSince: this.now,
      due: this.now + (spec.delayMs ?? 0),
      agedFrom: 0,
      arrival: 0,
      attempt: 0,
      crashes: 0,
      moves: 0,
      token: 0,
      session: 0,
      started: false,
      adopted: false,
      endedAt: 0,
      cancelRequested: undefined,
      deferred: undefined,
      unmet: false,
      terminal: 0,
    };
  }

  #place(task: ModelTask): void {
    if (task.due > this.now) task.state = 'scheduled';
    else this.#ready(task, task.due);
  }

  #ready(task: ModelTask, at: number): void {
    task.state = 'ready';
    if (task.arrival > 0) return;
    task.arrival = this.call;
    task.agedFrom = at;
  }

  #end(task: ModelTask, as: TaskState): void {
    if (task.state === 'waiting') task.unmet = true;
    task.state = as;
    task.terminal += 1;
    task.endedAt = this.now;
    task.started = false;
    task.adopted = false;
    task.cancelRequested = undefined;
    task.deferred = undefined;
    for (const edge of task.edges) edge.open = false;
    this.#frontier.push(task);
  }

  /** Tells, in the order in which they ended, the dependents of what ended in this call. */
  drain(): void {
    for (let next = this.#frontier.shift(); next !== undefined; next = this.#frontier.shift()) {
      if (typeof next === 'function') next();
      else for (const child of this.tasks) this.#parentEnded(child, next);
    }
  }

  #parentEnded(child: ModelTask, parent: ModelTask): void {
    for (const edge of child.edges) {
      if (child.state !== 'waiting' || edge.parent !== parent.id || !edge.open) continue;
      if (parent.state === 'completed' || edge.onFailure === 'continue') {
        edge.open = false;
        if (child.edges.some(({ open }) => open)) continue;
        child.due = Math.max(child.due, this.now);
        this.#place(child);
      } else if (edge.onFailure !== 'wait')
        this.#end(child, edge.onFailure === 'cancel' ? 'cancelled' : 'skipped');
    }
  }

  #dooms({ parent: id, onFailure }: ModelSpec['dependsOn'][number]): boolean {
    const end = this.#endOf(id);
    if (end === undefined || end === 'completed') return false;
    return onFailure === 'cancel' || onFailure === 'skip';
  }

  /** Whether a parent is still to be waited for. */
  #isOpen({ parent: id, onFailure }: ModelSpec['dependsOn'][number]): boolean {
    const end = this.#endOf(id);
    return end === undefined || (end !== 'completed' && onFailure === 'wait');
  }

  /** How a task ended, also one that is forgotten. */
  #endOf(id: string): TaskState | undefined {
    const task = this.find(id);
    if (task === undefined) return this.forgotten.get(id);
    return hasEnded(task) ? task.state : undefined;
  }

  /** Whether somebody that waits, directly or not, for `id` is among the parents, directly or not. */
  #closesCycle(id: string, edges: ModelSpec['dependsOn']): boolean {
    const waiting = this.tasks.some((task) => task.edges.some(({ parent, open }) => open && parent === id));
    const seen = new Set<string>();
    const todo = edges.map(({ parent }) => parent);
    if (todo.includes(id)) return true;
    if (!waiting) return false;
    for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
      if (next === id) return true;
      if (seen.has(next)) continue;
      seen.add(next);
      const task = this.find(next);
      for (const edge of task?.edges ?? []) if (edge.open) todo.push(edge.parent);
    }
    return false;
  }

  #treeOf(id: string): ModelTask[] {
    const found: ModelTask[] = [];
    const todo = [id];
    for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
      for (const task of this.tasks) {
        if (task.parent !== next || found.includes(task)) continue;
        found.push(task);
        todo.push(task.id);
      }
    }
    return found;
  }
}

function edgeText(edges: ModelSpec['dependsOn']): string {
  return edges
    .map(({ parent, onFailure }) => `${parent} ${onFailure}`)
    .toSorted()
    .join();
}

function deadlineOf(task: ModelTask): number {
  return task.aliveSince + (task.deadlineMs ?? Number.POSITIVE_INFINITY);
}

export function rankOf(task: ModelTask): number {
  return task.agedFrom - task.priority * STEP_MS;
}
