import { checkId, checkInteger, invalid, reading } from '../core/check.ts';
import { describe, CoordinationError } from '../core/errors.ts';
import { COVERS, LOCK_WORDS, modeIndex } from '../core/lock-modes.ts';
import type { ResourceRequest } from '../core/lock-types.ts';
import type { LockItem, LockMode } from '../core/ports/locks.ts';
import { pathItems, pathResource } from './path-lock.ts';

const MAX_ITEMS = 256;
const MAX_UNITS = 1_000_000_000;

/** Requests as the store takes them. */
export interface LockPlan {
  /** What the user asked for, without the intents that come with paths; in the order asked, each once. */
  readonly names: readonly string[];
  /** Sorted by resource, each once. */
  readonly items: readonly LockItem[];
}

/**
 * Turns what users write into items: paths into intents, several requests for one resource into one.
 * @throws INVALID_ARGUMENT
 */
export function planLocks(requests: readonly ResourceRequest[]): LockPlan {
  const names = new Set<string>();
  const modes = new Map<string, LockMode>();
  for (const request of requests) {
    const items = itemsOf(request);
    names.add((items.at(-1) as LockItem).resource);
    for (const { resource, mode } of items) {
      const known = modes.get(resource);
      modes.set(resource, known === undefined ? mode : bothOf(resource, known, mode));
    }
  }
  if (modes.size > MAX_ITEMS)
    throw invalid(`Expected at most ${MAX_ITEMS} resources at once, folders above paths included`);
  const items = [...modes].map(([resource, mode]) => ({ resource, mode }));
  items.sort((a, b) => (a.resource < b.resource ? -1 : 1));
  return { names: [...names], items };
}

function itemsOf(request: unknown): readonly LockItem[] {
  if (typeof request === 'string') return [{ resource: checkId(request, 'resource'), mode: 'exclusive' }];
  const fields = fieldsOf(request);
  const { path, semaphore, resource, mode } = fields;
  if (path !== undefined) {
    onlyKeys(fields, ['path', 'mode']);
    return pathItems(pathResource(path), word(mode, ['exclusive', 'shared']));
  }
  if (semaphore !== undefined) {
    onlyKeys(fields, ['semaphore', 'of', 'units']);
    const of = checkInteger(fields['of'], 'of', 1, MAX_UNITS);
    const units = checkInteger(fields['units'] ?? 1, 'units', 1, of);
    return [{ resource: checkId(semaphore, 'semaphore'), mode: { units, of } }];
  }
  onlyKeys(fields, ['resource', 'mode']);
  return [
    {
      resource: checkId(resource, 'resource'),
      mode: word(mode, ['exclusive', 'shared', 'update']),
    },
  ];
}

function fieldsOf(request: unknown): Readonly<Record<string, unknown>> {
  if (
    typeof request !== 'object' ||
    request === null ||
    reading('a resource', () => Array.isArray(request))
  ) {
    throw invalid(
      `Expected a resource to be a name or an object, got ${describe(request)}`,
      "Write 'db', { resource: 'db', mode: 'shared' }, { path: 'src/**' } or { semaphore: 'gpu', of: 4 }.",
    );
  }
  try {
    // A copy: getters are read once, before anything is decided by them.
    return { ...(request as Record<string, unknown>) };
  } catch (cause) {
    throw new CoordinationError('INVALID_ARGUMENT', 'A resource request can not be read', { cause });
  }
}

function onlyKeys(fields: object, known: readonly string[]): void {
  for (const key of Object.keys(fields)) {
    if (!known.includes(key)) throw invalid(`Unknown key ${describe(key)} of a resource request`);
  }
}

function word<const M extends string>(mode: unknown, allowed: readonly M[]): M {
  if (mode === undefined) return 'exclusive' as M;
  if ((allowed as readonly unknown[]).includes(mode)) return mode as M;
  throw invalid(`Expected mode to be one of ${allowed.join(', ')}, got ${describe(mode)}`);
}

/** One mode that includes two; where there is none between, the exclusive one. */
function bothOf(resource: string, a: LockMode, b: LockMode): LockMode {
  if (typeof a === 'object' && typeof b === 'object') {
    if (a.of !== b.of)
      throw invalid(`Semaphore ${describe(resource)} was asked for with capacities ${a.of} and ${b.of}`);
    if (a.units + b.units > a.of)
      throw invalid(`Expected at most ${a.of} units of ${describe(resource)}, got ${a.units + b.units}`);
    return { units: a.units + b.units, of: a.of };
  }
  if (typeof a === 'object' || typeof b === 'object')
    throw invalid(`${describe(resource)} was asked for as a lock and as a semaphore`);
  if (covers(a, b)) return a;
  return covers(b, a) ? b : 'exclusive';
}

function covers(held: LockMode, wanted: LockMode): boolean {
  return ((COVERS[modeIndex(held)] as number) & (1 << modeIndex(wanted))) !== 0;
}

const UPGRADED: Readonly<Record<(typeof LOCK_WORDS)[number], LockMode>> = {
  'intent-shared': 'intent-exclusive',
  'intent-exclusive': 'intent-exclusive',
  shared: 'exclusive',
  update: 'exclusive',
  exclusive: 'exclusive',
};

/** The items of a held lock after an upgrade. @throws INVALID_ARGUMENT for semaphores */
export function upgraded(items: readonly LockItem[]): readonly LockItem[] {
  return items.map(({ resource, mode }) => {
    if (typeof mode === 'object') throw invalid(`Semaphore ${describe(resource)} has no modes to change`);
    return { resource, mode: UPGRADED[mode] };
  });
}

/** The items after a downgrade to shared. @throws INVALID_ARGUMENT for semaphores */
export function downgraded(items: readonly LockItem[]): readonly LockItem[] {
  return items.map(({ resource, mode }) => {
    if (typeof mode === 'object') throw invalid(`Semaphore ${describe(resource)} has no modes to change`);
    return { resource, mode: mode.startsWith('intent') ? 'intent-shared' : 'shared' };
  });
}
