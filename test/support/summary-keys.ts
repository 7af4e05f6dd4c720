/** What `npm run demo -- --json` prints, as it is documented. */
export const SUMMARY_KEYS = [
  'repo',
  'seed',
  'agents',
  'tasks',
  'locks',
  'deadlocks',
  'conflicts',
  'steals',
  'breaker',
  'messages',
  'edits',
  'serial',
  'baseline',
  'durationMs',
];
