import { createRequire } from 'node:module';

/** For each page of the demo: the page of the documentation about it. */
const pages: Readonly<Record<string, string>> = {
  home: 'session.md',
  'cookie-test': 'session.md#test-cookie',
  secret: 'login.md',
  login: 'login.md',
  'confirm-password': 'login.md#how-fresh-a-login-must-be',
  'fresh-secret': 'login.md#how-fresh-a-login-must-be',
  devices: 'users-sessions.md',
  cart: 'session.md#changes-inside-values',
  expiry: 'expiry.md',
  inspect: 'how-it-works.md#how-a-store-keeps-data',
};

const { homepage } = createRequire(import.meta.url)('nest-sessions/package.json') as { homepage: string };

/** Where to read more about a section of the demo, such as `cart`. */
export function guideTo(section: string): string | undefined {
  const page = pages[section];
  return page && homepage.replace('#readme', `/blob/main/docs/${page}`);
}
