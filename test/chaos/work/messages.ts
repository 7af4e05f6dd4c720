import { setTimeout as sleep } from 'node:timers/promises';
import { below, codeOf, type WorkParts } from './parts.ts';

/** The mailbox of a place; whoever takes the place goes on reading it. */
export function boxOf(place: number): string {
  return `box-${place}`;
}

/** Notes what comes into a place's mailbox. False: the store did not hear of it. */
export async function receiving({ mesh, journal }: WorkParts, place: number): Promise<boolean> {
  const to = boxOf(place);
  const subscription = mesh.subscribe(to, ({ from, payload, redelivered }) => {
    journal.note({ e: 'received', from, to, n: (payload as { readonly n: number }).n, redelivered });
  });
  try {
    await subscription.ready;
    return true;
  } catch {
    await subscription.unsubscribe().catch(() => undefined);
    return false;
  }
}

/** Sends numbered messages, one after another. */
export function sending({ mesh, journal, random, p, places, next }: WorkParts): () => Promise<void> {
  return async () => {
    await sleep(40 + below(random, 120));
    const to = boxOf(below(random, places));
    const n = next();
    journal.note({ e: 'send', to, n });
    try {
      await mesh.sendMessage(p, to, { n }, { expiresInMs: 3_600_000 });
      journal.note({ e: 'sent', to, n });
    } catch (error) {
      journal.note({ e: 'unsent', to, n, code: codeOf(error) });
    }
  };
}
