/** The options, checked and with defaults filled in (`ResolvedSessionOptions`). */
export const SESSION_OPTIONS = Symbol.for('nest-sessions:options');
/** What the sessions of all requests share (`HttpEnvironment`). */
export const HTTP_ENVIRONMENT = Symbol.for('nest-sessions:http-environment');
