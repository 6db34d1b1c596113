// Builds the site, and fails when anything was reported on the way: VitePress itself goes on after most of it.
import { build } from 'vitepress';

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
