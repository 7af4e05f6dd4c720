import { checkId, invalid } from '../core/check.ts';
import { CoordinationError } from '../core/errors.ts';
import { checkNode, isRunNode, nodeName } from '../core/run-node.ts';
import type { LockClient } from './lock-client.ts';
import type { LockForce } from './lock-force.ts';
import { unknownAgent } from './lock-intake.ts';
import type { LockRecord } from './lock-record.ts';

/** Gives back what an owner, an agent or the whole process leaves behind. Each returns how many locks. */
export class LockDepartures {
  readonly #client: LockClient;
  readonly #force: LockForce;

  constructor(client: LockClient, force: LockForce) {
    this.#client = client;
    this.#force = force;
  }

  /** One lock of an agent; nothing when it doesn't hold it. */
  async release(resource: string, agentId: string): Promise<void> {
    checkId(resource, 'resource');
    checkId(agentId, 'agentId');
    const lock = this.#client.owners.books.get(agentId)?.find(resource);
    if (lock === undefined) return;
    if (lock.names.length > 1) {
      throw invalid(
        `${resource} was taken together with ${lock.names.length - 1} others`,
        'Release the lease that acquireAll returned.',
      );
    }
    await lock.host.release(lock);
  }

  /** All locks of an agent, and its waits. */
  async ofAgent(agentId: string): Promise<number> {
    checkId(agentId, 'agentId');
    return this.#release(this.#recordsOf(agentId), ended(`All locks of ${agentId} were released`));
  }

  /** All locks of one owner, and its waits. */
  async ofOwner(owner: string): Promise<number> {
    checkNode(owner, 'owner');
    return this.#release(this.#client.owners.recordsOf(owner), ended(`${nodeName(owner)} is over`));
  }

  /** Everything of this process. */
  async ofAll(reason: CoordinationError): Promise<number> {
    return this.#release([...this.#client.owners.records()], reason);
  }

  /** See `ResourceManager.agentLeft`. */
  async agentLeft(agentId: string): Promise<number> {
    const { books } = this.#client.owners;
    const forgotten: string[] = [];
    const records = this.#recordsOf(agentId);
    const isRun = ({ holder }: LockRecord): boolean => isRunNode(holder.id);
    // Its runs may still be at work under their locks: they are told to stop, and give them back when they are over.
    const held = records.filter((record) => isRun(record) && record.status === 'held');
    const others = records.filter((record) => !held.includes(record));
    // Without its record the agent can't take the short way past the check of who left.
    for (const [id, book] of books) if (book.agent === agentId && !isRunNode(id)) forgotten.push(id);
    const released = this.#release(others, unknownAgent(agentId));
    for (const id of forgotten) books.delete(id);
    const told = this.#force.revokeGrants(held, `agent ${agentId} was removed`);
    return (await released) + (await told);
  }

  /** The session of this process is gone: there is nothing to give back. */
  sessionLost(): void {
    const lost = new CoordinationError('SESSION_EXPIRED', 'The session of this process ran out', {
      hint: 'Acquire it again: that goes by the next session.',
    });
    const records = [...this.#client.owners.records()];
    for (const record of records) this.#client.waits.fail(record, lost);
    for (const record of records) this.#client.held.lost(record, lost);
  }

  async #release(records: readonly LockRecord[], reason: CoordinationError): Promise<number> {
    // Waits first: no lock that is given back here may go to one of them.
    for (const record of records) this.#client.waits.fail(record, reason);
    const locks = records.filter(({ status }) => status === 'held');
    const done = locks.map((lock) => {
      lock.abort(reason);
      return this.#client.held.release(lock);
    });
    await Promise.all(done);
    return locks.length;
  }

  #recordsOf(agentId: string): readonly LockRecord[] {
    return [...this.#client.owners.records()].filter(({ holder }) => holder.agent === agentId);
  }
}

function ended(message: string): CoordinationError {
  return new CoordinationError('LEASE_LOST', message);
}
