import { OPTIONS, type Part } from './option-table.ts';

/** Tables that are no part of a manager, and where their rows go. */
const PLACES = {
  manager: "These stand at the top of the manager's options: `{ maxRetries: 3 }`.",
  retry: 'Put it into `scheduling`: `{ scheduling: { retry: { … } } }`.',
  queue: 'Queues are set one by one, after the start: `mesh.queues.configure(queue, { … })`.',
} as const satisfies Partial<Record<Part, string>>;

/** Names of other libraries and of the arguments, which no edit distance finds. */
const OTHER_NAMES: ReadonlyMap<string, string> = new Map([
  ['eventBus', 'Did you mean `events`?'],
  ['heartbeat', 'Did you mean `health`?'],
]);

/** Keys that a manager takes beside the rows of its own table: what it is given, and a part's options under the name of the part. */
export const MANAGER_KEYS: readonly string[] = [
  'backend',
  'events',
  'logger',
  'clock',
  'random',
  'ids',
  'seed',
  'allow',
  'env',
  ...Object.keys(OPTIONS).filter((part) => !(part in PLACES)),
];

/** Rows of the manager's table that a part takes too, under the predecessor's names. */
export const LEGACY_OF: Partial<Record<Part, readonly string[]>> = {
  scheduling: ['maxRetries', 'retryDelay'],
  resources: ['resourceTimeout', 'deadlockDetection'],
  messaging: ['messageTimeout'],
};

/** Every key that is known somewhere. */
export const KNOWN_ELSEWHERE: ReadonlySet<string> = new Set([
  ...MANAGER_KEYS,
  ...Object.keys(PLACES),
  ...Object.values(OPTIONS).flatMap((table) => Object.keys(table)),
]);

/** Where a key that is known somewhere else belongs, as a hint. Pure. */
export function placeOf(key: string, part: Part): string | undefined {
  if (part === 'manager' && Object.hasOwn(PLACES, key)) return PLACES[key as keyof typeof PLACES];
  const other = OTHER_NAMES.get(key);
  if (other !== undefined) return other;
  if (part !== 'manager' && Object.hasOwn(OPTIONS.manager, key)) return PLACES.manager;
  const owners = (Object.keys(OPTIONS) as Part[]).filter(
    (owner) => owner !== 'manager' && owner !== part && Object.hasOwn(OPTIONS[owner], key),
  );
  if (owners.length === 0) return undefined;
  const homes = owners.map((owner) => {
    if (owner === 'retry') return `\`scheduling: { retry: { ${key} } }\``;
    return owner === 'queue' ? `\`mesh.queues.configure(queue, { ${key} })\`` : `\`${owner}: { ${key} }\``;
  });
  return `It belongs to ${homes.join(' or ')}.`;
}
