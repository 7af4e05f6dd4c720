import type { ResourceRequest } from '../core/lock-types.ts';
import type { TaskRecord } from '../core/ports/tasks.ts';
import type { Run } from './agent.ts';
import { childOf } from './run-waits.ts';
import { settingsOf } from './settings.ts';
import { PROBE_PAUSE_MS } from './settlement.ts';
import type { WaitLink, WaitReason } from './types.ts';
import { replyOf, SLEEP } from './wait-keys.ts';
import { sentenceOf } from './why-sentence.ts';
import { type UnplacedFacts, whyNoSlot, whyUnplaced } from './why-unplaced.ts';

/** How far a chain of reasons is followed. */
const MAX_DEPTH = 20;

export interface WhyFacts extends UnplacedFacts {
  record(id: string): Promise<TaskRecord | undefined>;
  run(record: TaskRecord): Run | undefined;
  /** ms until the breaker admits calls; 0 while it does. */
  breakerMs(name: string): number;
  /** What the run of a task waits for in other parts: locks, replies. */
  elsewhere(taskId: string): readonly WaitLink[];
  /** Backend time, µs. */
  now(): number;
  mono(): number;
}

/** Follows the reasons why a task isn't running, from the task down to what everything waits for. */
export async function whyTask(id: string, facts: WhyFacts): Promise<WaitReason | undefined> {
  const chain: WaitLink[] = [];
  const seen = new Set<string>();
  let next: string | undefined = id;
  while (next !== undefined && !seen.has(next) && chain.length < MAX_DEPTH) {
    seen.add(next);
    const record: TaskRecord | undefined = await facts.record(next);
    if (record === undefined) {
      const last = chain.at(-1);
      if (last === undefined) return undefined;
      // Whoever has a lock or sends a reply need not be a task.
      if (last.kind === 'dependency')
        chain[chain.length - 1] = { ...last, detail: also('no such task is known', last.detail) };
      break;
    }
    chain.push(...(await linksOf(record, facts)));
    next = taskBehind(chain.at(-1));
  }
  return { taskId: id, chain, sentence: sentenceOf(id, chain) };
}

/** The task whose reason comes next, if the link leads to one. */
function taskBehind(link: WaitLink | undefined): string | undefined {
  switch (link?.kind) {
    case 'dependency':
    case 'survivor':
      return link.subject;
    case 'child':
      return link.holder ?? link.subject;
    case 'lock':
    case 'slot':
    case 'reply':
    case 'declared':
      return link.holder;
    default:
      return undefined;
  }
}

async function linksOf(record: TaskRecord, facts: WhyFacts): Promise<readonly WaitLink[]> {
  switch (record.state) {
    case 'waiting':
      return [dependencyLink(record, facts)];
    case 'scheduled':
      return [scheduledLink(record, facts)];
    case 'ready':
      return [await whyUnplaced(record, (facts.now() - record.readyAt) / 1_000, facts)];
    case 'claimed':
      return claimedLinks(record, facts);
    default:
      return [{ kind: 'ended', subject: record.id, detail: record.reason ?? record.state }];
  }
}

