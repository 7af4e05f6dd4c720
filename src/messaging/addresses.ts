/** Core's own addresses and topics begin with U+0001: no user's can, because names have no control characters. */

/** The topic every agent is a member of. */
export const EVERYBODY = '\u0001everybody';
/** Where replies go that never leave the router. */
export const HERE = '\u0001here';

/** Where a router takes replies that come from other processes. */
export function replyAddress(router: string): string {
  return `\u0001replies/${router}`;
}

export function isCoreAddress(address: string): boolean {
  return address.charCodeAt(0) === 1;
}
