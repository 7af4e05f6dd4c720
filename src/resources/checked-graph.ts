import { andThen, isPromise } from '../core/awaitable.ts';
import { checkFunction, checkObject, invalid, reading } from '../core/check.ts';
import { describe } from '../core/errors.ts';
import type { Awaitable } from '../core/ports/words.ts';
import type { CycleEdge } from '../core/ports/locks.ts';
import { checkNode } from '../core/run-node.ts';
import type { WaitGraph, WaitSource } from '../core/waits.ts';
import type { FailureReport } from './callback-failures.ts';

const NEEDED = ['requirements', 'abort', 'waiting'] as const;
const OPTIONAL = ['isWaiting', 'blocks', 'knows', 'facts', 'pass', 'picture', 'publish'] as const;
const EMPTY: WaitSource = { requirements: () => [], abort: () => false, waiting: () => [] };

/** The wait-for graph as everybody else joins it: arguments are checked, and a source that throws is left out and reported. */
export class CheckedGraph implements Required<WaitGraph> {
  readonly #graph: Required<WaitGraph>;
  readonly #failed: FailureReport;

  constructor(graph: Required<WaitGraph>, failed: FailureReport) {
    this.#graph = graph;
    this.#failed = failed;
  }

  /** @throws INVALID_ARGUMENT */
  addSource(source: WaitSource): Disposable {
    return this.#graph.addSource(guardedSource(source, this.#failed));
  }

  entered(node: string): void {
    this.#graph.entered(checkNode(node, 'node'));
  }

  left(node: string): void {
    this.#graph.left(checkNode(node, 'node'));
  }

  finished(node: string): void {
    this.#graph.finished(checkNode(node, 'node'));
  }

  sweep(): void {
    this.#graph.sweep();
  }
}

/** A source whose exceptions are reported; it says then that it knows nothing. */
function guardedSource(given: WaitSource, report: FailureReport): WaitSource {
  const source = checkSource(given);
  const guard = <T>(method: keyof WaitSource, otherwise: T, ask: () => T): T => {
    try {
      return ask();
    } catch (error) {
      report(`\`${method}\` of a source of waits`, error);
      return otherwise;
    }
  };
  const { isWaiting, blocks, knows, facts, pass, picture, publish } = source;
  return {
    ...(source.abortable === undefined ? {} : { abortable: source.abortable }),
    requirements: (node) => guard('requirements', [], () => source.requirements(node)),
    waiting: () => guard<Iterable<string>>('waiting', [], () => [...source.waiting()]),
    abort: (node, error, members) => {
      const done = guard('abort', false, () => source.abort(node, error, members));
      if (!isPromise(done)) return (done as unknown) === true;
      return done.catch((thrown: unknown) => {
        report('`abort` of a source of waits', thrown);
        return false;
      });
    },
    ...(isWaiting && { isWaiting: (node: string) => guard('isWaiting', false, () => isWaiting(node)) }),
    ...(blocks && { blocks: (node: string) => guard('blocks', false, () => blocks(node)) }),
    ...(knows && { knows: (node: string) => guard('knows', false, () => knows(node)) }),
    ...(facts && { facts: (node: string) => guard('facts', undefined, () => facts(node)) }),
    ...(pass && {
      pass: (node: string, stuck: { has(owner: string): boolean }) =>
        guard('pass', false, () => pass(node, stuck)),
    }),
    ...(publish && {
      publish: (edges: readonly CycleEdge[]) =>
        guard<Awaitable<boolean>>('publish', true, () => publish(edges)),
    }),
    ...(picture && {
      picture: (around: string | undefined) =>
        andThen(
          guard('picture', EMPTY, () => picture(around)),
          (taken) => guardedSource(taken, report),
        ),
    }),
  };
}

/** A copy whose methods are bound, so that nothing of it is read twice. */
function checkSource(source: WaitSource): WaitSource {
  const given = checkObject(source, 'a source of waits') as WaitSource;
  return reading('a source of waits', () => {
    const { abortable } = given;
    if (abortable !== undefined && typeof abortable !== 'boolean')
      throw invalid(`Expected abortable to be true or false, got ${describe(abortable)}`);
    const bound: Record<string, unknown> = { abortable };
    for (const method of [...NEEDED, ...OPTIONAL]) {
      const known: unknown = given[method];
      if (known === undefined && !(NEEDED as readonly string[]).includes(method)) continue;
      const run = checkFunction(known, `\`${method}\` of a source of waits`) as (...args: never[]) => unknown;
      bound[method] = run.bind(given);
    }
    return bound as unknown as WaitSource;
  });
}
