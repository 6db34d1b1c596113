import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The pages for readers of this repository, by their path. */
export const pages: readonly string[] = [
  'README.md',
  'CHANGELOG.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  'test/tutorials/README.md',
  'examples/README.md',
  ...readdirSync('examples', { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join('examples', name, 'README.md')),
  ...readdirSync('docs', { recursive: true, encoding: 'utf8' })
    // In docs/api is what TypeDoc has made.
    .filter((path) => path.endsWith('.md') && !path.startsWith('api/'))
    .map((path) => join('docs', path)),
];

const BLOCK = /^```.*?^```$/gms;
const CODE = /`([^`\n]+)`/g;
const LINK = /\[[^\]]*\]\(([^)\s]+)(?: "[^"]*")?\)/g;
const HEADING = /^#{1,6} +(.+)$/gm;
/** A file of this repository that is named, without a link. */
const NAMED_FILE = /^(?:src|libs|test|bench|docs)\/[\w./-]+\.\w+$/;
/** The repository by its full address, as a published page has to link to it. */
const OWN_ADDRESS = /^https:\/\/github\.com\/[\w-]+\/nest-sessions\/(?:blob|tree|raw)\/[^/]+\//;

/** The TypeScript of a page, each snippet with the number of its first line. */
export function snippetsOf(text: string): { line: number; code: string }[] {
  return [...text.matchAll(/^```ts\n(.*?)^```$/gms)].map(({ index, 1: code = '' }) => ({
    line: text.slice(0, index).split('\n').length + 1,
    code,
  }));
}

/** What a page links to, or names, that is not there. */
export function deadLinksOf(page: string, text = readFileSync(page, 'utf8')): string[] {
  const prose = text.replace(BLOCK, '');
  const named = [...prose.matchAll(CODE)]
    .map(([, code = '']) => code)
    .filter((code) => NAMED_FILE.test(code));
  const links = [...prose.replace(CODE, '`code`').matchAll(LINK)].map(([, target = '']) => target);
  return [
    ...named.filter((file) => !existsSync(file)),
    ...links.filter((target) => !leadsSomewhere(page, text, target)),
  ];
}

function leadsSomewhere(page: string, text: string, target: string): boolean {
  const [path = '', anchor] = (OWN_ADDRESS.test(target) ? target.replace(OWN_ADDRESS, '/') : target).split(
    '#',
  );
  if (/^(https?|mailto):/.test(path)) return true;
  const file = path.startsWith('/') ? path.slice(1) : join(dirname(page), path);
  if (path !== '' && !existsSync(file)) return false;
  return anchor === undefined || anchorsOf(path === '' ? text : readFileSync(file, 'utf8')).has(anchor);
}

/** The anchors that GitHub gives to the headings of a page; to equal ones with a number. */
function anchorsOf(text: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, heading = ''] of text.replace(BLOCK, '').matchAll(HEADING)) {
    const slug = slugOf(heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1'));
    let anchor = slug;
    for (let number = 1; anchors.has(anchor); number++) anchor = `${slug}-${number}`;
    anchors.add(anchor);
  }
  return anchors;
}

/** The anchor that GitHub, and the site, give to a heading. */
export function slugOf(heading: string): string {
  return heading
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{M}\p{N}\p{Pc} -]/gu, '')
    .replaceAll(' ', '-');
}
