import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** What is wrong with an unpacked package that publint and attw do not look at. */
export function packageFaults(directory, repository) {
  const files = readdirSync(directory, { recursive: true, encoding: 'utf8' });
  const manifest = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'));
  const home = manifest.repository?.url.replace(/^git\+|\.git$/g, '') ?? 'a repository';
  return [
    ...['README.md', 'CHANGELOG.md', 'LICENSE']
      .filter((name) => !files.includes(name))
      .map((name) => `${name} is missing.`),
    ...['repository', 'homepage', 'bugs']
      .filter((name) => !JSON.stringify(manifest[name] ?? '').includes(home))
      .map((name) => `"${name}" in package.json does not lead to ${home}.`),
    ...linkFaults(readFileSync(join(directory, 'README.md'), 'utf8'), home, repository),
    ...files.filter((name) => /\.(spec\.\w+|tsbuildinfo)$/.test(name)).map((name) => `${name} is of no use.`),
    ...files.filter((name) => name.endsWith('.map')).flatMap((name) => mapFaults(directory, name)),
  ];
}

/** A link leads out of the package, and if to the repository, then to a file that it has. */
function linkFaults(readme, home, repository) {
  const online = ['blob', 'raw'].map((kind) => `${home}/${kind}/HEAD/`);
  return [...readme.matchAll(/\]\(([^)\s]+)/g)].flatMap(([, target]) => {
    if (target.startsWith('#')) return [];
    if (!target.startsWith('https://')) return [`README.md links to ${target}, which is not in the package.`];
    const files = online.find((each) => target.startsWith(each));
    if (files === undefined) return [];
    const path = target.slice(files.length).replace(/#.*/, '');
    return existsSync(join(repository, path)) ? [] : [`README.md links to ${target}, which does not exist.`];
  });
}

function mapFaults(directory, name) {
  const { sources, sourcesContent = [] } = JSON.parse(readFileSync(join(directory, name), 'utf8'));
  return sources
    .filter((source, index) => !sourcesContent[index] && !existsSync(join(directory, dirname(name), source)))
    .map((source) => `${name} points to ${source}, which is not in the package.`);
}
