import { edit, type Desk } from './editing.ts';
import { kindOf } from './kinds/index.ts';
import {
  FORMATTER,
  isCoordinationError,
  type AgentProfile,
  type TaskContext,
  type TaskSpec,
} from './mesh.ts';
import type { EditTask, Plan } from './plan.ts';
import { checkWorktree } from './verification.ts';

/** Who is in the squad, in the order of the report's lanes. */
export const DEVELOPERS: Readonly<Record<string, readonly string[]>> = {
  'dev-1': ['code', 'text'],
  'dev-2': ['code', 'text'],
  'dev-3': ['code', 'text', 'data'],
  'dev-4': ['code', 'docs', 'text'],
  'dev-5': ['code', 'docs', 'text'],
  'dev-6': ['docs', 'text'],
  'dev-7': ['docs', 'data', 'text'],
  'dev-8': ['code', 'docs', 'data'],
};
export const QA = ['qa-1', 'qa-2'] as const;
export const ARCHITECT = 'architect';
export const AGENTS: readonly string[] = [ARCHITECT, ...Object.keys(DEVELOPERS), ...QA];

const GROUP_SIZE = 20;
/** How much the architect hands to the first developer alone, before anybody steals it. */
const OWNED_TASKS = 30;
/** A run takes seconds; one that takes this long is stuck. */
const PATIENCE_MS = 120_000;
const RETRY = { maxAttempts: 20, delayMs: 30, factor: 1.5, maxDelayMs: 400, jitter: 'full' } as const;

/** Edits that are checked and landed together. */
interface Group {
  readonly id: string;
  readonly tasks: readonly EditTask[];
}
interface GroupVerdict {
  readonly expected: number;
  readonly missed: number;
  /** Tasks whose developer never told QA. */
  readonly unreported: number;
}
export interface Report {
  readonly tree: string;
  readonly commits: number;
  /** Edits that QA missed when it looked at the files on disk. */
  readonly missedByQa: number;
}

/** The squad of one run: its agents, what they do, and what they tell each other. */
export class Squad {
  readonly #plan: Plan;
  readonly #desk: Desk;
  readonly #groups: readonly Group[];
  /** What the developers have reported to QA, by task id. */
  readonly #reported = new Set<string>();
  /** What QA has reported to the architect, by group. */
  readonly #verdicts = new Map<string, number>();

