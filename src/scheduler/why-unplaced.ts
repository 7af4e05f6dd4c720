import type { QueueCounts, TaskBody, TaskRecord } from '../core/ports/tasks.ts';
import type { Agent, Run } from './agent.ts';
import type { Company } from './parts.ts';
import { mayRun } from './run-waits.ts';
import { settingsOf } from './settings.ts';
import type { WaitLink } from './types.ts';

export interface UnplacedFacts {
  agents(): Iterable<Agent>;
  queue(name: string): Promise<QueueCounts | undefined>;
  /** Tasks of a group that are claimed now, counted up to `most`. */
  claimedOf(queue: string, group: string, most: number): Promise<number>;
  /** Slots left of the limit over all agents. */
  freeInProcess(): number;
  /** The name of the strategy that places. */
  strategy(): string;
  /** Whether this process starts nothing any more. */
  drained(): boolean;
  readonly company: Company;
}

/** Why a task that is ready, or was claimed and not placed, has no agent. */
export async function whyUnplaced(
  record: TaskRecord,
  sinceMs: number,
  facts: UnplacedFacts,
): Promise<WaitLink> {
  const { body } = record;
  const queue = record.state === 'ready' ? await facts.queue(body.queue) : undefined;
  if (queue?.settings.paused === true) return { kind: 'paused', subject: body.queue, sinceMs };
  if (facts.drained()) {
    const detail = 'this process starts nothing any more: it was drained';
    return { kind: 'no-capable-agent', subject: body.type, sinceMs, detail };
  }
  const all = [...facts.agents()];
  const able = all.filter((agent) => mayRun(agent, record));
  if (able.length === 0)
    return {
      kind: 'no-capable-agent',
      subject: body.type,
      sinceMs,
      detail: whyNoneAble(record, all, facts.company),
    };
  const { exclude = [], maxLoadRatio = Number.POSITIVE_INFINITY } = settingsOf(body);
  const welcome = able.filter(({ id }) => !exclude.includes(id));
  if (welcome.length === 0) {
    const detail = `it excludes ${namesOf(able)}`;
    return { kind: 'no-capable-agent', subject: body.type, sinceMs, detail };
  }
  const limit = queue === undefined ? undefined : await limitOf(queue, body.group, facts);
  if (limit !== undefined) return { kind: 'limit', subject: body.queue, sinceMs, detail: limit };
  if (facts.freeInProcess() <= 0) return { kind: 'limit', subject: 'maxConcurrentTasks', sinceMs };
  const free = welcome.filter((agent) => agent.hasSlot);
  if (free.length === 0) {
    const holder = welcome.flatMap((agent) => [...agent.runs()].filter((run) => run.holdsSlot)).at(-1);
    return { kind: 'slot', subject: namesOf(welcome), sinceMs, ...holderOf(holder) };
  }
  const calm = free.filter((agent) => (agent.running + agent.queue.length) / agent.slots <= maxLoadRatio);
  if (calm.length === 0) {
    const detail = `${namesOf(free)} above ${maxLoadRatio}`;
    return { kind: 'limit', subject: 'maxLoadRatio', sinceMs, detail };
  }
  if (record.state === 'ready')
    return { kind: 'slot', subject: namesOf(calm), sinceMs, detail: 'it is about to be placed' };
  return { kind: 'strategy', subject: facts.strategy(), sinceMs };
}

/** Why a run waits for a slot of the agent it is bound to. */
export function whyNoSlot(agent: Agent, freeInProcess: number): WaitLink {
  if (agent.hasSlot && freeInProcess <= 0) return { kind: 'limit', subject: 'maxConcurrentTasks' };
  const [holder] = [...agent.runs()].filter((run) => run.holdsSlot);
  return { kind: 'slot', subject: agent.id, ...holderOf(holder) };
}

function holderOf(run: Run | undefined): { readonly holder?: string } {
  return run === undefined ? {} : { holder: run.id };
}

function whyNoneAble({ body }: TaskRecord, all: readonly Agent[], company: Company): string {
  const { agent: alone } = body;
  const only = alone === undefined ? '' : `only ${alone}: `;
  const present = all.filter(
    ({ gone, isImplicit, id }) => !gone && !isImplicit && (alone === undefined || id === alone),
  );
  if (present.length === 0) return whyNonePresent(alone, company);
  return `${only}${whyUnfit(body, present)}`;
}

function whyNonePresent(alone: string | undefined, company: Company): string {
  if (company === 'alone') return alone === undefined ? 'no agent is registered' : `only ${alone}`;
  if (alone === undefined) return 'no agent is registered in this process';
  return `only ${alone}, which is not registered in this process: it is left to the one that has it`;
}

function whyUnfit(body: TaskBody, present: readonly Agent[]): string {
  const capable = present.filter(({ facts }) =>
    body.capabilities.every((name) => facts.capabilities.includes(name)),
  );
  if (capable.length === 0) return `needs ${body.capabilities.join(', ')}`;
  const fit = capable.filter(({ facts }) => facts.types?.includes(body.type) !== false);
  if (fit.length === 0) return `${namesOf(capable)} without a handler for ${body.type}`;
  return `${namesOf(fit)} draining`;
}

async function limitOf(
  { queue, settings, states }: QueueCounts,
  group: string | undefined,
  facts: UnplacedFacts,
): Promise<string | undefined> {
  const { maxRunning, maxRunningPerGroup } = settings;
  if (maxRunning !== undefined && states.claimed >= maxRunning) return `maxRunning ${maxRunning}`;
  if (maxRunningPerGroup === undefined || group === undefined) return undefined;
  const claimed = await facts.claimedOf(queue, group, maxRunningPerGroup);
  return claimed >= maxRunningPerGroup ? `maxRunningPerGroup ${maxRunningPerGroup} of ${group}` : undefined;
}

/** Most agents that are named. */
const MOST_NAMES = 10;

function namesOf(agents: readonly Agent[]): string {
  const names = agents.slice(0, MOST_NAMES).map(({ id }) => id);
  if (agents.length > MOST_NAMES) names.push(`${agents.length - MOST_NAMES} more`);
  return names.join(', ');
}
