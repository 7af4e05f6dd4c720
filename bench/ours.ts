/** The library as its users get it. */
export * from '../src/index.ts';
