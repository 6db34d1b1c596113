/**
 * The floors of the library, top to bottom. An import, of a type too, only ever goes down.
 * Files that no floor matches (the barrels) may import from all of them.
 */
const lib = '^libs/session/src';
const floors = [
  { name: 'admin', path: `${lib}/admin/` },
  { name: 'module', path: `${lib}/session\\.(module|wiring)\\.ts$` },
  { name: 'nest, management and observability', path: `${lib}/(nest|management|observability)/` },
  { name: 'http', path: `${lib}/http/` },
  { name: 'options', path: `${lib}/(session\\.options\\.ts$|options/)` },
  { name: 'session', path: `${lib}/session/` },
  { name: 'store', path: `${lib}/stores/[^/]+/` },
  { name: 'store contract', path: `${lib}/stores/[^/]+\\.ts$` },
  { name: 'errors', path: `${lib}/session\\.errors\\.ts$` },
];

const spec = '\\.spec\\.ts$';
const barrel = '/index\\.ts$';
const underNodeModules = (packages) => `(^|/)node_modules/(${packages})/`;

const importsGoDown = floors.slice(1).map((floor, above) => ({
  name: `${floor.name.replaceAll(/,? /g, '-')}-imports-nothing-above`,
  comment: `The floor "${floor.name}" knows nothing of ${floors
    .slice(0, above + 1)
    .map((higher) => higher.name)
    .join(', ')}.`,
  severity: 'error',
  from: { path: floor.path, pathNot: spec },
  to: { path: floors.slice(0, above + 1).map((higher) => higher.path) },
}));

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    ...importsGoDown,
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'nest-management-and-observability-apart',
      comment: 'They stand side by side; what two of them need belongs one floor down.',
      severity: 'error',
      from: { path: `${lib}/(nest|management|observability)/`, pathNot: spec },
      to: { path: `${lib}/(nest|management|observability)/`, pathNot: `${lib}/$1/` },
    },
    {
      name: 'stores-apart',
      comment: 'A store imports the contract and its own files; only the databases are made of other stores.',
      severity: 'error',
      from: { path: `${lib}/stores/([^/]+)/`, pathNot: [spec, `${lib}/stores/(cached-)?database/`] },
      to: { path: `${lib}/stores/[^/]+/`, pathNot: `${lib}/stores/$1/` },
    },
    {
      name: 'database-store-on-sql-alone',
      comment: 'It is the SQL store on connections of TypeORM.',
      severity: 'error',
      from: { path: `${lib}/stores/database/`, pathNot: spec },
      to: { path: `${lib}/stores/[^/]+/`, pathNot: `${lib}/stores/(database|sql)/` },
    },
    {
      name: 'particular-stores-only-by-the-wiring',
      comment: 'Everything else speaks to the contract, so that an app loads only the store it uses.',
      severity: 'error',
      from: {
        path: `${lib}/`,
        pathNot: [`${lib}/stores/`, `${lib}/(management|testing)/`, `${lib}/session\\.module\\.ts$`, spec],
      },
      to: { path: `${lib}/stores/[^/]+/` },
    },
    {
      name: 'typeorm-only-in-the-database-store',
      comment: 'TypeORM is an optional peer: an app with another engine does not have it.',
      severity: 'error',
      from: { path: `${lib}/`, pathNot: [`${lib}/stores/database/`, spec] },
      to: { path: underNodeModules('typeorm|@nestjs/typeorm') },
    },
    {
      name: 'redis-clients-only-in-the-redis-store',
      comment: 'They are optional peers as well, and one of the two is enough.',
      severity: 'error',
      from: { path: `${lib}/`, pathNot: [`${lib}/stores/redis/`, spec] },
      to: { path: underNodeModules('redis|ioredis|@redis') },
    },
    {
      name: 'who-watches-is-known-only-to-observability',
      comment:
        'Emitters and meters are optional peers; the rest of the library hands its events down to nobody.',
      severity: 'error',
      from: { path: `${lib}/`, pathNot: [`${lib}/observability/`, spec] },
      to: { path: underNodeModules('@nestjs/event-emitter|@opentelemetry/[^/]+|@nestjs/terminus') },
    },
    {
      name: 'terminus-only-behind-its-subpath',
      comment: 'The wiring must not load it: an application without health checks does not have it.',
      severity: 'error',
      from: { path: `${lib}/`, pathNot: [`${lib}/observability/session\\.health\\.ts$`, spec] },
      to: { path: [underNodeModules('@nestjs/terminus'), `${lib}/observability/session\\.health\\.ts$`] },
    },
    {
      name: 'session-knows-no-http-and-no-nest',
      severity: 'error',
      from: { path: `${lib}/session/`, pathNot: spec },
      to: { path: ['^(node:)?https?2?$', underNodeModules('@nestjs/[^/]+|express|fastify')] },
    },
    {
      name: 'only-index-files-are-barrels',
      comment: 'Import from the file that declares a thing.',
      severity: 'error',
      from: { pathNot: barrel },
      to: { dependencyTypes: ['export'] },
    },
    {
      name: 'no-import-of-the-public-barrel',
      comment: 'Inside the library, import from the file that declares a thing.',
      severity: 'error',
      from: { path: `${lib}/`, pathNot: spec },
      to: { path: `${lib}/index\\.ts$` },
    },
    {
      name: 'the-demo-imports-the-library-by-name',
      comment: 'As its users do: from "nest-sessions" or "nest-sessions/database".',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^libs/', dependencyTypesNot: ['aliased'] },
    },
    {
      name: 'the-library-knows-only-itself',
      severity: 'error',
      from: { path: '^libs/', pathNot: spec },
      to: { path: '^(src|test|bench)/' },
    },
    {
      name: 'only-declared-packages',
      comment: "The library's package.json is what its users install.",
      severity: 'error',
      from: { path: `${lib}/`, pathNot: spec },
      to: { dependencyTypes: ['npm-no-pkg', 'npm-unknown', 'npm-dev'], dependencyTypesNot: ['npm-peer'] },
    },
    {
      name: 'nothing-unresolvable',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    exclude: { path: ['^dist/', '^libs/[^/]+/dist/'] },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
    },
  },
};
