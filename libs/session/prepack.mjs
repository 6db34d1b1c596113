// Run by `npm pack` and `npm publish`: both builds from nothing, and the pages that npm shows.
import { execFileSync } from 'node:child_process';
import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';

process.chdir(import.meta.dirname);
const compiler = createRequire(import.meta.url).resolve('typescript/bin/tsc');

rmSync('dist', { recursive: true, force: true });
for (const project of ['tsconfig.lib.json', 'tsconfig.cjs.json'])
  execFileSync(process.execPath, [compiler, '-p', project], { stdio: 'inherit' });
writeFileSync('dist/cjs/package.json', '{ "type": "commonjs" }\n');

copyFileSync('../../LICENSE', 'LICENSE');
copyFileSync('../../CHANGELOG.md', 'CHANGELOG.md');

// Links of the README lead to files that the package does not have, and so do its pictures.
const { repository } = JSON.parse(readFileSync('package.json', 'utf8'));
const site = repository.url.replace(/^git\+|\.git$/g, '');
const readme = readFileSync('../../README.md', 'utf8');
writeFileSync(
  'README.md',
  readme.replaceAll(
    /(!?)(\[[^\]]*\]\()(?!https?:|#)/g,
    (_, picture, text) => `${picture}${text}${site}/${picture ? 'raw' : 'blob'}/HEAD/`,
  ),
);
