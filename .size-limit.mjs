/** What an entry adds to a program, its dependencies included, minified and compressed. Limits: measured + 10 %. */
const onNode = (config) => ({ ...config, platform: 'node' });

export default [
  { name: 'agentmesh', path: 'dist/index.js', limit: '159 kB', modifyEsbuildConfig: onNode },
  {
    name: 'agentmesh/postgres',
    path: 'dist/postgres.js',
    limit: '91 kB',
    ignore: ['pg'],
    modifyEsbuildConfig: onNode,
  },
  {
    name: 'agentmesh/redis',
    path: 'dist/redis.js',
    limit: '79 kB',
    ignore: ['ioredis'],
    modifyEsbuildConfig: onNode,
  },
  { name: 'agentmesh/testing', path: 'dist/testing.js', limit: '38 kB', modifyEsbuildConfig: onNode },
];
