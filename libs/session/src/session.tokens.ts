/** The options, checked and with defaults filled in (`ResolvedSessionOptions`). */
export const SESSION_OPTIONS = Symbol.for('nest-sessions:options');
/** What the sessions of all requests share (`HttpEnvironment`). */
export const HTTP_ENVIRONMENT = Symbol.for('nest-sessions:http-environment');

/**
 * A second token of the `Sessions` service. The command finds the service of an application by it, because the class
 * itself differs when the command and the application run different copies of this package.
 */
export const SESSIONS = Symbol.for('nest-sessions:Sessions');
