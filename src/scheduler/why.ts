import type { QueueCounts, TaskRecord } from '../core/ports/tasks.ts';
import type { Agent, Run } from './agent.ts';
import { childOf, mayRun } from './run-waits.ts';
import { settingsOf } from './settings.ts';
import type { WaitLink, WaitReason } from './types.ts';

/** How far a chain of reasons is followed. */
const MAX_DEPTH = 20;

export interface WhyFacts {
  record(id: string): Promise<TaskRecord | undefined>;
  run(record: TaskRecord): Run | undefined;
  agents(): Iterable<Agent>;
  queue(name: string): Promise<QueueCounts | undefined>;
  /** Slots left of the limit over all agents. */
  freeInProcess(): number;
  /** ms until the breaker admits calls; 0 while it does. */
  breakerMs(name: string): number;
  /** What a run waits for in other parts: locks, replies. */
  elsewhere(node: string): readonly WaitLink[];
  /** Backend time, µs. */
  now(): number;
  mono(): number;
}

/** Follows the reasons why a task isn't running, from the task down to what everything waits for. */
export async function whyTask(id: string, facts: WhyFacts): Promise<WaitReason | undefined> {
  const chain: WaitLink[] = [];
  const seen = new Set<string>();
  let next: string | undefined = id;
  let first: TaskRecord | undefined;
  while (next !== undefined && !seen.has(next) && chain.length < MAX_DEPTH) {
    seen.add(next);
    const record: TaskRecord | undefined = await facts.record(next);
    if (record === undefined) {
      if (first === undefined) return undefined;
      chain.push({ kind: 'dependency', subject: next, detail: 'it was never submitted' });
      break;
    }
    first ??= record;
    const links = await linksOf(record, facts);
    chain.push(...links);
    const last = links.at(-1);
    next = last?.kind === 'dependency' || last?.kind === 'child' ? last.subject : holderTask(last);
  }
  return { taskId: id, chain, sentence: sentenceOf(id, chain) };
}

/** A lock or slot may be held by another task, whose reason comes next. */
function holderTask(link: WaitLink | undefined): string | undefined {
  return link?.kind === 'lock' || link?.kind === 'slot' || link?.kind === 'reply' ? link.holder : undefined;
}

async function linksOf(record: TaskRecord, facts: WhyFacts): Promise<readonly WaitLink[]> {
  switch (record.state) {
    case 'waiting':
      return [dependencyLink(record, facts)];
    case 'scheduled': {
      const { breaker } = settingsOf(record.body);
      const breakerMs = breaker === undefined ? 0 : facts.breakerMs(breaker);
      if (breaker !== undefined && breakerMs > 0)
        return [{ kind: 'breaker', subject: breaker, expectedInMs: breakerMs }];
      const dueUs = (record.runAt ?? 0) - facts.now();
      const detail =
        record.attempt > 0
          ? `retry after attempt ${record.attempt}`
          : (record.reason ?? 'not before its time');
      return [{ kind: 'delay', subject: record.id, expectedInMs: Math.max(0, dueUs / 1_000), detail }];
    }
    case 'ready':
      return [await readyLink(record, facts)];
    case 'claimed':
      return claimedLinks(record, facts);
    default:
      return [{ kind: 'ended', subject: record.id, detail: record.reason ?? record.state }];
  }
}

function dependencyLink(record: TaskRecord, facts: WhyFacts): WaitLink {
  const [parent = 'a parent'] = record.waitingFor;
  const others = record.waitingCount - 1;
  return {
    kind: 'dependency',
    subject: parent,
    sinceMs: (facts.now() - record.enqueuedAt) / 1_000,
    ...(others > 0 ? { detail: `and ${others} more` } : {}),
  };
}

async function readyLink(record: TaskRecord, facts: WhyFacts): Promise<WaitLink> {
  const { body } = record;
  const sinceMs = (facts.now() - record.readyAt) / 1_000;
  const queue = await facts.queue(body.queue);
  if (queue?.settings.paused === true) return { kind: 'paused', subject: body.queue, sinceMs };
  const agents = [...facts.agents()].filter((agent) => mayRun(agent, record));
  if (agents.length === 0) {
    const detail =
      body.agent === undefined
        ? `needs ${[body.type, ...body.capabilities].join(', ')}`
        : `only ${body.agent}`;
    return { kind: 'no-capable-agent', subject: body.type, sinceMs, detail };
  }
  if (facts.freeInProcess() <= 0) return { kind: 'limit', subject: 'maxConcurrentTasks', sinceMs };
  if (agents.every((agent) => !agent.hasSlot)) {
    const holder = agents.flatMap((agent) => [...agent.runs()]).at(-1);
    return {
      kind: 'slot',
      subject: agents.map((agent) => agent.id).join(', '),
      sinceMs,
      ...(holder === undefined ? {} : { holder: holder.id }),
    };
  }
  const limit = limitOf(queue, body.group);
  if (limit !== undefined) return { kind: 'limit', subject: body.queue, sinceMs, detail: limit };
  return { kind: 'slot', subject: 'next turn', sinceMs, detail: 'it is about to be placed' };
}

