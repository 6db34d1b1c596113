import { findBinary, isExecutable } from './local-server.mjs';

/** What the browser specs need. Nobody has to have it, so it is skipped where it is missing, with CI=true as well. */
export const chromium = {
  name: 'chromium',
  label: 'Chromium',
  remedy: 'install Chromium or Chrome, or set CHROMIUM_PATH',
};

/** The environment variable by which the workers learn where it is. */
export const CHROMIUM_VARIABLE = 'NEST_SESSIONS_TEST_CHROMIUM';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'Google Chrome'];
const DIRECTORIES = ['/usr/bin', '/snap/bin', '/Applications/Google Chrome.app/Contents/MacOS'];

/**
 * The executable named by CHROMIUM_PATH, or the first one found where it usually is.
 *
 * @returns {string | undefined}
 * @throws when CHROMIUM_PATH names something else: silence would hide a typing error
 */
export function findChromium() {
  const given = process.env.CHROMIUM_PATH;
  if (!given) return findBinary(NAMES, DIRECTORIES);
  if (isExecutable(given)) return given;
  throw new Error(`CHROMIUM_PATH is set, but there is no program at ${given}.`);
}
