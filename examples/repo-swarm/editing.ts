import type { Coordination } from './coordination.ts';
import type { Mesh, ResourceRequest, TaskContext } from './mesh.ts';
import { markAt, type EditTask } from './plan.ts';
import type { Tools } from './tools.ts';
import type { Workspace } from './workspace.ts';

/** What a developer works with. */
export interface Desk {
  readonly mesh: Mesh;
  readonly coordination: Coordination;
  readonly workspace: Workspace;
  readonly tools: Tools;
  /** Which run wrote a file last, as `agent/task`: the other side of a conflict. */
  readonly lastWriter: Map<string, string>;
}

const OPTIMISTIC_ROUNDS = 4;

/** One edit task, from reading its files to writing them. */
export async function edit(context: TaskContext, task: EditTask, desk: Desk): Promise<void> {
  if (task.mode === 'lock') return editHolding(context, task, desk);
  for (let round = 1; round <= OPTIMISTIC_ROUNDS; round++) {
    if (await editOptimistically(context, task, desk)) return;
  }
  // Too many others want this file: no more guessing.
  await editHolding(context, task, desk);
}

/** Holds every file from reading to writing. Nothing is written before the last one is held, so a deadlock's victim can start over. */
async function editHolding(context: TaskContext, task: EditTask, desk: Desk): Promise<void> {
  const drafts: { path: string; text: string }[] = [];
  const from = async (index: number): Promise<void> => {
    const path = task.paths[index];
    if (path === undefined) {
      for (const draft of drafts) await write(context, draft.path, draft.text, desk);
      return;
    }
    await desk.coordination.hold(context, locksFor(task, path), async () => {
      const text = await desk.workspace.read(path);
      drafts.push({ path, text: await revise(context, task, index, text, desk) });
      await from(index + 1);
    });
  };
  await from(0);
}

/** A file of its own, and together with it the one it only reads. */
function locksFor(task: EditTask, path: string): readonly ResourceRequest[] {
  return task.source === undefined ? [{ path }] : [{ path: task.source, mode: 'shared' }, { path }];
}

/** Reads and edits without holding anything; true when the result could be written or merged with what came in between. */
async function editOptimistically(context: TaskContext, task: EditTask, desk: Desk): Promise<boolean> {
  const [path = ''] = task.paths;
  const { coordination, workspace } = desk;
  const version = coordination.version(path, context.agentId);
  const base = await workspace.read(path);
  const mine = await revise(context, task, 0, base, desk);
  return coordination.hold(context, { path }, async () => {
    if (coordination.isCurrent(path, version)) {
      await write(context, path, mine, desk);
      return true;
    }
    const theirs = {
      by: desk.lastWriter.get(path) ?? 'somebody',
      text: await workspace.read(path),
      version: coordination.version(path, context.agentId),
    };
    const merged = await desk.mesh.settle(path, base, { by: runName(context), text: mine, version }, theirs);
    if (merged === undefined) return false;
    await write(context, path, merged, desk);
    return true;
  });
}

/** The tool calls of one edit: the model makes it, the formatter checks it. */
async function revise(
  { signal }: TaskContext,
  task: EditTask,
  index: number,
  text: string,
  { tools, workspace }: Desk,
): Promise<string> {
  const path = task.paths[index] ?? '';
  const source =
    task.source === undefined
      ? {}
      : { source: { path: task.source, text: await workspace.read(task.source) } };
  const edit = { path, options: task.options, ...source };
  const revised = await tools.edit({ kind: task.kind, text, mark: markAt(task, index), edit }, signal);
  if (!(await tools.format({ path, text: revised }, signal))) {
    throw new Error(`the edit ${task.id} would leave ${path} in disorder`);
  }
  return revised;
}

/** Writes a file that is held, as a new version of it. */
async function write(context: TaskContext, path: string, text: string, desk: Desk): Promise<void> {
  desk.lastWriter.set(path, runName(context));
  await desk.workspace.write(path, text);
  desk.coordination.advance(path);
}

/** Two runs of one agent are two parties: while one waits, the agent may have begun another. */
function runName({ agentId, task }: TaskContext): string {
  return `${agentId}/${task.id}`;
}
