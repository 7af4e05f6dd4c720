import { DeadlockError } from '../core/deadlock-error.ts';
import { survivorOf } from './survivor.ts';

/** What a victim is told of the cycle that its wait was ended for, wherever it was found. */
export function verdictOf(victim: string, cycle: DeadlockError['cycle']): DeadlockError {
  const agents = [...new Set(cycle.map((edge) => edge.agent ?? edge.waiter))];
  const resources = [
    ...new Set(cycle.flatMap(({ by, what }) => (by === 'lock' || by === 'semaphore' ? [what] : []))),
  ];
  const own = cycle.findIndex(({ waiter }) => waiter === victim);
  const survivor = own < 0 ? victim : survivorOf([...cycle.slice(own), ...cycle.slice(0, own)]);
  return new DeadlockError({ cycle, agents, resources, survivor });
}
