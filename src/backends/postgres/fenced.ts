import { checkFunction, checkId, checkNumber, checkObject, invalid } from '../../core/check.ts';
import { CoordinationError, describe } from '../../core/errors.ts';
import { checkOptions } from '../../core/options.ts';
import { checkClient, type PostgresClient, rowsOf } from './driver.ts';
import { checkSchema } from './options.ts';
import { SqlErrors } from './sql-errors.ts';
import { inSchema } from './statements.ts';

/** What a write is made under: one resource with its token, or a whole lease (each of its resources with its own). */
export type Fence =
  | { readonly resource: string; readonly token: number }
  | { readonly tokens: ReadonlyMap<string, number> };

export interface FencedOptions {
  /** Schema of the mesh whose register is asked. @default 'agentmesh' */
  readonly schema?: string;
}

/** Only inside a transaction its time is older than that of the statement. */
const JOINED = 'select now() < statement_timestamp() as joined';
const CHECK = 'select agentmesh.fence_v1($1, $2)';

const errors = new SqlErrors([]);

/**
 * Guards writes to PostgreSQL itself: in the caller's transaction, the register of the newest token of each resource is checked and raised,
 * then the write runs. A write whose token is older than one seen before is refused, so one that paused past its lease changes nothing any
 * more. The register's rows stay locked until the transaction ends, so writes under two tokens of one resource never mix.
 *
 * @param client a connection on which the caller has sent BEGIN, not a pool; after a refusal nothing is left but ROLLBACK
 * @param work the write; gets the token, of a lease the first one
 * @throws STALE_FENCE, NOT_SUPPORTED outside of a transaction, SCHEMA_MISMATCH, BACKEND_UNAVAILABLE, INVALID_ARGUMENT, INVALID_OPTION
 */
export async function fenced<R>(
  client: PostgresClient,
  fence: Fence,
  work: (token: number) => R | Promise<R>,
  options: FencedOptions = {},
): Promise<R> {
  checkFunction(work, 'the write');
  checkClient(client);
  const places = placesOf(fence);
  const { schema = 'agentmesh' } = checkOptions('fenced', options, ['schema']);
  const check = inSchema(CHECK, checkSchema(schema));
  const [row] = await query<{ readonly joined: boolean }>(client, JOINED, []);
  if (row?.joined !== true) {
    throw new CoordinationError('NOT_SUPPORTED', 'The client is not in a transaction', {
      hint: 'Send BEGIN on this client first: check and write must commit together.',
    });
  }
  // In the order of names, so that no two of these wait for each other.
  const inOrder = places.toSorted(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  for (const place of inOrder) await query(client, check, place);
  return work((places[0] as Place)[1]);
}

type Place = readonly [resource: string, token: number];

function placesOf(fence: Fence): readonly Place[] {
  checkObject(fence, 'the fence');
  if ('tokens' in fence && !(fence.tokens instanceof Map))
    throw invalid(`Expected the tokens of the fence to be a Map, got ${describe(fence.tokens)}`);
  const places = 'tokens' in fence ? [...fence.tokens] : [[fence.resource, fence.token] as const];
  if (places.length === 0) throw invalid('Expected a fence with at least one resource');
  return places.map(([resource, token]) => [checkId(resource, 'resource'), checkNumber(token, 'token', 0)]);
}

async function query<Row>(
  client: PostgresClient,
  text: string,
  values: readonly unknown[],
): Promise<readonly Row[]> {
  let answer: unknown;
  try {
    answer = await client.query({ text, values });
  } catch (error) {
    throw errors.refusal(error);
  }
  return rowsOf(answer, 'the client', 'INVALID_ARGUMENT') as readonly Row[];
}
