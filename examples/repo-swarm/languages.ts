/** How a file carries a comment: that is all the squad needs to know of a language. */
export interface Language {
  readonly name: string;
  readonly family: 'code' | 'markdown' | 'config' | 'json';
}

const CODE = 'ts tsx mts cts js jsx mjs cjs';
const LANGUAGES: ReadonlyMap<string, Language> = new Map([
  ...CODE.split(' ').map((extension): [string, Language] => [
    extension,
    { name: extension.includes('t') ? 'TypeScript' : 'JavaScript', family: 'code' },
  ]),
  ['md', { name: 'Markdown', family: 'markdown' }],
  ['markdown', { name: 'Markdown', family: 'markdown' }],
  ['yml', { name: 'YAML', family: 'config' }],
  ['yaml', { name: 'YAML', family: 'config' }],
  ['toml', { name: 'TOML', family: 'config' }],
  ['sh', { name: 'Shell', family: 'config' }],
  ['json', { name: 'JSON', family: 'json' }],
]);

/** By extension; `undefined` for files the squad leaves alone. */
export function languageOf(path: string): Language | undefined {
  return LANGUAGES.get(/\.(\w+)$/.exec(path)?.[1] ?? '');
}

/** `words` as a one-line comment of the file's language. JSON has none: its marks are a key. */
export function comment(path: string, words: string): string {
  return `${commentStart(path)}${words}${languageOf(path)?.family === 'markdown' ? ' -->' : ''}`;
}

export function commentStart(path: string): string {
  const family = languageOf(path)?.family;
  if (family === 'code') return '// ';
  return family === 'markdown' ? '<!-- ' : '# ';
}
