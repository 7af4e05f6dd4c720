import { postgres } from '../../src/backends/postgres/index.ts';
import { redis } from '../../src/backends/redis/index.ts';
import type { Backend } from '../../src/core/ports/backend.ts';

export type BackendName = 'postgres' | 'redis';

/** Where a run takes place: a server, and a name of its own there. */
export interface World {
  readonly backend: BackendName;
  /** The way that faults are put into. */
  readonly url: string;
  /** The straight way to the server, for the ledger: a partition of the mesh is none of the resource that it guards. */
  readonly direct: string;
  /** Schema or mesh. */
  readonly name: string;
}

/** ms until a connection or an answer is given up: short, so that a black hole of seconds is noticed. */
const TIMEOUT_MS = 1_500;

/** For those who only look, whom no fault is meant for: long enough for a machine that is slow, ms. */
export const PATIENT_MS = 8_000;

export function backendOf({ backend, name }: World, url: string, timeoutMs = TIMEOUT_MS): Backend {
  const times = { connectTimeoutMs: timeoutMs, commandTimeoutMs: timeoutMs };
  return backend === 'postgres'
    ? postgres({ url, schema: name, ...times })
    : redis({ url, mesh: name, ...times });
}