function limitOf(queue: QueueCounts | undefined, group: string | undefined): string | undefined {
  if (queue === undefined) return undefined;
  const { settings, states } = queue;
  if (settings.maxRunning !== undefined && states.claimed >= settings.maxRunning)
    return `maxRunning ${settings.maxRunning}`;
  if (settings.maxRunningPerGroup !== undefined && group !== undefined)
    return `maxRunningPerGroup ${settings.maxRunningPerGroup} of ${group}`;
  return undefined;
}

function claimedLinks(record: TaskRecord, facts: WhyFacts): readonly WaitLink[] {
  const run = facts.run(record);
  if (run === undefined) return [{ kind: 'running', subject: record.id, detail: 'in another process' }];
  const sinceMs = facts.mono() - run.since;
  const agent = run.agent?.id;
  const elsewhere = facts.elsewhere(record.id);
  switch (run.phase) {
    case 'queued':
      return [
        { kind: 'assigned', subject: agent ?? '', sinceMs, detail: 'waits in the run queue of its agent' },
        ...slotLink(run),
      ];
    case 'resuming':
      return slotLink(run);
    case 'parked':
      return [
        { kind: 'slot', subject: 'an agent', sinceMs, detail: 'no agent that may take it wants it now' },
      ];
    case 'awaiting': {
      const [child] = [...(run.facts.waits?.keys() ?? [])].flatMap((key) => childOf(key) ?? []);
      return child === undefined
        ? [...elsewhere, running(record, agent, sinceMs)].slice(0, 1)
        : [{ kind: 'child', subject: child, sinceMs }];
    }
    case 'locking':
      return elsewhere.length > 0 ? elsewhere : [{ kind: 'lock', subject: 'its locks', sinceMs }];
    default: {
      if (elsewhere.length > 0) return elsewhere;
      return [running(record, agent, sinceMs)];
    }
  }
}

function slotLink(run: Run): readonly WaitLink[] {
  const { agent } = run;
  if (agent === undefined) return [];
  const [holder] = [...agent.runs()].filter((other) => other.holdsSlot);
  return [{ kind: 'slot', subject: agent.id, ...(holder === undefined ? {} : { holder: holder.id }) }];
}

function running(record: TaskRecord, agent: string | undefined, sinceMs: number): WaitLink {
  return { kind: 'running', subject: record.id, sinceMs, ...(agent === undefined ? {} : { holder: agent }) };
}

function sentenceOf(id: string, chain: readonly WaitLink[]): string {
  if (chain.length === 0) return `${id} has no reason to wait`;
  return `${id} ${chain.map(clause).join(', which ')}`;
}

function clause(link: WaitLink): string {
  const tail = link.detail === undefined ? '' : ` (${link.detail})`;
  switch (link.kind) {
    case 'dependency':
      return `waits for task ${link.subject}${tail}`;
    case 'child':
      return `waits for its child ${link.subject}${tail}`;
    case 'delay':
      return `is due in ${Math.round(link.expectedInMs ?? 0)} ms${tail}`;
    case 'lock':
      return `waits for lock ${link.subject}${link.holder === undefined ? '' : ` held by ${link.holder}`}${tail}`;
    case 'declared':
      return `waits for ${link.subject}${link.holder === undefined ? '' : ` of ${link.holder}`}${tail}`;
    case 'reply':
      return `waits for a reply of ${link.subject}${tail}`;
    case 'slot':
      return `waits for a slot of ${link.subject}${link.holder === undefined ? '' : ` taken by ${link.holder}`}${tail}`;
    case 'limit':
      return `waits for the limit ${link.subject}${tail}`;
    case 'breaker':
      return `waits for breaker ${link.subject}${tail}`;
    case 'paused':
      return `waits because queue ${link.subject} is paused${tail}`;
    case 'no-capable-agent':
      return `waits because no agent may run it${tail}`;
    case 'assigned':
      return `is assigned to ${link.subject}${tail}`;
    case 'running':
      return `is running${link.holder === undefined ? '' : ` on ${link.holder}`}${tail}`;
    case 'ended':
      return `has ended${tail}`;
  }
}
