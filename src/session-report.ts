import { hostname } from 'node:os';
import type { SessionReport } from './core/ports/sessions.ts';
import { REPORTED_AGENTS, REPORTED_CAPABILITIES } from './scheduler/peers.ts';

/** What a report says of a scheduler, which knows all of it. */
export interface Reported {
  getSchedulingMetrics(): { readonly running: number; readonly queued: number; readonly slots: number };
  loads(): readonly {
    readonly id: string;
    readonly capabilities: readonly string[];
    readonly draining: boolean;
    readonly running: number;
    readonly slots: number;
  }[];
}

/** What this process says of itself at each beat of its session. */
export function sessionReport(tasks: Reported): SessionReport {
  const { running, queued, slots } = tasks.getSchedulingMetrics();
  return {
    host: hostname(),
    pid: process.pid,
    build: process.version,
    load: { running, unstarted: queued, slots, weight: running + queued },
    rssBytes: process.memoryUsage.rss(),
    loopLagMs: 0,
    agents: tasks
      .loads()
      .slice(0, REPORTED_AGENTS)
      .map((agent) => ({
        id: agent.id,
        capabilities: agent.capabilities.slice(0, REPORTED_CAPABILITIES),
        running: agent.running,
        slots: agent.slots,
        draining: agent.draining,
      })),
    progress: [],
  };
}
