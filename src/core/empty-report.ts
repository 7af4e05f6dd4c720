import type { SessionReport } from './ports/sessions.ts';

/** What a process without anything to say says of itself. */
export const EMPTY_REPORT: SessionReport = {
  host: '',
  pid: 0,
  build: '',
  load: { running: 0, unstarted: 0, slots: 0, weight: 0 },
  rssBytes: 0,
  loopLagMs: 0,
  agents: [],
  progress: [],
};
