import type { Distribution, Histogram } from '../histogram.ts';
import { type FigureParts, type Figures, type Listen, MAX_FOLLOWED, percent } from './figures.ts';

export interface ResourceMetrics {
  /** Resources that are held, of those known; percent 0…100. Without a gauge, known are those locked since `start()`. */
  readonly resourceUtilization: number;
  readonly heldResources: number;
  readonly knownResources: number;
  /** Requests that wait; without a gauge, as far as events tell. */
  readonly waitingRequests: number;
  readonly acquired: number;
  readonly released: number;
  /** Leases that ran out. */
  readonly expired: number;
  /** Requests that gave up: timeout, abort or deadlock. */
  readonly abandoned: number;
  /** Wait for a lock, ms; those granted at once included. */
  readonly lockWait: Distribution;
  /** From grant to release, ms. */
  readonly lockHold: Distribution;
}

export class LockFigures implements Figures {
  readonly #parts: FigureParts;
  readonly #granted: Histogram;
  readonly #refused: Histogram;
  readonly #held: Histogram;
  /** Holders by resource, for a collector without gauge. */
  readonly #holders: Map<string, number> | undefined;
  #heldNow = 0;
  #waiting = 0;
  #expired = 0;
  #abandoned = 0;

  constructor(parts: FigureParts) {
    this.#parts = parts;
    const { registry } = parts;
    if (!parts.gauges.has('locks')) this.#holders = new Map();
    const wait = 'agentmesh_lock_acquire_duration_seconds';
    this.#granted = registry.histogram(wait, 'Wait for a lock.', { outcome: 'granted' });
    this.#refused = registry.histogram(wait, 'Wait for a lock.', { outcome: 'abandoned' });
    this.#held = registry.histogram('agentmesh_lock_hold_duration_seconds', 'From grant to release.');
    registry.gauge('agentmesh_locks_held', 'Resources that are held.', () => [
      { labels: {}, value: this.#present().held },
    ]);
    registry.gauge('agentmesh_locks_waiters', 'Requests that wait for a lock.', () => [
      { labels: {}, value: this.#present().waiting },
    ]);
  }

  listen(on: Listen): void {
    const { history, registry } = this.#parts;
    const acquired = history.count('resource.acquired');
    const grants = registry.counter('agentmesh_locks_acquired_total', 'Locks granted.');
    on('resource:acquired', ({ resourceId, waitedMs }) => {
      acquired.total += 1;
      grants.add();
      this.#granted.record(waitedMs);
      if (this.#holders === undefined) return;
      this.#hold(this.#holders, resourceId, 1);
      if (waitedMs > 0 && this.#waiting > 0) this.#waiting -= 1;
    });
    on('resource:converted', ({ waitedMs }) => {
      if (waitedMs === 0) return;
      this.#granted.record(waitedMs);
      if (this.#waiting > 0) this.#waiting -= 1;
    });
    const released = history.count('resource.released');
    const releases = registry.counter('agentmesh_locks_released_total', 'Locks given back.');
    on('resource:released', ({ resourceId, heldMs }) => {
      released.total += 1;
      releases.add();
      this.#held.record(heldMs);
      if (this.#holders !== undefined) this.#hold(this.#holders, resourceId, -1);
    });
    this.#listenToTrouble(on);
  }

  read(): ResourceMetrics {
    const { held, known, waiting } = this.#present();
    const { history } = this.#parts;
    return {
      resourceUtilization: percent(held, known),
      heldResources: held,
      knownResources: known,
      waitingRequests: waiting,
      acquired: history.count('resource.acquired').total,
      released: history.count('resource.released').total,
      expired: this.#expired,
      abandoned: this.#abandoned,
      lockWait: this.#granted.summary(),
      lockHold: this.#held.summary(),
    };
  }

  clear(): void {
    this.#expired = this.#abandoned = 0;
  }

  #listenToTrouble(on: Listen): void {
    const { registry } = this.#parts;
    on('resource:waited', () => {
      this.#waiting += 1;
    });
    const lost = registry.counter('agentmesh_locks_expired_total', 'Leases that ran out.');
    on('resource:expired', ({ resourceId }) => {
      this.#expired += 1;
      lost.add();
      if (this.#holders !== undefined) this.#hold(this.#holders, resourceId, -1);
    });
    on('resource:abandoned', ({ waitedMs }) => {
      this.#abandoned += 1;
      this.#refused.record(waitedMs);
      if (this.#waiting > 0) this.#waiting -= 1;
    });
    const fences = registry.counter(
      'agentmesh_fencing_rejections_total',
      'Writes with an old fencing token.',
    );
    on('fence:refused', () => fences.add());
  }

  #present(): { readonly held: number; readonly known: number; readonly waiting: number } {
    const known = this.#holders?.size ?? 0;
    return this.#parts.gauges.read('locks') ?? { held: this.#heldNow, known, waiting: this.#waiting };
  }

  #hold(holders: Map<string, number>, resourceId: string, change: 1 | -1): void {
    const before = holders.get(resourceId);
    if (before === undefined && (change < 0 || holders.size >= MAX_FOLLOWED)) return;
    const after = Math.max(0, (before ?? 0) + change);
    holders.set(resourceId, after);
    if ((before ?? 0) === 0 && after > 0) this.#heldNow += 1;
    else if ((before ?? 0) > 0 && after === 0) this.#heldNow -= 1;
  }
}
