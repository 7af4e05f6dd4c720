import type { Backend } from '../../src/core/ports/backend.ts';
import { postgres } from '../../src/backends/postgres/index.ts';
import { redis } from '../../src/backends/redis/index.ts';
import type { BackendName } from './command-line.ts';

/** Tasks at a time of one worker. */
export const CONCURRENCY = 4;

/** Where one run takes place: a server, and a name of its own there. */
export interface World {
  readonly backend: BackendName;
  readonly url: string;
  /** Schema or mesh: letters, digits and `_`. */
  readonly name: string;
}

export function backendOf({ backend, url, name }: World): Backend {
  return backend === 'postgres' ? postgres({ url, schema: name }) : redis({ url, mesh: name });
}
