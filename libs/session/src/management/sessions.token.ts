/**
 * A second token of the `Sessions` service. The command finds the service of an application by it, because the class
 * itself differs when the command and the application run different copies of this package.
 */
export const SESSIONS = Symbol.for('nest-sessions:Sessions');
