/** The names of what a handler waits for without its slot, as they stand in front of the number in `Run.waits`. */

const REPLY = 'reply ';

export const SLEEP = 'sleep';

export function replyWait(from: string): string {
  return REPLY + from;
}

/** Whose reply a wait of `Run.waits` is for, if it is for one. */
export function replyOf(key: string): string | undefined {
  return key.startsWith(REPLY) ? key.slice(REPLY.length).split('\u0000', 1)[0] : undefined;
}