function scheduledLink(record: TaskRecord, facts: WhyFacts): WaitLink {
  const { breaker } = settingsOf(record.body);
  const dueMs = ((record.runAt ?? 0) - facts.now()) / 1_000;
  const breakerMs = breaker === undefined ? 0 : facts.breakerMs(breaker);
  // Of the two the later one is what it waits for; a task that the breaker sent back is due a little after it.
  if (breaker !== undefined && breakerMs > 0 && dueMs <= breakerMs + PROBE_PAUSE_MS)
    return { kind: 'breaker', subject: breaker, expectedInMs: breakerMs };
  const detail =
    record.attempt > 0 ? `retry after attempt ${record.attempt}` : (record.reason ?? 'not before its time');
  return { kind: 'delay', subject: record.id, expectedInMs: Math.max(0, dueMs), detail };
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

async function claimedLinks(record: TaskRecord, facts: WhyFacts): Promise<readonly WaitLink[]> {
  const run = facts.run(record);
  if (run === undefined) return [running(record, undefined, undefined, 'in another process')];
  const sinceMs = facts.mono() - run.since;
  const { agent } = run;
  switch (run.phase) {
    case 'queued': {
      const detail = 'waits in the run queue of its agent';
      return [{ kind: 'assigned', subject: agent?.id ?? '', sinceMs, detail }, ...slotLinks(run, facts)];
    }
    case 'resuming':
      return slotLinks(run, facts);
    case 'parked':
      return [await whyUnplaced(record, sinceMs, facts)];
    case 'awaiting':
      return awaitingLinks(record, run, sinceMs, facts);
    case 'locking': {
      const links = elsewhereLinks(record, facts);
      const subject = (run.settings.locks ?? []).map(nameOf).join(', ');
      return links.length > 0 ? links : [{ kind: 'lock', subject, sinceMs }];
    }
    case 'ending':
    case 'ended':
      return [endingLink(record, run, sinceMs)];
    default: {
      const links = elsewhereLinks(record, facts);
      return links.length > 0 ? links : [running(record, agent?.id, sinceMs)];
    }
  }
}

function endingLink(record: TaskRecord, { agent, facts }: Run, sinceMs: number): WaitLink {
  const { yieldsTo } = facts;
  if (yieldsTo === undefined) return running(record, agent?.id, sinceMs, 'its end is being stored');
  return { kind: 'survivor', subject: yieldsTo, sinceMs, detail: `retry after attempt ${record.attempt}` };
}

/** What a handler waits for without its slot: children before replies, for they lead further. */
function awaitingLinks(record: TaskRecord, run: Run, sinceMs: number, facts: WhyFacts): readonly WaitLink[] {
  const keys = [...(run.facts.waits?.keys() ?? [])];
  const children = keys.flatMap((key) => childOf(key) ?? []);
  const [child] = children;
  if (child !== undefined) {
    const others = children.length > 1 ? { detail: `and ${children.length - 1} more` } : {};
    return [{ kind: 'child', subject: child, sinceMs, ...others }];
  }
  const links = elsewhereLinks(record, facts);
  if (links.length > 0) return links;
  const [from] = keys.flatMap((key) => replyOf(key) ?? []);
  if (from !== undefined) return [{ kind: 'reply', subject: from, sinceMs }];
  const sleeps = keys.some((key) => key.startsWith(SLEEP));
  return [running(record, run.agent?.id, sinceMs, sleeps ? 'it sleeps' : undefined)];
}

function elsewhereLinks(record: TaskRecord, facts: WhyFacts): readonly WaitLink[] {
  return facts.elsewhere(record.id).map((link) => (link.detail === 'declared' ? declared(link) : link));
}

function declared({ detail: _detail, ...link }: WaitLink): WaitLink {
  return { ...link, kind: 'declared' };
}

function slotLinks({ agent }: Run, facts: WhyFacts): readonly WaitLink[] {
  return agent === undefined ? [] : [whyNoSlot(agent, facts.freeInProcess())];
}

function running(
  record: TaskRecord,
  agent: string | undefined,
  sinceMs: number | undefined,
  detail?: string,
): WaitLink {
  return {
    kind: 'running',
    subject: record.id,
    ...(sinceMs === undefined ? {} : { sinceMs }),
    ...(agent === undefined ? {} : { holder: agent }),
    ...(detail === undefined ? {} : { detail }),
  };
}

function nameOf(request: ResourceRequest): string {
  if (typeof request === 'string') return request;
  if ('path' in request) return request.path;
  return 'semaphore' in request ? request.semaphore : request.resource;
}

function also(detail: string, before: string | undefined): string {
  return before === undefined ? detail : `${detail}; ${before}`;
}
