// Builds the site, and fails when anything was reported on the way: VitePress itself goes on after most of it.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'vitepress';

// That nothing public is undocumented is checked by TypeDoc, which does not ask for examples.
const api = 'docs/api';
const withoutExample = readdirSync(api, { recursive: true, encoding: 'utf8' }).filter(
  (page) =>
    /(classes|functions|variables)\/\w+\.md$/.test(page) &&
    !/^#+ Example/m.test(readFileSync(join(api, page), 'utf8')),
);
if (withoutExample.length > 0) {
  throw new Error(`These have no @example in their docstrings: ${withoutExample.join(', ')}`);
}

let reports = 0;
for (const level of ['warn', 'error']) {
  const report = console[level];
  console[level] = (...words) => {
    reports++;
    report(...words);
  };
}

await build('docs');
if (reports > 0) {
  console.log(`The site was built, but ${reports} warnings or errors were reported above.`);
  process.exitCode = 1;
}
