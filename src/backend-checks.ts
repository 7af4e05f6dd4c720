import { CoordinationError } from './core/errors.ts';
import type { Backend, BackendReport } from './core/ports/backend.ts';
import type { Logger } from './core/ports/runtime.ts';

/** What every mesh needs of its backend. */
export type BackendPorts = Required<Pick<Backend, 'tasks' | 'locks' | 'messages' | 'sessions'>>;

/** The ports of a backend. @throws NOT_SUPPORTED when one is missing */
export function portsOf(backend: Backend): BackendPorts {
  const { tasks, locks, messages, sessions } = backend;
  if (tasks === undefined) throw lacks(backend, 'tasks');
  if (locks === undefined) throw lacks(backend, 'locks');
  if (messages === undefined) throw lacks(backend, 'messages');
  if (sessions === undefined) throw lacks(backend, 'sessions');
  return { tasks, locks, messages, sessions };
}

function lacks(backend: Backend, port: string): CoordinationError {
  return new CoordinationError('NOT_SUPPORTED', `Backend ${backend.name} has no ${port}`, {
    hint: 'Combine it with one that has.',
  });
}

/** Logs what a backend found when it started. @throws BACKEND_UNAVAILABLE for a problem that must be allowed, and isn't */
export function refuseProblems(report: BackendReport, allowed: readonly string[], logger: Logger): void {
  for (const { code, severity, message, hint } of report.problems) {
    if (severity === 'refuse' && !allowed.includes(code)) {
      throw new CoordinationError('BACKEND_UNAVAILABLE', `${report.server}: ${message}`, {
        hint: `${hint} Or start with allow: ['${code}'].`,
      });
    }
    logger.warn(message, { code, hint });
  }
}
