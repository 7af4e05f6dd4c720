import { readFileSync } from 'node:fs';

/**
 * Prints CI's last line, `N passed, N failed`, and exits 1 unless nothing failed.
 * Arguments: the number of failed steps that are not tests, then `report.json:exit-code` for each vitest run.
 * A skipped or todo test counts as failed; so does a file that could not be loaded, an error outside of any test, a report that is
 * missing, and a run in which no test ran.
 */
interface Report {
  readonly success: boolean;
  readonly numTotalTests: number;
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly testResults: readonly {
    readonly status: string;
    readonly assertionResults: readonly { readonly status: string }[];
  }[];
}

function count(file: string, exitCode: string): { readonly passed: number; readonly failed: number } {
  let report: Report;
  try {
    report = JSON.parse(readFileSync(file, 'utf8')) as Report;
  } catch {
    return { passed: 0, failed: 1 };
  }
  const broken = report.testResults.filter(
    (found) =>
      found.status === 'failed' && !found.assertionResults.some((result) => result.status === 'failed'),
  );
  const failed = report.numFailedTests + report.numPendingTests + report.numTodoTests + broken.length;
  const red = exitCode !== '0' || !report.success || report.numTotalTests === 0;
  return { passed: report.numPassedTests, failed: failed === 0 && red ? 1 : failed };
}

const [steps = '1', ...runs] = process.argv.slice(2);
let passed = 0;
let failed = Number(steps);
for (const run of runs) {
  const at = run.lastIndexOf(':');
  const found = count(run.slice(0, at), run.slice(at + 1));
  passed += found.passed;
  failed += found.failed;
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
