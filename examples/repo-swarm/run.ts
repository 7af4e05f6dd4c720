import { coordinationBy, noCoordination } from './coordination.ts';
import { Mesh, type CoordinationEvent } from './mesh.ts';
import type { Plan } from './plan.ts';
import { AGENTS, Squad, type Report } from './squad.ts';
import { Tools } from './tools.ts';
import { verifyClone, type Verification } from './verification.ts';
import type { Workspace } from './workspace.ts';

/** The three ways the same plan is run. */
export const MODES = {
  serial: { title: 'one at a time', coordinated: true, concurrency: 1 },
  off: { title: 'coordination off', coordinated: false, concurrency: AGENTS.length },
  coordinated: { title: 'coordinated', coordinated: true, concurrency: AGENTS.length },
} as const;
export type Mode = keyof typeof MODES;

/** What one run left behind. All figures come from its events and from the verifier. */
export interface RunRecord {
  readonly mode: Mode;
  /** ms since 1970. */
  readonly startedAt: number;
  readonly durationMs: number;
  readonly events: readonly CoordinationEvent[];
  readonly report: Report;
  readonly verified: Verification;
}

export interface RunOptions {
  readonly mode: Mode;
  readonly plan: Plan;
  /** A clone of its own, with the plan committed. */
  readonly workspace: Workspace;
  readonly signal: AbortSignal;
  readonly onEvent?: (event: CoordinationEvent) => void;
}

/** Runs the plan once, from the first task to the verifier's answer. Measured is the squad's work only. */
export async function runPlan({ mode, plan, workspace, signal, onEvent }: RunOptions): Promise<RunRecord> {
  const { coordinated, concurrency } = MODES[mode];
  const events: CoordinationEvent[] = [];
  await using tools = await Tools.start(plan.seed);
  await using mesh = await Mesh.start(concurrency, (event) => {
    events.push(event);
    onEvent?.(event);
  });
  const coordination = coordinated ? coordinationBy(mesh) : noCoordination;
  const squad = new Squad(plan, { mesh, coordination, workspace, tools, lastWriter: new Map() });
  const startedAt = Date.now();
  const from = performance.now();
  const report = await squad.work(signal);
  const durationMs = performance.now() - from;
  return {
    mode,
    startedAt,
    durationMs,
    events,
    report,
    verified: await verifyClone(workspace.folder, signal),
  };
}