  constructor(plan: Plan, desk: Desk) {
    this.#plan = plan;
    this.#desk = desk;
    this.#groups = Array.from({ length: Math.ceil(plan.tasks.length / GROUP_SIZE) }, (_, i) => ({
      id: `group-${String(i + 1).padStart(2, '0')}`,
      tasks: plan.tasks.slice(i * GROUP_SIZE, (i + 1) * GROUP_SIZE),
    }));
  }

  /** Brings the agents into the mesh and lets them work; resolves with the architect's final report. */
  async work(signal: AbortSignal): Promise<Report> {
    const { mesh } = this.#desk;
    for (const profile of this.#profiles()) mesh.addAgent(profile);
    mesh.answer(ARCHITECT, (message) => this.#answerAsArchitect(message));
    for (const qa of QA) mesh.answer(qa, (message) => this.#hearAsQa(message));
    for (const developer of Object.keys(DEVELOPERS)) mesh.answer(developer, () => undefined);
    const report = await mesh.submit({ id: 'report', ...this.#reportTask() });
    await mesh.submit({ id: 'split', type: 'split', priority: 'high', capabilities: ['plan'] });
    try {
      return (await report.result({ signal, timeoutMs: PATIENCE_MS })) as Report;
    } catch (error) {
      if (!isCoordinationError(error, 'TIMEOUT')) throw error;
      const { sentence } = await report.why();
      throw new Error(`The squad has not finished within ${PATIENCE_MS / 1_000} s: ${sentence}`, {
        cause: error,
      });
    }
  }

  #profiles(): readonly AgentProfile[] {
    const developers = Object.entries(DEVELOPERS).map(([id, capabilities]) => ({
      id,
      type: 'developer',
      priority: 2,
      capabilities,
      handler: { edit: (context: TaskContext) => this.#develop(context) },
    }));
    const qa = QA.map((id) => ({
      id,
      type: 'qa',
      priority: 1,
      capabilities: ['verify'],
      handler: {
        check: (context: TaskContext) => this.#check(context),
        land: (context: TaskContext) => this.#land(context),
      },
    }));
    const architect = {
      id: ARCHITECT,
      type: 'architect',
      priority: 3,
      capabilities: ['plan'],
      handler: { split: () => this.#split(), report: () => this.#report() },
    };
    return [architect, ...developers, ...qa];
  }

  // ── the architect: plans and splits

  /** Briefs the developers and hands out the work: edits, then a check and a landing for each group as soon as its edits are done. */
  async #split(): Promise<{ readonly groups: number }> {
    const { mesh } = this.#desk;
    const developers = Object.keys(DEVELOPERS);
    for (const developer of developers) {
      await mesh.send(ARCHITECT, developer, {
        brief: `${this.#plan.tasks.length} edits in ${this.#groups.length} groups`,
      });
    }
    const specs = new Map(this.#plan.tasks.map((task) => [task.id, this.#editTask(task)]));
    const handOut = async (ids: readonly string[], developer: string): Promise<void> => {
      for (const id of ids) {
        const spec = specs.get(id);
        if (spec !== undefined && specs.delete(id)) await mesh.assign(spec, developer);
      }
    };
    // Two developers, the same two files, opposite order: each pair is a deadlock in the making.
    for (const [i, id] of this.#plan.crossed.flat().entries()) await handOut([id], developers[i] ?? 'dev-1');
    // One developer knows this code best and gets far too much of it: the others will take some off its hands.
    const owned = this.#plan.tasks.filter(
      (task) => specs.has(task.id) && ['code', 'text'].includes(kindOf(task.kind).capability),
    );
    await handOut(
      owned.slice(0, OWNED_TASKS).map((task) => task.id),
      'dev-1',
    );
    await mesh.submitAll([...specs.values(), ...this.#groups.flatMap((group) => this.#groupTasks(group))]);
    return { groups: this.#groups.length };
  }

  #editTask(task: EditTask): TaskSpec {
    return {
      id: task.id,
      type: 'edit',
      priority: 'medium',
      capabilities: [kindOf(task.kind).capability],
      breaker: FORMATTER,
      retry: RETRY,
      input: task,
    };
  }

  #groupTasks({ id, tasks }: Group): readonly TaskSpec[] {
    const common = { capabilities: ['verify'], priority: 'low', retry: RETRY, input: id } as const;
    return [
      { ...common, id: `check-${id}`, type: 'check', dependencies: tasks.map((task) => after(task.id)) },
      { ...common, id: `land-${id}`, type: 'land', dependencies: [after(`check-${id}`)] },
    ];
  }

  #reportTask(): TaskSpec {
    const dependencies = this.#groups.map(({ id }) => after(`land-${id}`));
    return { type: 'report', priority: 'high', capabilities: ['plan'], dependencies, retry: RETRY };
  }

  /** Commits what may be left and sums up. */
  async #report(): Promise<Report> {
    const { workspace } = this.#desk;
    await workspace.commit([...new Set(this.#plan.tasks.flatMap((task) => task.paths))], 'Land what is left');
    const missedByQa = [...this.#verdicts.values()].reduce((sum, missed) => sum + missed, 0);
    return { tree: await workspace.tree(), commits: await workspace.countCommits(), missedByQa };
  }

  #answerAsArchitect(message: unknown): unknown {
    const { group, missed } = message as { group: string; missed?: number };
    if (missed !== undefined) return void this.#verdicts.set(group, missed);
    return { tasks: this.#group(group).tasks.map((task) => task.id) };
  }

  // ── the developers: edit

  async #develop(context: TaskContext): Promise<{ readonly paths: readonly string[] }> {
    const task = context.task.input as EditTask;
    await edit(context, task, this.#desk);
    const group = this.#groups.findIndex(({ tasks }) => tasks.some(({ id }) => id === task.id));
    await this.#desk.mesh.send(context.agentId, QA[group % QA.length] ?? QA[0], { edited: task.id });
    return { paths: task.paths };
  }

  // ── QA: verifies and lands

  #hearAsQa(message: unknown): void {
    this.#reported.add((message as { edited: string }).edited);
  }

  /** Looks for each edit of a group in the files on disk. At most two such checks at a time: they are heavy. */
  async #check(context: TaskContext): Promise<GroupVerdict> {
    const group = context.task.input as string;
    const { mesh, coordination, workspace } = this.#desk;
    const { tasks } = await context.request<{ tasks: readonly string[] }>(ARCHITECT, { group });
    const unreported = tasks.filter((id) => !this.#reported.has(id)).length;
    const found = await coordination.hold(context, { semaphore: 'heavy-checks', of: 2 }, () =>
      checkWorktree(workspace.folder, tasks, context.signal),
    );
    await mesh.send(context.agentId, ARCHITECT, { group, missed: found.lost });
    return { expected: found.expected, missed: found.lost, unreported };
  }

  /** Brings a group into the history. One after another: git allows one writer. */
  async #land(context: TaskContext): Promise<{ readonly committed: boolean }> {
    const { id, tasks } = this.#group(context.task.input as string);
    const { coordination, workspace } = this.#desk;
    const list = tasks.map((task) => `${task.id} ${task.kind}: ${task.paths.join(', ')}`);
    const committed = await coordination.hold(context, 'git', () =>
      workspace.commit(
        [...new Set(tasks.flatMap((task) => task.paths))],
        `Land ${tasks.length} edits of ${id}\n\n${list.join('\n')}\n`,
        context.signal,
      ),
    );
    return { committed };
  }

  #group(id: string): Group {
    const group = this.#groups.find((one) => one.id === id);
    if (group === undefined) throw new Error(`no group ${id}`);
    return group;
  }
}

/** Starts when that task has ended, well or not: what is missing is counted at the end, not hidden by a cancelled check. */
function after(task: string): { readonly task: string; readonly onFailure: 'continue' } {
  return { task, onFailure: 'continue' };
}
