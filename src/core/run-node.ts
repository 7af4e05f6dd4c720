import { checkId } from './check.ts';

/** No id holds a control character, so nobody can name an owner or an agent like a run. */
const RUN = '\u0001';

/**
 * The node of a task in the wait-for graph, under which its run holds and wants locks. No owner or agent has the same, whatever they are
 * called. All attempts of a task share it, so that defeats are counted over retries.
 */
export function runNode(taskId: string): string {
  return RUN + taskId;
}

export function isRunNode(node: string): boolean {
  return node.startsWith(RUN);
}

/** What people are shown of a node: the id of the task, or of the owner. */
export function nodeName(node: string): string {
  return isRunNode(node) ? node.slice(RUN.length) : node;
}

/** A node: that of a run, or the id of another unit of execution. @throws INVALID_ARGUMENT */
export function checkNode(value: unknown, what: string): string {
  checkId(typeof value === 'string' ? nodeName(value) : value, what);
  return value as string;
}
