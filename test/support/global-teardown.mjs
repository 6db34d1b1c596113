import { reportSkippedSuites } from './skipped-services-reporter.mjs';
import { cleanUpServices } from './test-run.mjs';

export default async function globalTeardown() {
  await cleanUpServices();
  reportSkippedSuites();
}
