/** A dependency graph that recomputes everything, slowly and obviously: what the real one is compared with. */

export type Policy = 'cancel' | 'skip' | 'wait' | 'continue';
export type End = 'completed' | 'failed' | 'cancelled' | 'skipped';
export interface ModelDependency {
  readonly task: string;
  readonly onFailure: Policy;
}
interface ModelTask {
  readonly id: string;
  dependencies: readonly ModelDependency[];
  readonly priority: number;
  readonly weight: number;
  end: End | undefined;
}
export interface ModelChange {
  readonly ready: readonly string[];
  readonly cancelled: readonly string[];
  readonly skipped: readonly string[];
}

export class GraphModel {
  /** In order of addition. */
  tasks: ModelTask[] = [];

  find(id: string): ModelTask | undefined {
    return this.tasks.find((task) => task.id === id);
  }

  /** Code of the refusal, if any. */
  refusal(id: string, dependencies: readonly ModelDependency[]): string | undefined {
    if (this.find(id)) return 'INVALID_ARGUMENT';
    const reaches = (from: string): boolean =>
      from === id || (this.find(from)?.dependencies ?? []).some(({ task }) => reaches(task));
    return dependencies.some(({ task }) => reaches(task)) ? 'DEPENDENCY_CYCLE' : undefined;
  }

  add(id: string, dependencies: readonly ModelDependency[], priority: number, weight: number): ModelChange {
    const before = this.ready();
    const task: ModelTask = { id, dependencies, priority, weight, end: undefined };
    this.tasks.push(task);
    const ended: string[] = [];
    for (const dependency of dependencies) {
      const parent = this.find(dependency.task);
      if (task.end === undefined && parent?.end !== undefined && parent.end !== 'completed') {
        if (dependency.onFailure === 'cancel') task.end = 'cancelled';
        if (dependency.onFailure === 'skip') task.end = 'skipped';
      }
    }
    if (task.end !== undefined) ended.push(id, ...this.#cascade(id));
    return this.#change(before, ended);
  }

  settle(id: string, end: End): ModelChange | 'INVALID_ARGUMENT' | 'UNKNOWN_TASK' {
    const task = this.find(id);
    if (!task) return 'UNKNOWN_TASK';
    if (task.end === end) return { ready: [], cancelled: [], skipped: [] };
    if (task.end !== undefined && !(task.end === 'failed' && end === 'completed')) return 'INVALID_ARGUMENT';
    const before = this.ready();
    task.end = end;
    return this.#change(before, end === 'completed' ? [] : this.#cascade(id));
  }

  remove(id: string): readonly string[] {
    const before = this.ready();
    if (!this.find(id)) return [];
    this.tasks = this.tasks.filter((task) => task.id !== id);
    for (const task of this.tasks) task.dependencies = task.dependencies.filter((d) => d.task !== id);
    return this.#change(before, []).ready;
  }

  unmet(task: ModelTask): readonly string[] {
    return task.dependencies.filter((d) => this.#holds(d)).map((d) => d.task);
  }

  standing(id: string): string | undefined {
    const task = this.find(id);
    if (task) return task.end ?? (this.unmet(task).length === 0 ? 'ready' : 'waiting');
    return this.referenced().includes(id) ? 'referenced' : undefined;
  }

  referenced(): readonly string[] {
    const named = this.tasks.flatMap((task) => task.dependencies.map((d) => d.task));
    return [...new Set(named)].filter((id) => !this.find(id));
  }

  /** Most urgent first, then oldest. */
  ready(): readonly string[] {
    return this.tasks
      .filter((task) => this.standing(task.id) === 'ready')
      .map((task, age) => ({ task, age }))
      .sort((a, b) => b.task.priority - a.task.priority || a.age - b.age)
      .map(({ task }) => task.id);
  }

  dependents(id: string): ReadonlySet<string> {
    const found = new Set<string>();
    const visit = (parent: string): void => {
      for (const task of this.tasks) {
        if (!task.dependencies.some((d) => d.task === parent) || found.has(task.id)) continue;
        found.add(task.id);
        visit(task.id);
      }
    };
    visit(id);
    return found;
  }

  level(task: ModelTask): number {
    return Math.max(-1, ...this.#parents(task).map((parent) => this.level(parent))) + 1;
  }

  /** Weight of the heaviest chain that ends with the task. */
  chain(task: ModelTask): number {
    return Math.max(0, ...this.#parents(task).map((parent) => this.chain(parent))) + task.weight;
  }

  #parents(task: ModelTask): readonly ModelTask[] {
    return task.dependencies.flatMap((d) => this.find(d.task) ?? []);
  }

  #holds({ task, onFailure }: ModelDependency): boolean {
    const end = this.find(task)?.end;
    return end === undefined || (end !== 'completed' && onFailure === 'wait');
  }

  /** Ends what must end with a task that didn't succeed, breadth first. */
  #cascade(id: string): string[] {
    const ended: string[] = [];
    const queue = [id];
    for (const parent of queue) {
      for (const task of this.tasks) {
        const edge = task.dependencies.find((d) => d.task === parent);
        if (!edge || task.end !== undefined) continue;
        if (edge.onFailure !== 'cancel' && edge.onFailure !== 'skip') continue;
        task.end = edge.onFailure === 'cancel' ? 'cancelled' : 'skipped';
        ended.push(task.id);
        queue.push(task.id);
      }
    }
    return ended;
  }

  #change(before: readonly string[], ended: readonly string[]): ModelChange {
    return {
      ready: this.ready().filter((id) => !before.includes(id)),
      cancelled: ended.filter((id) => this.find(id)?.end === 'cancelled'),
      skipped: ended.filter((id) => this.find(id)?.end === 'skipped'),
    };
  }
}
