import { cleanUpServices, prepareServices } from './test-run.mjs';

export default async function globalSetup() {
  // Jest calls the teardown after a finished run only, and Ctrl-C is the usual end of many others.
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void endEarly(signal));
  const scope =
    process.env.TEST_ALL === 'true'
      ? 'Everything is tested.'
      : 'The quick run; `npm run test:all` tests everything.';
  process.stderr.write(`${scope} Looking for the databases …\n`);
  try {
    await prepareServices();
  } catch (error) {
    await cleanUpServices();
    throw error;
  }
}

async function endEarly(signal) {
  await cleanUpServices();
  process.kill(process.pid, signal);
}
