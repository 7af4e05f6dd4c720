import { execFileSync } from 'node:child_process';
import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const LIBRARY = '/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1';

/** A wall clock of a process that can be set while it runs. Its monotonic clock goes on, as that of a machine does whose time is set. */
export interface FakeClock {
  readonly environment: Record<string, string>;
  /** Sets it off by so much from the real time. */
  set(byMs: number): void;
}

export function fakeClock(folder: string): FakeClock {
  const file = join(folder, 'clock');
  const set = (byMs: number): void => {
    // In one step: the library must never read half a file.
    writeFileSync(`${file}.new`, `${byMs < 0 ? '-' : '+'}${(Math.abs(byMs) / 1_000).toFixed(3)}\n`);
    renameSync(`${file}.new`, file);
  };
  set(0);
  return {
    environment: {
      LD_PRELOAD: faketime(),
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
      DONT_FAKE_MONOTONIC: '1',
    },
    set,
  };
}

/** The library, installed when it is missing and may be. @throws with what to install */
export function faketime(): string {
  if (existsSync(LIBRARY)) return LIBRARY;
  if (process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')) {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    execFileSync('apt-get', ['update'], { stdio: 'ignore', env });
    execFileSync('apt-get', ['install', '-y', '--no-install-recommends', 'libfaketime'], {
      stdio: 'ignore',
      env,
    });
    if (existsSync(LIBRARY)) return LIBRARY;
  }
  throw new Error(`Clock jumps need ${LIBRARY}: apt-get install libfaketime`);
}
