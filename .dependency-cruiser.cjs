/** Who may import whom (docs/design/architecture.md). A test plants a violation of each rule and sees it found. */
const FEATURES =
  'scheduler|dependency-graph|resources|messaging|work-stealing|circuit-breaker|conflicts|metrics|workers|limits|topology|consensus';

module.exports = {
  forbidden: [
    { name: 'no-circular', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'core-imports-nothing',
      severity: 'error',
      from: { path: '^src/core/' },
      to: { path: '^src/(?!core/)' },
    },
    {
      // Each class also works alone, on the memory backend: that is the one thing beside core a feature may know.
      name: 'feature-not-to-feature',
      severity: 'error',
      from: { path: `^src/(${FEATURES})/` },
      to: { path: '^src/', pathNot: '^src/(core|$1|backends/memory)/' },
    },
    {
      name: 'backend-to-core-only',
      severity: 'error',
      from: { path: '^src/backends/([^/]+)/' },
      to: { path: '^src/', pathNot: '^src/(core|backends/$1)/' },
    },
    {
      name: 'testing-to-core-and-memory',
      severity: 'error',
      from: { path: '^src/testing/' },
      to: { path: '^src/', pathNot: '^src/(core|testing|backends/memory|scheduler/strategy)' },
    },
    {
      name: 'nobody-imports-the-roof',
      severity: 'error',
      from: { path: '^src/(?!index\\.ts|cli/)' },
      to: { path: '^src/(index|manager)\\.ts$' },
    },
    {
      name: 'no-driver-outside-its-backend',
      severity: 'error',
      from: { path: '^src/(?!backends/)' },
      to: { path: 'node_modules/(ioredis|pg|@types/pg|@platformatic)/' },
    },
    {
      // A dynamic import at start is the other way in: drivers are optional, a pool of the caller's needs none.
      name: 'driver-by-type-only',
      severity: 'error',
      from: { path: '^src/backends/' },
      to: {
        path: 'node_modules/(ioredis|pg|@platformatic)/',
        dependencyTypesNot: ['type-only', 'type-import'],
        dynamic: false,
      },
    },
  ],
  options: {
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'types', 'default'] },
  },
};
