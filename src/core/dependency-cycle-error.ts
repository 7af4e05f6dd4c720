import { CoordinationError } from './errors.ts';

const SHOWN = 10;

/** A dependency was refused because it would close a cycle; nothing was changed. */
export class DependencyCycleError extends CoordinationError {
  declare readonly code: 'DEPENDENCY_CYCLE';
  /** Each task depends on the next; the first and the last are the same. */
  readonly path: readonly string[];

  constructor(path: readonly string[]) {
    const shown =
      path.length <= SHOWN + 1
        ? path
        : [...path.slice(0, SHOWN - 1), `(${path.length - SHOWN - 1} more)`, ...path.slice(-2)];
    super('DEPENDENCY_CYCLE', `Dependency cycle: ${shown.join(' → ')}`, {
      hint: 'Each task depends on the one after it: leave one of these dependencies out.',
    });
    this.name = 'DependencyCycleError';
    this.path = path;
  }
}
