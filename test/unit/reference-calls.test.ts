import { describe, expect, test } from 'vitest';
import { commentForField, renderCalls, split } from '../../scripts/reference-calls.ts';
import { renderOptions } from '../../scripts/generate-reference.ts';

const page = renderCalls();
/** The cells of the row of a field within a section. */
function row(section: string, field: string): readonly string[] {
  const start = page.indexOf(`### ${section}\n`);
  expect(start, section).toBeGreaterThan(0);
  const text = page.slice(start, page.indexOf('\n#', start + 5));
  const line = text.split('\n').find((one) => one.startsWith(`| \`${field}\` |`));
  return (line ?? '')
    .split(/(?<!\\)\|/)
    .map((one) => one.trim())
    .slice(1, -1);
}

describe('the reference of calls', () => {
  test.each([
    ['A task', 'runAt?', '`Date`', 'now'],
    ['A task', 'delayMs?', '`ms`', '0'],
    ['A task', 'deadline?', '`Date`', ''],
    ['A task', 'keepMs?', '`ms`', 'scheduling.keepMs'],
    ['A task', 'parent?', '`string`', ''],
    ['A task', 'locks?', '`ResourceRequest[]`', ''],
    ['A task', 'agents.maxLoadRatio?', '`number`', ''],
    ['A dependency of a task', 'onFailure?', '`FailurePolicy`', "'cancel'"],
    ['How a task is submitted', 'client?', '`unknown`', ''],
    ['Gathering', 'minimum?', '`number`', 'all'],
    ['An agent', 'silenceMs?', '`ms`', 'never'],
    ['How it is taken', 'reentrant?', '`boolean`', 'false'],
    ['How it is taken', 'owner?', '`string`', 'a new anonymous scope'],
    ['Sending', 'expiresInMs?', '`ms`', '`keepMs` of the router, else `messageTimeout`'],
    ['Asking', 'timeoutMs?', '`ms`', '`messageTimeout`'],
    ['Asking', 'priority?', "`number \\| 'low' \\| 'medium' \\| 'high'`", '2'],
    ['Bounding', 'queue?', '`number`', '0'],
    ['Hedging', 'maxHedges?', '`number`', '1'],
    ['What is known', 'contents?', '`{ base: string; theirs: ReadonlyMap<string, string> }`', ''],
  ])('%s has %s with kind, default and a sentence', (section, field, kind, byDefault) => {
    const cells = row(section, field);
    expect(cells.slice(0, 3)).toEqual([`\`${field}\``, kind, byDefault]);
    expect(cells[3]).toMatch(/^[A-Z`a-z].*\.$/);
  });

  test('what a type leaves out of its base is left out', () => {
    expect(row('Asking', 'expiresInMs?')).toEqual([]);
    expect(row('Broadcasting', 'expiresInMs?')).not.toEqual([]);
  });

  test('no field is without a sentence', () => {
    const rows = page.split('\n').filter((line) => line.startsWith('| `'));
    expect(rows.length).toBeGreaterThan(80);
    expect(rows.filter((line) => /\|\s*\|$/.test(line))).toEqual([]);
    expect(() => commentForField('Nowhere.known', '@default 5')).toThrow('Nowhere.known has no comment');
    expect(() => commentForField('Nowhere.known', '')).toThrow('Nowhere.known has no comment');
  });

  test('a default stands apart from the text', () => {
    expect(split('Says it. @default 3')).toEqual({ text: 'Says it.', byDefault: '3' });
    expect(split('@throws TIMEOUT when late.')).toEqual({ text: 'Throws TIMEOUT when late.', byDefault: '' });
  });
});

test('the reference of options says where each table goes', () => {
  const options = renderOptions();
  expect(options).toMatch(/## queue\n\n.*mesh\.queues\.configure/);
  expect(options).toMatch(/## retry\n\n.*scheduling: \{ retry/);
  expect(options).toMatch(/## manager\n\n.*At the top/);
});
