/**
 * Rejects a call that was stopped from outside, because nobody wants its answer any more: it says nothing about what was called. A circuit
 * breaker counts it on neither side.
 */
export class WithdrawnCall extends Error {
  constructor(cause: unknown) {
    super('The call was stopped from outside', { cause });
    this.name = 'WithdrawnCall';
  }
}
