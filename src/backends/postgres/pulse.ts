import type { Pulse, PulseOptions } from '../../core/ports/backend.ts';
import type { SessionNumber } from '../../core/ports/words.ts';
import { canCross, startPulse, threadModule } from '../../core/pulse.ts';
import type { PostgresSettings } from './options.ts';

const MODULE = { source: './pulse-worker.ts', built: './pulse-postgres.js' };

/** Renews a lease from a thread. `undefined` for a pool of the user's, and for a config with functions, such as one that brings the password. */
export function pulseOfPostgres(
  settings: PostgresSettings,
  session: SessionNumber,
  options: PulseOptions,
): Pulse | undefined {
  if (settings.source.kind === 'pool' || !canCross(settings)) return undefined;
  const module = threadModule(import.meta.url, MODULE);
  return startPulse({ module, connection: settings, session, options });
}
