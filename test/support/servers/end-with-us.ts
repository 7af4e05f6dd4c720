import { type ChildProcess, spawn } from 'node:child_process';

/**
 * Ends a child process when this process or thread ends, however it ends: a shell waits for the end of a pipe that only we hold. An `exit`
 * listener runs neither in a worker that vitest terminates nor after a SIGKILL.
 * @param remove a directory to remove as well
 */
export function endWithUs(child: ChildProcess, remove = ''): void {
  if (child.pid === undefined) return;
  const script =
    'cat > /dev/null; kill -9 "$1" 2> /dev/null; if [ -n "$2" ]; then sleep 0.2; rm -rf "$2"; fi';
  const watcher = spawn('sh', ['-c', script, 'sh', String(child.pid), remove], {
    stdio: ['pipe', 'ignore', 'ignore'],
    // A signal to our process group (Ctrl+C) must not end the watcher first.
    detached: true,
  });
  watcher.unref();
  // Once it has ended, its number may be another's.
  child.once('exit', () => watcher.kill('SIGKILL'));
}
