import { relative } from 'node:path';
import { chromium } from './chromium.mjs';
import { services } from './test-run.mjs';

const needs = [
  ...services.map(({ name, label, urlVariable }) => ({
    name,
    label,
    remedy: `docker compose up -d --wait, or set ${urlVariable}`,
  })),
  chromium,
];

/** Each of these → the spec files whose suites were skipped for want of it. */
const skipped = new Map();

/** Collects the suites that `describeWithService` and its siblings skipped. */
export default class SkippedServicesReporter {
  onRunStart() {
    skipped.clear();
  }

  onTestResult(_test, result) {
    const titles = new Set(result.testResults.flatMap((test) => test.ancestorTitles));
    for (const need of needs) {
      if (![...titles].some((title) => title.endsWith(`[no ${need.name}]`))) continue;
      const files = skipped.get(need) ?? [];
      skipped.set(need, [...files, relative(process.cwd(), result.testFilePath)]);
    }
  }
}

/** Called from the teardown, because Jest prints its summary after all reporters and this must stand below it. */
export function reportSkippedSuites() {
  for (const [{ label, remedy }, files] of skipped) {
    process.stderr.write(`SKIPPED, no ${label}: ${files.toSorted().join(', ')}. To run them: ${remedy}.\n`);
  }
}
