/**
 * A kind of server that the tests need.
 *
 * @typedef {object} Service
 * @property {string} name as the specs say it
 * @property {string} label as people say it
 * @property {string} urlVariable the environment variable that names a server to use
 * @property {string[]} standardUrls what a server on this machine's standard port answers to
 * @property {(url: string) => Promise<void>} ping rejects when nobody answers or the login is refused
 * @property {() => Promise<LocalServer | undefined>} startLocally undefined when the binaries are not installed
 * @property {(url: string, name: string) => Promise<string>} createDatabase resolves with the URL of the new one
 * @property {(url: string, name: string) => Promise<void>} dropDatabase drops it with all that specs made beside it
 *
 * @typedef {{ url: string, stop?: () => Promise<void> }} LocalServer
 */

/**
 * Finds a server by environment variable, then on the standard local port, then by starting a local binary.
 *
 * @param {Service} service
 * @returns {Promise<LocalServer | undefined>} undefined when there is none to be had
 * @throws when the environment variable names a server that does not answer: silence would hide a typing error
 */
export async function findServer(service) {
  const given = process.env[service.urlVariable];
  if (given) {
    await service.ping(given).catch((cause) => {
      throw new Error(
        `${service.urlVariable} is set, but ${service.label} cannot be used there: ${cause.message}`,
        {
          cause,
        },
      );
    });
    return { url: given };
  }
  for (const url of service.standardUrls) {
    if (await answers(service, url)) return { url };
  }
  process.stderr.write(`  ${service.label}: none runs here; starting one if it is installed …\n`);
  return service.startLocally().catch((error) => {
    process.stderr.write(`${service.label}: the local binary could not be started: ${error.message}\n`);
    return undefined;
  });
}

/** The environment variable by which the workers learn the URL of this run's own database. */
export function workerVariable(service) {
  return `NEST_SESSIONS_TEST_${service.name.toUpperCase()}_URL`;
}

function answers(service, url) {
  return service.ping(url).then(
    () => true,
    () => false,
  );
}
