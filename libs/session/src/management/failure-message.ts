/**
 * What went wrong, in one line for a log or a terminal. Credentials inside URLs are blanked, because drivers like to
 * quote the address they could not reach.
 */
export function failureMessage(error: unknown): string {
  return firstText(error)
    .replaceAll(/:\/\/\S*@/g, '://***@')
    .replaceAll(/\s+/g, ' ')
    .trim();
}

function firstText(error: unknown): string {
  if (typeof error !== 'object' || error === null) return String(error);
  const { message, code, errors, name } = error as Partial<AggregateError> & { code?: unknown };
  if (message) return message;
  // A refused connection to a host with two addresses is an AggregateError without a message of its own.
  if (Array.isArray(errors) && errors.length > 0) return firstText(errors[0]);
  return typeof code === 'string' ? code : (name ?? 'unknown error');
}
