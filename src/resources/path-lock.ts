import { invalid } from '../core/check.ts';
import { describe } from '../core/errors.ts';
import type { LockItem } from '../core/ports/locks.ts';

const MAX_BYTES = 1_000;
const MAX_DEPTH = 64;
const GLOB = /[*?[{]|[!@+]\(/;
const CONTROL = /\p{Cc}/u;

/**
 * The resource of a path: `src/a.ts`, `./src//a.ts` and `/src/x/../a.ts` are all `/src/a.ts`; a folder stands for everything below it; a
 * glob locks its deepest literal folder (`src/**` and `src/*.ts` are `/src`, one that begins with a glob is `/`). Unicode is compared in NFC.
 * @throws INVALID_ARGUMENT for backslashes, control characters, a path above the root, more than 1,000 bytes or 64 folders.
 */
export function pathResource(path: unknown): string {
  if (typeof path !== 'string') throw invalid(`Expected path to be a string, got ${describe(path)}`);
  if (path.length === 0) throw invalid('Expected path not to be empty', "The whole tree is '/'.");
  if (path.includes('\\'))
    throw invalid(`Expected path to have no backslash, got ${describe(path)}`, "Separate folders by '/'.");
  if (CONTROL.test(path)) throw invalid(`Expected path to have no control characters, got ${describe(path)}`);
  if (!path.isWellFormed()) throw invalid('Expected path to be well-formed Unicode, got a lone surrogate');
  const folders: string[] = [];
  const segments = path.normalize('NFC').split('/');
  const glob = segments.findIndex((segment) => GLOB.test(segment));
  if (glob >= 0 && segments.includes('..', glob))
    throw invalid(`Expected path to have no '..' behind a glob, got ${describe(path)}`);
  for (const segment of glob < 0 ? segments : segments.slice(0, glob)) {
    if (segment === '' || segment === '.') continue;
    if (segment !== '..') folders.push(segment);
    else if (folders.pop() === undefined)
      throw invalid(`Expected path to stay below the root, got ${describe(path)}`);
  }
  const resource = `/${folders.join('/')}`;
  if (folders.length > MAX_DEPTH)
    throw invalid(`Expected path to have at most ${MAX_DEPTH} folders, got ${folders.length}`);
  if (Buffer.byteLength(resource) > MAX_BYTES)
    throw invalid(`Expected path to have at most ${MAX_BYTES} bytes`);
  return resource;
}

/**
 * The lock on a path as items: an intent on every folder above, the mode itself on the path. Two paths overlap exactly when their items
 * conflict, so that a store needs no globbing (L9).
 */
export function pathItems(resource: string, mode: 'exclusive' | 'shared'): readonly LockItem[] {
  const intent = mode === 'shared' ? 'intent-shared' : 'intent-exclusive';
  const items: LockItem[] = [];
  if (resource !== '/') items.push({ resource: '/', mode: intent });
  for (let end = resource.indexOf('/', 1); end > 0; end = resource.indexOf('/', end + 1)) {
    items.push({ resource: resource.slice(0, end), mode: intent });
  }
  items.push({ resource, mode });
  return items;
}
