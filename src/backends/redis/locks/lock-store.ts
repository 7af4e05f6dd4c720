import type {
  CycleEdge,
  LockAnswer,
  LockRelease,
  LockRequest,
  LockRow,
  LockStore,
  WaitRef,
  WaitSnapshot,
} from '../../../core/ports/locks.ts';
import type {
  BackendTime,
  Operation,
  Page,
  PageRequest,
  SessionNumber,
  Stamped,
  Token,
} from '../../../core/ports/words.ts';
import type { RedisStore } from '../connection.ts';
import { defineScript, type Script } from '../scripts.ts';
import { type LockFilter, listLocks } from './lock-list.ts';
import { LockPicture } from './lock-pictures.ts';
import { type AnswerText, answerOf, requestArguments } from './lock-texts.ts';
import { LOCK_ABORT, LOCK_KEEP, LOCK_PUBLISH, LOCK_RELEASE, LOCK_STEP } from './lua/ending.ts';
import { LOCK_REQUEST } from './lua/request.ts';

const ABORT = defineScript('lock-abort', LOCK_ABORT);
const KEEP = defineScript('lock-keep', LOCK_KEEP);
const PUBLISH = defineScript('lock-publish', LOCK_PUBLISH);
const RELEASE = defineScript('lock-release', LOCK_RELEASE);
const REQUEST = defineScript('lock-request', LOCK_REQUEST);
const STEP = defineScript('lock-step', LOCK_STEP);

/** What one script looks at, so that none takes long. */
const KEPT_TOGETHER = 100;

interface AnswerOf {
  readonly at: BackendTime;
  /** 1: there is more to hand on than one script may do. */
  readonly m?: 1;
}

/**
 * Locks in Redis. Each call is one script, so nothing comes between looking and granting. A grant or a wait of a session that isn't alive counts
 * as gone: every script ends what is due before it looks, so whoever waits finds out when it next asks with `keep`, and the others are told.
 */
export class RedisLockStore implements LockStore {
  readonly #store: RedisStore;
  #stepping = false;

  constructor(store: RedisStore) {
    this.#store = store;
  }

  async request(
    op: Operation,
    requests: readonly LockRequest[],
  ): Promise<Stamped & { readonly answers: readonly LockAnswer[] }> {
    if (requests.length === 0) return { at: await this.#store.now(), answers: [] };
    const args: (string | number)[] = [op.session, op.sequence, requests.length];
    for (const request of requests) args.push(...requestArguments(request));
    const { at, a } = await this.#ask<AnswerOf & { readonly a: readonly AnswerText[] }>(REQUEST, args);
    return { at, answers: a.map(answerOf) };
  }

  async keep(
    session: SessionNumber,
    refs: readonly { readonly id: string; readonly token?: Token | undefined }[],
  ): Promise<Stamped & { readonly answers: readonly LockAnswer[] }> {
    if (refs.length === 0) return { at: await this.#store.now(), answers: [] };
    const parts: Promise<AnswerOf & { readonly a: readonly AnswerText[] }>[] = [];
    for (let from = 0; from < refs.length; from += KEPT_TOGETHER) {
      const some = refs.slice(from, from + KEPT_TOGETHER);
      parts.push(this.#ask(KEEP, [session, ...some.flatMap(({ id, token }) => [id, token ?? ''])]));
    }
    const answers = await Promise.all(parts);
    return { at: answers[0]?.at as BackendTime, answers: answers.flatMap(({ a }) => a.map(answerOf)) };
  }

  async release(
    op: Operation,
    items: readonly LockRelease[],
  ): Promise<Stamped & { readonly ended: readonly boolean[]; readonly granted: readonly string[] }> {
    if (items.length === 0) return { at: await this.#store.now(), ended: [], granted: [] };
    const args: (string | number)[] = [op.session, op.sequence];
    for (const { id, token, downgradeTo, revoke } of items) {
      args.push(
        id,
        token ?? '',
        downgradeTo === undefined ? '' : '1',
        revoke?.graceMs ?? '',
        revoke?.reason ?? '',
      );
    }
    const { at, e, g } = await this.#ask<
      AnswerOf & { readonly e: readonly number[]; readonly g: readonly string[] }
    >(RELEASE, args);
    return { at, ended: e.map((ended) => ended === 1), granted: g };
  }

  async publish(session: SessionNumber, edges: readonly CycleEdge[]): Promise<Stamped> {
    const text = edges.length === 0 ? '' : JSON.stringify(edges);
    return { at: Number(await this.#store.run(PUBLISH, [session, text], 'write')) as BackendTime };
  }

  async snapshot(around?: string): Promise<WaitSnapshot> {
    const picture = new LockPicture(this.#store);
    const published = await picture.readPublished();
    if (around === undefined) await picture.readContended();
    else await picture.readAround(around, published);
    return picture.snapshot(published);
  }

  async abort(
    op: Operation,
    wait: WaitRef,
    cycle: readonly CycleEdge[],
    witnesses: readonly WaitRef[],
  ): Promise<Stamped & { readonly aborted: boolean }> {
    const args = [op.session, op.sequence, wait.id, wait.version, JSON.stringify(cycle)];
    for (const { id, version } of witnesses) args.push(id, version);
    const { at, b } = await this.#ask<AnswerOf & { readonly b: 0 | 1 }>(ABORT, args);
    return { at, aborted: b === 1 };
  }

  list(filter: LockFilter, page: PageRequest): Promise<Page<LockRow>> {
    return listLocks(this.#store, filter, page);
  }

  async #ask<A extends AnswerOf>(script: Script, args: readonly (string | number)[]): Promise<A> {
    const answer = JSON.parse((await this.#store.run(script, args, 'write')) as string) as A;
    if (answer.m === 1) void this.#step();
    return answer;
  }

  /** Hands on to the rest: a lock that thousands of readers wait for is granted to them in steps, between which others are served. */
  async #step(): Promise<void> {
    if (this.#stepping) return;
    this.#stepping = true;
    try {
      while ((await this.#store.run(STEP, [], 'read')) === 1);
    } catch {
      // Whoever asks next goes on with it: those who wait ask again.
    } finally {
      this.#stepping = false;
    }
  }
}
