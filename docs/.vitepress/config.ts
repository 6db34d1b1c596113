// The site over these pages: `npm run docs` builds it, `npm run docs:dev` serves it while you write.
import { existsSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { type DefaultTheme, defineConfig } from 'vitepress';
import { slugOf } from '../../test/support/markdown.js';

const REPOSITORY = 'https://github.com/nest-sessions/nest-sessions';
const root = process.cwd();
const docs = join(root, 'docs');

const engines: DefaultTheme.SidebarItem[] = [
  { text: 'Database', link: '/engines/database' },
  { text: 'Any SQL client', link: '/engines/sql' },
  { text: 'Redis', link: '/engines/redis' },
  { text: 'Cached database', link: '/engines/cached-database' },
  { text: 'Cache', link: '/engines/cache' },
  { text: 'File', link: '/engines/file' },
  { text: 'Cookie', link: '/engines/cookie' },
  { text: 'Memory', link: '/engines/memory' },
  { text: 'express-session store', link: '/engines/express-store' },
  { text: 'A store of your own', link: '/engines/custom' },
];

/** In the order in which a user meets things. */
const guide: DefaultTheme.SidebarItem[] = [
  { text: 'Start', link: '/start' },
  { text: 'The session object', link: '/session' },
  { text: 'Choosing an engine', link: '/engines/' },
  { text: 'Logins and guards', link: '/login' },
  { text: 'Expiry', link: '/expiry' },
  { text: "A user's sessions", link: '/users-sessions' },
  { text: 'Sockets and subscriptions', link: '/sockets' },
  { text: 'Mobile and API clients', link: '/mobile-clients' },
  { text: 'Testing', link: '/testing' },
  { text: 'Going live', link: '/going-live' },
  { text: 'Monitoring', link: '/events' },
  { text: 'Clearing expired sessions', link: '/clearing' },
  { text: 'Support and operations', link: '/operations' },
  { text: 'Troubleshooting', link: '/troubleshooting' },
];

const comingFrom: DefaultTheme.SidebarItem[] = [
  { text: 'Live migration', link: '/coming-from/' },
  { text: 'express-session', link: '/coming-from/express-session' },
  { text: 'Moving with live users', link: '/coming-from/live-users' },
  { text: '@fastify/session', link: '/coming-from/fastify-session' },
  { text: 'Django', link: '/django' },
  { text: 'iron-session', link: '/coming-from/iron-session' },
];

/** In the order of the table in recipes/README.md. */
const recipes: DefaultTheme.SidebarItem[] = [
  { text: 'All recipes', link: '/recipes/' },
  { text: 'Passport', link: '/recipes/passport' },
  { text: 'OpenID provider', link: '/recipes/oidc' },
  { text: 'The user everywhere', link: '/recipes/cls' },
  { text: 'Page on another origin', link: '/recipes/spa' },
  { text: 'A mobile application', link: '/recipes/mobile' },
  { text: 'Gateways', link: '/recipes/sockets' },
  { text: 'GraphQL', link: '/recipes/graphql' },
  { text: 'Several applications', link: '/recipes/several-apps' },
  { text: 'Forged requests', link: '/recipes/csrf' },
  { text: 'Rate limits', link: '/recipes/throttler' },
  { text: 'Key rotation', link: '/recipes/key-rotation' },
  { text: 'Export and deletion', link: '/recipes/gdpr' },
  { text: 'OpenAPI', link: '/recipes/swagger' },
  { text: 'Request logs', link: '/recipes/pino' },
  { text: 'bull-board', link: '/recipes/bull-board' },
  { text: 'Prisma', link: '/recipes/prisma' },
  { text: 'Drizzle', link: '/recipes/drizzle' },
  { text: 'Behind a proxy', link: '/recipes/nginx' },
  { text: 'A rolling restart', link: '/recipes/kubernetes' },
  { text: 'AWS Lambda', link: '/recipes/serverless' },
  { text: 'A load test', link: '/recipes/load-test' },
];

const reference: DefaultTheme.SidebarItem[] = [
  { text: 'Configuration', link: '/configuration' },
  { text: 'When a store fails', link: '/faults' },
];

/** What TypeDoc makes of the docstrings: a page for each public entry point, and one for each name in it. */
const api: DefaultTheme.SidebarItem[] = [
  { text: 'nest-sessions', link: '/api/nest-sessions/' },
  ...[
    'database',
    'sql',
    'redis',
    'cached-database',
    'cache',
    'file',
    'cookie',
    'memory',
    'express-store',
    'testing',
    'admin',
    'terminus',
    'express',
    'fastify',
  ].map((name) => ({ text: `nest-sessions/${name}`, link: `/api/nest-sessions/${name}/` })),
];

const explanation: DefaultTheme.SidebarItem[] = [
  { text: 'How it works', link: '/how-it-works' },
  { text: 'Benchmarks', link: '/benchmarks' },
  { text: 'Security catalogue', link: '/security' },
  { text: 'Decisions', link: '/decisions/' },
  { text: 'Versions and support', link: '/support' },
];

export default defineConfig({
  title: 'nest-sessions',
  description: "Django's session framework for NestJS, on Express and Fastify.",
  lang: 'en',
  cleanUrls: true,
  head: [['link', { rel: 'icon', href: '/icon.svg' }]],
  // On GitHub the page of a folder is its README.
  rewrites: {
    'engines/README.md': 'engines/index.md',
    'recipes/README.md': 'recipes/index.md',
    'coming-from/README.md': 'coming-from/index.md',
    'decisions/README.md': 'decisions/index.md',
  },
  markdown: {
    // The anchors of GitHub, which test/docs.spec.ts checks.
    anchor: { slugify: slugOf },
    config(md) {
      const render = md.renderer.rules['link_open'];
      if (!render) throw new Error('VitePress renders links in another way: see linkOnSite.');
      md.renderer.rules['link_open'] = (tokens, index, options, env: { path: string }, self) => {
        const href = tokens[index]?.attrGet('href') ?? '';
        tokens[index]?.attrSet('href', linkOnSite(href, env.path));
        return render(tokens, index, options, env, self);
      };
      // `{{ name }}` in code is meant for the reader, not for Vue.
      const code = md.renderer.rules['code_inline'];
      md.renderer.rules['code_inline'] = (tokens, index, ...rest) => {
        tokens[index]?.attrSet('v-pre', '');
        return code?.(tokens, index, ...rest) ?? '';
      };
    },
  },
  // The index of the search is one file.
  vite: { build: { chunkSizeWarningLimit: 5000 } },
  themeConfig: {
    search: { provider: 'local' },
    outline: { level: [2, 3] },
    socialLinks: [{ icon: 'github', link: REPOSITORY }],
    editLink: { pattern: `${REPOSITORY}/edit/main/docs/:path`, text: 'Edit this page' },
    nav: [
      { text: 'Guide', link: '/start' },
      { text: 'Recipes', link: '/recipes/' },
      { text: 'Engines', link: '/engines/' },
      { text: 'Configuration', link: '/configuration' },
      { text: 'API', link: '/api/' },
      { text: 'Troubleshooting', link: '/troubleshooting' },
    ],
    sidebar: [
      { text: 'Guide', items: guide },
      { text: 'Recipes', items: recipes, collapsed: true },
      { text: 'Coming from', items: comingFrom, collapsed: true },
      { text: 'Engines', items: engines, collapsed: true },
      { text: 'Reference', items: reference },
      { text: 'API', items: api, collapsed: true },
      { text: 'Explanation', items: explanation },
    ],
  },
});

/** Pages link to files, as GitHub has it. A file that is no page of the site is linked in the repository. */
function linkOnSite(href: string, page: string): string {
  if (/^(\w+:|#|\/)/.test(href)) return href;
  const [path = '', anchor] = href.split('#');
  const file = resolve(dirname(page), path);
  const hash = anchor === undefined ? '' : `#${anchor}`;
  if (!file.startsWith(docs)) {
    const kind = existsSync(file) && statSync(file).isDirectory() ? 'tree' : 'blob';
    return `${REPOSITORY}/${kind}/main/${relative(root, file)}${hash}`;
  }
  return `${path === 'README.md' ? './' : path.replace(/\/README\.md$/, '/')}${hash}`;
}
